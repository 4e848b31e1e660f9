"""Cross-entropy of logits against class indices, forward and backward, each in one pass over the rows.

logits, dlogits : (N, V), C-contiguous, float32 or float64
target          : (N,) int64, each in [0, V) or equal to ignore_index
losses          : (N,), of the logits' type
total, divisor  : (), of the logits' type
lse             : (N,) float64, log sum_j e^logits_j. It is float64 whatever the logits' type: where logits
                  are large, a float32 could hold no more than their maximum.

With p = softmax(logits) and t = target, the loss of one row is

    -(1 - s) log p_t - (s / V) sum_j log p_j,        s = label_smoothing,

and 0 where t is ignore_index. `total` is the sum of the rows' losses divided by `divisor`: for a mean, the number of
rows that are not ignored (0 / 0 = NaN where all are), otherwise 1. A row is read several times while it is in the
cache, and the rows are spread over the threads.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compiler import apart, serial
from .launch import empty, empty_like, first_outside, launched, refuse
from .math import exp_of_negative, maximum, subtract
from .spread import GRAIN, over_rows
from .threads import parallel_for

Array = NDArray[np.floating]
Index = NDArray[np.int64]


@apart
def _cross_entropy_rows(
    start: int,
    stop: int,
    worker: int,
    logits: Array,
    target: Index,
    ignore_index: int,
    smoothing: float,
    losses: Array,
    lse: Array,
) -> None:
    real = logits.dtype.type
    classes = logits.shape[1]
    zero = real(0)
    for n in range(start, stop):
        t = target[n]
        if t == ignore_index:
            losses[n] = zero
            lse[n] = 0.0
            continue
        largest = logits[n, 0]
        for j in range(classes):
            largest = maximum(largest, logits[n, j])
        total = zero
        for j in range(classes):
            total += exp_of_negative(logits[n, j] - largest)
        log_total = math.log(np.float64(total))
        # -log p_j = log_total - (logits_j - largest): the difference comes first, as it is nearly exact
        loss = (1.0 - smoothing) * subtract(log_total, np.float64(subtract(logits[n, t], largest)))
        if smoothing > 0.0:
            sum_differences = zero
            for j in range(classes):
                sum_differences += logits[n, j] - largest
            loss += smoothing / classes * (classes * log_total - np.float64(sum_differences))
        losses[n] = real(loss)
        lse[n] = np.float64(largest) + log_total


@over_rows
def _cross_entropy_backward(
    start: int,
    stop: int,
    worker: int,
    logits: Array,
    grad: Array,  # (N,), or (1,) where it is that of `total`
    divisor: Array,
    lse: Array,
    target: Index,
    ignore_index: int,
    smoothing: float,
    dlogits: Array,
) -> None:
    real = logits.dtype.type
    classes = logits.shape[1]
    zero = real(0)
    for n in range(start, stop):
        t = target[n]
        if t == ignore_index:
            dlogits[n] = zero
            continue
        g = grad[n if grad.size > 1 else 0] / divisor[()]  # total += losses[n] / divisor
        # p_j = e^(z_j - lse) = e^(z_j - shift) e^(shift - lse): the shift is lse rounded to the logits'
        # type, and the second factor, near 1, makes up for the rounding.
        shift = real(lse[n])
        factor = real(g * math.exp(np.float64(shift) - lse[n]))
        for j in range(classes):
            # loss += -q_j * (logits[n, j] - lse[n])
            dlogits[n, j] = factor * exp_of_negative(logits[n, j] - shift)
        if smoothing > 0.0:
            share = real(g * smoothing / classes)
            for j in range(classes):
                dlogits[n, j] -= share
        dlogits[n, t] -= real(g * (1.0 - smoothing))


@serial
def _cross_entropy(
    logits: Array,
    target: Index,
    ignore_index: int,
    smoothing: float,
    mean: bool,
    losses: Array,
    lse: Array,
    total: Array,
    divisor: Array,
) -> int:
    """Return the position of the first target that is not a class, with nothing done; or -1."""
    rows, classes = logits.shape
    invalid = first_outside(target, classes, ignore_index)
    if invalid >= 0:
        return invalid
    args = (logits, target, ignore_index, smoothing, losses, lse)
    parallel_for(_cross_entropy_rows, rows, GRAIN // (classes + 1) + 1, args)
    added, kept = 0.0, 0
    for n in range(rows):
        added += losses[n]
        kept += target[n] != ignore_index
    count = np.float64(kept if mean else 1)
    divisor[()] = count
    total[()] = added / count
    return -1


@launched
def _checked_cross_entropy(logits: Array, target: Index, ignore_index: int, *args) -> None:
    bad = _cross_entropy(logits, target, ignore_index, *args)
    if bad >= 0:
        refuse("cross_entropy: target", target, bad, logits.shape[1], "classes", ignored=ignore_index)


def cross_entropy(
    logits: Array, target: Index, ignore_index: int = -100, label_smoothing: float = 0.0, mean: bool = True
) -> tuple[Array, Array, Array, Array]:
    """Return losses (N,), their mean or sum (), and, for the backward, lse (N,) and divisor ().

    Raises IndexError if a target is neither a class nor ignore_index.
    """
    rows, dtype = logits.shape[0], logits.dtype
    losses, lse = empty((rows,), dtype), empty((rows,), np.float64)
    total, divisor = empty((), dtype), empty((), dtype)
    smoothing = float(label_smoothing)
    _checked_cross_entropy(logits, target, ignore_index, smoothing, mean, losses, lse, total, divisor)
    return losses, total, lse, divisor


def cross_entropy_backward(
    grad: Array,
    divisor: Array,
    logits: Array,
    lse: Array,
    target: Index,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """The gradient (N, V) of logits, given that of each row's loss divided by `divisor` (N,), or of the total (1,).

    `lse` and `target` must be those of the forward: they are not checked again.
    """
    dlogits = empty_like(logits)
    _cross_entropy_backward(logits, grad, divisor, lse, target, ignore_index, float(label_smoothing), dlogits)
    return dlogits
