"""One number taken apart: a gradient into what each path to the loss adds to it, a value into what it was made of."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from ..ops.elementwise import Where
from ..ops.softmax import Softmax
from .explanation import Explanation, Section, Term, equation, number_text
from .factors import is_product, other_factor
from .local import Again, Entry
from .steps import Array, Step, Value

if TYPE_CHECKING:
    from .trace import Trace

Index = tuple[int, ...]
DEEPEST = 20

_SPEC = re.compile(r"\s*(.*?)\s*(?:\[([^\[]*)\])?\s*", re.DOTALL)

_NUMBER = re.compile(r"-?\d+")


# ---------------------------------------------------------------------- what is asked


def why(trace: Trace, what: str, depth: int = 1, forward: bool = False) -> Explanation:
    """The explanation of one element: "scores[2,1]" or "dscores[2,1]" its gradient; with `forward` its value."""
    value, index = parse(trace, what)
    if not 1 <= depth <= DEEPEST:
        raise ValueError(f"depth must be from 1 to {DEEPEST}, got {depth}: each level multiplies the terms")
    if not forward:
        total = None if value.gradient is None else value.gradient.total
        if total is not None and not (value.gradient is not None and value.gradient.given):
            return of_gradient(value, index, depth)
        if total is None and not trace.walked:
            raise RuntimeError(f"no walk has brought gradients yet: t.backward(loss), or why({what!r}, forward=True)")
        if total is None:
            return _without_gradient(value, index)
    return _of_value(value, index, depth)


def parse(trace: Trace, what: str) -> tuple[Value, Index]:
    """The value and the element that are meant. A "d" or "dL/d" before the name is left out."""
    if not isinstance(what, str):
        raise TypeError(f"one number is asked for by its name, as 'scores[2,1]', not by {type(what).__name__}")
    match = _SPEC.fullmatch(what)
    assert match is not None
    name, inner = match.groups()
    for prefix in ("", "dL/d", "d"):
        if name.startswith(prefix) and trace.names.find(name.removeprefix(prefix)) is not None:
            name = name.removeprefix(prefix)
            break
    value = trace.value_of(name)
    parts = [part.strip() for part in (inner or "").split(",") if part.strip()]
    index = tuple([int(part) for part in parts if _NUMBER.fullmatch(part)])
    if inner is None and value.array.size == 1:
        index = (0,) * value.array.ndim
    inside = all(-size <= i < size for i, size in zip(index, value.shape, strict=False))
    if len(index) != value.array.ndim or len(parts) > len(index) or not inside:
        message = f"{what!r} names no one element of {value.name}, whose shape is {value.shape}"
        if value.array.size:
            message += f": as {element(value, tuple([size - 1 for size in value.shape]))!r}"
        raise IndexError(message)
    return value, tuple([i % size for i, size in zip(index, value.shape, strict=True)])


def element(value: Value, index: Index) -> str:
    """The name of an element: "scores[2,1]"."""
    if value.kind == "constant" or not index:
        return value.name
    return f"{value.name}[{','.join(map(str, index))}]"


# ---------------------------------------------------------------------- gradients


def of_gradient(value: Value, index: Index, depth: int) -> Explanation:
    gradient = value.gradient
    total = None if gradient is None else gradient.total
    if gradient is None or total is None:
        return _without_gradient(value, index)
    found = Explanation(f"dL/d{element(value, index)}", float(total[index]), [*_root(value), *_made(value)])
    if gradient.given:
        found.note = "It was given to backward: here the walk began."
        return found
    for summand in gradient.summands:
        if summand.step is None:
            sent = number_text(float(summand.array[index]))
            found.note = f"{summand.sender}, a step that the trace has not seen, sent {sent}."
            continue
        found.sections.append(_through(value, index, summand.step, summand.place, depth))
    if gradient.changed_by_hooks:
        found.note = "A hook has changed it: what arrived is not the sum of what was sent."
    elif found.terms and all(term.factors[0] == 0 and term.deeper is None for term in found.terms):
        found.note = "Each gradient that comes in is 0, and so is the sum."
    elif not found.note and not _adds_up(found, total.dtype.itemsize):
        reason = (
            "backward does not compute the derivative of what ran, or numbers that it needs were changed in between"
            if np.isfinite(found.number)
            else "backward multiplies with zeros, too, and 0 x infinity is nan"
        )
        found.note = f"The gradient is not this sum: {reason}."
    return found


def _adds_up(found: Explanation, bytes_of_a_number: int) -> bool:
    """Whether the terms give the gradient, to the rounding of its dtype."""
    size = math.fsum([abs(term.product) for term in found.terms])
    allowed = {8: 1e-6, 4: 1e-2}.get(bytes_of_a_number, 0.2) * size
    allowed = allowed if math.isfinite(allowed) else 0.0
    return bool(np.isclose(found.total if found.sections else found.number, found.number, 0, allowed, equal_nan=True))


def _through(value: Value, index: Index, step: Step, place: int, depth: int) -> Section:
    """The terms of one use of an element: for each element that it goes into, dL/dy times dy/dx."""
    own = element(value, index)
    outputs = _recorded_outputs(step)
    terms = []
    for (number, at), slope in _column(step, place, index).items():
        output, incoming = outputs[number]
        if incoming is None:
            continue
        name = element(output, at)
        term = Term((f"dL/d{name}", f"d{name}/d{own}"), (float(incoming[at]), slope))
        factor = other_factor(step, place, index, at)
        term.known_as = "" if factor is None or factor[0].kind == "constant" else element(*factor)
        passes = step.operation.view and not output.given  # a view that has no name: it goes on through that
        if depth > 1 or passes:
            term.deeper = of_gradient(output, at, depth if passes else depth - 1)
        terms.append(term)
    section = Section(step, place, terms)
    if not terms:
        section.note = _no_term(value, index, step, place)
    return section


def _column(step: Step, place: int, index: Index) -> dict[Entry, float]:
    """The derivatives of what depends on an element; of a product also those that are 0 as the other factor is."""
    column = Again(step).column(place, index)
    if is_product(step):
        arrays = [None if x is None else x.array for x in step.inputs]
        ones = [a if a is None or n == place else np.ones_like(a) for n, a in enumerate(arrays)]
        column = dict.fromkeys(Again(step, ones).column(place, index), 0.0) | column
    return column


def _recorded_outputs(step: Step) -> list[tuple[Value, Array | None]]:
    return [
        (value, step.incoming[number] if number < len(step.incoming) else None)
        for number, value in enumerate(step.outputs)
    ]


def _no_term(value: Value, index: Index, step: Step, place: int) -> str:
    """Why nothing that a step makes depends on an element."""
    own, outputs = element(value, index), ", ".join(output.name for output in step.outputs)
    if step.operation is Where and place and value.shape == step.outputs[0].shape:
        condition, other = step.inputs[0], step.inputs[3 - place]
        if condition is not None and other is not None:
            holds = bool(np.broadcast_to(condition.array, value.shape)[index])
            at, part = ",".join(map(str, index)), element(step.outputs[0], index)
            return (
                f"No term: {condition.name} is {holds} at [{at}], so {part} is taken from {other.name}, "
                f"whatever {own} is. Its gradient is exactly 0."
            )
    if step.operation is Softmax and step.outputs[0].array[index] == 0:
        return (
            f"No term: {element(step.outputs[0], index)} is exactly 0, and with it each derivative of this row of "
            f"{outputs} by {own}."
        )
    return f"No term: no element of {outputs} changes with {own}; each derivative is exactly 0."


def _without_gradient(value: Value, index: Index) -> Explanation:
    name = f"dL/d{element(value, index)}"
    if value.gradient is None:
        reason = "it does not require a gradient, and nothing that it was made of does"
    elif not value.uses:
        reason = "no step uses it"
    else:
        reason = "no step that leads to L uses it"
    return Explanation(name, 0.0, [*_root(value), *_made(value)], [], f"No term: {reason}.")


# ---------------------------------------------------------------------- values


def _of_value(value: Value, index: Index, depth: int) -> Explanation:
    found = Explanation(element(value, index), float(value.array[index]), _line(value))
    step = value.step
    if step is None:
        detached = value.detached_from
        found.about = [f"{value.name} is " + ("an input" if detached is None else f"{detached.name} without history")]
        return found
    found.sections.append(_from(value, index, step, depth))
    return found


def _from(value: Value, index: Index, step: Step, depth: int) -> Section:
    """What an element was made of.

    Of what is linear in its inputs, y = sum_i dy/dx_i x_i; of a product, linear in each of its two, y = sum_i a_i b_i.
    (Euler: a function with f(2x) = 2 f(x), or 4 f(x), is the sum of dy/dx_i x_i, or half of it.)
    """
    number = step.outputs.index(value)
    again = Again(step, by_all=True)
    rows = again.row((number, index))
    entries = [
        (place, at, float(row[at]))
        for place, row in enumerate(rows)
        if row is not None
        for at in [tuple(int(k) for k in i) for i in np.argwhere(row != 0)]
    ]
    y = float(again.outputs[number].array[index])
    degree = _degree(step, number, index, y)
    inputs = step.inputs
    section = Section(step, -1, [])

    def term(place: int, at: Index, factor: tuple[str, float] | None = None) -> Term:
        source = inputs[place]
        assert source is not None
        names, numbers = [element(source, at)], [float(source.array[at])]
        if factor is not None:
            names.append(factor[0])
            numbers.append(factor[1])
        made = Term(tuple(names), tuple(numbers))
        if depth > 1 and source.kind != "constant":
            made.deeper = _of_value(source, at, depth - 1)
        return made

    if degree == 2 and len({place for place, _, _ in entries}) == 2:
        first = min(place for place, _, _ in entries)
        others = {at: slope for place, at, slope in entries if place == first}
        for at, slope in others.items():
            factor = other_factor(step, first, at, index)
            section.terms.append(term(first, at, ("" if factor is None else element(*factor), slope)))
    elif degree == 1:
        for place, at, slope in entries:
            section.terms.append(term(place, at, None if slope == 1 else ("", slope)))
    else:
        section.terms = [term(place, at) for place, at, _ in entries]
        section.is_sum = False
    return section


def _degree(step: Step, number: int, index: Index, y: float) -> int:
    """1 if the result doubles with the inputs, 2 if it is four times as large then; 0 for anything else."""
    inputs = [None if value is None else value.array for value in step.inputs]
    try:
        twice = Again(step, [None if a is None else a * 2 if a.dtype.kind not in "biu" else a for a in inputs])
        z = float(twice.outputs[number].array[index])
    except (RuntimeError, IndexError, ValueError):
        return 0
    for degree in (1, 2):
        if np.isclose(z, y * 2**degree, rtol=1e-9, atol=0) and y != 0:
            return degree
    return 0


def _made(value: Value) -> list[str]:
    """How a value came about."""
    if value.step is None:
        return [] if value.kind == "constant" else [f"{value.name} is an input"]
    return [equation(value.step), *_line(value)]


def _line(value: Value) -> list[str]:
    line = None if value.step is None else value.step.line
    return [] if line is None or not line.source else [f"line {line.number}: {line.source}"]


def _root(value: Value) -> list[str]:
    """What L is."""
    roots = [v for v in value.trace.values if v.gradient is not None and v.gradient.given]
    names = " + ".join([v.name if v.array.size == 1 else f"sum(gradient x {v.name})" for v in roots])
    return [] if not roots or value in roots or names == "L" else [f"L is {names}"]
