"""Repeating a tensor's elements along dimensions without copying, and summing over the repetitions: each the other's
backward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.function import Function
from .common import Array, sizes, summed

if TYPE_CHECKING:
    from ..tensor import Tensor


class Expand(Function):
    """x repeated along new dimensions and dimensions of size 1, without copying"""

    view = True
    backward_shares = True
    examples = ((lambda t, x: x.expand(2, 3, 4), (3, 1)), (lambda t, x: t.broadcast_to(x, (2, 3)), ()))
    errors = (
        (lambda t, x: x.expand(2, 4), (3, 4), RuntimeError, "shape (3, 4) cannot be expanded to (2, 4)"),
        (lambda t, x: x.expand(4), (3, 4), RuntimeError, "shape (3, 4) cannot be expanded to (4,)"),
        (lambda t, x: x.expand(-1, 3, 4), (3, 4), RuntimeError, "cannot be expanded to (-1, 3, 4)"),
    )
    long_examples = (
        (lambda t, x: x.expand(10_000, 3, 2), (3, 1)),
        (lambda t, x: x.expand(3, 10_000), (3, 1)),
    )

    @staticmethod
    def forward(ctx: Expand, x: Array, shape: tuple[int, ...]) -> Any:
        # If nothing is repeated, the view may be written to.
        return x.reshape(shape) if math.prod(shape) == x.size else np.broadcast_to(x, shape)

    # dL/dx is g summed over the repetitions, which the walk does
    @staticmethod
    def backward(ctx: Expand, g: Tensor) -> Any:
        return g


def expand(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """A view repeated along new leading dimensions and dimensions of size 1; -1 keeps a size."""
    wanted = sizes(shape)
    extra = len(wanted) - input.ndim
    target = tuple(input.shape[i - extra] if n == -1 and i >= extra else n for i, n in enumerate(wanted))
    fits = extra >= 0 and min(target, default=0) >= 0
    if not fits or any(old not in (1, new) for old, new in zip(input.shape, target[extra:], strict=True)):
        raise RuntimeError(f"expand: shape {tuple(input.shape)} cannot be expanded to {wanted}")
    return Expand.apply(input, shape=target)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """A view in a larger shape, by the rules of broadcasting."""
    return expand(input, size)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor, by the rules of broadcasting."""
    return expand(input, other.shape)


class SumToSize(Function):
    """x summed over broadcast dimensions, down to a smaller shape: the transpose of Expand"""

    backward_shares = True
    examples = ((lambda t, x: x.sum_to_size((3, 1)), (2, 3, 4)),)
    errors = (
        (lambda t, x: x.sum_to_size((2, 4)), (3, 4), RuntimeError, "(3, 4) cannot be summed to shape (2, 4)"),
        (lambda t, x: x.sum_to_size((1, 3, 4)), (3, 4), RuntimeError, "cannot be summed to shape (1, 3, 4)"),
    )
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: SumToSize, x: Array, shape: tuple[int, ...]) -> Any:
        ctx.shape = x.shape
        extra = x.ndim - len(shape)
        if extra < 0 or any(size not in (1, x.shape[extra + i]) for i, size in enumerate(shape)):
            raise RuntimeError(f"a tensor of shape {x.shape} cannot be summed to shape {shape}")
        dims = tuple([i for i, size in enumerate(x.shape) if i < extra or size != shape[i - extra]])
        return summed(x, dims).reshape(shape)

    # each element of x was added to one of y
    @staticmethod
    def backward(ctx: SumToSize, g: Tensor) -> Any:
        return Expand.apply(g, shape=ctx.shape)


def sum_to_size(input: Tensor, *size: int | Sequence[int]) -> Tensor:
    """The sum over broadcast dimensions that gives this size; the input itself if it already has it."""
    shape = sizes(size)
    return input if input.array.shape == shape != () else SumToSize.apply(input, shape=shape)
