"""An array while it is traced: NumPy's operators, functions and methods on it compute, and leave steps on its tape."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

if TYPE_CHECKING:
    from .tape import Tape

Array = np.ndarray[Any, Any]

_ABOUT_SHAPES = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.may_share_memory, np.shares_memory}
_NAMED_OUT = {np.maximum, np.minimum}  # which take the result's place by name only


class NotTraceable(TypeError):
    """Something that cannot be recorded was done to an array that is being traced."""


def plain(value: Any) -> Any:
    """With arrays in place of the Traced, also within tuples, lists and dictionaries."""
    kind = type(value)
    if kind is Traced:
        return value.value
    if kind is tuple or kind is list:
        return kind([plain(v) for v in value])
    if kind is dict:
        return {key: plain(v) for key, v in value.items()}
    return value


def _method(name: str) -> Any:
    function = getattr(np.ndarray, name)

    def method(self: Traced, *args: Any, **params: Any) -> Any:
        return self.tape.capture(function, (self, *args), params)

    return method


def _refused(name: str) -> Any:
    def method(self: Traced, *args: Any, **params: Any) -> Any:
        raise NotTraceable(
            f"{name} reads the values of an array of shape {self.shape} while the function is traced: they are others "
            "at each call. Return the Tensor, and read it outside of the compiled function"
        )

    return method


def _about(name: str) -> Any:
    return property(lambda self: getattr(self.value, name))


class Traced(NDArrayOperatorsMixin):
    """Stands for an array on a tape; has an array's attributes, operators and methods."""

    __slots__ = ("base", "memory", "tape", "value", "writes")

    def __init__(self, tape: Tape, value: Array, base: Traced | None, memory: Array | None = None) -> None:
        self.memory = memory  # its own, in bytes
        self.tape, self.value = tape, value
        root = None if base is None else base.base
        self.base: Traced | None = base if root is None else root  # whose memory it shares, as in NumPy
        self.writes = 0  # into its memory, since it was made
        tape.alive[id(self)] = value

    def __del__(self) -> None:
        self.tape.alive.pop(id(self), None)
        if self.memory is not None:
            self.tape.give_back(self.memory)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"an array has no attribute {name!r}")
        raise NotTraceable(f"{name} of an array of shape {self.shape} cannot be traced")

    @property
    def root(self) -> Traced:
        """Whose memory it lies in: its base, or itself."""
        return self if self.base is None else self.base

    shape, dtype, ndim, size, itemsize, nbytes, strides, flags, ctypes = (
        _about(name) for name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags", "ctypes")
    )
    transpose, swapaxes, squeeze, view, ravel = (
        _method(name) for name in ("transpose", "swapaxes", "squeeze", "view", "ravel")
    )
    flatten, astype, repeat, argmax, argmin = (
        _method(name) for name in ("flatten", "astype", "repeat", "argmax", "argmin")
    )
    max, min, prod, mean, any, all, cumsum, argsort = (
        _method(name) for name in ("max", "min", "prod", "mean", "any", "all", "cumsum", "argsort")
    )
    __bool__, __int__, __float__, __index__, __complex__, __contains__ = (
        _refused(name) for name in ("bool()", "int()", "float()", "an index", "complex()", "in")
    )
    __array__, item, tolist, tobytes = (_refused(name) for name in ("np.asarray()", "item()", "tolist()", "tobytes()"))

    @property
    def T(self) -> Traced:
        """The dimensions in reverse order."""
        transposed: Traced = self.transpose()
        return transposed

    @property
    def mT(self) -> Traced:
        """The last two dimensions swapped."""
        swapped: Traced = self.swapaxes(-1, -2)
        return swapped

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **params: Any) -> Any:
        """As an array's."""
        return np.add.reduce(self, axis=axis, dtype=dtype, out=out, keepdims=keepdims, **params)

    def copy(self, order: Any = "C") -> Traced:
        """As an array's."""
        copied: Traced = np.empty_like(self, order=order)  # type: ignore[assignment]
        self.tape.record(np.copyto, copied, self)
        return copied

    def reshape(self, *shape: Any, **params: Any) -> Any:
        """A view, or of what is not in order a copy."""
        if params:
            return self.tape.capture(np.ndarray.reshape, (self, *shape), params)
        view = self.value.reshape(*shape)
        if view.size and not np.may_share_memory(view, self.value):
            return self.copy().reshape(*shape)
        return Traced(self.tape, view, self)

    def take(self, indices: Any, axis: int | None = None, out: Any = None, mode: Any = "raise") -> Any:
        """As an array's."""
        return np.take(self, indices, axis=axis, out=out, mode=mode)

    def fill(self, value: Any) -> None:
        """The same number everywhere."""
        self.root.writes += 1
        self.tape.record(np.ndarray.fill, self, value)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, index: Any) -> Any:
        index = index if isinstance(index, tuple) else (index,)
        # With "..." also a single element is a view.
        return self.tape.capture(operator.getitem, (self, index if ... in _basic(index) else (*index, ...)), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        self.root.writes += 1
        self.tape.record(operator.setitem, self, index, value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **params: Any) -> Any:
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if method == "at":
            _count_write(inputs[0], f"np.{ufunc.__name__}.at")
            return self.tape.record(function, *inputs)
        values, params = plain(inputs), plain(params)
        if out is None:
            results = function(*values, **params)
            several = isinstance(results, tuple)
            outs = tuple([self.tape.filled(np.asarray(r)) for r in (results if several else (results,))])
        else:
            several, outs = len(out) > 1, out
            for target in outs:
                _count_write(target, f"np.{ufunc.__name__}")
            function(*values, out=plain(outs) if method == "__call__" else plain(outs[0]), **params)
        if method == "__call__" and not params and ufunc not in _NAMED_OUT:
            self.tape.steps.append((function, (*values, *plain(outs))))
        else:
            where = plain(outs) if method == "__call__" else outs[0].value
            self.tape.steps.append((partial(function, out=where, **params), values))
        return outs if several else outs[0]

    def __array_function__(self, function: Any, types: Any, args: Any, params: Any) -> Any:
        if function in _ABOUT_SHAPES:
            return function(*plain(args), **plain(params))
        special = _SPECIAL.get(function)
        if special is not None:
            return special(self.tape, *args, **params)
        return self.tape.capture(function, args, params)


def _count_write(array: Any, name: str) -> None:
    if type(array) is not Traced:
        raise NotTraceable(f"{name} writes traced numbers into an array that is not traced: make it with like=")
    array.root.writes += 1


def _basic(index: Any) -> list[Any]:
    """The parts of an index that can be compared with `in`."""
    return [part for part in index if part is ... or part is None or isinstance(part, (int, slice))]


def _empty(tape: Tape, shape: Any, dtype: Any = np.float64, order: Any = "C", device: Any = None) -> Traced:
    return tape.empty(shape, dtype, None if order == "C" else np.empty(shape, dtype, order).strides)


def _zeros(tape: Tape, shape: Any, dtype: Any = np.float64, order: Any = "C", device: Any = None) -> Traced:
    new = _empty(tape, shape, dtype, order)
    new.fill(0)
    return new


def _ones(tape: Tape, shape: Any, dtype: Any = np.float64, order: Any = "C", device: Any = None) -> Traced:
    new = _empty(tape, shape, dtype, order)
    new.fill(1)
    return new


def _empty_like(tape: Tape, array: Any, *args: Any, **params: Any) -> Traced:
    like = np.empty_like(plain(array), *args, **params)
    return tape.empty(like.shape, like.dtype, like.strides)


def _copyto(tape: Tape, target: Any, source: Any, **params: Any) -> None:
    _count_write(target, "np.copyto")
    tape.record(partial(np.copyto, **plain(params)), target, source)


def _take(tape: Tape, array: Any, indices: Any, axis: Any = None, out: Any = None, mode: Any = "raise") -> Any:
    if out is None:
        out = tape.filled(np.take(plain(array), plain(indices), axis, mode=mode))
    else:
        _count_write(out, "np.take")
    tape.record(np.take, array, indices, axis, out, mode)
    return out


def _where(tape: Tape, condition: Any, *choices: Any) -> Any:
    if not choices:
        return tape.capture(np.where, (condition,), {})
    a, b = choices
    out = tape.filled(np.where(*plain((condition, a, b))))
    tape.record(np.copyto, out, b)
    tape.record(partial(np.copyto, where=plain(condition)), out, a)
    return out


def _concatenate(tape: Tape, arrays: Any, axis: Any = 0, **params: Any) -> Any:
    if params:
        return tape.capture(np.concatenate, (arrays, axis), params)
    out = tape.filled(np.concatenate(plain(arrays), axis))
    tape.record(np.concatenate, arrays, axis, out)
    return out


_SPECIAL: dict[Any, Callable[..., Any]] = {
    np.empty: _empty,
    np.zeros: _zeros,
    np.ones: _ones,
    np.empty_like: _empty_like,
    np.copyto: _copyto,
    np.concatenate: _concatenate,
    np.where: _where,
    np.take: _take,
}  # fmt: skip

ARRAYS = frozenset({np.ndarray, Traced})  # the types of what an operation works on
