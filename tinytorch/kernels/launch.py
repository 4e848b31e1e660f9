"""How kernels are entered, what is checked before, and where their memory comes from.

`launched` marks each kernel, and each check of values, that works on its arguments and returns nothing that must be
kept: it is entered through a wrapper. `empty`, `zeros` and `empty_like` make the arrays that kernels write into. Both
ask whether this thread has a recorder, and where no thread has one that is all that they do: this is the one place
where a recorder can stand in between. NumPy's own functions are called as they are: who records has arrays that NumPy
asks (`__array_ufunc__`, `__array_function__`).
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


# Checks


@serial
def first_outside(index: Array, size: int, ignored: int) -> int:
    """Where a vector has the first element that is neither one of 0 to size - 1 nor ignored; -1 if nowhere."""
    for n in range(index.size):
        if (index[n] < 0 or index[n] >= size) and index[n] != ignored:
            return n
    return -1


@launched
def check_bounds(
    what: str, index: Array, size: int, of: str, error: type[Exception] = IndexError, ignored: int | None = None
) -> None:
    """The error, unless each element of an index is one of 0 to size - 1, or ignored: kernels do not look again.

    `what` names the index in the message, `of` what it is one of: "embedding: index", "rows".
    """
    if ignored is None and not size:
        place = 0 if index.size else -1
    else:
        # Where none is ignored, 0 is that: it is within bounds.
        place = int(first_outside(index.reshape(-1).astype(np.int64, copy=False), size, ignored or 0))
    if place >= 0:
        refuse(what, index, place, size, of, error, ignored)


def refuse(
    what: str, index: Any, place: int, size: int, of: str, error: type[Exception] = IndexError, ignored: Any = None
) -> None:
    """Raise the error that says which element, by its place in the flattened index, is out of bounds."""
    places = ", ".join([str(i) for i in np.unravel_index(place, index.shape)])
    expected = f"from 0 to {size - 1}" + ("" if ignored is None else f" or ignore_index = {ignored}")
    raise error(
        f"{what}[{places}] is {index.flat[place]}, which is out of bounds for {size} {of}: expected one {expected}"
    )


def require_writable(array: Any, what: str) -> None:
    """RuntimeError where what is about to be written must not be: mapped files are read-only, expanded arrays too."""
    if not array.flags.writeable:
        raise RuntimeError(
            f"{what}, {array.dtype} {array.shape}, cannot be written: its memory is read-only, or it is expanded, so "
            "that several elements lie in one place. clone() it first"
        )


# Memory. NumPy's begins 16 bytes into a cache line as often as not. Then each vector of 64 bytes lies in two of them,
# and kernels that do little with each take up to twice as long (a product of one row, layer_norm). What lasts
# (parameters, their gradients and moments, caches, the memory of compiled functions) is therefore made to begin at one,
# and so are results of kernels that are large enough for the half microsecond that it takes.

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
LARGE = 1 << 20  # bytes: from here on kernels gain more than it takes to align their results
_SMALL = 4096  # bytes: below this it makes no difference
_BYTE = np.dtype(np.uint8)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array in C order, at a cache line if it is large."""
    if _recorders and _here.recorder is not None:
        recorded: Array = _here.recorder.empty(shape, dtype)
        return recorded
    made: Array = np.empty(shape, dtype)
    if made.nbytes >= LARGE:
        del made
        made = aligned_empty(shape, dtype)
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
    elif array.nbytes >= LARGE and array.flags.c_contiguous:
        made = aligned_empty(array.shape, array.dtype)
    else:
        made = np.empty_like(array)
    return made


def aligned(size: int, make: Any = np.empty) -> Any:
    """So many bytes that begin at a cache line."""
    memory = make(size + ALIGNMENT, _BYTE)
    start = _to_alignment(memory)
    return memory[start : start + size]


def _to_alignment(memory: Any) -> int:
    """The bytes before the first cache line. By way of ctypes it takes a fifth of what `memory.ctypes.data` does."""
    return -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGNMENT


def aligned_empty(shape: tuple[int, ...], dtype: Any, make: Any = np.empty, least: int = _SMALL) -> Any:
    """np.empty(shape, dtype) that begins at a cache line, unless it has fewer than `least` bytes."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < least:
        return make(shape, dtype)
    memory = make(size + ALIGNMENT, _BYTE)
    return np.ndarray(shape, dtype, memory, _to_alignment(memory))


def aligned_copy(array: Any, dtype: Any = None) -> Any:
    """array.astype(dtype), always a copy, that begins at a cache line where it is large."""
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    if type(array) is not np.ndarray or array.size * dtype.itemsize < LARGE:
        return array.astype(dtype, order="C")
    copied = aligned_empty(array.shape, dtype)
    np.copyto(copied, array, casting="unsafe")
    return copied


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """np.zeros(shape, dtype) that begins at a cache line, unless it is small."""
    return aligned_empty(shape, dtype, np.zeros)


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


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
_LARGEST_BLOCK = 32 * 2**20  # bytes; HEAP_MAX_SIZE / 2, more is refused
_LARGEST_END = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> None:
    """Keep freed memory in the process, where the C library is glibc; elsewhere this does nothing.

    A training step frees and allocates the same few hundred megabytes over and over. glibc hands large blocks back to
    the system when they are freed, and the system must then find and clear each page again: a quarter of the time of
    nanoGPT's CPU step. It can be told not to (mallopt(3)): neither to map blocks of their own for large arrays, up to
    the largest size that it allows, nor to give back the end of its heap, up to 2 GiB.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _LARGEST_END)
