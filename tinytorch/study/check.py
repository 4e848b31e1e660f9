"""Is every gradient of a trace right? The finite difference beside each, of leaves and of what lies between.

From a value on, the recorded steps that depend on it run again in float64, with that value moved a little; all else is
as it was recorded: dropout masks, random numbers, what was detached or computed without a gradient. A write is a step
whose result is a copy. So this is the derivative of what backward differentiates, from that value on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..engine.tensor import wrap
from .local import alone, apply, widened
from .notebook import preformatted
from .steps import PRECISION, Array, Step, Value
from .why import of_gradient

if TYPE_CHECKING:
    from .trace import Trace

STEP = 1e-6
TOLERANCE = {8: 1e-6, 4: 2e-4, 2: 5e-2}  # of the largest number of a gradient, by the bytes of the coarsest dtype


@dataclass(frozen=True)
class Row:
    """One gradient beside its finite differences."""

    value: Value
    name: str
    status: str  # "ok", "wrong", "kink" or "cannot"
    checked: int  # elements
    index: tuple[int, ...]  # of the worst of them
    gradient: float
    difference: float  # quotient of differences
    note: str = ""

    @property
    def off(self) -> float:
        """How far the worst element is off."""
        return abs(self.gradient - self.difference)


@dataclass(frozen=True)
class Check:
    """What `t.check()` found. Printed, it is a table."""

    rows: tuple[Row, ...]

    @property
    def failed(self) -> list[Row]:
        """The gradients that do not agree."""
        return [row for row in self.rows if row.status == "wrong"]

    @property
    def ok(self) -> bool:
        """Whether all that could be checked agree."""
        return not self.failed

    @property
    def text(self) -> str:
        """The table."""
        width = max([len(row.name) for row in self.rows], default=4)
        lines = [f"{'':7}{'name'.ljust(width)}  checked       worst at  gradient     difference"]
        for row in self.rows:
            of = f"{row.checked} of {row.value.array.size}"
            at = f"[{','.join(map(str, row.index))}]"
            numbers = f"{row.gradient:<12.6g} {row.difference:.6g}" if row.checked else ""
            line = f"{row.status:7}{row.name.ljust(width)}  {of:13} {at if row.checked else '':9} {numbers}"
            lines.append(line.rstrip())
            if row.note:
                lines.append(f"{'':9}{row.note}")
        counts = [f"{sum(row.status == s for row in self.rows)} {s}" for s in ("ok", "wrong", "kink", "cannot")]
        return "\n".join([*lines, ", ".join(count for count in counts if not count.startswith("0"))])

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return preformatted(self.text)


def check(trace: Trace, most: int) -> Check:
    """Every gradient beside finite differences, of at most so many elements each."""
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    roots = [value for value in trace.values if value.gradient is not None and value.gradient.given]
    if not roots:
        raise RuntimeError("no walk has brought gradients yet: t.backward(loss)")
    replay = _Replay(trace, roots)
    values = [v for v in trace.values if v.gradient is not None and v.gradient.total is not None]
    rows = [_row(replay, value, most) for value in reversed(values)]  # so that rounding is known where it comes from
    return Check(tuple(reversed(rows)))


class _Replay:
    """The steps between the values and the loss, to be run again."""

    def __init__(self, trace: Trace, roots: list[Value]) -> None:
        self.steps = [step for step in trace if step.recorded]
        self.roots = [(root, root.gradient.total.astype(np.float64)) for root in roots]  # type: ignore[union-attr]
        self.arrays = {value.number: widened(value.array) for value in trace.values}
        sizes = [v.array.dtype.itemsize for v in trace.values if v.gradient is not None]
        self.tolerance = TOLERANCE[min([8, *sizes])]
        self.noise: dict[int, float] = {}  # by value: how far rounding alone has put its gradient off
        self.precision = 8 * PRECISION[min([8, *sizes])]
        self.leading = {root.number for root in roots}
        for step in reversed(self.steps):
            if any(output.number in self.leading for output in step.outputs):
                self.leading |= {x.number for x in step.inputs if x is not None and x.gradient is not None}

    def rounding(self, value: Value, index: tuple[int, ...]) -> float:
        """How far rounding may put a gradient off: by its terms, which may cancel, and by what it is made of."""
        try:
            found = of_gradient(value, index, 1)
        except RuntimeError:  # there are too many
            return 0.0
        off = self.precision * sum(abs(term.product) for term in found.terms)
        for section in found.sections:
            noise = max(self.noise.get(output.number, 0.0) for output in section.step.outputs)
            off += noise * sum(abs(term.factors[-1]) for term in section.terms)
        return off

    def after(self, value: Value) -> list[Step]:
        """The steps that depend on a value and lead to the loss."""
        moved, found = {value.number}, []
        for step in self.steps:
            depends = any(x is not None and x.number in moved and x.gradient is not None for x in step.inputs)
            if depends and value not in step.outputs and any(y.number in self.leading for y in step.outputs):
                moved |= {y.number for y in step.outputs if y.gradient is not None}
                found.append(step)
        return found

    def loss(self, value: Value, array: Array, steps: list[Step]) -> float:
        """The loss with another array in place of a value."""
        moved = {value.number: array}
        with alone(grad=False):
            for step in steps:
                inputs = [
                    None if x is None else wrap(moved.get(x.number, self.arrays[x.number])) for x in step.inputs
                ]
                results = apply(step, inputs)
                results = results if isinstance(results, tuple) else (results,)
                tensors = [y for y in results if hasattr(y, "array")]
                # In C order, as what was recorded: a view may fit no other.
                moved |= {y.number: t.array.copy() for y, t in zip(step.outputs, tensors, strict=True)}
        return float(sum((seed * moved.get(root.number, self.arrays[root.number])).sum() for root, seed in self.roots))


def _row(replay: _Replay, value: Value, most: int) -> Row:
    gradient = value.gradient
    assert gradient is not None and gradient.total is not None
    analytic = gradient.total.astype(np.float64)
    steps = replay.after(value)
    reason = _reason(value, steps)
    if reason:
        return Row(value, value.name, "cannot", 0, (), 0.0, 0.0, reason)
    size = value.array.size
    chosen = np.linspace(0, size - 1, min(most, size)).astype(int)
    places = [tuple(int(i) for i in np.unravel_index(k, value.shape)) if value.shape else () for k in chosen]
    base, scale = replay.arrays[value.number], float(np.abs(analytic[np.isfinite(analytic)]).max(initial=0))
    worst: tuple[float, tuple[int, ...], float, float] = (-1.0, (), 0.0, 0.0)
    kinks: dict[str, list[tuple[int, ...]]] = {}  # by what is the matter there
    try:
        here = replay.loss(value, base, steps)
        for index in places:
            h = STEP * max(1.0, abs(float(base[index]))) if np.isfinite(base[index]) else 0.0
            there = []
            for sign in (1, -1):
                moved = base.copy()
                moved[index] += sign * h
                there.append(replay.loss(value, moved, steps))
            if np.isfinite(here) and not np.isfinite(there).all():
                kinks.setdefault("the loss is not finite on one side: there is no derivative", []).append(index)
                continue
            numeric = (there[0] - there[1]) / (2 * h) if h else 0.0
            off = abs(numeric - float(analytic[index]))
            off = np.inf if np.isnan(off) else off
            allowed = replay.tolerance * (abs(numeric) + scale) + 1e-8 * (1 + abs(here))
            if h and off > allowed and abs((there[0] - here) - (here - there[1])) > 0.1 * allowed * h + 1e-12:
                slopes = (there[0] - here) / h, (here - there[1]) / h
                if abs(slopes[0] - slopes[1]) > allowed:
                    kinks.setdefault("the slopes on the two sides differ: there is no derivative", []).append(index)
                    continue
            if off / allowed > worst[0]:
                worst = off / allowed, index, float(analytic[index]), numeric
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        return Row(value, value.name, "cannot", 0, (), 0.0, 0.0, f"in float64: {error}")
    if not np.isfinite(here):
        return Row(value, value.name, "cannot", 0, (), 0.0, 0.0, f"the loss is {here}")
    if worst[0] > 1:
        off, rounding = abs(worst[2] - worst[3]), replay.rounding(value, worst[1])
        if off <= rounding:
            replay.noise[value.number], worst = rounding, (1.0, *worst[1:])
    status = "wrong" if worst[0] > 1 else "kink" if kinks else "ok"
    notes = []
    for what, indices in kinks.items():
        at = ", ".join(f"[{','.join(map(str, index))}]" for index in indices[:3])
        notes.append(f"at {at} {what}")
    checked = len(places) - sum(map(len, kinks.values()))
    return Row(value, value.name, status, checked, *worst[1:], "; ".join(notes))


def _reason(value: Value, steps: list[Step]) -> str:
    """Why the gradient of a value cannot be compared with differences; empty where it can."""
    for on_the_way in [value, *[output for step in steps for output in step.outputs]]:
        gradient = on_the_way.gradient
        if gradient is not None and gradient.changed_by_hooks:
            return f"a hook has changed the gradient of {on_the_way.name}"
        for summand in () if gradient is None else gradient.summands:
            if summand.step is None:
                return f"the trace has not seen all that uses {on_the_way.name}: {summand.sender}"
    return ""
