"""Activation functions and dropout. The smooth functions that models use most are fused kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32, float64, is_floating
from ..engine.function import Function
from ..kernels import activation as kernels
from ..random import default_generator
from .common import Array, contiguous, create, floating, in_float32, only_floating
from .elementwise import where
from .fused import FusedFunction

if TYPE_CHECKING:
    from ..tensor import Tensor


def _on_flat(kernel: Callable[..., Any], *arrays: Array, **params: Any) -> Any:
    """Run a kernel on contiguous one-dimensional arrays; float16 and bfloat16 pass through float32."""
    dtype, shape = arrays[0].dtype, arrays[0].shape
    if dtype != float32 and dtype != float64:
        result = kernel(*[a.astype(np.float32, order="C").reshape(-1) for a in arrays], **params)
        result = tuple(r.astype(dtype) for r in result) if type(result) is tuple else result.astype(dtype)
    else:
        result = kernel(*[contiguous(a).reshape(-1) for a in arrays], **params)
    return tuple([r.reshape(shape) for r in result]) if type(result) is tuple else result.reshape(shape)


class Erf(Function):
    """y = (2/sqrt(pi)) integral from 0 to x of e^(-s^2) ds"""

    examples = ((lambda t, x: t.erf(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Erf, x: Array) -> Any:
        ctx.save(x)
        return _on_flat(kernels.erf, x)

    # dy/dx = (2/sqrt(pi)) e^(-x^2)
    @staticmethod
    def backward(ctx: Erf, g: Tensor) -> Any:
        (x,) = ctx.saved
        return g * (2 / math.sqrt(math.pi)) * (-x * x).exp()


def erf(input: Tensor) -> Tensor:
    """The error function."""
    return Erf.apply(floating(input))


class Tanh(Function):
    """y = (e^x - e^-x) / (e^x + e^-x)"""

    examples = ((lambda t, x: t.tanh(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Tanh, x: Array) -> Any:
        return ctx.save(np.tanh(x))

    # dy/dx = 1 - y^2
    @staticmethod
    def backward(ctx: Tanh, g: Tensor) -> Any:
        (y,) = ctx.saved
        return g * (1 - y * y)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return Tanh.apply(floating(input))


class Sigmoid(Function):
    """y = 1 / (1 + e^-x)"""

    examples = ((lambda t, x: t.sigmoid(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Sigmoid, x: Array) -> Any:
        return ctx.save(_on_flat(kernels.sigmoid, x))

    # dy/dx = e^-x / (1 + e^-x)^2 = y (1 - y)
    @staticmethod
    def backward(ctx: Sigmoid, g: Tensor) -> Any:
        (y,) = ctx.saved
        return g * (y * (1 - y))


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))"""
    return Sigmoid.apply(floating(input))


class Relu(Function):
    """y = max(x, 0)"""

    examples = ((lambda t, x: t.relu(x), (3, 4)),)
    errors = ((lambda t, x: t.relu(x > 0), (3,), RuntimeError, "relu is not implemented for bool"),)

    @staticmethod
    def forward(ctx: Relu, x: Array) -> Any:
        return ctx.save(_on_flat(kernels.relu, x) if is_floating(x.dtype) else np.maximum(x, 0))

    # dy/dx = [x > 0] = [y > 0]
    @staticmethod
    def backward(ctx: Relu, g: Tensor) -> Any:
        (y,) = ctx.saved
        return ReluBackward.apply(g, y)


def relu(input: Tensor) -> Tensor:
    """max(input, 0); the gradient at 0 is 0. Integers stay integers; RuntimeError for bools."""
    if input.array.dtype.kind == "b":
        raise RuntimeError("relu is not implemented for bool")
    return Relu.apply(input)


class ReluBackward(FusedFunction):
    """dx = [y > 0] g"""

    examples = ((lambda t, g: _relu_backward(t, g), (3, 4)),)
    errors = ()

    @staticmethod
    def composite(g: Tensor, y: Tensor) -> Any:
        return g.masked_fill(y <= 0, 0.0)

    @staticmethod
    def forward(ctx: ReluBackward, g: Array, y: Array) -> Any:
        ctx.save(g, y)
        return _on_flat(kernels.relu_backward, g, y)

    # with a the gradient of dx: dL/dg = [y > 0] a, dL/dy = 0, as dx is constant in y except where it jumps
    @staticmethod
    def backward(ctx: ReluBackward, a: Array) -> Any:
        _, y = ctx.saved
        return _on_flat(kernels.relu_backward, a, y), None


def _relu_backward(t: Any, g: Any) -> Any:
    """The gradient of relu as a function of its cotangent g."""
    x = t.tensor([[1.0, -1.0, 0.0, 0.5]], dtype=g.dtype, requires_grad=True)
    return t.autograd.grad(t.relu(x * t.ones_like(g)), x, g, create_graph=True)[0]


