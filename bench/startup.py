"""The first training step of a fresh process, kernels not yet compiled, then compiled and cached: P10."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from bench.timing import OURS, Row
from bench.train import STEPS, training_step

SECTION = "startup"


def run(against: list[str], turns: int, quick: bool) -> Iterator[Row]:
    """Time whole processes, from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        yield Row(SECTION, "first step, nothing compiled", {OURS: _process(environment, on_torch=False)}, {}, "P10")
        seconds = {OURS: _process(environment, on_torch=False)}
        if "torch" in against:
            seconds["torch"] = _process(environment, on_torch=True)
        ratios = {side: (value / seconds[OURS],) * 3 for side, value in seconds.items() if side != OURS}
        yield Row(SECTION, "first step, kernels cached", seconds, ratios, "P10")


def _process(environment: dict[str, str], on_torch: bool) -> float:
    command = [sys.executable, "-c", f"from bench.startup import child; child({on_torch})"]
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    return time.perf_counter() - start


def child(on_torch: bool) -> None:
    """In the child: one step of P2."""
    training_step(STEPS[0], on_torch)()
