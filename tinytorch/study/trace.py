"""A trace: what a computation did, step by step, forward and backward."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..derivatives import backward
from ..engine.mode import mode
from ..engine.runner import EAGER
from ..engine.tensor import Tensor as EngineTensor
from ..engine.tensor import wrap
from ..nn.module import Module
from .check import Check, check
from .entered import is_entered
from .explanation import Explanation
from .names import GIVEN, HOME, Names, user_frame
from .recording import Recording
from .steps import Array, Step, Value
from .table import Picture, TraceTable, graphviz, picture
from .why import why

if TYPE_CHECKING:
    from ..tensor import Tensor

LIMIT = 1 << 28


class TraceTooLarge(RuntimeError):
    """A trace would keep more than its limit."""


class Trace:
    """What ran in the `with` block, once `trace` has made it.

        with study.trace() as t:
            scores = q @ k.mT / 2
            loss = (scores.softmax(-1) @ v).square().sum()
        t.backward(loss)
        print(t["scores"].grad, t.why("scores[2,1]"))

    Operations that are fused run as the elementary ones that they stand for, unless `unfold` is False; values and
    gradients have the bits that these have. Each value is a copy, made at once: later writes do not change it. What is
    kept is at most `limit` bytes; a step beyond that raises TraceTooLarge.
    """

    def __init__(self, model: Module | None = None, *, unfold: bool = True, limit: int = LIMIT) -> None:
        if model is not None and not isinstance(model, Module):
            raise TypeError(f"trace() takes a Module, whose parameters have its names, not {type(model).__name__}")
        self.limit = limit
        self.memory = 0  # bytes that it keeps
        self.values: list[Value] = []
        self.all_steps: list[Step] = []  # with those that ran as others
        self.walked: list[Step] = []  # the steps of the last walk, in its order
        self.names = Names(self, model)
        self.recording = Recording(self, unfold)
        self._numbers = 0

    def __enter__(self) -> Trace:
        if is_entered(self.recording):
            raise RuntimeError("this trace is at work already: make another one")
        self.names.begin(sys._getframe(1))
        try:
            self.recording.__enter__()
        except BaseException:
            self.names.home = None
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.recording.settle()
        self.names.end(self.recording)
        self.recording.__exit__(*exception)

    # ------------------------------------------------------------------ what the recording keeps

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    def next_number(self) -> int:
        """Of the next step."""
        self._numbers += 1
        return self._numbers

    def keep(self, array: Any) -> Array:
        """A copy, if there is room for it."""
        self.memory += array.nbytes
        if self.memory > self.limit:
            raise TraceTooLarge(
                f"the trace would keep more than {self.limit / 2**20:.4g} MiB: trace a smaller input or a part of the "
                "model, or ask for more, as trace(limit=2**30)"
            )
        return np.array(array, order="C")

    def new_value(self, array: Any, kind: str) -> Value:
        """A value of the next number."""
        value = Value(self, len(self.values), self.keep(array), kind)
        self.values.append(value)
        return value

    # ------------------------------------------------------------------ names

    def name(self, **names: Any) -> None:
        """Name Tensors, or values that have a name: `t.name(q=q, scores="div_1")`."""
        for name, thing in names.items():
            self.names.give(self.value_of(thing), name, GIVEN)

    def value_of(self, thing: Any) -> Value:
        """The value of a Tensor as it is now, or of this name."""
        if isinstance(thing, Value):
            return thing
        if isinstance(thing, EngineTensor):
            self.recording.settle()
            value = self.recording.tensors.known(thing)
            if value is None:
                raise LookupError(f"the trace has not seen this Tensor of shape {thing.array.shape} as it is now")
            return value
        value = self.names.find(thing)
        if value is None:
            self.look_around()
            value = self.names.find(thing)
        if value is None:
            raise self.names.missing(thing)
        return value

    def look_around(self) -> None:
        """Take names from the variables of whoever asks."""
        frame, _ = user_frame(3)
        if frame is not None:
            self.recording.settle()
            self.names.scan(frame, self.recording, HOME)

    def __getitem__(self, name: str | EngineTensor) -> Value:
        return self.value_of(name)

    def __contains__(self, name: str) -> bool:
        return self.names.find(name) is not None

    # ------------------------------------------------------------------ steps

    @property
    def steps(self) -> list[Step]:
        """The steps in their order: of what was unfolded its parts, of a Function of the user's nothing that it did."""
        self.recording.settle()
        return sorted([step for step in self.all_steps if step.is_a_step], key=lambda step: step.number)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __reversed__(self) -> Iterator[Step]:
        return reversed(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def backward_steps(self) -> Iterator[Step]:
        """The steps that the last walk went through, in its order: one for each `next`."""
        return iter(list(self.walked))

    def backward(
        self, tensor: Any, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """`tensor.backward(gradient)`, of a Tensor or of a name, noting what comes to each step and goes from it.

        As always, it adds to the `.grad` of leaves. The gradients that the trace holds are those of this walk alone.
        """
        if not isinstance(tensor, EngineTensor):
            value = self.value_of(tensor)
            found = None if value.tensor is None else value.tensor()
            if found is None:
                raise RuntimeError(f"nothing holds the Tensor {value.name} any more: keep it, and pass it to backward")
            tensor = found
        self.forget_gradients()
        with self.at_work():
            tensor.backward(gradient, retain_graph, create_graph)
        self.recording.settle()

    def forget_gradients(self) -> None:
        """As before a walk."""
        self.recording.tensors.forget_gradients()
        for value in self.values:  # whose nodes may be gone
            if value.gradient is not None:
                value.gradient.forget()
        self.walked.clear()
        for step in self.all_steps:
            step.incoming, step.outgoing = [], []

    def why(self, what: str, *, depth: int = 1, forward: bool = False) -> Explanation:
        """Take one number apart: of a gradient, as "scores[2,1]" or "dscores[2,1]"; with `forward`, of a value.

        What comes back prints as text. It has `terms`, each with its `names`, `factors` and `product`, and the `total`
        of these, which is the gradient to rounding. With depth 2 the first factor of each is taken apart, too.
        """
        return why(self, what, depth, forward)

    def check(self, *, most: int = 50) -> Check:
        """Put finite differences beside every gradient of the last walk: `ok`, `failed`, and a table when printed.

        They are taken in float64, by running the steps after each value again. Of a gradient of more than `most`
        elements so many are checked, evenly spread. What cannot be checked says why; a kink is told from a mistake.
        """
        return check(self, most)

    def table(self) -> TraceTable:
        """A row for each value: what made it, its numbers, its gradient, the line. For the terminal and notebooks."""
        return TraceTable(self)

    def svg(self) -> Picture:
        """The graph as a picture, from left to right: text that a notebook shows, or `Path.write_text` saves."""
        return picture(self)

    def dot(self) -> str:
        """The graph as text for Graphviz."""
        return graphviz(self)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Recording, if it is not."""
        if is_entered(self.recording):
            yield
            return
        try:
            with self.recording:
                yield
        finally:
            self.names.end(self.recording)

    def inside_of(self, step: Step) -> Trace:
        """The composite of a step on the same numbers, traced; with its gradients, if a walk has come by."""
        if step.operation.composite is None:
            raise LookupError(f"{step.title} is elementary: it consists of no other steps")
        trace = Trace(limit=self.limit)
        trace.recording.opened = step.operation
        inputs: list[Any] = []
        for value in step.inputs:
            inputs.append(None if value is None else wrap(value.array.copy()))
            if value is not None and value.gradient is not None:
                inputs[-1].requires_grad_()
        run, mode.run, recorded, mode.grad = mode.run, EAGER, mode.grad, True
        try:
            with trace:
                results = step.operation.apply(*inputs, **step.settings)
            outputs = results if isinstance(results, tuple) else (results,)
            for value, x in zip(step.inputs, inputs, strict=True):
                if value is not None and value.kind != "constant" and trace.recording.tensors.known(x) is not None:
                    trace.names.give(trace.value_of(x), value.name, GIVEN)
            for value, y in zip(step.outputs, outputs, strict=True):
                trace.names.give(trace.value_of(y), value.name, GIVEN)
            seeds = [(y, g) for y, g in zip(outputs, step.incoming, strict=False) if g is not None and y.requires_grad]
            if seeds:
                with trace.at_work():
                    backward([y for y, _ in seeds], [wrap(g.copy()) for _, g in seeds])
        finally:
            mode.run, mode.grad = run, recorded
        return trace

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __repr__(self) -> str:
        walked = f", {len(self.walked)} of them walked backward" if self.walked else ""
        return f"<trace of {len(self)} steps{walked}; {len(self.values)} values, {self.memory / 2**10:.4g} KiB>"


def named(name: str, tensor: Tensor) -> Tensor:
    """Return the Tensor itself, which has this name in the trace that is at work, if any."""
    if not isinstance(tensor, EngineTensor):
        raise TypeError(f"named({name!r}, ...) takes a Tensor, not {type(tensor).__name__}")
    runner = mode.run
    while runner is not EAGER:
        if isinstance(runner, Recording):
            runner.settle()
            runner.trace.names.give(runner.tensors.value_of(tensor), name, GIVEN)
            break
        runner = runner.below
    return tensor
