"""Operations that reduce dimensions, and running sums.

`dim` is an int, a tuple of ints or None (all dimensions); `keepdim` keeps reduced dimensions with size 1.
NumPy's `axis` and `keepdims` are accepted in their place.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..dtypes import float32, float64, int64, is_floating, uint8
from ..function import Function
from .common import (
    Dims,
    array_of,
    as_array,
    floating,
    in_float32,
    in_two_bytes,
    keyword_aliases,
    normalize_dim,
    normalize_dims,
    summed,
    total,
    widened,
    wrap,
)

if TYPE_CHECKING:
    from ..tensor import Tensor


class ValuesIndices(NamedTuple):
    """What max(dim), min(dim), topk and sort return."""

    values: Tensor
    indices: Tensor


def _spread(reduced: Any, ctx: Any) -> Any:
    """A reduced tensor with its reduced dimensions back at size 1, so that it broadcasts against the input."""
    return reduced if ctx.keepdim or not ctx.dims else reduced.unsqueeze(ctx.dims)


class Sum(Function):
    """y = sum_i x_i"""

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

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.shape = dims, keepdim, x.shape
        return summed(x, dims, keepdim)

    # dy/dx_i = 1
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return _spread(g, ctx).expand(ctx.shape)


class Mean(Function):
    """y = (1/n) sum_i x_i"""

    examples = ((lambda t, x: x.mean(), (3, 4)), (lambda t, x: x.mean(dim=-1, keepdim=True), (2, 3, 4)))
    errors = (
        (lambda t, x: x.mean(-3), (3, 4), IndexError, "but got -3"),
        (lambda t, x: x.long().mean(), (3, 4), RuntimeError, "must be floating point, got int64"),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.shape = dims, keepdim, x.shape
        ctx.count = _count(x.shape, dims)
        return (total(widened(x), dims, keepdim) / np.float64(ctx.count)).astype(x.dtype)

    # dy/dx_i = 1/n
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return (_spread(g, ctx) / builtins.max(ctx.count, 1)).expand(ctx.shape)


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

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim = dims, keepdim
        y = x.prod(axis=dims, keepdims=keepdim, dtype=int64 if x.dtype.kind in "biu" else None)
        ctx.save(x, as_array(y))
        return ctx._saved[1]

    # dy/dx_i = prod_{j != i} x_j, which is y / x_i only where no x is 0. With zeros each of the n
    # products is formed by itself, from copies of x in which the i-th element is replaced by 1.
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y = ctx.saved
        if not ctx.dims:
            return g
        if (array_of(x) != 0).all():
            return _spread(g * y, ctx) / x
        (dim,) = ctx.dims
        rows = x.unsqueeze(dim).expand(*x.shape[:dim], x.shape[dim], *x.shape[dim:])  # (..., i, j, ...)
        own = np.eye(x.shape[dim], dtype=np.bool_).reshape(x.shape[dim], x.shape[dim], *(1,) * (x.ndim - dim - 1))
        return _spread(g, ctx) * rows.masked_fill(own, 1.0).prod(dim + 1)


class Var(Function):
    """y = sum_i (x_i - m)^2 / (n - c), m the mean and c the correction"""

    examples = ((lambda t, x: x.var(), (3, 4)), (lambda t, x: x.var(dim=1, correction=0, keepdim=True), (3, 4)))
    errors = (
        (lambda t, x: x.var(2), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.var(1, unbiased=True, correction=1), (3, 4), TypeError, "not both"),
        (lambda t, x: x.long().var(), (3, 4), RuntimeError, "must be floating point, got int64"),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool, correction: float, whole: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.whole = dims, keepdim, whole
        ctx.freedom = _count(x.shape, dims) - correction
        ctx.save(x)
        return _variance(x, dims, keepdim, ctx.freedom)

    # dy/dx_i = 2 (x_i - m) / (n - c): the dependence of m on x_i cancels, as sum_i (x_i - m) = 0
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return _variance_backward(_spread(g, ctx), x, ctx)


class Std(Function):
    """y = sqrt(var x)"""

    examples = ((lambda t, x: x.std(), (3, 4)), (lambda t, x: x.std(dim=0, unbiased=False), (3, 4)))
    errors = (
        (lambda t, x: x.std((0, 0)), (3, 4), RuntimeError, "names a dimension twice"),
        (lambda t, x: x.int().std(1), (3, 4), RuntimeError, "must be floating point, got int32"),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool, correction: float, whole: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.whole = dims, keepdim, whole
        ctx.freedom = _count(x.shape, dims) - correction
        y = as_array(np.sqrt(_variance(x, dims, keepdim, ctx.freedom)))
        ctx.save(x, y)
        return y

    # with v = y^2 the variance: dy/dv = 1/(2 y), taken as 0 where y = 0
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y = ctx.saved
        return _variance_backward(_spread((g / (2 * y)).masked_fill(y == 0, 0.0), ctx), x, ctx)


class Amax(Function):
    """y = max_i x_i"""

    examples: ClassVar[Any] = ((lambda t, x: x.amax(dim=1), (3, 4)), (lambda t, x: x.amax(), (3, 4)))
    errors: ClassVar[Any] = (
        (lambda t, x: x.amax(1), (3, 0), IndexError, "(3, 0) must not be empty"),
        (lambda t, x: x.amax((0, 2)), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.amax(), (3, 0), RuntimeError, "(3, 0) has no largest element"),
        (lambda t, x: x.max(), (3, 0), RuntimeError, "(3, 0) has no largest element"),
        (lambda t, x: x.max(1), (3, 0), IndexError, "dimension 1 of shape (3, 0) must not be empty"),
        (lambda t, x: x.max((0, 1)), (3, 4), TypeError, "must be an integer, got (0, 1)"),
        (lambda t, x: x.argmax(), (0,), IndexError, "expected a tensor with elements, got shape (0,)"),
        (lambda t, x: x.argmax(1), (3, 0), IndexError, "dimension 1 of shape (3, 0) must not be empty"),
        (lambda t, x: x.max(2), (3, 4), IndexError, "but got 2"),
    )
    pick = np.max

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim = dims, keepdim
        if x.size == 0 and (not dims or 0 in [x.shape[d] for d in dims]):
            raise IndexError(
                f"{type(ctx).__name__.lower()}: the reduced dimensions of shape {x.shape} must not be empty"
            )
        y = as_array(type(ctx).pick(x, axis=dims, keepdims=True))
        if True in ctx.needs_input_grad:
            ties = type(ctx).is_extreme(x, y)
            ctx.save((ties / ties.sum(axis=dims, keepdims=True)).astype(x.dtype))
        return y if keepdim else y.squeeze(dims)

    # dy/dx_i = [x_i = y] / (number of i with x_i = y)
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (share,) = ctx.saved
        return _spread(g, ctx) * share

    @staticmethod
    def is_extreme(x: Any, y: Any) -> Any:
        """Which elements share the gradient. Where y is NaN it has none: the shares are NaN."""
        return x == y


class Max(Amax):
    """y = max_i x_i of all elements; where it is NaN, the elements that are share the gradient"""

    examples: ClassVar[Any] = ((lambda t, x: x.max(), (3, 4)),)
    errors = ()

    @staticmethod
    def is_extreme(x: Any, y: Any) -> Any:
        """Which elements share the gradient."""
        return (x == y) | (x != x)  # of which the latter occur where y is NaN alone

    # as above, and nothing of an infinite gradient for the elements that have no share of it
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (share,) = ctx.saved
        return (_spread(g, ctx) * share).masked_fill(share == 0, 0.0)


class Min(Max):
    """y = min_i x_i of all elements; where it is NaN, the elements that are share the gradient"""

    examples = ((lambda t, x: x.min(), (3, 4)),)
    errors = ()
    pick = np.min


class Amin(Amax):
    """y = min_i x_i"""

    examples = ((lambda t, x: x.amin(dim=(0, 1), keepdim=True), (3, 4)), (lambda t, x: x.amin(), (3, 4)))
    errors = (
        (lambda t, x: x.amin((0, 1)), (3, 0), IndexError, "(3, 0) must not be empty"),
        (lambda t, x: x.amin((1, 1)), (3, 4), RuntimeError, "names a dimension twice"),
        (lambda t, x: x.min(), (0,), RuntimeError, "(0,) has no smallest element"),
        (lambda t, x: x.min(0), (0,), IndexError, "dimension 0 of shape (0,) must not be empty"),
        (lambda t, x: x.argmin(-1), (3, 0), IndexError, "dimension 1 of shape (3, 0) must not be empty"),
    )
    pick = np.min


class CumSum(Function):
    """y_i = sum_{j <= i} x_j"""

    examples = ((lambda t, x: x.cumsum(1), (3, 4)), (lambda t, x: t.cumsum(x, dim=0), (3, 4)))
    errors = ((lambda t, x: x.cumsum(-3), (3, 4), IndexError, "but got -3"),)

    @staticmethod
    def forward(ctx: Any, x: Any, dim: int) -> Any:
        ctx.dim = dim
        if x.dtype.kind in "biu":
            return np.cumsum(x, axis=dim if x.ndim else None, dtype=int64).reshape(x.shape)
        wide = float32 if in_two_bytes(x.dtype) else float64  # each sum is rounded, but the next does not begin there
        return np.cumsum(x, axis=dim if x.ndim else None, dtype=wide).reshape(x.shape).astype(x.dtype, copy=False)

    # dL/dx_j = sum_{i >= j} g_i: the running sum from the other end
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g if g.ndim == 0 else g.flip(ctx.dim).cumsum(ctx.dim).flip(ctx.dim)


class LogSumExp(Function):
    """y = ln sum_i e^(x_i)"""

    examples = ((lambda t, x: x.logsumexp(1), (3, 4)), (lambda t, x: t.logsumexp(x, (0, 1), keepdim=True), (3, 4)))
    errors = (
        (lambda t, x: x.logsumexp(2), (3, 4), IndexError, "but got 2"),
        (lambda t, x: x.logsumexp((1, -1)), (3, 4), RuntimeError, "names a dimension twice"),
    )

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool) -> Any:
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
    def backward(ctx: Any, g: Any) -> Any:
        x, y = ctx.saved
        y = y.masked_fill(y == -np.inf, 0.0)
        return _spread(g, ctx) * (x - _spread(y, ctx)).exp()


def _count(shape: tuple[int, ...], dims: tuple[int, ...]) -> int:
    count = 1
    for dim in dims:
        count *= shape[dim]
    return count


def _variance(x: Any, dims: Any, keepdim: bool, freedom: float) -> Any:
    """Two passes: subtracting the mean first keeps precision where the mean is large. NaN or inf where n <= c."""
    mean = (total(x, dims, keepdims=True) / np.float64(_count(x.shape, dims))).astype(x.dtype)
    centred = x - mean
    return (total(centred * centred, dims, keepdim) / np.float64(builtins.max(freedom, 0))).astype(x.dtype)


def _variance_backward(g: Any, x: Any, ctx: Any) -> Any:
    """Of too few numbers, n <= c, it is PyTorch's: what the formula gives, or of a whole tensor infinite."""
    centred = x - x.mean(ctx.dims, keepdim=True)
    if ctx.whole and ctx.freedom <= 0:
        return g * (centred * np.inf).abs()
    return g * (2 / ctx.freedom if ctx.freedom else np.inf) * centred


