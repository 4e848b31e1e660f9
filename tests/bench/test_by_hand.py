"""docs/by-hand.md is what bench.by_hand prints, and every number of it is what a trace has."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bench import by_hand

PAGE = Path(__file__).parents[2] / "docs" / "by-hand.md"
NUMBERS = by_hand.numbers()
TRACE = by_hand.traced()


def test_the_page_is_as_it_is_built() -> None:
    assert PAGE.read_text("utf-8") == by_hand.page(), "python -m bench.by_hand > docs/by-hand.md"
    assert all(len(line) <= 120 for line in by_hand.page().splitlines())


@pytest.mark.parametrize("name", ["q", "k", "v", "z", "s", "m", "p", "y", "L"])
def test_values(name: str) -> None:
    np.testing.assert_allclose(TRACE[name].value.array, NUMBERS[name], rtol=1e-12)


@pytest.mark.parametrize("name", ["y", "p", "v", "m", "s", "q", "k"])
def test_gradients(name: str) -> None:
    grad = TRACE[name].grad
    assert grad is not None
    np.testing.assert_allclose(grad.array, NUMBERS[f"d{name}"], rtol=1e-9, atol=1e-12)


def test_the_three_ways_agree() -> None:
    by_index = NUMBERS["dm"][2]
    np.testing.assert_allclose(NUMBERS["J"] @ NUMBERS["dp"][2], by_index)
    for j in range(3):
        found = TRACE.why(f"m[2,{j}]")
        assert found.total == pytest.approx(by_index[j])
        assert [term.factors[1] for term in found.terms] == pytest.approx(NUMBERS["J"][:, j])
    assert TRACE.check().ok


def test_all_that_is_worked_out_is_right() -> None:
    """Sums of products, as the page spells them out: what stands on the right is what the left gives."""
    page = PAGE.read_text("utf-8").replace("\u00d7", "*").replace("\n", " ")
    number = r"(?:\(-\d+\.\d+\)|-?\d+(?:\.\d+)?)"
    product = rf"{number} \* {number}"
    found = re.findall(rf"(?:=|is) \(?((?:{product} \+ )+{product})\)?(?: / 1\.4142)? = ({number})", page)
    assert len(found) >= 7
    for left, right in found:
        assert eval(left) == pytest.approx(float(right), abs=3e-4), left
