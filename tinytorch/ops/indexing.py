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
from .subscripts import Parts, index_arrays, is_basic, subscripts

if TYPE_CHECKING:
    from ..tensor import Tensor


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
        (lambda t, x: x[0, :, t.tensor([0, 1, 1])], (2, 3, 4)),
        (lambda t, x: x[t.tensor([1, 0]), None, ..., t.tensor(-1)], (2, 3, 4)),
    )
    errors = (
        (lambda t, x: x[3], (3,), IndexError, "index 3 is out of bounds"),
        (lambda t, x: x[0, 0], (3,), IndexError, "too many indices"),
        (lambda t, x: x[t.tensor([0, 3])], (3,), IndexError, "index 3 is out of bounds"),
        (lambda t, x: x[t.tensor([0.5])], (3,), IndexError, "must be integer or bool tensors, got float32"),
        (lambda t, x: x[t.tensor([1], dtype=t.int16)], (3,), IndexError, "got int16"),
        (lambda t, x: x[t.tensor([True, False])], (3,), IndexError, "boolean index did not match"),
        (lambda t, x: x[0.5], (3,), IndexError, "are valid indices, got float"),
        (lambda t, x: x[::-1], (3,), ValueError, "step must be greater than zero, got -1"),
        (lambda t, x: x[0, ::0], (3, 4), ValueError, "step must be greater than zero, got 0"),
        (lambda t, x: x[0.5:], (3,), TypeError, "slice indices must be integers"),
        (lambda t, x: x[:, [t.tensor([0]), t.tensor([1])]], (3, 4), IndexError, "sequence of Tensors", "TypeError"),
        (lambda t, x: x[:, [[0, 1], [2]]], (3, 4), IndexError, "must have one length", "ValueError"),
        (lambda t, x: x[[t.tensor([0, 1]), 1]], (3, 4), IndexError, "is ambiguous", "a tuple to PyTorch, which warns"),
        (lambda t, x: x[[[0, 1], [1, 0]]], (3, 4), IndexError, "is ambiguous", "a tuple to PyTorch, which warns"),
        (lambda t, x: x[[slice(0, 1), 0]], (3, 4), IndexError, "is ambiguous", "a tuple to PyTorch, which warns"),
        (lambda t, x: x[(((0,),),)], (3, 4), IndexError, "sequence of Tensors, arrays or tuples", "an array of (1, 1)"),
    )
    long_examples = (
        (lambda t, x: x[t.zeros(10_000, dtype=t.int64)], (3, 4)),
        (lambda t, x: x[t.zeros(10_000, dtype=t.int64), t.full((10_000,), 2)], (3, 4)),
        (lambda t, x: x[:, t.zeros(10_000, dtype=t.int64)], (3, 4)),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, index: Parts) -> Any:
        ctx.index, ctx.shape = owned(ctx, index), x.shape
        y = x[index]
        if isinstance(y, np.generic):  # one element, which NumPy copies out; with an ellipsis it is a view
            y = x[(*index, ...)]
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
    errors = (
        (
            lambda t, x: t.zeros(3, dtype=x.dtype).index_put((t.tensor([0, 3]),), x, accumulate=True),
            (2,),
            IndexError,
            "index 3 is out of bounds",
        ),
        (
            lambda t, x: t.zeros(3, dtype=x.dtype).index_put((t.tensor([0, 1]),), x, accumulate=True),
            (3,),
            RuntimeError,
            "(3,)",
        ),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, index: Parts, shape: tuple[int, ...]) -> Any:
        ctx.index = owned(ctx, index)
        if in_two_bytes(x.dtype):
            return Scatter.forward(ctx, x.astype(float32), index, shape).astype(x.dtype)
        y = np.zeros(shape, x.dtype, like=x)
        dim = _dim_of_only_array(index)
        if is_basic(index) or (dim is not None and index[dim].dtype.kind == "b"):  # names no place twice
            y[index] = x
        elif dim is not None and x.size and (x.dtype == float32 or x.dtype == float64):
            return _add_along(y, index[dim], dim, x)
        else:
            np.add.at(y, index, x)
        return y

    # each element of x was added at one place of y
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return Index.apply(g, index=ctx.index)


