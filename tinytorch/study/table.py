"""A trace as a table: a row for each value, with the step that made it; and as a picture."""

from __future__ import annotations

import html
import io
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..dtypes import is_floating
from .drawing import Card, dot, svg
from .explanation import number_text
from .steps import Array, Value

if TYPE_CHECKING:
    from rich.table import Table

    from .trace import Trace

_FEW = 4  # numbers that are shown one by one


class Row(NamedTuple):
    """One value of a trace."""

    name: str
    made: str  # how: "softmax(scores)"
    shape: str
    value: str  # its numbers, if they are few; else the least and the largest
    gradient: str
    line: str  # of the user's

    @classmethod
    def head(cls) -> tuple[str, ...]:
        """What stands above each."""
        return ("name", "made by", "shape", "value", "gradient", "line")


class TraceTable:
    """The rows of a trace. Printed, and in a notebook, it is a table."""

    def __init__(self, trace: Trace) -> None:
        self.title = repr(trace)[1:-1]
        self.rows = [_row(value) for value in shown_values(trace)]

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title, title_justify="left")
        for name in Row.head():
            table.add_column(name, overflow="fold")
        for row in self.rows:
            table.add_row(*[Text(cell) for cell in row])
        return table

    def __repr__(self) -> str:
        try:
            from rich.console import Console
        except ModuleNotFoundError:
            raise ModuleNotFoundError("a table needs rich: pip install 'tinytorch[study]'", name="rich") from None
        text = io.StringIO()
        width = max(100, shutil.get_terminal_size().columns)
        # In a notebook, rich would show the table at once in place of writing it.
        Console(width=width, color_system=None, file=text, force_jupyter=False).print(self)
        return "\n".join([line.rstrip() for line in text.getvalue().rstrip().splitlines()])

    def _repr_html_(self) -> str:
        cells = [Row.head(), *self.rows]
        tags = ["th", *["td"] * len(self.rows)]
        rows = [
            "<tr>" + "".join([f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row]) + "</tr>"
            for tag, row in zip(tags, cells, strict=True)
        ]
        return f"<table><caption>{html.escape(self.title)}</caption>{''.join(rows)}</table>"


class Picture(str):
    """SVG text, which a notebook shows as the picture."""

    def _repr_svg_(self) -> str:
        return str(self)


def shown_values(trace: Trace) -> list[Value]:
    """The values that the steps of a trace are made of, without numbers, in the order in which they came."""
    found = {v.number: v for step in trace for v in (*step.inputs, *step.outputs) if v is not None}
    return [found[number] for number in sorted(found) if found[number].kind != "constant"]


def picture(trace: Trace) -> Picture:
    """The graph as SVG."""
    cards, edges = _graph(trace)
    return Picture(svg(cards, edges, repr(trace)[1:-1]))


def graphviz(trace: Trace) -> str:
    """The graph for Graphviz."""
    return dot(*_graph(trace))


def _graph(trace: Trace) -> tuple[list[Card], list[tuple[int, int] | tuple[int, int, str]]]:
    values = shown_values(trace)
    known = {value.number for value in values}  # what a Function of the user's did inside is not among them
    cards, edges = [], dict.fromkeys(_edges(values, known))
    for value in values:
        step = value.step
        given = value.gradient is not None and value.gradient.given
        kind = value.kind if step is None else "output" if given or not value.uses else "operation"
        numbers = [x.name for x in (step.inputs if step is not None else ()) if x is not None and x.kind == "constant"]
        lines = [] if step is None else [" ".join([step.title, *numbers])]
        lines.append(f"{value.array.dtype} {value.shape}")
        if value.array.size <= _FEW:
            lines.append(numbers_text(value.array))
        total = None if value.gradient is None else value.gradient.total
        if total is not None:
            lines.append(f"grad {numbers_text(total)}")
        note = "" if step is None else step.formula + (f"\n{step.line}" if step.line is not None else "")
        cards.append(Card(value.number, value.name, lines, kind, note))
    return cards, list(edges)


def _edges(values: list[Value], known: set[int]) -> Iterator[tuple[int, int] | tuple[int, int, str]]:
    for value in values:
        if value.detached_from is not None and value.detached_from.number in known:
            yield value.detached_from.number, value.number, "detach"
        for source in () if value.step is None else value.step.inputs:
            if source is not None and source.number in known:
                yield source.number, value.number


def _row(value: Value) -> Row:
    step = value.step
    total = None if value.gradient is None else value.gradient.total
    line = "" if step is None or step.line is None else f"{step.line.number} {step.line.source}".rstrip()
    made = value.kind if step is None else step.call
    if value.detached_from is not None:
        made = f"{value.detached_from.name} without history"
    gradient = "" if total is None else numbers_text(total)
    return Row(value.name, made, f"{value.array.dtype} {value.shape}", numbers_text(value.array), gradient, line)


def numbers_text(array: Array) -> str:
    """The numbers of an array, if they are few; else the least and the largest."""
    if array.size <= _FEW:
        return " ".join([number_text(float(x)) if is_floating(array.dtype) else str(x) for x in _flat(array)])
    if array.dtype.kind == "b":
        return f"{int(array.sum())} of {array.size} True"
    wide = array.astype(np.float64)
    if wide.min() == wide.max():
        return f"all {wide.min():.4g}"
    return f"{wide.min():.4g} to {wide.max():.4g}"


def _flat(array: Array) -> list[Any]:
    return list(array.reshape(-1).tolist())
