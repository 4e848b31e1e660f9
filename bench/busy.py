"""Small work on a busy machine: each case alone, and beside two programs that each keep a core busy.

Threads that wait for one another then lose most: a thread without a core makes the others wait, and those that wait may
keep it from getting one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from bench import generate, train
from bench.kernels import both_sides
from bench.timing import Case, Row, Sides

SECTION = "busy"
_PROGRAMS = 2


def cases(quick: bool) -> list[Case]:
    """A small softmax, a token of generation, the smallest training step."""
    (token,) = generate.cases(quick)
    step = next(step for step in train.STEPS if step.target == "P3")
    own = [token, train.step_case(SECTION, step)]
    return [_softmax(64, 512), *[replace(case, section=SECTION, target="") for case in own]]


def run(sides: Sides, quick: bool) -> Iterator[Row]:
    """Each case twice. Beside other programs no two turns are alike, and more turns change little."""
    with Sides([name for name in sides.names if name == "torch"], sides.turns, rounds=1) as own:
        for case in cases(quick):
            yield own.measure(case)
            with _busy_programs():
                row = own.measure(case)
            yield replace(row, name=f"{row.name}, beside {_PROGRAMS} busy programs")


@contextmanager
def _busy_programs() -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(_PROGRAMS)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _softmax(rows: int, columns: int) -> Case:
    def make(t: Any) -> Callable[[], object]:
        x = t.tensor(np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32))
        return lambda: t.softmax(x, -1)

    return Case(SECTION, f"softmax ({rows},{columns})", both_sides(make))
