"""layer_norm and rms_norm over the columns of a matrix, with their backwards.

x, y, grad, dx : (N, C), C-contiguous, float32 or float64
weight, bias   : (C,) of the same type, or None
mean, rstd     : (N,), which the backward needs

    layer_norm    y_c = (x_c - mean) rstd w_c + b_c,  rstd = 1 / sqrt(mean of (x_c - mean)^2 + eps)
    rms_norm      y_c = x_c rstd w_c,                 rstd = 1 / sqrt(mean of x_c^2 + eps)

`plain_layer_norm` is the first as plain loops. A row is read several times while it is in the first-level cache. The
rows are spread over the threads; a backward's sums over rows are first taken within chunks of rows.

J. L. Ba, J. R. Kiros, G. E. Hinton, Layer Normalization, arXiv:1607.06450; B. Zhang, R. Sennrich,
Root Mean Square Layer Normalization, arXiv:1910.07467.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiler import apart, inner, serial
from .launch import empty, empty_like, launched, repeated
from .spread import GRAIN, over_rows
from .threads import parallel_for

Array = NDArray[np.floating]

# The backward computes all gradients, whichever are needed: in one loop they take little longer, and the bits do not
# depend on which are needed. The gradients of weight and bias are sums over rows, first within chunks of rows, then
# over the chunks in order. The number of chunks depends on the shape alone, so the bits do not depend on the threads.
_MAX_CHUNKS = 32


def plain_layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Any:
    """What `layer_norm` computes, in plain Python: each row (C,) of x (N, C) has its own mean and variance."""
    N, C = x.shape
    y, mean, rstd = np.zeros((N, C)), np.zeros(N), np.zeros(N)
    for n in range(N):
        m = variance = 0.0
        for c in range(C):
            m += float(x[n, c]) / C
        for c in range(C):
            variance += (float(x[n, c]) - m) ** 2 / C
        r = 1 / math.sqrt(variance + eps)
        for c in range(C):
            y[n, c] = (float(x[n, c]) - m) * r * float(weight[c]) + float(bias[c])
        mean[n], rstd[n] = m, r
    return y, mean, rstd


@over_rows
def _layer_norm(
    start: int,
    stop: int,
    worker: int,
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    y: Array,
    mean: Array,
    rstd: Array,
) -> None:
    real = x.dtype.type
    columns = x.shape[1]
    zero, one, count = real(0), real(1), real(columns)
    for n in range(start, stop):
        total = zero
        for c in range(columns):
            total += x[n, c]
        m = total / count
        # The variance comes from the differences: the mean of the squares minus m^2 would cancel where m is large.
        squares = zero
        for c in range(columns):
            d = x[n, c] - m
            squares += d * d
        r = one / np.sqrt(squares / count + real(eps))
        for c in range(columns):
            y[n, c] = (x[n, c] - m) * r * weight[c] + bias[c]
        mean[n] = m
        rstd[n] = r


@apart
def _layer_norm_backward_row(
    grad: Array,
    x: Array,
    weight: Array,
    m: np.floating,
    r: np.floating,
    a: np.floating,
    b: np.floating,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    for c in range(x.size):
        # y[c] = (x[c] - m) * r * weight[c] + bias[c]
        dx[c] = r * (grad[c] * weight[c] - a - (x[c] - m) * b)
        dweight[c] += grad[c] * (x[c] - m) * r
        dbias[c] += grad[c]


@serial
def _layer_norm_backward_chunks(
    start: int,
    stop: int,
    worker: int,
    grad: Array,
    x: Array,
    weight: Array,
    mean: Array,
    rstd: Array,
    dx: Array,
    sums: Array,  # (chunks, 2, C): the gradients of weight and bias
) -> None:
    rows, columns = x.shape
    chunks = sums.shape[0]
    zero, count = x.dtype.type(0), x.dtype.type(columns)
    for chunk in range(start, stop):
        dweight, dbias = sums[chunk, 0], sums[chunk, 1]
        dweight[:] = zero
        dbias[:] = zero
        for n in range(chunk * rows // chunks, (chunk + 1) * rows // chunks):
            m, r = mean[n], rstd[n]
            sum_u, sum_uh = zero, zero
            for c in range(columns):
                u = grad[n, c] * weight[c]
                sum_u += u
                sum_uh += u * (x[n, c] - m)
            a = sum_u / count
            b = sum_uh * r * r / count
            _layer_norm_backward_row(grad[n], x[n], weight, m, r, a, b, dx[n], dweight, dbias)


@over_rows
def _rms_norm(start: int, stop: int, worker: int, x: Array, weight: Array, eps: float, y: Array, rstd: Array) -> None:
    real = x.dtype.type
    columns = x.shape[1]
    zero, one, count = real(0), real(1), real(columns)
    for n in range(start, stop):
        squares = zero
        for c in range(columns):
            squares += x[n, c] * x[n, c]
        r = one / np.sqrt(squares / count + real(eps))
        for c in range(columns):
            y[n, c] = x[n, c] * r * weight[c]
        rstd[n] = r


@apart
def _rms_norm_backward_row(
    grad: Array, x: Array, weight: Array, r: np.floating, b: np.floating, dx: Array, dweight: Array
) -> None:
    for c in range(x.size):
        # y[c] = x[c] * r * weight[c]
        dx[c] = r * (grad[c] * weight[c] - x[c] * b)
        dweight[c] += grad[c] * x[c] * r


@serial
def _rms_norm_backward_chunks(
    start: int,
    stop: int,
    worker: int,
    grad: Array,
    x: Array,
    weight: Array,
    rstd: Array,
    dx: Array,
    sums: Array,  # (chunks, C): the gradient of weight
) -> None:
    rows, columns = x.shape
    chunks = sums.shape[0]
    zero, count = x.dtype.type(0), x.dtype.type(columns)
    for chunk in range(start, stop):
        dweight = sums[chunk]
        dweight[:] = zero
        for n in range(chunk * rows // chunks, (chunk + 1) * rows // chunks):
            r = rstd[n]
            sum_ux = zero
            for c in range(columns):
                sum_ux += grad[n, c] * weight[c] * x[n, c]
            _rms_norm_backward_row(grad[n], x[n], weight, r, sum_ux * r * r / count, dx[n], dweight)


@inner
def _add_chunks(sums: Array, total: Array) -> None:
    """total (C,) = the sum of the chunks' sums (chunks, C), in order."""
    total[:] = sums[0]
    for chunk in range(1, sums.shape[0]):
        for c in range(total.size):
            total[c] += sums[chunk, c]


