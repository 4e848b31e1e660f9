"""A trace as plain data for the page: numbers, names, steps, in the words of JSON.

A NaN and infinities, for which JSON has no words, are written as strings: "NaN", "Infinity", "-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.tensor import wrap
from ..drawing import Card, svg
from ..local import alone, apply
from ..steps import Array, Step, Value
from ..table import shown_values
from ..trace import Trace

# Their results are elements of their first input, in other places. Which ones is recorded, so that the page needs none
# of their rules.
PICKING = frozenset({"Slice", "Unbind", "Index", "IndexSelect", "Flip", "Roll"})
MOST = 12_000  # numbers of a page: more would be slow, over a megabyte, and nobody reads them


def exported(trace: Trace) -> dict[str, Any]:
    """What the page knows of a trace that has been walked.

    RuntimeError where no walk has brought gradients, or where there are more numbers than a page can show.
    """
    steps = trace.steps
    values = _values(steps)
    roots = [value for value in values if value.gradient is not None and value.gradient.given]
    if not roots:
        raise RuntimeError("no walk has brought gradients yet: t.backward(loss)")
    size = size_of(trace)
    if size > MOST:
        raise RuntimeError(f"the trace holds {size} numbers; a page shows up to {MOST}: trace a smaller input")
    places = {value.number: place for place, value in enumerate(values)}
    order = {step: place for place, step in enumerate(steps)}
    return {
        "values": [_value(value, order) for value in values],
        "steps": [_step(step, places) for step in steps],
        "walk": [order[step] for step in trace.walked if step in order],
        "roots": [{"value": places[v.number], "gradient": _gradient(v)} for v in roots],
        "attention": _attention(trace, places),
        "cards": [places[value.number] for value in _drawn(trace)],
        "edges": [[places[source], places[target]] for source, target in _edges(trace)],
    }


def size_of(trace: Trace) -> int:
    """How many numbers there are."""
    return sum(value.array.size for value in _values(trace.steps))


def operations_of(trace: Trace) -> dict[str, dict[str, str]]:
    """What the operations of a trace say of themselves."""
    return {
        step.operation.__name__: {"formula": step.formula, "derivation": step.derivation} for step in trace.steps
    }


def drawn(trace: Trace) -> str:
    """The graph as SVG, without numbers: those change. Its boxes and edges are in the order of "cards" and "edges"."""
    cards: list[Card] = []
    for value in _drawn(trace):
        step = value.step
        root = value.gradient is not None and value.gradient.given
        kind = value.kind if step is None else "output" if root else "operation"
        numbers = [x.name for x in (step.inputs if step is not None else ()) if x is not None and x.kind == "constant"]
        lines = [] if step is None else [" ".join([step.title, *numbers])]
        cards.append(Card(value.number, value.name, [*lines, " x ".join(map(str, value.shape)) or "a number"], kind))
    return svg(cards, _edges(trace), "The graph: from the inputs on the left to the loss on the right")


def _drawn(trace: Trace) -> list[Value]:
    known = {value.number for value in _values(trace.steps)}
    return [value for value in shown_values(trace) if value.number in known]


def _edges(trace: Trace) -> list[tuple[int, int]]:
    """From the values that a step takes to those that it makes, by their numbers."""
    values = _drawn(trace)
    known = {value.number for value in values}
    found: dict[tuple[int, int], None] = {}  # each once, in their order
    for value in values:
        for source in () if value.step is None else value.step.inputs:
            if source is not None and source.number in known:
                found[source.number, value.number] = None
    return list(found)


def _values(steps: list[Step]) -> list[Value]:
    """Those that the steps between them use, in their order."""
    found = {v.number: v for step in steps for v in (*step.inputs, *step.outputs) if v is not None}
    return [found[number] for number in sorted(found)]


def _value(value: Value, order: Mapping[Step, int]) -> dict[str, Any]:
    step = next((order[step] for step in value.steps if step in order), -1)
    return {
        "name": value.name,
        "kind": value.kind if step < 0 else "result",
        "shape": list(value.shape),
        "dtype": str(value.array.dtype),
        "data": plain(value.array),
        "gradient": _gradient(value),
        "wanted": value.gradient is not None,
        "step": step,
    }


def _gradient(value: Value) -> list[Any] | None:
    total = None if value.gradient is None else value.gradient.total
    return None if total is None else plain(total)


def _step(step: Step, places: Mapping[int, int]) -> dict[str, Any]:
    operation, settings = step.operation.__name__, {name: _setting(x) for name, x in step.settings.items()}
    if operation in PICKING:
        picked = _picked(step)
        if picked is not None:
            operation, settings = "Picked", {"places": picked.reshape(-1).tolist(), "shape": list(picked.shape)}
    sent = step.outgoing or [None] * len(step.inputs)
    return {
        "name": step.name,
        "operation": operation,
        "class": step.operation.__name__,
        "title": step.title,
        "settings": settings,
        "inputs": [None if value is None else places[value.number] for value in step.inputs],
        "outputs": [places[value.number] for value in step.outputs],
        "sent": [_sent(value, array) for value, array in zip(step.inputs, sent, strict=True)],
        "line": None if step.line is None else {"number": step.line.number, "source": step.line.source,
                                                "file": Path(step.line.file).name},
    }  # fmt: skip


def _sent(value: Value | None, array: Array | None) -> list[Any] | bool | None:
    """What a step sent to an input: True where that is all of the input's gradient, as it mostly is."""
    if array is None:
        return None
    total = None if value is None or value.gradient is None else value.gradient.total
    return True if total is not None and total.tobytes() == array.tobytes() else plain(array)


