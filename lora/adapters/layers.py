"""A layer with low-rank adapters (Hu et al. 2021, arXiv:2106.09685) beside its frozen weight.

    y = base(x) + scaling * B(A(dropout(x)))        x (..., in), y (..., out), A (r, in), B (out, r)

The base is a module that is called and never changed: a Linear (its weight stored in any dtype), a quantized Linear
or an Embedding. The adapted layer takes its place in the model, under its name.

DoRA (Liu et al. 2024, arXiv:2402.09353) divides the rows of W + scaling * B A by their lengths, which it treats as
constants, and multiplies them by a trained magnitude m:

    y = m / |W + scaling * B A| * (W x + scaling * B(A(x))) + bias
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

import tinytorch
import tinytorch.nn as nn
from lora.model.quantized import QuantizedLinear
from tinytorch import Tensor
from tinytorch.dtypes import DTypeLike
from tinytorch.nn import functional as F

Array = np.ndarray[Any, Any]
Shapes = dict[str, tuple[int, ...]]

_ROWS = 1024  # how many rows of a weight are converted at a time


class LowRank(nn.Module):
    """The trained parameters of one adapter in one layer. It adds `scaling * lora_B @ lora_A` to the weight."""

    lora_A: nn.Parameter
    lora_B: nn.Parameter
    lora_magnitude_vector: nn.Parameter | None

    def __init__(self, shapes: Shapes, scaling: float, dropout: float, dtype: DTypeLike) -> None:
        super().__init__()
        self.r, self.scaling, self.dropout = shapes["lora_A"][0], scaling, dropout
        self.lora_magnitude_vector = None
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(tinytorch.zeros(shape, dtype=dtype)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)"""
        return F.linear(F.linear(x, self.lora_A) * self.scaling, self.lora_B)

    def extra_repr(self) -> str:
        return f"r={self.r}, scaling={self.scaling:g}, dropout={self.dropout:g}"


