"""How kernels are entered and where their memory comes from: the one place where a recorder can stand in between.

`launched` marks each kernel, and each check of values, that works on its arguments and returns nothing that must be
kept: it is entered through a wrapper. `empty`, `zeros` and `empty_like` make the arrays that kernels write into. Both
ask whether this thread has a recorder, and where no thread has one that is all that they do. NumPy's own functions are
called as they are: who records has arrays that NumPy asks (`__array_ufunc__`, `__array_function__`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np

from . import memory

A = TypeVar("A", bound="np.ndarray[Any, Any]")
Array = np.ndarray[Any, Any]
# Of a kernel's arguments: what to call, with what, and what must be kept meanwhile; or None, where there is none.
Bind = Callable[..., tuple[Any, Any, Any] | None]


class Recorder(Protocol):
    """Who takes part in each launch on a thread, and hands out the memory."""

    def launch(self, function: Callable[..., Any], args: tuple[Any, ...], bind: Bind | None) -> Any:
        """function(*args), and what it returns."""

    def empty(self, shape: Any, dtype: Any) -> Any:
        """A new array in C order."""

    def empty_like(self, array: Any) -> Any:
        """A new array of the same shape, dtype and layout."""


class _Here(threading.local):
    recorder: Recorder | None = None


_here = _Here()
_recorders = 0  # on all threads: looking at a number takes a tenth of what looking at a thread's own does


@contextmanager
def recorder(new: Recorder | None) -> Iterator[None]:
    """Inside, this thread's launches go through a recorder; with None they are plain calls."""
    global _recorders
    before, _here.recorder = _here.recorder, new
    _recorders += 1
    try:
        yield
    finally:
        _recorders -= 1
        _here.recorder = before


def launched(function: Callable[..., Any], *, bind: Bind | None = None) -> Callable[..., Any]:
    """A kernel, or a check, as it is entered from Python. What it returns must follow from shapes and layouts alone.

    `bind`, where given, knows a faster way to the same with the same arguments, for who calls it with them again.
    """

    def enter(*args: Any) -> Any:
        if _recorders and _here.recorder is not None:
            return _here.recorder.launch(function, args, bind)
        return function(*args)

    return functools.update_wrapper(enter, function, updated=())


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array in C order, at a cache line if it is large."""
    if _recorders and _here.recorder is not None:
        recorded: Array = _here.recorder.empty(shape, dtype)
        return recorded
    made: Array = np.empty(shape, dtype)
    if made.nbytes >= memory.LARGE:
        del made
        made = memory.empty(shape, dtype)
    return made


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array of zeros in C order."""
    if _recorders and _here.recorder is not None:
        made: Array = _here.recorder.empty(shape, dtype)
        made.fill(0)
        return made
    return np.zeros(shape, dtype)


def empty_like(array: A) -> A:
    """A new array of the same shape, dtype and layout, at a cache line if it is large."""
    made: A
    if _recorders and _here.recorder is not None:
        made = _here.recorder.empty_like(array)
    elif array.nbytes >= memory.LARGE and array.flags.c_contiguous:
        made = memory.empty(array.shape, array.dtype)
    else:
        made = np.empty_like(array)
    return made


_CONSTANTS: dict[int, Array] = {}


def constant(array: Array) -> Array:
    """The array, which is made once for all calls and never written to: kernels may get it besides what a call made."""
    _CONSTANTS[id(array)] = array
    return array


def is_constant(array: Array) -> bool:
    """Whether it is one of these."""
    return id(array) in _CONSTANTS


@cache
def repeated(value: float, count: int, dtype: np.dtype[Any]) -> Array:
    """One number `count` times, a constant: what stands in for a weight or bias that is not there."""
    return constant(np.full(count, value, dtype))
