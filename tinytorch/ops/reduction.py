"""Sums, products, statistics, any and all, over all elements or along dimensions; running sums.

`dim` is an int, a tuple of ints or None (all dimensions); `keepdim` keeps reduced dimensions with size 1.
NumPy's `axis` and `keepdims` are accepted in their place.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..dtypes import DTypeLike, float32, float64, int64, is_floating, uint8
from ..engine.function import Function
from ..engine.tensor import wrap
from .broadcasting import Expand
from .common import (
    Array,
    Dims,
    as_array,
    elements_of,
    in_float32,
    in_two_bytes,
    keyword_aliases,
    normalize_dim,
    normalize_dims,
    summed,
    total,
    widened,
)
from .joining import cat

if TYPE_CHECKING:
    from ..tensor import Tensor


class Sum(Function):
    """y = sum_i x_i"""

    backward_shares = True
    examples = (
        (lambda t, x: x.sum(), (3, 4)),
        (lambda t, x: x.sum(dim=(0, -1), keepdim=True), (2, 3, 4)),
        (lambda t, x: x.sum(1), (3, 0)),
    )
    errors = (
        (lambda t, x: x.sum(2), (3, 4), IndexError, "range of [-2, 1], but got 2"),
        (lambda t, x: x.sum((0, -2)), (3, 4), RuntimeError, "names a dimension twice"),
        (lambda t, x: x.sum(1.0), (3, 4), TypeError, "must be an integer, got 1.0"),
        (lambda t, x: x.sum(sideways=0), (3, 4), TypeError, "'sideways'"),
    )
    dims: tuple[int, ...]
    keepdim: bool
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: Sum, x: Array, dims: tuple[int, ...], keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.shape = dims, keepdim, x.shape
        return summed(x, dims, keepdim)

    # dy/dx_i = 1
    @staticmethod
    def backward(ctx: Sum, g: Tensor) -> Any:
        return Expand.apply(spread(g, ctx), shape=ctx.shape)


def sum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None, **aliases: Dims
) -> Tensor:
    """Sum of the elements, in dtype if given; else integers and bools are summed in int64."""
    input = input if dtype is None else input.to(dtype)
    return _in_dtype(reduced(Sum, input, dim, keepdim, aliases), dtype)


class Mean(Function):
    """y = (1/n) sum_i x_i"""

    backward_shares = True
    examples = ((lambda t, x: x.mean(), (3, 4)), (lambda t, x: x.mean(dim=-1, keepdim=True), (2, 3, 4)))
    errors = (
        (lambda t, x: x.mean(-3), (3, 4), IndexError, "but got -3"),
        (lambda t, x: x.long().mean(), (3, 4), RuntimeError, "must be floating point, got int64"),
    )
    count: int
    dims: tuple[int, ...]
    keepdim: bool
    shape: tuple[int, ...]

    @staticmethod
    def forward(ctx: Mean, x: Array, dims: tuple[int, ...], keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.shape = dims, keepdim, x.shape
        ctx.count = _count(x.shape, dims)
        return (total(widened(x), dims, keepdim) / np.float64(ctx.count)).astype(x.dtype)

    # dy/dx_i = 1/n
    @staticmethod
    def backward(ctx: Mean, g: Tensor) -> Any:
        return Expand.apply(spread(g, ctx) / builtins.max(ctx.count, 1), shape=ctx.shape)


def mean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None, **aliases: Dims
) -> Tensor:
    """Arithmetic mean; NaN if there are no elements. Raises RuntimeError for integers: convert them first."""
    if dtype is not None:
        input = input.to(dtype)
    if not is_floating(input.dtype):
        raise RuntimeError(f"mean(): the input must be floating point, got {input.dtype}: convert it with .float()")
    return reduced(Mean, input, dim, keepdim, aliases)


class Prod(Function):
    """y = prod_i x_i over one dimension"""

    examples = (
        (lambda t, x: x.prod(dim=1), (3, 4)),
        (lambda t, x: x.prod(), (2, 3)),
        (lambda t, x: (x * t.tensor([0.0, 1.0, 1.0, 1.0])).prod(dim=-1, keepdim=True), (3, 4)),
    )
    errors = (
        (lambda t, x: x.prod(2), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.prod((0, 1)), (3, 4), TypeError, "must be an integer, got (0, 1)"),
    )
    dims: tuple[int, ...]
    keepdim: bool

    @staticmethod
    def forward(ctx: Prod, x: Array, dims: tuple[int, ...], keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim = dims, keepdim
        y = x.prod(axis=dims, keepdims=keepdim, dtype=int64 if x.dtype.kind in "biu" else None)
        ctx.save(x, as_array(y))
        return ctx._saved[1]

    # dy/dx_i = prod_{j != i} x_j, which is y / x_i only where no x is 0. With zeros it is the product of
    # what stands before x_i and of what stands after it: of two running products, each moved on by one place.
    @staticmethod
    def backward(ctx: Prod, g: Tensor) -> Any:
        x, y = ctx.saved
        if not ctx.dims:
            return g.clone()
        if (elements_of(x) != 0).all():
            return spread(g * y, ctx) / x
        (dim,) = ctx.dims
        one, others = wrap(np.ones((*x.shape[:dim], 1, *x.shape[dim + 1 :]), x.dtype)), x.shape[dim] - 1
        before = cat([one, x.narrow(dim, 0, others)], dim).cumprod(dim)
        after = cat([one, x.narrow(dim, 1, others).flip(dim)], dim).cumprod(dim).flip(dim)
        return spread(g, ctx) * before * after


def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DTypeLike | None = None, **aliases: Dims
) -> Tensor:
    """Product of the elements, over one dimension or all, in dtype if given; integers otherwise give int64."""
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    input = input if dtype is None else input.to(dtype)
    if dim is None:
        input, dim = input.reshape(-1), 0
    dims = (normalize_dim(dim, input.ndim),)
    return _in_dtype(in_float32(Prod.apply, input, dims=dims if input.ndim else (), keepdim=keepdim), dtype)


class Var(Function):
    """y = sum_i (x_i - m)^2 / (n - c), m the mean and c the correction"""

    examples = ((lambda t, x: x.var(), (3, 4)), (lambda t, x: x.var(dim=1, correction=0, keepdim=True), (3, 4)))
    errors = (
        (lambda t, x: x.var(2), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.var(1, unbiased=True, correction=1), (3, 4), TypeError, "not both"),
        (lambda t, x: x.long().var(), (3, 4), RuntimeError, "must be floating point, got int64"),
    )
    freedom: float
    dims: tuple[int, ...]
    keepdim: bool
    whole: bool

    @staticmethod
    def forward(ctx: Var, x: Array, dims: tuple[int, ...], keepdim: bool, correction: float, whole: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.whole = dims, keepdim, whole
        ctx.freedom = _count(x.shape, dims) - correction
        ctx.save(x)
        return _variance(x, dims, keepdim, ctx.freedom)

    # dy/dx_i = 2 (x_i - m) / (n - c): the dependence of m on x_i cancels, as sum_i (x_i - m) = 0
    @staticmethod
    def backward(ctx: Var, g: Tensor) -> Any:
        (x,) = ctx.saved
        return _variance_backward(spread(g, ctx), x, ctx)


def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    **aliases: Dims,
) -> Tensor:
    """Variance with n - correction in the denominator; correction defaults to 1, or to 0 with unbiased=False."""
    return _spreads(Var, input, dim, unbiased, correction, keepdim, aliases)


class Std(Function):
    """y = sqrt(var x)"""

    examples = ((lambda t, x: x.std(), (3, 4)), (lambda t, x: x.std(dim=0, unbiased=False), (3, 4)))
    errors = (
        (lambda t, x: x.std((0, 0)), (3, 4), RuntimeError, "names a dimension twice"),
        (lambda t, x: x.int().std(1), (3, 4), RuntimeError, "must be floating point, got int32"),
    )
    freedom: float
    dims: tuple[int, ...]
    keepdim: bool
    whole: bool

    @staticmethod
    def forward(ctx: Std, x: Array, dims: tuple[int, ...], keepdim: bool, correction: float, whole: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.whole = dims, keepdim, whole
        ctx.freedom = _count(x.shape, dims) - correction
        y = as_array(np.sqrt(_variance(x, dims, keepdim, ctx.freedom)))
        ctx.save(x, y)
        return y

    # with v = y^2 the variance: dy/dv = 1/(2 y), taken as 0 where y = 0
    @staticmethod
    def backward(ctx: Std, g: Tensor) -> Any:
        x, y = ctx.saved
        return _variance_backward(spread((g / (2 * y)).masked_fill(y == 0, 0.0), ctx), x, ctx)


def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    **aliases: Dims,
) -> Tensor:
    """Standard deviation, as `var`. Where it is 0 the gradient is 0."""
    return _spreads(Std, input, dim, unbiased, correction, keepdim, aliases)


def _spreads(
    function: type[Function],
    input: Tensor,
    dim: Dims,
    unbiased: bool | None,
    correction: float | None,
    keepdim: bool,
    aliases: dict[str, Dims],
) -> Tensor:
    if isinstance(dim, bool):  # PyTorch's overload var(unbiased)
        dim, unbiased = None, dim
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if unbiased is not None and correction is not None:
        raise TypeError(f"{function.__name__.lower()}: give unbiased or correction, not both")
    if correction is None:
        correction = 0 if unbiased is False else 1
    if not is_floating(input.dtype):
        raise RuntimeError(f"{function.__name__.lower()}: the input must be floating point, got {input.dtype}")
    params = {"correction": correction, "whole": dim is None}
    return in_float32(lambda x: reduced(function, x, dim, keepdim, {}, **params), input)


def _variance(x: Array, dims: tuple[int, ...], keepdim: bool, freedom: float) -> Array:
    """In two passes: subtracting the mean first keeps precision if the mean is large. NaN or inf if n <= c."""
    mean = (total(x, dims, keepdims=True) / np.float64(_count(x.shape, dims))).astype(x.dtype)
    centred = x - mean
    return (total(centred * centred, dims, keepdim) / np.float64(builtins.max(freedom, 0))).astype(x.dtype)


def _variance_backward(g: Tensor, x: Tensor, ctx: Var | Std) -> Tensor:
    """For too few numbers, n <= c, it is as in PyTorch: what the formula gives, or infinite for a whole tensor."""
    centred = x - x.mean(ctx.dims, keepdim=True)
    if ctx.whole and ctx.freedom <= 0:
        return g * (centred * np.inf).abs()
    return g * (2 / ctx.freedom if ctx.freedom else np.inf) * centred


class AnyTrue(Function):
    """y = [some x_i != 0]"""

    examples: ClassVar[Any] = (
        (lambda t, x: (x > 1).any(), (3, 4)),
        (lambda t, x: t.any(x > 0.5, dim=1, keepdim=True), (3, 4)),
    )
    errors: ClassVar[Any] = ((lambda t, x: x.any(2), (3, 4), IndexError, "but got 2"),)
    test = np.any

    @staticmethod
    def forward(ctx: AnyTrue, x: Array, dims: tuple[int, ...], keepdim: bool) -> Any:
        found = as_array(type(ctx).test(x, axis=dims, keepdims=keepdim))
        return found.astype(uint8) if x.dtype == uint8 else found


def any(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Dims) -> Tensor:
    """Whether any element is nonzero: bool, or uint8 for uint8, as in PyTorch."""
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    return AnyTrue.apply(input, dims=normalize_dims(dim, input.array.ndim), keepdim=keepdim)


class AllTrue(AnyTrue):
    """y = [every x_i != 0]"""

    examples = ((lambda t, x: (x < 2).all(), (3, 4)), (lambda t, x: t.all(x < 0.5, dim=0), (3, 4)))
    errors = ((lambda t, x: x.all((0, 0)), (3, 4), RuntimeError, "names a dimension twice"),)
    test = np.all


def all(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Dims) -> Tensor:
    """Whether every element is nonzero: bool, or uint8 for uint8, as in PyTorch."""
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    return AllTrue.apply(input, dims=normalize_dims(dim, input.array.ndim), keepdim=keepdim)


class CumSum(Function):
    """y_i = sum_{j <= i} x_j"""

    examples = ((lambda t, x: x.cumsum(1), (3, 4)), (lambda t, x: t.cumsum(x, dim=0), (3, 4)))
    errors = ((lambda t, x: x.cumsum(-3), (3, 4), IndexError, "but got -3"),)
    dim: int

    @staticmethod
    def forward(ctx: CumSum, x: Array, dim: int) -> Any:
        ctx.dim = dim
        if x.dtype.kind in "biu":
            return np.cumsum(x, axis=dim if x.ndim else None, dtype=int64).reshape(x.shape)
        wide = float32 if in_two_bytes(x.dtype) else float64  # each sum is rounded, but the next does not begin there
        return np.cumsum(x, axis=dim if x.ndim else None, dtype=wide).reshape(x.shape).astype(x.dtype, copy=False)

    # dL/dx_j = sum_{i >= j} g_i: the running sum from the other end
    @staticmethod
    def backward(ctx: CumSum, g: Tensor) -> Any:
        return g.clone() if g.ndim == 0 else g.flip(ctx.dim).cumsum(ctx.dim).flip(ctx.dim)


def cumsum(input: Tensor, dim: int | None = None, *, dtype: DTypeLike | None = None, **aliases: Dims) -> Tensor:
    """Running sum along a dimension, in dtype if given; integers otherwise give int64."""
    dim, _ = keyword_aliases(dim, False, aliases)
    input = input if dtype is None else input.to(dtype)
    return _in_dtype(CumSum.apply(input, dim=normalize_dim(dim, input.ndim)), dtype)


def reduced(
    function: type[Function], input: Tensor, dim: Dims, keepdim: bool, aliases: dict[str, Dims], **params: Any
) -> Tensor:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if dim == ():  # PyTorch's reductions read no dimensions as all of them
        dim = None
    return function.apply(input, dims=normalize_dims(dim, input.array.ndim), keepdim=keepdim, **params)


def spread(reduced: Tensor, ctx: Any) -> Tensor:
    """A reduced tensor with its reduced dimensions restored at size 1, so that it broadcasts against the input."""
    # Without dimensions it broadcasts as it is.
    return reduced if ctx.keepdim or not reduced.ndim else reduced.unsqueeze(ctx.dims)


def _in_dtype(result: Tensor, dtype: DTypeLike | None) -> Tensor:
    """Convert the sum or product of integers, which is int64, to the requested dtype."""
    return result if dtype is None else result.to(dtype)


def _count(shape: tuple[int, ...], dims: tuple[int, ...]) -> int:
    count = 1
    for dim in dims:
        count *= shape[dim]
    return count