def _put(t: Any, x: Any, *index: Any) -> Any:
    return t.zeros(3, 4, dtype=x.dtype).index_put(index, x, accumulate=True)


def _dim_of_only_array(index: Parts) -> int | None:
    """Of which dimension an index is that names whole dimensions and, at its end, has an index array; else None."""
    *whole, last = index or (None,)
    if type(last) not in ARRAYS or any(type(part) is not slice or part != slice(None) for part in whole):
        return None
    return len(whole)


def _add_along(y: Any, places: Any, dim: int, x: Any) -> Any:
    """y, which is 0, with the slices of x added along a dimension: as rows of an array that has it in front."""
    size = y.shape[dim]
    rows = np.empty(places.size, int64, like=x)
    rows[...] = np.where(places < 0, places + size, places).reshape(-1)
    if dim:
        y = y.reshape(size, *y.shape[:dim], *y.shape[dim + 1 :])
        x = np.moveaxis(x.reshape(*x.shape[:dim], rows.size, *x.shape[dim + places.ndim :]), dim, 0)
    index_add(y.reshape(size, -1), rows, contiguous(x).reshape(rows.size, -1))
    return np.moveaxis(y, 0, dim) if dim else y


class IndexAssign(Function):
    """y = x, with v in place of x[index]"""

    examples = (
        (lambda t, x, v: _assigned(t, x, (t.tensor([0, 2]),), v), (3, 4), (2, 4)),
        (lambda t, x, v: _assigned(t, x, (0, slice(1), t.tensor([1, 3])), v), (2, 3, 4), (2,)),
        (lambda t, x, v: _assigned(t, x, (0, ...), v), (3, 4), (1, 1, 4)),
        (lambda t, x, v: x.index_put((t.tensor([0, 2]), t.tensor([1, -1])), v), (3, 4), ()),
    )
    long_examples = ((lambda t, x, v: x.index_put((t.arange(10_000),), v), (10_000,), ()),)
    errors = (
        (lambda t, x, v: _assigned(t, x, 3, v), (3,), (), IndexError, "index 3 is out of bounds"),
        (lambda t, x, v: _assigned(t, x, slice(2), v), (3,), (3,), RuntimeError, "(3,)"),
        (lambda t, x, v: _assigned(t, x, slice(None, None, -1), v), (3,), (3,), ValueError, "greater than zero"),
        (lambda t, x, v: _assigned(t, x, [[0, 1], [1, 0]], v), (3, 4), (), IndexError, "is ambiguous", "a tuple there"),
        (lambda t, x, v: x.index_put((0,), v), (3,), (), TypeError, "must be a tuple of Tensors"),
        (lambda t, x, v: x.index_put((), v), (3,), (), RuntimeError, "at least one index"),
        (lambda t, x, v: x.index_put((t.tensor([3]),), v), (3,), (), IndexError, "index 3 is out of bounds"),
        (lambda t, x, v: x.index_put((t.tensor([0]),), v.half()), (3,), (), RuntimeError, "the values float16"),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, v: Any, index: Parts) -> Any:
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


