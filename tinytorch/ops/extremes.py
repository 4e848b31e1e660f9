"""The largest and smallest elements, over all or along a dimension, and their indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..engine.function import Function
from .common import Array, Dims, as_array, keyword_aliases, normalize_dim
from .reduction import reduced, spread

if TYPE_CHECKING:
    from ..tensor import Tensor


class Amax(Function):
    """y = max_i x_i"""

    examples: ClassVar[Any] = ((lambda t, x: x.amax(dim=1), (3, 4)), (lambda t, x: x.amax(), (3, 4)))
    errors: ClassVar[Any] = (
        (lambda t, x: x.amax(1), (3, 0), IndexError, "(3, 0) must not be empty"),
        (lambda t, x: x.amax((0, 2)), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.amax(), (3, 0), RuntimeError, "(3, 0) has no largest element"),
        (lambda t, x: x.max(), (3, 0), RuntimeError, "(3, 0) has no largest element"),
        (lambda t, x: x.max(1), (3, 0), IndexError, "dimension 1 of shape (3, 0) must not be empty"),
        (lambda t, x: x.max((0, 1)), (3, 4), TypeError, "must be an integer, got (0, 1)"),
        (lambda t, x: x.max(2), (3, 4), IndexError, "but got 2"),
    )
    pick = np.max
    dims: tuple[int, ...]
    keepdim: bool

    @staticmethod
    def forward(ctx: Amax, x: Array, dims: tuple[int, ...], keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim = dims, keepdim
        if x.size == 0 and (not dims or 0 in [x.shape[d] for d in dims]):
            raise IndexError(
                f"{type(ctx).__name__.lower()}: the reduced dimensions of shape {x.shape} must not be empty"
            )
        y = as_array(type(ctx).pick(x, axis=dims, keepdims=True))
        if True in ctx.needs_input_grad:
            ties = type(ctx).is_extreme(x, y)
            ctx.save((ties / ties.sum(axis=dims, keepdims=True)).astype(x.dtype))
        return y if keepdim else y.squeeze(dims)

    # dy/dx_i = [x_i = y] / (number of i with x_i = y)
    @staticmethod
    def backward(ctx: Amax, g: Tensor) -> Any:
        (share,) = ctx.saved
        return spread(g, ctx) * share

    @staticmethod
    def is_extreme(x: Array, y: Array) -> Any:
        """Which elements share the gradient. Where y is NaN there are none, and the shares are NaN."""
        return x == y


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Dims) -> Tensor:
    """The largest element; equal ones share the gradient."""
    return _of_all_or_some(Amax, "largest", input, dim, keepdim, aliases)


class Amin(Amax):
    """y = min_i x_i"""

    examples = ((lambda t, x: x.amin(dim=(0, 1), keepdim=True), (3, 4)), (lambda t, x: x.amin(), (3, 4)))
    errors = (
        (lambda t, x: x.amin((0, 1)), (3, 0), IndexError, "(3, 0) must not be empty"),
        (lambda t, x: x.amin((1, 1)), (3, 4), RuntimeError, "names a dimension twice"),
        (lambda t, x: x.min(), (0,), RuntimeError, "(0,) has no smallest element"),
        (lambda t, x: x.min(0), (0,), IndexError, "dimension 0 of shape (0,) must not be empty"),
    )
    pick = np.min


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Dims) -> Tensor:
    """The smallest element; equal ones share the gradient."""
    return _of_all_or_some(Amin, "smallest", input, dim, keepdim, aliases)


def _of_all_or_some(
    function: type[Function], what: str, input: Tensor, dim: Any, keepdim: bool, aliases: dict[str, Dims]
) -> Tensor:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if not input.array.size and dim in (None, ()):
        raise RuntimeError(f"a tensor of shape {tuple(input.shape)} has no {what} element: give a dimension")
    return reduced(function, input, dim, keepdim, {})


class ValuesIndices(NamedTuple):
    """What max(dim), min(dim), topk and sort return."""

    values: Tensor
    indices: Tensor


class Max(Amax):
    """y = max_i x_i of all elements; where it is NaN, the elements that are share the gradient"""

    examples: ClassVar[Any] = ((lambda t, x: x.max(), (3, 4)),)
    errors = ()

    @staticmethod
    def is_extreme(x: Array, y: Array) -> Any:
        """Which elements share the gradient."""
        return (x == y) | (x != x)  # of which the latter occur where y is NaN alone

    # as above, and nothing of an infinite gradient for the elements that have no share of it
    @staticmethod
    def backward(ctx: Amax, g: Tensor) -> Any:
        (share,) = ctx.saved
        return (spread(g, ctx) * share).masked_fill(share == 0, 0.0)


def max(input: Tensor, dim: Any = None, keepdim: bool = False, **aliases: Dims) -> Any:
    """The largest element: of all, or along one dimension with its indices, which then get the gradient."""
    return _extreme(input, dim, keepdim, aliases, Max, ArgMax, "maximum")


class Min(Max):
    """y = min_i x_i of all elements; where it is NaN, the elements that are share the gradient"""

    examples = ((lambda t, x: x.min(), (3, 4)),)
    errors = ()
    pick = np.min


def min(input: Tensor, dim: Any = None, keepdim: bool = False, **aliases: Dims) -> Any:
    """The smallest element: of all, or along one dimension with its indices, which then get the gradient."""
    return _extreme(input, dim, keepdim, aliases, Min, ArgMin, "minimum")


def _extreme(
    input: Tensor,
    dim: Any,
    keepdim: bool,
    aliases: dict[str, Dims],
    reduce: type[Function],
    arg: type[Function],
    elementwise: str,
) -> Any:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if hasattr(dim, "array"):  # PyTorch's overload max(input, other)
        return getattr(input, elementwise)(dim)
    if dim is None:
        return _of_all_or_some(reduce, "largest" if reduce is Max else "smallest", input, None, False, {})
    indices = _place(arg, reduce.__name__.lower(), input, dim, True, {})
    values = input.gather(dim, indices) if input.ndim else input.clone()
    if not keepdim and input.ndim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return ValuesIndices(values, indices)


class ArgMax(Function):
    """y = the first i with x_i = max_j x_j"""

    examples: ClassVar[Any] = (
        (lambda t, x: x.argmax(), (3, 4)),
        (lambda t, x: t.argmax(x, dim=1, keepdim=True), (3, 4)),
    )
    errors: ClassVar[Any] = (
        (lambda t, x: x.argmax(), (0,), IndexError, "expected a tensor with elements, got shape (0,)"),
        (lambda t, x: x.argmax(1), (3, 0), IndexError, "dimension 1 of shape (3, 0) must not be empty"),
        (lambda t, x: x.argmax(2), (3, 4), IndexError, "but got 2"),
        (lambda t, x: (x > 0).argmax(), (3,), RuntimeError, "argmax is not implemented for bool"),
    )
    pick = np.argmax

    @staticmethod
    def forward(ctx: ArgMax, x: Array, dim: int | None, keepdim: bool) -> Any:
        return as_array(type(ctx).pick(x, axis=dim, keepdims=keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False, **aliases: Dims) -> Tensor:
    """Index of the (first) largest element, int64; in the flattened tensor if dim is None. Not for bools."""
    return _place(ArgMax, "argmax", _numbers("argmax", input), dim, keepdim, aliases)


class ArgMin(ArgMax):
    """y = the first i with x_i = min_j x_j"""

    examples = ((lambda t, x: x.argmin(), (3, 4)), (lambda t, x: t.argmin(x, dim=0), (3, 4)))
    errors = (
        (lambda t, x: x.argmin(), (0,), IndexError, "expected a tensor with elements, got shape (0,)"),
        (lambda t, x: x.argmin(-1), (3, 0), IndexError, "dimension 1 of shape (3, 0) must not be empty"),
        (lambda t, x: (x > 0).argmin(0), (3,), RuntimeError, "argmin is not implemented for bool"),
    )
    pick = np.argmin


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False, **aliases: Dims) -> Tensor:
    """Index of the (first) smallest element, int64; in the flattened tensor if dim is None. Not for bools."""
    return _place(ArgMin, "argmin", _numbers("argmin", input), dim, keepdim, aliases)


def _numbers(what: str, input: Tensor) -> Tensor:
    if input.array.dtype.kind == "b":
        raise RuntimeError(f"{what} is not implemented for bool: convert the input with .int()")
    return input


def _place(
    function: type[Function], what: str, input: Tensor, dim: Any, keepdim: bool, aliases: dict[str, Dims]
) -> Tensor:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    shape = input.array.shape
    if dim is not None:
        dim = normalize_dim(dim, len(shape))
        if shape and not shape[dim]:
            raise IndexError(f"{what}: dimension {dim} of shape {shape} must not be empty")
    elif not input.array.size:
        raise IndexError(f"{what}: expected a tensor with elements, got shape {shape}")
    place: Tensor = function.apply(input, dim=dim if shape else None, keepdim=keepdim)
    return place
