"""Cross-entropy of logits against class indices, forward and backward, each in one pass over the rows.

logits, dlogits : (N, V), C-contiguous, float32 or float64
target          : (N,) int64, each in [0, V) or equal to ignore_index
weight          : (V,) a weight for each class, of the logits' type, or None for ones
losses, scale   : (N,), of the logits' type
lse             : (N,) float64, log sum_j e^logits_j. Kept in float64 whatever the logits' type: where
                  logits are large, a float32 holds no more than their maximum.

With p = softmax(logits) and t = target, the loss of one row is PyTorch's for reduction="none",

    -(1 - s) weight_t log p_t - (s / V) sum_j weight_j log p_j,        s = label_smoothing,

and 0 where t is ignore_index. For reduction="mean" PyTorch divides their sum by that of weight_t over the rows that are
not ignored, whatever s is (0 / 0 = NaN where all are ignored).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compiler import serial
from .math import exp_of_negative, maximum, subtract
from .tape import launch, repeated
from .threads import parallel_for

Array = NDArray[np.floating]
Index = NDArray[np.int64]

_GRAIN = 8192  # elements: one thread's share at a time, and all that is not worth a second thread


@serial
def _first_invalid(target: Index, classes: int, ignore_index: int) -> int:
    for n in range(target.size):
        if (target[n] < 0 or target[n] >= classes) and target[n] != ignore_index:
            return n
    return -1


@serial
def _cross_entropy_rows(
    start: int,
    stop: int,
    worker: int,
    logits: Array,
    target: Index,
    ignore_index: int,
    smoothing: float,
    weight: Array,
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
        # -log p_j = log_total - (logits_j - largest): the difference first, it is nearly exact
        loss = (1.0 - smoothing) * weight[t] * subtract(log_total, np.float64(subtract(logits[n, t], largest)))
        if smoothing > 0.0:
            sum_weight, sum_weighted = zero, zero
            for j in range(classes):
                sum_weight += weight[j]
                sum_weighted += weight[j] * (logits[n, j] - largest)
            loss += smoothing / classes * (sum_weight * log_total - np.float64(sum_weighted))
        losses[n] = real(loss)
        lse[n] = np.float64(largest) + log_total


# loss = -sum_j q_j log p_j with q_j = (1 - s) weight_t delta_jt + (s / V) weight_j, and
# log p_j = z_j - lse, d lse / d z_j = p_j. So with Q = sum_j q_j
#     dz_j = scale (Q p_j - q_j)
@serial
def _cross_entropy_backward_rows(
    start: int,
    stop: int,
    worker: int,
    scale: Array,
    logits: Array,
    lse: Array,
    target: Index,
    ignore_index: int,
    smoothing: float,
    weight: Array,
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
        q_target = (1.0 - smoothing) * weight[t]
        q_total = q_target
        if smoothing > 0.0:
            sum_weight = zero
            for j in range(classes):
                sum_weight += weight[j]
            q_total += smoothing / classes * sum_weight
        # p_j = e^(z_j - lse) = e^(z_j - shift) e^(shift - lse): the shift is lse as the logits' type
        # holds it, and the second factor, near 1, makes up for what that rounds off.
        shift = real(lse[n])
        factor = real(scale[n] * q_total * math.exp(np.float64(shift) - lse[n]))
        for j in range(classes):
            # loss += -q_j * (logits[n, j] - lse[n])
            dlogits[n, j] = factor * exp_of_negative(logits[n, j] - shift)
        if smoothing > 0.0:
            share = real(scale[n] * smoothing / classes)
            for j in range(classes):
                dlogits[n, j] -= share * weight[j]
        dlogits[n, t] -= real(scale[n] * q_target)


@serial
def _cross_entropy(
    logits: Array, target: Index, ignore_index: int, smoothing: float, weight: Array, losses: Array, lse: Array
) -> None:
    args = (logits, target, ignore_index, smoothing, weight, losses, lse)
    parallel_for(_cross_entropy_rows, logits.shape[0], _GRAIN // (logits.shape[1] + 1) + 1, args)


@serial
def _cross_entropy_backward(
    scale: Array,
    logits: Array,
    lse: Array,
    target: Index,
    ignore_index: int,
    smoothing: float,
    weight: Array,
    dlogits: Array,
) -> None:
    args = (scale, logits, lse, target, ignore_index, smoothing, weight, dlogits)
    parallel_for(_cross_entropy_backward_rows, logits.shape[0], _GRAIN // (logits.shape[1] + 1) + 1, args)


def check_classes(what: str, target: Index, classes: int, ignore_index: int) -> None:
    """IndexError where a target (N,) is neither a class nor ignore_index."""
    bad = _first_invalid(target, classes, ignore_index)
    if bad >= 0:
        raise IndexError(
            f"{what}: target[{bad}] is {target[bad]}, which is out of bounds for {classes} classes: expected one "
            f"from 0 to {classes - 1} or ignore_index = {ignore_index}"
        )


def cross_entropy(
    logits: Array,
    target: Index,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    weight: Array | None = None,
) -> tuple[Array, Array]:
    """The loss of each row (N,), and lse (N,) for the backward.

    Raises IndexError where a target is neither a class nor ignore_index.
    """
    rows, classes = logits.shape
    launch(check_classes, "cross_entropy", target, classes, ignore_index)
    w = repeated(1, classes, logits.dtype) if weight is None else weight
    losses, lse = np.empty(rows, logits.dtype, like=logits), np.empty(rows, like=logits)
    launch(_cross_entropy, logits, target, ignore_index, float(label_smoothing), w, losses, lse)
    return losses, lse


def cross_entropy_backward(
    scale: Array,
    logits: Array,
    lse: Array,
    target: Index,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    weight: Array | None = None,
) -> Array:
    """The gradient of logits (N, V), from that of each row's loss, scale (N,).

    `lse` and `target` must be those of the forward: they are not checked again.
    """
    w = repeated(1, logits.shape[1], logits.dtype) if weight is None else weight
    dlogits = np.empty_like(logits)
    launch(_cross_entropy_backward, scale, logits, lse, target, ignore_index, float(label_smoothing), w, dlogits)
    return dlogits


@serial
def _count_kept(target: Index, ignore_index: int, count: Array) -> None:
    kept = 0
    for n in range(target.size):
        if target[n] != ignore_index:
            kept += 1
    count[0] = kept


def count_kept(target: Index, ignore_index: int, like: Array) -> Array:
    """How many targets are not ignored, in the type of another array: ()."""
    count = np.empty(1, like.dtype, like=like)
    launch(_count_kept, target, ignore_index, count)
    return count.reshape(())
