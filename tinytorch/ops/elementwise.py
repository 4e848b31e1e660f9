"""Arithmetic and functions applied to each element.

L is the loss, g = dL/dy the gradient of the output y. Backward is written in Tensor arithmetic, so
it can be differentiated again. The walk sums over broadcast dimensions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DType, as_number
from ..engine.function import Function
from ..engine.tensor import wrap
from ..kernels.launch import aligned_copy
from .common import Array, as_input, floating, in_float32, is_tensor, only_floating, promote, python_number
from .selecting import nonzero

if TYPE_CHECKING:
    from ..tensor import Tensor

_SMALL = 1 << 16  # elements: fewer are copied by NumPy, without a look at where the copy begins


class Exp(Function):
    """y = e^x"""

    examples = ((lambda t, x: t.exp(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Exp, x: Array) -> Any:
        return ctx.save(np.exp(x))

    # dy/dx = e^x = y
    @staticmethod
    def backward(ctx: Exp, g: Tensor) -> Any:
        (y,) = ctx.saved
        return g * y


def exp(input: Tensor) -> Tensor:
    """e ** input"""
    return Exp.apply(floating(input))


class Expm1(Function):
    """y = e^x - 1"""

    examples = ((lambda t, x: t.expm1(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Expm1, x: Array) -> Any:
        return ctx.save(np.expm1(x))

    # dy/dx = e^x = y + 1
    @staticmethod
    def backward(ctx: Expm1, g: Tensor) -> Any:
        (y,) = ctx.saved
        return g * (y + 1)


def expm1(input: Tensor) -> Tensor:
    """e ** input - 1, accurate for small inputs too."""
    return Expm1.apply(floating(input))


class Log(Function):
    """y = ln x"""

    examples = ((lambda t, x: t.log(x.abs() + 0.5), (3, 4)),)

    @staticmethod
    def forward(ctx: Log, x: Array) -> Any:
        ctx.save(x)
        return np.log(x)

    # dy/dx = 1/x
    @staticmethod
    def backward(ctx: Log, g: Tensor) -> Any:
        (x,) = ctx.saved
        return g / x


def log(input: Tensor) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below."""
    return Log.apply(floating(input))


class Log1p(Function):
    """y = ln(1 + x)"""

    examples = ((lambda t, x: t.log1p(x.abs()), (3, 4)),)

    @staticmethod
    def forward(ctx: Log1p, x: Array) -> Any:
        ctx.save(x)
        return np.log1p(x)

    # dy/dx = 1/(1 + x)
    @staticmethod
    def backward(ctx: Log1p, g: Tensor) -> Any:
        (x,) = ctx.saved
        return g / (x + 1)


def log1p(input: Tensor) -> Tensor:
    """ln(1 + input), accurate for small inputs too."""
    return Log1p.apply(floating(input))


class Log2(Function):
    """y = log_2 x"""

    examples = ((lambda t, x: t.log2(x.abs() + 0.5), (3, 4)),)

    @staticmethod
    def forward(ctx: Log2, x: Array) -> Any:
        ctx.save(x)
        return np.log2(x)

    # y = ln x / ln 2, so dy/dx = 1/(x ln 2)
    @staticmethod
    def backward(ctx: Log2, g: Tensor) -> Any:
        (x,) = ctx.saved
        return g / (x * math.log(2))


def log2(input: Tensor) -> Tensor:
    """Logarithm to base 2; -inf at 0, NaN below."""
    return Log2.apply(floating(input))


class Log10(Function):
    """y = log_10 x"""

    examples = ((lambda t, x: t.log10(x.abs() + 0.5), (3, 4)),)

    @staticmethod
    def forward(ctx: Log10, x: Array) -> Any:
        ctx.save(x)
        return np.log10(x)

    # y = ln x / ln 10, so dy/dx = 1/(x ln 10)
    @staticmethod
    def backward(ctx: Log10, g: Tensor) -> Any:
        (x,) = ctx.saved
        return g / (x * math.log(10))


def log10(input: Tensor) -> Tensor:
    """Logarithm to base 10; -inf at 0, NaN below."""
    return Log10.apply(floating(input))


