"""Elementwise maximum, minimum and clamp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..dtypes import result_type
from ..engine.function import Function
from .common import Array, Operand, is_tensor, promote
from .elementwise import cast, where

if TYPE_CHECKING:
    from ..tensor import Tensor


class Maximum(Function):
    """y = max(a, b)"""

    examples: ClassVar[Any] = ((lambda t, a, b: t.maximum(a, b), (3, 4), (4,)),)
    errors: ClassVar[Any] = (
        (lambda t, a, b: t.maximum(a, b), (3,), (4,), RuntimeError, "(3,)"),
        (lambda t, a: t.maximum(a, 0.0), (3,), TypeError, "maximum: expected two Tensors, got Tensor and float"),
    )
    pick: ClassVar[np.ufunc] = np.maximum
    loses: ClassVar[np.ufunc] = np.less

    @staticmethod
    def forward(ctx: Maximum, a: Array, b: Array) -> Any:
        if True in ctx.needs_input_grad:
            ctx.save(a == b, ctx.loses(a, b), ctx.loses(b, a))
        return ctx.pick(a, b)

    # dy/da = 1 where a was taken, 1/2 where a = b, else 0, and likewise for b; both are 1 where one is NaN.
    # g is chosen, not multiplied, so that where it is infinite 0 stays 0.
    @staticmethod
    def backward(ctx: Maximum, g: Tensor) -> Any:
        equal, a_lost, b_lost = ctx.saved
        g = where(equal, g * 0.5, g)
        need_a, need_b = ctx.needs_input_grad
        return g.masked_fill(a_lost, 0.0) if need_a else None, g.masked_fill(b_lost, 0.0) if need_b else None


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element; NaN if either is. Equal elements share the gradient.

    TypeError for a number: clamp(min=number) is that.
    """
    return Maximum.apply(*_two("maximum", input, other))


class Minimum(Maximum):
    """y = min(a, b)"""

    examples = ((lambda t, a, b: t.minimum(a, b), (3, 1), (1, 4)),)
    errors = (
        (lambda t, a, b: t.minimum(a, b), (3,), (4,), RuntimeError, "(3,)"),
        (lambda t, a: t.minimum(0.0, a), (3,), TypeError, "minimum: expected two Tensors, got float and Tensor"),
    )
    pick = np.minimum
    loses = np.greater


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element; NaN if either is. Equal elements share the gradient.

    TypeError for a number: clamp(max=number) is that.
    """
    return Minimum.apply(*_two("minimum", input, other))


def _two(what: str, input: Operand, other: Operand) -> tuple[Tensor, Tensor]:
    if isinstance(input, (int, float)) or isinstance(other, (int, float)):
        names = f"{type(input).__name__} and {type(other).__name__}"
        raise TypeError(f"{what}: expected two Tensors, got {names}: clamp() takes numbers")
    return promote(input, other)


class Clamp(Function):
    """y = x held between low and high (either may be None)"""

    examples = (
        (lambda t, x: x.clamp(-0.5, 0.5), (3, 4)),
        (lambda t, x: x.clamp(min=0.1), (3,)),
        (lambda t, x, low, high: x.clamp(low - 0.5, high + 0.5), (3, 4), (4,), (3, 1)),
        (lambda t, x, high: t.clamp(x, max=high), (2, 3), (2, 3)),
    )
    errors = (
        (lambda t, x: x.clamp(), (3,), RuntimeError, "at least one of min and max must not be None"),
        (lambda t, x, low: x.clamp(low), (3,), (4,), RuntimeError, "(3,)"),
        (lambda t, x: (x > 0).clamp(False), (3,), RuntimeError, "clamp is not implemented for bool"),
    )

    @staticmethod
    def forward(ctx: Clamp, x: Array, low: Array | None, high: Array | None) -> Any:
        y = x if low is None else np.maximum(x, low)  # low first: where low > high, the result is high
        y = y if high is None else np.minimum(y, high)
        if True in ctx.needs_input_grad:
            ctx.save(x, low, high)
        return y

    # dy/dx = [low <= x <= high]; dy/dlow = [x < low < high], dy/dhigh = [x > high or low > high]
    @staticmethod
    def backward(ctx: Clamp, g: Tensor) -> Any:
        x, low, high = ctx.saved
        need_x, need_low, need_high = ctx.needs_input_grad
        dx = dlow = dhigh = None
        if need_x:
            inside = x <= high if low is None else x >= low if high is None else (x >= low) & (x <= high)
            dx = where(inside, g, 0.0)
        if need_low:
            dlow = where(x < low if high is None else (x < low) & (low < high), g, 0.0)
        if need_high:
            dhigh = where(x > high if low is None else (x > high) | (low > high), g, 0.0)
        return dx, dlow, dhigh


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """input, but at least min: clamp with this bound alone."""
    return clamp(input, min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """input, but at most max: clamp with this bound alone."""
    return clamp(input, None, max)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """input held between min and max, each a number, a Tensor (broadcast) or None. On a bound the gradient is 1."""
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must not be None")
    for bound in (min, max):
        input = input if bound is None else input.to(result_type(input, bound))
    if input.dtype.kind == "b" and not (is_tensor(min) or is_tensor(max)):
        raise RuntimeError("clamp is not implemented for bool and numbers")
    low, high = [None if bound is None else cast("clamp", bound, input.dtype) for bound in (min, max)]
    return Clamp.apply(input, low, high)
