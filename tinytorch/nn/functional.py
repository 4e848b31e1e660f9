"""The functions behind the layers, under PyTorch's names. Each is defined in `tinytorch/ops/`, most of them as an
operation with its derivation; four of them can be written into their input here, as in PyTorch. PyTorch has no rope, no
swiglu and no low_rank_linear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..methods import in_place
from ..ops import activation
from ..ops.activation import dropout, gelu, logsigmoid, sigmoid, softplus, swiglu, tanh
from ..ops.attention import scaled_dot_product_attention
from ..ops.embedding import embedding, one_hot
from ..ops.linalg import linear
from ..ops.loss import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss, nll_loss
from ..ops.low_rank import low_rank_linear
from ..ops.norm import cosine_similarity, normalize
from ..ops.normalization import batch_norm, layer_norm, rms_norm
from ..ops.padding import pad
from ..ops.pointwise_loss import binary_cross_entropy, huber_loss, kl_div, smooth_l1_loss
from ..ops.rope import rope
from ..ops.softmax import log_softmax, softmax

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = [
    "relu", "relu_", "leaky_relu", "leaky_relu_", "gelu", "silu", "swiglu", "elu", "elu_",
    "sigmoid", "logsigmoid", "tanh", "softplus", "softmax", "log_softmax", "normalize", "cosine_similarity",
    "linear", "low_rank_linear", "embedding", "one_hot", "pad", "dropout",
    "layer_norm", "rms_norm", "batch_norm",
    "scaled_dot_product_attention", "rope",
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
    "binary_cross_entropy", "binary_cross_entropy_with_logits",
]  # fmt: skip

relu_, leaky_relu_, elu_ = in_place(activation.relu), in_place(activation.leaky_relu), in_place(activation.elu)
_silu_ = in_place(activation.silu)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), written into the input itself if inplace."""
    return (relu_ if inplace else activation.relu)(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, negative_slope * x elsewhere; written into the input itself if inplace."""
    return (leaky_relu_ if inplace else activation.leaky_relu)(input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, alpha * (exp(x) - 1) elsewhere; written into the input itself if inplace."""
    return (elu_ if inplace else activation.elu)(input, alpha)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), written into the input itself if inplace."""
    return (_silu_ if inplace else activation.silu)(input)
