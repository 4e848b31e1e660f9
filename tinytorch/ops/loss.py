"""Losses, each with the reduction "mean", "sum" or "none"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import FLOATS, int64
from ..kernels import loss as kernels
from ..kernels.launch import check_bounds
from ..warning import warn_user
from .activation import softplus
from .common import Array, as_input, contiguous, elements_of, in_float32, is_tensor, only_floating, promote, whole
from .fused import FusedFunction
from .soft_loss import soft_cross_entropy

if TYPE_CHECKING:
    from ..tensor import Tensor


class CrossEntropy(FusedFunction):
    """y = -sum_n w_n sum_c q_nc ln p_nc / sum_n w_n, p = softmax(x), q the target smoothed.

    With target t_n and smoothing e: q_nc = (1 - e) [c = t_n] + e/C. Rows whose target is ignored have weight 0,
    the others 1.
    """

    examples = (
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, 0, 3])), (3, 4)),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, -100, 3]), label_smoothing=0.2), (3, 4)),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, 0, 3]), reduction="none", ignore_index=0), (3, 4)),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([[1, 0], [3, 3]]), reduction="sum"), (2, 4, 2)),
    )
    long_examples = (
        (lambda t, x: _cross_entropy(t)(x, t.arange(10_000) % 4), (10_000, 4)),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, 0, 3]), label_smoothing=0.2), (3, 10_000)),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, 0, 3]), reduction="none"), (3, 10_000)),
    )
    errors = (
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, 0, 4])), (3, 4), IndexError, "target[2] is 4, which is out of"),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, -1, 3])), (3, 4), IndexError, "target[1] is -1, which is out"),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, 0])), (3, 4), ValueError, "expect a target of shape (3,)"),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([True, False, True])), (3, 4), RuntimeError, "integer dtype"),
        (lambda t, x: _cross_entropy(t)(x.long(), t.tensor([1, 0, 3])), (3, 4), RuntimeError, "got int64"),
        (lambda t, x: _cross_entropy(t)(x, t.tensor([1, 0, 3]), reduction="max"), (3, 4), ValueError, "'max'"),
        (lambda t, x, w: _cross_entropy(t)(x, t.tensor([1, 0, 3]), w), (3, 4), (5,), RuntimeError, "got float"),
        (lambda t, x, w: _cross_entropy(t)(x, t.tensor([1, 0, 3]), w), (3, 4), (1, 4), RuntimeError, "(1, 4)"),
        (lambda t, x, w: _cross_entropy(t)(x, t.tensor([1, 0, 3]), w.half()), (3, 4), (4,), RuntimeError, "float16"),
        (
            lambda t, x: _cross_entropy(t)(x, t.tensor([1, 0, 3]), label_smoothing=1.5),
            (3, 4),
            RuntimeError,
            "between 0.0 and 1.0, got 1.5",
        ),
    )

    @staticmethod
    def composite(x: Tensor, target: Tensor, ignore_index: int, smoothing: float, reduction: str) -> Any:
        ignored = target == ignore_index
        logp = x.log_softmax(1)
        losses = -(1 - smoothing) * logp.gather(1, target.masked_fill(ignored, 0).unsqueeze(1)).squeeze(1)
        if smoothing:
            losses = losses - smoothing * logp.mean(1)
        losses = losses.masked_fill(ignored, 0.0)
        if reduction == "none":
            return losses
        return losses.sum() / (~ignored).sum() if reduction == "mean" else losses.sum()

    @staticmethod
    def forward(ctx: CrossEntropy, x: Array, target: Array, ignore_index: int, smoothing: float, reduction: str) -> Any:
        losses, y, lse, divisor = kernels.cross_entropy(x, target, ignore_index, smoothing, reduction == "mean")
        ctx.save(x, target, lse, divisor)
        return losses if reduction == "none" else y

    # d(-ln p_nc)/dx_nj = p_nj - [j = c]. With u_n = g w_n / sum_m w_m (g_n w_n, where rows are not summed up), and as
    # sum_c q_nc = 1: dL/dx_nj = u_n sum_c q_nc (p_nj - [j = c]) = u_n (p_nj - q_nj)
    @staticmethod
    def backward(ctx: CrossEntropy, g: Array) -> Any:
        x, target, lse, divisor = ctx.saved
        ignore_index, smoothing = ctx.settings["ignore_index"], ctx.settings["smoothing"]
        flat_g = contiguous(g.reshape(-1))
        return kernels.cross_entropy_backward(flat_g, divisor, x, lse, target, ignore_index, smoothing), None


def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-ln softmax(input)[target].

    input: scores (C,), (N, C) or (N, C, d...); target: class indices (), (N,) or (N, d...), of an integer
    dtype. Rows with ignore_index are ignored; "mean" divides by the number of others, so it is NaN if there are
    none. weight (C,) weights rows by their class. Raises RuntimeError if dtypes or the weight do not fit, ValueError
    if shapes do not, IndexError for a target that is not a class.
    """
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0, got {label_smoothing}")
    if input.array.dtype not in FLOATS:
        raise RuntimeError(f"cross_entropy: expected floating-point scores, got {input.dtype}")
    if weight is not None:
        _check_weight("cross_entropy", weight, input)
    if is_tensor(target) and target.array.dtype in FLOATS:
        return soft_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    x, index = _rows("cross_entropy", input, target, weight)
    options = {"ignore_index": ignore_index, "smoothing": label_smoothing, "reduction": reduction}
    if weight is not None:
        y = in_float32(_weighted_cross_entropy, x, index, weight, **options)
    else:
        y = in_float32(CrossEntropy.apply if x.array.shape[1] else _without_classes, x.contiguous(), index, **options)
    return whole(y.reshape(_places(input))) if reduction == "none" else y


