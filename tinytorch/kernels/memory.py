"""Where arrays lie: from a cache line on, where they last, and in memory that stays with the process.

NumPy's memory begins 16 bytes into a cache line as often as not. Then each vector of 64 bytes lies in two
of them, and to read a weight of 256 KB from the second-level cache takes 80 percent longer. What lasts
(parameters, their gradients and moments, caches, the memory of a tape) is therefore made here; for
what comes and goes in a step the gain, a few percent, is what making it takes.

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
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
_LARGEST_BLOCK = 32 * 2**20  # bytes; HEAP_MAX_SIZE / 2, more is refused
_LARGEST_END = 2**31 - 1  # bytes; mallopt takes an int


def aligned(size: int, make: Any = np.empty) -> Any:
    """So many bytes that begin at a cache line."""
    memory = make(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def empty(shape: tuple[int, ...], dtype: Any, make: Any = np.empty) -> Any:
    """np.empty(shape, dtype) that begins at a cache line, unless it is small."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    return make(shape, dtype) if size < _SMALL else np.ndarray(shape, dtype, aligned(size, make))


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """np.zeros(shape, dtype) that begins at a cache line, unless it is small."""
    return empty(shape, dtype, np.zeros)


def keep_freed_memory() -> None:
    """Set both thresholds, where the C library is glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _LARGEST_END)