class LogAddExp(Function):
    """y = ln(e^a + e^b)"""

    examples = ((lambda t, a, b: t.logaddexp(a, b), (3, 4), (4,)),)
    errors = (
        (lambda t, a, b: t.logaddexp(a, b), (3,), (4,), RuntimeError, "(3,)"),
        (lambda t, a: t.logaddexp(a, 0.0), (3,), TypeError, "logaddexp: expected two Tensors, got Tensor and float"),
        (lambda t, a: t.logaddexp(0, a), (3,), TypeError, "logaddexp: expected two Tensors, got int and Tensor"),
        (lambda t, a: t.logaddexp(a.long(), a.long()), (3,), RuntimeError, "logaddexp is not implemented for"),
    )

    @staticmethod
    def forward(ctx: LogAddExp, a: Array, b: Array) -> Any:
        ctx.save(a, b)
        return np.logaddexp(a, b)

    # dy/da = e^a / (e^a + e^b) = 1/(1 + e^(b - a)) = sigmoid(a - b), and dy/db = sigmoid(b - a), as y is symmetric
    @staticmethod
    def backward(ctx: LogAddExp, g: Tensor) -> Any:
        a, b = ctx.saved
        need_a, need_b = ctx.needs_input_grad
        return g * (a - b).sigmoid() if need_a else None, g * (b - a).sigmoid() if need_b else None


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """ln(e ** input + e ** other), even if a power is too large or too small for the dtype.

    TypeError for a number, RuntimeError for two Tensors of integers. Where both are the same infinity, the gradient is
    NaN.
    """
    if not is_tensor(input) or not is_tensor(other):
        names = f"{type(input).__name__} and {type(other).__name__}"
        raise TypeError(f"logaddexp: expected two Tensors, got {names}: make a Tensor of a number with tensor()")
    a, b = promote(input, other)
    return LogAddExp.apply(only_floating("logaddexp", a), b)


class Sqrt(Function):
    """y = x^(1/2)"""

    examples = ((lambda t, x: t.sqrt(x.abs() + 0.5), (3, 4)),)

    @staticmethod
    def forward(ctx: Sqrt, x: Array) -> Any:
        return ctx.save(np.sqrt(x))

    # dy/dx = 1/(2 y): infinite at 0
    @staticmethod
    def backward(ctx: Sqrt, g: Tensor) -> Any:
        (y,) = ctx.saved
        return g / (2 * y)


def sqrt(input: Tensor) -> Tensor:
    """Square root; the gradient at 0 is infinite."""
    return Sqrt.apply(floating(input))


class Rsqrt(Function):
    """y = x^(-1/2)"""

    examples = ((lambda t, x: t.rsqrt(x.abs() + 0.5), (3, 4)),)

    @staticmethod
    def forward(ctx: Rsqrt, x: Array) -> Any:
        return ctx.save(np.reciprocal(np.sqrt(x)))  # beside 1, older versions of NumPy widen bfloat16

    # dy/dx = -x^(-3/2)/2 = -y^3/2
    @staticmethod
    def backward(ctx: Rsqrt, g: Tensor) -> Any:
        (y,) = ctx.saved
        return -0.5 * g * y * y * y


def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input)"""
    return Rsqrt.apply(floating(input))


class Sin(Function):
    """y = sin x"""

    examples = ((lambda t, x: t.sin(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Sin, x: Array) -> Any:
        ctx.save(x)
        return np.sin(x)

    # dy/dx = cos x
    @staticmethod
    def backward(ctx: Sin, g: Tensor) -> Any:
        (x,) = ctx.saved
        return g * x.cos()


def sin(input: Tensor) -> Tensor:
    """Sine of radians."""
    return Sin.apply(floating(input))


class Cos(Function):
    """y = cos x"""

    examples = ((lambda t, x: t.cos(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Cos, x: Array) -> Any:
        ctx.save(x)
        return np.cos(x)

    # dy/dx = -sin x
    @staticmethod
    def backward(ctx: Cos, g: Tensor) -> Any:
        (x,) = ctx.saved
        return -g * x.sin()


def cos(input: Tensor) -> Tensor:
    """Cosine of radians."""
    return Cos.apply(floating(input))


class Where(Function):
    """y = a where the condition holds, else b"""

    examples = (
        (lambda t, a, b: t.where(t.tensor([True, False, True, False]), a, b), (3, 4), (3, 1)),
        (lambda t, a: t.where(t.tensor([True, False, True, False]), a, -1.5), (3, 4)),
        (lambda t, x, v: x.masked_fill(t.tensor([True, False, True, False]), v), (3, 4), ()),
    )
    errors = (
        (lambda t, x: t.where(x, x, x), (3,), RuntimeError, "expected condition to be a boolean tensor"),
        (lambda t, x: t.where(x > 0, x, t.zeros(4)), (3,), RuntimeError, "(3,)"),
        (lambda t, x: x.masked_fill(x, 0.0), (3,), RuntimeError, "only supports boolean masks"),
        (lambda t, x, v: x.masked_fill(x > 0, v), (3,), (1,), RuntimeError, "0-dimensional value tensor"),
        (lambda t, x: x.masked_fill(x > 0, None), (3,), TypeError, "expected a number or a Tensor, got NoneType"),
        (lambda t, x: x.long().masked_fill(x > 0, np.nan), (3,), RuntimeError, "nan cannot be converted to type int64"),
        (lambda t, x: x.to(t.uint8).masked_fill(x > 0, 300), (3,), RuntimeError, "300 cannot be converted"),
    )
    long_examples = (
        (lambda t, a, b: t.where(t.zeros(10_000, dtype=t.bool), a, b), (10_000,), ()),
        (lambda t, a, b: t.where(t.ones(10_000, dtype=t.bool), a, b), (2, 1), (10_000,)),
    )

    @staticmethod
    def forward(ctx: Where, condition: Array, a: Array, b: Array) -> Any:
        ctx.save(condition)
        return np.where(condition, a, b)

    # dy/da = [condition], dy/db = [not condition]: chosen, not multiplied, so that a NaN on one side stays there
    @staticmethod
    def backward(ctx: Where, g: Tensor) -> Any:
        (condition,) = ctx.saved
        _, need_a, need_b = ctx.needs_input_grad
        zero = wrap(np.zeros((), g.array.dtype))
        da = Where.apply(condition, g, zero) if need_a else None
        return None, da, Where.apply(condition, zero, g) if need_b else None


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """input where the condition (bool, or uint8, which PyTorch still accepts; broadcast) holds, else other.

    Without input and other: the coordinates of the nonzero elements, like nonzero(as_tuple=True).
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    a, b = promote(input, other, checked=True)
    condition = as_input(condition, a, b)
    if condition.dtype == np.uint8:
        condition = condition != 0
    if condition.dtype.kind != "b":
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    return Where.apply(condition, a, b)


