"""Losses of pairs of numbers, beside those in `loss.py`, each with the reduction "mean", "sum" or "none"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.function import Function
from .common import Array, in_float32, only_floating, promote
from .loss import check_reduction, reduced_losses, warn_of_shapes

if TYPE_CHECKING:
    from ..tensor import Tensor


class BinaryCrossEntropy(Function):
    """y = -t ln x - (1 - t) ln(1 - x), each logarithm at least -100"""

    examples = (
        (lambda t, x, y: t.nn.functional.binary_cross_entropy(x.sigmoid(), y.sigmoid(), reduction="none"), (3,), (3,)),
    )
    errors = (
        (lambda t, x: t.nn.functional.binary_cross_entropy(x + 9, x), (3,), RuntimeError, "between 0 and 1"),
        (lambda t, x: t.nn.functional.binary_cross_entropy(x * 0, x + 9), (3,), RuntimeError, "between 0 and 1"),
        (lambda t, x, y: t.nn.functional.binary_cross_entropy(x, y), (3,), (3, 1), ValueError, "different"),
        (lambda t, x: t.nn.functional.binary_cross_entropy(x, x, reduction="max"), (3,), ValueError, "'max'"),
    )

    @staticmethod
    def forward(ctx: BinaryCrossEntropy, x: Array, t: Array) -> Any:
        for name, numbers in (("input", x), ("target", t)):
            if not ((numbers >= 0) & (numbers <= 1)).all():
                raise RuntimeError(f"binary_cross_entropy: all elements of {name} should be between 0 and 1")
        ctx.save(x, t)
        return -t * np.maximum(np.log(x), -100) - (1 - t) * np.maximum(np.log1p(-x), -100)

    # dy/dx = -t / x + (1 - t) / (1 - x) = (x - t) / (x (1 - x)), whose denominator is at least 1e-12;
    # dy/dt = ln(1 - x) - ln x
    @staticmethod
    def backward(ctx: BinaryCrossEntropy, g: Tensor) -> Any:
        x, t = ctx.saved
        need_x, need_t = ctx.needs_input_grad
        dx = g * (x - t) / ((1 - x) * x).clamp(min=1e-12) if need_x else None
        return dx, g * ((-x).log1p() - x.log()) if need_t else None


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-[t ln x + (1 - t) ln(1 - x)] for probabilities x and targets t between 0 and 1.

    Of scores before a sigmoid, binary_cross_entropy_with_logits is more accurate.
    """
    check_reduction(reduction)
    only_floating("binary_cross_entropy", input)
    if input.shape != target.shape:
        raise ValueError(
            f"binary_cross_entropy: the target's shape {tuple(target.shape)} is different from the input's "
            f"{tuple(input.shape)}"
        )
    if input.dtype != target.dtype:
        raise RuntimeError(f"binary_cross_entropy: the target is {target.dtype}, expected {input.dtype}")

    def loss(x: Tensor, t: Tensor, weight: Tensor | None) -> Tensor:
        losses: Tensor = BinaryCrossEntropy.apply(x, t)
        return reduced_losses(losses if weight is None else losses * weight, reduction)

    return in_float32(loss, input, target, weight)


class Huber(Function):
    """y = c (d - c / 2), c the nearest to d between -b and b: d^2 / 2 near 0, lines of slope b beyond"""

    examples = (
        (lambda t, x, y: t.nn.functional.huber_loss(x, y, reduction="none", delta=0.5), (3, 4), (3, 4)),
        (lambda t, x, y: t.nn.functional.smooth_l1_loss(x, y, reduction="none", beta=0.5), (3, 4), (3, 4)),
    )
    errors = (
        (lambda t, x: t.nn.functional.huber_loss(x, x, delta=0.0), (3,), RuntimeError, "non-positive"),
        (lambda t, x: t.nn.functional.smooth_l1_loss(x, x, beta=-1.0), (3,), RuntimeError, "negative"),
        (lambda t, x: t.nn.functional.huber_loss(x, x, reduction="max"), (3,), ValueError, "'max'"),
    )
    bend: float

    @staticmethod
    def forward(ctx: Huber, d: Array, bend: float) -> Any:
        ctx.bend = bend
        ctx.save(d)
        c = np.clip(d, -bend, bend)
        return c * (d - c / 2)

    # dy/dd = d where c = d, as y = d^2 / 2; else c, which does not change with d. Both are c.
    @staticmethod
    def backward(ctx: Huber, g: Tensor) -> Any:
        (d,) = ctx.saved
        return g * d.clamp(-ctx.bend, ctx.bend)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) for differences d below beta, |d| - beta / 2 for larger ones."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return _of_differences(
        "smooth_l1_loss", input, target, reduction, lambda d: Huber.apply(d, bend=beta) / beta if beta else d.abs()
    )


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 for differences d below delta, delta (|d| - delta / 2) for larger ones."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _of_differences("huber_loss", input, target, reduction, lambda d: Huber.apply(d, bend=delta))


def _of_differences(
    what: str, input: Tensor, target: Tensor, reduction: str, loss: Callable[[Tensor], Tensor]
) -> Tensor:
    check_reduction(reduction)
    a, b = promote(input, target)
    only_floating(what, a)
    warn_of_shapes(what, a, b)
    return in_float32(lambda a, b: reduced_losses(loss(a - b), reduction), a, b)


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (ln t - input) for log-probabilities and targets t, or ln t with log_target.

    Only "batchmean", the sum divided by the first size, is the divergence.
    """
    if reduction != "batchmean":
        check_reduction(reduction)
    a, b = promote(input, target)

    def loss(x: Tensor, t: Tensor) -> Tensor:
        losses = t.exp() * (t - x) if log_target else t * t.masked_fill(t == 0, 1.0).log() - t * x
        if reduction == "batchmean":
            return losses.sum() / x.shape[0] if x.ndim else losses
        return reduced_losses(losses, reduction)

    return in_float32(loss, only_floating("kl_div", a), b)
