"""Which value of a trace a Tensor has now, and where its gradient will arrive."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from ..nn.parameter import Parameter
from .steps import Gradient, Value

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
        self._of_leaves: dict[int, tuple[weakref.ref[Any], Gradient]] = {}

    def known(self, t: Any) -> Value | None:
        """The value of a Tensor that has been seen, as it is now."""
        reference, counter, version, value = self._tensors.get(id(t), _NOTHING)
        return value if reference() is t and counter is t._counter and version == counter[0] else None

    def value_of(self, t: Any) -> Value:
        """The value of a Tensor, which may be new."""
        value = self.known(t)
        if value is not None:
            if value.gradient is None:  # it may have been asked for one since
                value.gradient = self.gradient_of(t)
            return value
        found = self._memory.get(_place(t))
        if found is not None and found[0] is t._counter and found[1] == t._counter[0]:
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

    def at_leaf(self, leaf: Any) -> Gradient:
        """Where that of a leaf arrives."""
        found = self._of_leaves.get(id(leaf))
        if found is None or found[0]() is not leaf:
            found = self._of_leaves[id(leaf)] = weakref.ref(leaf), Gradient()
        return found[1]

    def forget_gradients(self) -> None:
        """A walk that is asked for begins."""
        for gradients in self._of_nodes.values():
            for gradient in gradients:
                gradient.forget()
        for _, gradient in self._of_leaves.values():
            gradient.forget()


def _place(t: Any) -> tuple[Any, ...]:
    """Where the elements of a Tensor lie."""
    array = t.array
    return id(t._counter), array.__array_interface__["data"][0], array.shape, array.strides, array.dtype
