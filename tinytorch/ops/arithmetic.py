"""Arithmetic.

L is the loss, g = dL/dy the gradient of the output y. Backward is written in Tensor arithmetic, so
it can be differentiated again. The walk sums over broadcast dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import is_floating
from ..function import Function
from ..kernels import arithmetic as kernels
from ..modes import mode
from .common import array_of, promote, times_number, wrap

if TYPE_CHECKING:
    from ..tensor import Tensor


class Add(Function):
    """y = a + b"""

    examples = ((lambda t, a, b: a + b, (3, 4), (4,)), (lambda t, a, b: t.add(a, b, alpha=2.5), (2, 1), (1, 3)))

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return kernels.add(a, b)

    # dy/da = 1, dy/db = 1
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, g


class Sub(Function):
    """y = a - b"""

    arrays_too = True
    examples = ((lambda t, a, b: a - b, (3, 4), (3, 1)), (lambda t, a: 1.5 - a, (3,)))

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a - b

    # dy/da = 1, dy/db = -1
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, -g if ctx.needs_input_grad[1] else None


class Mul(Function):
    """y = a b"""

    arrays_too = True
    examples = ((lambda t, a, b: a * b, (3, 4), (4,)), (lambda t, a: 2 * a * a, (3,)))

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        need_a, need_b = ctx.needs_input_grad
        ctx.save(a if need_b else None, b if need_a else None)
        return a * b

    # dy/da = b, dy/db = a
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        a, b = ctx.saved
        return None if b is None else g * b, None if a is None else g * a


class Div(Function):
    """y = a / b"""

    arrays_too = True
    examples = ((lambda t, a, b: a / (b.abs() + 0.5), (3, 4), (3, 1)), (lambda t, a: 2 / (a.abs() + 1), (3,)))

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save(a if ctx.needs_input_grad[1] else None, b)
        return a / b

    # dy/da = 1/b, dy/db = -a/b^2
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        a, b = ctx.saved
        da = g / b
        return da if ctx.needs_input_grad[0] else None, None if a is None else -da * (a / b)


class Pow(Function):
    """y = a^b"""

    examples = (
        (lambda t, a: a**2, (3, 4)),
        (lambda t, a: a**3.0, (3,)),
        (lambda t, a, b: (a.abs() + 0.5) ** b, (3, 4), (4,)),
        (lambda t, a: 2.0**a, (3,)),
    )

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any, factors: int | None) -> Any:
        ctx.save(a, b)
        ctx.factors = factors
        return a**b if factors is None else a * a if factors == 2 else a * a * a

    # dy/da = b a^(b-1), taken as 0 where b = 0, also at a = 0
    # dy/db = a^b log a, taken as 0 where a = 0 and b >= 0
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        a, b = ctx.saved
        need_a, need_b = ctx.needs_input_grad
        da = db = None
        if need_a and ctx.factors is not None:
            da = g * a * 2 if ctx.factors == 2 else g * (a * a) * 3
        elif need_a:
            da = (g * b * a ** (b - 1)).masked_fill(b == 0, 0.0)
        if need_b:
            flat = (a == 0) & (b >= 0)
            db = (g * a**b * a.masked_fill(flat, 1.0).log()).masked_fill(flat, 0.0)
        return da, db


class Neg(Function):
    """y = -x"""

    arrays_too = True
    examples = ((lambda t, x: -x, (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return -x

    # dy/dx = -1
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return -g


class Abs(Function):
    """y = |x|"""

    examples = ((lambda t, x: x.abs(), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return np.abs(x)

    # dy/dx = sign x, and 0 at 0
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g * sign(x)


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha * other, broadcast."""
    a, b = promote(input, other)
    return Add.apply(a, b if alpha == 1 else _times(b, alpha))


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other, broadcast."""
    a, b = promote(input, other)
    if a.dtype.kind == "b":
        raise RuntimeError("Subtraction of bool tensors is not supported: use logical_xor or convert to an integer")
    return Sub.apply(a, b if alpha == 1 else _times(b, alpha))


def _times(other: Tensor, alpha: float) -> Tensor:
    """alpha * other, in the dtype of other."""
    if isinstance(alpha, float) and not is_floating(other.dtype):
        raise RuntimeError(f"For integral input tensors, alpha must not be a floating point number, got {alpha}")
    return mul(other, alpha).to(other.dtype)


def mul(input: Any, other: Any) -> Tensor:
    """input * other, broadcast."""
    return times_number(Mul, input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, broadcast. Integers divide to the default dtype.

    rounding_mode: None, "floor" (as `//`) or "trunc" (towards zero).
    """
    if rounding_mode is None:
        return times_number(Div, input, other, true_division=True)
    a, b = promote(input, other)
    if rounding_mode == "floor":
        return wrap(mode.quietly(np.floor_divide, array_of(a), array_of(b)))
    if rounding_mode == "trunc":
        return wrap(np.trunc(mode.quietly(np.divide, array_of(a), array_of(b))).astype(a.dtype))
    raise RuntimeError(f"rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")


def floor_divide(input: Any, other: Any) -> Tensor:
    """The largest integer not above input / other; no gradient, as it is constant almost everywhere."""
    return div(input, other, rounding_mode="floor")


def remainder(input: Any, other: Any) -> Tensor:
    """input - other * floor(input / other): the sign is the divisor's, as in Python's %."""
    a, b = promote(input, other)
    if not is_floating(a.dtype):
        return wrap(mode.quietly(np.remainder, array_of(a), array_of(b)))
    # The quotient is piecewise constant, so d/da = 1 and d/db = -floor(a/b).
    return sub(a, mul(b, floor_divide(a, b)))


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent, broadcast."""
    few = type(exponent) in (int, float) and exponent in (2, 3)  # products take a thirtieth of a power's time
    a, b = promote(input, exponent, checked=isinstance(exponent, int))
    return Pow.apply(a, b, factors=int(exponent) if few else None)


def neg(input: Tensor) -> Tensor:
    """-input"""
    return Neg.apply(input)


def abs(input: Tensor) -> Tensor:
    """|input|; the gradient at 0 is 0."""
    return Abs.apply(input)


def square(input: Tensor) -> Tensor:
    """input * input"""
    return pow(input, 2)


def reciprocal(input: Tensor) -> Tensor:
    """1 / input"""
    return div(1.0, input)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; no gradient."""
    return wrap(np.sign(array_of(input)))
