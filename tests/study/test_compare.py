"""Numbers worked out by hand: which cells are right, and what mistake made the others."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch as torch
from tests.study.test_trace import traced_head
from tinytorch import study


def test_what_is_right() -> None:
    t, _ = traced_head()
    found = study.compare(
        t,
        {
            "dscores": t["scores"].grad,
            "dq": np.round(t["q"].grad.array, 2),
            "p": t["p"].value.array.tolist(),
            "dL/dv": t["v"].grad.array,
        },
    )
    assert found.ok and str(found).splitlines()[1] == "dq: right to 2 decimals"
    assert found["dscores"].right is not None and found["dscores"].right.all()


def test_each_mistake_is_named() -> None:
    t, _ = traced_head()
    p, dp, dscores, dk = t["p"].value.array, t["p"].grad.array, t["scores"].grad.array, t["k"].grad.array
    cell = dscores.copy()
    cell[2, 1] = 0.5
    unmasked = np.round(dscores.astype(float), 4) + np.triu(np.full((4, 4), 0.3), 1)
    found = study.compare(
        t,
        {
            "dscores": -dscores,
            "dp": dp.T,
            "dmasked": p * dp,
            "dL/dmasked": dp,
            "dk": dk * np.sqrt(3),
            "dL/dscores": cell,
        },
    )
    assert not found.ok
    assert "the sign is wrong everywhere" in found["dscores"].text
    assert "it is transposed" in found["dp"].text
    assert "the sum in the derivative of softmax is left out: it is p x dL/dp" in found["dmasked"].text
    assert "the derivative of softmax is left out: it is dL/dp" in found["dL/dmasked"].text
    assert "the factor 1/1.732 = 0.5774 is missing" in found["dk"].text
    one = found["dL/dscores"]
    assert "right except for [2, 1]" in one.text and one.right is not None and one.right.sum() == 15
    assert "0.5*" in one.text and "monospace" in found._repr_html_()
    assert "right except at the masked entries" in study.compare(t, {"dscores": unmasked}).text


def test_a_path_and_a_sum_that_are_missing() -> None:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((3, 4)), requires_grad=True)
    b = torch.tensor(rng.standard_normal(4), requires_grad=True)
    with study.trace() as t:
        y = (x + b) * x
        loss = y.exp().sum()
    t.backward(loss)
    first = t["x"].summands[0].array
    found = study.compare(t, {"dx": first, "db": t["add_1"].grad.array})
    assert "through add_1" in found["dx"].text or "through y" in found["dx"].text
    assert "sum over dimension 0 is missing" in found["db"].text


def test_what_cannot_be_compared() -> None:
    t, _ = traced_head()
    found = study.compare(t, {"dscores": np.zeros((2, 2)), "dp": [["a", "b"]]})
    assert "the shape is (2, 2), expected (4, 4)" in found["dscores"].text and not found["dp"].ok
    wrong = np.random.default_rng(0).standard_normal((4, 4))
    assert "no single mistake that is known explains it" in study.compare(t, {"dp": wrong}).text
    with pytest.raises(LookupError, match="holds no 'dnothing'"):
        study.compare(t, {"dnothing": wrong})
    with study.trace() as unwalked:
        y = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(LookupError, match="y has no gradient in the trace"):
        study.compare(unwalked, {"dy": y})


def test_a_factor_that_is_not_transposed() -> None:
    """The mistakes of docs/by-hand.md: dL/ds in place of its transpose in dL/dk, p in place of its in dL/dv."""
    t, _ = traced_head()
    p, dy, q, v = (t[name].value.array if name != "y" else t[name].grad.array for name in ("p", "y", "q", "v"))
    found = study.compare(
        t,
        {
            "dk": t["matmul_1"].grad.array @ q,
            "dv": p @ dy,
            "dq": t["matmul_1"].grad.array.T @ t["k"].value.array,
            "dp": dy @ v.T,
        },
    )
    assert found["dk"].text.startswith("dk: dL/dmatmul_1 is taken for its transpose (")
    assert found["dv"].text.startswith("dv: p is taken for its transpose (")
    assert found["dq"].text.startswith("dq: dL/dmatmul_1 is taken for its transpose (")
    assert found["dp"].ok


def test_how_one_number_and_a_factor_without_a_name_are_said() -> None:
    x = torch.tensor([3.25, 4.5], requires_grad=True)
    with study.trace() as t:
        loss = (x * 7).sum()
    t.backward(loss)
    assert str(study.compare(t, {"mul_1": [3.25, 4.5]})).startswith("mul_1: the factor 7 is missing (0 of 2 cells")
    assert str(study.compare(t, {"loss": 3.0})) == "loss: no single mistake that is known explains it\n    3*"
    with pytest.raises(TypeError, match="by its name or its Tensor, not by int"):
        study.compare(t, {3: 1.0})  # type: ignore[dict-item]
