"""python -m bench.profile: where the time of a training step and of a generated token goes, operation by operation.

Of what is compiled, each step of its programs is timed, under the name of the kernel or NumPy function it calls. Of
what is not, counted are the applications of each operation, its backward included where that is made of operations, and
the time inside its forward, which is arrays and kernels; likewise the backwards of fused operations. What is left of
the step is the engine (recording, walking, making Tensors) and the clock itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import generate, train
from bench.timing import OURS, Case
from tinytorch import compilation
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
    compilation._run = _run_timed(timed, counted)
    for case in cases:
        _show(case, timed, counted)


def _run_timed(timed: Counter[str], counted: Counter[str]) -> Callable[[list[Any]], None]:
    def run(steps: list[Any]) -> None:
        for function, args in steps:
            name = _name(function, args)
            start = time.perf_counter()
            function(*args)
            timed[name] += time.perf_counter() - start  # type: ignore[assignment]
            counted[name] += 1

    return run


def _name(function: Any, args: Any) -> str:
    """What a step of a program does."""
    if isinstance(function, partial):
        return _name(function.func, args)
    name = str(getattr(function, "__name__", function)).lstrip("_")
    inner = [arg for arg in args if callable(arg)]  # of a step that fills arrays from a function's result
    return f"{name}: {_name(inner[0], ())}" if inner else name


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
