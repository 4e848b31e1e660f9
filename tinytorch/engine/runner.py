"""How work is run: every operation, every backward and every touch of Python's state goes through `mode.run`.

`Eager` does at once what it is told. Recording for `compile`, unfolding, profiling and anomaly detection are Runners:
they stand in its place for the length of a with block, each in a file of its own, and pass on to the one before them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .mode import mode
from .saved import describe
from .tensor import wrap
from .views import note_view, renew

F = TypeVar("F", bound=Callable[..., Any])


class Eager:
    """Work is done at once, as it is written."""

    def admit(self, runner: Any) -> None:
        """Let another runner come above this one, or raise."""

    entry: Callable[[Any], Any] | None = None  # gives other arrays than Tensors have, for one that records

    def apply(self, operation: Any, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run an operation on Tensors or None. The result is a Tensor, or a tuple where its forward gives a tuple.

        Where a gradient is wanted, the node of the operation becomes the history of what comes out.
        """
        if operation.on_tensors:
            return operation.run(inputs)
        entry, grad = self.entry, mode.grad and operation.backward is not None
        node, recording = operation(), False
        arrays: list[Any] = []
        node.needs_input_grad = needs = [False] * len(inputs)
        for t in inputs:
            if t is None:
                arrays.append(None)
                continue
            if grad:
                if t._base is not None and t._seen != t._counter[0]:
                    renew(t)
                if t._requires_grad:
                    needs[len(arrays)] = recording = True
            arrays.append(t.array if entry is None else entry(t))
        result = self.forward(node, arrays, settings)
        several = type(result) is tuple
        outputs = tuple([wrap(array) for array in result]) if several else (wrap(result),)
        if operation.view:
            for number, output in enumerate(outputs):
                note_view(output, inputs[0], arrays[0], operation, settings, number if several else None)
        if recording:
            node.link(inputs, arrays, outputs, settings)
        return outputs if several else outputs[0]

    def forward(self, node: Any, arrays: list[Any], settings: dict[str, Any]) -> Any:
        """The operation on arrays. What NumPy finds wrong with them is said with the operation and its shapes."""
        try:
            return mode.quietly(node.forward, node, *arrays, **settings)
        except np.exceptions.AxisError as error:
            raise IndexError(f"{type(node).__name__}: {error}; {describe(arrays)}") from None
        except ValueError as error:
            raise RuntimeError(f"{type(node).__name__}: {error}; {describe(arrays)}") from error

    def backward(self, node: Any, grads: list[Any]) -> list[Any]:
        """The gradients of a node's inputs, from those of its outputs."""
        return node.run_backward(grads)

    def call(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """function(*args, **params), which works on Python's own state: an optimizer's step, a random draw, a hook."""
        return function(*args, **params)

    def read(self, owner: Any, name: str) -> Any:
        """A piece of Python's state that decides what is done: `.grad`, `training`."""
        return getattr(owner, name)

    def accumulate(self, leaf: Any, gradient: Any, own: bool) -> None:
        """Add a gradient to that of a leaf. Its memory may be kept if it is nobody else's."""
        leaf._accumulate(gradient, own)


class Runner(Eager):
    """A way of running work that stands in another's place while a with block lasts, and passes on to it."""

    below: Any = None
    changes_operations = False  # whether other operations run under it than under Eager

    def again(self) -> Runner:
        """One that runs operations as this one did, after it has been left."""
        return type(self)()

    def __enter__(self) -> Any:
        mode.run.admit(self)
        self.below, mode.run = mode.run, self
        return self

    def __exit__(self, *exception: object) -> None:
        mode.run = self.below

    def admit(self, runner: Any) -> None:
        """As the runner below does it."""
        self.below.admit(runner)

    def apply(self, operation: Any, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """As the runner below does it."""
        return self.below.apply(operation, inputs, settings)

    def backward(self, node: Any, grads: list[Any]) -> list[Any]:
        """As the runner below does it."""
        return self.below.backward(node, grads)

    def call(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """As the runner below does it."""
        return self.below.call(function, *args, **params)

    def read(self, owner: Any, name: str) -> Any:
        """As the runner below does it."""
        return self.below.read(owner, name)

    def accumulate(self, leaf: Any, gradient: Any, own: bool) -> None:
        """As the runner below does it."""
        self.below.accumulate(leaf, gradient, own)


EAGER = Eager()
type(mode).run = EAGER


def untraced(function: F) -> F:
    """For what works with Python's own state: it goes through `mode.run.call`, whole."""

    @functools.wraps(function)
    def call(*args: Any, **params: Any) -> Any:
        return mode.run.call(function, *args, **params)

    return call  # type: ignore[return-value]
