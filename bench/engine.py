"""The engine's overhead: operations on tensors so small that the arithmetic takes no time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bench.kernels import both_sides
from bench.timing import Case

SECTION = "engine"
_OPERATIONS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {  # functions of (library, x, y, bias)
    "x + y": lambda t, x, y, b: x + y,
    "x * 2": lambda t, x, y, b: x * 2.0,
    "x @ y": lambda t, x, y, b: x @ y,
    "x.transpose(-2, -1)": lambda t, x, y, b: x.transpose(-2, -1),
    "x[:2]": lambda t, x, y, b: x[:2],
    "linear": lambda t, x, y, b: t.nn.functional.linear(x, y, b),
    "softmax": lambda t, x, y, b: t.softmax(x, -1),
    "layer_norm": lambda t, x, y, b: t.nn.functional.layer_norm(x, (4,), b, b),
    "gelu": lambda t, x, y, b: t.nn.functional.gelu(x),
}


def cases(quick: bool) -> list[Case]:
    """Each operation on (4, 4): not recorded, recorded, and with its backward."""
    return [
        Case(SECTION, f"{name}, {how}", both_sides(partial(make, operation)))
        for name, operation in _OPERATIONS.items()
        for how, make in (("no_grad", _unrecorded), ("recorded", _recorded), ("forward and backward", _both))
    ]


def _inputs(t: Any) -> tuple[Any, Any, Any]:
    return t.randn(4, 4, requires_grad=True), t.randn(4, 4, requires_grad=True), t.randn(4, requires_grad=True)


def _unrecorded(operation: Any, t: Any) -> Callable[[], object]:
    inputs = _inputs(t)

    def call() -> None:
        with t.no_grad():
            operation(t, *inputs)

    return call


def _recorded(operation: Any, t: Any) -> Callable[[], object]:
    inputs = _inputs(t)
    return lambda: operation(t, *inputs)


def _both(operation: Any, t: Any) -> Callable[[], object]:
    inputs = _inputs(t)
    gradient = t.ones_like(operation(t, *inputs))

    def call() -> None:
        operation(t, *inputs).backward(gradient)
        for x in inputs:
            x.grad = None

    return call
