"""Rows of a table by index, and indices as one-hot rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import int64
from ..engine.function import Function
from ..engine.tensor import wrap
from ..kernels.embedding import embedding_backward, take_rows
from ..kernels.launch import check_bounds
from .common import Array, as_array, as_input, contiguous, is_tensor, normalize_dim, widened

if TYPE_CHECKING:
    from ..tensor import Tensor


class Embedding(Function):
    """y[..., :] = weight[index[...], :]"""

    examples = ((lambda t, w: t.nn.functional.embedding(t.tensor([[0, 2], [2, 1]]), w), (3, 4)),)
    long_examples = ((lambda t, w: t.nn.functional.embedding(t.full((2, 5_000), 2), w), (3, 4)),)
    errors = (
        (lambda t, w: _embed(t)(t.tensor([3]), w), (3, 4), IndexError, "index[0] is 3, which is out"),
        (lambda t, w: _embed(t)(t.tensor([-1]), w), (3, 4), IndexError, "index[0] is -1, which is out"),
        (lambda t, w: _embed(t)(t.tensor([0.0]), w), (3, 4), RuntimeError, "integer indices, got float32"),
        (lambda t, w: _embed(t)(t.tensor([0]), w), (3, 4, 5), RuntimeError, "'weight' must be 2-D"),
        (lambda t, w: _embed(t)(t.tensor([0]), w), (3,), RuntimeError, "'weight' must be 2-D"),
        (lambda t, w: _embed(t)(t.tensor([0]), w, 3), (3, 4), IndexError, "out of range", "an AssertionError"),
    )
    padding_idx: int | None
    rows: int

    @staticmethod
    def forward(ctx: Embedding, weight: Array, index: Array, padding_idx: int | None) -> Any:
        ctx.save(index)
        ctx.padding_idx, ctx.rows = padding_idx, weight.shape[0]
        check_bounds("embedding: index", index, weight.shape[0], "rows")
        return take_rows(weight, index)

    # dL/dweight[v] = sum of g over the places with index v; no gradient for the padding row
    @staticmethod
    def backward(ctx: Embedding, g: Tensor) -> Any:
        (index,) = ctx.saved
        return EmbeddingBackward.apply(g, index, padding_idx=ctx.padding_idx, rows=ctx.rows), None


def embedding(input: Tensor | Array, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of weight (V, C) for indices (...) of any integer dtype: (..., C). The row padding_idx gets no gradient.

    Raises IndexError for an index outside 0..V-1.
    """
    index = as_input(input, weight)
    if index.array.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: expected integer indices, got {index.dtype}")
    if weight.array.ndim != 2:
        raise RuntimeError(f"embedding: 'weight' must be 2-D, got shape {tuple(weight.shape)}")
    if padding_idx is not None:
        padding_idx = normalize_dim(padding_idx, weight.array.shape[0])
    return Embedding.apply(weight, index, padding_idx=padding_idx)


def _embed(t: Any) -> Any:
    return t.nn.functional.embedding


class EmbeddingBackward(Function):
    """y[v] = sum of x[...] over the places with index v: the transpose of Embedding"""

    examples = ((lambda t, x: _embedding_backward(t, x, t.tensor([[0, 2, 1], [2, 1, 2]])), (2, 3, 4)),)
    long_examples = ((lambda t, x: _embedding_backward(t, x, t.full((10_000,), 2)), (10_000, 4)),)
    errors = ()
    padding_idx: int | None

    @staticmethod
    def forward(ctx: EmbeddingBackward, x: Array, index: Array, padding_idx: int | None, rows: int) -> Any:
        ctx.save(index)
        ctx.padding_idx = padding_idx
        flat = contiguous(widened(x).reshape(index.size, x.shape[-1]))
        y = embedding_backward(flat, contiguous(index.reshape(-1)).astype(np.int64, copy=False), rows)
        y = y.astype(x.dtype, copy=False)
        if padding_idx is not None:
            y[padding_idx] = 0
        return y

    # each x[...] was added to the row of its index, but to no padding row
    @staticmethod
    def backward(ctx: EmbeddingBackward, g: Tensor) -> Any:
        (index,) = ctx.saved
        rows = Embedding.apply(g, index, padding_idx=ctx.padding_idx)
        if ctx.padding_idx is None:
            return rows, None
        return rows.masked_fill((index == ctx.padding_idx).unsqueeze(-1), 0.0), None


def _embedding_backward(t: Any, x: Any, index: Any) -> Any:
    """The gradient of an embedding as a function of its cotangent x."""
    weight = t.zeros(3, 4, dtype=x.dtype, requires_grad=True)
    y = t.nn.functional.embedding(index, weight, padding_idx=1)
    return t.autograd.grad(y, weight, x, create_graph=True)[0]


class OneHot(Function):
    """y[..., c] = [index[...] = c]"""

    examples = (
        (lambda t, x: t.nn.functional.one_hot((x > 0).long(), 3), (3, 4)),
        (lambda t, x: t.nn.functional.one_hot(t.tensor([[2, 0], [1, 1]])), ()),
    )
    errors = (
        (lambda t, x: t.nn.functional.one_hot(x), (3,), RuntimeError, "index tensors of type int64, got float"),
        (lambda t, x: t.nn.functional.one_hot(t.tensor([3]), 3), (), RuntimeError, "index[0] is 3, which is out"),
        (lambda t, x: t.nn.functional.one_hot(t.tensor([-1])), (), RuntimeError, "index[0] is -1, which is"),
        (lambda t, x: t.nn.functional.one_hot(x.long()), (0,), RuntimeError, "can not infer the number of classes"),
    )

    @staticmethod
    def forward(ctx: OneHot, index: Array, num_classes: int) -> Any:
        if num_classes == -1:
            num_classes = int(index.max()) + 1
        check_bounds("one_hot: index", index, num_classes, "classes", RuntimeError)
        return (index[..., None] == np.arange(num_classes)).astype(int64)


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """int64 (..., num_classes): 1 at each index, else 0. -1 takes the largest index plus one."""
    index = input if is_tensor(input) else wrap(as_array(input))
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"one_hot is only applicable to index tensors of type int64, got {index.dtype}")
    if num_classes == -1 and not index.array.size:
        raise RuntimeError("one_hot: can not infer the number of classes from an empty tensor: give num_classes")
    return OneHot.apply(index, num_classes=num_classes)
