"""What a trace is made of: steps, the values between them, and the gradients that arrive at those."""

from __future__ import annotations

import linecache
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.tensor import wrap
from .derivations import derivation_of, formula_of

if TYPE_CHECKING:
    from ..tensor import Tensor
    from .trace import Trace

Array = np.ndarray[Any, Any]
PRECISION = {2: 2.0**-7, 4: 2.0**-22, 8: 2.0**-51}  # of floating-point numbers, by their bytes: two units at the end


@dataclass(frozen=True)
class Line:
    """The line of the user's that led to a step."""

    file: str
    number: int
    function: str
    source: str  # its text; empty where there is no file of it

    @classmethod
    def of(cls, frame: FrameType | None) -> Line | None:
        """Where a call is now."""
        if frame is None:
            return None
        code, number = frame.f_code, frame.f_lineno
        source = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        return cls(code.co_filename, number, code.co_name, source)

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}" + (f": {self.source}" if self.source else "")


@dataclass(frozen=True)
class Summand:
    """A part of a gradient: what one step, of which the value is an input, sent back to it."""

    step: Step | None  # None where nothing of the trace sent it
    place: int  # among the inputs of the step
    array: Array
    sender: str  # a name for it, also where there is no step

    @property
    def grad(self) -> Tensor:
        """The part as a Tensor."""
        return wrap(self.array.copy())


class Gradient:
    """What arrives at one output of a node, or at a leaf, in one walk: the last."""

    def __init__(self) -> None:
        self.array: Array | None = None  # once it is complete, as hooks have left it
        self.summands: list[Summand] = []
        self.given = False  # to `backward`, by who called it

    def forget(self) -> None:
        """Another walk begins."""
        self.array, self.summands, self.given = None, [], False

    @property
    def total(self) -> Array | None:
        """What has arrived; where nobody said that it is complete, the sum of its parts."""
        return self.array if self.array is not None else self.sent

    @property
    def sent(self) -> Array | None:
        """The sum of its parts, in the order in which they came."""
        total = None
        with np.errstate(all="ignore"):  # infinities of both signs among them
            for summand in self.summands:
                total = summand.array if total is None else total + summand.array
        return total

    @property
    def changed_by_hooks(self) -> bool:
        """Whether what arrived is not the sum of what was sent."""
        sent = self.sent
        if self.given or self.array is None or sent is None:
            return False
        # The walk may add them up in another order, and sums in float16 and bfloat16 round as they go.
        allowed = len(self.summands) * PRECISION[sent.dtype.itemsize]
        with np.errstate(invalid="ignore"):
            size = sum(np.abs(summand.array.astype(np.float64)) for summand in self.summands)
            off = np.abs(sent.astype(np.float64) - self.array.astype(np.float64))
            alike = (sent == self.array) | (np.isnan(sent) & np.isnan(self.array))
            return not bool((alike | (off <= allowed * size)).all())


