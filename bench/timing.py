"""How to time things so that ratios can be trusted on a noisy machine.

Each side (ours, PyTorch, NumPy, JAX) runs in a process of its own, because two libraries' thread
pools in one process interfere with each other. The processes take turns, A B A B; the one whose turn
it is not waits, without a thread running. A turn repeats its call until it takes long enough to time.
The ratio is formed turn by turn, so that a slow minute of the machine affects both sides, and its
median is quoted with its quartiles. If these are far apart, more turns are taken: a slow second that
hits one side alone must not outweigh the others.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

OURS = "tinytorch"
_LEAST = 0.05  # seconds in a turn
_MUCH = 10.0  # seconds; a call this long needs neither a warm-up nor more than one turn
_APART = 0.2  # of the median: with quartiles farther apart than this, more turns are taken,
_ROUNDS = 4  # up to this many times as many
_PAUSE = 0.02  # seconds between turns, for the last side's threads to stop spinning
_LONG_PAUSE = 0.3  # after OpenBLAS, NumPy's library, whose threads spin for a tenth of a second and more


@dataclass(frozen=True)
class Case:
    """A piece of work, and for each side how to make the call that does it once."""

    section: str
    name: str
    make: dict[str, Callable[[], Callable[[], object]]]
    target: str = ""
    """The target that it counts towards, such as P1."""
    flops: float = 0.0
    """Floating-point operations in the work; 0 if they are not what limits it."""
    bytes: float = 0.0
    """Bytes that must be moved to and from memory."""
    units: int = 1
    """How many units, such as tokens, one call processes; seconds are quoted per unit."""


@dataclass
class Row:
    """One line of a table."""

    section: str
    name: str
    seconds: dict[str, float]
    """Median seconds (or bytes) by side."""
    ratios: dict[str, tuple[float, float, float]]
    """Lower quartile, median and upper quartile of (other side's time) / (ours), by other side."""
    target: str = ""
    flops: float = 0.0
    bytes: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)
    unit: str = "seconds"
    """The unit of `seconds`: seconds, or bytes."""
    turns: dict[str, list[float]] = field(default_factory=dict)
    """The time of each turn, by side."""
    hashes: dict[str, str] = field(default_factory=dict)
    """Hashes of what was computed, by the form in which it was computed."""


class Side:
    """A process that makes and times the calls of one library."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "bench.worker", name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *question: Any) -> float:
        """Send a question and wait for the answer, a number."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the {self.name} side ended while it was asked {question}")
        return float(json.loads(answer))

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


class Sides:
    """The processes of all sides, started when first needed."""

    def __init__(self, against: list[str], turns: int, rounds: int = _ROUNDS) -> None:
        self.names = [OURS, *against]
        self.turns, self.rounds = turns, rounds
        self._started: dict[str, Side] = {}

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, *exception: Any) -> None:
        for side in self._started.values():
            side.__exit__(None, None, None)

    def _side(self, name: str) -> Side:
        if name not in self._started:
            self._started[name] = Side(name)
        return self._started[name]

    def measure(self, case: Case) -> Row:
        """Time a case on all sides that have it, in turn."""
        sides = [self._side(name) for name in self.names if name in case.make]
        took = {side.name: side.ask("make", case.section, case.name) for side in sides}
        # Not for ours, whose first call may have compiled kernels.
        slow = {name for name, seconds in took.items() if name != OURS and seconds > _MUCH}
        turns, rounds = (1, 1) if slow else (self.turns, self.rounds)
        counts = {side.name: 1 if side.name in slow else _enough(side) for side in sides}
        figures: dict[str, list[float]] = {side.name: [] for side in sides}
        pause = _LONG_PAUSE if any(side.name == "numpy" for side in sides) else _PAUSE
        ratios: dict[str, tuple[float, float, float]] = {}
        for _ in range(rounds):
            for _ in range(turns):
                for side in sides:
                    time.sleep(pause)
                    seconds_of_one = side.ask("time", counts[side.name], side.name not in slow)
                    figures[side.name].append(seconds_of_one / case.units)
            ratios = {other: _quartiles(figures[OURS], theirs) for other, theirs in figures.items() if other != OURS}
            if all(high - low <= _APART * middle for low, middle, high in ratios.values()):
                break
        seconds = {name: statistics.median(values) for name, values in figures.items()}
        per_unit = {"flops": case.flops / case.units, "bytes": case.bytes / case.units}
        return Row(case.section, case.name, seconds, ratios, case.target, turns=figures, **per_unit)

    def measure_all(self, cases: list[Case]) -> Iterator[Row]:
        """The rows of some cases, one after another."""
        for case in cases:
            yield self.measure(case)


def _quartiles(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """The lower quartile, median and upper quartile of the ratios turn by turn."""
    pairs = [b / a for a, b in zip(ours, theirs, strict=True)]
    if len(pairs) == 1:
        return pairs[0], pairs[0], pairs[0]
    low, middle, high = statistics.quantiles(pairs, n=4, method="inclusive")
    return low, middle, high


def _enough(side: Side) -> int:
    """How many calls a turn needs, judged by the shortest of several times: a delayed call would seem to be enough."""
    count = 1
    while True:
        took = min(side.ask("time", count, True) for _ in range(3)) * count
        if took >= _LEAST or count >= 1 << 20:
            return count
        count = max(count + 1, int(count * min(10.0, 1.2 * _LEAST / max(took, 1e-7))))
