"""Operations that move elements without changing them. Views share the memory of their input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..dtypes import DType
from ..engine.function import Function
from .common import Array, Dims, normalize_dim, normalize_dims, sizes

if TYPE_CHECKING:
    from ..tensor import Tensor


class Alias(Function):
    """y = x, the same memory"""

    view = True
    backward_shares = True
    examples = ((lambda t, x: x.view_as(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Alias, x: Array) -> Any:
        return x.view()

    # dy/dx = 1
    @staticmethod
    def backward(ctx: Alias, g: Tensor) -> Any:
        return g


def alias(input: Tensor) -> Tensor:
    """The same tensor as a new node of the graph."""
    return Alias.apply(input)


class Reshape(Function):
    """The same elements, in the same order, in another shape"""

    view = True
    backward_shares = True
    examples: ClassVar[Any] = (
        (lambda t, x: x.reshape(2, -1), (3, 4)),
        (lambda t, x: x.T.flatten(), (3, 4)),
        (lambda t, x: x.unsqueeze(1).squeeze(), (3, 4)),
    )
    errors: ClassVar[Any] = (
        (lambda t, x: x.reshape(5, -1), (3, 4), RuntimeError, "(3, 4)"),
        (lambda t, x: x.reshape(-1, -1), (3, 4), RuntimeError, "one unknown dimension"),
        (lambda t, x: x.T.view(12), (3, 4), RuntimeError, "Use reshape, which copies where it must"),
        (lambda t, x: x.flatten(1, 0), (3, 4), RuntimeError, "start_dim cannot come after end_dim"),
        (lambda t, x: x.flatten(0, 2), (3, 4), IndexError, "Dimension out of range"),
        (lambda t, x: x.unflatten(1, (3, 2)), (3, 4), RuntimeError, "(3, 2) don't multiply up to 4"),
        (lambda t, x: x.squeeze(2), (3, 4), IndexError, "Dimension out of range"),
        (lambda t, x: x.squeeze((0, 0)), (3, 4), RuntimeError, "names a dimension twice"),
        (lambda t, x: x.unsqueeze(3), (3, 4), IndexError, "Dimension out of range"),
    )
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: Reshape, x: Array, shape: tuple[int, ...]) -> Any:
        ctx.shape = x.shape
        return x.reshape(shape)

    # the same order of elements, back in the old shape
    @staticmethod
    def backward(ctx: Reshape, g: Tensor) -> Any:
        return Reshape.apply(g, shape=ctx.shape)


def reshape(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape; one size may be -1. A view where the strides allow it, else a copy."""
    return Reshape.apply(input, shape=_wanted(shape, input.array.size))


class View(Reshape):
    """The same memory in another shape"""

    examples = ((lambda t, x: x.view(3, 2, -1), (3, 4)), (lambda t, x: x.view(*x.shape, 1), (3, 4)))
    errors = (
        (lambda t, x: x.T.view(12), (3, 4), RuntimeError, "Use reshape, which copies where it must"),
        (lambda t, x: x.view(5, -1), (3, 4), RuntimeError, "(3, 4)"),
    )

    @staticmethod
    def forward(ctx: Reshape, x: Array, shape: tuple[int, ...]) -> Any:
        ctx.shape, y = x.shape, x.reshape(shape)
        if not x.flags.c_contiguous and y.size and not np.may_share_memory(x, y):
            raise RuntimeError(
                f"view: shape {shape} does not fit the strides {x.strides} (bytes) of shape {x.shape}. Use reshape, "
                "which copies where it must"
            )
        return y


