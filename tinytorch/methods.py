"""Methods that a Tensor inherits: every operation, Python's operators, and the in-place operations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, cast

import numpy as np

from .dtypes import DType, as_number, category_of, is_floating
from .engine.mode import mode
from .engine.tensor import wrap
from .kernels.launch import require_writable
from .ops import (
    activation,
    arithmetic,
    bounds,
    broadcasting,
    comparison,
    counting,
    cumulative,
    elementwise,
    extremes,
    gathering,
    histogram,
    indexing,
    joining,
    linalg,
    norm,
    placing,
    reduction,
    repeating,
    rounding,
    sampling,
    selecting,
    shape,
    softmax,
    sorting,
    windows,
)  # fmt: skip
from .ops.common import Array, is_tensor, only_floating, operator, python_number
from .ops.writing import aside, check_write, same_part, write
from .random import Generator, generator_or_default

if TYPE_CHECKING:
    from .tensor import Tensor

P = ParamSpec("P")


def in_place(function: Callable[P, Any]) -> Callable[P, Tensor]:
    """A method that writes a function's result into the tensor itself, and returns the tensor."""

    @functools.wraps(function)
    def method(*args: P.args, **params: P.kwargs) -> Any:
        self: Any = args[0]
        old, rest = self, args[1:]
        if mode.packing is not None and mode.grad:  # what was saved from it is packed before the result overwrites it
            old = aside(self)
            rest = tuple([old if arg is self else arg for arg in rest])
        return self._become(cast(Any, function)(old, *rest, **params))

    method.__name__ = f"{function.__name__.strip('_')}_"
    method.__doc__ = f"`{function.__name__}`, written into this tensor's own memory; returns the tensor."
    return method


