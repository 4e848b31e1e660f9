"""What an operation is: a forward on arrays and, beside it, a backward.

    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            return ctx.save(np.exp(x))

        @staticmethod
        def backward(ctx, grad):
            (y,) = ctx.saved
            return grad * y

`Exp.apply(tensor)` makes the node, which is the `ctx` of both methods, runs the forward, and links the node to its
inputs where a gradient is wanted. A node holds its inputs' nodes and what the forward saved, never its own outputs:
there are no cycles, and dropping the last result frees the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from .graph import LINKS, Edge, Links, accumulator
from .hooks import Hooked
from .mode import mode
from .saved import FREED, Saved, freed, pack, present, unpacked
from .tensor import wrap
from .views import shares_memory

_ARRAY = np.ndarray


class Function(Hooked):
    """An elementary operation, and one node of the graph each time it is applied.

    What holds numbers is an input of `apply`, a Tensor or None; sizes, dims, dtypes and flags are settings, given by
    keyword. `backward` is written on Tensors, so that it can be differentiated, and returns one gradient for each
    input, None where there is none; it need not undo broadcasting or cast dtypes, the walk does. An operation without
    `backward` has no gradient.
    """

    view: ClassVar[bool] = False  # whether outputs may share memory with the first input
    # Whether backward may return the gradient that it got, a view of it or of what was saved, or one array twice.
    backward_shares: ClassVar[bool] = False
    composite: ClassVar[Callable[..., Any] | None] = None  # the same in more elementary operations, to study
    on_tensors: ClassVar[bool] = False  # whether it runs itself, on Tensors: an operation of the user's
    # What the tests check, see docs/operations.md: (call, *shapes), and (call, *shapes, exception, message)
    examples: ClassVar[Sequence[tuple[Any, ...]]] = ()
    long_examples: ClassVar[Sequence[tuple[Any, ...]]] = ()
    errors: ClassVar[Sequence[tuple[Any, ...]]] = ()

    needs_input_grad: Sequence[bool] = ()
    edges: Sequence[Edge | None] = ()
    links = 0  # to the nearest node below whose edges are Links, by the longest way
    metadata: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...] = ()
    output_count = 1
    _saved: Any = ()
    _packed = False

    # The two methods of an operation are static, with the node as their first argument `ctx`.
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None = None

    @classmethod
    def apply(cls, *inputs: Any, **settings: Any) -> Any:
        """Run the operation on Tensors; returns a Tensor, or a tuple of them if forward returns a tuple."""
        return mode.run.apply(cls, inputs, settings)

    def link(self, inputs: Any, arrays: Sequence[Any], outputs: tuple[Any, ...], settings: dict[str, Any]) -> None:
        """Make this node the history of its outputs."""
        edges: list[Edge | None] = []
        links = 0
        for t, needs in zip(inputs, self.needs_input_grad):  # noqa: B905 - one for one; strict costs time
            if not needs:
                edges.append(None)
                continue
            node, number = t._grad_fn, t.output_nr
            if node is None:
                node, number = accumulator(t), 0
            elif node.links >= links:
                links = node.links + 1
            edges.append((node, number))
        if links < LINKS:
            self.edges, self.links = tuple(edges), links
        else:
            self.edges = Links(edges)
        self.metadata = tuple([(output.array.shape, output.array.dtype) for output in outputs])
        if len(outputs) > 1:
            self.output_count = len(outputs)
        for number, output in enumerate(outputs):
            if output.array.dtype.kind not in "biu":
                output._requires_grad, output._grad_fn = True, self
                if number:
                    output.output_nr = number
        if self._saved:
            self._saved = [_kept(array, inputs, arrays, outputs) for array in self._saved]
            if mode.packing is not None:
                self._saved, self._packed = [pack(record) for record in self._saved], True

    def save(self, *arrays: Any) -> Any:
        """Keep arrays for backward: the only way an array survives the forward.

        Returns the first, so that `return ctx.save(y)` reads well.
        """
        for a in arrays:
            if type(a) is not _ARRAY and a is not None:
                # NumPy returns a scalar in place of a 0-d array.
                arrays = tuple([a if a is None or isinstance(a, np.ndarray) else np.asarray(a) for a in arrays])
                break
        self._saved = arrays
        return arrays[0]

    def saved_records(self) -> list[Saved]:
        """The saved arrays. Raises RuntimeError if one has been changed since."""
        if self._saved is FREED:
            raise freed(self)
        records: list[Saved] = unpacked(self._saved) if self._packed else self._saved
        for _, _, counter, version in records:
            if counter is not None and counter[0] != version:
                return [present(self, *record) for record in records]
        return records

    @property
    def saved(self) -> tuple[Any, ...]:
        """The saved arrays as Tensors, connected to the graph if the backward itself is recorded."""
        records = self.saved_records()
        if mode.grad:
            return tuple([self.as_tensor(record) for record in records])
        return tuple([None if record[0] is None else wrap(record[0]) for record in records])

    def as_tensor(self, record: Saved) -> Any:
        """What was saved as a Tensor, with its history where that is recorded."""
        array, source, counter, _ = record
        if array is None:
            return None
        edge = None if source is None else (self, source) if source >= 0 else self.edges[~source]
        node, number = edge or (None, 0)
        leaf = getattr(node, "variable", None)
        if leaf is not None and leaf.array is array:
            return leaf
        tensor = wrap(array)
        if counter is not None:
            tensor._counter = counter
        if mode.grad and node is not None:
            tensor._requires_grad, tensor._grad_fn, tensor.output_nr = True, node, number
        return tensor

    def release(self) -> None:
        """Drop what was saved."""
        if self._saved:
            self._saved = FREED

    def run_backward(self, grads: list[Any]) -> list[Any]:
        """Gradients of the outputs to gradients of the inputs, as Tensors."""
        result = type(self).backward(self, *(grads if len(grads) == 1 else self.complete(grads)))  # type: ignore[misc]
        return list(result) if type(result) is tuple else [result]

    def complete(self, grads: list[Any]) -> list[Any]:
        """The gradients, with zeros for the outputs that nothing depends on. A single output always has one here."""
        return [
            wrap(np.zeros(shape, dtype)) if grad is None else grad
            for grad, (shape, dtype) in zip(grads, self.metadata, strict=True)
        ]

    @classmethod
    def name(cls) -> str:
        """The name of the node, as PyTorch prints it: AddBackward0."""
        return f"{cls.__name__}Backward0"

    def __call__(self, *grads: Any) -> Any:
        """The gradients of this node's inputs alone, from those of its outputs; no hook is called."""
        if len(grads) != self.output_count:
            raise TypeError(f"{self.name()} has {self.output_count} outputs, got {len(grads)} gradients")
        with np.errstate(all="ignore"):
            results = mode.run.backward(self, list(grads))
        return tuple(results) if len(results) != 1 else results[0]

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes of the inputs, with the number of the output used: (None, 0) where no gradient flows."""
        return tuple([(None, 0) if edge is None else edge for edge in self.edges])

    def __repr__(self) -> str:
        return f"<{self.name()}>"


def _kept(array: Any, inputs: Any, arrays: Sequence[Any], outputs: Sequence[Any]) -> Saved:
    """The record of one array.

    It never holds the input's Tensor, to which in-place operations and detach_() give another history, nor its node,
    which the edges alone hold.
    """
    if array is None:
        return None, None, None, 0
    for i, candidate in enumerate(arrays):
        if candidate is array:
            counter = inputs[i]._counter
            return array, ~i, counter, counter[0]
    for number, output in enumerate(outputs):
        if output.array is array:
            return array, number, output._counter, output._counter[0]
    if array.base is not None:  # maybe a view of one of them, so that a change of its memory counts, too
        for tensor, whole in zip((*inputs, *outputs), (*arrays, *[o.array for o in outputs]), strict=True):
            if tensor is not None and shares_memory(array, whole):
                return array, None, tensor._counter, tensor._counter[0]
    return array, None, None, 0
