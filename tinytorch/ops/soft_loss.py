"""Cross-entropy with probabilities in place of classes: knowledge distillation, mixed or uncertain labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import softmax as kernels
from .common import Array, contiguous, in_float32, promote
from .fused import FusedFunction

if TYPE_CHECKING:
    from ..tensor import Tensor


class SoftCrossEntropy(FusedFunction):
    """y = -sum_n sum_c w_c q_nc ln p_nc / N, with p = softmax(x), q = (1 - e) t + e/C for probabilities t

    The mean is over the N rows, whatever they weigh: also with w, and also where the probabilities of a row do not add
    up to 1, as PyTorch has it.
    """

    examples = (
        (lambda t, x, p: _loss(t)(x, p), (3, 4), (3, 4)),
        (lambda t, x, p, w: _loss(t)(x, p, w, label_smoothing=0.3), (3, 4), (3, 4), (4,)),
        (lambda t, x, p, w: _loss(t)(x, p, w, reduction="none"), (2, 4, 3), (2, 4, 3), (4,)),
        (lambda t, x, p: _loss(t)(x, p, reduction="sum", label_smoothing=0.1), (4,), (4,)),
    )
    errors = (
        (lambda t, x, p: _loss(t)(x, p), (3, 4), (3, 5), RuntimeError, "(3, 5) as target must have the shape"),
        (lambda t, x, p: _loss(t)(x, p, ignore_index=0), (3, 4), (3, 4), RuntimeError, "ignore_index is not supported"),
        (lambda t, x, p, w: _loss(t)(x, p, w), (3, 4), (3, 4), (3,), RuntimeError, "a weight for each of 4 classes"),
        (lambda t, x, p: _loss(t)(x.long(), p), (3, 4), (3, 4), RuntimeError, "got int64"),
        (lambda t, x, p: _loss(t)(x, p, label_smoothing=1.5), (3, 4), (3, 4), RuntimeError, "between 0.0 and 1.0"),
    )

    @staticmethod
    def composite(x: Tensor, t: Tensor, w: Tensor | None, smoothing: float, reduction: str) -> Any:
        losses = -(x.log_softmax(1) * _weighted(t, w, smoothing)).sum(1)
        if reduction == "none":
            return losses
        return losses.sum() / _count(x) if reduction == "mean" else losses.sum()

    @staticmethod
    def forward(ctx: SoftCrossEntropy, x: Array, t: Array, w: Array | None, smoothing: float, reduction: str) -> Any:
        logp = kernels.log_softmax(contiguous(x))
        ctx.save(x, t, w, logp)
        losses = -(_weighted(t, w, smoothing) * logp).sum(axis=1)
        if reduction == "none":
            return losses
        return losses.sum() / x.dtype.type(_count(x)) if reduction == "mean" else losses.sum()

    # with u = w q and d ln p_c/dx_j = [j = c] - p_j:
    #   dL/dx_nj = g_n (p_nj sum_c u_nc - u_nj)
    #   dL/dt_nc = -g_n (1 - e) w_c ln p_nc, dL/dw_c = -sum_n g_n q_nc ln p_nc
    @staticmethod
    def backward(ctx: SoftCrossEntropy, g: Array) -> Any:
        x, t, w, logp = ctx.saved
        smoothing, reduction = ctx.settings["smoothing"], ctx.settings["reduction"]
        need_x, need_t, need_w = ctx.needs_input_grad
        g = (g / g.dtype.type(_count(x)) if reduction == "mean" else g).reshape(-1, 1)
        dx = dt = dw = None
        if need_x:
            u = _weighted(t, w, smoothing)
            dx = g * (np.exp(logp) * u.sum(axis=1, keepdims=True) - u)
        if need_t:
            dt = -(1 - smoothing) * g * (logp if w is None else w * logp)
        if need_w:
            dw = -(g * _weighted(t, None, smoothing) * logp).sum(axis=0)
        return dx, dt, dw


def soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    """cross_entropy where the target holds probabilities, in the shape of input: (C,), (N, C) or (N, C, d...)."""
    shape = tuple(input.shape)
    if tuple(target.shape) != shape or not shape:
        raise RuntimeError(
            f"cross_entropy: probabilities {tuple(target.shape)} as target must have the shape of the scores, {shape}"
        )
    if ignore_index >= 0:
        raise RuntimeError(f"cross_entropy: ignore_index is not supported for probabilities, got {ignore_index}")
    x, t = promote(input, target)
    x, t = _rows(x), _rows(t)
    if weight is not None and tuple(weight.shape) != (x.shape[1],):
        raise RuntimeError(
            f"cross_entropy: expected a weight for each of {x.shape[1]} classes, got {tuple(weight.shape)}"
        )
    function = SoftCrossEntropy.apply if x.numel() else SoftCrossEntropy.composite
    y = in_float32(function, x, t, weight, smoothing=smoothing, reduction=reduction)
    return y.reshape(shape[:1] + shape[2:] if len(shape) > 1 else ()) if reduction == "none" else y


def _rows(x: Tensor) -> Tensor:
    """(N, C), one row for each place that has probabilities."""
    if x.ndim == 2:
        return x
    return x.unsqueeze(0) if x.ndim == 1 else x.movedim(1, -1).flatten(0, -2)


def _count(x: Any) -> int:
    return x.shape[0] if x.shape[1] else 0  # of no classes PyTorch's mean is NaN


def _weighted(t: Any, w: Any, smoothing: float) -> Any:
    """The probabilities smoothed, times the weight of their class."""
    q = t * (1 - smoothing) + smoothing / max(t.shape[1], 1) if smoothing else t
    return q if w is None else q * w


def _loss(t: Any) -> Any:
    return t.nn.functional.cross_entropy