class LoraLayer(nn.Module):
    """A layer with named adapters, of which at most one is active. The two kinds are below."""

    names_in_file: ClassVar[Mapping[str, str]]  # the names of an adapter's parameters in its file
    base: Any

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.merged: nn.Module | None = None  # a copy of the base with the active adapter in its weight
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        self.enabled = True
        self._squares: Array | None = None  # squared lengths of the base's rows, computed on first use
        self.train(base.training)

    @property
    def adapter(self) -> LowRank | None:
        """The active adapter."""
        return None if self.active is None else self.adapters[self.active]

    def forward(self, x: Tensor) -> Tensor:
        adapter = self.adapter
        if adapter is None or not self.enabled:
            return self.base(x)
        return self.adapted(x, adapter) if self.merged is None else self.merged(x)

    def adapted(self, x: Tensor, adapter: LowRank) -> Tensor:
        """The output with an adapter."""
        raise NotImplementedError

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """The base, or the merged copy, goes by the layer's own name, so checkpoints keep the name of its weight."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        yield from self.present.named_modules(memo, prefix, remove_duplicate)
        yield from self.adapters.named_modules(memo, f"{prefix}.adapters", remove_duplicate)

    def state_dict(
        self, *, destination: dict[str, Tensor] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """As of any module, with the base, or the merged copy, under the layer's own name."""
        state = self.present.state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)
        return self.adapters.state_dict(destination=state, prefix=f"{prefix}adapters.", keep_vars=keep_vars)

    @property
    def present(self) -> Any:
        """The layer without adapters: the merged copy if there is one, else the base."""
        return self.base if self.merged is None else self.merged

    @property
    def weight(self) -> Any:
        return self.present.weight

    @property
    def bias(self) -> Any:
        return self.present.bias

    # Adapters ---------------------------------------------------------------------------------------

    def add(self, name: str, r: int, scaling: float, dropout: float, dora: bool, dtype: DTypeLike) -> LowRank:
        """Add an adapter whose parameters are all zeros."""
        adapter = LowRank(self.shapes(self.base, r, dora), scaling, dropout, dtype).train(self.training)
        self.adapters[name] = adapter
        return adapter

    @classmethod
    def shapes(cls, base: Any, r: int, dora: bool) -> Shapes:
        """The shapes of an adapter's parameters for this rank."""
        in_features, out_features = cls.features(base)
        shapes: Shapes = {"lora_A": (r, in_features), "lora_B": (out_features, r)}
        return shapes | {"lora_magnitude_vector": (out_features,)} if dora else shapes

    def initialize(self, name: str, how: bool | str) -> None:
        """Draw the initial values; see LoraConfig.init_lora_weights."""
        adapter = self.adapters[name]
        self.draw(adapter, how)
        if adapter.lora_magnitude_vector is not None:
            adapter.lora_magnitude_vector.data = Tensor(self.norm(adapter))

    def norm(self, adapter: LowRank) -> Array:
        """The lengths of the adapted weight's rows, (out,), computed without forming that weight.

        |w_o + s sum_k b_ok a_k|^2 = |w_o|^2 + s sum_k b_ok (2 w_o a_k + s sum_l b_ol a_l a_k)
        """
        a, b, s = adapter.lora_A.detach().array, adapter.lora_B.detach().array, adapter.scaling
        if self._squares is None or self._squares.dtype != a.dtype:
            self._squares = self.squares(a.dtype)
        return np.sqrt(self._squares + s * (b * (2 * self.products(a).T + s * (b @ (a @ a.T)))).sum(axis=1))

    def merged_weight(self, dtype: DTypeLike) -> Array:
        """The base's weight with the active adapter added, computed in the adapter's dtype, then rounded."""
        adapter = self.adapter
        assert adapter is not None
        a, b = adapter.lora_A.detach().array, adapter.lora_B.detach().array * adapter.scaling
        magnitude = adapter.lora_magnitude_vector
        scale = None if magnitude is None else magnitude.detach().array / self.norm(adapter)
        parts = []
        for part, rows in weight_rows(self.base, a.dtype):
            self.adapt_rows(rows, part, a, b, scale)
            parts.append(rows.astype(dtype, copy=False))
        return np.concatenate(parts)

    # What the two kinds differ in -------------------------------------------------------------------

    @staticmethod
    def features(base: Any) -> tuple[int, int]:
        """The input size of A and the output size of B."""
        raise NotImplementedError

    def draw(self, adapter: LowRank, how: bool | str) -> None:
        """Draw A and B."""
        raise NotImplementedError

    @staticmethod
    def adapt_rows(rows: Array, part: slice, a: Array, b: Array, scale: Array | None) -> None:
        """Add B A to these rows of the base's weight, in place, then scale them by (out,)."""
        raise NotImplementedError

    def squares(self, dtype: DTypeLike) -> Array:
        """The squared lengths of the rows of the base's weight, (out,)."""
        raise NotImplementedError

    def products(self, a: Array) -> Array:
        """The products of each row of A, (r, in), with each row of the base's weight: (r, out)."""
        raise NotImplementedError


