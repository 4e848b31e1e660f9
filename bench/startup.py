"""The first training step of a fresh process, before kernels are compiled and when they are cached (P10)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from bench.timing import OURS, Row, Sides
from bench.train import STEPS, training_step

SECTION = "startup"


def run(sides: Sides, quick: bool) -> Iterator[Row]:
    """Time whole processes, from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        yield Row(SECTION, "first step, nothing compiled", {OURS: _process(environment, OURS)}, {}, "P10")
        seconds = {name: _process(environment, name) for name in sides.names if name in (OURS, "torch")}
        ratios = {side: (value / seconds[OURS],) * 3 for side, value in seconds.items() if side != OURS}
        yield Row(SECTION, "first step, kernels cached", seconds, ratios, "P10")


def _process(environment: dict[str, str], library: str) -> float:
    command = [sys.executable, "-c", f"from bench.startup import child; child({library!r})"]
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    return time.perf_counter() - start


def child(library: str) -> None:
    """In the child: one step of P2."""
    training_step(STEPS[0], library)()
