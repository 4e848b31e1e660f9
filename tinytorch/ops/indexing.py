"""Reading and writing elements by index. What is read from one place several times gets the sum of the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32, float64, int64
from ..function import Function
from ..kernels.embedding import add_within_rows, embedding_backward, first_invalid, index_add, take_rows
from ..kernels.tape import launch
from ..kernels.traced import ARRAYS
from .common import array_of, as_array, contiguous, in_two_bytes, is_tensor, normalize_dim, owned, widened, wrap
from .reduction import ValuesIndices

if TYPE_CHECKING:
    from ..tensor import Tensor


def _basic(index: Any) -> bool:
    """Whether an index is made of integers, slices, None and ... alone, so that the result is a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or isinstance(part, (int, np.integer, slice)) for part in parts)


def _index_of(index: Any) -> Any:
    """An index in which Tensors and lists have become arrays."""
    if isinstance(index, tuple):
        return tuple([_part(part) for part in index])
    return _part(index)


def _part(part: Any) -> Any:
    part = array_of(part)
    if isinstance(part, (list, range)):
        part = np.asarray([array_of(p) for p in part], dtype=None if len(part) else int64)
    if type(part) in ARRAYS:
        if part.dtype.kind not in "iub":
            raise IndexError(f"tensors used as indices must be integer or bool tensors, got {part.dtype}")
        if type(part) is np.ndarray and part.ndim == 0 and part.dtype.kind != "b":
            return int(part)
    return part


