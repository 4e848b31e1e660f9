"""How two things are timed so that the ratio can be believed on a noisy machine.

They run in turn, A B A B, in one process. Each turn repeats its call until it takes long enough to
time. The ratio is formed turn by turn, so that a slow minute of the machine hits both, and its
median is quoted with its quartiles.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

OURS = "tinytorch"


@dataclass
class Row:
    """One line of a table: a piece of work, how long each side takes, and what the machine could do."""

    section: str
    name: str
    seconds: dict[str, float]
    """Median seconds a call, by side."""
    ratios: dict[str, tuple[float, float, float]]
    """Lower quartile, median and upper quartile of (other side's time) / (ours), by other side."""
    target: str = ""
    """The target it counts for, such as P1."""
    flops: float = 0.0
    """Floating-point operations in the work, 0 where they are not what limits it."""
    bytes: float = 0.0
    """Bytes that must cross to and from memory."""
    notes: dict[str, float] = field(default_factory=dict)


def interleave(sides: dict[str, Callable[[], object]], turns: int, least: float = 0.02) -> dict[str, list[float]]:
    """Seconds a call, by side, one figure a turn; a turn takes at least `least` seconds."""
    counts = {}
    for name, call in sides.items():
        call()
        count, took = 1, 0.0
        while True:
            took = _time(call, count)
            if took >= least or count >= 1 << 20:
                break
            count = max(count + 1, int(count * min(10.0, 1.2 * least / max(took, 1e-7))))
        counts[name] = count
    figures: dict[str, list[float]] = {name: [] for name in sides}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(turns):
            for name, call in sides.items():
                time.sleep(0.001)  # threads of the other side's pool stop spinning
                call()
                figures[name].append(_time(call, counts[name]) / counts[name])
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return figures


def _time(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start


def measure(
    section: str,
    name: str,
    sides: dict[str, Callable[[], object]],
    *,
    turns: int,
    target: str = "",
    flops: float = 0.0,
    bytes: float = 0.0,
) -> Row:
    """Time the sides in turn and form the ratios to ours."""
    figures = interleave(sides, turns)
    ratios = {}
    for other, theirs in figures.items():
        if other != OURS:
            pairs = sorted(b / a for a, b in zip(figures[OURS], theirs, strict=True))
            quartiles = statistics.quantiles(pairs, n=4, method="inclusive") if len(pairs) > 1 else [pairs[0]] * 3
            ratios[other] = (quartiles[0], quartiles[1], quartiles[2])
    seconds = {side: statistics.median(values) for side, values in figures.items()}
    return Row(section, name, seconds, ratios, target, flops, bytes)
