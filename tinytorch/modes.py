"""Switches that change what an operation does: recording the graph, and unfolding fused operations."""

from __future__ import annotations

import contextvars
import functools
import inspect
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


class _Mode(threading.local):
    """The switches of one thread."""

    grad = True  # operations record what backward needs
    unfold = False  # fused operations run as their composite of elementary ones
    nodes: list[Any] | None = None  # receives each node as it is linked (utils/checkpoint.py)
    tape: Any = None  # records what is done (compilation.py)
    dropped: list[Any] | None = None  # what is left of a graph that is being dropped (walk.Links)

    def __init__(self) -> None:
        # Calls a function where NumPy does not warn of infinities and NaN: log(0), 1/0, overflow. Running in a
        # context made once takes a tenth of np.errstate's time. Not to be nested.
        quiet = contextvars.copy_context()
        quiet.run(np.seterr, all="ignore")
        self.quietly: Callable[..., Any] = quiet.run


mode = _Mode()


def untraced(function: F) -> F:
    """For what works with Python's own state: a compiled function calls it as it is, each time."""

    @functools.wraps(function)
    def call(*args: Any, **params: Any) -> Any:
        tape = mode.tape
        return function(*args, **params) if tape is None else tape.call(function, *args, **params)

    return call  # type: ignore[return-value]


class _Switch(ContextDecorator):
    """Sets one switch for the length of a with block, or of each call of a decorated function."""

    _name = "grad"
    _value = True

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """`@no_grad` without parentheses decorates too, as in PyTorch."""
        self = super().__new__(cls)
        if function is None:
            return self
        self._previous = []
        return self(function)

    def __init__(self, function: None = None) -> None:
        self._previous: list[bool] = []  # a stack: one instance may be entered again while it is active

    def _recreate_cm(self) -> _Switch:
        """For each call of a decorated function a switch of its own: calls on several threads may overlap."""
        switch: _Switch = _Switch()
        switch._name, switch._value = self._name, self._value
        return switch

    def __call__(self, function: Any) -> Any:
        if not inspect.isgeneratorfunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        def generator_function(*args: Any, **params: Any) -> Any:
            # Set while the generator runs, not while its caller does.
            generator, sent = function(*args, **params), None
            while True:
                with self._recreate_cm():
                    try:
                        value = generator.send(sent)
                    except StopIteration as end:
                        return end.value
                sent = yield value

        return generator_function

    def __enter__(self) -> None:
        self._previous.append(getattr(mode, self._name))
        setattr(mode, self._name, self._value)

    def __exit__(self, *exception: object) -> None:
        setattr(mode, self._name, self._previous.pop())


class no_grad(_Switch):
    """Nothing is recorded inside: results do not require grad. Context manager and decorator."""

    _value = False


class enable_grad(_Switch):
    """Recording is on again inside, also within `no_grad`."""


class inference_mode(_Switch):
    """`no_grad`, under the name that evaluation code uses; `inference_mode(False)` is `enable_grad`."""

    _value = False

    def __new__(cls, mode: Any = True) -> Any:
        """The argument is a bool, or the function to decorate."""
        return super().__new__(cls, mode if callable(mode) else None)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self._value = not mode


class set_grad_enabled(_Switch):
    """Recording on or off: from the call on, for the length of a with block, or in a decorated function."""

    def __new__(cls, mode: bool) -> Any:
        """The argument is a bool, never a function."""
        return super().__new__(cls)

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._value = bool(mode)
        super().__enter__()

    def __call__(self, function: Any) -> Any:
        super().__exit__()
        return super().__call__(function)

    def __enter__(self) -> None:
        super().__enter__()
        self._previous[-1] = self._previous[0]  # leaving goes back to what was before the call


class unfold(_Switch):
    """Study mode: inside, every fused operation runs as the elementary operations it stands for.

    The graph then holds each step (see `Tensor.grad_fn`), and backward goes through each.
    """

    _name = "unfold"


def is_grad_enabled() -> bool:
    """Whether operations on this thread record what backward needs."""
    return mode.grad
