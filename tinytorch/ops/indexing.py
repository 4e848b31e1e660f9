"""Reading and writing elements by index. An element that is read several times gets the sum of the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32, float64, int64
from ..engine.function import Function
from ..engine.tensor import wrap
from ..kernels.embedding import index_add
from ..kernels.launch import empty, zeros
from .common import Array, as_array, contiguous, in_two_bytes, is_tensor
from .shape import Reshape
from .subscripts import ARRAY, Arrays, Layout, index_arrays, placed, subscripts

if TYPE_CHECKING:
    from ..tensor import Tensor


class Slice(Function):
    """y = x[index] of integers, slices, None and ...: a view"""

    view = True
    examples = (
        (lambda t, x: x[1:, None, ..., ::2], (3, 4, 5)),
        (lambda t, x: x[1, 2], (3, 4)),
    )
    errors = (
        (lambda t, x: x[3], (3,), IndexError, "index 3 is out of bounds"),
        (lambda t, x: x[0, 0], (3,), IndexError, "too many indices"),
        (lambda t, x: x[0.5], (3,), IndexError, "are valid indices, got float"),
        (lambda t, x: x[::-1], (3,), ValueError, "step must be greater than zero, got -1"),
        (lambda t, x: x[0, ::0], (3, 4), ValueError, "step must be greater than zero, got 0"),
        (lambda t, x: x[0.5:], (3,), TypeError, "slice indices must be integers"),
    )
    layout: Layout
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: Slice, x: Array, layout: Layout) -> Any:
        ctx.layout, ctx.shape = layout, x.shape
        y = x[layout]
        if isinstance(y, np.generic):  # one element, which NumPy copies out; with an ellipsis it is a view
            y = x[(*layout, ...)]
        return y

    # dL/dx_i = g where y was read from x_i, else 0
    @staticmethod
    def backward(ctx: Slice, g: Tensor) -> Any:
        return Scatter.apply(g, layout=ctx.layout, shape=ctx.shape)


def getitem(input: Tensor, index: Any) -> Tensor:
    """input[index], with PyTorch's rules: a view for slices and integers, a copy for index arrays, lists and masks."""
    first, layout, arrays = subscripts(index, input)
    if first is not None:
        input = _read(input, *first)
    return _read(input, layout, arrays)


def _read(x: Tensor, layout: Layout, arrays: Arrays) -> Tensor:
    return Index.apply(x, *arrays, layout=layout) if arrays else Slice.apply(x, layout=layout)


class Index(Function):
    """y = x[index] with index arrays or masks"""

    examples = (
        (lambda t, x: x[t.tensor([0, 2, 0]), t.tensor([1, 1, 1])], (3, 4)),
        (lambda t, x: x[:, [0, 2, 0]], (3, 4)),
        (lambda t, x: x[t.tensor([True, False, True])], (3, 4)),
        (lambda t, x: x[0, :, t.tensor([0, 1, 1])], (2, 3, 4)),
        (lambda t, x: x[t.tensor([1, 0]), None, ..., t.tensor(-1)], (2, 3, 4)),
    )
    errors = (
        (lambda t, x: x[t.tensor([0, 3])], (3,), IndexError, "index 3 is out of bounds"),
        (lambda t, x: x[t.tensor([0.5])], (3,), IndexError, "must be integer or bool tensors, got float32"),
        (lambda t, x: x[t.tensor([1], dtype=t.int16)], (3,), IndexError, "got int16"),
        (lambda t, x: x[t.tensor([True, False])], (3,), IndexError, "boolean index did not match"),
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
    layout: Layout
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: Index, x: Array, *arrays: Array, layout: Layout) -> Any:
        ctx.save(*arrays)
        ctx.layout, ctx.shape = layout, x.shape
        return as_array(x[placed(layout, arrays)])

    # dL/dx_i = the sum of g over the places of y that were read from x_i
    @staticmethod
    def backward(ctx: Index, g: Tensor) -> Any:
        arrays = ctx.saved
        return Scatter.apply(g, *arrays, layout=ctx.layout, shape=ctx.shape), *[None] * len(arrays)


