"""Comparisons, tests of elements, and logic: operations without gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..dtypes import is_floating
from ..engine.function import Function
from ..engine.mode import mode
from ..engine.tensor import wrap
from .common import Array, Operand, as_array, elements_of, is_tensor, promote, widened

if TYPE_CHECKING:
    from ..tensor import Tensor


class _Ufunc(Function):
    """One of NumPy's elementwise functions"""

    ufunc: ClassVar[np.ufunc]

    @staticmethod
    def forward(ctx: _Ufunc, *xs: Array) -> Any:
        return as_array(ctx.ufunc(*xs))


# ---------------------------------------------------------------------- comparisons


class Equal(_Ufunc):
    """y = [a = b]"""

    examples = (
        (lambda t, a, b: t.eq(a.round(), b.round()), (3, 4), (4,)),
        (lambda t, a: a.round() == 1, (3, 4)),
    )
    errors = ((lambda t, a, b: a == b, (3,), (4,), RuntimeError, "(3,)"),)
    ufunc = np.equal


def eq(input: Tensor, other: Operand) -> Tensor:
    """Whether elements are equal, broadcast: a bool tensor."""
    return _compared(Equal, input, other)


class NotEqual(_Ufunc):
    """y = [a != b]"""

    examples = (
        (lambda t, a, b: t.ne(a.round(), b.round()), (3, 4), (4,)),
        (lambda t, a: a.round() != 1, (3, 4)),
    )
    errors = ((lambda t, a, b: a != b, (3,), (4,), RuntimeError, "(3,)"),)
    ufunc = np.not_equal


def ne(input: Tensor, other: Operand) -> Tensor:
    """Whether elements differ, broadcast: a bool tensor."""
    return _compared(NotEqual, input, other)


class Less(_Ufunc):
    """y = [a < b]"""

    examples = ((lambda t, a, b: t.lt(a, b), (3, 4), (4,)), (lambda t, a: a < 0.5, (3, 4)))
    errors = ((lambda t, a, b: a < b, (3,), (4,), RuntimeError, "(3,)"),)
    ufunc = np.less


def lt(input: Tensor, other: Operand) -> Tensor:
    """Whether elements are less than others, broadcast: a bool tensor."""
    return _compared(Less, input, other)


class LessEqual(_Ufunc):
    """y = [a <= b]"""

    examples = ((lambda t, a, b: t.le(a.round(), b.round()), (3, 4), (4,)), (lambda t, a: a.round() <= 0, (3, 4)))
    errors = ((lambda t, a, b: a <= b, (3,), (4,), RuntimeError, "(3,)"),)
    ufunc = np.less_equal


def le(input: Tensor, other: Operand) -> Tensor:
    """Whether elements are less than others or equal, broadcast: a bool tensor."""
    return _compared(LessEqual, input, other)


class Greater(_Ufunc):
    """y = [a > b]"""

    examples = ((lambda t, a, b: t.gt(a, b), (3, 4), (4,)), (lambda t, a: a > 0.5, (3, 4)))
    errors = ((lambda t, a, b: a > b, (3,), (4,), RuntimeError, "(3,)"),)
    ufunc = np.greater


def gt(input: Tensor, other: Operand) -> Tensor:
    """Whether elements are greater than others, broadcast: a bool tensor."""
    return _compared(Greater, input, other)


class GreaterEqual(_Ufunc):
    """y = [a >= b]"""

    examples = ((lambda t, a, b: t.ge(a.round(), b.round()), (3, 4), (4,)), (lambda t, a: a.round() >= 0, (3, 4)))
    errors = ((lambda t, a, b: a >= b, (3,), (4,), RuntimeError, "(3,)"),)
    ufunc = np.greater_equal


def ge(input: Tensor, other: Operand) -> Tensor:
    """Whether elements are greater than others or equal, broadcast: a bool tensor."""
    return _compared(GreaterEqual, input, other)


def _compared(function: type[_Ufunc], input: Operand, other: Operand) -> Tensor:
    if not is_tensor(input):
        raise TypeError(f"{function.ufunc.__name__}: expected a Tensor first, got {type(input).__name__}")
    dtype = input.array.dtype
    if is_tensor(other):
        # int64 beside float32 is compared as float32, where NumPy would take float64.
        a, b = (input, other) if other.array.dtype is dtype else promote(input, other)
    elif isinstance(other, int) and dtype.kind in "biu":
        a, b = input, wrap(_integer_beside(other, dtype))
    elif isinstance(other, (int, float)) and is_floating(dtype):
        a, b = input, wrap(mode.quietly(np.asarray, other, dtype))  # 1e300 is infinite in float32
    else:
        a, b = promote(input, other)
    return function.apply(a, b)


