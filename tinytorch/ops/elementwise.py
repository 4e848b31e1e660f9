"""Arithmetic and functions applied to each element.

L is the loss, g = dL/dy the gradient of the output y. Backward is written in Tensor arithmetic, so
it can be differentiated again. The walk sums over broadcast dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..dtypes import as_number, result_type
from ..function import Function
from .common import as_array, floating, is_tensor, owned, promote, python_number, wrap

if TYPE_CHECKING:
    from ..tensor import Tensor


class Exp(Function):
    """y = e^x"""

    arrays_too = True
    examples = ((lambda t, x: t.exp(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return ctx.save(np.exp(x))

    # dy/dx = e^x = y
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved
        return g * y


class Expm1(Function):
    """y = e^x - 1"""

    examples = ((lambda t, x: t.expm1(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return ctx.save(np.expm1(x))

    # dy/dx = e^x = y + 1
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved
        return g * (y + 1)


class Log(Function):
    """y = ln x"""

    arrays_too = True
    examples = ((lambda t, x: t.log(x.abs() + 0.5), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return np.log(x)

    # dy/dx = 1/x
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g / x


class Log1p(Function):
    """y = ln(1 + x)"""

    examples = ((lambda t, x: t.log1p(x.abs()), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return np.log1p(x)

    # dy/dx = 1/(1 + x)
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g / (x + 1)


class Sqrt(Function):
    """y = x^(1/2)"""

    examples = ((lambda t, x: t.sqrt(x.abs() + 0.5), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return ctx.save(np.sqrt(x))

    # dy/dx = 1/(2 y): infinite at 0
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved
        return g / (2 * y)


class Rsqrt(Function):
    """y = x^(-1/2)"""

    examples = ((lambda t, x: t.rsqrt(x.abs() + 0.5), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return ctx.save(1 / np.sqrt(x))

    # dy/dx = -x^(-3/2)/2 = -y^3/2
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved
        return -0.5 * g * y * y * y


class Sin(Function):
    """y = sin x"""

    examples = ((lambda t, x: t.sin(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return np.sin(x)

    # dy/dx = cos x
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g * x.cos()


class Cos(Function):
    """y = cos x"""

    examples = ((lambda t, x: t.cos(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return np.cos(x)

    # dy/dx = -sin x
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return -g * x.sin()


class Maximum(Function):
    """y = max(a, b)"""

    examples: ClassVar[Any] = ((lambda t, a, b: t.maximum(a, b), (3, 4), (4,)),)
    pick: ClassVar[np.ufunc] = np.maximum

    @classmethod
    def _weight_of_first(cls, a: Any, b: Any) -> Any:
        """1 where a was taken, 0 where b was, 1/2 where they are equal."""
        won = a > b if cls.pick is np.maximum else a < b
        return (won + 0.5 * (a == b)).astype(a.dtype)

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save(ctx._weight_of_first(a, b))
        return ctx.pick(a, b)

    # dy/da = [a > b] + [a = b]/2, dy/db = 1 - dy/da
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (weight,) = ctx.saved
        return g * weight, g * (1 - weight)


class Minimum(Maximum):
    """y = min(a, b)"""

    examples = ((lambda t, a, b: t.minimum(a, b), (3, 1), (1, 4)),)
    pick = np.minimum


class Where(Function):
    """y = a where the condition holds, else b"""

    arrays_too = True
    examples = ((lambda t, a, b: t.where(t.tensor([True, False, True, False]), a, b), (3, 4), (3, 1)),)
    long_examples = (
        (lambda t, a, b: t.where(t.zeros(10_000, dtype=t.bool), a, b), (10_000,), ()),
        (lambda t, a, b: t.where(t.ones(10_000, dtype=t.bool), a, b), (2, 1), (10_000,)),
    )

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any, condition: Any) -> Any:
        ctx.condition = owned(ctx, condition)
        return np.where(condition, a, b)

    # dy/da = [condition], dy/db = [not condition]: chosen, not multiplied, so that a NaN on one side stays there
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        zero = np.zeros((), g.dtype)
        need_a, need_b = ctx.needs_input_grad
        da = Where.of(g, zero, condition=ctx.condition) if need_a else None
        return da, Where.of(zero, g, condition=ctx.condition) if need_b else None


class Clamp(Function):
    """y = x held between low and high (either may be None)"""

    examples = ((lambda t, x: x.clamp(-0.5, 0.5), (3, 4)), (lambda t, x: x.clamp(min=0.1), (3,)))

    @staticmethod
    def forward(ctx: Any, x: Any, low: Any, high: Any) -> Any:
        inside = np.ones(x.shape, np.bool_, like=x)
        if low is not None:
            inside &= x >= low
        if high is not None:
            inside &= x <= high
        ctx.save(inside)
        # low first: where low > high, the result is high
        y = x if low is None else np.maximum(x, low)
        return y if high is None else np.minimum(y, high)

    # dy/dx = [low <= x <= high]
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (inside,) = ctx.saved
        return g * inside


class To(Function):
    """y = x in another dtype"""

    examples = ((lambda t, x: x.to(t.float64) * 2, (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any, dtype: Any) -> Any:
        return x.astype(dtype)

    # dy/dx = 1; the walk casts g back to the dtype of x
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


class Clone(Function):
    """y = x, in memory of its own"""

    examples = ((lambda t, x: x.clone(), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.copy()

    # dy/dx = 1
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


def exp(input: Tensor) -> Tensor:
    """e ** input"""
    return Exp.apply(floating(input))


def expm1(input: Tensor) -> Tensor:
    """e ** input - 1, exact also for small inputs."""
    return Expm1.apply(floating(input))


def log(input: Tensor) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below."""
    return Log.apply(floating(input))


