"""python -m bench.profile: where the time of a training step and of a generated token goes, operation by operation.

Counted are the applications of each operation, its backward included where that is made of operations, and the time
inside its forward, which is arrays and kernels; likewise the backwards of fused operations. What is left of the step is
the engine (recording, walking, making Tensors) and the clock itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import generate, train
from bench.timing import OURS, Case
from tinytorch.function import Function, FusedFunction

_WARM, _TIMED = 3, 10


def main() -> None:
    """A table for each step and for a token."""
    cases = [*train.cases(quick=False), *generate.cases(quick=False)]
    timed: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for cls in set(_below(Function)):
        for method in ("forward", "backward") if issubclass(cls, FusedFunction) else ("forward",):
            if method in vars(cls):
                function = _timed(getattr(cls, method), f"{cls.__name__}.{method}", timed, counted)
                setattr(cls, method, staticmethod(function))
    for case in cases:
        _show(case, timed, counted)


def _below(cls: type[Function]) -> Iterator[type[Function]]:
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)


def _timed(function: Callable[..., Any], name: str, timed: Counter[str], counted: Counter[str]) -> Callable[..., Any]:
    def timed_function(*args: Any, **params: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **params)
        timed[name] += time.perf_counter() - start  # type: ignore[assignment]
        counted[name] += 1
        return result

    return timed_function


def _show(case: Case, timed: Counter[str], counted: Counter[str]) -> None:
    call = case.make[OURS]()
    for _ in range(_WARM):
        call()
    timed.clear()
    counted.clear()
    start = time.perf_counter()
    for _ in range(_TIMED):
        call()
    units = _TIMED * case.units
    whole = (time.perf_counter() - start) / units
    table = Table("operation", "times", "us each", "ms in all", title=case.name, title_justify="left")
    for name, seconds in sorted(timed.items(), key=lambda item: -item[1]):
        times = counted[name]
        table.add_row(name, f"{times / units:.1f}", f"{seconds / times * 1e6:.1f}", f"{seconds / units * 1e3:.3f}")
    inside = sum(timed.values()) / units
    table.add_section()
    table.add_row("all of these", f"{sum(counted.values()) / units:.0f}", "", f"{inside * 1e3:.3f}")
    table.add_row("the engine", "", "", f"{(whole - inside) * 1e3:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
