"""What a compiled function's runs do besides kernels and NumPy's functions: calls, and the gradients of leaves."""

from __future__ import annotations

from collections.abc import Callable
from sys import getrefcount
from typing import Any

import numpy as np

from .compilation_arguments import Mirror, rebuilt, tensors_in
from .kernels.arithmetic import add
from .kernels.memory import copy
from .kernels.tape import fill_all
from .kernels.traced import NotTraceable
from .modes import mode
from .tensor import Tensor

Array = np.ndarray[Any, Any]


class Call:
    """A call of an untraced function in each run, with what the compiled function's own Tensors hold then."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.recording = function, mode.grad
        self.args: Any = ()
        self.params: Any = {}
        self.places: list[tuple[Tensor, Mirror | None]] = []  # what stands for such Tensors
        self.watched: list[list[int]] = []  # version counters that must not change
        self.outs: list[Any] = []  # where the results go; None for those that the function was given

    def call(self) -> tuple[Any, dict[int, Tensor]]:
        """The result, and what the function got, by id of what stands for it. It may keep that."""
        given = {
            id(place): Tensor(place.array.copy()) if mirror is None else mirror.outside for place, mirror in self.places
        }
        args, params = self.args, self.params
        if given:
            args, params = rebuilt((args, params), lambda tensor: given.get(id(tensor), tensor))
        recording, mode.grad = mode.grad, self.recording
        versions = [counter[0] for counter in self.watched]
        try:
            result = self.function(*args, **params)
        finally:
            mode.grad = recording
        if versions != [counter[0] for counter in self.watched]:
            raise NotTraceable(
                f"{_name(self.function)} changes a Tensor that was saved for backward, as it did not when the compiled "
                "function was traced"
            )
        for place, mirror in self.places:
            if mirror is None and place.array.flags.writeable:
                np.copyto(place.array, given[id(place)].array)
        return result, given

    def __call__(self) -> None:
        result, _ = self.call()
        if result is not None or self.outs:
            results = tensors_in(result)
            if len(results) != len(self.outs):
                raise RuntimeError(
                    f"{_name(self.function)} returned {len(self.outs)} Tensors when the compiled function was traced, "
                    f"and returns {len(results)} now"
                )
            fill_all(self.outs, [tensor.array for tensor in results], _name(self.function))


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


def check_no_number(result: Any, function: Any) -> None:
    for item in result if isinstance(result, (tuple, list)) else (result,):
        if isinstance(item, (int, float, np.generic)) and not isinstance(item, bool):
            raise NotTraceable(f"{_name(function)} returns a number, which may be another at each call")


def expect_no_grad(leaf: Tensor) -> None:
    if leaf._grad is not None:
        raise NotTraceable(
            f"a leaf, {leaf.dtype} {tuple(leaf.shape)}, has a gradient where it had none when the function was compiled"
        )


def find_grad(leaf: Tensor, mirror: Mirror) -> None:
    gradient = leaf._grad
    if mirror.outside is None and gradient is not None:
        mirror.outside = gradient
        mirror.load()
    elif mirror.outside is not gradient or gradient is None:
        raise NotTraceable(
            f"a leaf, {leaf.dtype} {tuple(leaf.shape)}, has another gradient, or none, where it had one when the "
            "function was compiled"
        )


def renew(mirror: Mirror) -> None:
    mirror.outside = Tensor(mirror.array.copy("K"))


def renew_view(mirror: Mirror, whole: Mirror, shares_version: bool) -> None:
    mirror.outside = whole.view(mirror.array, False, shares_version)


def set_grad(leaf: Tensor, mirror: Mirror) -> None:
    leaf._grad = mirror.outside


class Accumulate:
    """What `backward` does with the gradient that arrives at a leaf: a new .grad, or a sum with the one there.

    A new .grad is the Tensor that this step made in an earlier run, if nobody has kept that or anything of it:
    allocating another, and asking where it lies, takes longer than filling it does.
    """

    __slots__ = ("_made", "leaf")  # so that itself, no dictionary of its own, is what refers to the leaf

    def __init__(self, leaf: Tensor) -> None:
        self.leaf = leaf
        self._made = leaf  # which is not free

    def __call__(self, array: Array, apart: bool) -> None:
        present = self.leaf._grad
        if present is None:
            made = self._made
            own = made.array
            if (
                getrefcount(made) <= _ALONE[0]
                and getrefcount(own) <= _ALONE[1]
                and (own.base is None or getrefcount(own.base) <= _ALONE[2])
                and own.flags.writeable
                and len(made.__dict__) == 2  # as it was made
            ):
                np.copyto(own, array)
                made._counter[:] = 0, 0
            else:
                made = self._made = Tensor(copy(array))
            self.leaf._grad = made
        elif apart or not present.array.flags.writeable:
            self.leaf._grad = Tensor(add(present.array, array))
        else:
            add(present.array, array, out=present.array)
            present._counter[0] += 1


def _references_alone() -> tuple[int, int, int]:
    """To what an Accumulate has made, its array and the array's base: interpreters differ."""
    accumulate = Accumulate(Tensor(np.zeros(1)))
    accumulate._made = Tensor(np.zeros(1).reshape(1, 1))
    made = accumulate._made
    own = made.array
    return getrefcount(made), getrefcount(own), getrefcount(own.base)


_ALONE = _references_alone()


def records(saved: Any) -> list[Any]:
    return [(array, None, None, 0) for array in saved]


def forward_again(function: Any, ctx: Any, values: Any, params: Any, outs: Any) -> None:
    results = function(ctx, *values, **params)
    fill_all(outs, results if type(results) is tuple else (results,), type(ctx).__name__)
    ctx._saved = records(ctx._saved)


def backward_again(ctx: Any, values: Any) -> Any:
    results = ctx.run_backward([None if value is None else Tensor(value) for value in values])
    return [None if result is None else result.array for result in results]


def fill_from(outs: Any, function: Any, ctx: Any, values: Any) -> None:
    fill_all(outs, function(ctx, values), ctx.name())