def _assigned(t: Any, x: Any, index: Any, v: Any) -> Any:
    y = x.clone()
    y[index] = v
    return y


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
        (lambda t, x: x.gather(0, t.tensor([3])), (3,), RuntimeError, "index 3..3 is out of bounds"),
        (lambda t, x: x.gather(0, t.tensor([-1])), (3,), RuntimeError, "index -1..-1 is out of bounds"),
        (lambda t, x: x.gather(1, t.tensor([0])), (3,), IndexError, "Dimension out of range"),
        (lambda t, x: x.sum().gather(0, t.tensor(1)), (3,), RuntimeError, "out of bounds for dimension 0 of size 1"),
        (lambda t, x: x.take_along_dim(t.tensor([0]), 1), (3, 4), RuntimeError, "the index has 1 dimensions"),
        (lambda t, x: x.take_along_dim(t.tensor([[0], [1]]), 1), (3, 4), RuntimeError, "does not broadcast"),
        (lambda t, x: x.take_along_dim(t.tensor([[4]]), 1), (3, 4), RuntimeError, "index 4..4", "the remainder there"),
        (lambda t, x: x.take_along_dim(t.tensor([-1])), (3, 4), RuntimeError, "index -1..-1 is out of bounds"),
    )
    long_examples = (
        (lambda t, x: x.gather(1, t.zeros(3, 10_000, dtype=t.int64)), (3, 4)),
        (lambda t, x: x.gather(0, t.zeros(10_000, 4, dtype=t.int64)), (3, 4)),
        (lambda t, x: x.sum().gather(0, t.tensor([0, 0])), (10_000,)),
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

    examples = (
        (lambda t, x, s: x.scatter_add(0, t.tensor([[0, 0, 1], [2, 0, 1]]), s), (3, 4), (2, 3)),
        (lambda t, x, s: x.sum().scatter_add(0, t.tensor([0]), s), (3,), (1,)),
    )
    errors = (
        (lambda t, x: x.scatter_add(0, t.tensor([3]), x), (3,), RuntimeError, "index 3..3 is out of bounds"),
        (lambda t, x: x.scatter_add(0, t.tensor([0]), x.half()), (3,), RuntimeError, "src float16"),
        (lambda t, x, s: x.scatter_add(0, t.tensor([0, 0]), s), (3,), (1,), RuntimeError, "reaches beyond src (1,)"),
        (lambda t, x, s: x.scatter_add(0, t.tensor([0]), s), (3,), (3, 2), RuntimeError, "src 2"),
        (lambda t, x: x.scatter_add(0, t.tensor([0.5]), x), (3,), RuntimeError, "expected an integer index"),
    )
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
    errors = (
        (lambda t, w: _embed(t)(t.tensor([3]), w), (3, 4), IndexError, "index 3..3 is out of range"),
        (lambda t, w: _embed(t)(t.tensor([-1]), w), (3, 4), IndexError, "index -1..-1 is out of range"),
        (lambda t, w: _embed(t)(t.tensor([0.0]), w), (3, 4), RuntimeError, "integer indices, got float32"),
        (lambda t, w: _embed(t)(t.tensor([0]), w), (3, 4, 5), RuntimeError, "'weight' must be 2-D"),
        (lambda t, w: _embed(t)(t.tensor([0]), w), (3,), RuntimeError, "'weight' must be 2-D"),
        (lambda t, w: _embed(t)(t.tensor([0]), w, 3), (3, 4), IndexError, "out of range", "an AssertionError"),
    )

    @staticmethod
    def forward(ctx: Any, weight: Any, index: Any, padding_idx: int | None) -> Any:
        ctx.index, ctx.padding_idx, ctx.rows = owned(ctx, index), padding_idx, weight.shape[0]
        return take_rows(weight, index)

    # dL/dweight[v] = sum of g over the places with index v; no gradient for the padding row
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return EmbeddingBackward.apply(g, index=ctx.index, padding_idx=ctx.padding_idx, rows=ctx.rows)


def _embed(t: Any) -> Any:
    return t.nn.functional.embedding


class EmbeddingBackward(Function):
    """y[v] = sum of x[...] over the places with index v: the transpose of Embedding"""

    examples = ((lambda t, x: _embedding_backward(t, x, t.tensor([[0, 2, 1], [2, 1, 2]])), (2, 3, 4)),)
    long_examples = ((lambda t, x: _embedding_backward(t, x, t.full((10_000,), 2)), (10_000, 4)),)
    errors = ()

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
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{what}: expected an integer index, got {index.dtype}")
    shape = tuple(input.shape) or (1,)
    index = index if index.ndim else index.reshape(1)
    for other, name in ((shape, "input"), (shape if limit is None else tuple(limit.shape) or (1,), "src")):
        if index.ndim != len(other):
            raise RuntimeError(f"{what}: index has {index.ndim} dimensions, {name} {len(other)}: they must agree")
        for d, size in enumerate(index.shape):
            if size > other[d] and (d != dim or (name == "src" and limit is not None)):
                raise RuntimeError(f"{what}: index {index.shape} reaches beyond {name} {other} in dimension {d}")
    launch(_check_bounds, index, what, dim, shape[dim])
    return index


def _check_bounds(index: Any, what: str, dim: int, size: int) -> None:
    if index.min() < 0 or index.max() >= size:
        raise RuntimeError(
            f"{what}: index {index.min()}..{index.max()} is out of bounds for dimension {dim} of size {size}"
        )


def getitem(input: Tensor, index: Any) -> Tensor:
    """input[index], with PyTorch's rules: a view for slices and integers, a copy for index arrays, lists and masks."""
    first, then = subscripts(index, input.array.ndim)
    return Index.apply(input if first is None else Index.apply(input, index=first), index=then)


def index_put(input: Tensor, indices: tuple[Any, ...], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of input with values, of its dtype and broadcast, written (or added, where accumulate) at index arrays."""
    index = index_arrays(indices)
    if not index:
        raise RuntimeError("index_put: expected at least one index array")
    if values.dtype != input.dtype:
        raise RuntimeError(f"index_put: the input is {input.dtype}, the values {values.dtype}: convert them with .to()")
    if accumulate:
        return input + Scatter.apply(values.expand(array_of(input)[index].shape), index=index, shape=tuple(input.shape))
    return IndexAssign.apply(input, values, index=index)


def assigned(input: Tensor, index: Any, value: Any) -> Tensor:
    """A copy of input with value, cast and broadcast, in place of input[index]."""
    value = _without_leading_ones(value if is_tensor(value) else wrap(np.asarray(value, input.dtype)))
    first, then = subscripts(index, input.array.ndim)
    part = input if first is None else Index.apply(input, index=first)
    part = IndexAssign.apply(part, value, index=then)
    return part if first is None else IndexAssign.apply(input, part, index=first)


def write(array: Any, index: Any, value: Any) -> None:
    """array[index] = value, in place, with PyTorch's meaning of the index."""
    first, then = subscripts(index, array.ndim)
    part = array if first is None else array[first]
    try:
        part[then] = _without_leading_ones(value) if type(value) in ARRAYS else value
    except ValueError as error:
        raise RuntimeError(f"cannot assign: {error}") from None
    if not np.may_share_memory(part, array):  # an integer that only a compiled function's call knows makes a copy
        array[first] = part


def _without_leading_ones(value: Any) -> Any:
    """Broadcasting would put them there; with them a value may have more dimensions than its place."""
    if not value.ndim or value.shape[0] != 1:
        return value
    ones = next((i for i, n in enumerate(value.shape) if n != 1), value.ndim)
    return value.reshape(value.shape[ones:])


def gather(input: Tensor, dim: int, index: Any) -> Tensor:
    """Elements along dim picked by an index (int64) of as many dimensions as input; the result has its shape.

    A tensor without dimensions counts as one of one element, here and in scatter_add.
    """
    dim = normalize_dim(dim, input.ndim)
    places = as_array(index)
    if not places.size:  # of whatever shape
        return Index.apply(input.reshape(-1), index=(places.astype(int64),))
    checked = _checked(places, input, dim, "gather")
    picked = Gather.apply(with_dims(input), index=checked, dim=dim)
    return picked if places.ndim else picked.reshape(())


def scatter_add(input: Tensor, dim: int, index: Any, src: Tensor) -> Tensor:
    """A copy of input with each src element, of its dtype, added at the place along dim that the index names."""
    dim = normalize_dim(dim, input.ndim)
    if src.dtype != input.dtype:
        raise RuntimeError(f"scatter_add: the input is {input.dtype}, src {src.dtype}: convert it with .to()")
    places = as_array(index)
    if not places.size:
        return input.clone()
    checked = _checked(places, input, dim, "scatter_add", src)
    added = ScatterAdd.apply(with_dims(input), with_dims(src), index=checked, dim=dim)
    return added if input.ndim else added.reshape(())


def with_dims(x: Tensor) -> Tensor:
    """A tensor without dimensions as one of one element."""
    return x if x.ndim else x.reshape(1)


def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of weight (V, C) for indices (...) of any integer dtype: (..., C). The row padding_idx gets no gradient.

    Raises IndexError for an index outside 0..V-1.
    """
    index = as_array(input)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: expected integer indices, got {index.dtype}")
    if weight.ndim != 2:
        raise RuntimeError(f"embedding: 'weight' must be 2-D, got shape {tuple(weight.shape)}")
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
