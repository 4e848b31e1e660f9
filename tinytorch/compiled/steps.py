"""Steps of a compiled function other than kernels and NumPy functions: calls, and the gradients of leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.function import Function
from ..engine.mode import mode
from ..engine.saved import Saved
from ..engine.tensor import wrap
from ..kernels.arithmetic import add
from ..kernels.launch import LARGE, aligned_copy
from ..tensor import Tensor
from .arguments import Mirror, rebuilt, tensors_in
from .arrays import NotTraceable
from .tape import fill_all

Array = np.ndarray[Any, Any]


class Call:
    """A call of an untraced function in each run, with the current values of the compiled function's own Tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.recording = function, mode.grad
        self.args: tuple[Any, ...] = ()
        self.params: dict[str, Any] = {}
        self.places: list[tuple[Tensor, Mirror | None]] = []  # the stand-ins for such Tensors
        self.watched: list[list[int]] = []  # version counters that must not change
        self.outs: list[Any] = []  # where the results go; None for results that are arguments

    def call(self) -> tuple[Any, dict[int, Tensor]]:
        """The result, and the Tensors that the function got and may keep, by the ids of their stand-ins."""
        given = {
            id(place): wrap(place.array.copy()) if mirror is None else mirror.outside for place, mirror in self.places
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


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


def check_no_number(result: Any, function: Callable[..., Any]) -> None:
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
    mirror.outside = wrap(mirror.array.copy("K"))


def renew_view(mirror: Mirror, whole: Mirror, shares_version: bool) -> None:
    mirror.outside = whole.view(mirror.array, False, shares_version)


def set_grad(leaf: Tensor, mirror: Mirror) -> None:
    leaf._grad = mirror.outside


def accumulate(leaf: Tensor, array: Array, apart: bool) -> None:
    """What `backward` does with a gradient that arrives at a leaf: set .grad, or add to it."""
    present = leaf._grad
    if present is None:
        leaf._grad = wrap(aligned_copy(array) if array.nbytes >= LARGE else array.copy())
    elif apart or not present.array.flags.writeable:
        leaf._grad = wrap(add(present.array, array))
    else:
        add(present.array, array, out=present.array)
        present._counter[0] += 1


def records(saved: Sequence[Array | None]) -> list[Saved]:
    return [(array, None, None, 0) for array in saved]


def forward_again(
    forward: Callable[..., Any], ctx: Function, values: list[Any], settings: dict[str, Any], outs: list[Array]
) -> None:
    results = forward(ctx, values, settings)
    fill_all(outs, results if type(results) is tuple else (results,), type(ctx).__name__)
    ctx._saved = records(ctx._saved)


def backward_again(ctx: Function, values: Sequence[Array | None]) -> list[Array | None]:
    results = ctx.run_backward([None if value is None else wrap(value) for value in values])
    return [None if result is None else result.array for result in results]


def fill_from(outs: Sequence[Array | None], function: Callable[..., Any], ctx: Function, values: list[Any]) -> None:
    fill_all(outs, function(ctx, values), ctx.name())