class LoraLinear(LoraLayer):
    """An adapted Linear, or quantized Linear: (..., in) to (..., out)."""

    names_in_file: ClassVar[Mapping[str, str]] = {
        "lora_A": "lora_A.weight",
        "lora_B": "lora_B.weight",
        "lora_magnitude_vector": "lora_magnitude_vector",
    }

    @staticmethod
    def features(base: Any) -> tuple[int, int]:
        return base.in_features, base.out_features

    def draw(self, adapter: LowRank, how: bool | str) -> None:
        r, in_features = adapter.lora_A.shape
        if isinstance(how, str):  # "gaussian"
            nn.init.normal_(adapter.lora_A, std=1 / r)
        else:
            bound = 1 / math.sqrt(in_features)  # Kaiming's for a = sqrt(5)
            nn.init.uniform_(adapter.lora_A, -bound, bound)
        if how is False:
            nn.init.uniform_(adapter.lora_B, -1 / math.sqrt(r), 1 / math.sqrt(r))

    def adapted(self, x: Tensor, adapter: LowRank) -> Tensor:
        dropped = F.dropout(x, adapter.dropout, self.training)
        if adapter.lora_magnitude_vector is None:
            return self._product(x, adapter, self.bias) if dropped is x else self.base(x) + adapter(dropped)
        scale = adapter.lora_magnitude_vector / Tensor(self.norm(adapter))  # (out,)
        if dropped is x:
            y = self._product(x, adapter, None) * scale
            return y if self.bias is None else y + self.bias
        # As in PEFT, the product that is scaled uses x after dropout.
        product = self._without_bias(dropped)
        return self.base(x) + (scale - 1) * product + scale * adapter(dropped)

    def _product(self, x: Tensor, adapter: LowRank, bias: Tensor | None) -> Tensor:
        """x times the transpose of the adapted weight, plus the bias if one is given."""
        if not isinstance(self.base, nn.Linear):
            return (self._without_bias(x) if bias is None else self.base(x)) + adapter(x)
        bias = None if bias is None else bias.to(x.dtype)
        return F.low_rank_linear(x, self.weight, bias, adapter.lora_A, adapter.lora_B, adapter.scaling)

    def _without_bias(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y if self.bias is None else y - self.bias

    @staticmethod
    def adapt_rows(rows: Array, part: slice, a: Array, b: Array, scale: Array | None) -> None:
        rows += b[part] @ a
        if scale is not None:
            rows *= scale[part, None]

    def squares(self, dtype: DTypeLike) -> Array:
        return np.concatenate([np.square(rows).sum(axis=1) for _, rows in weight_rows(self.base, dtype)])

    def products(self, a: Array) -> Array:
        with tinytorch.no_grad():
            return self._without_bias(Tensor(a)).array


class LoraEmbedding(LoraLayer):
    """An adapted Embedding: ids (...) to (..., C); A (r, V), B (C, r). No dropout; DoRA scales the table's columns."""

    names_in_file: ClassVar[Mapping[str, str]] = {
        "lora_A": "lora_embedding_A",
        "lora_B": "lora_embedding_B",
        "lora_magnitude_vector": "lora_magnitude_vector",
    }

    @staticmethod
    def features(base: Any) -> tuple[int, int]:
        return base.num_embeddings, base.embedding_dim

    def draw(self, adapter: LowRank, how: bool | str) -> None:
        nn.init.normal_(adapter.lora_B)
        if how is False:
            nn.init.normal_(adapter.lora_A)

    def adapted(self, x: Tensor, adapter: LowRank) -> Tensor:
        rows = F.embedding(x, adapter.lora_A.mT, self.base.padding_idx)  # (..., r)
        y = self.base(x).to(rows.dtype) + F.linear(rows * adapter.scaling, adapter.lora_B)
        if adapter.lora_magnitude_vector is None:
            return y
        return y * (adapter.lora_magnitude_vector / Tensor(self.norm(adapter)))

    @staticmethod
    def adapt_rows(rows: Array, part: slice, a: Array, b: Array, scale: Array | None) -> None:
        rows += a[:, part].T @ b.T
        if scale is not None:
            rows *= scale

    def squares(self, dtype: DTypeLike) -> Array:
        return np.sum([np.square(rows).sum(axis=0) for _, rows in weight_rows(self.base, dtype)], axis=0)

    def products(self, a: Array) -> Array:
        return np.sum([a[:, part] @ rows for part, rows in weight_rows(self.base, a.dtype)], axis=0)


def supports(layer: nn.Module) -> bool:
    """Whether the layer can be adapted, or already is."""
    return isinstance(layer, (nn.Linear, QuantizedLinear, nn.Embedding, LoraLayer))


def kind(base: nn.Module) -> type[LoraLayer]:
    """The class that adapts this layer."""
    return LoraEmbedding if isinstance(base, nn.Embedding) else LoraLinear


def weight_rows(base: Any, dtype: DTypeLike) -> Iterator[tuple[slice, Array]]:
    """Yield a layer's weight a few rows at a time, with their slice, converted into new memory."""
    quantized = base.quantized if isinstance(base, QuantizedLinear) else None
    weight = base.weight.detach().array
    for start in range(0, len(weight), _ROWS):
        part = slice(start, start + _ROWS)
        yield part, weight[part].astype(dtype) if quantized is None else quantized.dequantize(dtype, part)
