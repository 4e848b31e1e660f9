"""How Python calls kernels, what is checked before, and where their memory comes from.

`launched` wraps each kernel, and each check of values, that works on its arguments and returns nothing that must be
kept. `empty`, `zeros` and `empty_like` make the arrays that kernels write into. They all ask whether this thread has a
recorder, which can step in here and nowhere else; while no thread has one, asking is all that they add. NumPy's own
functions are not wrapped: a recorder uses arrays that NumPy consults (`__array_ufunc__`, `__array_function__`).
"""

from __future__ import annotations

import ctypes
import functools
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np

from .compiler import serial

A = TypeVar("A", bound="np.ndarray[Any, Any]")
Array = np.ndarray[Any, Any]
# From a kernel's arguments to what to call, with which arguments, and what must be kept alive meanwhile; or to None.
Bind = Callable[..., tuple[Any, Any, Any] | None]


class Recorder(Protocol):
    """Takes part in each launch on a thread, and hands out the memory."""

    def launch(self, function: Callable[..., Any], args: tuple[Any, ...], bind: Bind | None) -> Any:
        """Call function(*args), and return what it returns."""

    def empty(self, shape, dtype) -> Any:
        """Return a new array in C order."""

    def empty_like(self, array) -> Any:
        """Return a new array of the same shape, dtype and layout."""


class _Here(threading.local):
    recorder: Recorder | None = None


_here = _Here()
_recorders = 0  # on all threads: reading a global takes a tenth of the time of reading a thread's own variable


@contextmanager
def recorder(new: Recorder | None) -> Iterator[None]:
    """In the `with` block, this thread's launches go through a recorder; with None they are plain calls."""
    global _recorders
    before, _here.recorder = _here.recorder, new
    _recorders += 1
    try:
        yield
    finally:
        _recorders -= 1
        _here.recorder = before


def launched(function: Callable[..., Any], *, bind: Bind | None = None) -> Callable[..., Any]:
    """Wrap a kernel, or a check, that Python calls. What it returns must follow from shapes and layouts alone.

    `bind`, where given, prepares a faster call with the same arguments, for a caller that repeats it.
    """

    def enter(*args) -> Any:
        if _recorders and _here.recorder is not None:
            return _here.recorder.launch(function, args, bind)
        return function(*args)

    return functools.update_wrapper(enter, function, updated=())


# Checks


@serial
def first_outside(index: Array, size: int, ignored: int) -> int:
    """The position of the first element that is neither from 0 to size - 1 nor `ignored`; -1 if there is none."""
    for n in range(index.size):
        if (index[n] < 0 or index[n] >= size) and index[n] != ignored:
            return n
    return -1


@launched
def check_bounds(
    what: str, index: Array, size: int, of: str, error: type[Exception] = IndexError, ignored: int | None = None
) -> None:
    """Raise `error` unless each element of an index is from 0 to size - 1, or `ignored`: kernels do not check again.

    In the message, `what` names the index ("embedding: index"), and `of` what it counts ("rows").
    """
    if ignored is None and not size:
        place = 0 if index.size else -1
    else:
        # If no value is ignored, 0 can take its place, as it is within bounds.
        place = int(first_outside(index.reshape(-1).astype(np.int64, copy=False), size, ignored or 0))
    if place >= 0:
        refuse(what, index, place, size, of, error, ignored)


def refuse(
    what: str, index, place: int, size: int, of: str, error: type[Exception] = IndexError, ignored: Any = None
) -> None:
    """Raise the error that says which element, by its place in the flattened index, is out of bounds."""
    places = ", ".join([str(i) for i in np.unravel_index(place, index.shape)])
    expected = f"from 0 to {size - 1}" + ("" if ignored is None else f" or ignore_index = {ignored}")
    raise error(
        f"{what}[{places}] is {index.flat[place]}, which is out of bounds for {size} {of}: expected one {expected}"
    )


