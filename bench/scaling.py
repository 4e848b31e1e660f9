"""How a training step's time and peak memory grow with T, B, C and L: the exponent of a power law, fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bench.memory import measure_step
from bench.timing import OURS, Row, measure
from bench.train import Step, flops, training_step

SECTION = "scaling"
BASE = Step("", 4, 64, 4, 4, 128)
GROWTH = {"T": (64, 128, 256, 512, 1024), "B": (4, 8, 16, 32, 64), "C": (64, 128, 256, 512), "L": (2, 4, 8, 16)}


def run(against: list[str], turns: int, quick: bool) -> Iterator[Row]:
    """A row for each size of each dimension; the other dimensions stay as in BASE."""
    for dimension, sizes in GROWTH.items():
        for size in sizes[:3] if quick else sizes:
            step = replace(BASE, **{dimension: size})
            row = measure(SECTION, str(step), {OURS: training_step(step, on_torch=False)}, turns=3, flops=flops(step))
            memory = measure_step(step, against=[])
            row.notes = {dimension: size, "peak_bytes": memory.seconds[OURS]}
            yield row


def exponent(sizes: list[float], values: list[float]) -> float:
    """p of the power law value = c size^p, by least squares on the logarithms, over the larger half."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])