class Index(Function):
    """y = x[index]"""

    view = True
    arrays_too = True
    examples = (
        (lambda t, x: x[1:, None, ..., ::2], (3, 4, 5)),
        (lambda t, x: x[t.tensor([0, 2, 0]), t.tensor([1, 1, 1])], (3, 4)),
        (lambda t, x: x[:, [0, 2, 0]], (3, 4)),
        (lambda t, x: x[t.tensor([True, False, True])], (3, 4)),
        (lambda t, x: x[1, 2], (3, 4)),
    )
    long_examples = (
        (lambda t, x: x[t.zeros(10_000, dtype=t.int64)], (3, 4)),
        (lambda t, x: x[t.zeros(10_000, dtype=t.int64), t.full((10_000,), 2)], (3, 4)),
        (lambda t, x: x[:, t.zeros(10_000, dtype=t.int64)], (3, 4)),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, index: Any) -> Any:
        ctx.index, ctx.shape = owned(ctx, index), x.shape
        y = x[index]
        if isinstance(y, np.generic):  # one element, which NumPy copies out; with an ellipsis it is a view
            y = x[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return y

    # dL/dx_i = the sum of g over the places of y that were read from x_i
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return Scatter.of(g, index=ctx.index, shape=ctx.shape)


class Scatter(Function):
    """y = zeros, to which x is added at an index: the transpose of Index"""

    examples = (
        (lambda t, x: _put(t, x, t.tensor([0, 2, 0])), (3, 4)),
    )
    long_examples = (
        (lambda t, x: _put(t, x, t.zeros(10_000, dtype=t.int64)), (10_000, 4)),
        (lambda t, x: _put(t, x, t.zeros(10_000, dtype=t.int64), t.full((10_000,), 2)), (10_000,)),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, index: Any, shape: tuple[int, ...]) -> Any:
        ctx.index = owned(ctx, index)
        if in_two_bytes(x.dtype):
            return Scatter.forward(ctx, x.astype(float32), index, shape).astype(x.dtype)
        y = np.zeros(shape, x.dtype, like=x)
        if isinstance(index, tuple) and len(index) == 1:
            (index,) = index
        if _basic(index) or getattr(index, "dtype", None) == np.bool_:  # names no place twice
            y[index] = x
        elif type(index) in ARRAYS and x.size and (x.dtype == float32 or x.dtype == float64):
            rows = np.where(index < 0, index + shape[0], index).astype(int64).reshape(-1)
            index_add(y.reshape(shape[0], -1), rows, contiguous(x).reshape(rows.size, -1))
        else:
            np.add.at(y, index, x)
        return y

    # each element of x was added at one place of y
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return Index.apply(g, index=ctx.index)


def _put(t: Any, x: Any, *index: Any) -> Any:
    return t.zeros(3, 4, dtype=x.dtype).index_put(index, x, accumulate=True)


class IndexAssign(Function):
    """y = x, with v in place of x[index]"""

    examples = ((lambda t, x, v: _assigned(t, x, v), (3, 4), (2, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any, v: Any, index: Any) -> Any:
        ctx.index = owned(ctx, index)
        y = x.copy()
        y[index] = v
        return y

    # dy/dv = 1 at the index (summed where v was broadcast), dy/dx = 1 elsewhere
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        zero = wrap(np.zeros((), g.dtype))
        need_x, need_v = ctx.needs_input_grad
        dx = IndexAssign.apply(g, zero, index=ctx.index) if need_x else None
        return dx, Index.apply(g, index=ctx.index) if need_v else None


def _assigned(t: Any, x: Any, v: Any) -> Any:
    y = x.clone()
    y[t.tensor([0, 2])] = v
    return y


class Gather(Function):
    """y[i][j] = x[index[i][j]][j] for dim 0, and likewise for any dim"""

    examples = ((lambda t, x: x.gather(1, t.tensor([[0, 0], [2, 1]])), (3, 4)),)
    long_examples = (
        (lambda t, x: x.gather(1, t.zeros(3, 10_000, dtype=t.int64)), (3, 4)),
        (lambda t, x: x.gather(0, t.zeros(10_000, 4, dtype=t.int64)), (3, 4)),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, index: Any, dim: int) -> Any:
        ctx.index, ctx.dim, ctx.shape = owned(ctx, index), dim, x.shape
        return x[_grid(index, dim)]

    # dL/dx = g added at the places that were read
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return ScatterAdd.apply(wrap(np.zeros(ctx.shape, g.dtype)), g, index=ctx.index, dim=ctx.dim)


class ScatterAdd(Function):
    """y = x, with src[i][j] added at y[index[i][j]][j] for dim 0, and likewise for any dim"""

    examples = ((lambda t, x, s: x.scatter_add(0, t.tensor([[0, 0, 1], [2, 0, 1]]), s), (3, 4), (2, 3)),)
    long_examples = (
        (lambda t, x, s: x.scatter_add(0, t.zeros(10_000, 4, dtype=t.int64), s), (3, 4), (10_000, 4)),
        (lambda t, x, s: x.scatter_add(1, t.zeros(3, 10_000, dtype=t.int64), s), (3, 4), (3, 10_000)),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, src: Any, index: Any, dim: int) -> Any:
        ctx.index, ctx.dim, ctx.shape = owned(ctx, index), dim, src.shape
        if in_two_bytes(x.dtype):
            return ScatterAdd.forward(ctx, x.astype(float32), src.astype(float32), index, dim).astype(x.dtype)
        y, src = x.copy(), src[tuple(slice(n) for n in index.shape)]
        if x.dtype in (float32, float64) and index.size and dim == x.ndim - 1 and index.shape[:-1] == x.shape[:-1]:
            places = contiguous(index).astype(np.int64, copy=False).reshape(-1, index.shape[-1])
            add_within_rows(y.reshape(-1, x.shape[-1]), places, contiguous(src).reshape(places.shape))
        else:
            np.add.at(y, _grid(index, dim), src)
        return y

    # dy/dx = 1; dL/dsrc is g at the places that were added to, 0 where src was not used
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        dsrc = Gather.apply(g, index=ctx.index, dim=ctx.dim)
        if ctx.shape != ctx.index.shape:
            used = tuple(slice(n) for n in ctx.index.shape)
            dsrc = Scatter.apply(dsrc, index=used, shape=ctx.shape)
        return g, dsrc


class Embedding(Function):
    """y[..., :] = weight[index[...], :]"""

    examples = ((lambda t, w: t.nn.functional.embedding(t.tensor([[0, 2], [2, 1]]), w), (3, 4)),)
    long_examples = ((lambda t, w: t.nn.functional.embedding(t.full((2, 5_000), 2), w), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, weight: Any, index: Any, padding_idx: int | None) -> Any:
        ctx.index, ctx.padding_idx, ctx.rows = owned(ctx, index), padding_idx, weight.shape[0]
        return take_rows(weight, index)

    # dL/dweight[v] = sum of g over the places with index v; no gradient for the padding row
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return EmbeddingBackward.apply(g, index=ctx.index, padding_idx=ctx.padding_idx, rows=ctx.rows)


class EmbeddingBackward(Function):
    """y[v] = sum of x[...] over the places with index v: the transpose of Embedding"""

    examples = ((lambda t, x: _embedding_backward(t, x, t.tensor([[0, 2, 1], [2, 1, 2]])), (2, 3, 4)),)
    long_examples = ((lambda t, x: _embedding_backward(t, x, t.full((10_000,), 2)), (10_000, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any, index: Any, padding_idx: int | None, rows: int) -> Any:
        ctx.index, ctx.padding_idx = owned(ctx, index), padding_idx
        flat = contiguous(widened(x).reshape(index.size, x.shape[-1]))
        y = embedding_backward(flat, contiguous(index.reshape(-1)).astype(np.int64, copy=False), rows)
        y = y.astype(x.dtype, copy=False)
        if padding_idx is not None:
            y[padding_idx] = 0
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        rows = Embedding.apply(g, index=ctx.index, padding_idx=ctx.padding_idx)
        if ctx.padding_idx is None:
            return rows
        return rows.masked_fill(wrap((ctx.index == ctx.padding_idx)[..., None]), 0.0)


def _embedding_backward(t: Any, x: Any, index: Any) -> Any:
    """The gradient of an embedding as a function of its cotangent x."""
    weight = t.zeros(3, 4, dtype=x.dtype, requires_grad=True)
    y = t.nn.functional.embedding(index, weight, padding_idx=1)
    return t.autograd.grad(y, weight, x, create_graph=True)[0]


def _grid(index: Any, dim: int) -> tuple[Any, ...]:
    """Index arrays of all dimensions: `index` along dim, each place's own coordinate along the others."""
    grid = list(np.ogrid[tuple(slice(n) for n in index.shape)]) if index.ndim else []
    if grid:
        grid[dim] = index
    return tuple(grid)


def _checked(index: Any, input: Tensor, dim: int, what: str, limit: Tensor | None = None) -> Any:
    """The index array of gather and scatter, after PyTorch's checks."""
    index = as_array(index)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{what}: expected an integer index, got {index.dtype}")
    if index.ndim != input.ndim:
        raise RuntimeError(f"{what}: index has {index.ndim} dimensions, the input {input.ndim}: they must agree")
    for d, size in enumerate(index.shape):
        if (d != dim and size > input.shape[d]) or (limit is not None and size > limit.shape[d]):
            raise RuntimeError(
                f"{what}: index of shape {index.shape} reaches beyond shape {tuple(input.shape)} in dimension {d}"
            )
    if index.size and input.ndim:
        launch(_check_bounds, index, what, dim, input.shape[dim])
    return index


def _check_bounds(index: Any, what: str, dim: int, size: int) -> None:
    if index.min() < 0 or index.max() >= size:
        raise RuntimeError(
            f"{what}: index {index.min()}..{index.max()} is out of bounds for dimension {dim} of size {size}"
        )


def getitem(input: Tensor, index: Any) -> Tensor:
    """input[index], with NumPy's rules: a view for slices and integers, a copy for arrays, lists and masks."""
    return Index.apply(input, index=_index_of(index))


def index_put(input: Tensor, indices: tuple[Any, ...], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of input with values written (or added, where accumulate) at the index arrays."""
    index = _index_of(tuple(indices))
    if accumulate:
        return input + Scatter.apply(values.expand(array_of(input)[index].shape), index=index, shape=tuple(input.shape))
    return IndexAssign.apply(input, values.to(input.dtype), index=index)


def assigned(input: Tensor, index: Any, value: Any) -> Tensor:
    """A copy of input with value in place of input[index]."""
    value = value if is_tensor(value) else wrap(np.asarray(value, input.dtype))
    return IndexAssign.apply(input, value, index=_index_of(index))


def gather(input: Tensor, dim: int, index: Any) -> Tensor:
    """Elements along dim picked by an index (int64) of as many dimensions as input; the result has its shape."""
    dim = normalize_dim(dim, input.ndim)
    return Gather.apply(input, index=_checked(index, input, dim, "gather"), dim=dim)


def scatter_add(input: Tensor, dim: int, index: Any, src: Tensor) -> Tensor:
    """A copy of input with each src element added at the place along dim that the index names."""
    dim = normalize_dim(dim, input.ndim)
    checked = _checked(index, input, dim, "scatter_add", src)
    return ScatterAdd.apply(input, src.to(input.dtype), index=checked, dim=dim)


def index_select(input: Tensor, dim: int, index: Any) -> Tensor:
    """The slices of dim named by a one-dimensional index."""
    index = np.asarray(array_of(index))
    if index.ndim > 1:
        raise IndexError(f"index_select: index is supposed to be a vector, got shape {index.shape}")
    dim = normalize_dim(dim, input.ndim)
    if index.size and (index.min() < 0 or index.max() >= input.shape[dim]):
        raise IndexError(
            f"index_select: index {index.min()}..{index.max()} is out of range for size {input.shape[dim]}"
        )
    return Index.apply(input, index=(slice(None),) * dim + (index.reshape(-1),))


def masked_select(input: Tensor, mask: Any) -> Tensor:
    """The elements where the mask (bool, broadcast) holds, as a vector."""
    mask = np.broadcast_to(array_of(mask), np.broadcast_shapes(array_of(mask).shape, input.shape))
    return Index.apply(input.expand(mask.shape), index=mask)


def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of weight (V, C) for indices (...) of any integer dtype: (..., C). The row padding_idx gets no gradient.

    Raises IndexError for an index outside 0..V-1.
    """
    index = as_array(input)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: expected integer indices, got {index.dtype}")
    rows = weight.shape[0]
    if index.size:
        launch(_check_rows, index, tuple(weight.shape))
    if padding_idx is not None:
        padding_idx = normalize_dim(padding_idx, rows)
    return Embedding.apply(weight, index=index, padding_idx=padding_idx)


def _check_rows(index: Any, shape: tuple[int, ...]) -> None:
    if first_invalid(index, shape[0]) >= 0:
        raise IndexError(f"embedding: index {index.min()}..{index.max()} is out of range for weight {shape}")


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """int64 (..., num_classes): 1 at each index, else 0. -1 takes the largest index plus one."""
    index = as_array(input)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"one_hot is only applicable to index tensors of type int64, got {index.dtype}")
    if num_classes == -1:
        if not index.size:
            raise RuntimeError("one_hot: can not infer the number of classes from an empty tensor: give num_classes")
        num_classes = int(index.max()) + 1
    if index.size:
        launch(_check_classes, index, num_classes)
    return wrap((index[..., None] == np.arange(num_classes)).astype(np.int64))


def _check_classes(index: Any, num_classes: int) -> None:
    if index.min() < 0:
        raise RuntimeError("one_hot: class values must be non-negative")
    if index.max() >= num_classes:
        raise RuntimeError(f"one_hot: class values must be smaller than num_classes {num_classes}, got {index.max()}")


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
    """The k largest (or smallest) elements along dim, in order, and their indices; the first of equals comes first."""
    dim = normalize_dim(dim, input.ndim)
    size = input.shape[dim] if input.ndim else 1
    if not 0 <= k <= size:
        raise RuntimeError(f"topk: selected index k out of range: k = {k}, dimension {dim} has size {size}")
    x = np.atleast_1d(array_of(input))
    order = np.moveaxis(_argsort(np.moveaxis(x, dim, -1), largest)[..., :k], -1, dim)
    order = order.reshape(input.shape) if input.ndim == 0 else order
    return ValuesIndices(gather(input, dim, order) if input.ndim else input.clone(), wrap(order))


def _argsort(x: Any, descending: bool) -> Any:
    """Stable order along the last axis; NaN counts as the largest."""
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")
    last = x.shape[-1] - 1
    return last - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]


def sort(input: Tensor, dim: int = -1, descending: bool = False) -> ValuesIndices:
    """The elements along dim in order (stable), and the indices they came from."""
    size = input.shape[normalize_dim(dim, input.ndim)] if input.ndim else 1
    return topk(input, size, dim, largest=descending)


def argsort(input: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """The indices that sort along dim (stable)."""
    return sort(input, dim, descending).indices


def nonzero(input: Tensor) -> Tensor:
    """The coordinates of the elements that are not zero: int64 (n, ndim)."""
    return wrap(np.argwhere(array_of(input)))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice of dim at one index, without that dimension."""
    return getitem(input, (slice(None),) * normalize_dim(dim, input.ndim) + (index,))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A stretch of a dimension, as a view."""
    dim = normalize_dim(dim, input.ndim)
    if start + length > input.shape[dim] or start < 0 or length < 0:
        raise RuntimeError(f"narrow: {start} + {length} exceeds dimension size {input.shape[dim]}")
    return getitem(input, (slice(None),) * dim + (slice(start, start + length),))


def take_along_dim(input: Tensor, indices: Any, dim: int) -> Tensor:
    """As gather, with index and input broadcast against each other in the other dimensions."""
    index = as_array(indices)
    dim = normalize_dim(dim, input.ndim)
    shape = list(
        np.broadcast_shapes(*[tuple(1 if d == dim else n for d, n in enumerate(s)) for s in (index.shape, input.shape)])
    )
    wide = [*shape[:dim], index.shape[dim], *shape[dim + 1 :]]
    source = [*shape[:dim], input.shape[dim], *shape[dim + 1 :]]
    return gather(input.expand(source), dim, np.broadcast_to(index, wide))
