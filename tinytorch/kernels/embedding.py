"""Rows taken by index (an embedding), rows added by index (its backward), and elements added by index within each row.

    take_rows         out[n] = weight[index[n]]
    index_add         out[index[n]] += source[n]
    add_within_rows   out[n, index[n, m]] += source[n, m]

Rows are added in their order, each block of columns by one thread, so duplicates are summed without
a race and the bits do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arithmetic import column_grain
from .compiler import serial
from .launch import check_bounds, empty, launched, zeros
from .threads import parallel_for, threads_in_use

Array = NDArray[np.floating]
Index = NDArray[np.int64]

_SERIAL_BELOW = 8192  # elements; fewer are not worth a second thread
_LARGE = 1 << 15  # elements; from here on two threads copy faster than NumPy


@serial
def _take_rows(start: int, stop: int, worker: int, weight: Array, index: Index, out: Array) -> None:
    for n in range(start, stop):
        row = np.uintp(index[n])  # unsigned: a signed index might count from the end
        for c in range(weight.shape[1]):
            out[n, c] = weight[row, c]


@launched
@serial
def _take(weight: Array, index: Index, out: Array) -> None:
    parallel_for(_take_rows, index.size, _LARGE // 4 // (weight.shape[1] + 1) + 1, (weight, index, out))


def take_rows(weight: Array, index: Index) -> Array:
    """Return weight[index] (..., C) for weight (V, C) and an index (...) that has been checked to be in [0, V).

    Large results are copied on all threads, where NumPy uses one.
    """
    flat = index.dtype == np.int64 and index.flags.carray and weight.flags.carray
    if not flat or index.size * weight.shape[1] < _LARGE or weight.dtype not in (np.float32, np.float64):
        return weight.take(index, axis=0, mode="clip")  # NumPy's fastest mode
    out = empty((index.size, weight.shape[1]), weight.dtype)
    _take(weight, index.reshape(-1), out)
    return out.reshape(*index.shape, weight.shape[1])


@serial
def _index_add_columns(start: int, stop: int, worker: int, out: Array, index: Index, source: Array) -> None:
    first, last = np.uintp(start), np.uintp(stop)  # unsigned: a signed index might count from the end
    for n in range(index.size):
        row = np.uintp(index[n])
        for c in range(first, last):
            out[row, c] += source[n, c]


@launched
@serial
def _index_add(out: Array, index: Index, source: Array) -> None:
    columns = out.shape[1]
    grain = columns
    if threads_in_use() > 1 and source.size >= _SERIAL_BELOW:
        grain = column_grain(columns, out.itemsize)
    parallel_for(_index_add_columns, columns, grain, (out, index, source))


def index_add(out: Array, index: Index, source: Array) -> None:
    """out[index[n]] += source[n] for each n in turn, in place, duplicates included.

    out (V, C) and source (N, C): C-contiguous, of one type, float32 or float64; index (N,): int64.
    Raises IndexError unless each index is in [0, V).
    """
    check_bounds("index", index, out.shape[0], "rows")
    if source.size:
        _index_add(out, index, source)


@serial
def _add_in_each(start: int, stop: int, worker: int, out: Array, index: Index, source: Array) -> None:
    for n in range(start, stop):
        to, places, numbers = out[n], index[n], source[n]
        for j in range(places.size):
            to[np.uintp(places[j])] += numbers[j]


@launched
@serial
def _add_within_rows(out: Array, index: Index, source: Array) -> None:
    parallel_for(_add_in_each, index.shape[0], _SERIAL_BELOW // (index.shape[1] + 1) + 1, (out, index, source))


def add_within_rows(out: Array, index: Index, source: Array) -> None:
    """out[n, index[n, j]] += source[n, j] for each j in turn, in place, duplicates included.

    out (N, V), source and index (N, K): C-contiguous, float32 or float64; index int64, each checked to be in [0, V).
    """
    _add_within_rows(out, index, source)


def embedding_backward(grad: Array, index: Index, rows: int) -> Array:
    """The gradient (V, C) of an embedding's weight with V = rows, given grad (N, C), that of weight[index]."""
    dweight = zeros((rows, grad.shape[1]), grad.dtype)
    index_add(dweight, index, grad)  # out[n] = weight[index[n]]
    return dweight
