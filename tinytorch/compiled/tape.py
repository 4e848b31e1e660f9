"""Record what is done to arrays, so that it can be repeated with other numbers without any decision in Python.

A `Recorded` stands for an array while a function runs once. NumPy's functions, operators and methods on it, and the
kernels, which are all called through `kernels.launch`, compute as always, in memory that stays allocated, and each
leaves a step on the `Tape`. Running the steps again, after new numbers were put into the inputs' memory, computes the
new results: no array is made, no shape or dtype checked, nothing decided. Anything that would depend on values (bool,
float, an index) raises `NotTraceable` instead.

Memory is reused as it would be without a tape: when the last reference to a Recorded and its views is gone, the next
array may take its memory, since the steps run in the same order each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..dtypes import DTypeLike
from ..kernels.launch import ALIGNMENT, Bind, aligned, empty, empty_like, is_constant, recorder
from .arrays import NotTraceable, Recorded, check_none_escaped, plain

Array = np.ndarray[Any, Any]
Step = tuple[Callable[..., Any], tuple[Any, ...]]


class Tape:
    """The steps recorded so far, and the memory that they use. This thread records within `with tape:`."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.kept: list[Any] = []  # objects that steps refer to other than through arrays
        self.alive: dict[int, Array] = {}  # the plain array of each Recorded that is still in use, by its id
        self._spare: dict[int, list[Array]] = {}  # memory that no Recorded needs any more, by size
        self._outside: dict[int, Recorded] = {}

    def __enter__(self) -> Tape:
        self._recording = recorder(self)
        self._recording.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._recording.__exit__(None, None, None)
        self._outside.clear()

    def close(self) -> list[Step]:
        """Return the steps. From now on, any use of a Recorded of this tape is an error."""
        steps, self.steps = self.steps, _Refused(
            "a Tensor that a compiled function made is used outside of it: return it from the function, whose results "
            "are copies"
        )
        return steps

    @contextmanager
    def paused(self, why: str) -> Iterator[None]:
        """Inside, anything that would leave a step raises NotTraceable, which says why."""
        steps, self.steps = self.steps, _Refused(why)
        try:
            with recorder(_Paused(why)):
                yield
        finally:
            self.steps = steps

    def empty(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = np.float64,
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
    ) -> Recorded:
        """A new array. Strides and offset (the bytes before the first element) must be consistent."""
        shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple([int(n) for n in shape])
        dtype = np.dtype(dtype)
        if strides is None:
            size = math.prod(shape) * dtype.itemsize
        else:  # up to the end of the last element
            size = offset + dtype.itemsize
            size += sum([(n - 1) * step for n, step in zip(shape, strides, strict=True) if n and step > 0])
        size = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
        spare = self._spare.setdefault(size, [])
        memory = spare.pop() if spare else aligned(size)
        return Recorded(self, np.ndarray(shape, dtype, memory, offset, strides), None, memory)

    def empty_like(self, array: Array) -> Recorded:
        """A new array of the same shape, dtype and layout."""
        like = np.empty_like(plain(array))
        return self.empty(like.shape, like.dtype, like.strides)

    def outside(self, array: Array) -> Recorded:
        """An array that exists outside the tape: steps use whatever it contains when they run."""
        if type(array) is Recorded:
            return array
        check_none_escaped((array,))
        traced = self._outside.get(id(array))
        if traced is None:
            traced = self._outside[id(array)] = Recorded(self, array, None, None)
            self.kept.append(array)  # a kernel may know it by its address
        return traced

    def constant(self, array: Array) -> Recorded:
        """A new array that has these numbers each time the steps run, even if a later step changes it."""
        traced = self.empty(array.shape, array.dtype)
        self.record(np.copyto, traced, array)
        return traced

    def launch(self, function: Callable[..., Any], args: tuple[Any, ...], bind: Bind | None) -> Any:
        """Run a kernel or a check, which becomes a step if one of its arguments is recorded."""
        if not _is_recorded(args):
            return function(*args)
        check_known(args)
        return self.record(function, *args, bind=bind)

    def record(self, function: Callable[..., Any], *args: Any, bind: Bind | None = None) -> Any:
        """Run a function that writes into its arguments, and make it a step, in the form that `bind` gives it."""
        check_none_escaped(args)
        values = plain(args)
        with recorder(None):
            result = function(*values)
            bound = None if bind is None else bind(*values)
        if bound is None:
            self.steps.append((function, values))
        else:
            self.steps.append(bound[:2])
            self.kept.append(bound[2])
        return result

    def give_back(self, memory: Array) -> None:
        """Make the memory available to the next array of this size."""
        self._spare[memory.nbytes].append(memory)

    def capture(self, function: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """The results of a NumPy function: views stay views, and copies are filled by a step."""
        if function in _VIEWS_BY_VALUES:
            deciding = args if function is np.trim_zeros else (*args[1:], *params.values())
            if any(type(arg) is Recorded for arg in deciding):
                raise NotTraceable(f"which part of an array {_name(function)} gives depends on values")
        check_none_escaped((*args, *params.values()))
        values, out = plain(args), params.get("out")
        params = plain(params)
        with recorder(None):
            results = function(*values, **params)
        if results is not None and function not in _SOMETIMES_THEMSELVES:
            # A function that returns one of its arguments has written to it.
            written = out if type(out) is Recorded and out.value is results else _same(args, results)
            if written is not None:
                written.root.writes += 1
                self.steps.append((partial(function, *values, **params), ()))
                return written
        if isinstance(results, (tuple, list)):
            owners = [self._owner(args, result) for result in results]
            if all(owner is not None for owner in owners):
                return type(results)(
                    [Recorded(self, result, owner) for result, owner in zip(results, owners, strict=True)]
                )
            outs = [self.filled(np.asarray(result)) for result in results]
            self.steps.append((_all_into, (plain(outs), partial(function, *values, **params))))
            return type(results)(outs)
        if not isinstance(results, (np.ndarray, np.generic)):
            raise NotTraceable(f"{_name(function)} gives {type(results).__name__}, which depends on values")
        if isinstance(results, np.ndarray):
            owner = self._owner(args, results)
            if owner is not None:
                return Recorded(self, results, owner)
        out = self.filled(np.asarray(results))
        self.steps.append((_into, (out.value, partial(function, *values, **params))))
        return out

    def filled(self, result: Array) -> Recorded:
        """A new array with the layout and the numbers of a result."""
        out = self.empty(result.shape, result.dtype, np.empty_like(result).strides)
        np.copyto(out.value, result)
        return out

    def _owner(self, args: Sequence[Any], result: Array) -> Recorded | None:
        """The argument that a result is a view of."""
        for arg in args:
            if type(arg) is Recorded:
                # Without elements, arrays share no memory; but a view is a view.
                base = None if result.size else result.base
                if np.may_share_memory(arg.value, result) or (
                    base is not None and (base is arg.value or base is arg.value.base)
                ):
                    return arg
            elif isinstance(arg, (tuple, list)):
                owner = self._owner(arg, result)
                if owner is not None:
                    return owner
        return None


# They return their argument if there is nothing to do.
_SOMETIMES_THEMSELVES = {
    np.atleast_1d, np.atleast_2d, np.atleast_3d, np.squeeze, np.real, np.real_if_close, np.ndarray.astype,
    np.ndarray.squeeze,
}  # fmt: skip
# The views they return depend on values: on the arguments after the first, or on the only one.
_VIEWS_BY_VALUES = {np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit, np.trim_zeros}


def _same(args: Sequence[Any], result: Array) -> Recorded | None:
    for arg in args:
        if type(arg) is Recorded and arg.value is result:
            return arg
    return None


class _Refused(list[Step]):
    """Refuses any further steps."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self._why = why

    def append(self, step: Step) -> None:
        raise NotTraceable(self._why)


def _into(out: Array, function: Callable[[], Any]) -> None:
    fill_all((out,), (function(),), _name(function))


def _all_into(outs: Sequence[Array], function: Callable[[], Any]) -> None:
    fill_all(outs, function(), _name(function))


def fill_all(outs: Sequence[Array | None], results: Sequence[Any], name: str) -> None:
    """Copy results to where later steps expect them. RuntimeError if shapes are not as traced."""
    for out, result in zip(outs, results, strict=True):
        if out is None:
            continue
        if np.shape(result) != out.shape:
            raise RuntimeError(
                f"{name} gave shape {out.shape} when the function was traced and gives {np.shape(result)} now: shapes "
                "that depend on values cannot be compiled"
            )
        np.copyto(out, result)


def _name(function: Callable[..., Any]) -> str:
    function = function.func if isinstance(function, partial) else function
    return str(getattr(function, "__qualname__", repr(function)))


class _Paused:
    """Replaces the tape while a function is called as it is: memory is plain, and recorded arrays are refused."""

    def __init__(self, why: str) -> None:
        self._why = why

    def launch(self, function: Callable[..., Any], args: tuple[Any, ...], bind: Bind | None) -> Any:
        if _is_recorded(args):
            raise NotTraceable(self._why)
        return function(*args)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        with recorder(None):
            return empty(shape, dtype)

    def empty_like(self, array: Array) -> Array:
        with recorder(None):
            made: Array = empty_like(plain(array))
        return made


def check_known(values: Sequence[Any]) -> None:
    """NotTraceable for an array, also within tuples, that is neither recorded nor a kernel's constant."""
    for value in values:
        if type(value) is tuple:
            check_known(value)
        elif isinstance(value, np.ndarray) and type(value) is not Recorded and not is_constant(value):
            check_none_escaped((value,))
            raise NotTraceable(
                f"a kernel or a result has an array of shape {value.shape} that is not recorded: make it with "
                "kernels.launch.empty"
            )


def _is_recorded(values: Sequence[Any]) -> bool:
    """Whether an array, also within tuples, is recorded."""
    return any([type(value) is Recorded or (type(value) is tuple and _is_recorded(value)) for value in values])
