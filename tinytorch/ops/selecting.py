"""Selecting parts of a tensor by a position along a dimension, a mask, or an index array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import int64
from ..engine.function import Function
from ..kernels.launch import check_bounds
from .common import Array, as_input, is_tensor, normalize_dim
from .gathering import gather, with_dims
from .indexing import Index, Scatter, Slice, getitem
from .subscripts import ARRAY, Layout, placed

if TYPE_CHECKING:
    from ..tensor import Tensor


class NonZero(Function):
    """y = the coordinates of the elements of x that are not 0, one row each"""

    examples = ((lambda t, x: t.nonzero(x.round()), (3, 4)), (lambda t, x: (x > 0).nonzero(as_tuple=True), (2, 3)))

    @staticmethod
    def forward(ctx: NonZero, x: Array) -> Any:
        return np.argwhere(x)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The int64 coordinates (n, ndim) of the elements that are not zero; with as_tuple, a tuple of ndim vectors (n,).

    The tuple can be used to index those elements; for a 0-d tensor it has one coordinate.
    """
    if not as_tuple:
        return NonZero.apply(input)
    places = NonZero.apply(with_dims(input))
    return tuple([places[:, d] for d in range(places.array.shape[1])])


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice of dim at one index, without that dimension."""
    return getitem(input, (slice(None),) * normalize_dim(dim, input.ndim) + (index,))


def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """Part of a dimension, as a view. start may be an integer Tensor, and counts from the end if it is negative."""
    if not input.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor")
    if is_tensor(start):
        if start.ndim or start.dtype.kind not in "iu":
            raise RuntimeError(
                f"narrow: start must be an 0-dim integral Tensor, got {start.dtype} {tuple(start.shape)}"
            )
        start = int(start)
    for name, value in (("start", start), ("length", length)):
        if isinstance(value, bool):
            raise TypeError(f"narrow: {name} must be an int, not bool")
    dim = normalize_dim(dim, input.ndim)
    size = input.shape[dim]
    if length < 0:
        raise RuntimeError(f"narrow: length must be non-negative, got {length}")
    if not -size <= start <= size:
        raise IndexError(f"narrow: start out of range (expected to be in range of [{-size}, {size}], but got {start})")
    start = start + size if start < 0 else start
    if start + length > size:
        raise RuntimeError(f"narrow: {start} + {length} exceeds dimension size {size}")
    return Slice.apply(input, layout=(slice(None),) * dim + (slice(start, start + length),))


class IndexSelect(Function):
    """y[..., i, ...] = x[..., index[i], ...], index a vector"""

    examples = (
        (lambda t, x: x.index_select(1, t.tensor([3, 0, 0])), (3, 4)),
        (lambda t, x: x.sum().index_select(0, t.tensor([0])), (3,)),
    )
    long_examples = (
        (lambda t, x: x.index_select(0, t.zeros(10_000, dtype=t.int64)), (3, 4)),
        (lambda t, x: x.sum().index_select(0, t.tensor([0])), (10_000,)),
    )
    errors = (
        (lambda t, x: x.index_select(0, t.tensor([3])), (3,), IndexError, "index[0] is 3, which is out"),
        (lambda t, x: x.index_select(0, t.tensor([-1])), (3,), IndexError, "index[0] is -1, which is"),
        (lambda t, x: x.index_select(0, t.tensor([0.5])), (3,), RuntimeError, "integer index, got float32"),
        (lambda t, x: x.index_select(0, t.tensor([[0]])), (3,), IndexError, "supposed to be a vector"),
        (lambda t, x: x.sum().index_select(0, t.tensor([0, 0])), (3,), RuntimeError, "the index names 2"),
    )
    layout: Layout
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: IndexSelect, x: Array, index: Array, dim: int) -> Any:
        ctx.save(index)
        ctx.layout, ctx.shape = (slice(None),) * dim + (ARRAY,), x.shape
        check_bounds("index_select: index", index, x.shape[dim], "slices")
        return x[placed(ctx.layout, (index,))]

    # dL/dx_j = the sum of g_i over the i with index_i = j
    @staticmethod
    def backward(ctx: IndexSelect, g: Tensor) -> Any:
        return Scatter.apply(g, *ctx.saved, layout=ctx.layout, shape=ctx.shape), None


def index_select(input: Tensor, dim: int, index: Tensor | Array) -> Tensor:
    """The slices of dim selected by a one-dimensional integer index."""
    index = as_input(index, input)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"index_select: expected an integer index, got {index.dtype}")
    if index.ndim > 1:
        raise IndexError(f"index_select: index is supposed to be a vector, got shape {tuple(index.shape)}")
    if not input.ndim and index.array.size != 1:
        raise RuntimeError(
            f"index_select: a tensor without dimensions has one slice, but the index names {index.array.size}"
        )
    dim = normalize_dim(dim, input.ndim)
    chosen = IndexSelect.apply(with_dims(input), with_dims(index), dim=dim)
    return chosen if input.ndim else chosen.reshape(())


def masked_select(input: Tensor, mask: Tensor | Array) -> Tensor:
    """The elements where the mask (bool, broadcast) is True, as a vector."""
    mask = as_input(mask, input)
    if mask.dtype.kind != "b":
        raise RuntimeError(f"masked_select: expected a bool mask, got {mask.dtype}")
    try:
        shape = np.broadcast_shapes(mask.array.shape, input.array.shape)
    except ValueError:
        raise RuntimeError(
            f"masked_select: mask {tuple(mask.shape)} does not broadcast with {tuple(input.shape)}"
        ) from None
    return Index.apply(with_dims(input.expand(shape)), with_dims(mask.expand(shape)), layout=(ARRAY,))


def take_along_dim(input: Tensor, indices: Tensor | Array, dim: int | None = None) -> Tensor:
    """Like gather, but index and input are broadcast against each other in the other dimensions, and negative indices
    count from the end. Without dim, the flattened tensor is indexed, which gives a vector."""
    index = as_input(indices, input)
    if dim is None:
        return gather(input.reshape(-1), 0, index.reshape(-1))
    dim = normalize_dim(dim, input.ndim)
    if index.ndim != input.ndim:
        raise RuntimeError(f"take_along_dim: the index has {index.ndim} dimensions, but the input has {input.ndim}")
    others = [tuple([1 if d == dim else n for d, n in enumerate(x.array.shape)]) for x in (index, input)]
    try:
        shape = list(np.broadcast_shapes(*others))
    except ValueError:
        raise RuntimeError(
            f"take_along_dim: the index {tuple(index.shape)} does not broadcast with {tuple(input.shape)} outside of "
            f"dim {dim}"
        ) from None
    if not shape:
        return gather(input, 0, index)
    size = input.array.shape[dim]
    if index.dtype.kind in "iu":  # gather refuses other dtypes
        index = index.to(int64)
        index = index + (index < 0) * size
    index = index.expand([*shape[:dim], index.array.shape[dim], *shape[dim + 1 :]])
    return gather(input.expand([*shape[:dim], size, *shape[dim + 1 :]]), dim, index)