@launched
@serial
def _layer_norm_backward(
    grad: Array,
    x: Array,
    weight: Array,
    mean: Array,
    rstd: Array,
    dx: Array,
    sums: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    parallel_for(_layer_norm_backward_chunks, sums.shape[0], 1, (grad, x, weight, mean, rstd, dx, sums))
    _add_chunks(sums[:, 0], dweight)
    _add_chunks(sums[:, 1], dbias)


@launched
@serial
def _rms_norm_backward(
    grad: Array,
    x: Array,
    weight: Array,
    rstd: Array,
    dx: Array,
    sums: Array,
    dweight: Array,
) -> None:
    parallel_for(_rms_norm_backward_chunks, sums.shape[0], 1, (grad, x, weight, rstd, dx, sums))
    _add_chunks(sums, dweight)


def _chunks(x: Array) -> int:
    """The number of chunks of rows in a backward, which depends on the shape alone."""
    rows: int = x.shape[0]
    return max(1, min(rows, x.size // GRAIN, _MAX_CHUNKS))


def layer_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """y (N, C) = (x - mean) * rstd * weight + bias, with mean (N,) and rstd (N,) = 1 / sqrt(variance + eps)."""
    rows, columns = x.shape
    y, mean, rstd = empty_like(x), empty((rows,), x.dtype), empty((rows,), x.dtype)
    w = repeated(1, columns, x.dtype) if weight is None else weight
    b = repeated(0, columns, x.dtype) if bias is None else bias
    _layer_norm(x, w, b, float(eps), y, mean, rstd)
    return y, mean, rstd


def layer_norm_backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    rstd: Array,
    need_input: bool = True,
    need_weight: bool = True,
    need_bias: bool = True,
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of x (N, C), weight (C,) and bias (C,), each None where it is not needed."""
    columns = x.shape[1]
    dx = empty_like(x)
    w = repeated(1, columns, x.dtype) if weight is None else weight
    sums = empty((_chunks(x), 2, columns), x.dtype)
    # Each has memory of its own, as a leaf keeps such a gradient without copying it.
    dweight, dbias = empty((columns,), x.dtype), empty((columns,), x.dtype)
    _layer_norm_backward(grad, x, w, mean, rstd, dx, sums, dweight, dbias)
    return dx if need_input else None, dweight if need_weight else None, dbias if need_bias else None


def rms_norm(x: Array, weight: Array | None, eps: float) -> tuple[Array, Array]:
    """y (N, C) = x * rstd * weight, with rstd (N,) = 1 / sqrt(mean of x^2 + eps)."""
    rows, columns = x.shape
    y, rstd = empty_like(x), empty((rows,), x.dtype)
    w = repeated(1, columns, x.dtype) if weight is None else weight
    _rms_norm(x, w, float(eps), y, rstd)
    return y, rstd


def rms_norm_backward(
    grad: Array, x: Array, weight: Array | None, rstd: Array, need_input: bool = True, need_weight: bool = True
) -> tuple[Array | None, Array | None]:
    """The gradients of x (N, C) and weight (C,), each None where it is not needed."""
    columns = x.shape[1]
    dx = empty_like(x)
    w = repeated(1, columns, x.dtype) if weight is None else weight
    sums, dweight = empty((_chunks(x), columns), x.dtype), empty((columns,), x.dtype)
    _rms_norm_backward(grad, x, w, rstd, dx, sums, dweight)
    return dx if need_input else None, dweight if need_weight else None
