"""What a Tensor inherits: every operation as a method, Python's operators, and the in-place operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .dtypes import as_number
from .kernels.memory import require_writable
from .kernels.traced import Traced
from .modes import mode
from .ops import (
    activation,
    arithmetic,
    bounds,
    comparison,
    elementwise,
    indexing,
    joining,
    linalg,
    reduction,
    repeating,
    rounding,
    selecting,
    shape,
    softmax,
    sorting,
)  # fmt: skip
from .ops.common import array_of, as_array, is_tensor, only_floating, python_number, wrap
from .random import Generator, default_generator

if TYPE_CHECKING:
    from .tensor import Tensor


def _operator(function: Any, reflected: bool = False) -> Callable[[Any, Any], Tensor]:
    """A method for a Python operator: other types get their turn, as NotImplemented asks."""

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        return function(other, self) if reflected else function(self, other)

    return method


def _bitwise(ufunc: Any) -> Any:
    def method(self: Any, other: Any) -> Any:
        return wrap(as_array(ufunc(array_of(self), array_of(other))))

    return method


def _in_place(function: Any) -> Any:
    def method(self: Any, *args: Any, **params: Any) -> Any:
        return self._become(function(self, *args, **params))

    method.__doc__ = f"`{function.__name__}`, written into this tensor's own memory; returns the tensor."
    return method


class Methods:
    """The operations of a Tensor. Each is the public function of its family in ops/, with its docstring there."""

    array: np.ndarray[Any, Any]
    _counter: list[int]

    # arithmetic
    add, sub, mul, div, pow = arithmetic.add, arithmetic.sub, arithmetic.mul, arithmetic.div, arithmetic.pow
    subtract, multiply, divide, true_divide = sub, mul, div, div
    neg, negative, abs = arithmetic.neg, arithmetic.neg, arithmetic.abs
    square, reciprocal = arithmetic.square, arithmetic.reciprocal
    sign, floor, ceil, trunc, round = rounding.sign, rounding.floor, rounding.ceil, rounding.trunc, rounding.round
    floor_divide, remainder = rounding.floor_divide, rounding.remainder

    # elementwise
    exp, expm1, log, log1p = elementwise.exp, elementwise.expm1, elementwise.log, elementwise.log1p
    sqrt, rsqrt, sin, cos = elementwise.sqrt, elementwise.rsqrt, elementwise.sin, elementwise.cos
    maximum, minimum, clamp, clip = bounds.maximum, bounds.minimum, bounds.clamp, bounds.clamp
    masked_fill = elementwise.masked_fill
    erf, tanh, sigmoid, relu = activation.erf, activation.tanh, activation.sigmoid, activation.relu
    softmax, log_softmax = softmax.softmax, softmax.log_softmax

    # reduction
    sum, mean, prod, var, std = reduction.sum, reduction.mean, reduction.prod, reduction.var, reduction.std
    max, min, amax, amin = reduction.max, reduction.min, reduction.amax, reduction.amin
    argmax, argmin, any, all = reduction.argmax, reduction.argmin, reduction.any, reduction.all
    cumsum, logsumexp = reduction.cumsum, reduction.logsumexp

    # shape
    reshape, view, view_as, alias = shape.reshape, shape.view, shape.view_as, shape.alias
    flatten, unflatten, squeeze, unsqueeze = shape.flatten, shape.unflatten, shape.squeeze, shape.unsqueeze
    permute, transpose, t, movedim, swapaxes = shape.permute, shape.transpose, shape.t, shape.movedim, shape.transpose
    unfold = shape.unfold
    expand, broadcast_to, expand_as, sum_to_size = shape.expand, shape.broadcast_to, shape.expand_as, shape.sum_to_size
    split, chunk, unbind, tril, triu = joining.split, joining.chunk, joining.unbind, joining.tril, joining.triu
    repeat, tile, repeat_interleave = repeating.repeat, repeating.tile, repeating.repeat_interleave
    flip, roll, contiguous = joining.flip, joining.roll, shape.contiguous

    # indexing
    gather, scatter_add, index_select = indexing.gather, indexing.scatter_add, selecting.index_select
    index_put, masked_select, take_along_dim = indexing.index_put, selecting.masked_select, selecting.take_along_dim
    topk, sort, argsort = sorting.topk, sorting.sort, sorting.argsort
    nonzero, select, narrow = selecting.nonzero, selecting.select, selecting.narrow
    __getitem__ = indexing.getitem

    # linalg
    matmul, mm, bmm, mv, dot, outer = linalg.matmul, linalg.mm, linalg.bmm, linalg.mv, linalg.dot, linalg.outer

    # tests and comparisons have no gradient
    isnan, isinf, isfinite = comparison.isnan, comparison.isinf, comparison.isfinite
    logical_not, logical_and = comparison.logical_not, comparison.logical_and
    logical_or, logical_xor = comparison.logical_or, comparison.logical_xor
    eq, ne, lt, le, gt, ge = (
        comparison.eq, comparison.ne, comparison.lt, comparison.le, comparison.gt, comparison.ge
    )  # fmt: skip
    __eq__, __ne__ = _operator(eq), _operator(ne)  # type: ignore[assignment]
    __lt__, __le__, __gt__, __ge__ = _operator(lt), _operator(le), _operator(gt), _operator(ge)
    __and__ = __rand__ = _bitwise(np.bitwise_and)
    __or__ = __ror__ = _bitwise(np.bitwise_or)
    __xor__ = __rxor__ = _bitwise(np.bitwise_xor)

    def __invert__(self: Any) -> Any:
        return wrap(as_array(np.invert(array_of(self))))

    def __pos__(self: Any) -> Any:
        return self

    # operators
    __add__, __radd__ = _operator(arithmetic.add), _operator(arithmetic.add, reflected=True)
    __sub__, __rsub__ = _operator(arithmetic.sub), _operator(arithmetic.sub, reflected=True)
    __mul__, __rmul__ = _operator(arithmetic.mul), _operator(arithmetic.mul, reflected=True)
    __truediv__, __rtruediv__ = _operator(arithmetic.div), _operator(arithmetic.div, reflected=True)
    __pow__, __rpow__ = _operator(arithmetic.pow), _operator(arithmetic.pow, reflected=True)
    __mod__, __rmod__ = _operator(rounding.remainder), _operator(rounding.remainder, reflected=True)
    __floordiv__ = _operator(rounding.floor_divide)
    __rfloordiv__ = _operator(rounding.floor_divide, reflected=True)
    __neg__, __abs__ = arithmetic.neg, arithmetic.abs

    def __matmul__(self: Any, other: Any) -> Any:
        return linalg.matmul(self, _matrix(other, self)) if _is_matrix(other) else NotImplemented

    def __rmatmul__(self: Any, other: Any) -> Any:
        return linalg.matmul(_matrix(other, self), self) if _is_matrix(other) else NotImplemented

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

    add_, sub_, mul_, div_ = (_in_place(f) for f in (arithmetic.add, arithmetic.sub, arithmetic.mul, arithmetic.div))
    pow_, neg_, abs_, exp_ = (_in_place(f) for f in (arithmetic.pow, arithmetic.neg, arithmetic.abs, elementwise.exp))
    sqrt_, log_, clamp_ = (_in_place(f) for f in (elementwise.sqrt, elementwise.log, bounds.clamp))
    masked_fill_, relu_, tanh_ = (_in_place(f) for f in (elementwise.masked_fill, activation.relu, activation.tanh))
    sign_, floor_, ceil_ = (_in_place(f) for f in (rounding.sign, rounding.floor, rounding.ceil))
    trunc_, round_, remainder_ = (_in_place(f) for f in (rounding.trunc, rounding.round, rounding.remainder))
    floor_divide_ = _in_place(rounding.floor_divide)
    sigmoid_, tril_, triu_ = (_in_place(f) for f in (activation.sigmoid, joining.tril, joining.triu))
    scatter_add_, index_put_ = _in_place(indexing.scatter_add), _in_place(indexing.index_put)
    __iadd__, __isub__, __imul__, __itruediv__ = add_, sub_, mul_, div_
    __ipow__, __ifloordiv__, __imod__ = pow_, floor_divide_, remainder_
    __iand__, __ior__, __ixor__ = (_in_place(f) for f in (__and__, __or__, __xor__))

    def __setitem__(self: Any, index: Any, value: Any) -> None:
        value = _value(value, self.dtype)
        if is_tensor(value) and value.array.shape[:1] == (1,):  # such dimensions in front broadcast to none at all, too
            value = value.reshape(value.shape[next((i for i, n in enumerate(value.shape) if n != 1), value.ndim) :])
        if mode.grad and (self._requires_grad or (is_tensor(value) and value._requires_grad)):
            self._become(indexing.assigned(self, index, value))
            return
        self._check_writable(recording=False)
        indexing.write(array_of(self), index, array_of(value))
        self._counter[0] += 1

    def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
        """The elements of src, broadcast and cast, in place of these; returns the tensor."""
        src = src if is_tensor(src) else wrap(np.asarray(src))
        return self._become(elementwise.where(np.ones(self.shape, np.bool_), src.to(self.dtype), self))

    def fill_(self: Any, value: Any) -> Any:
        """The same value everywhere; returns the tensor."""
        return self._become(elementwise.masked_fill(self, np.True_, value))

    def zero_(self: Any) -> Any:
        """0 everywhere; returns the tensor."""
        return self.fill_(0)

    def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Normally distributed values; returns the tensor."""
        only_floating("normal_", self)
        if not std >= 0:
            raise RuntimeError(f"normal_ expects std >= 0.0, but found std {std}")
        shape = self.shape  # a compiled function keeps the function that draws, which must not hold the tensor
        drawn = (generator or default_generator).draw(lambda stream: stream.normal(mean, std, shape))
        return self._overwrite(drawn.astype(self.dtype))

    def uniform_(self: Any, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Values uniform from from_ to to; returns the tensor."""
        only_floating("uniform_", self)
        if not from_ <= to:
            raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={from_}, to={to}")
        drawn = (generator or default_generator).uniform(self.array.shape, self.dtype)
        return self._overwrite((from_ + (to - from_) * drawn).astype(self.dtype, copy=False))

    def bernoulli_(self: Any, p: float = 0.5, *, generator: Generator | None = None) -> Any:
        """1 with probability p, else 0; returns the tensor."""
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
        shape = self.shape
        drawn = (generator or default_generator).draw(lambda stream: stream.random(shape))
        return self._overwrite((drawn < p).astype(self.dtype))

    def _overwrite(self: Any, array: Any) -> Any:
        """Other values everywhere. Like every in-place operation, it leaves what was recorded a history."""
        return self.copy_(wrap(array)) if mode.grad and self._requires_grad else self._become(wrap(array))

    def _become(self: Any, result: Any) -> Any:
        """Write a result into this tensor's memory, and make its history this tensor's."""
        recording = mode.grad and (self._requires_grad or result._requires_grad)
        self._check_writable(recording)
        if result.array.shape != self.array.shape:
            raise RuntimeError(
                f"an in-place operation cannot change shape {tuple(self.shape)} to the broadcast "
                f"shape {tuple(result.shape)}"
            )
        if not np.can_cast(result.array.dtype, self.array.dtype, "same_kind"):
            raise RuntimeError(f"result type {result.dtype} can't be cast to the desired output type {self.dtype}")
        if recording and result.array.dtype != self.array.dtype:
            result = result.to(self.array.dtype)
        if result.grad_fn is not None:
            result.grad_fn.set_aside(self)
        np.copyto(array_of(self), array_of(result), casting="same_kind")
        self._counter[0] += 1
        if recording:
            self._counter[1] = self._counter[0]
            self._set_history(result)
        return self

    def _check_writable(self: Any, recording: bool) -> None:
        """RuntimeError where an in-place operation would write what it must not."""
        if mode.grad:
            self._check_fresh()
            if self._requires_grad and self.grad_fn is None:
                raise RuntimeError(
                    "a leaf Tensor that requires grad is being used in an in-place operation: do it under no_grad(), "
                    "or use the out-of-place operation"
                )
            base = self._base
            if base is not None and (recording or base._requires_grad):
                raise RuntimeError(_why_no_write_to_view(self, base))
        require_writable(self.array, "the target of an in-place operation")


def _value(value: Any, dtype: Any) -> Any:
    """What is written into a tensor: a number as an array of its dtype. RuntimeError where it does not fit."""
    if isinstance(value, (int, float, np.generic)):
        return as_number(python_number(value), dtype, halves=False)
    return value


def _why_no_write_to_view(view: Any, base: Any) -> str:
    if base._requires_grad and base.grad_fn is None:
        return (
            "a view of a leaf Tensor that requires grad is being used in an in-place operation: do it under no_grad(), "
            "or use the out-of-place operation"
        )
    if base._requires_grad and not view._requires_grad:
        return (
            "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Move both into "
            "the no_grad block, so that the change is not recorded, or both out of it"
        )
    return (
        "an in-place operation on a view would have to rewrite the history of its base: change the base itself "
        "(base[index] = ...), or clone() the view first"
    )


def _is_matrix(other: Any) -> bool:
    return is_tensor(other) or isinstance(other, np.ndarray)


def _matrix(other: Any, like: Any) -> Any:
    return other if is_tensor(other) else wrap(other.astype(like.dtype, copy=False))


_OPERANDS = (Methods, int, float, np.ndarray, np.generic, Traced)  # what an operator takes on its other side