def _integer_beside(number: int, dtype: Any) -> Any:
    """A number to compare integers with, in their dtype if it fits; 300, say, does not fit uint8."""
    for fitting in (dtype, np.int64, np.uint64):
        if fitting != np.bool_ and np.iinfo(fitting).min <= number <= np.iinfo(fitting).max:
            return np.asarray(number, fitting)
    return np.asarray(float(number))  # beyond all of them


# ---------------------------------------------------------------------- tests


class IsNan(_Ufunc):
    """y = [x is not a number]"""

    examples = ((lambda t, x: t.isnan((x - 0.5).sqrt()), (3, 4)),)
    ufunc = np.isnan


def isnan(input: Tensor) -> Tensor:
    """Whether elements are not a number: a bool tensor."""
    return IsNan.apply(input)


class IsInf(_Ufunc):
    """y = [x is infinite]"""

    examples = ((lambda t, x: t.isinf(1 / x.round()), (3, 4)),)
    ufunc = np.isinf


def isinf(input: Tensor) -> Tensor:
    """Whether elements are infinite: a bool tensor."""
    return IsInf.apply(input)


class IsFinite(_Ufunc):
    """y = [x is neither infinite nor NaN]"""

    examples = ((lambda t, x: t.isfinite(1 / x.round()), (3, 4)),)
    ufunc = np.isfinite


def isfinite(input: Tensor) -> Tensor:
    """Whether elements are neither infinite nor NaN: a bool tensor."""
    return IsFinite.apply(input)


# ---------------------------------------------------------------------- logic


class LogicalNot(_Ufunc):
    """y = [x = 0]"""

    examples = ((lambda t, x: t.logical_not(x.round()), (3, 4)),)
    ufunc = np.logical_not


def logical_not(input: Tensor) -> Tensor:
    """Whether elements are zero: a bool tensor."""
    return LogicalNot.apply(input)


class LogicalAnd(_Ufunc):
    """y = [a != 0 and b != 0]"""

    examples = ((lambda t, a, b: t.logical_and(a.round(), b > 0), (3, 4), (4,)),)
    errors = (
        (lambda t, a, b: t.logical_and(a, b), (3,), (4,), RuntimeError, "(3,)"),
        (lambda t, a: t.logical_and(a, 1), (3,), TypeError, "expected Tensors, got int"),
    )
    ufunc = np.logical_and


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether neither of two elements is zero, broadcast: a bool tensor."""
    return LogicalAnd.apply(*_tensors("logical_and", input, other))


class LogicalOr(_Ufunc):
    """y = [a != 0 or b != 0]"""

    examples = ((lambda t, a, b: t.logical_or(a.round(), b > 0), (3, 4), (4,)),)
    errors = ((lambda t, a: t.logical_or(1, a), (3,), TypeError, "expected Tensors, got int"),)
    ufunc = np.logical_or


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether at least one of two elements is not zero, broadcast: a bool tensor."""
    return LogicalOr.apply(*_tensors("logical_or", input, other))


