"""Normalization: over the last dimensions, as operations; over the batch, composed of other operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..dtypes import finfo, float32
from ..grad_mode import no_grad
from ..kernels import normalization as kernels
from .common import Array, contiguous, in_float32, only_floating
from .fused import FusedFunction

if TYPE_CHECKING:
    from ..tensor import Tensor


class LayerNorm(FusedFunction):
    """y_i = w_i (x_i - m) / sqrt(v + eps) + b_i, m and v the mean and variance of the row. Ba et al. 2016."""

    examples = (
        (lambda t, x, w, b: t.nn.functional.layer_norm(x, (4,), w, b), (2, 3, 4), (4,), (4,)),
        (lambda t, x, w: t.nn.functional.layer_norm(x, (3, 4), w), (2, 3, 4), (3, 4)),
        (lambda t, x: t.nn.functional.layer_norm(x, (4,), eps=0.1), (3, 4)),
    )
    long_examples = (
        (lambda t, x, w, b: t.nn.functional.layer_norm(x, (4,), w, b), (10_000, 4), (4,), (4,)),
        (lambda t, x, w, b: t.nn.functional.layer_norm(x, (10_000,), w, b), (3, 10_000), (10_000,), (10_000,)),
    )
    errors = (
        (lambda t, x: t.nn.functional.layer_norm(x, (3,)), (3, 4), RuntimeError, "(3,) must be the last sizes"),
        (lambda t, x: t.nn.functional.layer_norm(x, ()), (3, 4), RuntimeError, "normalized_shape ()"),
        (lambda t, x, w: t.nn.functional.layer_norm(x, (4,), w), (3, 4), (3,), RuntimeError, "(4,), got (3,)"),
        (lambda t, x, b: t.nn.functional.layer_norm(x, (4,), None, b), (3, 4), (1, 4), RuntimeError, "got (1, 4)"),
        (lambda t, x, w: t.nn.functional.layer_norm(x, (4,), w.half()), (3, 4), (4,), RuntimeError, "got float16"),
        (lambda t, x: t.nn.functional.layer_norm(x.long(), (4,)), (3, 4), RuntimeError, "not implemented for int64"),
    )
    width: int

    @staticmethod
    def composite(x: Tensor, w: Tensor | None, b: Tensor | None, ndim: int, eps: float) -> Any:
        dims = tuple(range(-ndim, 0))
        centred = x - x.mean(dims, keepdim=True)
        y = centred * ((centred * centred).mean(dims, keepdim=True) + eps).rsqrt()
        y = y if w is None else y * w
        return y if b is None else y + b

    @staticmethod
    def forward(ctx: LayerNorm, x: Array, w: Array | None, b: Array | None, ndim: int, eps: float) -> Any:
        width = math.prod(x.shape[x.ndim - ndim :])
        flat_w, flat_b = [None if p is None else contiguous(p).reshape(width) for p in (w, b)]
        y, mean, rstd = kernels.layer_norm(_rows(x, width), flat_w, flat_b, eps)
        ctx.save(x, w, mean, rstd)
        ctx.width = width
        return y.reshape(x.shape)

    # with r = 1/sqrt(v + eps), h_i = (x_i - m) r and u_i = g_i w_i, over a row of n:
    #   dm/dx_j = 1/n, dr/dx_j = -r^2 h_j / n, so dh_i/dx_j = r ([i = j] - 1/n - h_i h_j / n)
    #   dL/dx_j = r (u_j - (1/n) sum_i u_i - h_j (1/n) sum_i u_i h_i)
    # dL/dw_i = sum over rows of g_i h_i, dL/db_i = sum over rows of g_i
    @staticmethod
    def backward(ctx: LayerNorm, g: Array) -> Any:
        x, w, mean, rstd = ctx.saved
        width, shape = ctx.width, x.shape[x.ndim - ctx.settings["ndim"] :]
        flat_w = None if w is None else contiguous(w).reshape(width)
        dx, dw, db = kernels.layer_norm_backward(
            _rows(g, width), _rows(x, width), flat_w, mean, rstd, *ctx.needs_input_grad
        )
        return (
            None if dx is None else dx.reshape(x.shape),
            None if dw is None else dw.reshape(shape),
            None if db is None else db.reshape(shape),
        )


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each row (the last dimensions) to mean 0 and variance 1, then apply weight and bias.

    The three have one floating-point dtype; weight and bias of a float16 or bfloat16 input may be float32.
    """
    shape = _check("layer_norm", input, normalized_shape, weight, bias)
    return in_float32(LayerNorm.apply, input, weight, bias, ndim=len(shape), eps=eps)


