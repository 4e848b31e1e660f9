"""`no_grad`, `enable_grad` and their relatives: context managers and decorators that switch recording on or off."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

from .engine.mode import mode


class Switch(ContextDecorator):
    """Switches recording on or off in a with block, or in each call of a decorated function."""

    _value = True

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """`@no_grad` without parentheses decorates too, as in PyTorch."""
        self = super().__new__(cls)
        if function is None:
            return self
        self._previous = []
        return self(function)

    def __init__(self, function: None = None) -> None:
        self._previous: list[bool] = []  # a stack, since an instance may be entered again while it is active

    def _recreate_cm(self) -> Switch:
        """A new switch for each call of a decorated function, since calls on several threads may overlap."""
        switch: Switch = Switch()
        switch._value = self._value
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
        self._previous.append(mode.grad)
        mode.grad = self._value

    def __exit__(self, *exception: object) -> None:
        mode.grad = self._previous.pop()


class no_grad(Switch):
    """Nothing is recorded inside, so results do not require grad. Context manager and decorator."""

    _value = False


class enable_grad(Switch):
    """Recording is on inside, even within `no_grad`."""


class inference_mode(Switch):
    """`no_grad`, under the name that evaluation code uses; `inference_mode(False)` is `enable_grad`."""

    _value = False

    def __new__(cls, mode: Any = True) -> Any:
        """The argument is a bool, or the function to decorate."""
        return super().__new__(cls, mode if callable(mode) else None)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self._value = not mode


class set_grad_enabled(Switch):
    """Switches recording on or off: from the call on, within a with block, or in a decorated function."""

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
        self._previous[-1] = self._previous[0]  # leaving restores the state from before the call


def is_grad_enabled() -> bool:
    """Whether operations on this thread record what backward needs."""
    return mode.grad
