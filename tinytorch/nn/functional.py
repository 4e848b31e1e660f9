"""The functions behind the layers, under PyTorch's names. Each is defined in `tinytorch/ops/`, most of them as an
operation with its derivation. PyTorch has no rope, no swiglu and no low_rank_linear.
"""

from ..ops.activation import dropout, elu, gelu, leaky_relu, logsigmoid, relu, sigmoid, silu, softplus, swiglu, tanh
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

__all__ = [
    "relu", "leaky_relu", "gelu", "silu", "swiglu", "elu", "sigmoid", "logsigmoid", "tanh", "softplus", "softmax",
    "log_softmax", "normalize", "cosine_similarity",
    "linear", "low_rank_linear", "embedding", "one_hot", "pad", "dropout",
    "layer_norm", "rms_norm", "batch_norm",
    "scaled_dot_product_attention", "rope",
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
    "binary_cross_entropy", "binary_cross_entropy_with_logits",
]  # fmt: skip
