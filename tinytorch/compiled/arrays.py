"""The arrays that a function sees while it is recorded: NumPy computes on them, and leaves steps on the tape.

A `Recorded` is an array in the tape's memory. NumPy asks it what its operators and functions should do
(`__array_ufunc__`, `__array_function__`); its methods are defined here, or raise `NotTraceable`, as does anything that
would read its values. The steps contain plain arrays over the same memory. What NumPy does without asking (np.asarray,
an index into a plain array) escapes: `escaped` recognises a plain array in recorded memory; a copy of one is not
recorded, and is refused as an argument of a kernel and as an operation's result.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numba.extending import typeof_impl

from ..dtypes import DTypeLike

if TYPE_CHECKING:
    from .tape import Tape

Array = np.ndarray[Any, Any]

_ABOUT_SHAPES = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.may_share_memory, np.shares_memory}
_NAMED_OUT = {np.maximum, np.minimum}  # which take `out` by name only


class NotTraceable(TypeError):
    """Something that cannot be recorded was done to an array that is being recorded."""


def plain(value: Any) -> Any:
    """The value with plain arrays instead of Recorded ones, also within tuples, lists and dictionaries."""
    kind = type(value)
    if kind is Recorded:
        return value.value
    if kind is tuple or kind is list:
        return kind([plain(v) for v in value])
    if kind is dict:
        return {key: plain(v) for key, v in value.items()}
    return value


def escaped(array: Any) -> bool:
    """Whether it is a plain array in the memory of a recorded one."""
    if type(array) is not np.ndarray:
        return False
    while isinstance(array, np.ndarray):
        if type(array) is Recorded:
            return True
        array = array.base
    return False


def check_none_escaped(values: Sequence[Any]) -> None:
    """NotTraceable if an array, also within tuples and lists, is a plain view of a recorded one."""
    for value in values:
        if type(value) is tuple or type(value) is list:
            check_none_escaped(value)
        elif escaped(value):
            raise NotTraceable(
                f"np.asarray() reads the values of an array of shape {value.shape} while the function is traced: they "
                "are others at each call. Work on the array itself"
            )


def _method(name: str) -> Any:
    function = getattr(np.ndarray, name)

    def method(self: Recorded, *args: Any, **params: Any) -> Any:
        return self.tape.capture(function, (self, *args), params)

    return method


def _refused(name: str) -> Any:
    def method(self: Recorded, *args: Any, **params: Any) -> Any:
        raise NotTraceable(
            f"{name} reads the values of an array of shape {self.shape} while the function is traced: they are others "
            "at each call. Return the Tensor, and read it outside of the compiled function"
        )

    return method


def _unknown(name: str) -> Any:
    def method(self: Recorded, *args: Any, **params: Any) -> Any:
        raise NotTraceable(f"{name} of an array of shape {self.shape} cannot be traced")

    return method if callable(getattr(np.ndarray, name)) else property(method)


def _about(name: str) -> Any:
    return property(lambda self: getattr(self.value, name))


class _Anchor(np.ndarray):
    """Stands between a Recorded and its memory, so that a plain view of the Recorded has it as its base.

    NumPy follows bases through arrays of one type down to the owner of the memory, and would skip the Recorded.
    """


class Recorded(np.ndarray):
    """An array on a tape. Only the tape makes them: anything else that would make one raises NotTraceable."""

    __numba_array_subtype_dispatch__ = True  # Numba asks _in_numba

    tape: Tape
    value: Array  # the plain array over the same memory
    memory: Array | None = None  # its own, in bytes
    writes = 0  # to its memory, since it was made
    _base: Recorded | None = None

    def __new__(cls, tape: Tape, value: Array, base: Recorded | None = None, memory: Array | None = None) -> Recorded:
        """`base` is the array whose memory it shares; `memory` is given back once nothing refers to it or its views."""
        self: Any = value.view(_Anchor).view(cls)
        self.memory = memory
        self.tape, self.value = tape, value
        self._base = None if base is None else base.root
        tape.alive[id(self)] = value
        return self

    def __array_finalize__(self, source: Any) -> None:
        if type(source) is Recorded:
            raise NotTraceable(f"an array of shape {source.shape} is copied or viewed in a way that cannot be traced")

    def __del__(self) -> None:
        if "tape" in self.__dict__:
            self.tape.alive.pop(id(self), None)
            if self.memory is not None:
                self.tape.give_back(self.memory)

    def __repr__(self) -> str:
        return f"<a recorded array, {self.dtype} {self.shape}>"

    __str__ = __repr__

    @property
    def base(self) -> Recorded | None:
        """The array whose memory it shares, as in NumPy."""
        return self._base

    @property
    def root(self) -> Recorded:
        """The array that owns its memory: its base, or itself."""
        return self if self._base is None else self._base

    # Not to be assigned to, either.
    shape, dtype, strides, flags, ctypes = (_about(name) for name in ("shape", "dtype", "strides", "flags", "ctypes"))
    transpose, swapaxes, squeeze, ravel = (_method(name) for name in ("transpose", "swapaxes", "squeeze", "ravel"))
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
    def T(self) -> Recorded:
        """The dimensions in reverse order."""
        transposed: Recorded = self.transpose()
        return transposed

    @property
    def mT(self) -> Recorded:
        """The last two dimensions swapped."""
        swapped: Recorded = self.swapaxes(-1, -2)
        return swapped

    def sum(  # type: ignore[override]
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **params: Any
    ) -> Any:
        """As an array's."""
        return np.add.reduce(self, axis=axis, dtype=dtype, out=out, keepdims=keepdims, **params)

    def copy(self, order: Any = "C") -> Recorded:
        """As an array's."""
        copied: Recorded = np.empty_like(self, order=order)
        self.tape.record(np.copyto, copied, self)
        return copied

    def reshape(self, *shape: Any, **params: Any) -> Any:
        """A view, or a copy if the elements are not in order."""
        if params:
            return self.tape.capture(np.ndarray.reshape, (self, *shape), params)
        view = self.value.reshape(*shape)
        if view.size and not np.may_share_memory(view, self.value):
            return self.copy().reshape(*shape)
        return Recorded(self.tape, view, self)

    def take(  # type: ignore[override]
        self, indices: Any, axis: int | None = None, out: Any = None, mode: Any = "raise"
    ) -> Any:
        """As an array's."""
        return np.take(self, indices, axis=axis, out=out, mode=mode)

    def fill(self, value: Any) -> None:
        """Fill with one number."""
        self.root.writes += 1
        self.tape.record(np.ndarray.fill, self, value)

    def view(self, *args: Any, **params: Any) -> Any:
        """As an array's; if a plain array is requested, the array itself, which stands for one."""
        return self if args == (np.ndarray,) else self.tape.capture(np.ndarray.view, (self, *args), params)

    def __getitem__(self, index: Any) -> Any:
        index = index if isinstance(index, tuple) else (index,)
        # With "..." even a single element is a view.
        return self.tape.capture(operator.getitem, (self, index if ... in _basic(index) else (*index, ...)), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        self.root.writes += 1
        self.tape.record(operator.setitem, self, index, value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **params: Any) -> Any:
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        check_none_escaped(inputs)
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

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, params: Any) -> Any:
        if function in _ABOUT_SHAPES:
            return function(*plain(args), **plain(params))
        special = _SPECIAL.get(function)
        if special is not None:
            return special(self.tape, *args, **params)
        return self.tape.capture(function, args, params)