class ViewBits(Function):
    """The same memory, its bits read as elements of another dtype"""

    view = True
    examples = ((lambda t, x: x.float().view(t.int32), (3, 4)),)
    errors = ((lambda t, x: x.T.view(t.int16), (3, 4), RuntimeError, "must be contiguous"),)

    @staticmethod
    def forward(ctx: ViewBits, x: Array, dtype: DType) -> Any:
        return x.view(dtype)


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory in another shape; RuntimeError where the strides do not allow it."""
    if len(shape) == 1 and isinstance(shape[0], np.dtype):
        return ViewBits.apply(input, dtype=shape[0])
    return View.apply(input, shape=_wanted(shape, input.array.size))


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor."""
    return alias(input) if input.shape == other.shape else view(input, other.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The same elements with dimensions start_dim to end_dim merged into one."""
    start, end = normalize_dim(start_dim, input.ndim), normalize_dim(end_dim, input.ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end and input.ndim:
        return input
    shape = input.array.shape
    return Reshape.apply(input, shape=(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """The same elements with one dimension split into several, of these sizes."""
    dim = normalize_dim(dim, input.ndim)
    size = math.prod(input.array.shape[dim : dim + 1])
    parts = _wanted(tuple(sizes), size)  # of this dimension alone: others may be empty
    if not parts or min(parts) < 0 or math.prod(parts) != size:
        raise RuntimeError(f"unflatten: sizes {tuple(sizes)} don't multiply up to {size}, the size of dimension {dim}")
    return reshape(input, (*input.shape[:dim], *parts, *input.shape[dim + 1 :]))


def squeeze(input: Tensor, dim: Dims = None) -> Tensor:
    """The same elements without the dimensions of size 1: all of them, or those named."""
    dims = normalize_dims(dim, input.ndim)
    shape = tuple([n for i, n in enumerate(input.array.shape) if n != 1 or i not in dims])
    return Reshape.apply(input, shape=shape)


def unsqueeze(input: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The same elements with a new dimension of size 1 at dim (of the result); a tuple of dims adds several."""
    dims = dim if isinstance(dim, tuple) else (dim,)
    ndim = input.ndim + len(dims)
    new = {normalize_dim(d, ndim) for d in dims}
    old = iter(input.array.shape)
    return Reshape.apply(input, shape=tuple([1 if i in new else next(old) for i in range(ndim)]))


def _wanted(shape: tuple[Any, ...], count: int) -> tuple[int, ...]:
    """The wanted shape of `count` elements, with -1 replaced by the size that it stands for, if there is one."""
    wanted = sizes(shape)
    lowest = min(wanted, default=0)
    if lowest < 0:
        if lowest < -1:  # which NumPy takes for -1
            raise RuntimeError(f"invalid shape dimension {lowest} of {wanted}: one size may be -1, none may be less")
        known = -math.prod(wanted)
        if wanted.count(-1) == 1 and known and count % known == 0:
            return tuple([count // known if n == -1 else n for n in wanted])
    return wanted


class Permute(Function):
    """y's dimension i is x's dimension dims[i]"""

    view = True
    backward_shares = True
    examples = (
        (lambda t, x: x.permute(2, 0, 1), (2, 3, 4)),
        (lambda t, x: x.movedim(0, -1), (2, 3, 4)),
        (lambda t, x: t.movedim(x, (0, 1), (2, 0)), (2, 3, 4)),
    )
    errors = (
        (lambda t, x: x.permute(0, 1), (2, 3, 4), RuntimeError, "are not a permutation of the 3 dimensions"),
        (lambda t, x: x.permute(0, 0, 1), (2, 3, 4), RuntimeError, "are not a permutation"),
        (lambda t, x: x.permute(0, 1, 3), (2, 3, 4), IndexError, "Dimension out of range"),
        (lambda t, x: x.movedim((0, 1), (0,)), (2, 3, 4), RuntimeError, "must name the same number of dimensions"),
        (lambda t, x: x.movedim((0, -3), (0, 1)), (2, 3, 4), RuntimeError, "repeated dim in source"),
        (lambda t, x: x.movedim((0, 1), (1, 1)), (2, 3, 4), RuntimeError, "repeated dim in destination"),
        (lambda t, x: x.movedim(0, 3), (2, 3, 4), IndexError, "Dimension out of range"),
    )
    dims: tuple[int, ...]

    @staticmethod
    def forward(ctx: Permute, x: Array, dims: tuple[int, ...]) -> Any:
        ctx.dims = dims
        return x.transpose(dims)

    # the inverse permutation
    @staticmethod
    def backward(ctx: Permute, g: Tensor) -> Any:
        inverse = [0] * len(ctx.dims)
        for i, dim in enumerate(ctx.dims):
            inverse[dim] = i
        return Permute.apply(g, dims=tuple(inverse))


def permute(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """The same elements with the dimensions in another order."""
    order = tuple(normalize_dim(d, input.ndim) for d in sizes(dims))
    if sorted(order) != list(range(input.ndim)):
        raise RuntimeError(
            f"permute: dims {sizes(dims)} are not a permutation of the {input.ndim} dimensions of the input"
        )
    return Permute.apply(input, dims=order)


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """The same elements with one dimension, or several, moved to other places; the rest keep their order."""
    sources, places = _each_once("source", source, input.ndim), _each_once("destination", destination, input.ndim)
    if len(sources) != len(places):
        raise RuntimeError(
            f"movedim: source {source} and destination {destination} must name the same number of dimensions"
        )
    rest = iter([d for d in range(input.ndim) if d not in sources])
    moved = dict(zip(places, sources, strict=True))
    return Permute.apply(input, dims=tuple([moved[d] if d in moved else next(rest) for d in range(input.ndim)]))


def _each_once(name: str, dims: int | Sequence[int], ndim: int) -> list[int]:
    found = [normalize_dim(d, ndim) for d in (dims if isinstance(dims, Sequence) else (dims,))]
    if len(set(found)) < len(found):
        raise RuntimeError(f"movedim: repeated dim in {name}: {dims}")
    return found


class Transpose(Function):
    """Two dimensions swapped"""

    view = True
    backward_shares = True
    examples = ((lambda t, x: x.transpose(0, -1), (2, 3, 4)), (lambda t, x: x.mT, (2, 3, 4)))
    errors = (
        (lambda t, x: x.transpose(0, 3), (2, 3, 4), IndexError, "range of [-3, 2], but got 3"),
        (lambda t, x: x.mT, (3,), RuntimeError, "at least 2 dimensions, got shape (3,)"),
        (lambda t, x: x.t(), (2, 3, 4), RuntimeError, "<= 2 dimensions"),
    )
    dim0: int
    dim1: int

    @staticmethod
    def forward(ctx: Transpose, x: Array, dim0: int, dim1: int) -> Any:
        ctx.dim0, ctx.dim1 = dim0, dim1
        return x.swapaxes(dim0, dim1)

    # swapped back
    @staticmethod
    def backward(ctx: Transpose, g: Tensor) -> Any:
        return Transpose.apply(g, dim0=ctx.dim0, dim1=ctx.dim1)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """The same elements with two dimensions swapped."""
    ndim = input.array.ndim
    dim0, dim1 = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    return Transpose.apply(input, dim0=dim0, dim1=dim1) if ndim else alias(input)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector stays as it is."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return transpose(input, 0, 1) if input.ndim == 2 else input


class Split(Function):
    """Consecutive stretches of a dimension, as views"""

    view = True
    backward_shares = True
    examples = (
        (lambda t, x: x.split(2, dim=1), (3, 5)),
        (lambda t, x: x.split([1, 3], dim=1)[1], (3, 4)),
        (lambda t, x: x.chunk(3), (7, 2)),
        (lambda t, x: x.split(4, dim=1), (2, 4)),
    )
    errors = (
        (lambda t, x: x.split(-1), (3,), RuntimeError, "split_size to be positive, got -1"),
        (lambda t, x: x.split(0), (3,), RuntimeError, "split_size to be positive, got 0"),
        (lambda t, x: x.split([1, 1]), (3,), RuntimeError, "sizes [1, 1] must add up to 3"),
        (lambda t, x: x.split([4, -1]), (3,), RuntimeError, "sizes [4, -1] must add up to 3"),
        (lambda t, x: x.split(1, 1), (3,), IndexError, "Dimension out of range"),
        (lambda t, x: x.chunk(0), (3,), RuntimeError, "greater than 0, got: 0"),
    )
    dim: int

    @staticmethod
    def forward(ctx: Split, x: Array, sizes: Sequence[int], dim: int) -> Any:
        ctx.dim = dim
        pieces, start = [], 0
        lead = (slice(None),) * dim
        for size in sizes:
            pieces.append(x[(*lead, slice(start, start + size))])
            start += size
        return tuple(pieces)

    # the stretches' gradients, put together again
    @staticmethod
    def backward(ctx: Split, *gs: Tensor) -> Any:
        return Unsplit.apply(*gs, dim=ctx.dim)


def split(input: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Stretches of a dimension, each of one size (the last may be smaller), or of the sizes in a list."""
    shape = input.array.shape
    if not shape:
        raise RuntimeError("split expects a tensor of at least one dimension")
    dim = normalize_dim(dim, len(shape))
    total = shape[dim]
    if not isinstance(split_size, int):
        return Split.apply(input, sizes=_adding_up(split_size, total, dim), dim=dim)
    if split_size < 0 or (split_size == 0 and total):
        raise RuntimeError(f"split expects split_size to be positive, got {split_size}")
    step = max(split_size, 1)
    pieces = [min(step, total - start) for start in range(0, total, step)] or [0]
    return Split.apply(input, sizes=pieces, dim=dim)


def _adding_up(sizes: Sequence[int], total: int, dim: int) -> list[int]:
    pieces = [int(n) for n in sizes]
    if sum(pieces) != total or min(pieces, default=0) < 0:
        raise RuntimeError(f"split: sizes {pieces} must add up to {total}, the size of dimension {dim}")
    return pieces


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` stretches of equal size; the last may be smaller. An empty dimension has exactly that many."""
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    if not input.ndim:
        raise RuntimeError("chunk expects a tensor of at least one dimension")
    total = input.shape[normalize_dim(dim, input.ndim)]
    return split(input, -(-total // chunks) if total else [0] * chunks, dim)


class Unsplit(Function):
    """Stretches of a dimension, joined again: the transpose of Split, which copies only if they are apart in memory"""

    backward_shares = True
    examples = ((lambda t, a, b: _unsplit(t, a, b), (2, 5), (1, 5)),)
    errors = ()
    dim: int
    sizes: list[int]

    @staticmethod
    def forward(ctx: Unsplit, *xs: Array, dim: int) -> Any:
        ctx.dim, ctx.sizes = dim, [x.shape[dim] for x in xs]
        whole = _whole(xs, dim)
        return np.concatenate(xs, axis=dim) if whole is None else whole

    # each stretch gets its own stretch of g
    @staticmethod
    def backward(ctx: Unsplit, g: Tensor) -> Any:
        return Split.apply(g, sizes=ctx.sizes, dim=ctx.dim)


def _unsplit(t: Any, *xs: Any) -> Any:
    """The gradient of split as a function of its cotangents."""
    whole = t.zeros(3, 5, dtype=xs[0].dtype, requires_grad=True)
    return t.autograd.grad(whole.split([2, 1]), whole, xs, create_graph=True)[0]


def _whole(parts: Sequence[Any], dim: int) -> Any:
    """The array that the parts make up in memory, in order along a dimension; None if there is none."""
    first = memory = parts[0]
    while type(memory.base) is type(memory):
        memory = memory.base
    shape = list(first.shape)
    shape[dim] = sum([part.shape[dim] for part in parts])
    start, size = first.ctypes.data - memory.ctypes.data, math.prod(shape) * first.itemsize
    if not memory.flags.c_contiguous or start + size > memory.nbytes:
        return None
    whole = memory.reshape(-1).view(np.uint8)[start : start + size].view(first.dtype).reshape(shape)
    place, step = whole.ctypes.data, whole.strides[dim]
    for part in parts:
        if part.ctypes.data != place or part.strides != whole.strides:
            return None
        place += part.shape[dim] * step
    return whole


def contiguous(input: Tensor) -> Tensor:
    """The input itself if its memory is in C order, else a copy that is."""
    return input if input.array.flags.c_contiguous else input.clone()