def _reduction(
    function: type[Function], input: Tensor, dim: Any, keepdim: bool, aliases: dict[str, Any], **params: Any
) -> Tensor:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if dim == ():  # PyTorch's reductions read no dimensions as all of them
        dim = None
    return function.apply(input, dims=normalize_dims(dim, input.array.ndim), keepdim=keepdim, **params)


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None, **aliases: Any) -> Tensor:
    """Sum of the elements, in dtype where it is given; else integers and truth values add up in int64."""
    input = input if dtype is None else input.to(dtype)
    return _in_dtype(_reduction(Sum, input, dim, keepdim, aliases), dtype)


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None, **aliases: Any) -> Tensor:
    """Arithmetic mean; NaN of no elements. Raises RuntimeError for integers: convert first."""
    if dtype is not None:
        input = input.to(dtype)
    if not is_floating(input.dtype):
        raise RuntimeError(f"mean(): the input must be floating point, got {input.dtype}: convert it with .float()")
    return _reduction(Mean, input, dim, keepdim, aliases)


def _in_dtype(result: Tensor, dtype: Any) -> Tensor:
    """The sum or product of integers, which is int64, in the dtype that was asked for."""
    return result if dtype is None else result.to(dtype)


def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None, **aliases: Any
) -> Tensor:
    """Product of the elements, over one dimension or all, in dtype where it is given; else of integers in int64."""
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    input = input if dtype is None else input.to(dtype)
    if dim is None:
        input, dim = input.reshape(-1), 0
    dims = (normalize_dim(dim, input.ndim),)
    return _in_dtype(in_float32(Prod.apply, input, dims=dims if input.ndim else (), keepdim=keepdim), dtype)