class LeakyRelu(FusedFunction):
    """y = x where x > 0, else a x"""

    examples = ((lambda t, x: t.nn.functional.leaky_relu(x, 0.1), (3, 4)),)
    errors = (
        (lambda t, x: t.nn.functional.leaky_relu(x.long()), (3,), RuntimeError, "not implemented for int64"),
        (lambda t, x: t.nn.functional.leaky_relu(x > 0), (3,), RuntimeError, "not implemented for bool"),
    )
    slope: float

    @staticmethod
    def composite(x: Tensor, slope: float) -> Any:
        return where(x > 0, x, x * slope)

    @staticmethod
    def forward(ctx: LeakyRelu, x: Array, slope: float) -> Any:
        ctx.slope = slope
        ctx.save(x)
        return _on_flat(kernels.leaky_relu, x, slope=slope)

    # dy/dx = 1 where x > 0, else a
    @staticmethod
    def backward(ctx: LeakyRelu, g: Array) -> Any:
        (x,) = ctx.saved
        return _on_flat(kernels.leaky_relu_backward, g, x, slope=ctx.slope)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """input where it is positive, else negative_slope * input."""
    return LeakyRelu.apply(only_floating("leaky_relu", input), slope=negative_slope)


class Softplus(Function):
    """y = ln(1 + e^(b x)) / b; x itself where b x is above the threshold"""

    examples = ((lambda t, x: t.nn.functional.softplus(x, beta=2.0), (3, 4)),)
    errors = (
        (lambda t, x: t.nn.functional.softplus(x.int()), (3,), RuntimeError, "not implemented for int32"),
        (lambda t, x: t.nn.functional.softplus(x > 0), (3,), RuntimeError, "not implemented for bool"),
    )
    beta: float
    threshold: float

    @staticmethod
    def forward(ctx: Softplus, x: Array, beta: float, threshold: float) -> Any:
        ctx.beta, ctx.threshold = beta, threshold
        ctx.save(x)
        z = x * beta
        # ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|), which cannot overflow
        soft = (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta
        return np.where(z > threshold, x, soft).astype(x.dtype)

    # dy/dx = e^(b x) / (1 + e^(b x)) = sigmoid(b x); 1 above the threshold
    @staticmethod
    def backward(ctx: Softplus, g: Tensor) -> Any:
        (x,) = ctx.saved
        z = x * ctx.beta
        return g * z.sigmoid().masked_fill(z > ctx.threshold, 1.0)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + exp(beta * input)) / beta, a smooth relu; linear above the threshold, as in PyTorch."""
    return Softplus.apply(only_floating("softplus", input), beta=beta, threshold=threshold)


def logsigmoid(input: Tensor) -> Tensor:
    """ln(1 / (1 + exp(-input))), which does not overflow."""
    return -softplus(-only_floating("logsigmoid", input), threshold=math.inf)


class Elu(Function):
    """y = x where x > 0, else a (e^x - 1)"""

    examples = ((lambda t, x: t.nn.functional.elu(x, 0.5), (3, 4)),)
    errors = ((lambda t, x: t.nn.functional.elu(x.long()), (3,), RuntimeError, "not implemented for int64"),)
    alpha: float

    @staticmethod
    def forward(ctx: Elu, x: Array, alpha: float) -> Any:
        ctx.alpha = alpha
        ctx.save(x)
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))  # what is not chosen must not overflow

    # dy/dx = 1 where x > 0, else a e^x
    @staticmethod
    def backward(ctx: Elu, g: Tensor) -> Any:
        (x,) = ctx.saved
        return g * (ctx.alpha * x.clamp(max=0).exp()).masked_fill(x > 0, 1.0)


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """input where it is positive, else alpha * (exp(input) - 1)."""
    return in_float32(Elu.apply, only_floating("elu", input), alpha=alpha)


class Gelu(FusedFunction):
    """y = x P(X <= x) for X ~ N(0, 1); or its approximation by tanh. Hendrycks and Gimpel 2016."""

    examples = (
        (lambda t, x: t.nn.functional.gelu(x), (3, 4)),
        (lambda t, x: t.nn.functional.gelu(x, approximate="tanh"), (3, 4)),
    )
    errors = (
        (lambda t, x: t.nn.functional.gelu(x.long()), (3,), RuntimeError, "gelu is not implemented for int64"),
        (lambda t, x: t.nn.functional.gelu(x > 0), (3,), RuntimeError, "gelu is not implemented for bool"),
        (lambda t, x: t.nn.functional.gelu(x, approximate="erf"), (3,), RuntimeError, "'none' or 'tanh', got 'erf'"),
    )
    tanh: bool

    @staticmethod
    def composite(x: Tensor, tanh: bool) -> Any:
        if tanh:
            return 0.5 * x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)).tanh())
        return 0.5 * x * (1 + (x * math.sqrt(0.5)).erf())

    @staticmethod
    def forward(ctx: Gelu, x: Array, tanh: bool) -> Any:
        ctx.tanh = tanh
        ctx.save(x)
        return _on_flat(kernels.gelu, x, tanh=tanh)

    # y = x F(x), so dy/dx = F(x) + x F'(x). The normal distribution has F'(x) = e^(-x^2/2) / sqrt(2 pi). Its
    # approximation is F(x) = (1 + tanh(u/2))/2 = sigmoid(u) with u = 2 sqrt(2/pi) (x + 0.044715 x^3), so
    # F'(x) = F(x) (1 - F(x)) du/dx
    @staticmethod
    def backward(ctx: Gelu, g: Array) -> Any:
        (x,) = ctx.saved
        return _on_flat(kernels.gelu_backward, g, x, tanh=ctx.tanh)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input times its normal cumulative distribution function; approximate="tanh" gives GPT-2's form."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return Gelu.apply(only_floating("gelu", input), tanh=approximate == "tanh")


class Silu(FusedFunction):
    """y = x sigmoid(x)"""

    examples = ((lambda t, x: t.nn.functional.silu(x), (3, 4)),)
    errors = (
        (lambda t, x: t.nn.functional.silu(x.long()), (3,), RuntimeError, "silu is not implemented for int64"),
        (lambda t, x: t.nn.functional.silu(x > 0), (3,), RuntimeError, "silu is not implemented for bool"),
    )

    @staticmethod
    def composite(x: Tensor) -> Any:
        return x * x.sigmoid()

    @staticmethod
    def forward(ctx: Silu, x: Array) -> Any:
        ctx.save(x)
        return _on_flat(kernels.silu, x)

    # with s = sigmoid(x): dy/dx = s + x s (1 - s)
    @staticmethod
    def backward(ctx: Silu, g: Array) -> Any:
        (x,) = ctx.saved
        return _on_flat(kernels.silu_backward, g, x)


def silu(input: Tensor) -> Tensor:
    """input * sigmoid(input)"""
    return Silu.apply(only_floating("silu", input))


class Swiglu(FusedFunction):
    """y = gate sigmoid(gate) up. Shazeer 2020."""

    examples = ((lambda t, gate, up: _swiglu(t)(gate, up), (3, 4), (3, 4)),)
    errors = (
        (lambda t, gate, up: _swiglu(t)(gate, up), (3,), (4,), RuntimeError, "gate and up of one shape and dtype"),
        (lambda t, gate: _swiglu(t)(gate, gate[:1]), (3,), RuntimeError, "one shape and dtype", "broadcasts there"),
        (lambda t, gate: _swiglu(t)(gate.long(), gate.long()), (3,), RuntimeError, "not implemented for int64"),
    )

    @staticmethod
    def composite(gate: Tensor, up: Tensor) -> Any:
        return gate * gate.sigmoid() * up

    @staticmethod
    def forward(ctx: Swiglu, gate: Array, up: Array) -> Any:
        ctx.save(gate, up)
        return _on_flat(kernels.swiglu, gate, up)

    # with s = sigmoid(gate): dL/dgate = g up (s + gate s (1 - s)), dL/dup = g gate s
    @staticmethod
    def backward(ctx: Swiglu, g: Array) -> Any:
        return _on_flat(kernels.swiglu_backward, g, *ctx.saved)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, both of one shape and dtype: what a Llama's feed-forward layer computes between its products."""
    if gate.array.shape != up.array.shape or gate.array.dtype != up.array.dtype:
        what = f"{gate.dtype} {tuple(gate.shape)} and {up.dtype} {tuple(up.shape)}"
        raise RuntimeError(f"swiglu: expected gate and up of one shape and dtype, got {what}")
    return Swiglu.apply(only_floating("swiglu", gate), up)


def _swiglu(t: Any) -> Any:
    # PyTorch has no such function.
    return swiglu if t.__name__ == "tinytorch" else lambda gate, up: t.nn.functional.silu(gate) * up


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p, and divide the others by 1 - p (Srivastava et al. 2014).

    Returns the input itself if not training or p = 0. Draws from the default generator. RuntimeError for integers.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    return _dropped(only_floating("dropout", input), p, inplace)


def _dropped(input: Tensor, p: float, inplace: bool) -> Tensor:
    dtype = float64 if input.dtype == float64 else float32
    shape = input.shape
    kept = default_generator.draw(lambda stream: stream.random(shape, dtype)) >= p
    # p = 1 keeps nothing: any finite factor will do.
    mask = create(lambda: (kept * dtype.type(1.0 / (1.0 - p) if p < 1.0 else 0.0)).astype(input.dtype))
    return input.mul_(mask) if inplace else input * mask