class Value:
    """The elements of a Tensor as they were when a step made them, or first used them."""

    def __init__(self, trace: Trace, number: int, array: Array, kind: str) -> None:
        self.trace = trace
        self.number = number
        self.array = array
        self.kind = kind  # "input", "parameter", "constant" (a number) or "result"
        self.steps: list[Step] = []  # that made it: from the innermost out, where one is made of others
        self.uses: list[tuple[Step, int]] = []  # the steps that it is an input of, and at which place
        self.gradient: Gradient | None = None  # None where no gradient flows
        self.detached_from: Value | None = None
        self.given: dict[int, str] = {}  # names, by their rank
        self.aliases: list[str] = []  # more names
        self.tensor: weakref.ref[Any] | None = None

    @property
    def name(self) -> str:
        """The user's name for it, a parameter's path, or the operation with a number."""
        return self.trace.names.of(self)

    @property
    def value(self) -> Tensor:
        """The elements, as a Tensor of its own."""
        return wrap(self.array.copy())

    @property
    def grad(self) -> Tensor | None:
        """Its gradient in the last walk; None where none came."""
        total = None if self.gradient is None else self.gradient.total
        return None if total is None else wrap(total.copy())

    @property
    def summands(self) -> list[Summand]:
        """The parts that its gradient is the sum of: one for each use of it."""
        return [] if self.gradient is None else list(self.gradient.summands)

    @property
    def step(self) -> Step | None:
        """The step that made it; None for an input."""
        return next((step for step in self.steps if step.is_a_step), self.steps[0] if self.steps else None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return self.array.shape

    @property
    def inside(self) -> Any:
        """What the operation that made it consists of: more elementary steps, to be had by name as those of a trace."""
        if not self.steps:
            raise LookupError(f"{self.name} is an input: no step of the trace made it")
        return self.steps[-1].inside

    def __repr__(self) -> str:
        made = "" if self.step is None else f" = {self.step.call}"
        grad = "" if self.gradient is None or self.gradient.total is None else ", with its gradient"
        return f"<{self.name}{made}: {self.array.dtype} {self.shape}{grad}>"


class Step:
    """One application of an operation, forward; and its backward, once a walk has come by."""

    def __init__(
        self, trace: Trace, number: int, operation: Any, settings: dict[str, Any], line: Line | None, depth: int
    ) -> None:
        self.trace = trace
        self.number = number
        self.operation = operation
        self.settings = settings
        self.line = line
        self.depth = depth  # how many steps it is a part of
        self.opened = False  # whether its composite ran in its place, for the trace
        self.part_of: Step | None = None
        self.parts: list[Step] = []  # what ran in its place, where it was unfolded, or inside of it
        self.name = ""
        self.arguments: tuple[Any, ...] = ()  # for a Function of the user's: what is no Tensor
        self.inputs: list[Value | None] = []
        self.outputs: list[Value] = []
        self.recorded = False  # whether it has a node in the graph
        self.several = False  # whether its result is a tuple
        self.incoming: list[Array | None] = []  # the gradients of its outputs in the last walk
        self.outgoing: list[Array | None] = []  # what it made of them, for each input
        self._inside: Any = None

    @property
    def unfolded(self) -> bool:
        """Whether its parts ran in its place."""
        return bool(self.parts) and not self.operation.on_tensors

    @property
    def is_a_step(self) -> bool:
        """Whether it did the work itself, and is no part of what a Function of the user's did."""
        above, own = self.part_of, not self.unfolded
        while above is not None:
            own &= not above.operation.on_tensors
            above = above.part_of
        return own

    @property
    def title(self) -> str:
        """The operation in lower case: "log_softmax"."""
        return title_of(self.operation)

    @property
    def formula(self) -> str:
        """What the operation computes, as its class says it."""
        return formula_of(self.operation)

    @property
    def derivation(self) -> str:
        """Its derivative, as it is derived above the operation's backward."""
        return derivation_of(self.operation)

    @property
    def call(self) -> str:
        """The step as a call: "softmax(scores)"."""
        return f"{self.title}({', '.join([value.name for value in self.inputs if value is not None])})"

    @property
    def shapes(self) -> str:
        """The shapes of inputs and outputs."""
        ins = ", ".join([str(value.shape) for value in self.inputs if value is not None])
        return f"{ins} -> {', '.join([str(value.shape) for value in self.outputs])}"

    @property
    def inside(self) -> Any:
        """Its parts: of what was unfolded those that ran, of an operation with a composite that, run anew."""
        if self.unfolded:
            return Parts(self.trace, self)
        if self._inside is None:
            self._inside = self.trace.inside_of(self)
        return self._inside

    def __repr__(self) -> str:
        return f"<{', '.join([value.name for value in self.outputs])} = {self.call}: {self.shapes}>"


class Parts:
    """What ran in place of a step: its steps, and values by their name there."""

    def __init__(self, trace: Trace, step: Step) -> None:
        self.trace, self.step = trace, step

    @property
    def steps(self) -> Sequence[Step]:
        """In their order."""
        return list(self.step.parts)

    def __getitem__(self, name: str) -> Value:
        return self.trace[f"{self.step.name}.{name}"]

    def __repr__(self) -> str:
        return f"<{len(self.step.parts)} steps in place of {self.step.name}>"


def title_of(operation: Any) -> str:
    """The name of an operation in lower case: "log_softmax"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation.__name__.lstrip("_")).lower()