def _spreads(
    function: type[Function],
    input: Tensor,
    dim: Any,
    unbiased: bool | None,
    correction: float | None,
    keepdim: bool,
    aliases: Any,
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
    return in_float32(lambda x: _reduction(function, x, dim, keepdim, {}, **params), input)


def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    **aliases: Any,
) -> Tensor:
    """Variance with n - correction in the denominator; the correction is 1 unless given or unbiased=False."""
    return _spreads(Var, input, dim, unbiased, correction, keepdim, aliases)


def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    **aliases: Any,
) -> Tensor:
    """Standard deviation, as `var`. Where it is 0 the gradient is 0."""
    return _spreads(Std, input, dim, unbiased, correction, keepdim, aliases)


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """The largest element; equal ones share the gradient."""
    return _of_all_or_some(Amax, "largest", input, dim, keepdim, aliases)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """The smallest element; equal ones share the gradient."""
    return _of_all_or_some(Amin, "smallest", input, dim, keepdim, aliases)


def _of_all_or_some(function: Any, what: str, input: Tensor, dim: Any, keepdim: bool, aliases: Any) -> Tensor:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if not input.array.size and dim in (None, ()):
        raise RuntimeError(f"a tensor of shape {tuple(input.shape)} has no {what} element: give a dimension")
    return _reduction(function, input, dim, keepdim, {})


