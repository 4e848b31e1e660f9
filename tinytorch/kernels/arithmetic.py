"""Sums of large arrays on all threads.

    add            out_i = a_i + b_i
    column_sums    out_c = sum_n x_nc
    row_sums       out_n = sum_c x_nc

NumPy adds on one thread. That is slower for large arrays, and moves all of them to one core's cache, from which the
next kernel's threads must fetch their parts. Here chunks of elements, rows or columns are spread over the threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiler import inner, serial
from .launch import empty, empty_like, launched, zeros
from .threads import parallel_for, threads_in_use

Array = NDArray[Any]

_GRAIN = 8192  # elements that a thread takes at a time
_LARGE = 1 << 15  # elements; from here on a second thread is worth it
_SMALL = 1 << 12  # elements; below this NumPy adds up columns as fast
_FEW_COLUMNS = 16  # fewer are not worth a loop over rows
_LINE = 64  # bytes in a cache line: no two threads write into one


@serial
def _add_chunk(start: int, stop: int, worker: int, a: Array, b: Array, out: Array) -> None:
    a, b, out = a[start:stop], b[start:stop], out[start:stop]  # indices from 0 on: lower ones count from the end
    for e in range(out.size):
        out[e] = a[e] + b[e]


@launched
@serial
def _add(a: Array, b: Array, out: Array) -> None:
    parallel_for(_add_chunk, a.size, _GRAIN, (a, b, out))


@inner
def column_grain(columns: int, itemsize: int) -> int:
    """The number of columns in a chunk, if a thread goes through all rows: many, so that rows are read in long runs,
    but few enough for two chunks per thread, in case one thread is held up."""
    line = _LINE // itemsize
    grain: int = (columns // (2 * threads_in_use()) // line + 1) * line
    return grain


@serial
def _column_sums_block(start: int, stop: int, worker: int, x: Array, sums: Array) -> None:
    total = sums[start:stop]
    for n in range(x.shape[0]):
        row = x[n, start:stop]
        for c in range(total.size):
            total[c] += row[c]


@launched
@serial
def _column_sums(x: Array, sums: Array) -> None:
    grain = columns = x.shape[1]
    if threads_in_use() > 1 and x.size >= _LARGE:
        grain = column_grain(columns, x.itemsize)
    parallel_for(_column_sums_block, columns, grain, (x, sums))


def column_sums(x: Array) -> Array:
    """The sum (C,) of the rows of x (N, C), added up in their order."""
    if x.dtype not in (np.float32, np.float64) or not x.flags.carray:
        summed: Array = x.sum(axis=0)
        return summed
    sums = zeros((x.shape[1],), x.dtype)
    if x.size:
        _column_sums(x, sums)
    return sums


@serial
def _row_sums_pieces(start: int, stop: int, worker: int, x: Array, parts: Array) -> None:
    pieces = parts.shape[1]
    for task in range(start, stop):
        n, piece = task // pieces, task % pieces
        row = x[n, piece * _GRAIN : min(x.shape[1], (piece + 1) * _GRAIN)]
        total = x.dtype.type(0)
        for c in range(row.size):
            total += row[c]
        parts[n, piece] = total


@launched
@serial
def _row_sums(x: Array, parts: Array, sums: Array) -> None:
    parallel_for(_row_sums_pieces, parts.size, _GRAIN // min(x.shape[1], _GRAIN), (x, parts))
    for n in range(sums.size):
        total = 0.0
        for piece in range(parts.shape[1]):
            total += parts[n, piece]
        sums[n] = total


def row_sums(x: Array) -> Array:
    """The sum (N,) of each row of x (N, C), in C order and not empty: first within pieces of a row, then over them."""
    rows, columns = x.shape
    parts, sums = empty((rows, -(-columns // _GRAIN)), x.dtype), empty((rows,), x.dtype)
    _row_sums(x, parts, sums)
    return sums


def total(x: Array, axes: tuple[int, ...] | None, keepdims: bool = False) -> Any:
    """x.sum(axis=axes, keepdims=keepdims), by a kernel over the first dimensions, or the last ones of a large array."""
    if x.size >= _SMALL and x.dtype in (np.float32, np.float64) and x.flags.carray:
        gone = sorted(range(x.ndim) if axes is None else [axis % x.ndim for axis in axes])
        k = len(gone)
        if k and gone[0] == x.ndim - k:
            if x.size >= _LARGE:
                kept, ones = x.shape[:-k], (1,) * k if keepdims else ()
                return row_sums(x.reshape(math.prod(kept), -1)).reshape(kept + ones)
        elif k and gone[-1] == k - 1:
            kept, ones = x.shape[k:], (1,) * k if keepdims else ()
            count = math.prod(kept)
            if count >= _FEW_COLUMNS:
                return column_sums(x.reshape(-1, count)).reshape(ones + kept)
    return x.sum(axis=axes, keepdims=keepdims)


def add(a: Array, b: Array, out: Array | None = None) -> Array:
    """a + b, as NumPy broadcasts and promotes. `out`, of the result's shape and dtype, may be a or b itself."""
    if a.size < _LARGE or a.shape != b.shape or a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
        return np.add(a, b, out=out)
    result = empty_like(a) if out is None else out
    if not (a.flags.carray and b.flags.carray and result.flags.carray):  # aligned, in C order, writable: one type
        return np.add(a, b, out=out)
    _add(a.reshape(-1), b.reshape(-1), result.reshape(-1))
    return result
