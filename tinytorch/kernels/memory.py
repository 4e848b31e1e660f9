"""Freed memory stays with the process, so that the next step's arrays are not paged in anew.

A training step frees and allocates the same few hundred megabytes over and over. glibc hands large
blocks back to the system when they are freed, and the system must then find and clear each page again:
a quarter of the time of nanoGPT's CPU step. glibc can be told not to (mallopt(3)): neither to map
blocks of their own for large arrays, up to the largest size that it allows, nor to give back the end
of its heap, up to 2 GiB. Elsewhere this does nothing.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
_LARGEST_BLOCK = 32 * 2**20  # bytes; HEAP_MAX_SIZE / 2, more is refused
_LARGEST_END = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> None:
    """Set both thresholds, where the C library is glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _LARGEST_END)
