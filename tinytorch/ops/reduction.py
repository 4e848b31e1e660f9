"""Operations that reduce dimensions, and running sums.

`dim` is an int, a tuple of ints or None (all dimensions); `keepdim` keeps reduced dimensions with size 1.
NumPy's `axis` and `keepdims` are accepted in their place.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..dtypes import int64, is_floating
from ..function import Function
from ..kernels.arithmetic import total
from .common import Dims, array_of, as_array, floating, keyword_aliases, normalize_dim, normalize_dims, wrap

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

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.shape = dims, keepdim, x.shape
        if x.dtype.kind in "biu":
            return x.sum(axis=dims, keepdims=keepdim, dtype=int64)
        return total(x, dims, keepdim)

    # dy/dx_i = 1
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return _spread(g, ctx).expand(ctx.shape)


class Mean(Function):
    """y = (1/n) sum_i x_i"""

    examples = ((lambda t, x: x.mean(), (3, 4)), (lambda t, x: x.mean(dim=-1, keepdim=True), (2, 3, 4)))

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim, ctx.shape = dims, keepdim, x.shape
        ctx.count = _count(x.shape, dims)
        return (total(x, dims, keepdim) / np.float64(ctx.count)).astype(x.dtype)

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
        if (array_of(x) != 0).all():
            return _spread(g * y, ctx) / x
        (dim,) = ctx.dims
        rows = x.unsqueeze(dim).expand(*x.shape[:dim], x.shape[dim], *x.shape[dim:])  # (..., i, j, ...)
        own = np.eye(x.shape[dim], dtype=np.bool_).reshape(x.shape[dim], x.shape[dim], *(1,) * (x.ndim - dim - 1))
        return _spread(g, ctx) * rows.masked_fill(own, 1.0).prod(dim + 1)


class Var(Function):
    """y = sum_i (x_i - m)^2 / (n - c), m the mean and c the correction"""

    examples = ((lambda t, x: x.var(), (3, 4)), (lambda t, x: x.var(dim=1, correction=0, keepdim=True), (3, 4)))

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool, correction: float) -> Any:
        ctx.dims, ctx.keepdim = dims, keepdim
        ctx.freedom = builtins.max(_count(x.shape, dims) - correction, 0)
        ctx.save(x)
        return _variance(x, dims, keepdim, ctx.freedom)

    # dy/dx_i = 2 (x_i - m) / (n - c): the dependence of m on x_i cancels, as sum_i (x_i - m) = 0
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return _spread(g, ctx) * (2 / ctx.freedom if ctx.freedom else np.inf) * (x - x.mean(ctx.dims, keepdim=True))


class Std(Function):
    """y = sqrt(var x)"""

    examples = ((lambda t, x: x.std(), (3, 4)), (lambda t, x: x.std(dim=0, unbiased=False), (3, 4)))

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool, correction: float) -> Any:
        ctx.dims, ctx.keepdim = dims, keepdim
        ctx.freedom = builtins.max(_count(x.shape, dims) - correction, 0)
        y = as_array(np.sqrt(_variance(x, dims, keepdim, ctx.freedom)))
        ctx.save(x, y)
        return y

    # dy/dx_i = (x_i - m) / ((n - c) y), taken as 0 where y = 0
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y = ctx.saved
        slope = (g / (y * ctx.freedom)).masked_fill(y == 0, 0.0)
        return _spread(slope, ctx) * (x - x.mean(ctx.dims, keepdim=True))


class Amax(Function):
    """y = max_i x_i"""

    examples: ClassVar[Any] = ((lambda t, x: x.amax(dim=1), (3, 4)), (lambda t, x: x.max(), (3, 4)))
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
            ties = x == y
            ctx.save((ties / ties.sum(axis=dims, keepdims=True)).astype(x.dtype))
        return y if keepdim else y.squeeze(dims)

    # dy/dx_i = [x_i = y] / (number of i with x_i = y)
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (share,) = ctx.saved
        return _spread(g, ctx) * share


class Amin(Amax):
    """y = min_i x_i"""

    examples = ((lambda t, x: x.amin(dim=(0, 1), keepdim=True), (3, 4)), (lambda t, x: x.min(), (3, 4)))
    pick = np.min


class CumSum(Function):
    """y_i = sum_{j <= i} x_j"""

    examples = ((lambda t, x: x.cumsum(1), (3, 4)), (lambda t, x: t.cumsum(x, dim=0), (3, 4)))

    @staticmethod
    def forward(ctx: Any, x: Any, dim: int) -> Any:
        ctx.dim = dim
        return np.cumsum(x, axis=dim if x.ndim else None, dtype=int64 if x.dtype.kind in "biu" else None).reshape(
            x.shape
        )

    # dL/dx_j = sum_{i >= j} g_i: the running sum from the other end
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g if g.ndim == 0 else g.flip(ctx.dim).cumsum(ctx.dim).flip(ctx.dim)


class LogSumExp(Function):
    """y = ln sum_i e^(x_i)"""

    examples = ((lambda t, x: x.logsumexp(1), (3, 4)), (lambda t, x: t.logsumexp(x, (0, 1), keepdim=True), (3, 4)))

    @staticmethod
    def forward(ctx: Any, x: Any, dims: Any, keepdim: bool) -> Any:
        ctx.dims, ctx.keepdim = dims, keepdim
        # e^(x - m) cannot overflow; an infinite m would make inf - inf
        m = np.max(x, axis=dims, keepdims=True, initial=-np.inf)
        m = np.where(np.isfinite(m), m, 0).astype(x.dtype)
        y = as_array(np.log(np.exp(x - m).sum(axis=dims, keepdims=True)) + m)
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
    """Two passes: subtracting the mean first keeps precision where the mean is large."""
    centred = x - x.mean(axis=dims, keepdims=True) if x.size else x
    return (total(centred * centred, dims, keepdim) / np.float64(freedom)).astype(x.dtype)


def _reduction(
    function: type[Function], input: Tensor, dim: Any, keepdim: bool, aliases: dict[str, Any], **params: Any
) -> Tensor:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if dim == ():  # PyTorch's reductions read no dimensions as all of them
        dim = None
    return function.apply(input, dims=normalize_dims(dim, input.array.ndim), keepdim=keepdim, **params)


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None, **aliases: Any) -> Tensor:
    """Sum of the elements; integers and truth values add up in int64."""
    if dtype is not None:
        input = input.to(dtype)
    return _reduction(Sum, input, dim, keepdim, aliases)


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None, **aliases: Any) -> Tensor:
    """Arithmetic mean; NaN of no elements. Raises RuntimeError for integers: convert first."""
    if dtype is not None:
        input = input.to(dtype)
    if not is_floating(input.dtype):
        raise RuntimeError(f"mean(): the input must be floating point, got {input.dtype}: convert it with .float()")
    return _reduction(Mean, input, dim, keepdim, aliases)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """Product of the elements, over one dimension or all."""
    if dim is None and "axis" not in aliases:
        input, dim = input.reshape(-1), 0
    return _reduction(Prod, input, dim, keepdim, aliases)


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
    if correction is None:
        correction = 0 if unbiased is False else 1
    if not is_floating(input.dtype):
        raise RuntimeError(f"{function.__name__.lower()}: the input must be floating point, got {input.dtype}")
    return _reduction(function, input, dim, keepdim, aliases, correction=correction)


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
    return _reduction(Amax, input, dim, keepdim, aliases)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """The smallest element; equal ones share the gradient."""
    return _reduction(Amin, input, dim, keepdim, aliases)


def _extreme(input: Tensor, dim: Any, keepdim: bool, aliases: Any, reduce: Any, arg: Any, elementwise: str) -> Any:
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if hasattr(dim, "array"):  # PyTorch's overload max(input, other)
        return getattr(input, elementwise)(dim)
    if dim is None:
        return reduce(input)
    indices = arg(input, dim, keepdim=True)
    values = input.gather(dim, indices) if input.ndim else input.clone()
    if not keepdim and input.ndim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return ValuesIndices(values, indices)


def max(input: Tensor, dim: Any = None, keepdim: bool = False, **aliases: Any) -> Any:
    """The largest element: of all, or along one dimension with its indices, to which the gradient then goes."""
    return _extreme(input, dim, keepdim, aliases, amax, argmax, "maximum")


def min(input: Tensor, dim: Any = None, keepdim: bool = False, **aliases: Any) -> Any:
    """The smallest element: of all, or along one dimension with its indices, to which the gradient then goes."""
    return _extreme(input, dim, keepdim, aliases, amin, argmin, "minimum")


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
    """Whether any element is not zero."""
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    return wrap(np.any(array_of(input), axis=normalize_dims(dim, input.ndim), keepdims=keepdim))


def all(input: Tensor, dim: Dims = None, keepdim: bool = False, **aliases: Any) -> Tensor:
    """Whether every element is not zero."""
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    return wrap(np.all(array_of(input), axis=normalize_dims(dim, input.ndim), keepdims=keepdim))


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sum along a dimension."""
    if dtype is not None:
        input = input.to(dtype)
    return CumSum.apply(input, dim=normalize_dim(dim, input.ndim))


def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False, **aliases: Any) -> Tensor:
    """ln of the sum of exponentials, without overflow; -inf of a row of -inf, with gradient 0."""
    return _reduction(LogSumExp, floating(input), dim, keepdim, aliases)
