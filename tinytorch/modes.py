"""Switches that change what an operation does: recording the graph, and unfolding fused operations."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any


class _Mode(threading.local):
    """The switches of one thread."""

    grad = True  # operations record what backward needs
    unfold = False  # fused operations run as their composite of elementary ones


mode = _Mode()


class _Switch(ContextDecorator):
    """Sets one switch for the length of a with block, or of a decorated function."""

    _name = "grad"
    _value = True

    def __init__(self) -> None:
        self._previous: list[bool] = []  # a stack: one instance may be entered again while it is active

    def __enter__(self) -> None:
        self._previous.append(getattr(mode, self._name))
        setattr(mode, self._name, self._value)

    def __exit__(self, *exception: object) -> None:
        setattr(mode, self._name, self._previous.pop())


class no_grad(_Switch):
    """Nothing is recorded inside: results do not require grad. Context manager and decorator."""

    _value = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """`@no_grad` without parentheses decorates too, as in PyTorch."""
        self = super().__new__(cls)
        if function is None:
            return self
        self._previous = []
        return self(function)

    def __init__(self, function: None = None) -> None:
        super().__init__()


class enable_grad(_Switch):
    """Recording is on again inside, also within `no_grad`."""


class set_grad_enabled(_Switch):
    """Recording on or off: from the call on, or for the length of a with block."""

    def __init__(self, enabled: bool) -> None:
        self._previous = [mode.grad]
        self._value = bool(enabled)
        mode.grad = self._value

    def __enter__(self) -> None:
        mode.grad = self._value


class unfold(_Switch):
    """Study mode: inside, every fused operation runs as the elementary operations it stands for.

    The graph then holds each step (see `Tensor.grad_fn`), and backward goes through each.
    """

    _name = "unfold"


def is_grad_enabled() -> bool:
    """Whether operations on this thread record what backward needs."""
    return mode.grad
