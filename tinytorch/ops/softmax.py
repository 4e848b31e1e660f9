"""softmax and log_softmax along one dimension, and logsumexp, the logarithm of what they divide by.

The first two save their output, not their input, so each has a backward that is a function of its own, such as
`SoftmaxBackward`, whose inputs are what was saved: from that comes the second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DTypeLike
from ..engine.function import Function
from ..kernels import softmax as kernels
from .common import (
    Array,
    Dims,
    as_array,
    contiguous,
    floating,
    in_float32,
    normalize_dim,
    only_floating,
    total,
)
from .fused import FusedFunction
from .reduction import reduced, spread

if TYPE_CHECKING:
    from ..tensor import Tensor


class Softmax(Function):
    """y_i = e^(x_i) / sum_k e^(x_k); 0 where every x_k is -inf"""

    examples = ((lambda t, x: t.softmax(x, dim=-1), (3, 4)), (lambda t, x: x.softmax(0), (3, 4)))
    errors = (
        (lambda t, x: x.softmax(2), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.softmax(), (3, 4), TypeError, "give the dimension"),
        (lambda t, x: x.softmax(1, dtype=t.int64), (3, 4), RuntimeError, "softmax is not implemented for int64"),
        (lambda t, x: x.long().softmax(1), (3, 4), RuntimeError, "softmax is not implemented for int64"),
    )
    dim: int

    @staticmethod
    def composite(x: Tensor, dim: int) -> Any:
        e = (x - _largest(x, dim)).exp()
        s = e.sum(dim, keepdim=True)
        return e / s.masked_fill(s == 0, 1.0)

    @staticmethod
    def forward(ctx: Softmax, x: Array, dim: int) -> Any:
        ctx.dim = dim
        return ctx.save(_on_rows(kernels.softmax, dim, x))

    # dy_i/dx_j = y_i ([i = j] - y_j), so
    # dL/dx_j = sum_i g_i y_i ([i = j] - y_j) = y_j (g_j - sum_i g_i y_i)
    @staticmethod
    def backward(ctx: Softmax, g: Tensor) -> Any:
        (y,) = ctx.saved
        return SoftmaxBackward.apply(g, y, dim=ctx.dim)


def softmax(input: Tensor, dim: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """Exponentials along dim, divided by their sum. A row of -inf gives zeros, forward and backward.

    PyTorch's softmax makes such a row NaN, its attention zero; here both are zero. A row without a finite score comes
    from attention that may look at nothing, as in padding, and NaN would spread from there to every weight. Whatever
    needs a distribution notices all the same: `multinomial` refuses such a row, and its logarithm is -inf.
    """
    return _along("softmax", Softmax, input, dim, dtype)


class SoftmaxBackward(FusedFunction):
    """dx_j = y_j (g_j - sum_i g_i y_i)"""

    examples = ((lambda t, g, x: _gradient(t, x.softmax(1), x, g), (3, 4), (3, 4)),)
    errors = ()
    dim: int

    @staticmethod
    def composite(g: Tensor, y: Tensor, dim: int) -> Any:
        return y * (g - (g * y).sum(dim, keepdim=True))

    @staticmethod
    def forward(ctx: SoftmaxBackward, g: Array, y: Array, dim: int) -> Any:
        ctx.dim = dim
        ctx.save(g, y)
        return _on_rows(kernels.softmax_backward, dim, g, y)

    # with a the gradient of dx: dL/dg_j = y_j (a_j - sum_i a_i y_i)
    # dL/dy_j = a_j (g_j - sum_i g_i y_i) - g_j sum_i a_i y_i
    @staticmethod
    def backward(ctx: SoftmaxBackward, a: Array) -> Any:
        g, y = ctx.saved
        inner = total(a * y, (ctx.dim,), keepdims=True)
        return y * (a - inner), a * (g - total(g * y, (ctx.dim,), keepdims=True)) - g * inner


class LogSoftmax(Function):
    """y_i = x_i - ln sum_k e^(x_k); -inf where every x_k is"""

    examples = ((lambda t, x: t.log_softmax(x, dim=-1), (3, 4)), (lambda t, x: x.log_softmax(0), (3, 4)))
    errors = (
        (lambda t, x: x.log_softmax(-3), (3, 4), IndexError, "but got -3"),
        (lambda t, x: x.log_softmax(), (3, 4), TypeError, "give the dimension"),
    )
    dim: int

    @staticmethod
    def composite(x: Tensor, dim: int) -> Any:
        z = x - _largest(x, dim)
        s = z.exp().sum(dim, keepdim=True)
        return (z - s.masked_fill(s == 0, 1.0).log()).masked_fill(s == 0, -np.inf)

    @staticmethod
    def forward(ctx: LogSoftmax, x: Array, dim: int) -> Any:
        ctx.dim = dim
        return ctx.save(_on_rows(kernels.log_softmax, dim, x))

    # dy_i/dx_j = [i = j] - e^(x_j) / sum_k e^(x_k) = [i = j] - e^(y_j), so
    # dL/dx_j = sum_i g_i ([i = j] - e^(y_j)) = g_j - e^(y_j) sum_i g_i
    @staticmethod
    def backward(ctx: LogSoftmax, g: Tensor) -> Any:
        (y,) = ctx.saved
        return LogSoftmaxBackward.apply(g, y, dim=ctx.dim)


def log_softmax(input: Tensor, dim: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """The logarithm of softmax, in one step and without overflow: -inf in a row of -inf."""
    return _along("log_softmax", LogSoftmax, input, dim, dtype)


class LogSoftmaxBackward(FusedFunction):
    """dx_j = g_j - e^(y_j) sum_i g_i; 0 where every y_i is -inf"""

    examples = ((lambda t, g, x: _gradient(t, x.log_softmax(1), x, g), (3, 4), (3, 4)),)
    errors = ()
    dim: int

    @staticmethod
    def composite(g: Tensor, y: Tensor, dim: int) -> Any:
        p = y.exp()
        return (g - p * g.sum(dim, keepdim=True)).masked_fill(p.sum(dim, keepdim=True) == 0, 0.0)

    @staticmethod
    def forward(ctx: LogSoftmaxBackward, g: Array, y: Array, dim: int) -> Any:
        ctx.dim = dim
        ctx.save(g, y)
        return _on_rows(kernels.log_softmax_backward, dim, g, y)

    # with a the gradient of dx: dL/dg_j = a_j - sum_i a_i e^(y_i), 0 where dx is; dL/dy_j = -a_j e^(y_j) sum_i g_i
    @staticmethod
    def backward(ctx: LogSoftmaxBackward, a: Array) -> Any:
        g, y = ctx.saved
        dims, p = (ctx.dim,), np.exp(y)
        ap = a * p
        dg = np.where(total(p, dims, keepdims=True) == 0, a.dtype.type(0), a - total(ap, dims, keepdims=True))
        return dg, -ap * total(g, dims, keepdims=True)


def _largest(x: Tensor, dim: int) -> Tensor | float:
    """What softmax and log_softmax subtract, so that e^x cannot overflow: a constant, as no result depends on it."""
    if not x.numel():
        return 0.0
    m = x.detach().amax(dim, keepdim=True)
    return m.masked_fill(m == -np.inf, 0.0)


def _along(name: str, function: type[Function], input: Tensor, dim: int | None, dtype: DTypeLike | None) -> Tensor:
    if dim is None:
        raise TypeError(f"{name}: give the dimension, such as dim=-1: a default would easily be the wrong one")
    input = only_floating(name, input if dtype is None else input.to(dtype))
    return in_float32(function.apply, input, dim=normalize_dim(dim, input.ndim))


def _on_rows(kernel: Callable[..., Any], dim: int, *arrays: Array) -> Array:
    """Run a kernel on contiguous rows (N, C) that lie along `dim`."""
    first = arrays[0]
    if first.ndim == 0:
        return _on_rows(kernel, 0, *[a.reshape(1) for a in arrays]).reshape(())
    if dim != first.ndim - 1:
        y = _on_rows(kernel, first.ndim - 1, *[np.moveaxis(a, dim, -1) for a in arrays])
        return contiguous(np.moveaxis(y, -1, dim))  # as in PyTorch, so that view() works on it
    shape = first.shape
    rows = first.size // shape[-1] if first.size else 0, shape[-1]
    return kernel(*[(a if a.flags.c_contiguous else a.copy()).reshape(rows) for a in arrays]).reshape(shape)


def _gradient(t: Any, y: Any, x: Any, cotangent: Any) -> Any:
    """The gradient of y as a function of its cotangent, for the examples."""
    return t.autograd.grad(y, x, cotangent, create_graph=True)[0]


class LogSumExp(Function):
    """y = ln sum_i e^(x_i)"""

    examples = ((lambda t, x: x.logsumexp(1), (3, 4)), (lambda t, x: t.logsumexp(x, (0, 1), keepdim=True), (3, 4)))
    errors = (
        (lambda t, x: x.logsumexp(2), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.logsumexp((1, -1)), (3, 4), RuntimeError, "names a dimension twice"),
    )
    dims: tuple[int, ...]
    keepdim: bool

    @staticmethod
    def forward(ctx: LogSumExp, x: Array, dims: tuple[int, ...], keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim = dims, keepdim
        # e^(x - m) cannot overflow; an infinite m would make inf - inf
        m = np.max(x, axis=dims, keepdims=True, initial=-np.inf)
        m = np.where(np.isfinite(m), m, 0).astype(x.dtype)
        y = as_array(np.log(total(np.exp(x - m), dims, keepdims=True)) + m)
        y = y if keepdim else y.reshape(np.squeeze(y, dims).shape)
        ctx.save(x, y)
        return y

    # dy/dx_i = e^(x_i) / sum_j e^(x_j) = e^(x_i - y), and 0 where y = -inf
    @staticmethod
    def backward(ctx: LogSumExp, g: Tensor) -> Any:
        x, y = ctx.saved
        y = y.masked_fill(y == -np.inf, 0.0)
        return spread(g, ctx) * (x - spread(y, ctx)).exp()


def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False, **aliases: Dims) -> Tensor:
    """ln of the sum of exponentials, without overflow; -inf for a row of -inf, with gradient 0."""
    return in_float32(lambda x: reduced(LogSumExp, x, dim, keepdim, aliases), floating(input))
