"""Step functions: sign, floor, ceil, trunc, round and rounding division; and the remainder of division.

A step function is flat except where it jumps, so its gradient is 0. PyTorch records these functions all the same, so
that a result made of them alone still has a gradient, of zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..dtypes import float32, is_floating
from ..engine.function import Function
from ..kernels.launch import launched, zeros
from .common import Array, Operand, is_tensor, promote

if TYPE_CHECKING:
    from ..tensor import Tensor


class _Steps(Function):
    """y is flat but where it jumps"""

    # dy/dx = 0, whatever g is, also infinite, and also where y jumps
    @staticmethod
    def backward(ctx: _Steps, g: Tensor) -> Any:
        return tuple([Flat.apply(g) if need else None for need in ctx.needs_input_grad])


class Flat(Function):
    """y = 0, whatever x is: the gradient of a step, itself without one"""

    examples = ((lambda t, x: _flat(t, x), (3, 4)),)

    @staticmethod
    def forward(ctx: Flat, x: Array) -> Any:
        return zeros(x.shape, x.dtype)


def _flat(t: Any, x: Any) -> Any:
    """The gradient of sign as a function of its cotangent x."""
    whole = t.zeros(x.shape, dtype=x.dtype, requires_grad=True)
    return t.autograd.grad(t.sign(whole), whole, x, create_graph=True)[0]


class Sign(_Steps):
    """y = 1 where x > 0, -1 where x < 0, else 0, also of NaN"""

    examples = ((lambda t, x: t.sign(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Sign, x: Array) -> Any:
        return (x > 0).astype(x.dtype) if x.dtype.kind in "bu" else (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN."""
    return Sign.apply(input)


class Floor(_Steps):
    """y = the largest integer that is not above x"""

    examples: ClassVar[Any] = ((lambda t, x: t.floor(x), (3, 4)),)
    errors: ClassVar[Any] = ((lambda t, x: t.floor(x > 0), (3,), RuntimeError, "floor is not implemented for bool"),)
    step: ClassVar[np.ufunc] = np.floor

    @staticmethod
    def forward(ctx: Floor, x: Array) -> Any:
        return ctx.step(x) if is_floating(x.dtype) else x.copy()


def floor(input: Tensor) -> Tensor:
    """The largest integer not above each element, in its dtype."""
    return Floor.apply(_number("floor", input))


class Ceil(Floor):
    """y = the smallest integer that is not below x"""

    examples = ((lambda t, x: t.ceil(x), (3, 4)),)
    errors = ((lambda t, x: t.ceil(x > 0), (3,), RuntimeError, "ceil is not implemented for bool"),)
    step = np.ceil


def ceil(input: Tensor) -> Tensor:
    """The smallest integer not below each element, in its dtype."""
    return Ceil.apply(_number("ceil", input))


class Trunc(Floor):
    """y = x without its fraction"""

    examples = ((lambda t, x: t.trunc(x), (3, 4)),)
    errors = ((lambda t, x: t.trunc(x > 0), (3,), RuntimeError, "trunc is not implemented for bool"),)
    step = np.trunc


def trunc(input: Tensor) -> Tensor:
    """Each element truncated to an integer, in its dtype."""
    return Trunc.apply(_number("trunc", input))


class Round(_Steps):
    """y = x to a number of decimals; what lies in the middle goes to the even neighbour"""

    examples = (
        (lambda t, x: t.round(x), (3, 4)),
        (lambda t, x: t.round(x, decimals=2), (3, 4)),
        (lambda t, x: t.round(100 * x, decimals=-1), (3, 4)),
    )
    errors = (
        (lambda t, x: t.round(x > 0), (3,), RuntimeError, "round is not implemented for bool"),
        (lambda t, x: t.round(x.long(), decimals=1), (3,), RuntimeError, "integers have no decimals to round"),
    )

    @staticmethod
    def forward(ctx: Round, x: Array, decimals: int) -> Any:
        if not is_floating(x.dtype):
            return x.copy()
        if not decimals:
            return np.rint(x)
        wide = x.astype(float32) if x.dtype.itemsize == 2 else x
        scale = 10.0 ** (decimals if decimals > 0 else -decimals)
        y = np.rint(wide * scale) / scale if decimals > 0 else np.rint(wide / scale) * scale
        return y.astype(x.dtype)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Round each element to the nearest integer, or to a number of decimals (negative: tens, hundreds), in its dtype.

    Halves are rounded to the even neighbour: 0.5 to 0 and 1.5 to 2.
    """
    if decimals and not is_floating(input.array.dtype):
        raise RuntimeError(f"round: integers have no decimals to round, got {input.dtype} and decimals={decimals}")
    return Round.apply(_number("round", input), decimals=decimals)


def _number(what: str, input: Tensor) -> Tensor:
    if input.array.dtype.kind == "b":
        raise RuntimeError(f"{what} is not implemented for bool")
    return input


class FloorDivide(_Steps):
    """y = floor(a/b), of the exact quotient"""

    examples = (
        (lambda t, a, b: t.div(a, b, rounding_mode="floor"), (3, 4), (4,)),
        (lambda t, a: t.div(a, 0.3, rounding_mode="floor"), (3,)),
    )
    errors = (
        (lambda t, a: a.long() // 0, (3,), RuntimeError, "ZeroDivisionError"),
        (lambda t, a: (a > 0) // (a > 0), (3,), RuntimeError, "floor_divide is not implemented for bool"),
        (lambda t, a: t.div(a, 2, rounding_mode="up"), (3,), RuntimeError, "'floor' or 'trunc', got 'up'"),
    )

    @staticmethod
    def forward(ctx: FloorDivide, a: Array, b: Array) -> Any:
        if not is_floating(a.dtype):
            _check_divisor(b)
        elif a.dtype.itemsize == 2:
            return _floor_divide(a, b)
        return np.floor_divide(a, b)


def floor_divide(input: Operand, other: Operand) -> Tensor:
    """The largest integer not above input / other, broadcast. RuntimeError if integers are divided by 0."""
    return _rounded(FloorDivide, "floor_divide", input, other)


def _floor_divide(a: Array, b: Array) -> Any:
    """NumPy's algorithm for floor_divide, but rounded to 16 bits at each step, as in PyTorch."""
    left = np.fmod(a, b)
    quotient = (a - left) / b - ((left != 0) & ((left < 0) != (b < 0))).astype(a.dtype)
    whole = np.floor(quotient)
    whole = whole + (quotient - whole > 0.5).astype(a.dtype)
    whole = np.where(quotient == 0, np.copysign(np.zeros((), a.dtype), a / b), whole)
    return np.where(b == 0, a / b, whole).astype(a.dtype)