def require_writable(array, what: str) -> None:
    """Raise RuntimeError if an array must not be written to: mapped files and expanded arrays are read-only."""
    if not array.flags.writeable:
        raise RuntimeError(
            f"{what}, {array.dtype} {array.shape}, cannot be written: its memory is read-only, or it is expanded, so "
            "that several elements lie in one place. clone() it first"
        )


# Memory. NumPy's arrays begin 16 bytes into a cache line as often as not. Each vector of 64 bytes then lies in two
# cache lines, and kernels that do little with each vector (a product of one row, layer_norm) take up to twice as long.
# What lasts (parameters, their gradients and moments, caches, the memory of compiled functions) is therefore made to
# begin at a cache line, and so are results of kernels that are large enough to be worth the half microsecond it takes.

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
LARGE = 1 << 20  # bytes: from here on kernels gain more time than aligning their results takes
_SMALL = 4096  # bytes: below this alignment makes no difference
_BYTE = np.dtype(np.uint8)


def empty(shape: tuple[int, ...], dtype) -> Array:
    """A new array in C order, at a cache line if it is large."""
    if _recorders and _here.recorder is not None:
        recorded: Array = _here.recorder.empty(shape, dtype)
        return recorded
    made: Array = np.empty(shape, dtype)
    if made.nbytes >= LARGE:
        del made
        made = aligned_empty(shape, dtype)
    return made


def zeros(shape: tuple[int, ...], dtype) -> Array:
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
    elif array.nbytes >= LARGE and array.flags.c_contiguous:
        made = aligned_empty(array.shape, array.dtype)
    else:
        made = np.empty_like(array)
    return made


def aligned(size: int, make: Any = np.empty) -> Any:
    """Return `size` bytes that begin at a cache line."""
    memory = make(size + ALIGNMENT, _BYTE)
    start = _to_alignment(memory)
    return memory[start : start + size]


def _to_alignment(memory) -> int:
    """The number of bytes before the first cache line. `memory.ctypes.data` would take five times as long as this."""
    return -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGNMENT


def aligned_empty(shape: tuple[int, ...], dtype, make: Any = np.empty) -> Any:
    """Return np.empty(shape, dtype) that begins at a cache line, unless it is small."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _SMALL:
        return make(shape, dtype)
    memory = make(size + ALIGNMENT, _BYTE)
    return np.ndarray(shape, dtype, memory, _to_alignment(memory))


def aligned_copy(array, dtype: Any = None) -> Any:
    """Return array.astype(dtype), always as a copy, which begins at a cache line if it is large."""
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    if type(array) is not np.ndarray or array.size * dtype.itemsize < LARGE:
        return array.astype(dtype, order="C")
    copied = aligned_empty(array.shape, dtype)
    np.copyto(copied, array, casting="unsafe")
    return copied


def aligned_zeros(shape: tuple[int, ...], dtype) -> Any:
    """Return np.zeros(shape, dtype) that begins at a cache line, unless it is small."""
    return aligned_empty(shape, dtype, np.zeros)


_CONSTANTS: dict[int, Array] = {}


def constant(array: Array) -> Array:
    """Mark an array that is made once for all calls and never written to, so that recorded kernels may refer to it."""
    _CONSTANTS[id(array)] = array
    return array


def is_constant(array: Array) -> bool:
    """Whether `constant` has marked the array."""
    return id(array) in _CONSTANTS


@cache
def repeated(value: float, count: int, dtype: np.dtype[Any]) -> Array:
    """Return a constant array of one number `count` times, which stands in for a missing weight or bias."""
    return constant(np.full(count, value, dtype))


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
_LARGEST_BLOCK = 32 * 2**20  # bytes; HEAP_MAX_SIZE / 2, more is refused
_LARGEST_END = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> None:
    """Keep freed memory in the process, where the C library is glibc; elsewhere this does nothing.

    A training step frees and allocates the same few hundred megabytes over and over. glibc hands large blocks back to
    the system when they are freed, and the system must then find and clear each page again: a quarter of the time of
    nanoGPT's CPU step. mallopt(3) stops that: large arrays no longer get mappings of their own, up to the largest size
    that glibc allows, and the end of the heap, up to 2 GiB, is not given back.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _LARGEST_END)
