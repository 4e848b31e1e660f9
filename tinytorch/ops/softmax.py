"""softmax and log_softmax along one dimension.

Each saves its output, not its input, so its backward is a function of its own, `SoftmaxBackward`,
whose inputs are what was saved: that is what makes the second derivative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..function import Function, FusedFunction
from ..kernels import softmax as kernels
from .common import contiguous, in_float32, normalize_dim, only_floating, total

if TYPE_CHECKING:
    from ..tensor import Tensor


def _on_rows(kernel: Any, dim: int, *arrays: Any) -> Any:
    """Run a kernel on contiguous rows (N, C) that lie along `dim`."""
    first = arrays[0]
    if first.ndim == 0:
        return _on_rows(kernel, 0, *[a.reshape(1) for a in arrays]).reshape(())
    last = dim == first.ndim - 1
    moved = arrays if last else [np.moveaxis(a, dim, -1) for a in arrays]
    shape = moved[0].shape
    rows = [contiguous(a).reshape(first.size // shape[-1] if first.size else 0, shape[-1]) for a in moved]
    y = kernel(*rows).reshape(shape)
    return y if last else contiguous(np.moveaxis(y, -1, dim))  # as PyTorch's, so that view() works on it


class Softmax(Function):
    """y_i = e^(x_i) / sum_k e^(x_k)"""

    arrays_too = True
    examples = ((lambda t, x: t.softmax(x, dim=-1), (3, 4)), (lambda t, x: x.softmax(0), (3, 4)))
    errors = (
        (lambda t, x: x.softmax(2), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.softmax(), (3, 4), TypeError, "give the dimension"),
        (lambda t, x: x.softmax(1, dtype=t.int64), (3, 4), RuntimeError, "softmax is not implemented for int64"),
        (lambda t, x: x.long().softmax(1), (3, 4), RuntimeError, "softmax is not implemented for int64"),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, dim: int) -> Any:
        ctx.dim = dim
        return ctx.save(_on_rows(kernels.softmax, dim, x))

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved
        return SoftmaxBackward.of(g, y, dim=ctx.dim)


# dy_i/dx_j = y_i ([i = j] - y_j), so
# dL/dx_j = sum_i g_i y_i ([i = j] - y_j) = y_j (g_j - sum_i g_i y_i)
class SoftmaxBackward(FusedFunction):
    """dx_j = y_j (g_j - sum_i g_i y_i)"""

    examples = ((lambda t, g, x: _gradient(t, x.softmax(1), x, g), (3, 4), (3, 4)),)
    errors = ()

    @staticmethod
    def composite(g: Any, y: Any, dim: int) -> Any:
        return y * (g - (g * y).sum(dim, keepdim=True))

    @staticmethod
    def forward(ctx: Any, g: Any, y: Any, dim: int) -> Any:
        ctx.dim = dim
        ctx.save(g, y)
        return _on_rows(kernels.softmax_backward, dim, g, y)

    # with a the gradient of dx: dL/dg_j = y_j (a_j - sum_i a_i y_i)
    # dL/dy_j = a_j (g_j - sum_i g_i y_i) - g_j sum_i a_i y_i
    @staticmethod
    def backward(ctx: Any, a: Any) -> Any:
        g, y = ctx.saved
        inner = total(a * y, (ctx.dim,), keepdims=True)
        return y * (a - inner), a * (g - total(g * y, (ctx.dim,), keepdims=True)) - g * inner


class LogSoftmax(Function):
    """y_i = x_i - ln sum_k e^(x_k)"""

    arrays_too = True
    examples = ((lambda t, x: t.log_softmax(x, dim=-1), (3, 4)), (lambda t, x: x.log_softmax(0), (3, 4)))
    errors = (
        (lambda t, x: x.log_softmax(-3), (3, 4), IndexError, "but got -3"),
        (lambda t, x: x.log_softmax(), (3, 4), TypeError, "give the dimension"),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, dim: int) -> Any:
        ctx.dim = dim
        return ctx.save(_on_rows(kernels.log_softmax, dim, x))

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved
        return LogSoftmaxBackward.of(g, y, dim=ctx.dim)


# dy_i/dx_j = [i = j] - e^(y_j), so dL/dx_j = g_j - e^(y_j) sum_i g_i
class LogSoftmaxBackward(FusedFunction):
    """dx_j = g_j - e^(y_j) sum_i g_i"""

    examples = ((lambda t, g, x: _gradient(t, x.log_softmax(1), x, g), (3, 4), (3, 4)),)
    errors = ()

    @staticmethod
    def composite(g: Any, y: Any, dim: int) -> Any:
        return g - y.exp() * g.sum(dim, keepdim=True)

    @staticmethod
    def forward(ctx: Any, g: Any, y: Any, dim: int) -> Any:
        ctx.dim = dim
        ctx.save(g, y)
        return _on_rows(kernels.log_softmax_backward, dim, g, y)

    # with a the gradient of dx: dL/dg_j = a_j - sum_i a_i e^(y_i); dL/dy_j = -a_j e^(y_j) sum_i g_i
    @staticmethod
    def backward(ctx: Any, a: Any) -> Any:
        g, y = ctx.saved
        p = a * np.exp(y)
        return a - total(p, (ctx.dim,), keepdims=True), -p * total(g, (ctx.dim,), keepdims=True)


def _gradient(t: Any, y: Any, x: Any, cotangent: Any) -> Any:
    """The gradient of y as a function of its cotangent, for the examples."""
    return t.autograd.grad(y, x, cotangent, create_graph=True)[0]


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Exponentials along dim, divided by their sum. A row of -inf gives zeros, forward and backward.

    PyTorch's softmax makes such a row NaN, its attention zero; here both are zero. What has a row without a finite
    score is attention that may look at nothing, as of padding, and NaN would go from there into every weight. What
    needs a distribution notices all the same: `multinomial` refuses such a row, the logarithm is -inf.
    """
    return _along("softmax", Softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """The logarithm of softmax, in one step and without overflow: -inf in a row of -inf."""
    return _along("log_softmax", LogSoftmax, input, dim, dtype)


def _along(name: str, function: type[Function], input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    if dim is None:
        raise TypeError(f"{name}: give the dimension, as dim=-1: an implicit one is easily the wrong one")
    input = only_floating(name, input if dtype is None else input.to(dtype))
    return in_float32(function.apply, input, dim=normalize_dim(dim, input.ndim))