def _extreme(input: Tensor, dim: Any, keepdim: bool, aliases: Any, reduce: Any, arg: Any, elementwise: str) -> Any:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if hasattr(dim, "array"):  # PyTorch's overload max(input, other)
        return getattr(input, elementwise)(dim)
    if dim is None:
        return _of_all_or_some(reduce, "largest" if reduce is Max else "smallest", input, None, False, {})
    indices = arg(input, dim, keepdim=True)
    values = input.gather(dim, indices) if input.ndim else input.clone()
    if not keepdim and input.ndim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return ValuesIndices(values, indices)


def max(input: Tensor, dim: Any = None, keepdim: bool = False, **aliases: Any) -> Any:
    """The largest element: of all, or along one dimension with its indices, to which the gradient then goes."""
    return _extreme(input, dim, keepdim, aliases, Max, argmax, "maximum")


def min(input: Tensor, dim: Any = None, keepdim: bool = False, **aliases: Any) -> Any:
    """The smallest element: of all, or along one dimension with its indices, to which the gradient then goes."""
    return _extreme(input, dim, keepdim, aliases, Min, argmin, "minimum")


def _arg(function: Any, input: Tensor, dim: Any, keepdim: bool, aliases: Any) -> Tensor:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    x = array_of(input)
    if dim is None:
        if x.size == 0:
            raise IndexError(f"{function.__name__}: expected a tensor with elements, got shape {x.shape}")
        return wrap(as_array(function(x)).reshape((1,) * x.ndim if keepdim else ()))
    dim = normalize_dim(dim, x.ndim)
    if x.ndim == 0:
        return wrap(np.zeros((), np.int64))
    if x.shape[dim] == 0:
        raise IndexError(f"{function.__name__}: dimension {dim} of shape {x.shape} must not be empty")
    return wrap(function(x, axis=dim, keepdims=keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """Index of the (first) largest element, int64; in the flattened tensor if dim is None."""
    return _arg(np.argmax, input, dim, keepdim, aliases)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """Index of the (first) smallest element, int64; in the flattened tensor if dim is None."""
    return _arg(np.argmin, input, dim, keepdim, aliases)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """Whether any element is not zero: bool, but uint8 of uint8, as in PyTorch."""
    return _truth(np.any, input, dim, keepdim, aliases)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """Whether every element is not zero: bool, but uint8 of uint8, as in PyTorch."""
    return _truth(np.all, input, dim, keepdim, aliases)


def _truth(function: Any, input: Tensor, dim: Any, keepdim: bool, aliases: Any) -> Tensor:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    x = array_of(input)
    found = function(x, axis=normalize_dims(dim, x.ndim), keepdims=keepdim)
    return wrap(found.astype(x.dtype) if x.dtype == uint8 else found)


def cumsum(input: Tensor, dim: int | None = None, *, dtype: Any = None, **aliases: Any) -> Tensor:
    """Running sum along a dimension, in dtype where it is given; else of integers in int64."""
    dim, _ = keyword_aliases(dim, False, aliases)
    input = input if dtype is None else input.to(dtype)
    return _in_dtype(CumSum.apply(input, dim=normalize_dim(dim, input.ndim)), dtype)


def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False, **aliases: Any) -> Tensor:
    """ln of the sum of exponentials, without overflow; -inf of a row of -inf, with gradient 0."""
    return in_float32(lambda x: _reduction(LogSumExp, x, dim, keepdim, aliases), floating(input))
