"""python -m bench.kernel_steps: how fast each step of docs/kernels.md is, as in the table on that page.

The steps compute softmax over the rows of a matrix, from a plain loop to a kernel. The page explains them, and a test
compares the code it shows with this file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bench.machine import describe
from bench.options import parser_of
from tinytorch.kernels.compiler import apart, serial
from tinytorch.kernels.math import exp_of_negative, maximum
from tinytorch.kernels.threads import parallel_for

Array = NDArray[np.floating[Any]]

_SHAPE = (512, 1024)
_ROUNDS = 10
_TURN = 0.05  # seconds


def plain(x: Array, y: Array) -> None:
    for n in range(x.shape[0]):
        largest, total = x[n, 0], 0.0
        for c in range(x.shape[1]):
            largest = max(largest, x[n, c])
        for c in range(x.shape[1]):
            y[n, c] = math.exp(x[n, c] - largest)
            total += y[n, c]
        for c in range(x.shape[1]):
            y[n, c] /= total


compiled = numba.njit(plain)


@serial
def typed(x: Array, y: Array) -> None:
    for n in range(x.shape[0]):
        largest, total = x[n, 0], x.dtype.type(0)
        for c in range(x.shape[1]):
            largest = max(largest, x[n, c])
        for c in range(x.shape[1]):
            e = math.exp(x[n, c] - largest)
            y[n, c] = e
            total += e
        scale = x.dtype.type(1) / total
        for c in range(x.shape[1]):
            y[n, c] *= scale


@apart
def rows(start: int, stop: int, worker: int, x: Array, y: Array) -> None:
    for n in range(start, stop):
        largest, total = x[n, 0], x.dtype.type(0)
        for c in range(x.shape[1]):
            largest = maximum(largest, x[n, c])
        for c in range(x.shape[1]):
            e = exp_of_negative(x[n, c] - largest)
            y[n, c] = e
            total += e
        scale = x.dtype.type(1) / total
        for c in range(x.shape[1]):
            y[n, c] *= scale


@serial
def vectors(x: Array, y: Array) -> None:
    rows(0, x.shape[0], 0, x, y)


@serial
def threaded(x: Array, y: Array) -> None:
    parallel_for(rows, x.shape[0], 8192 // (x.shape[1] + 1) + 1, (x, y))


STEPS: dict[str, Callable[[Array, Array], None]] = {
    "plain": plain,
    "compiled": compiled,
    "typed": typed,
    "vectors": vectors,
    "threaded": threaded,
}


def numpy(x: Array, y: Array) -> None:
    """The same in NumPy, for comparison."""
    np.subtract(x, x.max(1, keepdims=True), out=y)
    np.exp(y, out=y)
    y /= y.sum(1, keepdims=True)


def table(shape: tuple[int, int] = _SHAPE, rounds: int = _ROUNDS) -> str:
    """Markdown: the time of each step, and its speed compared with the previous step and with NumPy.

    The time is that of the fastest call in several rounds, in which the steps take turns: whatever else the machine
    does can only slow a call down.
    """
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    y = np.empty_like(x)
    calls = {**STEPS, "numpy": numpy}
    seconds = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name] = min(seconds[name], _fastest(call, x, y))
    lines = ["| step | ms | speed, compared with the previous step | with NumPy |", "|---|---:|---:|---:|"]
    before = None
    for name in STEPS:
        gain = "" if before is None else _ratio(seconds[before] / seconds[name])
        lines.append(f"| `{name}` | {seconds[name] * 1e3:.3g} | {gain} | {_ratio(seconds['numpy'] / seconds[name])} |")
        before = name
    return "\n".join(lines)


def _ratio(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1g}" if ratio < 0.1 else f"{ratio:.1f}"


def _fastest(call: Callable[[Array, Array], None], x: Array, y: Array) -> float:
    """The time of the fastest call in a turn, in seconds."""
    fastest, end = math.inf, time.perf_counter() + _TURN
    while (start := time.perf_counter()) < end:
        call(x, y)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def main() -> None:
    """Print the table, and the machine it was measured on."""
    parser_of(__doc__).parse_args()
    facts = describe()
    print(table())
    print(f"\nfloat32, {_SHAPE[0]} rows of {_SHAPE[1]}; {facts['processor']}, {facts['threads']} threads")


if __name__ == "__main__":
    main()
