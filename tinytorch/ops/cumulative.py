"""Running products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DTypeLike, int64
from ..engine.function import Function
from .common import Array, Dims, elements_of, in_float32, keyword_aliases, normalize_dim

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

    # dy_i/dx_j = prod_{k <= i, k != j} x_k for i >= j, which is y_i / x_j only where no x is 0. With zeros, all the
    # products are formed anew for each j, from copies of x in which the j-th element is replaced by 1.
    @staticmethod
    def backward(ctx: CumProd, g: Tensor) -> Any:
        x, y = ctx.saved
        dim = ctx.dim
        if not x.ndim:
            return g.clone()
        if (elements_of(x) != 0).all():
            return (g * y).flip(dim).cumsum(dim).flip(dim) / x
        n = x.shape[dim]
        own = np.eye(n, dtype=np.bool_).reshape(n, n, *(1,) * (x.ndim - dim - 1))  # (j, k, ...)
        earlier = np.tri(n, k=-1, dtype=np.bool_).reshape(own.shape)
        rows = x.unsqueeze(dim).expand(*x.shape[:dim], n, *x.shape[dim:])
        products = rows.masked_fill(own, 1.0).cumprod(dim + 1).masked_fill(earlier, 0.0)
        return (g.unsqueeze(dim) * products).sum(dim + 1)


def cumprod(input: Tensor, dim: int | None = None, *, dtype: DTypeLike | None = None, **aliases: Dims) -> Tensor:
    """Running product along a dimension, in dtype if given; integers otherwise give int64."""
    dim, _ = keyword_aliases(dim, False, aliases)
    input = input if dtype is None else input.to(dtype)
    return in_float32(CumProd.apply, input, dim=normalize_dim(dim, input.ndim))
