"""Running products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DTypeLike, int64
from ..engine.function import Function
from .common import Array, Dims, elements_of, in_float32, keyword_aliases, normalize_dim
from .joining import stack

if TYPE_CHECKING:
    from ..tensor import Tensor


class CumProd(Function):
    """y_i = prod_{k <= i} x_k"""

    examples = (
        (lambda t, x: x.cumprod(-1), (3, 4)),
        (lambda t, x: t.cumprod(x, dim=0), (3, 4)),
        (lambda t, x: t.relu(x).cumprod(-1), (3, 4)),
    )
    errors = ((lambda t, x: x.cumprod(-3), (3, 4), IndexError, "but got -3"),)
    dim: int

    @staticmethod
    def forward(ctx: CumProd, x: Array, dim: int) -> Any:
        ctx.dim = dim
        dtype = int64 if x.dtype.kind in "biu" else x.dtype
        y = np.cumprod(x, axis=dim if x.ndim else None, dtype=dtype).reshape(x.shape)
        ctx.save(x, y)
        return y

    # dy_i/dx_j = prod_{k <= i, k != j} x_k for i >= j, which is y_i / x_j only where no x is 0. Otherwise
    # dL/dx_j = y_(j-1) s_j, where s_j = sum_{i >= j} g_i prod_{j < k <= i} x_k = g_j + x_(j+1) s_(j+1).
    @staticmethod
    def backward(ctx: CumProd, g: Tensor) -> Any:
        x, y = ctx.saved
        dim = ctx.dim
        if not x.ndim:
            return g.clone()
        if (elements_of(x) != 0).all():
            return (g * y).flip(dim).cumsum(dim).flip(dim) / x
        xs, gs, ys = x.unbind(dim), g.unbind(dim), y.unbind(dim)
        sums = [gs[-1]]
        for incoming, later in zip(gs[-2::-1], xs[:0:-1], strict=True):
            sums.append(incoming + later * sums[-1])
        first, *others = sums[::-1]
        return stack([first, *[before * s for before, s in zip(ys[:-1], others, strict=True)]], dim)


def cumprod(input: Tensor, dim: int | None = None, *, dtype: DTypeLike | None = None, **aliases: Dims) -> Tensor:
    """Running product along a dimension, in dtype if given; integers otherwise give int64."""
    dim, _ = keyword_aliases(dim, False, aliases)
    input = input if dtype is None else input.to(dtype)
    return in_float32(CumProd.apply, input, dim=normalize_dim(dim, input.ndim))
