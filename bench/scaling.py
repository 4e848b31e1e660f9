"""How a training step's time and peak memory grow with T, B, C and L: the exponent of a power law, fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bench.memory import measure_step
from bench.timing import OURS, Case, Row, Sides
from bench.train import Step, step_case

SECTION = "scaling"
BASE = Step("", 4, 64, 4, 4, 128)
GROWTH = {"T": (64, 128, 256, 512, 1024), "B": (4, 8, 16, 32, 64), "C": (64, 128, 256, 512), "L": (2, 4, 8, 16)}


def _steps(quick: bool) -> Iterator[tuple[str, int, Step]]:
    for dimension, sizes in GROWTH.items():
        for size in sizes[:3] if quick else sizes:
            yield dimension, size, replace(BASE, **{dimension: size})


def cases(quick: bool) -> list[Case]:
    """A step for each size of each dimension; the other dimensions stay as in BASE."""
    return [step_case(SECTION, step) for _, _, step in _steps(quick)]


def run(sides: Sides, quick: bool) -> Iterator[Row]:
    """Time and peak memory of each step, ours alone."""
    with Sides([], turns=3) as alone:
        for dimension, size, step in _steps(quick):
            row = alone.measure(step_case(SECTION, step))
            row.notes = {dimension: size, "peak_bytes": measure_step(step, [OURS]).seconds[OURS]}
            yield row


def exponent(sizes: list[float], values: list[float]) -> float:
    """p of the power law value = c size^p, by least squares on the logarithms, over the larger half."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])
