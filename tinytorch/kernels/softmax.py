"""softmax and log_softmax over the columns of a matrix, with their backwards.

x, y, grad, dx : (N, C), C-contiguous, float32 or float64; each row is one distribution.

    softmax        y_c = exp(x_c - m) / sum_j exp(x_j - m),  m = max_j x_j      dx_c = y_c (g_c - sum_j g_j y_j)
    log_softmax    y_c = x_c - m - log sum_j exp(x_j - m)                       dx_c = g_c - exp(y_c) sum_j g_j

A row is read while it is in the first-level cache; the rows are spread over the threads.

A row of only -inf (all masked) is not a distribution. Its softmax is 0, its log_softmax is -inf, the
logarithm of 0, and its gradient is 0; PyTorch gives NaN. A row with NaN or +inf gives NaN, as in PyTorch.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .launch import empty_like
from .math import exp_of_negative, maximum, subtract
from .spread import over_rows

Array = NDArray[np.floating]


@over_rows
def _softmax(start: int, stop: int, worker: int, x: Array, y: Array) -> None:
    columns = x.shape[1]
    zero = x.dtype.type(0)
    for n in range(start, stop):
        largest = x[n, 0]
        for c in range(columns):
            largest = maximum(largest, x[n, c])
        if largest == -np.inf:
            y[n] = zero
            continue
        total = zero
        for c in range(columns):
            e = exp_of_negative(x[n, c] - largest)
            y[n, c] = e
            total += e
        scale = x.dtype.type(1) / total
        for c in range(columns):
            y[n, c] *= scale


@over_rows
def _softmax_backward(start: int, stop: int, worker: int, grad: Array, y: Array, dx: Array) -> None:
    columns = y.shape[1]
    for n in range(start, stop):
        dot = y.dtype.type(0)
        for c in range(columns):
            dot += grad[n, c] * y[n, c]
        for c in range(columns):
            dx[n, c] = y[n, c] * (grad[n, c] - dot)  # y[n, c] *= scale, scale = 1 / total


@over_rows
def _log_softmax(start: int, stop: int, worker: int, x: Array, y: Array) -> None:
    columns = x.shape[1]
    for n in range(start, stop):
        largest = x[n, 0]
        for c in range(columns):
            largest = maximum(largest, x[n, c])
        if largest == -np.inf:
            y[n] = largest
            continue
        total = x.dtype.type(0)
        for c in range(columns):
            total += exp_of_negative(x[n, c] - largest)
        log_total = x.dtype.type(math.log(total))
        for c in range(columns):
            # In this order: where the logits are large, largest + log_total would lose log_total.
            y[n, c] = subtract(subtract(x[n, c], largest), log_total)


@over_rows
def _log_softmax_backward(start: int, stop: int, worker: int, grad: Array, y: Array, dx: Array) -> None:
    columns = y.shape[1]
    zero = y.dtype.type(0)
    for n in range(start, stop):
        if y[n, 0] == -np.inf:
            largest = y[n, 0]
            for c in range(columns):
                largest = maximum(largest, y[n, c])
            if largest == -np.inf:
                dx[n] = zero
                continue
        total = zero
        for c in range(columns):
            total += grad[n, c]
        for c in range(columns):
            dx[n, c] = grad[n, c] - exp_of_negative(y[n, c]) * total  # y[n, c] = x[n, c] - largest - log_total


def softmax(x: Array) -> Array:
    """(N, C) -> (N, C): e^x divided by its row's sum."""
    y = empty_like(x)
    if x.size:
        _softmax(x, y)
    return y


def softmax_backward(grad: Array, y: Array) -> Array:
    """The gradient (N, C) of x, given that of y = softmax(x)."""
    dx = empty_like(y)
    if y.size:
        _softmax_backward(grad, y, dx)
    return dx


def log_softmax(x: Array) -> Array:
    """(N, C) -> (N, C): x minus the logarithm of its row's sum of e^x."""
    y = empty_like(x)
    if x.size:
        _log_softmax(x, y)
    return y


def log_softmax_backward(grad: Array, y: Array) -> Array:
    """The gradient (N, C) of x, given that of y = log_softmax(x)."""
    dx = empty_like(y)
    if y.size:
        _log_softmax_backward(grad, y, dx)
    return dx
