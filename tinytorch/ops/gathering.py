"""Reading and adding along a dimension at the places in an index with equally many dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32, float64, int64
from ..engine.function import Function
from ..engine.tensor import wrap
from ..kernels.embedding import add_within_rows
from ..kernels.launch import check_bounds
from .common import Array, as_input, contiguous, in_two_bytes, normalize_dim
from .indexing import Index, Scatter
from .subscripts import ARRAY

if TYPE_CHECKING:
    from ..tensor import Tensor


class Gather(Function):
    """y[i][j] = x[index[i][j]][j] for dim 0, and likewise for any dim"""

    examples = (
        (lambda t, x: x.gather(1, t.tensor([[0, 0], [2, 1]])), (3, 4)),
        (lambda t, x: x.sum().gather(0, t.tensor([0, 0])), (3,)),
        (lambda t, x: t.take_along_dim(x, t.tensor([[0], [-1], [2]]), 1), (3, 4)),
    )
    errors = (
        (lambda t, x: x.gather(0, t.tensor([0.0])), (3,), RuntimeError, "expected an integer index, got float32"),
        (lambda t, x: x.gather(0, t.tensor([0])), (3, 4), RuntimeError, "index has 1 dimensions, input 2"),
        (lambda t, x: x.gather(0, t.tensor([[0, 0, 0]])), (3, 2), RuntimeError, "reaches beyond input (3, 2)"),
        (lambda t, x: x.gather(0, t.tensor([3])), (3,), RuntimeError, "index[0] is 3, which is out of bounds"),
        (lambda t, x: x.gather(0, t.tensor([-1])), (3,), RuntimeError, "index[0] is -1, which is out"),
        (lambda t, x: x.gather(1, t.tensor([0])), (3,), IndexError, "Dimension out of range"),
        (lambda t, x: x.sum().gather(0, t.tensor(1)), (3,), RuntimeError, "out of bounds for 1 places"),
        (lambda t, x: x.take_along_dim(t.tensor([0]), 1), (3, 4), RuntimeError, "the index has 1 dimensions"),
        (lambda t, x: x.take_along_dim(t.tensor([[0], [1]]), 1), (3, 4), RuntimeError, "does not broadcast"),
        (lambda t, x: x.take_along_dim(t.tensor([[4]]), 1), (3, 4), RuntimeError, "[0, 0] is 4", "remainder there"),
        (lambda t, x: x.take_along_dim(t.tensor([-1])), (3, 4), RuntimeError, "index[0] is -1, which is out"),
    )
    long_examples = (
        (lambda t, x: x.gather(1, t.zeros(3, 10_000, dtype=t.int64)), (3, 4)),
        (lambda t, x: x.gather(0, t.zeros(10_000, 4, dtype=t.int64)), (3, 4)),
        (lambda t, x: x.sum().gather(0, t.tensor([0, 0])), (10_000,)),
    )
    dim: int
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: Gather, x: Array, index: Array, dim: int) -> Any:
        ctx.save(index)
        ctx.dim, ctx.shape = dim, x.shape
        check_bounds("gather: index", index, x.shape[dim], "places", RuntimeError)
        return x[_grid(index, dim)]

    # dL/dx = g added at the places that were read
    @staticmethod
    def backward(ctx: Gather, g: Tensor) -> Any:
        (index,) = ctx.saved
        return ScatterAdd.apply(wrap(np.zeros(ctx.shape, g.dtype)), index, g, dim=ctx.dim), None


def gather(input: Tensor, dim: int, index: Tensor | Array) -> Tensor:
    """Elements along dim selected by an index (int64) with as many dimensions as input; the result has its shape.

    A 0-d tensor counts as a vector of one element, here and in scatter_add.
    """
    dim = normalize_dim(dim, input.ndim)
    index = as_input(index, input)
    if not index.array.size:  # of whatever shape
        return Index.apply(input.reshape(-1), index.to(int64), layout=(ARRAY,))
    check_index("gather", index, input, dim)
    picked = Gather.apply(with_dims(input), with_dims(index), dim=dim)
    return picked if index.ndim else picked.reshape(())


class ScatterAdd(Function):
    """y = x, with src[i][j] added at y[index[i][j]][j] for dim 0, and likewise for any dim"""

    examples = (
        (lambda t, x, s: x.scatter_add(0, t.tensor([[0, 0, 1], [2, 0, 1]]), s), (3, 4), (2, 3)),
        (lambda t, x, s: x.sum().scatter_add(0, t.tensor([0]), s), (3,), (1,)),
    )
    errors = (
        (lambda t, x: x.scatter_add(0, t.tensor([3]), x), (3,), RuntimeError, "index[0] is 3, which is out of bounds"),
        (lambda t, x: x.scatter_add(0, t.tensor([0]), x.half()), (3,), RuntimeError, "src float16"),
        (lambda t, x, s: x.scatter_add(0, t.tensor([0, 0]), s), (3,), (1,), RuntimeError, "reaches beyond src (1,)"),
        (lambda t, x, s: x.scatter_add(0, t.tensor([0]), s), (3,), (3, 2), RuntimeError, "src 2"),
        (lambda t, x: x.scatter_add(0, t.tensor([0.5]), x), (3,), RuntimeError, "expected an integer index"),
    )
    long_examples = (
        (lambda t, x, s: x.scatter_add(0, t.zeros(10_000, 4, dtype=t.int64), s), (3, 4), (10_000, 4)),
        (lambda t, x, s: x.scatter_add(1, t.zeros(3, 10_000, dtype=t.int64), s), (3, 4), (3, 10_000)),
    )

    backward_shares = True
    dim: int
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: ScatterAdd, x: Array, index: Array, src: Array, dim: int) -> Any:
        ctx.save(index)
        ctx.dim, ctx.shape = dim, src.shape
        check_bounds("scatter_add: index", index, x.shape[dim], "places", RuntimeError)
        if in_two_bytes(x.dtype):
            return ScatterAdd.forward(ctx, x.astype(float32), index, src.astype(float32), dim).astype(x.dtype)
        y, src = x.copy(), src[tuple(slice(n) for n in index.shape)]
        if x.dtype in (float32, float64) and index.size and dim == x.ndim - 1 and index.shape[:-1] == x.shape[:-1]:
            places = contiguous(index).astype(np.int64, copy=False).reshape(-1, index.shape[-1])
            add_within_rows(y.reshape(-1, x.shape[-1]), places, contiguous(src).reshape(places.shape))
        else:
            np.add.at(y, _grid(index, dim), src)
        return y

    # dy/dx = 1; dL/dsrc is g at the places that were added to, 0 where src was not used
    @staticmethod
    def backward(ctx: ScatterAdd, g: Tensor) -> Any:
        (index,) = ctx.saved
        dsrc = Gather.apply(g, index, dim=ctx.dim)
        if ctx.shape != index.array.shape:
            used = tuple([slice(n) for n in index.array.shape])
            dsrc = Scatter.apply(dsrc, layout=used, shape=ctx.shape)
        return g, None, dsrc


def scatter_add(input: Tensor, dim: int, index: Tensor | Array, src: Tensor) -> Tensor:
    """A copy of input with each element of src, of the same dtype, added at the place along dim given by the index."""
    dim = normalize_dim(dim, input.ndim)
    if src.dtype != input.dtype:
        raise RuntimeError(f"scatter_add: the input is {input.dtype}, src {src.dtype}: convert it with .to()")
    index = as_input(index, input)
    if not index.array.size:
        return input.clone()
    check_index("scatter_add", index, input, dim, src)
    added = ScatterAdd.apply(with_dims(input), with_dims(index), with_dims(src), dim=dim)
    return added if input.ndim else added.reshape(())


def _grid(index: Array, dim: int) -> tuple[Array, ...]:
    """Index arrays of all dimensions: `index` along dim, each place's own coordinate along the others."""
    grid = list(np.ogrid[tuple(slice(n) for n in index.shape)]) if index.ndim else []
    if grid:
        grid[dim] = index
    return tuple(grid)


def check_index(what: str, index: Tensor, input: Tensor, dim: int, src: Tensor | None = None) -> None:
    """PyTorch's checks of the dtype and the shape of an index."""
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{what}: expected an integer index, got {index.dtype}")
    places = index.array.shape or (1,)
    for name, tensor in (("input", input), ("src", src)):
        if tensor is None:
            continue
        shape = tensor.array.shape or (1,)
        if len(places) != len(shape):
            raise RuntimeError(f"{what}: index has {len(places)} dimensions, {name} {len(shape)}: they must agree")
        for d, size in enumerate(places):
            if size > shape[d] and (d != dim or name == "src"):
                raise RuntimeError(f"{what}: index {places} reaches beyond {name} {shape} in dimension {d}")


def with_dims(x: Tensor) -> Tensor:
    """A 0-d tensor as a vector of one element."""
    return x if x.ndim else x.reshape(1)
