"""Which value of a trace a Tensor has now, and where its gradient will arrive."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import is_floating
from ..nn.parameter import Parameter
from .steps import Array, Gradient, Value

if TYPE_CHECKING:
    from .trace import Trace

_NOTHING: Any = lambda: None, None, 0, None


class Tensors:
    """The Tensors and nodes that a trace has seen. It holds none of them."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        # By id of a Tensor: itself, the versions of its memory, which of them, and its value then.
        self._tensors: dict[int, tuple[weakref.ref[Any], list[int], int, Value]] = {}
        self._memory: dict[tuple[Any, ...], tuple[list[int], int, Value]] = {}
        self._of_nodes: weakref.WeakKeyDictionary[Any, list[Gradient]] = weakref.WeakKeyDictionary()
        # By id of a leaf: itself, and where the gradient of each of its values arrives, of which the last is its own.
        self._of_leaves: dict[int, tuple[weakref.ref[Any], list[Gradient]]] = {}

    def known(self, t: Any) -> Value | None:
        """The value of a Tensor that has been seen, as it is now."""
        reference, counter, version, value = self._tensors.get(id(t), _NOTHING)
        seen = reference() is t and counter is t._counter and version == counter[0]
        return value if seen and (t._grad_fn is not None or _alike(t.array, value.array)) else None

    def value_of(self, t: Any) -> Value:
        """The value of a Tensor, which may be new."""
        value = self.known(t)
        if value is not None:
            if value.gradient is None:  # it may have been asked for one since
                value.gradient = self.gradient_of(t)
            if isinstance(t, Parameter):  # whose module may not have been there when it was made
                self.trace.names.note_path(value, t)
            return value
        found = self._memory.get(_place(t))
        seen = found is not None and found[0] is t._counter and found[1] == t._counter[0]
        if found is not None and seen and _alike(t.array, found[2].array):
            value, gradient = found[2], self.gradient_of(t)
            if gradient is value.gradient:
                self._remember(t, value)
                return value
            detached = self.trace.new_value(t.array, "input")
            detached.detached_from = value
            self.bind(t, detached)
            return detached
        number = not t.array.ndim and not t._requires_grad
        kind = "constant" if number else "parameter" if isinstance(t, Parameter) else "input"
        value = self.trace.new_value(t.array, kind)
        self.bind(t, value)
        if kind == "parameter":
            self.trace.names.note_path(value, t)
        return value

    def bind(self, t: Any, value: Value) -> None:
        """From now on a Tensor has this value, and its gradient is the value's."""
        if t._grad_fn is None and t._requires_grad and value.gradient not in self.versions_of(t):
            last = self.at_leaf(t)
            if any(other.gradient is last for other in self.trace.values):  # it has been written to
                self.versions_of(t).append(Gradient())
        value.gradient = self.gradient_of(t)
        self._remember(t, value)
        self._memory[_place(t)] = t._counter, t._counter[0], value

    def _remember(self, t: Any, value: Value) -> None:
        value.tensor = reference = weakref.ref(t)
        self._tensors[id(t)] = reference, t._counter, t._counter[0], value

    def gradient_of(self, t: Any) -> Gradient | None:
        """Where the gradient of a Tensor arrives; None where there is none."""
        node = t._grad_fn
        if node is not None:
            return self.at_node(node)[t.output_nr]
        return self.at_leaf(t) if t._requires_grad else None

    def at_node(self, node: Any) -> list[Gradient]:
        """Where the gradients of a node's outputs arrive."""
        found = self._of_nodes.get(node)
        if found is None:
            found = self._of_nodes[node] = [Gradient() for _ in range(node.output_count)]
        return found

    def at_leaf(self, leaf: Any, value: Value | None = None) -> Gradient:
        """Where that of a leaf arrives: of one of the values that it has had, or of the last."""
        versions = self.versions_of(leaf)
        gradient = None if value is None else value.gradient
        return gradient if gradient is not None and gradient in versions else versions[-1]

    def versions_of(self, leaf: Any) -> list[Gradient]:
        """Where those of a leaf's values arrive: of one, and of one more for each write to it."""
        found = self._of_leaves.get(id(leaf))
        if found is None or found[0]() is not leaf:
            found = self._of_leaves[id(leaf)] = weakref.ref(leaf), [Gradient()]
        return found[1]

    def forget_gradients(self) -> None:
        """A walk that is asked for begins."""
        for gradients in self._of_nodes.values():
            for gradient in gradients:
                gradient.forget()
        for _, gradients in self._of_leaves.values():
            for gradient in gradients:
                gradient.forget()


def _alike(array: Array, copy: Array) -> bool:
    """Whether it holds what it held: writes through `.data` and NumPy are not counted."""
    return array is copy or np.array_equal(array, copy, equal_nan=is_floating(array.dtype))


def _place(t: Any) -> tuple[Any, ...]:
    """Where the elements of a Tensor lie."""
    array = t.array
    return id(t._counter), array.__array_interface__["data"][0], array.shape, array.strides, array.dtype
