"""Operations that move elements without changing them. Views share the memory of their input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..function import Function
from ..kernels.arithmetic import total
from .common import array_of, normalize_dim, normalize_dims, sizes, wrap

if TYPE_CHECKING:
    from ..tensor import Tensor


class Alias(Function):
    """y = x, the same memory"""

    view = True
    examples = ((lambda t, x: x.view_as(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.view()

    # dy/dx = 1
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


class Reshape(Function):
    """The same elements, in the same order, in another shape"""

    view = True
    arrays_too = True
    examples = (
        (lambda t, x: x.reshape(2, -1), (3, 4)),
        (lambda t, x: x.T.flatten(), (3, 4)),
        (lambda t, x: x.unsqueeze(1).squeeze(), (3, 4)),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, shape: tuple[int, ...]) -> Any:
        ctx.shape = x.shape
        return x.reshape(shape)

    # the same order of elements, back in the old shape
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g.reshape(ctx.shape)


class Permute(Function):
    """y's dimension i is x's dimension dims[i]"""

    view = True
    arrays_too = True
    examples = (
        (lambda t, x: x.permute(2, 0, 1), (2, 3, 4)),
        (lambda t, x: x.movedim(0, -1), (2, 3, 4)),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, dims: tuple[int, ...]) -> Any:
        ctx.dims = dims
        return x.transpose(dims)

    # the inverse permutation
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        inverse = [0] * len(ctx.dims)
        for i, dim in enumerate(ctx.dims):
            inverse[dim] = i
        return Permute.of(g, dims=tuple(inverse))


class Transpose(Function):
    """Two dimensions swapped"""

    view = True
    arrays_too = True
    examples = ((lambda t, x: x.transpose(0, -1), (2, 3, 4)), (lambda t, x: x.mT, (2, 3, 4)))

    @staticmethod
    def forward(ctx: Any, x: Any, dim0: int, dim1: int) -> Any:
        ctx.dims = dim0, dim1
        return x.swapaxes(dim0, dim1)

    # swapped back
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g.swapaxes(*ctx.dims)


class Expand(Function):
    """x repeated along new dimensions and dimensions of size 1, without copying"""

    view = True
    examples = ((lambda t, x: x.expand(2, 3, 4), (3, 1)), (lambda t, x: t.broadcast_to(x, (2, 3)), ()))

    @staticmethod
    def forward(ctx: Any, x: Any, shape: tuple[int, ...]) -> Any:
        # Where nothing is repeated it may be written to.
        return x.reshape(shape) if math.prod(shape) == x.size else np.broadcast_to(x, shape)

    # dL/dx is g summed over the repetitions, which the walk does
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


class SumToSize(Function):
    """x summed over broadcast dimensions, down to a smaller shape: the transpose of Expand"""

    examples = ((lambda t, x: x.sum_to_size((3, 1)), (2, 3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any, shape: tuple[int, ...]) -> Any:
        ctx.shape = x.shape
        extra = x.ndim - len(shape)
        if extra < 0 or any(size not in (1, x.shape[extra + i]) for i, size in enumerate(shape)):
            raise RuntimeError(f"a tensor of shape {x.shape} cannot be summed to shape {shape}")
        dims = tuple(range(extra)) + tuple(
            extra + i for i, size in enumerate(shape) if size == 1 and x.shape[extra + i] != 1
        )
        return total(x, dims).reshape(shape)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g.expand(ctx.shape)


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1. A view where the strides allow it, else a copy."""
    return Reshape.apply(input, shape=sizes(shape))


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory in another shape; RuntimeError where the strides do not allow it."""
    if len(shape) == 1 and isinstance(shape[0], np.dtype):
        bits = wrap(array_of(input).view(shape[0]))
        bits._counter = input._counter
        return bits
    result = Reshape.apply(input, shape=sizes(shape))
    if result._counter is not input._counter and input.array.size:
        raise RuntimeError(
            f"view: shape {tuple(result.shape)} does not fit the strides {input.array.strides} (bytes) of shape "
            f"{tuple(input.shape)}. Use reshape, which copies where it must"
        )
    return result


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor."""
    return alias(input) if input.shape == other.shape else view(input, other.shape)


def alias(input: Tensor) -> Tensor:
    """The same tensor as a new node of the graph."""
    return Alias.apply(input)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim as one."""
    start, end = normalize_dim(start_dim, input.ndim), normalize_dim(end_dim, input.ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end and input.ndim:
        return input
    shape = input.shape
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several."""
    dim = normalize_dim(dim, input.ndim)
    return reshape(input, (*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without the dimensions of size 1: all of them, or those named."""
    dims = normalize_dims(dim, input.ndim)
    return reshape(input, tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in dims))


def unsqueeze(input: Tensor, dim: Any) -> Tensor:
    """With a new dimension of size 1 at dim (of the result); a tuple of dims adds several."""
    dims = dim if isinstance(dim, tuple) else (dim,)
    ndim = input.ndim + len(dims)
    new = {normalize_dim(d, ndim) for d in dims}
    old = iter(input.shape)
    return reshape(input, tuple(1 if i in new else next(old) for i in range(ndim)))


def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order."""
    order = tuple(normalize_dim(d, input.ndim) for d in sizes(dims))
    if sorted(order) != list(range(input.ndim)):
        raise RuntimeError(
            f"permute: dims {sizes(dims)} are not a permutation of the {input.ndim} dimensions of the input"
        )
    return Permute.apply(input, dims=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped."""
    ndim = input.array.ndim
    dim0, dim1 = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    return Transpose.apply(input, dim0=dim0, dim1=dim1) if ndim else alias(input)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector stays as it is."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return transpose(input, 0, 1) if input.ndim == 2 else input


def movedim(input: Tensor, source: int, destination: int) -> Tensor:
    """One dimension moved to another place."""
    source, destination = normalize_dim(source, input.ndim), normalize_dim(destination, input.ndim)
    order = [i for i in range(input.ndim) if i != source]
    if input.ndim:
        order.insert(destination, source)
    return Permute.apply(input, dims=tuple(order))


def expand(input: Tensor, *shape: Any) -> Tensor:
    """A view repeated along new leading dimensions and dimensions of size 1; -1 keeps a size."""
    wanted = sizes(shape)
    extra = len(wanted) - input.ndim
    target = tuple(input.shape[i - extra] if n == -1 and i >= extra else n for i, n in enumerate(wanted))
    if extra < 0 or any(old not in (1, new) for old, new in zip(input.shape, target[extra:], strict=True)):
        raise RuntimeError(f"expand: shape {tuple(input.shape)} cannot be expanded to {wanted}")
    return Expand.apply(input, shape=target)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """A view in a larger shape, by the rules of broadcasting."""
    return expand(input, size)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor, by the rules of broadcasting."""
    return expand(input, other.shape)


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """The sum over broadcast dimensions that gives this size."""
    return SumToSize.apply(input, shape=sizes(size))


def contiguous(input: Tensor) -> Tensor:
    """The input itself if its memory is in C order, else a copy that is."""
    return input if input.array.flags.c_contiguous else input.clone()
