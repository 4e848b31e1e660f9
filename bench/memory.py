"""Peak memory of a training step (P11) and of long attention, beyond what importing the library costs.

Each side runs in its own process.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from bench.child import run as run_child
from bench.timing import OURS, Row, Sides
from bench.train import STEPS, Step
from tinytorch.training.memory import peak_memory

SECTION = "memory"
_REPEATS = 3
_LONG = (2048, 4096, 8192)  # positions in causal attention, whose memory must grow only linearly


def run(sides: Sides, quick: bool) -> Iterator[Row]:
    """Measure the P2 and P4 steps, and attention over long sequences; `quick` leaves out the large ones."""
    for step in STEPS:
        if step.target == "P2" or (step.target == "P4" and not quick):
            yield measure_step(step, sides.names)
    for T in _LONG[:1] if quick else _LONG:
        name = f"attention causal B1 H8 T{T} D64, forward and backward, peak memory"
        yield _measure(name, f"bench.memory.attention({T}, LIBRARY)", sides.names)


def measure_step(step: Step, libraries: list[str]) -> Row:
    """One row, with bytes instead of seconds."""
    call = f"bench.train.training_step(bench.train.{step!r}, LIBRARY)"
    return _measure(f"{step}, peak memory", call, libraries, "P11")


def _measure(name: str, call: str, libraries: list[str], target: str = "") -> Row:
    _peak(call, OURS)  # compiles the kernels first, so that the compiler's memory is not counted
    sides = {library: _peak(call, library) for library in libraries if library in (OURS, "torch")}
    ratios = {side: (value / sides[OURS],) * 3 for side, value in sides.items() if side != OURS}
    return Row(SECTION, name, sides, ratios, target=target, unit="bytes")


def _peak(call: str, library: str) -> float:
    """In bytes, the peak resident size during a few calls, minus that after the imports."""
    code = f"import bench.memory, bench.train; LIBRARY = {library!r}; bench.memory.child(LIBRARY, lambda: {call})"
    figures = run_child(code)
    return float(figures["peak"] - figures["imported"])


def child(library: str, make: Callable[[], Callable[[], Any]]) -> None:
    """In the child: import, note the resident size, make the call and run it, print both figures."""
    import psutil

    t: Any = importlib.import_module(library)
    t.nn.Linear(2, 2)(t.zeros(1, 2)).sum().backward()
    imported = psutil.Process().memory_info().rss
    call = make()
    for _ in range(_REPEATS):
        call()
    print(json.dumps({"imported": imported, "peak": peak_memory()}))


def attention(T: int, library: str) -> Callable[[], Any]:
    """A call that runs causal attention over T positions, forward and backward."""
    t: Any = importlib.import_module(library)
    q, k, v = (t.randn(1, 8, T, 64, requires_grad=True) for _ in range(3))

    def call() -> None:
        t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
        q.grad = k.grad = v.grad = None

    return call