class LogicalXor(_Ufunc):
    """y = [exactly one of a and b is not 0]"""

    examples = ((lambda t, a, b: t.logical_xor(a.round(), b > 0), (3, 4), (4,)),)
    errors = ((lambda t, a: t.logical_xor(a, 1.0), (3,), TypeError, "expected Tensors, got float"),)
    ufunc = np.logical_xor


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether exactly one of two elements is not zero, broadcast: a bool tensor."""
    return LogicalXor.apply(*_tensors("logical_xor", input, other))


def _tensors(what: str, *operands: Any) -> tuple[Any, ...]:
    for x in operands:
        if not is_tensor(x):
            raise TypeError(f"{what}: expected Tensors, got {type(x).__name__}")
    return operands


# ---------------------------------------------------------------------- bits


class BitwiseNot(_Ufunc):
    """y = x with each bit turned over"""

    examples = ((lambda t, x: t.bitwise_not(x.long()), (3, 4)), (lambda t, x: t.bitwise_not(x > 0), (3, 4)))
    errors = ((lambda t, x: t.bitwise_not(x), (3,), NotImplementedError, "bitwise_not is not implemented for float"),)
    ufunc = np.invert


def bitwise_not(input: Tensor) -> Tensor:
    """Each bit inverted; for bools, logical not. NotImplementedError for floats."""
    if input.array.dtype.kind not in "biu":
        raise NotImplementedError(f"bitwise_not is not implemented for {input.dtype}")
    return BitwiseNot.apply(input)


class BitwiseAnd(_Ufunc):
    """y = the bits that are 1 in a and in b"""

    examples = (
        (lambda t, a, b: t.bitwise_and((8 * a).long(), (8 * b).int()), (3, 4), (4,)),
        (lambda t, a: t.bitwise_and(a > 0, True), (3, 4)),
    )
    errors = (
        (lambda t, a, b: t.bitwise_and(a > 0, b > 0), (3,), (4,), RuntimeError, "(3,)"),
        (lambda t, a: t.bitwise_and(a, 1), (3,), NotImplementedError, "bitwise_and is not implemented for float"),
        (lambda t, a: t.bitwise_and(a.long(), 1.5), (3,), NotImplementedError, "is not implemented for float"),
    )
    ufunc = np.bitwise_and


def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """The bits that are 1 in both, for integers or bools, broadcast. NotImplementedError for floats."""
    return _bitwise(BitwiseAnd, "bitwise_and", input, other)


class BitwiseOr(_Ufunc):
    """y = the bits that are 1 in a or in b"""

    examples = ((lambda t, a, b: t.bitwise_or((8 * a).long(), (8 * b).int()), (3, 4), (4,)),)
    errors = ((lambda t, a: t.bitwise_or(a, 1), (3,), NotImplementedError, "bitwise_or is not implemented for float"),)
    ufunc = np.bitwise_or


def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """The bits that are 1 in either, for integers or bools, broadcast. NotImplementedError for floats."""
    return _bitwise(BitwiseOr, "bitwise_or", input, other)


class BitwiseXor(_Ufunc):
    """y = the bits in which a and b differ"""

    examples = ((lambda t, a, b: t.bitwise_xor((8 * a).long(), (8 * b).int()), (3, 4), (4,)),)
    errors = ((lambda t, a: t.bitwise_xor(a, 1), (3,), NotImplementedError, "bitwise_xor is not implemented"),)
    ufunc = np.bitwise_xor


def bitwise_xor(input: Operand, other: Operand) -> Tensor:
    """The bits in which they differ, for integers or bools, broadcast. NotImplementedError for floats."""
    return _bitwise(BitwiseXor, "bitwise_xor", input, other)


def _bitwise(function: type[Function], what: str, input: Operand, other: Operand) -> Tensor:
    if isinstance(input, (int, float)) and isinstance(other, (int, float)):
        raise TypeError(f"{what}: expected a Tensor beside a number, got two numbers")
    a, b = promote(input, other)
    if is_floating(a.array.dtype):
        raise NotImplementedError(f"{what} is not implemented for {a.dtype}")
    return function.apply(a, b)


# ---------------------------------------------------------------------- of whole tensors


class IsClose(Function):
    """y = [|a - b| <= atol + rtol |b|]"""

    examples = ((lambda t, a, b: t.isclose(a, b, rtol=0.5, atol=0.25), (3, 4), (4,)),)
    errors = ((lambda t, a: t.isclose(a, a.half()), (3,), RuntimeError, "dtypes must agree"),)

    @staticmethod
    def forward(ctx: IsClose, a: Array, b: Array, rtol: float, atol: float, equal_nan: bool) -> Any:
        return np.isclose(widened(a), widened(b), rtol, atol, equal_nan)


def allclose(
    input: Tensor,
    other: Tensor,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> bool:
    """Whether |input - other| <= atol + rtol |other| in every element."""
    return bool(np.allclose(elements_of(input), elements_of(other), rtol, atol, equal_nan))


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether |input - other| <= atol + rtol |other|, element by element."""
    if not (is_tensor(input) and is_tensor(other)):
        raise TypeError(f"isclose: expected two Tensors, got {type(input).__name__} and {type(other).__name__}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol and atol must not be negative, got {rtol} and {atol}")
    if input.dtype != other.dtype:
        raise RuntimeError(f"isclose: the dtypes must agree, got {input.dtype} and {other.dtype}")
    return IsClose.apply(input.detach(), other.detach(), rtol=rtol, atol=atol, equal_nan=equal_nan)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    return bool(np.array_equal(elements_of(input), elements_of(other)))