class Methods:
    """The operations of a Tensor. Each is a public function from ops/, documented there."""

    array: np.ndarray[Any, Any]
    _counter: list[int]

    # arithmetic
    add, sub, mul, div, pow = arithmetic.add, arithmetic.sub, arithmetic.mul, arithmetic.div, arithmetic.pow
    subtract, multiply, divide, true_divide = sub, mul, div, div
    neg, negative, abs = arithmetic.neg, arithmetic.neg, arithmetic.abs
    square, reciprocal = arithmetic.square, arithmetic.reciprocal
    sign, floor, ceil, trunc, round = rounding.sign, rounding.floor, rounding.ceil, rounding.trunc, rounding.round
    floor_divide, remainder, fix = rounding.floor_divide, rounding.remainder, rounding.trunc

    # elementwise
    exp, expm1, log, log1p = elementwise.exp, elementwise.expm1, elementwise.log, elementwise.log1p
    log2, log10 = elementwise.log2, elementwise.log10
    sqrt, rsqrt, sin, cos = elementwise.sqrt, elementwise.rsqrt, elementwise.sin, elementwise.cos
    maximum, minimum, clamp, clip = bounds.maximum, bounds.minimum, bounds.clamp, bounds.clamp
    clamp_min, clamp_max = bounds.clamp_min, bounds.clamp_max
    logaddexp, masked_fill, lerp = elementwise.logaddexp, elementwise.masked_fill, elementwise.lerp
    erf, tanh, sigmoid, relu = activation.erf, activation.tanh, activation.sigmoid, activation.relu
    logsumexp = softmax.logsumexp
    softmax, log_softmax = softmax.softmax, softmax.log_softmax

    # reduction
    sum, mean, prod, var, std = reduction.sum, reduction.mean, reduction.prod, reduction.var, reduction.std
    max, min, amax, amin = extremes.max, extremes.min, extremes.amax, extremes.amin
    argmax, argmin, any, all = extremes.argmax, extremes.argmin, reduction.any, reduction.all
    cumsum, cumprod, norm = reduction.cumsum, cumulative.cumprod, norm.norm
    bincount, unique, count_nonzero = counting.bincount, counting.unique, counting.count_nonzero
    histogram = histogram.histogram

    # shape
    reshape, view, view_as, alias = shape.reshape, shape.view, shape.view_as, shape.alias
    flatten, unflatten, squeeze, unsqueeze = shape.flatten, shape.unflatten, shape.squeeze, shape.unsqueeze
    permute, transpose, t, movedim, swapaxes = shape.permute, shape.transpose, shape.t, shape.movedim, shape.transpose
    unfold = windows.unfold
    expand, broadcast_to = broadcasting.expand, broadcasting.broadcast_to
    expand_as, sum_to_size = broadcasting.expand_as, broadcasting.sum_to_size
    split, chunk, unbind = shape.split, shape.chunk, joining.unbind
    repeat, tile, repeat_interleave = repeating.repeat, repeating.tile, repeating.repeat_interleave
    flip, roll, tril, triu = joining.flip, joining.roll, joining.tril, joining.triu
    contiguous = shape.contiguous

    # indexing
    gather, scatter_add, index_select = gathering.gather, gathering.scatter_add, selecting.index_select
    index_put, masked_select, take_along_dim = indexing.index_put, selecting.masked_select, selecting.take_along_dim
    scatter, index_add, index_fill = placing.scatter, placing.index_add, placing.index_fill
    diag, trace = placing.diag, placing.trace
    topk, sort, argsort = sorting.topk, sorting.sort, sorting.argsort
    nonzero, select, narrow = selecting.nonzero, selecting.select, selecting.narrow
    __getitem__ = indexing.getitem

    # draws
    bernoulli, multinomial = sampling.bernoulli, sampling.multinomial

    # linalg
    matmul, mm, bmm, mv, dot, outer = linalg.matmul, linalg.mm, linalg.bmm, linalg.mv, linalg.dot, linalg.outer
    addmm = linalg.addmm

    # tests and comparisons, which have no gradient
    isnan, isinf, isfinite = comparison.isnan, comparison.isinf, comparison.isfinite
    logical_not, logical_and = comparison.logical_not, comparison.logical_and
    logical_or, logical_xor = comparison.logical_or, comparison.logical_xor
    eq, ne, lt, le, gt, ge = (
        comparison.eq, comparison.ne, comparison.lt, comparison.le, comparison.gt, comparison.ge
    )  # fmt: skip
    __eq__, __ne__ = operator(eq), operator(ne)  # type: ignore[assignment]
    __lt__, __le__, __gt__, __ge__ = operator(lt), operator(le), operator(gt), operator(ge)
    bitwise_not, bitwise_and = comparison.bitwise_not, comparison.bitwise_and
    bitwise_or, bitwise_xor = comparison.bitwise_or, comparison.bitwise_xor
    __and__ = __rand__ = operator(bitwise_and)
    __or__ = __ror__ = operator(bitwise_or)
    __xor__ = __rxor__ = operator(bitwise_xor)

    def where(self: Any, condition: Tensor, other: Any) -> Tensor:
        """The tensor's elements where a condition holds, else other's, broadcast; see `where`."""
        return elementwise.where(condition, self, other)

    def __invert__(self: Any) -> Any:
        if is_floating(self.array.dtype):
            raise TypeError(f"~ is for integers and booleans, not for {self.dtype}")
        return comparison.bitwise_not(self)

    def __pos__(self: Any) -> Any:
        return self

    allclose, isclose, equal = comparison.allclose, comparison.isclose, comparison.equal

    # operators
    __add__, __radd__ = operator(arithmetic.add), operator(arithmetic.add, reflected=True)
    __sub__, __rsub__ = operator(arithmetic.sub), operator(arithmetic.sub, reflected=True)
    __mul__, __rmul__ = operator(arithmetic.mul), operator(arithmetic.mul, reflected=True)
    __truediv__, __rtruediv__ = operator(arithmetic.div), operator(arithmetic.div, reflected=True)
    __pow__, __rpow__ = operator(arithmetic.pow), operator(arithmetic.pow, reflected=True)
    __mod__, __rmod__ = operator(rounding.remainder), operator(rounding.remainder, reflected=True)
    __floordiv__ = operator(rounding.floor_divide)
    __rfloordiv__ = operator(rounding.floor_divide, reflected=True)
    __neg__, __abs__ = arithmetic.neg, arithmetic.abs

    def __matmul__(self: Any, other: Any) -> Any:
        if is_tensor(other):
            return linalg.matmul(self, other)
        return linalg.matmul(self, _matrix(other, self)) if isinstance(other, np.ndarray) else NotImplemented

    def __rmatmul__(self: Any, other: Any) -> Any:
        if is_tensor(other):
            return linalg.matmul(other, self)
        return linalg.matmul(_matrix(other, self), self) if isinstance(other, np.ndarray) else NotImplemented

    @property
    def T(self: Any) -> Tensor:
        """The dimensions in reverse order."""
        return shape.permute(self, tuple(reversed(range(self.array.ndim))))

    @property
    def mT(self: Any) -> Tensor:
        """The last two dimensions swapped."""
        if self.array.ndim < 2:
            raise RuntimeError(f"mT needs a tensor of at least 2 dimensions, got shape {tuple(self.shape)}")
        return shape.transpose(self, -2, -1)

    # ------------------------------------------------------------------ in place

    add_ = in_place(arithmetic.add)
    sub_ = in_place(arithmetic.sub)
    mul_ = in_place(arithmetic.mul)
    div_ = in_place(arithmetic.div)
    pow_ = in_place(arithmetic.pow)
    neg_ = in_place(arithmetic.neg)
    abs_ = in_place(arithmetic.abs)
    exp_ = in_place(elementwise.exp)
    sqrt_ = in_place(elementwise.sqrt)
    log_ = in_place(elementwise.log)
    clamp_ = in_place(bounds.clamp)
    clamp_min_, clamp_max_ = in_place(bounds.clamp_min), in_place(bounds.clamp_max)
    masked_fill_ = in_place(elementwise.masked_fill)
    relu_ = in_place(activation.relu)
    tanh_ = in_place(activation.tanh)
    sign_ = in_place(rounding.sign)
    floor_ = in_place(rounding.floor)
    ceil_ = in_place(rounding.ceil)
    trunc_ = in_place(rounding.trunc)
    round_ = in_place(rounding.round)
    remainder_ = in_place(rounding.remainder)
    floor_divide_ = in_place(rounding.floor_divide)
    sigmoid_ = in_place(activation.sigmoid)
    tril_ = in_place(joining.tril)
    triu_ = in_place(joining.triu)
    scatter_add_ = in_place(gathering.scatter_add)
    scatter_ = in_place(placing.scatter)
    index_add_ = in_place(placing.index_add)
    index_fill_ = in_place(placing.index_fill)
    lerp_ = in_place(elementwise.lerp)
    cumprod_, cumsum_ = in_place(cumulative.cumprod), in_place(reduction.cumsum)
    index_put_ = in_place(indexing.index_put)
    __iadd__, __isub__, __imul__, __itruediv__ = add_, sub_, mul_, div_
    __ipow__, __ifloordiv__, __imod__ = pow_, floor_divide_, remainder_
    __iand__ = in_place(bitwise_and)
    __ior__ = in_place(bitwise_or)
    __ixor__ = in_place(bitwise_xor)

    def __setitem__(self: Any, index: Any, value: Any) -> None:
        value = _value(value, self.dtype)
        if is_tensor(value) and value.array.shape[:1] == (1,):  # leading dimensions of 1 may be dropped
            value = value.reshape(value.shape[next((i for i, n in enumerate(value.shape) if n != 1), value.ndim) :])
        if mode.grad and (self.requires_grad or (is_tensor(value) and value.requires_grad)):
            if not _is_basic(index):
                self._become(indexing.assigned(self, index, value))
                return
            part = indexing.getitem(self, index)
            # After `x[i] += y` has written into x[i], Python also assigns the result to x[i].
            if not (is_tensor(value) and same_part(value, part)):
                part.copy_(value)
            return
        self._check_writable(recording=False)
        indexing.write(self, index, value)
        self._counter[0] += 1

    def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
        """Overwrite the elements with those of src, broadcast and cast; returns the tensor."""
        src = src if is_tensor(src) else wrap(np.asarray(src))
        try:
            src = src.to(self.dtype).expand(self.shape)
        except RuntimeError:
            raise RuntimeError(
                f"copy_: a source of shape {tuple(src.shape)} does not broadcast to shape {tuple(self.shape)}"
            ) from None
        return self._become(src, whole=True)

    def fill_(self: Any, value: Any) -> Any:
        """Fill with one value; returns the tensor."""
        return self._become(elementwise.masked_fill(self, np.True_, value))

    def zero_(self: Any) -> Any:
        """Fill with zeros; returns the tensor."""
        return self.fill_(0)

    def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Fill with normally distributed values; returns the tensor."""
        only_floating("normal_", self)
        if not std >= 0:
            raise RuntimeError(f"normal_ expects std >= 0.0, but found std {std}")
        shape = self.shape  # a compiled function keeps the drawing function, which must not hold the tensor
        drawn = generator_or_default(generator).draw(lambda stream: stream.normal(mean, std, shape))
        return self._overwrite(drawn.astype(self.dtype))

    def uniform_(self: Any, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Fill with values uniform in [from_, to); returns the tensor."""
        only_floating("uniform_", self)
        if not from_ <= to:
            raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={from_}, to={to}")
        drawn = generator_or_default(generator).uniform(self.array.shape, self.dtype)
        return self._overwrite((from_ + (to - from_) * drawn).astype(self.dtype, copy=False))

    def bernoulli_(self: Any, p: float = 0.5, *, generator: Generator | None = None) -> Any:
        """Fill with 1 with probability p, else 0; returns the tensor."""
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
        shape = self.shape
        drawn = generator_or_default(generator).draw(lambda stream: stream.random(shape))
        return self._overwrite((drawn < p).astype(self.dtype))

    def _overwrite(self: Any, array: Array) -> Any:
        """Overwrite all values. As with every in-place operation, what was recorded keeps its history."""
        return self._become(wrap(array), whole=True)

    def _become(self: Any, result: Tensor, whole: bool = False) -> Any:
        """Write a result into this tensor's memory, and take over its history. See ops/writing.py."""
        recording = mode.grad and (self.grad_fn is not None or self._requires_grad or result._requires_grad)
        self._check_writable(recording)
        if result.array.shape != self.array.shape:
            raise RuntimeError(
                f"an in-place operation cannot change shape {tuple(self.shape)} to the broadcast "
                f"shape {tuple(result.shape)}"
            )
        if result.array.dtype != self.array.dtype:
            if category_of(result.array.dtype) > category_of(self.array.dtype):
                raise RuntimeError(f"result type {result.dtype} can't be cast to the desired output type {self.dtype}")
            result = result.to(self.array.dtype)
        write(self, result, recording, whole)
        return self

    def _check_writable(self: Any, recording: bool) -> None:
        """RuntimeError if an in-place operation must not write here."""
        if mode.grad:
            check_write(self, recording)
        require_writable(self.array, "the target of an in-place operation")


def _value(value: Any, dtype: DType) -> Any:
    """A value to write into a tensor; numbers become arrays of its dtype. RuntimeError if one does not fit."""
    if isinstance(value, (int, float, np.generic)):
        return as_number(python_number(value), dtype, halves=False)
    return value


def _is_basic(index: Any) -> bool:
    """Whether an index consists of integers, slices, None and ... alone, and so selects a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all([part is None or part is Ellipsis or type(part) in (int, slice) for part in parts])


def _matrix(other: Array, like: Tensor) -> Tensor:
    return wrap(other.astype(like.dtype, copy=False))
