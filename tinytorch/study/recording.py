"""The runner of a trace: it notes each operation that runs, with copies of its numbers, and each backward."""

from __future__ import annotations

import sys
import weakref
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..engine.mode import mode
from ..engine.runner import Runner
from ..engine.walk import walk
from ..ops.broadcasting import SumToSize
from ..ops.common import Create
from ..ops.fused import FusedFunction
from ..ops.writing import Overwrite, Write, order_of
from .names import user_frame
from .steps import Array, Gradient, Line, Step, Summand, title_of
from .tensors import Tensors

if TYPE_CHECKING:
    from .trace import Trace


class Opening(Runner):
    """Runs fused operations as their composites, and does nothing else: what changes the operations of a trace."""

    changes_operations = True

    def apply(self, operation: Any, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """The composite of what is fused."""
        if issubclass(operation, FusedFunction):
            return operation.composite(*inputs, **settings)
        return super().apply(operation, inputs, settings)


class Recording(Runner):
    """Notes what runs in a trace.

    Fused operations run as their composites, if the trace unfolds. Of a backward its gradients are noted; the
    operations that it is made of only where they are recorded themselves (`create_graph`).
    """

    def __init__(self, trace: Trace, unfold: bool) -> None:
        self.trace = trace
        self.unfold = unfold
        self.opened: Any = None  # one more operation that runs as its composite, the first time
        self._open: Step | None = None  # the innermost step that is not over
        self._backward: bool | None = None  # inside of one: whether it is recorded; else None
        self._written: Any = None  # a write whose history is yet to be looked at
        self._walk: Any = None  # what the last walk has on its way: each has its own
        self.tensors = Tensors(trace)
        self._steps: weakref.WeakKeyDictionary[Any, Step] = weakref.WeakKeyDictionary()

    def __enter__(self) -> Any:
        self.changes_operations = False  # so that a compiled function, where it would see the first call alone, refuses
        super().__enter__()
        self.changes_operations = self.unfold
        return self

    def again(self) -> Runner:
        """For what a checkpoint computes again once the trace is over."""
        return Opening()

    # ------------------------------------------------------------------ forward

    def apply(self, operation: Any, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run an operation, and note it."""
        opened = (self.unfold and issubclass(operation, FusedFunction)) or operation is self.opened
        if self._backward is False:  # parts of a backward; or of a checkpoint, which computes again as at first
            return operation.composite(*inputs, **settings) if opened else self.below.apply(operation, inputs, settings)
        frame, walking = user_frame()
        # What the walk does between the nodes is no step, nor is making an array, which is an input once it is used.
        if (walking and not mode.grad) or operation is Create:
            return self.below.apply(operation, inputs, settings)
        if operation is Write:
            return self._write(inputs, settings, Line.of(frame))
        self.settle()
        for t in inputs if mode.grad and operation.backward is not None else ():
            if getattr(t, "_base", None) is not None:
                t.grad_fn  # noqa: B018 - a view that is older than a write takes its part of it: a step of its own
        step = self._begin(operation, inputs, settings, frame)
        step.opened, self._open = opened, step
        if operation is self.opened:
            self.opened = None
        try:
            if opened:
                results = operation.composite(*inputs, **settings)
            else:
                results = self.below.apply(operation, inputs, settings)
        except BaseException:
            self.trace.names.forget(step)
            raise
        finally:
            self._open = step.part_of
        self._end(step, results, opened)
        return results

    def _begin(
        self, operation: Any, inputs: tuple[Any, ...], settings: dict[str, Any], frame: FrameType | None
    ) -> Step:
        trace = self.trace
        step = self._step(operation, settings, Line.of(frame))
        if operation.on_tensors:
            step.arguments = tuple([None if hasattr(t, "array") else t for t in inputs])
        known = trace.count
        step.inputs = [self.tensors.value_of(t) if hasattr(t, "array") else None for t in inputs]
        trace.names.look(frame, self, trace.count > known)
        if step.part_of is not None and step.part_of.opened:
            trace.names.hold(step.part_of)
        return step

    def _step(self, operation: Any, settings: dict[str, Any], line: Line | None) -> Step:
        """The next step, a part of the one that is not over."""
        above = self._open
        number, depth = self.trace.next_number(), 0 if above is None else above.depth + 1
        step = Step(self.trace, number, operation, settings, line, depth)
        step.name, step.part_of = self.trace.names.number(title_of(operation)), above
        return step

    def _end(self, step: Step, results: Any, opened: bool) -> None:
        trace = self.trace
        step.several = isinstance(results, tuple)
        outputs = [t for t in (results if step.several else (results,)) if hasattr(t, "array")]
        for t in outputs:
            value = self.tensors.known(t) if step.parts else None
            if value is None or value in step.inputs:
                value = trace.new_value(t.array, "result")
            self.tensors.bind(t, value)
            value.steps.append(step)
            step.outputs.append(value)
            node = t._grad_fn
            if node is not None and not step.unfolded:
                step.recorded = True
                self._steps.setdefault(node, step)
        if opened:
            trace.names.close(step, self)
        self._close(step)

    def _close(self, step: Step) -> None:
        """The step is over."""
        for place, value in enumerate(step.inputs):
            if value is not None:
                value.uses.append((step, place))
        if step.part_of is not None:
            step.part_of.parts.append(step)
        self.trace.all_steps.append(step)

    def _write(self, inputs: tuple[Any, ...], settings: dict[str, Any], line: Line | None) -> Any:
        """A write into memory. What it makes of histories is seen once it is over."""
        self.settle()
        target, source = inputs
        base = target if target._base is None else target._base
        before, written = self.tensors.value_of(base), self.tensors.value_of(source)
        node = base._grad_fn
        result = self.below.apply(Write, inputs, settings)
        self._written = target, base, node, before, written, line
        return result

    def settle(self) -> None:
        """What the last write has made: of the same Tensor another value."""
        if self._written is None:
            return
        (target, base, old_node, before, written, line), self._written = self._written, None
        trace, node = self.trace, base._grad_fn
        recorded = isinstance(node, Overwrite) and node is not old_node
        if recorded:
            settings = {"chain": node.chain, "order": node.order}
        elif target is base and written.array.shape == base.array.shape and written.array.dtype == base.array.dtype:
            self.tensors.bind(base, written)  # the result of another step, in this memory from now on
            return
        else:
            settings = {"chain": target._chain, "order": order_of(base.array)}
        step = self._step(Overwrite, settings, line)
        step.inputs = [before, written]
        after = trace.new_value(base.array, "result")
        self.tensors.bind(base, after)
        after.steps.append(step)
        step.outputs.append(after)
        if recorded:
            step.recorded = True
            self._steps[node] = step
        self._close(step)

    # ------------------------------------------------------------------ backward

    def backward(self, node: Any, grads: list[Any]) -> list[Any]:
        """Run a node's backward, and note what came in, and what it sends to whom."""
        self.settle()
        for gradient, grad in zip(self.tensors.at_node(node), grads):  # noqa: B905 - the node checks this
            if grad is not None:
                self._arrived(gradient, grad.array)
        step, before = self._steps.get(node), self._backward
        self._backward = mode.grad
        try:
            results = self.below.backward(node, grads)
        finally:
            self._backward = before
        if step is not None:
            arrived = zip(self.tensors.at_node(node), grads)  # noqa: B905 - as above
            step.incoming = [None if grad is None else gradient.array for gradient, grad in arrived]
            step.outgoing = [None] * len(step.inputs)
            self.trace.walked.append(step)
        for place, (edge, result) in enumerate(zip(node.edges, results)):  # noqa: B905 - the walk checks this
            if edge is None or result is None:
                continue
            below, number = edge
            leaf = getattr(below, "variable", None)
            source = None if step is None or place >= len(step.inputs) else step.inputs[place]
            gradient = self.tensors.at_node(below)[number] if leaf is None else self.tensors.at_leaf(leaf, source)
            sent = self._fitted(result.array, *below.metadata[number])
            if sent is None:
                continue
            if gradient.array is not None:  # it was complete: this is another walk
                gradient.forget()
            gradient.summands.append(Summand(step, place, sent, node.name() if step is None else step.name))
            if step is not None and place < len(step.outgoing):
                step.outgoing[place] = sent
        return results

    def accumulate(self, leaf: Any, gradient: Any, own: bool) -> None:
        """Note a leaf's gradient, and have it added to what the leaf has."""
        versions = self.tensors.versions_of(leaf)
        sent = [version for version in versions if version.summands and version.array is None]
        if len(sent) < 2:  # else each has the sum of what was sent to it
            self._arrived(sent[0] if sent else versions[-1], gradient.array)
        self.below.accumulate(leaf, gradient, own)

    def _arrived(self, gradient: Gradient, array: Array) -> None:
        if gradient.array is not None:  # a second walk begins here
            gradient.forget()
        if not gradient.summands:
            if self._backward is None and (going_on := _walk()) is not self._walk:
                self._walk = going_on
                self.trace.forget_gradients()
            gradient.given = True
        alone = gradient.summands[0].array if len(gradient.summands) == 1 else None
        if alone is not None and alone.tobytes() == array.tobytes():
            gradient.array = alone
        else:
            gradient.array = self.trace.keep(array)

    def _fitted(self, array: Array, shape: tuple[int, ...], dtype: Any) -> Array | None:
        """A gradient in the shape and dtype of what it belongs to, as the walk fits it; None where it will raise."""
        if array.shape != shape:
            try:
                array = SumToSize.forward(SumToSize(), array, shape)
            except RuntimeError:
                return None
        return self.trace.keep(array.astype(dtype, copy=False))


def _walk() -> Any:
    """What tells the walk that is going on from others."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not walk.__code__:
        frame = frame.f_back
    return None if frame is None else frame.f_locals["arrived"]
