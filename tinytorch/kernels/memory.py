"""Freed memory stays with the process, so that the next step's arrays are not paged in anew.

A training step frees and allocates the same few hundred megabytes over and over. glibc hands large
blocks back to the system when they are freed, and the system must then find and clear each page again:
a quarter of the time of nanoGPT's CPU step. glibc stops doing so for blocks of a size that it
has seen freed once (mallopt(3), "M_MMAP_THRESHOLD": the threshold is dynamic). Freeing one block of
the largest size that counts, without ever touching its pages, tells it at once. Elsewhere this does nothing.
"""

from __future__ import annotations

import numpy as np

_LARGEST = 32 * 2**20 - 2**14  # bytes; DEFAULT_MMAP_THRESHOLD_MAX, less what malloc adds


def keep_freed_memory() -> None:
    """Allocate a block of the largest size that raises the threshold, and free it."""
    np.empty(_LARGEST, np.uint8)
