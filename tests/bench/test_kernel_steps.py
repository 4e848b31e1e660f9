"""docs/kernels.md shows the code of bench.kernel_steps, and a row of its table for each step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import kernel_steps

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kernels.md").read_text("utf-8")
BLOCKS = re.findall(r"^```py\n(.*?)^```", PAGE, re.M | re.S)


def test_every_step_is_shown() -> None:
    assert len(BLOCKS) == len(kernel_steps.STEPS)
    for name, block in zip(kernel_steps.STEPS, BLOCKS, strict=True):
        assert re.search(rf"^(def {name}\(|{name} = )", block, re.M), name


@pytest.mark.parametrize("block", BLOCKS, ids=list(kernel_steps.STEPS))
def test_the_code_is_that_which_is_measured(block: str) -> None:
    assert f"\n\n\n{block}\n\n" in Path(kernel_steps.__file__).read_text("utf-8")


def test_the_table_is_one_that_the_script_prints() -> None:
    shown = re.search(r"^\| step.*?(?=\n\n)", PAGE, re.M | re.S)
    assert shown is not None
    assert _outline(shown[0]) == _outline(kernel_steps.table((2, 3), rounds=1))


def _outline(table: str) -> str:
    """The table without its figures."""
    return re.sub(r"(?<=\| )[\d.e+-]+(?= \|)", "#", table)
