"""Activation checkpointing: what backward needs from a part of the graph is recomputed instead of kept.

Chen et al. 2016, arXiv:1604.06174. For L blocks, each in a checkpoint, the graph keeps only the L inputs and, while
backward is in a block, that block's activations. The price is one more forward. It works by saved-tensor hooks: packing
drops an array, and unpacking runs the function again to get it back.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ..engine.mode import mode
from ..engine.runner import EAGER, Runner
from ..engine.saved import saved_tensors_hooks
from ..engine.tensor import wrap
from ..grad_mode import enable_grad
from ..random import default_generator
from ..tensor import Tensor


class CheckpointError(RuntimeError):
    """The function did something else when it ran again."""


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Call function(*args, **kwargs) without keeping anything for backward: it runs again when backward gets there.

    Values, gradients and derivatives of any order have the same bits as without the checkpoint, if the function does
    the same both times (CheckpointError if it saves other arrays). The second run draws the same numbers from the
    default generator and then restores it, unless preserve_rng_state is False. use_reentrant=True, PyTorch's older
    method, which loses parameters' gradients if no argument requires one, raises ValueError.
    """
    if use_reentrant:
        raise ValueError("checkpoint has no use_reentrant=True: leave it out")
    if not mode.grad:
        return function(*args, **kwargs)
    again = _Recomputation(function, args, kwargs, preserve_rng_state)
    with saved_tensors_hooks(again.drop, again.bring_back):
        return function(*args, **kwargs)


class _Dropped:
    """Stands for a saved array, which is back once the function has run again."""

    __slots__ = ("__weakref__", "kind", "tensor", "version")

    def __init__(self, array: Any) -> None:
        self.tensor: Any = None
        self.version = 0
        self.kind = array.shape, array.dtype


class _Argument:
    """A Tensor argument of the function. Inside another checkpoint it is among the arrays that one drops."""

    def __init__(self, tensor: Tensor) -> None:
        self.counter, self.version, self.kind = tensor._counter, tensor._counter[0], (tensor.dtype, tuple(tensor.shape))
        self.requires_grad = tensor.requires_grad
        packing = mode.packing
        self.unpack = None if packing is None else packing[1]
        self.held: Any = tensor if packing is None else packing[0](tensor)

    def __call__(self) -> Tensor:
        if self.counter[0] != self.version:
            dtype, shape = self.kind
            raise RuntimeError(
                f"an argument of a checkpoint, {dtype} {shape}, was modified by an in-place operation before backward "
                "came to it: clone() it before the change"
            )
        if self.unpack is None:
            tensor: Tensor = self.held
            return tensor
        tensor = wrap(self.unpack(self.held).array)
        return tensor.requires_grad_() if self.requires_grad else tensor


def _each(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The value with every object of a kind changed, including those in lists, tuples and dictionaries."""
    if isinstance(value, kind):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)([_each(part, kind, change) for part in value])
    if type(value) is dict:
        return {name: _each(part, kind, change) for name, part in value.items()}
    return value


class _Recomputation:
    """A function to run again, and what its first run dropped, in order."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, preserve_rng_state: bool) -> None:
        self.function = function
        self.args, self.kwargs = _each((args, kwargs), Tensor, _Argument)
        self.random_state = default_generator.get_state() if preserve_rng_state else None
        self.runners = [runner for runner in _runners() if runner.changes_operations]
        # Weak, since nodes refer to these and they to this object: dropping the loss still frees the graph at once.
        self.dropped: list[weakref.ref[_Dropped]] = []
        self.kinds: list[Any] = []  # the dropped arrays' shapes and dtypes

    def drop(self, tensor: Tensor) -> _Dropped:
        """The stand-in for an array that is saved."""
        dropped = _Dropped(tensor.array)
        self.dropped.append(weakref.ref(dropped))
        self.kinds.append(dropped.kind)
        return dropped

    def keeps(self) -> list[Tensor]:
        """What the graph keeps for it: its arguments, except those that an enclosing checkpoint brings back."""
        arguments = [arg.held for arg in (*self.args, *self.kwargs.values()) if isinstance(arg, _Argument)]
        return [held for held in arguments if isinstance(held, Tensor)]

    def bring_back(self, dropped: _Dropped) -> Tensor:
        """The dropped array; after the first call all of them are back."""
        if dropped.tensor is None:
            self._run_again()
        tensor: Tensor = dropped.tensor
        if tensor._version != dropped.version:
            raise RuntimeError(
                f"what the function of a checkpoint saved, {tensor.dtype} {tuple(tensor.shape)}, was modified by an "
                "in-place operation in it: clone() before the change"
            )
        return tensor

    def _run_again(self) -> None:
        found: list[tuple[Tensor, int]] = []
        args, kwargs = _each((self.args, self.kwargs), _Argument, _Argument.__call__)

        def keep(tensor: Tensor) -> Tensor:
            found.append((tensor, tensor._version))
            return tensor

        with (
            _as_before(self.random_state, self.runners),
            enable_grad(),
            saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            self.function(*args, **kwargs)
        if [(tensor.array.shape, tensor.array.dtype) for tensor, _ in found] != self.kinds:
            raise CheckpointError(
                f"the function of a checkpoint saved {len(self.kinds)} arrays at first and {len(found)} when it ran "
                "again, or others: it must do the same both times"
            )
        for reference, (tensor, version) in zip(self.dropped, found, strict=True):
            dropped = reference()
            if dropped is not None:
                dropped.tensor, dropped.version = tensor, version


def _runners() -> list[Any]:
    """The active runners, outermost first."""
    found: list[Any] = []
    runner = mode.run
    while isinstance(runner, Runner):
        found.append(runner)
        runner = runner.below
    return found[::-1]


@contextlib.contextmanager
def _as_before(random_state: Tensor | None, runners: list[Any]) -> Iterator[None]:
    """Restores the first run's random numbers, and the runners that affected it."""
    random_now, run, now = default_generator.get_state(), mode.run, _runners()
    links = [(runner, runner.below) for runner in now]
    again: list[Any] = []
    if runners != [runner for runner in now if runner.changes_operations]:  # else nothing has changed
        again, mode.run = [runner.again() for runner in runners], EAGER
        for runner in now:  # those that only observe still do
            if not runner.changes_operations:
                runner.below, mode.run = mode.run, runner
    if random_state is not None:
        default_generator.set_state(random_state)
    try:
        with contextlib.ExitStack() as stack:
            for runner in again:
                stack.enter_context(runner)
            yield
    finally:
        mode.run = run
        for runner, below in links:
            runner.below = below
        if random_state is not None:
            default_generator.set_state(random_now)
