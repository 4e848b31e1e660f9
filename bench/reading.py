"""python -m bench.reading: how much Python code one training step of the GPT enters, file by file.

The step is that of the `nano-cpu` model, as written rather than compiled: forward, loss, backward, clipping, AdamW. It
counts the functions of this project that Python enters, once everything is warm, and their lines of code without blank
lines, comments and docstrings. Compiled kernels are not counted, since Python does not enter them, nor are
comprehensions and lambdas, whose lines belong to the function around them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.engine_size import code_lines
from bench.options import parser_of
from bench.timing import OURS
from bench.train import STEPS, training_step

_ROOT = Path(__file__).parents[1]
_FOLDERS = tuple(str(_ROOT / name) + "/" for name in ("tinytorch", "gpt"))


def main() -> None:
    """Print the path of one step."""
    parser_of(__doc__).parse_args()
    found = path_of_a_step()
    table = Table("file", "functions", "lines")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (functions, lines) in sorted(found.items()):
        table.add_row(name, str(functions), str(lines))
    table.add_section()
    table.add_row(f"{len(found)} files", *[str(sum(counts)) for counts in zip(*found.values(), strict=True)])
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def path_of_a_step() -> dict[str, tuple[int, int]]:
    """For each file that a training step enters: how many of its functions, and their lines of code."""
    (nano_cpu,) = [step for step in STEPS if step.target == "P2"]
    step = training_step(nano_cpu, OURS, compiled=False)
    step(), step()  # so that kernels are compiled and moments exist
    return count(entered(step))


def entered(call: Callable[[], Any]) -> set[CodeType]:
    """The functions of this project that a call enters."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        named = code.co_name[0] != "<" and "__name__" in frame.f_globals  # Numba's frame of a kernel has no module
        if event == "call" and named and code.co_filename.startswith(_FOLDERS):
            found.add(code)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def count(codes: set[CodeType]) -> dict[str, tuple[int, int]]:
    """For each file, how many of these functions it has, and how many lines of code they have."""
    counts: dict[str, tuple[int, int]] = {}
    for filename in {code.co_filename for code in codes}:
        of_code, lines = code_lines(Path(filename).read_text("utf-8")), set()
        here = [code for code in codes if code.co_filename == filename]
        for code in here:
            source, start = inspect.getsourcelines(code)
            lines |= {number for number in range(start, start + len(source)) if number in of_code}
        counts[Path(filename).relative_to(_ROOT).as_posix()] = len(here), len(lines)
    return counts


if __name__ == "__main__":
    main()