class TruncDivide(_Steps):
    """y = a/b without its fraction"""

    examples = ((lambda t, a, b: t.div(a, b, rounding_mode="trunc"), (3, 4), (4,)),)
    errors = (
        (lambda t, a: t.div(a.long(), 0, rounding_mode="trunc"), (3,), RuntimeError, "ZeroDivisionError"),
        (lambda t, a: t.div(a > 0, a > 0, rounding_mode="trunc"), (3,), RuntimeError, "is not implemented for bool"),
    )

    @staticmethod
    def forward(ctx: TruncDivide, a: Array, b: Array) -> Any:
        if is_floating(a.dtype):
            return np.trunc(a / b)
        _check_divisor(b)
        return (a - np.fmod(a, b)) // b  # a float would not hold large integers


def trunc_divide(input: Operand, other: Operand) -> Tensor:
    """input / other truncated, broadcast. RuntimeError if integers are divided by 0."""
    return _rounded(TruncDivide, "div(rounding_mode='trunc')", input, other)


def _rounded(function: type[Function], what: str, input: Operand, other: Operand) -> Tensor:
    a, b = promote(input, other)
    if a.array.dtype.itemsize == 2 and is_floating(a.array.dtype) and not is_tensor(other):
        # A number is not rounded to two bytes first: 1 // 0.1 would be 9.
        return function.apply(*promote(a.to(float32), other)).to(a.dtype)
    return function.apply(_number(what, a), b)


class Remainder(Function):
    """y = a - b floor(a/b), exactly: what the division leaves, with the sign of b"""

    backward_shares = True
    examples = (
        (lambda t, a, b: a % b, (3, 4), (4,)),
        (lambda t, a: t.remainder(a, -0.7), (3,)),
        (lambda t, a: t.full((3,), 5.25, dtype=a.dtype) % (a.abs() + 0.5), (3,)),
    )
    long_examples = (
        (lambda t, a, b: a % b, (10_000,), (1,)),
        (lambda t, a, b: a % b, (1,), (10_000,)),
    )
    errors = (
        (lambda t, a: a.long() % 0, (3,), RuntimeError, "ZeroDivisionError"),
        (lambda t, a: (a > 0) % (a > 0), (3,), RuntimeError, "remainder is not implemented for bool"),
        (lambda t, a, b: a % b, (3,), (4,), RuntimeError, "(3,)"),
    )

    @staticmethod
    def forward(ctx: Remainder, a: Array, b: Array) -> Any:
        ctx.save(a if ctx.needs_input_grad[1] else None, b)
        if not is_floating(a.dtype):
            _check_divisor(b)
            return np.remainder(a, b)
        # fmod is exact and has the sign of a. a - b floor(a/b) is neither: a/b is rounded first.
        left = np.fmod(a, b)
        return np.where((left != 0) & ((left < 0) != (b < 0)), left + b, left).astype(a.dtype)

    # floor(a/b) is flat but where it jumps: dy/da = 1, dy/db = -floor(a/b)
    @staticmethod
    def backward(ctx: Remainder, g: Tensor) -> Any:
        a, b = ctx.saved
        return g, None if a is None else -g * floor_divide(a, b)


def remainder(input: Operand, other: Operand) -> Tensor:
    """input - other * floor(input / other), exactly, broadcast: the sign is the divisor's, as in Python's %.

    RuntimeError if integers are divided by 0.
    """
    a, b = promote(input, other)
    return Remainder.apply(_number("remainder", a), b)


@launched
def _check_divisor(divisor: Array) -> None:
    if not divisor.all():
        raise RuntimeError("ZeroDivisionError: integers cannot be divided by 0")
