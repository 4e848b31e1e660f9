"""python -m bench.profile: where the time of a training step and of a generated token goes, operation by operation.

In compiled code, each step of the programs is timed, under the name of the kernel or NumPy function that it calls; the
rest is Python around the programs, and the clock. For code that is not compiled, tinytorch.profiler reports the time,
arithmetic and saved memory of each operation. (Under the profiler a compiled function would run as written.)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import generate, train
from bench.options import parser_of
from bench.timing import OURS, Case
from tinytorch.compiled import program
from tinytorch.profiler import profile

_WARM, _TIMED = 3, 10


def main() -> None:
    """Print a table for each step and for a token."""
    parser_of(__doc__).parse_args()
    console = Console()
    for case in [*train.cases(quick=False), *generate.cases(quick=False)]:
        show(case, console)


def show(case: Case, console: Console) -> None:
    """Print one table: of the programs' steps or, if there are no programs, of operations."""
    call = case.make[OURS]()
    for _ in range(_WARM):
        call()
    with timed_steps() as (timed, counted):
        whole = _time_of(call)
    if counted:
        console.print(_steps_table(case, timed, counted, whole))
        return
    with profile() as prof:
        for _ in range(_TIMED):
            call()
    table = prof.key_averages().table(sort_by="self_cpu_time_total")
    console.print(f"{case.name}: {_TIMED * case.units} times", table, sep="\n", highlight=False)


def _time_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(_TIMED):
        call()
    return time.perf_counter() - start


@contextmanager
def timed_steps() -> Iterator[tuple[Counter[str], Counter[str]]]:
    """The seconds and counts of the steps that programs run inside the block, by name."""
    timed: Counter[str] = Counter()
    counted: Counter[str] = Counter()

    def run_steps(steps: Sequence[Any]) -> None:
        for function, args in steps:
            name = _name(function, args)
            start = time.perf_counter()
            function(*args)
            timed[name] += time.perf_counter() - start  # type: ignore[assignment]
            counted[name] += 1

    untimed = program.run_steps
    program.run_steps = run_steps
    try:
        yield timed, counted
    finally:
        program.run_steps = untimed


def _name(function: Any, args: Any) -> str:
    """The name of what a step of a program does."""
    if isinstance(function, partial):
        return _name(function.func, args)
    name = str(getattr(function, "__name__", type(function).__name__)).lstrip("_")
    inner = [arg for arg in args if callable(arg)]  # for a step that fills arrays from a function's result
    return f"{name}: {_name(inner[0], ())}" if inner else name


def _steps_table(case: Case, timed: Counter[str], counted: Counter[str], whole: float) -> Table:
    units = _TIMED * case.units
    table = Table("step", "times", "us each", "ms in all", title=case.name, title_justify="left")
    for name, seconds in sorted(timed.items(), key=lambda item: -item[1]):
        times = counted[name]
        table.add_row(name, f"{times / units:.1f}", f"{seconds / times * 1e6:.1f}", f"{seconds / units * 1e3:.3f}")
    inside = sum(timed.values())
    table.add_section()
    table.add_row("all of these", f"{sum(counted.values()) / units:.0f}", "", f"{inside / units * 1e3:.3f}")
    table.add_row("Python around them", "", "", f"{(whole - inside) / units * 1e3:.3f}")
    return table


if __name__ == "__main__":
    main()
