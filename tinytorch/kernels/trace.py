"""Recording what is done to arrays, so that it can be done again to other numbers without Python deciding anything.

A `Traced` stands for an array while a function runs once. NumPy's functions, operators and methods on it, and the
kernels that `launch` runs, compute as always, in memory that stays, and leave a step each on the `Tape`. Running the
steps again, after new numbers were put into the memory of the inputs, computes the results anew: no array is made, no
shape or dtype looked at, nothing decided. What would decide by values (bool, float, an index) or let them slip away
unseen (np.asarray) raises `NotTraceable` instead.

Memory is shared as it would be without a tape: when the last reference to a Traced and its views is gone, whatever is
made next may lie there, as the steps run in the same order each time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

Array = np.ndarray[Any, Any]
Step = tuple[Callable[..., Any], tuple[Any, ...]]

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector
_ABOUT_SHAPES = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.may_share_memory, np.shares_memory}

_NAMED_OUT = {np.maximum, np.minimum}  # which take the result's place by name only

_tapes = 0  # being recorded now, on all threads


class NotTraceable(TypeError):
    """Something that cannot be recorded was done to an array that is being traced."""


class Tape:
    """The steps recorded so far, and the memory that they work in. `with tape:` while Traced arrays are about."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.kept: list[Any] = []  # what steps refer to other than through arrays
        self._spare: dict[int, list[Array]] = {}  # memory that no Traced needs any more, by size
        self._outside: dict[int, Traced] = {}

    def __enter__(self) -> Tape:
        global _tapes
        _tapes += 1
        return self

    def __exit__(self, *exception: object) -> None:
        global _tapes
        _tapes -= 1
        self._outside.clear()

    def close(self) -> list[Step]:
        """The steps. Whoever does something to a Traced of this tape from now on gets an error."""
        steps, self.steps = self.steps, _Closed()
        return steps

    def empty(self, shape: Any, dtype: Any = np.float64, strides: Any = None) -> Traced:
        """A new array. Strides, in bytes, must leave no gaps."""
        shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)
        dtype = np.dtype(dtype)
        size = dtype.itemsize
        for n in shape:
            size *= int(n)
        size = -(-max(size, 1) // _ALIGNMENT) * _ALIGNMENT
        spare = self._spare.setdefault(size, [])
        memory = spare.pop() if spare else _aligned(size)
        return Traced(self, np.ndarray(shape, dtype, memory, 0, strides), None, memory)

    def outside(self, array: Array) -> Traced:
        """An array that exists without the tape: steps find in it whatever it holds when they run."""
        traced = self._outside.get(id(array))
        if traced is None:
            traced = self._outside[id(array)] = Traced(self, array, None, None)
            self.kept.append(array)  # a kernel may know it by its address
        return traced

    def constant(self, array: Array) -> Traced:
        """A new array that holds these numbers each time the steps are run, even if a later step changes it."""
        traced = self.empty(array.shape, array.dtype)
        self.record(np.copyto, traced, array)
        return traced

    def record(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function that writes into its arguments, and make it a step."""
        values = plain(args)
        result = function(*values)
        self.steps.append((function, values))
        return result

    def give_back(self, memory: Array) -> None:
        """Let the next array of this size have the memory."""
        self._spare[memory.nbytes].append(memory)

    def capture(self, function: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """What a NumPy function returns: views of what they are views of, and copies that a step fills."""
        values, params = plain(args), plain(params)
        results = function(*values, **params)
        if isinstance(results, (tuple, list)):
            owners = [self._owner(args, result) for result in results]
            if all(owners):
                return type(results)(
                    [Traced(self, result, owner) for result, owner in zip(results, owners, strict=True)]
                )
            outs = [self.filled(np.asarray(result)) for result in results]
            self.steps.append((_all_into, (plain(outs), partial(function, *values, **params))))
            return type(results)(outs)
        if not isinstance(results, (np.ndarray, np.generic)):
            raise NotTraceable(f"{_name(function)} gives {type(results).__name__}, which depends on values")
        if isinstance(results, np.ndarray):
            owner = self._owner(args, results)
            if owner is not None:
                return Traced(self, results, owner)
        out = self.filled(np.asarray(results))
        self.steps.append((_into, (out.value, partial(function, *values, **params))))
        return out

    def filled(self, result: Array) -> Traced:
        """A new array in the layout and with the numbers of a result."""
        out = self.empty(result.shape, result.dtype, np.empty_like(result).strides)
        np.copyto(out.value, result)
        return out

    def _owner(self, args: Any, result: Any) -> Traced | None:
        """Which argument a result is a view of."""
        for arg in args:
            if type(arg) is Traced:
                if np.may_share_memory(arg.value, result):
                    return arg
            elif isinstance(arg, (tuple, list)):
                owner = self._owner(arg, result)
                if owner is not None:
                    return owner
        return None


class _Closed(list[Step]):
    """No steps, and none to come."""

    def append(self, step: Step) -> None:
        raise NotTraceable(
            "a Tensor that a compiled function made is used outside of it: return it from the function, whose results "
            "are copies"
        )


def _aligned(size: int) -> Array:
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]


def _into(out: Array, function: Callable[[], Any]) -> None:
    fill_all((out,), (function(),), _name(function))


def _all_into(outs: Sequence[Array], function: Callable[[], Any]) -> None:
    fill_all(outs, function(), _name(function))


def fill_all(outs: Sequence[Array | None], results: Sequence[Any], name: str) -> None:
    """Copy results to where the steps after this one look for them. RuntimeError where shapes are not as traced."""
    for out, result in zip(outs, results, strict=True):
        if out is None:
            continue
        if np.shape(result) != out.shape:
            raise RuntimeError(
                f"{name} gave shape {out.shape} when the function was traced and gives {np.shape(result)} now: shapes "
                "that depend on values cannot be compiled"
            )
        np.copyto(out, result)


def _name(function: Any) -> str:
    function = function.func if isinstance(function, partial) else function
    return str(getattr(function, "__qualname__", repr(function)))


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


def launch(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), for a kernel, or a check, that writes results into its arguments.

    Where one of them is Traced it becomes a step. What it returns must follow from shapes and layouts alone.
    """
    if _tapes:
        tape = _tape_of(args)
        if tape is not None:
            _check_known(args)
            return tape.record(function, *args)
    return function(*args)


_CONSTANTS: dict[int, Array] = {}


def constant(array: Array) -> Array:
    """The array, which nothing ever writes into: `launch` takes no other array that is not traced, lest one escapes."""
    _CONSTANTS[id(array)] = array
    return array


def _check_known(args: Any) -> None:
    for arg in args:
        if type(arg) is tuple:
            _check_known(arg)
        elif isinstance(arg, np.ndarray) and id(arg) not in _CONSTANTS:
            raise NotTraceable(f"a kernel gets an array of shape {arg.shape} that is not traced: make it with like=")


def _tape_of(args: Any) -> Tape | None:
    for arg in args:
        tape = arg.tape if type(arg) is Traced else _tape_of(arg) if type(arg) is tuple else None
        if tape is not None:
            return tape
    return None


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

    __slots__ = ("_memory", "base", "tape", "value")

    def __init__(self, tape: Tape, value: Array, base: Traced | None, memory: Array | None = None) -> None:
        self._memory = memory  # its own
        self.tape, self.value = tape, value
        root = None if base is None else base.base
        self.base: Traced | None = base if root is None else root  # whose memory it shares, as in NumPy

    def __del__(self) -> None:
        if self._memory is not None:
            self.tape.give_back(self._memory)

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

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """As an array's."""
        return np.add.reduce(self, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def copy(self) -> Traced:
        """In C order."""
        copied = self.tape.empty(self.shape, self.dtype)
        self.tape.record(np.copyto, copied, self)
        return copied

    def reshape(self, *shape: Any) -> Traced:
        """A view, or of what is not in order a copy."""
        view = self.value.reshape(*shape)
        return Traced(self.tape, view, self) if np.may_share_memory(view, self.value) else self.copy().reshape(*shape)

    def take(self, indices: Any, axis: int | None = None, mode: Any = "raise") -> Any:
        """As an array's."""
        return np.take(self, indices, axis=axis, mode=mode)

    def fill(self, value: Any) -> None:
        """The same number everywhere."""
        self.tape.record(np.ndarray.fill, self, value)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, index: Any) -> Any:
        index = index if isinstance(index, tuple) else (index,)
        # With "..." also a single element is a view.
        return self.tape.capture(operator.getitem, (self, index if ... in _basic(index) else (*index, ...)), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tape.record(operator.setitem, self, index, value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **params: Any) -> Any:
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if method == "at":
            _check_target(inputs[0], f"np.{ufunc.__name__}.at")
            return self.tape.record(function, *inputs)
        values, params = plain(inputs), plain(params)
        if out is None:
            results = function(*values, **params)
            several = isinstance(results, tuple)
            outs = tuple([self.tape.filled(np.asarray(r)) for r in (results if several else (results,))])
        else:
            several, outs = len(out) > 1, out
            for target in outs:
                _check_target(target, f"np.{ufunc.__name__}")
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


def _check_target(array: Any, name: str) -> None:
    if type(array) is not Traced:
        raise NotTraceable(f"{name} writes traced numbers into an array that is not traced: make it with like=")


def _basic(index: Any) -> list[Any]:
    """The parts of an index that can be compared with `in`."""
    return [part for part in index if part is ... or part is None or isinstance(part, (int, slice))]


def _new(tape: Tape, value: Any, shape: Any, dtype: Any) -> Traced:
    new = tape.empty(shape, dtype)
    new.fill(value)
    return new


def _empty(tape: Tape, shape: Any, dtype: Any = np.float64, order: str = "C", device: Any = None) -> Traced:
    return tape.empty(shape, dtype)


def _zeros(tape: Tape, shape: Any, dtype: Any = np.float64, order: str = "C", device: Any = None) -> Traced:
    return _new(tape, 0, shape, dtype)


def _ones(tape: Tape, shape: Any, dtype: Any = np.float64, order: str = "C", device: Any = None) -> Traced:
    return _new(tape, 1, shape, dtype)


def _empty_like(tape: Tape, array: Any, dtype: Any = None, shape: Any = None) -> Traced:
    like = np.empty_like(plain(array), dtype, shape=shape)
    return tape.empty(like.shape, like.dtype, like.strides)


def _copyto(tape: Tape, target: Any, source: Any, **params: Any) -> None:
    _check_target(target, "np.copyto")
    tape.record(partial(np.copyto, **plain(params)), target, source)


def _take(tape: Tape, array: Any, indices: Any, axis: int | None = None, mode: Any = "raise") -> Traced:
    out = tape.filled(np.take(plain(array), plain(indices), axis, mode=mode))
    tape.record(np.take, array, indices, axis, out, mode)
    return out


def _where(tape: Tape, condition: Any, a: Any, b: Any) -> Traced:
    out = tape.filled(np.where(*plain((condition, a, b))))
    tape.record(np.copyto, out, b)
    tape.record(partial(np.copyto, where=plain(condition)), out, a)
    return out


def _concatenate(tape: Tape, arrays: Any, axis: int = 0) -> Traced:
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
