"""Peak memory of a training step, beyond what importing the library costs (P11); each side in its own process."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from bench.timing import OURS, Row, Sides
from bench.train import STEPS, Step

SECTION = "memory"
_REPEATS = 3


def run(sides: Sides, quick: bool) -> Iterator[Row]:
    """Measure the P2 and P4 steps; `quick` leaves out P4."""
    for step in STEPS:
        if step.target == "P2" or (step.target == "P4" and not quick):
            yield measure_step(step, sides.names)


def measure_step(step: Step, libraries: list[str]) -> Row:
    """One row: bytes in place of seconds."""
    sides = {name: _peak(step, name) for name in libraries if name in (OURS, "torch")}
    ratios = {side: (value / sides[OURS],) * 3 for side, value in sides.items() if side != OURS}
    return Row(SECTION, f"{step}, peak memory", sides, ratios, target="P11")


def _peak(step: Step, library: str) -> float:
    """Bytes: the highest resident size during a few steps, less that after the imports."""
    code = f"from bench.memory import child; from bench.train import Step; child({step!r}, {library!r})"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    figures = json.loads(output.splitlines()[-1])
    return float(figures["peak"] - figures["imported"])


def child(step: Step, library: str) -> None:
    """In the child: import, note the resident size, train, print both figures."""
    import psutil

    from bench.train import training_step

    t: Any = importlib.import_module(library)
    t.nn.Linear(2, 2)(t.zeros(1, 2)).sum().backward()
    imported = psutil.Process().memory_info().rss
    call = training_step(step, library)
    for _ in range(_REPEATS):
        call()
    print(json.dumps({"imported": imported, "peak": _peak_resident()}))


def _peak_resident() -> int:
    """The highest resident size of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
