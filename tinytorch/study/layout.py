"""Places the boxes of a directed acyclic graph in columns from left to right, and the edges between them.

A box and the long edges that pass it share a column, at least a gap apart; edges change their height between columns
alone. So boxes do not overlap, and no edge runs through a box: by construction, for any graph.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple

from .alignment import heights
from .layers import chains, cycle, neighbours, ordered, ranks, topological

BOX_GAP = 22.0  # between two boxes of a column,
LANE_GAP = 12.0  # between a box and an edge that passes it, or two such edges,
PORT_GAP = 9.0  # and between two ends of edges on one box, where there is room
CORNER = 8.0  # that such ends keep free, since corners are round
COLUMN_GAP = 44.0  # between columns, at least
STEEP = 0.12  # of the height that the steepest edge climbs, on top of that
MARGIN = 12.0  # around everything

Point = tuple[float, float]


class Node(NamedTuple):
    """A box of some size."""

    id: Hashable
    width: float
    height: float


class Edge(NamedTuple):
    """From one box to another, by their ids; a label takes `label_width` beside the source."""

    source: Hashable
    target: Hashable
    label: str = ""
    label_width: float = 0.0


class Box(NamedTuple):
    """Where a box stands: its left upper corner and its size."""

    x: float
    y: float
    width: float
    height: float


class Placed(NamedTuple):
    """Where everything is, in a picture of this size; y grows downwards.

    `boxes` by the ids of the nodes, `paths` in the order of the edges: from the right side of the source's box to the
    left side of the target's. Of a path's points each second line, the first among them, is level; those between climb
    from one column to the next. A label has room above the first level line of its path.
    """

    boxes: dict[Hashable, Box]
    paths: list[list[Point]]
    width: float
    height: float


def layout(nodes: Sequence[Node], edges: Sequence[Edge | tuple[Hashable, Hashable]]) -> Placed:
    """Where to draw the boxes and edges of a graph. The same graph always gives the same picture.

    ValueError for two nodes of one id, an edge whose end is no node, a size that is not positive, and a cycle, which it
    names. Two nodes may be joined by several edges.
    """
    links = [Edge(*edge) for edge in edges]
    number = numbered(nodes, links)
    ends = [(number[edge.source], number[edge.target]) for edge in links]
    order = topological(len(nodes), ends)
    if order is None:
        names = " -> ".join(str(nodes[index].id) for index in cycle(len(nodes), ends))
        raise ValueError(f"the graph has a cycle, and cannot be drawn from left to right: {names}")
    if not nodes:
        return Placed({}, [], 2 * MARGIN, 2 * MARGIN)

    routes, column = chains(ranks(order, ends), ends)
    short = [step for route in routes for step in pairwise(route)]
    columns = ordered(column, short)
    size = [node.height for node in nodes] + [0.0] * (len(column) - len(nodes))

    def is_dummy(index: int) -> bool:
        return index >= len(nodes)

    def apart(upper: int, lower: int) -> float:
        gap = LANE_GAP if is_dummy(upper) or is_dummy(lower) else BOX_GAP
        return (size[upper] + size[lower]) / 2 + gap

    middle = heights(columns, *neighbours(len(column), short), is_dummy, apart)
    top = min(middle[index] - size[index] / 2 for index in range(len(size))) - MARGIN
    middle = [value - top for value in middle]

    levels = _levels(routes, middle, nodes)
    spans = _spans(columns, nodes, routes, column, levels, links)
    boxes = {}
    for index, node in enumerate(nodes):
        span, (_, width, height) = spans[column[index]], node
        boxes[node.id] = Box((span.left + span.right - width) / 2, middle[index] - height / 2, width, height)
    paths = []
    for route, level, edge in zip(routes, levels, links, strict=True):
        source, target = boxes[edge.source], boxes[edge.target]
        path = [(source.x + source.width, level[0])]
        for (a, b), (height, following) in zip(pairwise(route), pairwise(level), strict=True):
            path += [(spans[column[a]].level, height), (spans[column[b]].left, following)]
        paths.append([*path, (target.x, level[-1])])
    bottom = max(middle[index] + size[index] / 2 for index in range(len(size)))
    return Placed(boxes, paths, spans[-1].level + MARGIN, bottom + MARGIN)


class _Span(NamedTuple):
    """Where a column is: from `left` to `right`; what leaves it is level up to `level`, so that labels have room."""

    left: float
    right: float
    level: float


def numbered(nodes: Sequence[Node], links: Sequence[Edge]) -> dict[Hashable, int]:
    """The number of each node by its id. ValueError for what `layout` refuses, cycles apart."""
    number = {node.id: index for index, node in enumerate(nodes)}
    if len(number) != len(nodes):
        twice = next(node.id for index, node in enumerate(nodes) if number[node.id] != index)
        raise ValueError(f"two nodes have the id {twice!r}")
    for node in nodes:
        if not (0 < node.width < float("inf") and 0 < node.height < float("inf")):
            raise ValueError(f"node {node.id!r} must have a positive size, got {node.width} x {node.height}")
    for edge in links:
        for end in (edge.source, edge.target):
            if end not in number:
                raise ValueError(f"the edge {edge.source!r} -> {edge.target!r} ends at {end!r}, which is no node")
    return number


def _levels(routes: list[list[int]], middle: list[float], nodes: Sequence[Node]) -> list[list[float]]:
    """The height of each route in each column: where it leaves, the dummies it passes, where it arrives.

    The ends on one side of a box are spread, each as near as can be to where its edge goes on.
    """
    levels = [[middle[index] for index in route] for route in routes]
    for end, beside in ((0, 1), (-1, -2)):  # arrivals after departures, so that they can be on one level
        sides: dict[int, list[int]] = {}
        for number, route in enumerate(routes):
            sides.setdefault(route[end], []).append(number)
        for index, numbers in sides.items():
            numbers.sort(key=lambda number: (levels[number][beside], number))
            half = max(nodes[index].height / 2 - CORNER, nodes[index].height / 4)
            wanted = [levels[number][beside] for number in numbers]
            for number, level in zip(numbers, _spread(wanted, middle[index] - half, middle[index] + half), strict=True):
                levels[number][end] = level
    return levels


def _spread(wanted: list[float], low: float, high: float) -> list[float]:
    """Heights in this order, a gap apart and within limits, each near to where it is wanted (by least squares)."""
    gap = min(PORT_GAP, (high - low) / max(1, len(wanted) - 1))
    blocks: list[tuple[float, int]] = []  # sums and counts of those that stand a gap apart, pressed together
    for number, height in enumerate(wanted):
        total, count = min(max(height, low), high) - gap * number, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            other = blocks.pop()
            total, count = total + other[0], count + other[1]
        blocks.append((total, count))
    heights = [total / count for total, count in blocks for _ in range(count)]
    last = high - gap * (len(wanted) - 1)
    return [min(max(height, low), last) + gap * number for number, height in enumerate(heights)]


def _spans(
    columns: list[list[int]],
    nodes: Sequence[Node],
    routes: list[list[int]],
    column: list[int],
    levels: list[list[float]],
    links: list[Edge],
) -> list[_Span]:
    """Where the columns are: as wide as their widest box, further apart where edges climb far or have labels."""
    climbs, labels = [0.0] * len(columns), [0.0] * len(columns)
    for route, level, edge in zip(routes, levels, links, strict=True):
        labels[column[route[0]]] = max(labels[column[route[0]]], edge.label_width)
        for index, (height, following) in zip(route, pairwise(level), strict=False):
            climbs[column[index]] = max(climbs[column[index]], abs(height - following))
    spans, left = [], MARGIN
    for members, climb, label in zip(columns, climbs, labels, strict=True):
        right = left + max((nodes[index].width for index in members if index < len(nodes)), default=0.0)
        spans.append(_Span(left, right, right + label))
        left = right + label + COLUMN_GAP + STEEP * climb
    return spans