@typeof_impl.register(Recorded)  # type: ignore[untyped-decorator]
def _in_numba(array: Recorded, context: object) -> None:
    raise NotTraceable(
        f"a function of Numba's gets an array of shape {array.shape} while the function is traced: enter it through "
        "kernels.launch.launched"
    )


def _count_write(array: Array, name: str) -> None:
    if type(array) is not Recorded:
        raise NotTraceable(f"{name} writes traced numbers into an array that is not recorded")
    array.root.writes += 1


def _basic(index: tuple[Any, ...]) -> list[Any]:
    """The parts of an index, in a form that `in` can compare."""
    return [part for part in index if part is ... or part is None or isinstance(part, (int, slice))]


def _empty(
    tape: Tape,
    shape: int | tuple[int, ...],
    dtype: DTypeLike = np.float64,
    order: Literal["C", "F"] = "C",
    device: str | None = None,
) -> Recorded:
    return tape.empty(shape, dtype, None if order == "C" else np.empty(shape, dtype, order).strides)


def _zeros(
    tape: Tape,
    shape: int | tuple[int, ...],
    dtype: DTypeLike = np.float64,
    order: Literal["C", "F"] = "C",
    device: str | None = None,
) -> Recorded:
    new = _empty(tape, shape, dtype, order)
    new.fill(0)
    return new


def _ones(
    tape: Tape,
    shape: int | tuple[int, ...],
    dtype: DTypeLike = np.float64,
    order: Literal["C", "F"] = "C",
    device: str | None = None,
) -> Recorded:
    new = _empty(tape, shape, dtype, order)
    new.fill(1)
    return new


def _empty_like(tape: Tape, array: Array, *args: Any, **params: Any) -> Recorded:
    like = np.empty_like(plain(array), *args, **params)
    return tape.empty(like.shape, like.dtype, like.strides)


def _copyto(tape: Tape, target: Array, source: Any, **params: Any) -> None:
    _count_write(target, "np.copyto")
    tape.record(partial(np.copyto, **plain(params)), target, source)


def _take(
    tape: Tape, array: Array, indices: Any, axis: int | None = None, out: Array | None = None, mode: Any = "raise"
) -> Any:
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


def _concatenate(tape: Tape, arrays: Sequence[Array], axis: int = 0, **params: Any) -> Any:
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

# Attributes that any array needs, and those that say nothing about its values.
_KEPT = {"ndim", "size", "itemsize", "nbytes", "device"}
_READING = {"__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__dlpack__", "__buffer__", "__format__"}
for _name in (*[name for name in dir(np.ndarray) if not name.startswith("_")], *_READING):
    if _name not in vars(Recorded) and _name not in _KEPT and hasattr(np.ndarray, _name):
        setattr(Recorded, _name, _unknown(_name))