def masked_fill(input: Tensor, mask: Any, value: Any) -> Tensor:
    """input with `value`, a number or a 0-d Tensor, wherever the mask (bool, broadcast) is True.

    RuntimeError if the value does not fit the dtype of input.
    """
    mask = as_input(mask, input, value)
    if mask.array.dtype.kind != "b":
        raise RuntimeError(f"masked_fill only supports boolean masks, but got mask with dtype {mask.dtype}")
    if is_tensor(value) and value.ndim:
        raise RuntimeError(
            f"masked_fill only supports a 0-dimensional value tensor, but got shape {tuple(value.shape)}"
        )
    return Where.apply(mask, cast("masked_fill", value, input.array.dtype), input)


def cast(what: str, value: Any, dtype: DType) -> Tensor:
    """A number or a Tensor, cast to a dtype. RuntimeError if the number does not fit."""
    if is_tensor(value):
        return value.to(dtype)
    if type(value) not in (int, float):
        if not isinstance(value, (int, float, np.generic, np.ndarray)) or np.ndim(value):
            raise TypeError(f"{what}: expected a number or a Tensor, got {type(value).__name__}")
        value = python_number(value)
    return wrap(as_number(value, dtype))


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), weight a number or a Tensor."""
    if input.dtype != end.dtype or (is_tensor(weight) and weight.dtype != input.dtype):
        found = ", ".join(str(x.dtype) for x in (input, end, weight) if is_tensor(x))
        raise RuntimeError(f"lerp: input, end and a weight must have one dtype, got {found}")
    only_floating("lerp", input)
    return in_float32(_lerp, input, end, weight)


def _lerp(a: Tensor, b: Tensor, w: Any) -> Tensor:
    """From the nearer end, so that weight 1 gives just that."""
    if is_tensor(w):
        return where(w.abs() < 0.5, a + w * (b - a), b - (b - a) * (1 - w))
    return a + w * (b - a) if abs(w) < 0.5 else b - (b - a) * (1 - w)


class To(Function):
    """y = x in another dtype"""

    backward_shares = True
    examples = ((lambda t, x: x.to(t.float64) * 2, (3, 4)),)
    errors = ((lambda t, x: x.to("float8"), (3,), RuntimeError, "device 'float8' is not available"),)

    @staticmethod
    def forward(ctx: To, x: Array, dtype: DType) -> Any:
        return x.astype(dtype)

    # dy/dx = 1; the walk casts g back to the dtype of x
    @staticmethod
    def backward(ctx: To, g: Tensor) -> Any:
        return g


class Clone(Function):
    """y = x, in memory of its own"""

    backward_shares = True
    examples = ((lambda t, x: x.clone(), (3, 4)),)

    @staticmethod
    def forward(ctx: Clone, x: Array) -> Any:
        return x.copy() if x.size < _SMALL else aligned_copy(x)

    # dy/dx = 1
    @staticmethod
    def backward(ctx: Clone, g: Tensor) -> Any:
        return g
