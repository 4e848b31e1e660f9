"""Arithmetic.

L is the loss, g = dL/dy the gradient of the output y. Backward is written in Tensor arithmetic, so
it can be differentiated again. The walk sums over broadcast dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import is_floating
from ..engine.function import Function
from ..kernels import arithmetic as kernels
from .common import Array, Operand, promote, times_number
from .rounding import floor_divide, sign, trunc_divide

if TYPE_CHECKING:
    from ..tensor import Tensor


class Add(Function):
    """y = a + b"""

    backward_shares = True
    examples = ((lambda t, a, b: a + b, (3, 4), (4,)), (lambda t, a, b: t.add(a, b, alpha=2.5), (2, 1), (1, 3)))
    errors = (
        (lambda t, a, b: a + b, (3, 4), (3,), RuntimeError, "(3, 4)"),
        (lambda t, a: a + "text", (3,), TypeError, "unsupported operand type"),
        (lambda t, a: t.add(a, "text"), (3,), TypeError, "expected a Tensor, an array or a number, got str"),
        (lambda t, a: t.add(a.long(), 1, alpha=0.5), (3,), RuntimeError, "alpha must not be a floating point number"),
    )

    @staticmethod
    def forward(ctx: Add, a: Array, b: Array) -> Any:
        return kernels.add(a, b)

    # dy/da = 1, dy/db = 1
    @staticmethod
    def backward(ctx: Add, g: Tensor) -> Any:
        return g, g


def add(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input + alpha * other, broadcast."""
    a, b = promote(input, other)
    return Add.apply(a, b if alpha == 1 else times(b, alpha))


class Sub(Function):
    """y = a - b"""

    backward_shares = True
    examples = ((lambda t, a, b: a - b, (3, 4), (3, 1)), (lambda t, a: 1.5 - a, (3,)))
    errors = (
        (lambda t, a, b: a - b, (3, 4), (3,), RuntimeError, "(3, 4)"),
        (lambda t, a: (a > 0) - (a > 0), (3,), RuntimeError, "with a bool tensor is not supported"),
        (lambda t, a: (a > 0) - 1, (3,), RuntimeError, "with a bool tensor is not supported"),
        (lambda t, a: 1 - (a > 0), (3,), RuntimeError, "with a bool tensor is not supported"),
        (lambda t, a: a - (a > 0), (3,), RuntimeError, "with a bool tensor is not supported"),
        (lambda t, a: a - True, (3,), RuntimeError, "with a bool tensor is not supported"),
        (lambda t, a: t.sub(a.long(), 1, alpha=0.5), (3,), RuntimeError, "alpha must not be a floating point number"),
    )

    @staticmethod
    def forward(ctx: Sub, a: Array, b: Array) -> Any:
        return a - b

    # dy/da = 1, dy/db = -1
    @staticmethod
    def backward(ctx: Sub, g: Tensor) -> Any:
        return g, -g if ctx.needs_input_grad[1] else None


def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input - alpha * other, broadcast. RuntimeError for bools."""
    a, b = promote(input, other)
    if a.array.dtype.kind == "b" or (a is not input and _is_bool(input)) or (b is not other and _is_bool(other)):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported: use logical_not() or logical_xor() "
            "for truth values, .long() or .float() for numbers"
        )
    return Sub.apply(a, b if alpha == 1 else times(b, alpha))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or (hasattr(value, "dtype") and value.dtype.kind == "b")


def times(other: Tensor, alpha: float) -> Tensor:
    """alpha * other, in the dtype of other."""
    if isinstance(alpha, float) and not is_floating(other.dtype):
        raise RuntimeError(f"For integral input tensors, alpha must not be a floating point number, got {alpha}")
    return mul(other, alpha).to(other.dtype)


class Mul(Function):
    """y = a b"""

    examples = ((lambda t, a, b: a * b, (3, 4), (4,)), (lambda t, a: 2 * a * a, (3,)))
    errors = (
        (lambda t, a, b: a * b, (3, 4), (3,), RuntimeError, "(3, 4)"),
        (lambda t, a: a * None, (3,), TypeError, "unsupported operand type"),
    )

    @staticmethod
    def forward(ctx: Mul, a: Array, b: Array) -> Any:
        need_a, need_b = ctx.needs_input_grad
        ctx.save(a if need_b else None, b if need_a else None)
        return a * b

    # dy/da = b, dy/db = a
    @staticmethod
    def backward(ctx: Mul, g: Tensor) -> Any:
        a, b = ctx.saved
        return None if b is None else Mul.apply(g, b), None if a is None else Mul.apply(g, a)


def mul(input: Operand, other: Operand) -> Tensor:
    """input * other, broadcast."""
    return times_number(Mul, input, other)


class Div(Function):
    """y = a / b"""

    examples = ((lambda t, a, b: a / (b.abs() + 0.5), (3, 4), (3, 1)), (lambda t, a: 2 / (a.abs() + 1), (3,)))
    errors = (
        (lambda t, a, b: a / b, (3, 4), (3,), RuntimeError, "(3, 4)"),
        (lambda t, a: a.long().div_(2), (3,), RuntimeError, "can't be cast to the desired output type int64"),
    )

    @staticmethod
    def forward(ctx: Div, a: Array, b: Array) -> Any:
        ctx.save(a if ctx.needs_input_grad[1] else None, b)
        return a / b

    # dy/da = 1/b, dy/db = -a/b^2
    @staticmethod
    def backward(ctx: Div, g: Tensor) -> Any:
        a, b = ctx.saved
        # Of small numbers in two bytes b^2 is 0, and g/b infinite, where (a/b)/b is not.
        return g / b if ctx.needs_input_grad[0] else None, None if a is None else -g * (a / b / b)


def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, broadcast. Integers divide to the default dtype.

    rounding_mode: None, "floor" (as `//`) or "trunc" (towards zero), whose gradient is 0. RuntimeError if integers
    are divided by 0 and rounded.
    """
    if rounding_mode is None:
        return times_number(Div, input, other, true_division=True)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return trunc_divide(input, other)
    raise RuntimeError(f"rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")