class Scatter(Function):
    """y = zeros, to which x is added at an index: the transpose of Slice and Index"""

    backward_shares = True
    examples = (
        (lambda t, x: _put(t, x, t.tensor([0, 2, 0])), (3, 4)),
        (lambda t, x: _put_slice(t, x), (2, 5)),
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
            "index[1] is 3, which is out of bounds",
        ),
        (
            lambda t, x: t.zeros(3, dtype=x.dtype).index_put((t.tensor([0, 1]),), x, accumulate=True),
            (3,),
            RuntimeError,
            "(3,)",
        ),
    )
    layout: Layout

    @staticmethod
    def forward(ctx: Scatter, x: Array, *arrays: Array, layout: Layout, shape: tuple[int, ...]) -> Any:
        if arrays:
            ctx.save(*arrays)
        ctx.layout = layout
        if in_two_bytes(x.dtype):
            wide = Scatter.forward(ctx, x.astype(float32), *arrays, layout=layout, shape=shape)
            return wide.astype(x.dtype)
        y = zeros(shape, x.dtype)
        dim = _dim_of_only_array(layout)
        if not arrays or (dim is not None and arrays[0].dtype.kind == "b"):  # names no place twice
            y[placed(layout, arrays)] = x
        elif dim is not None and _is_for_kernel(x, (*shape[:dim], *arrays[0].shape, *shape[dim + 1 :])):
            return _add_along(y, arrays[0], dim, x)
        else:
            np.add.at(y, placed(layout, arrays), x)
        return y

    # each element of x was added at one place of y
    @staticmethod
    def backward(ctx: Scatter, g: Tensor) -> Any:
        arrays = ctx.saved
        return _read(g, ctx.layout, arrays), *[None] * len(arrays)


def _put(t: Any, x: Any, *index: Any) -> Any:
    return t.zeros(3, 4, dtype=x.dtype).index_put(index, x, accumulate=True)


def _put_slice(t: Any, x: Any) -> Any:
    """The gradient of a slice as a function of its cotangent x."""
    whole = t.zeros(4, 5, dtype=x.dtype, requires_grad=True)
    return t.autograd.grad(whole[2:], whole, x, create_graph=True)[0]


def _dim_of_only_array(layout: Layout) -> int | None:
    """The dimension of the index array at the end of an index that otherwise has only whole dimensions; else None."""
    *whole, last = layout or (None,)
    if last != ARRAY or any(type(part) is not slice or part != slice(None) for part in whole):
        return None
    return len(whole)


def _is_for_kernel(x: Array, shape: tuple[int, ...]) -> bool:
    """Whether x is not broadcast, and has a dtype that the kernel can add."""
    return bool(x.size) and x.shape == shape and x.dtype in (float32, float64)


def _add_along(y: Array, places: Array, dim: int, x: Array) -> Array:
    """y, which is 0, with the slices of x added along a dimension: as rows of an array that has it in front."""
    size = y.shape[dim]
    rows = empty((places.size,), int64)
    rows[...] = np.where(places < 0, places + size, places).reshape(-1)
    if dim:
        y = y.reshape(size, *y.shape[:dim], *y.shape[dim + 1 :])
        x = np.moveaxis(x.reshape(*x.shape[:dim], rows.size, *x.shape[dim + places.ndim :]), dim, 0)
    index_add(y.reshape(size, -1), rows, contiguous(x).reshape(rows.size, -1))
    return np.moveaxis(y, 0, dim) if dim else y


class IndexAssign(Function):
    """y = x, with v in place of x[index]"""

    backward_shares = True
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
        (lambda t, x: _assigned(t, x.long(), t.tensor([0, 2]), t.ones(2)), (3,), RuntimeError, "values are float32"),
        (lambda t, x: _assigned(t, x > 0, [True, False, True], t.arange(2)), (3,), RuntimeError, "values are int64"),
        (lambda t, x, v: x.index_put((0,), v), (3,), (), TypeError, "must be a tuple of Tensors"),
        (lambda t, x, v: x.index_put((), v), (3,), (), RuntimeError, "at least one index"),
        (lambda t, x, v: x.index_put((t.tensor([3]),), v), (3,), (), IndexError, "index 3 is out of bounds"),
        (lambda t, x, v: x.index_put((t.tensor([0]),), v.half()), (3,), (), RuntimeError, "the values float16"),
    )
    layout: Layout

    @staticmethod
    def forward(ctx: IndexAssign, x: Array, v: Array, *arrays: Array, layout: Layout) -> Any:
        if arrays:
            ctx.save(*arrays)
        ctx.layout = layout
        y = x.copy()
        y[placed(layout, arrays)] = v
        return y

    # dy/dv = 1 at the index (summed where v was broadcast), dy/dx = 1 elsewhere
    @staticmethod
    def backward(ctx: IndexAssign, g: Tensor) -> Any:
        arrays = ctx.saved
        zero = wrap(np.zeros((), g.dtype))
        need_x, need_v = ctx.needs_input_grad[:2]
        dx = IndexAssign.apply(g, zero, *arrays, layout=ctx.layout) if need_x else None
        return dx, _read(g, ctx.layout, arrays) if need_v else None, *[None] * len(arrays)


