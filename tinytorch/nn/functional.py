"""The functions behind the layers, under PyTorch's names.

Most are operations, defined with their derivations in `tinytorch/ops/`; dropout and batch_norm,
which draw random numbers and move running statistics, are composed of operations here. PyTorch has
no rope, no swiglu and no low_rank_linear.
"""

from __future__ import annotations

import math

from ..dtypes import float32, float64
from ..grad_mode import no_grad
from ..ops.activation import gelu, leaky_relu, relu, sigmoid, silu, softplus, swiglu, tanh
from ..ops.attention import scaled_dot_product_attention
from ..ops.common import create, in_float32, only_floating
from ..ops.embedding import embedding, one_hot
from ..ops.linalg import linear
from ..ops.loss import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss, nll_loss
from ..ops.low_rank import low_rank_linear
from ..ops.normalization import layer_norm, rms_norm
from ..ops.padding import pad
from ..ops.rope import rope
from ..ops.softmax import log_softmax, softmax
from ..random import default_generator
from ..tensor import Tensor

__all__ = [
    "relu", "leaky_relu", "gelu", "silu", "swiglu", "sigmoid", "tanh", "softplus", "softmax", "log_softmax",
    "linear", "low_rank_linear", "embedding", "one_hot", "pad", "dropout",
    "layer_norm", "rms_norm", "batch_norm",
    "scaled_dot_product_attention", "rope",
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "binary_cross_entropy_with_logits",
]  # fmt: skip


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p, and divide the others by 1 - p (Srivastava et al. 2014).

    Returns the input itself if not training or p = 0. Draws from the default generator. RuntimeError for integers.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    only_floating("dropout", input)
    dtype = float64 if input.dtype == float64 else float32
    shape = input.shape
    kept = default_generator.draw(lambda stream: stream.random(shape, dtype)) >= p
    # p = 1 keeps nothing: any finite factor will do.
    mask = create(lambda: (kept * dtype.type(1.0 / (1.0 - p) if p < 1.0 else 0.0)).astype(input.dtype))
    return input.mul_(mask) if inplace else input * mask


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
