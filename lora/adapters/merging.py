"""Merging: an adapted layer as a layer that knows nothing of adapters.

The merged weight is a copy beside the base, which stays as it is: so a head that shared the embedding's weight has one
of its own while one of them is merged, and unmerging forgets the copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinytorch.nn as nn
from lora.adapters.layers import LoraLayer
from lora.model.llama import Embedding, Linear, Llama
from lora.model.quantized import QuantizedLinear
from tinytorch import Tensor, bfloat16
from tinytorch.cli.errors import UserError


def merge(model: Llama) -> Llama:
    """Put the active adapter into the weights; returns the model. Nothing happens where it is there already.

    Computed as wide as the adapter, float32 or float64, then rounded to the base's dtype, or to bfloat16 where the base
    is quantized. UserError names a layer whose weight would not be finite; no layer is merged then.
    """
    merged = {}
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer) and layer.active is not None and layer.merged is None:
            # Fewer bits than 16 would lose much of what was learnt.
            dtype = bfloat16 if isinstance(layer.base, QuantizedLinear) else layer.base.weight.dtype
            weight = layer.merged_weight(dtype)
            if not np.isfinite(weight).all():
                raise UserError(f"the merged weight of {name} is not finite: the adapter {layer.active!r} is broken")
            merged[layer] = _copy(layer.base, weight)
    for layer, copy in merged.items():
        layer.merged = copy
    return model


def unmerge(model: Llama) -> Llama:
    """Take what was merged out of the weights again, to the last bit; returns the model."""
    for layer in list(model.modules()):
        if isinstance(layer, LoraLayer):
            layer.merged = None
    return model


def _copy(base: Any, weight: Any) -> nn.Module:
    """The base with another weight, frozen."""
    copy: nn.Module
    if isinstance(base, nn.Embedding):
        copy = Embedding(base.num_embeddings, base.embedding_dim, base.padding_idx)
    else:
        copy = Linear(base.in_features, base.out_features, bias=False)
        copy.bias = base.bias
    copy.weight = nn.Parameter(Tensor(weight), requires_grad=False)
    return copy.train(base.training)