def _assigned(t: Any, x: Any, index: Any, v: Any) -> Any:
    y = x.clone()
    y[index] = v
    return y


def assigned(input: Tensor, index: Any, value: Any) -> Tensor:
    """A copy of input in which value, cast and broadcast, replaces input[index]."""
    value = _without_leading_ones(value if is_tensor(value) else wrap(np.asarray(value, input.dtype)))
    first, layout, arrays = subscripts(index, input)
    _check_kind(value, input, arrays)
    if first is None:
        return IndexAssign.apply(input, value, *arrays, layout=layout)
    part = IndexAssign.apply(_read(input, *first), value, *arrays, layout=layout)
    return IndexAssign.apply(input, part, *first[1], layout=first[0])


def index_put(input: Tensor, indices: tuple[Any, ...], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of input with values, of its dtype and broadcast, written (or, with accumulate, added) at index arrays."""
    arrays = index_arrays(indices, input)
    if not arrays:
        raise RuntimeError("index_put: expected at least one index array")
    if values.dtype != input.dtype:
        raise RuntimeError(f"index_put: the input is {input.dtype}, the values {values.dtype}: convert them with .to()")
    layout = (ARRAY,) * len(arrays)
    if accumulate:
        return input + Scatter.apply(values, *arrays, layout=layout, shape=tuple(input.shape))
    return IndexAssign.apply(input, values, *arrays, layout=layout)


class Put(Function):
    """x[index] = v, written into the memory of x itself"""

    examples = ((lambda t, x: _put_into(t, x, (slice(1), ...), 2), (3, 4)),)
    errors = (
        (lambda t, x: _put_into(t, x, slice(2), t.ones(3)), (5,), RuntimeError, "(3,)"),
        (lambda t, x: _put_into(t, x, 5, 0.5), (5,), IndexError, "index 5 is out of bounds"),
    )

    @staticmethod
    def forward(ctx: Put, x: Array, v: Array, *arrays: Array, layout: Layout) -> Any:
        x[placed(layout, arrays)] = v
        return x


def _put_into(t: Any, x: Any, index: Any, v: Any) -> Any:
    y = x.detach().clone()
    y[index] = v
    return y


def write(target: Tensor, index: Any, value: Any) -> None:
    """target[index] = value, in place and unrecorded, with PyTorch's meaning of the index."""
    value = _without_leading_ones(value if is_tensor(value) else wrap(np.asarray(value)))
    first, layout, arrays = subscripts(index, target)
    _check_kind(value, target, arrays)
    if first is None:
        Put.apply(target, value, *arrays, layout=layout)
        return
    part = _read(target, *first)
    Put.apply(part, value, *arrays, layout=layout)
    if first[1]:  # an integer that only a compiled function's call knows: what was read with it is a copy
        Put.apply(target, part, *first[1], layout=first[0])


def _check_kind(value: Tensor, target: Tensor, arrays: Arrays) -> None:
    """RuntimeError if elements would be truncated, as from float32 to int64.

    PyTorch allows this for slices alone, and refuses any other dtype at index arrays.
    """
    if arrays and value.array.ndim and not np.can_cast(value.array.dtype, target.array.dtype, "same_kind"):
        raise RuntimeError(
            f"writing at index arrays into {target.dtype}: the values are {value.dtype}. Convert them with .to()"
        )


def _without_leading_ones(value: Tensor) -> Tensor:
    """Drop leading dimensions of size 1, which broadcasting restores: with them it may have more than its target."""
    shape = value.array.shape
    if not shape or shape[0] != 1:
        return value
    ones = next((i for i, n in enumerate(shape) if n != 1), len(shape))
    return Reshape.apply(value, shape=shape[ones:])
