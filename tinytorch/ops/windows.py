"""Sliding windows over a dimension, and their transpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32
from ..engine.function import Function
from ..kernels.launch import empty, zeros
from .common import Array, in_two_bytes, normalize_dim
from .shape import reshape

if TYPE_CHECKING:
    from ..tensor import Tensor


class Unfold(Function):
    """Windows of a dimension: y[..., j, ..., k] = x[..., j step + k, ...]; k is a new last dimension"""

    view = True
    examples = (
        (lambda t, x: x.unfold(1, 3, 2), (2, 8)),
        (lambda t, x: x.unfold(0, 2, 1), (3, 4)),
        (lambda t, x: x.unfold(-1, 2, 3), (3, 6)),
        (lambda t, x: x.sum().unfold(0, 1, 1), (3,)),
    )
    long_examples = (
        (lambda t, x: _amid_zeros(t, x, 3999).unfold(0, 4000, 1), (1,)),
        (lambda t, x: x.sum().unfold(0, 1, 1), (10_000,)),
    )
    errors = (
        (lambda t, x: x.unfold(0, 4, 1), (3,), RuntimeError, "size 4 must be from 0 to 3"),
        (lambda t, x: x.unfold(0, -1, 1), (3,), RuntimeError, "size -1 must be from 0 to 3"),
        (lambda t, x: x.unfold(0, 2, 0), (3,), RuntimeError, "step must be greater than zero, got 0"),
        (lambda t, x: x.unfold(1, 1, 1), (3,), IndexError, "Dimension out of range"),
    )
    shape: tuple[int, ...]
    dim: int
    step: int

    @staticmethod
    def forward(ctx: Unfold, x: Array, dim: int, size: int, step: int) -> Any:
        ctx.shape, ctx.dim, ctx.step = x.shape, dim, step
        if not size:  # of which NumPy makes no windows
            return empty((*x.shape[:dim], x.shape[dim] // step + 1, *x.shape[dim + 1 :], 0), x.dtype)
        windows = np.lib.stride_tricks.sliding_window_view(x, size, dim, writeable=step >= size)
        return windows[(*(slice(None),) * dim, slice(None, None, step))]

    # an element has its place in several windows: dL/dx_i = sum of g_jk with j step + k = i
    @staticmethod
    def backward(ctx: Unfold, g: Tensor) -> Any:
        return Fold.apply(g, shape=ctx.shape, dim=ctx.dim, step=ctx.step)


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` elements along a dimension, `step` apart, which become a new last dimension."""
    dim = normalize_dim(dimension, input.ndim)
    whole = input if input.ndim else reshape(input, 1)
    if not 0 <= size <= whole.shape[dim]:
        raise RuntimeError(f"unfold: size {size} must be from 0 to {whole.shape[dim]}, the size of dimension {dim}")
    if step < 1:
        raise RuntimeError(f"unfold: step must be greater than zero, got {step}")
    windows = Unfold.apply(whole, dim=dim, size=size, step=step)
    return windows if input.ndim else reshape(windows, size)


def _amid_zeros(t: Any, x: Any, count: int) -> Any:
    zeros = t.zeros(count, dtype=x.dtype)
    return t.cat([zeros, x, zeros])


class Fold(Function):
    """y_i = sum of x_jk with j step + k = i: the transpose of Unfold"""

    backward_shares = True
    examples = ((lambda t, x: _fold(t, x, (2, 7), 1, 3, 2), (2, 3, 3)),)
    long_examples = (
        (lambda t, x: _fold(t, x.expand(4000, 4000), (7999,), 0, 4000, 1)[3999:4000], (4000, 1)),
    )
    errors = ()
    dim: int
    step: int
    size: int

    @staticmethod
    def forward(ctx: Fold, x: Array, shape: tuple[int, ...], dim: int, step: int) -> Any:
        ctx.dim, ctx.step, ctx.size = dim, step, x.shape[-1]
        y = zeros(shape, float32 if in_two_bytes(x.dtype) else x.dtype)
        for k in range(ctx.size):  # no two windows have an element in the same place k
            end = k + step * (x.shape[dim] - 1) + 1
            part = y[(*(slice(None),) * dim, slice(k, end, step))]
            np.add(part, x[..., k], out=part)
        return y.astype(x.dtype) if in_two_bytes(x.dtype) else y

    # x_jk was added to y at j step + k alone: dL/dx_jk = g at j step + k, which is what Unfold takes
    @staticmethod
    def backward(ctx: Fold, g: Tensor) -> Any:
        return Unfold.apply(g, dim=ctx.dim, size=ctx.size, step=ctx.step)


def _fold(t: Any, x: Any, shape: tuple[int, ...], dim: int, size: int, step: int) -> Any:
    """The gradient of unfold as a function of its cotangent x."""
    whole = t.zeros(shape, dtype=x.dtype, requires_grad=True)
    return t.autograd.grad(whole.unfold(dim, size, step), whole, x, create_graph=True)[0]