def _without_classes(x: Tensor, target: Tensor, ignore_index: int, **options: Any) -> Tensor:
    """For inputs without classes: the kernel needs at least one, and would otherwise check the targets."""
    check_bounds("cross_entropy: target", elements_of(target), 0, "classes", IndexError, ignore_index)
    y: Tensor = CrossEntropy.composite(x, target, ignore_index, **options)
    return y


def _weighted_cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor, ignore_index: int, smoothing: float, reduction: str
) -> Tensor:
    """Row n has loss (1 - e) w_t (-ln p_t) + (e/C) sum_c w_c (-ln p_c), and counts w_t in the mean."""
    logp = x.log_softmax(1)
    losses, row_weights = _nll(logp, target, weight, ignore_index)
    losses = (1 - smoothing) * losses
    if smoothing:
        smooth = -(logp * weight).sum(1) * (smoothing / x.shape[1])
        losses = losses + smooth.masked_fill(target == ignore_index, 0.0)
    return losses.sum() / row_weights.sum() if reduction == "mean" else reduced_losses(losses, reduction)


def nll_loss(
    input: Tensor, target: Any, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """-input[target] for log-probabilities (N, C) or (N, C, d...), weighted by class if weight (C,) is given.

    target and errors are as in cross_entropy, for class indices.
    """
    check_reduction(reduction)
    only_floating("nll_loss", input)
    if weight is not None:
        _check_weight("nll_loss", weight, input)
    x, index = _rows("nll_loss", input, target, weight)
    check_bounds("nll_loss: target", elements_of(index), x.shape[1], "classes", IndexError, ignore_index)

    def loss(x: Tensor, weight: Tensor | None) -> Tensor:
        losses, row_weights = _nll(x, index, weight, ignore_index)
        return losses.sum() / row_weights.sum() if reduction == "mean" else reduced_losses(losses, reduction)

    y = in_float32(loss, x, weight)
    return whole(y.reshape(_places(input))) if reduction == "none" else y


def _nll(x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    """-w_t x_t for each row, and w_t: 1 if there are no weights, and both 0 in rows that are ignored."""
    ignored = target == ignore_index
    index = target.masked_fill(ignored, 0)
    losses = -x.gather(1, index.unsqueeze(1)).squeeze(1)
    if weight is None:
        return losses.masked_fill(ignored, 0.0), (~ignored).to(x.dtype)
    row_weights = weight[index].masked_fill(ignored, 0.0)
    return (losses * row_weights).masked_fill(ignored, 0.0), row_weights


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)^2, of floating-point numbers."""
    check_reduction(reduction)
    x, y = promote(input, target)
    only_floating("mse_loss", x)
    warn_of_shapes("mse_loss", x, y)
    return in_float32(lambda x, y: reduced_losses((x - y).square(), reduction), x, y)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input - target|"""
    check_reduction(reduction)
    x, y = promote(input, target)
    warn_of_shapes("l1_loss", x, y)
    return in_float32(lambda x, y: reduced_losses((x - y).abs(), reduction), x, y)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-[p t ln s(x) + (1 - t) ln(1 - s(x))] for scores x, targets t between 0 and 1, s the sigmoid, p the pos_weight.

    As ln s(x) = -softplus(-x) and ln(1 - s(x)) = -softplus(x), nothing overflows.
    """
    check_reduction(reduction)
    only_floating("binary_cross_entropy_with_logits", input)
    if input.shape != target.shape:
        raise ValueError(f"Target size ({tuple(target.shape)}) must be the same as input size ({tuple(input.shape)})")

    def loss(x: Tensor, t: Tensor, weight: Tensor | None, pos_weight: Tensor | None) -> Tensor:
        positive = t * softplus(-x, threshold=np.inf)
        if pos_weight is not None:
            positive = positive * pos_weight
        losses = positive + (1 - t) * softplus(x, threshold=np.inf)
        return reduced_losses(losses if weight is None else losses * weight, reduction)

    return in_float32(loss, *promote(input, target), weight, pos_weight)


def _rows(what: str, x: Tensor, target: Any, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores (C,), (N, C) or (N, C, ...) as (rows, C), and class indices as int64 (rows,), as the kernel takes them."""
    index = as_input(target, x, weight)
    if index.array.dtype.kind not in "iu":
        raise RuntimeError(f"{what}: expected class indices of an integer dtype as target, got {index.dtype}")
    shape = x.array.shape
    if not shape or _places(x) != index.array.shape:
        raise ValueError(f"{what}: scores {shape} expect a target of shape {_places(x)}, got {index.array.shape}")
    if len(shape) != 2:
        x = x.unsqueeze(0) if len(shape) == 1 else x.movedim(1, -1).reshape(-1, shape[1])
        index = index.reshape(-1)
    index = index if index.array.dtype == int64 else index.to(int64)
    return x, index if index.array.flags.carray else index.clone()


def _places(x: Tensor) -> tuple[int, ...]:
    """The sizes of the scores (C,), (N, C) or (N, C, ...) without that of their classes."""
    return x.array.shape[:1] + x.array.shape[2:] if x.array.ndim > 1 else ()


def reduced_losses(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction!r} is not a valid value for reduction: 'mean', 'sum' or 'none'")


def warn_of_shapes(what: str, x: Tensor, y: Tensor) -> None:
    """Broadcasting (N, 1) against (N,) pairs every row with every other: hardly ever what a loss is meant to do."""
    if x.array.shape != y.array.shape:
        warn_user(
            f"{what}: the target's shape {y.array.shape} is not the input's {x.array.shape}: they are broadcast, which "
            "is likely to be wrong. Give them one shape"
        )


def _check_weight(what: str, weight: Tensor, x: Tensor) -> None:
    classes = x.shape[min(x.ndim - 1, 1)] if x.ndim else 0
    if tuple(weight.shape) != (classes,) or weight.dtype != x.dtype:
        raise RuntimeError(
            f"{what}: expected a weight for each of {classes} classes, {x.dtype} ({classes},), got {weight.dtype} "
            f"{tuple(weight.shape)}"
        )


def _cross_entropy(t: Any) -> Any:
    return t.nn.functional.cross_entropy