def log1p(input: Tensor) -> Tensor:
    """ln(1 + input), exact also for small inputs."""
    return Log1p.apply(floating(input))


def sqrt(input: Tensor) -> Tensor:
    """Square root; the gradient at 0 is infinite."""
    return Sqrt.apply(floating(input))


def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input)"""
    return Rsqrt.apply(floating(input))


def sin(input: Tensor) -> Tensor:
    """Sine of radians."""
    return Sin.apply(floating(input))


def cos(input: Tensor) -> Tensor:
    """Cosine of radians."""
    return Cos.apply(floating(input))


def maximum(input: Any, other: Any) -> Tensor:
    """The larger of two, element by element; NaN if either is. Equal elements share the gradient."""
    return Maximum.apply(*promote(input, other))


def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of two, element by element; NaN if either is. Equal elements share the gradient."""
    return Minimum.apply(*promote(input, other))


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """input where the condition (bool, broadcast) holds, else other."""
    condition = as_array(condition)
    if condition.dtype.kind != "b":
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    return Where.apply(*promote(input, other, checked=True), condition=condition)


def masked_fill(input: Tensor, mask: Any, value: Any) -> Tensor:
    """input with `value` wherever the mask (bool, broadcastable to input) is True."""
    mask = as_array(mask)
    if mask.dtype.kind != "b":
        raise RuntimeError(f"masked_fill only supports boolean masks, but got mask with dtype {mask.dtype}")
    return Where.apply(cast("masked_fill", value, input.dtype), input, condition=mask)


def cast(what: str, value: Any, dtype: Any) -> Tensor:
    """A number or a Tensor in a dtype. RuntimeError where the number does not fit."""
    if is_tensor(value):
        tensor: Tensor = value.to(dtype)
        return tensor
    if not isinstance(value, (int, float, np.generic, np.ndarray)) or np.ndim(value):
        raise TypeError(f"{what}: expected a number or a Tensor, got {type(value).__name__}")
    return wrap(as_number(python_number(value), dtype))


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """input held between min and max, each a number, a Tensor or None. On a bound the gradient is 1."""
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must not be None")
    if hasattr(min, "array") or hasattr(max, "array"):
        result = input if min is None else where(input < min, min, input)
        return result if max is None else where(result > max, max, result)
    for bound in (min, max):
        input = input if bound is None else input.to(result_type(input, bound))
    low, high = [None if bound is None else cast("clamp", bound, input.dtype).array for bound in (min, max)]
    return Clamp.apply(input, low=low, high=high)
