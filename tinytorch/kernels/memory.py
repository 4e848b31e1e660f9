"""Where arrays lie: from a cache line on, where they last, and in memory that stays with the process.

NumPy's memory begins 16 bytes into a cache line as often as not. Then each vector of 64 bytes lies in two
of them, and kernels that do little with each take up to twice as long (a product of one row, layer_norm).
What lasts (parameters, their gradients and moments, caches, the memory of compiled functions) is therefore made
here, and so are results of kernels that are large enough for the half microsecond that it takes.

A training step frees and allocates the same few hundred megabytes over and over. glibc hands large
blocks back to the system when they are freed, and the system must then find and clear each page again:
a quarter of the time of nanoGPT's CPU step. glibc can be told not to (mallopt(3)): neither to map
blocks of their own for large arrays, up to the largest size that it allows, nor to give back the end
of its heap, up to 2 GiB. Elsewhere this does nothing.
"""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
_SMALL = 4096  # bytes: below this it makes no difference
LARGE = 1 << 20  # bytes: from here on kernels gain more than it takes to align their results
_BYTE = np.dtype(np.uint8)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
_LARGEST_BLOCK = 32 * 2**20  # bytes; HEAP_MAX_SIZE / 2, more is refused
_LARGEST_END = 2**31 - 1  # bytes; mallopt takes an int


def aligned(size: int, make: Any = np.empty) -> Any:
    """So many bytes that begin at a cache line."""
    memory = make(size + ALIGNMENT, _BYTE)
    start = _to_alignment(memory)
    return memory[start : start + size]


def _to_alignment(memory: Any) -> int:
    """The bytes before the first cache line. By way of ctypes it takes a fifth of what `memory.ctypes.data` does."""
    return -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGNMENT


def empty(shape: tuple[int, ...], dtype: Any, make: Any = np.empty, least: int = _SMALL) -> Any:
    """np.empty(shape, dtype) that begins at a cache line, unless it has fewer than `least` bytes."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < least:
        return make(shape, dtype)
    memory = make(size + ALIGNMENT, _BYTE)
    return np.ndarray(shape, dtype, memory, _to_alignment(memory))


def copy(array: Any, dtype: Any = None) -> Any:
    """array.astype(dtype), always a copy, that begins at a cache line where it is large."""
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    if type(array) is not np.ndarray or array.size * dtype.itemsize < LARGE:
        return array.astype(dtype, order="C")
    copied = empty(array.shape, dtype)
    np.copyto(copied, array, casting="unsafe")
    return copied


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """np.zeros(shape, dtype) that begins at a cache line, unless it is small."""
    return empty(shape, dtype, np.zeros)


def require_writable(array: Any, what: str) -> None:
    """RuntimeError where what is about to be written must not be: mapped files are read-only, expanded arrays too."""
    if not array.flags.writeable:
        raise RuntimeError(
            f"{what}, {array.dtype} {array.shape}, cannot be written: its memory is read-only, or it is expanded, so "
            "that several elements lie in one place. clone() it first"
        )


def keep_freed_memory() -> None:
    """Set both thresholds, where the C library is glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _LARGEST_END)
