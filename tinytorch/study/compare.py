"""Numbers worked out by hand beside those of a trace: which are right, and what mistake made the others wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..mistakes import Candidates
from ..ops.arithmetic import Div, Mul
from ..ops.elementwise import Where
from ..ops.linalg import Matmul
from ..ops.reduction import Mean
from ..ops.shape import Transpose
from ..ops.softmax import Softmax
from ..repairs import Repair, Written, explain
from .local import Again
from .notebook import preformatted
from .steps import Array, Value, title_of

if TYPE_CHECKING:
    from .trace import Trace

_SHOWN = 12  # rows and columns of a table of cells


@dataclass(frozen=True)
class Answer:
    """One array of the student's."""

    name: str
    got: Array
    expected: Array
    right: Array | None  # which cells are; None where the shape is another
    repairs: tuple[Repair, ...]  # what fits, the simplest first

    @property
    def ok(self) -> bool:
        """Whether it is right, to the digits that were written down."""
        return any(repair.kind == "right" for repair in self.repairs)

    @property
    def text(self) -> str:
        """What is to be said of it."""
        if self.ok:
            return f"{self.name}: {self.repairs[0]}"
        known = [str(repair) for repair in self.repairs] or ["no single mistake that is known explains it"]
        lines = [f"{self.name}: {' or: '.join(known)}"]
        if self.right is not None:
            if self.right.size > 1:
                lines[0] += f" ({int(self.right.sum())} of {self.right.size} cells are right)"
            lines += self._cells()
        return "\n".join(lines)

    def _cells(self) -> list[str]:
        """The array as it was given, with a star beside what is wrong."""
        if self.right is None or self.right.ndim > 2 or max(self.right.shape, default=1) > _SHOWN:
            return []
        shape = (1,) * (2 - self.right.ndim) + self.right.shape
        pairs = zip(self.got.reshape(shape) + 0.0, self.right.reshape(shape), strict=True)
        cells = [[f"{g:.4g}" + (" " if ok else "*") for g, ok in zip(*row, strict=True)] for row in pairs]
        width = max([len(cell) for row in cells for cell in row], default=0)
        return ["    " + " ".join([cell.rjust(width) for cell in row]).rstrip() for row in cells]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. Printed, it says it."""

    answers: tuple[Answer, ...]

    @property
    def ok(self) -> bool:
        """Whether all of it is right."""
        return all(answer.ok for answer in self.answers)

    def __getitem__(self, name: str) -> Answer:
        return next(answer for answer in self.answers if answer.name == name)

    @property
    def text(self) -> str:
        """What was found, to read."""
        return "\n".join([answer.text for answer in self.answers])

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return preformatted(self.text)


def compare(trace: Trace, arrays: Mapping[str, Any]) -> Comparison:
    """The arrays of a student beside those of a trace: {"p": array} a value, {"dscores": array} a gradient.

    Arrays, Tensors or nested lists. Numbers that were rounded are right to the digits that were written down. Where one
    is wrong, the mistake that gives just these numbers is named, if there is one: the sign, a transpose, a factor, a
    path that is missing, and so on.
    """
    return Comparison(tuple([_answer(trace, name, array) for name, array in arrays.items()]))


def _answer(trace: Trace, name: str, given: Any) -> Answer:
    value, is_gradient = _meant(trace, name)
    given = getattr(given, "array", given)
    if is_gradient:
        total = None if value.gradient is None else value.gradient.total
        if total is None:
            raise LookupError(f"{value.name} has no gradient in the trace: t.backward(loss) brings those that L needs")
        expected, candidates = total, _candidates(value)
    else:
        expected, candidates = value.array, Candidates(scales=_scales(trace))
    repairs = tuple(explain(given, expected, candidates))
    try:
        got = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        return Answer(name, np.zeros(()), expected, None, repairs)
    right = None
    if got.shape == expected.shape:
        exact = expected.astype(np.float64)
        same = (got == exact) | (np.isnan(got) & np.isnan(exact))
        with np.errstate(invalid="ignore"):
            right = same | (np.abs(got - exact) <= Written(np.asarray(given), expected).tolerance(got, exact))
    return Answer(name, got, expected, right, repairs)


def _meant(trace: Trace, name: str) -> tuple[Value, bool]:
    """The value, and whether its gradient is meant: "dscores", unless a value is called that."""
    if trace.names.find(name) is None:
        for prefix in ("dL/d", "d"):
            if name.startswith(prefix) and trace.names.find(name.removeprefix(prefix)) is not None:
                return trace.value_of(name.removeprefix(prefix)), True
    return trace.value_of(name), False


def _candidates(value: Value) -> Candidates:
    """What is known of a gradient, and may be what was got wrong."""
    summands: dict[str, Array] = {}
    unsummed = mask = None
    alternatives: dict[str, Array] = {}
    changed = value.gradient is not None and value.gradient.changed_by_hooks
    for summand in value.summands:
        step = summand.step
        if step is None or changed:
            return Candidates(scales=_scales(value.trace))
        path = f"through {', '.join([output.name for output in step.outputs])}"
        path += f" (as input {summand.place})" if path in summands else ""
        summands[path] = summand.array
    for summand in value.summands if len(value.summands) == 1 else ():
        step = summand.step
        assert step is not None
        incoming, output = step.incoming[0], step.outputs[0]
        title = title_of(step.operation)
        if step.operation is Where and step.inputs[0] is not None and summand.place:
            condition = step.inputs[0].array
            mask = condition if summand.place == 2 else ~condition
        if incoming is None:
            continue
        if incoming.shape != value.shape:
            unsummed = incoming if _sums_to(incoming, summand.array) else None
        else:
            alternatives[f"the derivative of {title} is left out: it is dL/d{output.name}"] = incoming
        ones = Again(step).of_ones()[summand.place]
        if ones is not None and ones.shape == value.shape:
            alternatives[f"the gradient that comes in, dL/d{output.name}, is left out"] = ones
        if step.operation is Softmax:
            text = f"the sum in the derivative of softmax is left out: it is {output.name} x dL/d{output.name}"
            alternatives[text] = incoming * output.array
    alternatives |= _products(value)
    return Candidates(_scales(value.trace), summands if len(summands) > 1 else {}, unsummed, mask, alternatives)


def _products(value: Value) -> dict[str, Array]:
    """The products of matrices that come of a wrong transpose: of the gradient that comes in, or of the other factor.

    For y = a b they are dL/da = dL/dy b^T and dL/db = a^T dL/dy. Where a value is transposed first, so is its gradient.
    """
    if len(value.summands) != 1 or value.array.ndim != 2:
        return {}
    step, place = value.summands[0].step, value.summands[0].place
    assert step is not None
    if step.operation is Transpose:
        return {text: array.T for text, array in _products(step.outputs[0]).items()}
    other, incoming = (step.inputs[1 - place], step.incoming[0]) if step.operation is Matmul else (None, None)
    if other is None or incoming is None or other.array.ndim != 2 or any(step.settings.values()):
        return {}
    found: dict[str, Array] = {}
    output = f"dL/d{step.outputs[0].name}"
    for turned, g in ((False, incoming), (True, incoming.T)):
        for unturned, factor in ((False, other.array.T), (True, other.array)):
            names = [name for name, wrong in ((output, turned), (other.name, unturned)) if wrong]
            first, second = (g, factor) if place == 0 else (factor, g)
            if names and first.shape[1] == second.shape[0] and first.shape[0] == value.shape[0]:
                verb = "are each taken for their" if len(names) > 1 else "is taken for its"
                found[f"{' and '.join(names)} {verb} transpose"] = first @ second
    return {text: product for text, product in found.items() if product.shape == value.shape}


def _sums_to(array: Array, expected: Array) -> bool:
    """Whether an array, summed over what was broadcast, is another."""
    extra = array.ndim - expected.ndim
    kept = (1,) * extra + expected.shape
    if extra < 0 or any(to not in (1, size) for size, to in zip(array.shape, kept, strict=True)):
        return False
    dims = tuple(dim for dim, size in enumerate(array.shape) if dim < extra or size != kept[dim])
    summed = array.astype(np.float64).sum(dims).reshape(expected.shape)
    return bool(np.allclose(summed, expected, rtol=1e-4, atol=1e-6))


def _scales(trace: Trace) -> dict[str, float]:
    """The numbers that something is multiplied with or divided by."""
    scales: dict[str, float] = {}
    for step in trace:
        if step.operation in (Mul, Div):
            for place, x in enumerate(step.inputs):
                if x is not None and x.kind == "constant" and float(x.array) not in (0, 1):
                    divides = step.operation is Div and place == 1
                    scales[f"1/{x.name}" if divides else x.name] = 1 / float(x.array) if divides else float(x.array)
        elif step.operation is Mean and step.inputs[0] is not None:
            count = step.inputs[0].array.size // max(step.outputs[0].array.size, 1)
            if count > 1:
                scales[f"1/{count}"] = 1 / count
    return scales