class RMSNorm(FusedFunction):
    """y_i = w_i x_i / sqrt(mean of x^2 + eps). Zhang and Sennrich 2019."""

    examples = (
        (lambda t, x, w: t.nn.functional.rms_norm(x, (4,), w, eps=1e-5), (2, 3, 4), (4,)),
        (lambda t, x: t.nn.functional.rms_norm(x, (3, 4), eps=1e-5), (2, 3, 4)),
    )
    long_examples = (
        (lambda t, x, w: t.nn.functional.rms_norm(x, (4,), w, eps=1e-5), (10_000, 4), (4,)),
        (lambda t, x, w: t.nn.functional.rms_norm(x, (10_000,), w, eps=1e-5), (3, 10_000), (10_000,)),
    )
    errors = (
        (lambda t, x: t.nn.functional.rms_norm(x, (4, 4)), (3, 4), RuntimeError, "(4, 4) must be the last sizes"),
        (lambda t, x: t.nn.functional.rms_norm(x.int(), (4,)), (3, 4), RuntimeError, "not implemented for int32"),
        (lambda t, x, w: t.nn.functional.rms_norm(x, (4,), w), (3, 4), (3,), RuntimeError, "(4,), got (3,)"),
    )
    width: int

    @staticmethod
    def composite(x: Tensor, w: Tensor | None, ndim: int, eps: float) -> Any:
        y = x * ((x * x).mean(tuple(range(-ndim, 0)), keepdim=True) + eps).rsqrt()
        return y if w is None else y * w

    @staticmethod
    def forward(ctx: RMSNorm, x: Array, w: Array | None, ndim: int, eps: float) -> Any:
        width = math.prod(x.shape[x.ndim - ndim :])
        flat_w = None if w is None else contiguous(w).reshape(width)
        y, rstd = kernels.rms_norm(_rows(x, width), flat_w, eps)
        ctx.save(x, w, rstd)
        ctx.width = width
        return y.reshape(x.shape)

    # with r = 1/sqrt(mean x^2 + eps), h_i = x_i r and u_i = g_i w_i, over a row of n:
    #   dr/dx_j = -r^2 h_j / n, so dL/dx_j = r (u_j - h_j (1/n) sum_i u_i h_i)
    # dL/dw_i = sum over rows of g_i h_i
    @staticmethod
    def backward(ctx: RMSNorm, g: Array) -> Any:
        x, w, rstd = ctx.saved
        flat_w = None if w is None else contiguous(w).reshape(ctx.width)
        dx, dw = kernels.rms_norm_backward(
            _rows(g, ctx.width), _rows(x, ctx.width), flat_w, rstd, *ctx.needs_input_grad
        )
        return None if dx is None else dx.reshape(x.shape), None if dw is None else dw.reshape(w.shape)


def rms_norm(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Normalize each row (the last dimensions) to mean square 1, then apply weight. eps None: the machine epsilon."""
    shape = _check("rms_norm", input, normalized_shape, weight)
    eps = float(finfo(input.dtype).eps) if eps is None else eps
    return in_float32(RMSNorm.apply, input, weight, ndim=len(shape), eps=eps)


def _rows(x: Array, width: int) -> Array:
    """(..., C) as contiguous rows (N, C)."""
    return contiguous(x.reshape(x.size // width if width else 0, width))


def _check(what: str, input: Tensor, normalized_shape: int | Sequence[int], *params: Tensor | None) -> tuple[int, ...]:
    shape = tuple(normalized_shape) if isinstance(normalized_shape, Sequence) else (int(normalized_shape),)
    if not shape or input.array.shape[max(input.array.ndim - len(shape), 0) :] != shape:
        raise RuntimeError(f"{what}: normalized_shape {shape} must be the last sizes of the input {tuple(input.shape)}")
    dtype = only_floating(what, input).array.dtype
    for p in params:
        if p is not None and p.array.shape != shape:
            raise RuntimeError(f"{what}: expected weight and bias of shape {shape}, got {tuple(p.shape)}")
        if p is not None and p.array.dtype != dtype and not (dtype.itemsize == 2 and p.array.dtype == float32):
            raise RuntimeError(f"{what}: expected weight and bias of the input's dtype {input.dtype}, got {p.dtype}")
    return shape


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel (Ioffe and Szegedy 2015).

    input (B, C) or (B, C, ...), the rest (C,). In training the statistics are the batch's, over all
    dimensions but C, with the biased variance; and the running ones, if given, are updated in place:
    running += momentum * (batch's - running), with the unbiased variance. float16 and bfloat16 inputs are computed in
    float32, and weight and bias may be float32 too. Raises ValueError if eps is negative, or zero in training.
    """
    if training and eps <= 0.0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    if eps < 0.0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    if input.ndim < 2:
        raise RuntimeError(f"batch_norm: expected input (B, C) or (B, C, ...), got shape {tuple(input.shape)}")
    channels = input.shape[1]
    for name, tensor in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        if tensor is not None and tuple(tensor.shape) != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements, got shape {tuple(tensor.shape)}")
    shape = (1, channels) + (1,) * (input.ndim - 2)
    only_floating("batch_norm", input)
    count = math.prod((input.shape[0], *input.shape[2:]))
    if training and count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(input.shape)}")
    if not training and (running_mean is None or running_var is None):
        raise ValueError("batch_norm needs running_mean and running_var when training is False")

    def normalized(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if training:
            dims = (0, *range(2, x.ndim))
            mean = x.mean(dims, keepdim=True)
            centred = x - mean
            var = (centred * centred).mean(dims, keepdim=True)
            if count:  # an empty batch changes nothing
                _move(running_mean, mean.reshape(-1), momentum)
                _move(running_var, var.reshape(-1) * (count / (count - 1)), momentum)
        else:
            assert running_mean is not None and running_var is not None
            centred = x - running_mean.to(x.dtype).reshape(shape)
            var = running_var.to(x.dtype).reshape(shape)
        y = centred * (var + eps).rsqrt()
        if weight is not None:
            y = y * weight.reshape(shape)
        return y if bias is None else y + bias.reshape(shape)

    return in_float32(normalized, input, weight, bias)


def _move(running: Tensor | None, batch: Tensor, momentum: float) -> None:
    """running += momentum * (batch - running), in the batch statistics' dtype, so that it is rounded only once."""
    if running is not None:
        with no_grad():
            wide = running.to(batch.dtype)
            running.copy_(wide + (batch - wide) * momentum)
