"""Linear layers with quantized weights, and their description in config.json.

    "quantization_config": {"quant_method": "tinytorch", "scheme": "int8" or "nf4", "group_size": 128 or null}

Every Linear of the model is quantized except the head, which stays as stored, like the embedding and the norms.
Instead of a weight (out, in), the file has the arrays of `tinytorch.quantization.QuantizedWeight`:

    int8    ....q_proj.weight I8 (out, in), ....q_proj.weight_scale F32 (out, groups)
    nf4     ....q_proj.weight U8 (out, 32 * groups), ....q_proj.weight_absmax I8 (out, groups),
            ....q_proj.weight_absmax_scale F32 (out * groups / 256), ....q_proj.weight_absmax_offset F32 ()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import tinytorch.nn as nn
from tinytorch import Tensor, bfloat16
from tinytorch.cli.errors import UserError
from tinytorch.quantization import QuantizedWeight, layout, quantized_linear

KEY, METHOD = "quantization_config", "tinytorch"


class Quantization(NamedTuple):
    """How the weights of a model are quantized."""

    scheme: str
    group_size: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Quantization | None:
        """From the content of a config.json; None if nothing is quantized. UserError if it makes no sense."""
        given = config.get(KEY)
        if not given:
            return None
        method = given.get("quant_method", "of an unknown kind") if isinstance(given, dict) else given
        if method != METHOD:
            raise UserError(f"quantization {method} is not supported: take the weights in bfloat16, float16 or float32")
        return cls(given.get("scheme"), given.get("group_size")).checked()

    def checked(self) -> Quantization:
        """Returns self, or raises UserError if there is no such quantization."""
        try:
            layout(self.scheme, (1, 1), self.group_size)
        except (ValueError, TypeError) as error:
            raise UserError(str(error)) from None
        return self

    def to_dict(self) -> dict[str, Any]:
        return {"quant_method": METHOD, "scheme": self.scheme, "group_size": self.group_size}


class QuantizedLinear(nn.Module):
    """y = x W^T + b: (..., in_features) to (..., out_features), with W quantized and frozen.

    The arrays of W are buffers: `weight`, `weight_scale`, ... They are empty at first: from_linear fills them,
    or loading a model replaces them by a file's arrays.
    """

    weight: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, quantization: Quantization) -> None:
        super().__init__()
        self.in_features, self.out_features, self.quantization = in_features, out_features, quantization
        scheme, group_size = quantization
        self.suffixes = layout(scheme, (out_features, in_features), group_size)
        for suffix, (dtype, shape) in self.suffixes.items():
            self.register_buffer(f"weight{suffix}", Tensor(np.empty(shape, dtype)))
        self.bias = nn.Parameter(Tensor(np.zeros(out_features, np.float32))) if bias else None

    @classmethod
    def from_linear(cls, linear: nn.Linear, quantization: Quantization) -> QuantizedLinear:
        """Quantize a layer's weight; the bias is shared with that layer."""
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, quantization)
        for suffix, array in QuantizedWeight.quantize(linear.weight, *quantization).arrays().items():
            setattr(layer, f"weight{suffix}", Tensor(array))
        layer.bias = linear.bias
        return layer

    @property
    def quantized(self) -> QuantizedWeight:
        """The weight; `quantized.dequantize()` returns it as numbers."""
        # Module.to may have widened the scales, which loses nothing.
        arrays = {
            suffix: np.asarray(getattr(self, f"weight{suffix}").array, dtype)
            for suffix, (dtype, _) in self.suffixes.items()
        }
        scheme, group_size = self.quantization
        return QuantizedWeight.from_arrays(scheme, (self.out_features, self.in_features), arrays, group_size)

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return quantized_linear(input, self.quantized, bias)

    def extra_repr(self) -> str:
        scheme, group_size = self.quantization
        group = "" if group_size is None else f", group_size={group_size}"
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"scheme={scheme}{group}"
        )


def quantized_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The Linear layers to quantize, by their paths: all but the head."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and name != "lm_head"}


def make_quantized(model: nn.Module, quantization: Quantization) -> None:
    """Replace each Linear but the head by an empty QuantizedLinear."""
    for name, old in quantized_layers(model).items():
        parent, _, attribute = name.rpartition(".")
        new = QuantizedLinear(old.in_features, old.out_features, old.bias is not None, quantization)
        setattr(model.get_submodule(parent), attribute, new)


def dense_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's state, with bfloat16 weights in place of quantized ones."""
    state = model.state_dict()
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLinear):
            for suffix in layer.suffixes:
                del state[f"{name}.weight{suffix}"]
            state[f"{name}.weight"] = Tensor(layer.quantized.dequantize(bfloat16))
    return state
