"""Draws a graph of named boxes: as an SVG picture that needs nothing else, or as text for Graphviz."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from .layout import CORNER, Edge, Node, Point, layout, numbered

KINDS = ("input", "parameter", "operation", "output")
LONGEST = 40  # characters of a line that are shown; the rest is in the tooltip
TITLE, SMALL = 13.0, 11.0  # sizes of letters
ADVANCE = 0.61  # width of a letter, of its size: every font of one width has about that
LINE = 15.0  # from one line to the next
PADDING = 9.0

Links = Sequence[Edge | tuple[Hashable, Hashable] | tuple[Hashable, Hashable, str]]


class Card(NamedTuple):
    """What one box says: a title, small lines below it, and in a tooltip a note of any length."""

    id: Hashable
    title: str
    lines: Sequence[str] = ()
    kind: str = "operation"  # one of KINDS
    note: str = ""


def svg(cards: Sequence[Card], edges: Links, title: str = "graph") -> str:
    """The graph as one <svg> element, from left to right, in light or dark as the reader's screen is.

    It is as large as it must be, and shrinks to the width that it gets. Every text is shown as it is: what is no
    printable character, by its escape. ValueError as `layout`, and for a kind that is not known.
    """
    _check(cards)
    links = _links(edges)
    placed = layout([_node(card) for card in cards], links)
    names = {card.id: shown(card.title) for card in cards}
    from_: dict[Hashable, list[str]] = {}
    for edge in links:
        from_.setdefault(edge.target, []).append(names[edge.source])

    width, height = _number(placed.width), _number(placed.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tinytorch-graph" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="graphics-document document" aria-label={_attribute(title)}>',
        f"<title>{_text(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        '<g class="edges" aria-hidden="true">',
    ]
    for edge, path in zip(links, placed.paths, strict=True):
        x, y = map(_number, path[-1])
        parts.append(f'<path class="edge" d="{_curve(path)}"/><path class="tip" d="M{x} {y}l-7 -3.5v7z"/>')
        if edge.label:
            (x0, y0), (x1, _) = path[:2]
            at = f'x="{_number((x0 + x1) / 2)}" y="{_number(y0 - 3)}"'
            parts.append(f'<text class="label" {at}>{_text(edge.label)}</text>')
    parts.append("</g>")
    for card in cards:
        box = placed.boxes[card.id]
        spoken = [f"{card.kind} {shown(card.title)}", *map(shown, card.lines)]
        if card.id in from_:
            spoken.append("from " + ", ".join(from_[card.id]))
        hint = "\n".join([shown(card.title), *map(shown, card.lines), *map(shown, card.note.splitlines())])
        rounding = {"input": CORNER, "parameter": 0}.get(card.kind, 4)
        parts.append(
            f'<g class="{card.kind}" role="graphics-symbol img" aria-label={_attribute("; ".join(spoken))}>'
            f"<title>{escape(hint)}</title>"
            f'<rect x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" '
            f'height="{_number(box.height)}" rx="{rounding:g}"/>'
        )
        middle, baseline = _number(box.x + box.width / 2), box.y + PADDING + TITLE - 2
        parts.append(f'<text class="name" x="{middle}" y="{_number(baseline)}">{_text(card.title)}</text>')
        for number, line in enumerate(card.lines, 1):
            parts.append(f'<text x="{middle}" y="{_number(baseline + LINE * number)}">{_text(line)}</text>')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"])


def dot(cards: Sequence[Card], edges: Links, title: str = "graph") -> str:
    """The graph as text for Graphviz: `dot -Tpdf`."""
    _check(cards)
    links = _links(edges)
    number = numbered([_node(card) for card in cards], links)
    parts = [
        f"digraph {_quoted(title)} {{",
        "  rankdir=LR;",
        '  node [shape=box, style=filled, fillcolor=white, fontname="monospace", fontsize=11];',
        '  edge [fontname="monospace", fontsize=10];',
    ]
    looks = {
        "input": ', style="filled,rounded", fillcolor="#dbeafe"',
        "parameter": ', fillcolor="#fef3c7"',
        "operation": "",
        "output": ', fillcolor="#dcfce7", penwidth=2',
    }
    for card in cards:
        label = _quoted(*(_shortened(line) for line in (card.title, *card.lines)))
        parts.append(f"  n{number[card.id]} [label={label}{looks[card.kind]}];")
    for edge in links:
        label = f" [label={_quoted(_shortened(edge.label))}]" if edge.label else ""
        parts.append(f"  n{number[edge.source]} -> n{number[edge.target]}{label};")
    return "\n".join([*parts, "}", ""])


def shown(text: str) -> str:
    """A text on one line: what does not print, control characters and those that turn its direction, by its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _shortened(text: str) -> str:
    text = shown(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _text(text: str) -> str:
    return escape(_shortened(text))


def _attribute(text: str) -> str:
    return quoteattr(shown(text))


def _quoted(*lines: str) -> str:
    """A string of Graphviz, in which a backslash would begin an escape of its own (a node's name, a line's end)."""
    escaped = (shown(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def _check(cards: Sequence[Card]) -> None:
    for card in cards:
        if card.kind not in KINDS:
            raise ValueError(f"card {card.id!r} has kind {card.kind!r}, expected one of {', '.join(KINDS)}")


def _links(edges: Links) -> list[Edge]:
    """With room for the labels."""
    links = [Edge(*edge) for edge in edges]
    return [edge._replace(label_width=_width(edge.label, SMALL) + 8 if edge.label else 0.0) for edge in links]


def _node(card: Card) -> Node:
    width = max(_width(card.title, TITLE), *(_width(line, SMALL) for line in card.lines), 24.0)
    return Node(card.id, width + 2 * PADDING, TITLE + 2 + LINE * len(card.lines) + 2 * PADDING)


def _width(text: str, size: float) -> float:
    cells = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in _shortened(text))
    return cells * ADVANCE * size


def _curve(path: Sequence[Point]) -> str:
    """Level lines, joined by curves that leave and arrive level."""
    commands = [f"M{_number(path[0][0])} {_number(path[0][1])}"]
    for number, ((x0, y0), (x1, y1)) in enumerate(pairwise(path)):
        if number % 2 == 0 or abs(y0 - y1) < 0.05:
            commands.append(f"H{_number(x1)}")
        else:
            middle = _number((x0 + x1) / 2)
            commands.append(f"C{middle} {_number(y0)} {middle} {_number(y1)} {_number(x1)} {_number(y1)}")
    return "".join(commands)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_RULES = (  # selector, what is set, in the light, in the dark
    (".page", "fill", "#ffffff", "#16181d"),
    ("text", "fill", "#4b5563", "#a7b0bd"),
    (".name", "fill", "#111827", "#f3f4f6"),
    (".edge", "stroke", "#6b7280", "#8b95a5"),
    (".tip", "fill", "#6b7280", "#8b95a5"),
    (".input rect", "fill", "#dbeafe", "#1e3352"),
    (".input rect", "stroke", "#2563eb", "#60a5fa"),
    (".parameter rect", "fill", "#fef3c7", "#44360f"),
    (".parameter rect", "stroke", "#b45309", "#fbbf24"),
    (".operation rect", "fill", "#f9fafb", "#23272f"),
    (".operation rect", "stroke", "#9ca3af", "#6b7280"),
    (".output rect", "fill", "#dcfce7", "#173a26"),
    (".output rect", "stroke", "#15803d", "#4ade80"),
)


def _style() -> str:
    light, dark = (
        "".join(f".tinytorch-graph {rule[0]}{{{rule[1]}:{rule[number]}}}" for rule in _RULES) for number in (2, 3)
    )
    fixed = (
        f".tinytorch-graph text{{font:{SMALL:g}px {_FONT};text-anchor:middle}}"
        f".tinytorch-graph .name{{font-size:{TITLE:g}px;font-weight:bold}}"
        ".tinytorch-graph .edge{fill:none;stroke-width:1.3}"
        ".tinytorch-graph g rect{stroke-width:1.3}.tinytorch-graph .output rect{stroke-width:2.6}"
    )
    # In a block of its own, which converters that know no "auto" leave out.
    scales = "@media all{.tinytorch-graph{max-width:100%;height:auto}}"
    return f"{fixed}{light}{scales}@media (prefers-color-scheme:dark){{{dark}}}"


STYLE = _style()
