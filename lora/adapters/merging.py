"""Merging turns an adapted layer into a plain one.

The merged weight is a copy beside the unchanged base. So a head that shares the embedding's weight has one of its own
while either is merged, and unmerging just drops the copy.
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
    """Add the active adapter to the weights; returns the model. Layers that are already merged stay as they are.

    The sum is computed in the adapter's dtype, float32 or float64, then rounded to the base's dtype, or to bfloat16 if
    the base is quantized. If a layer's weight would not be finite, a UserError names it and no layer is merged.
    """
    merged = {}
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer) and layer.active is not None and layer.merged is None:
            # Fewer than 16 bits would lose much of what the adapter learned.
            dtype = bfloat16 if isinstance(layer.base, QuantizedLinear) else layer.base.weight.dtype
            weight = layer.merged_weight(dtype)
            if not np.isfinite(weight).all():
                raise UserError(f"the merged weight of {name} is not finite: the adapter {layer.active!r} is broken")
            merged[layer] = _copy(layer.base, weight)
    for layer, copy in merged.items():
        layer.merged = copy
    return model


def unmerge(model: Llama) -> Llama:
    """Undo `merge`, restoring the weights to the last bit; returns the model."""
    for layer in list(model.modules()):
        if isinstance(layer, LoraLayer):
            layer.merged = None
    return model


def _copy(base: Any, weight: Any) -> nn.Module:
    """A frozen copy of the base with another weight."""
    copy: nn.Module
    if isinstance(base, nn.Embedding):
        copy = Embedding(base.num_embeddings, base.embedding_dim, base.padding_idx)
    else:
        copy = Linear(base.in_features, base.out_features, bias=False)
        copy.bias = base.bias
    copy.weight = nn.Parameter(Tensor(weight), requires_grad=False)
    return copy.train(base.training)