def reciprocal(input: Tensor) -> Tensor:
    """1 / input"""
    return div(1.0, input)


class Pow(Function):
    """y = a^b"""

    examples = (
        (lambda t, a: a**2, (3, 4)),
        (lambda t, a: a**3.0, (3,)),
        (lambda t, a, b: (a.abs() + 0.5) ** b, (3, 4), (4,)),
        (lambda t, a: 2.0**a, (3,)),
    )
    errors = (
        (lambda t, a, b: a**b, (3, 4), (3,), RuntimeError, "(3, 4)"),
        (lambda t, a: a.long() ** -1, (3,), RuntimeError, "Integers to negative integer powers are not allowed"),
        (lambda t, a: (a > 0) ** (a > 0), (3,), RuntimeError, "pow is not implemented for bool"),
    )
    factors: int | None

    @staticmethod
    def forward(ctx: Pow, a: Array, b: Array, factors: int | None) -> Any:
        ctx.save(a, b)
        ctx.factors = factors
        if factors is not None:
            return a * a if factors == 2 else a * a * a
        # Not a**b: older NumPys take a square root there for 0.5, which compiled code would not.
        return np.power(a, b) if a.dtype.kind != "i" else _integer_power(a, b)

    # dy/da = b a^(b-1), taken as 0 where b = 0, also at a = 0
    # dy/db = a^b log a, taken as 0 where a = 0 and b >= 0
    @staticmethod
    def backward(ctx: Pow, g: Tensor) -> Any:
        a, b = ctx.saved
        need_a, need_b = ctx.needs_input_grad
        da = db = None
        if need_a and ctx.factors is not None:
            da = g * a * 2 if ctx.factors == 2 else g * (a * a) * 3
        elif need_a:
            da = (g * (b * a ** (b - 1))).masked_fill(b == 0, 0.0)
        if need_b:
            flat = (a == 0) & (b >= 0)
            db = (g * (a**b * a.masked_fill(flat, 1.0).log())).masked_fill(flat, 0.0)
        return da, db


def _integer_power(a: Array, b: Array) -> Any:
    """a^b of signed integers; a negative power is 1/a^-b, truncated: 0 except for a = 1 and a = -1."""
    inverse = np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b & 1), 0))
    return np.where(b < 0, inverse, a ** np.maximum(b, 0)).astype(a.dtype)


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input ** exponent, broadcast. RuntimeError for integers to the power of a negative Python integer."""
    few = type(exponent) in (int, float) and exponent in (2, 3)  # products take a thirtieth of a power's time
    a, b = promote(input, exponent, checked=isinstance(exponent, int))
    if a.dtype.kind in "biu":
        if a.dtype.kind == "b":
            raise RuntimeError("pow is not implemented for bool")
        if isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed: convert with .float()")
    return Pow.apply(a, b, factors=int(exponent) if few else None)


def square(input: Tensor) -> Tensor:
    """input * input; bools become int64."""
    return pow(input, 2)


class Neg(Function):
    """y = -x"""

    examples = ((lambda t, x: -x, (3, 4)),)
    errors = ((lambda t, x: -(x > 0), (3,), RuntimeError, "on a bool tensor is not supported"),)

    @staticmethod
    def forward(ctx: Neg, x: Array) -> Any:
        return -x

    # dy/dx = -1
    @staticmethod
    def backward(ctx: Neg, g: Tensor) -> Any:
        return -g


def neg(input: Tensor) -> Tensor:
    """-input"""
    if input.array.dtype.kind == "b":
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported: use ~ or logical_not()")
    return Neg.apply(input)


class Abs(Function):
    """y = |x|"""

    examples = ((lambda t, x: x.abs(), (3, 4)),)
    errors = ((lambda t, x: (x > 0).abs(), (3,), RuntimeError, "abs is not implemented for bool"),)

    @staticmethod
    def forward(ctx: Abs, x: Array) -> Any:
        ctx.save(x)
        return np.abs(x)

    # dy/dx = sign x, and 0 at 0
    @staticmethod
    def backward(ctx: Abs, g: Tensor) -> Any:
        (x,) = ctx.saved
        return g * sign(x)


def abs(input: Tensor) -> Tensor:
    """|input|; the gradient is 0 at 0, and at NaN."""
    if input.array.dtype.kind == "b":
        raise RuntimeError("abs is not implemented for bool")
    return Abs.apply(input)