def _picked(step: Step) -> Array | None:
    """Which element of its first input each element of the result is; None where there are several results."""
    first = step.inputs[0]
    if first is None or len(step.outputs) != 1:
        return None
    counted = np.arange(first.array.size, dtype=np.float64).reshape(first.shape)
    rest = [None if value is None else wrap(value.array.copy()) for value in step.inputs[1:]]
    with alone(grad=False):
        return np.asarray(apply(step, [wrap(counted), *rest], widen=False).array).astype(np.int64)


def _attention(trace: Trace, places: Mapping[int, int]) -> dict[str, Any] | None:
    """Where an attention's q, k, v and result are, if the trace has one: for the page on its tiles."""
    found: dict[str, Value] = {}
    for step in trace.all_steps:
        if step.operation.__name__ == "Attention" and step.inputs[3] is None and not step.settings.get("dropout"):
            q, k, v = [value for value in step.inputs[:3] if value is not None]
            if q.shape[:2] == k.shape[:2]:
                found = {"q": q, "k": k, "v": v, "y": step.outputs[0]}
                scores = [part.inputs[0] for part in step.parts if part.title == "softmax"]
                s = places.get(scores[0].number) if scores and scores[0] is not None else None
                settings: dict[str, Any] = {"scale": step.settings["scale"], "causal": step.settings["causal"], "s": s}
                break
    else:
        if all(name in trace for name in ("q", "k", "v", "scores", "p", "y")):  # the subject of that name
            found = {name: trace[name] for name in ("q", "k", "v", "y")}
            s = places[trace["masked" if "masked" in trace else "scores"].number]
            settings = {"scale": None, "causal": "masked" in trace, "s": s}
    if not found or any(value.number not in places for value in found.values()):
        return None
    return settings | {name: places[value.number] for name, value in found.items()}


def _setting(setting: Any) -> Any:
    """What JSON has words for as it is; anything else as text."""
    if isinstance(setting, (list, tuple)):
        return [_setting(x) for x in setting]
    if setting is None or isinstance(setting, (bool, int, str)):
        return setting
    return _number(float(setting)) if isinstance(setting, float) else str(setting)


def plain(array: Array) -> list[Any]:
    """The elements of an array, one after another."""
    return [_number(x) for x in array.astype(np.float64).reshape(-1).tolist()]


def _number(x: float) -> Any:
    if math.isfinite(x):
        whole = x.is_integer() and abs(x) < 2**53 and (x != 0 or math.copysign(1, x) > 0)
        return int(x) if whole else x
    return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
