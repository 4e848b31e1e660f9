"""Boxes never overlap, edges never run through boxes, and what can be straight is."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.study.layers import chains, crossings, neighbours, ordered, ranks, topological
from tinytorch.study.layout import Box, Edge, Node, Placed, layout


@st.composite
def graphs(draw: Any) -> tuple[list[Node], list[Edge]]:
    """Directed acyclic graphs of any shape, their nodes in any order, with edges that occur twice and labels."""
    count = draw(st.integers(1, 25))
    sizes = st.floats(1, 200)
    nodes = [Node(f"n{i}", draw(sizes), draw(sizes)) for i in range(count)]
    ends = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=3 * count))
    edges = [
        Edge(nodes[min(pair)].id, nodes[max(pair)].id, "label", draw(st.sampled_from([0.0, 40.0])))
        for pair in ends
        if pair[0] != pair[1]
    ]
    return draw(st.permutations(nodes)), edges


def overlap(a: Box, b: Box) -> bool:
    """Whether they share more than an edge, up to rounding."""
    return (
        min(a.x + a.width, b.x + b.width) - max(a.x, b.x) > 1e-6
        and min(a.y + a.height, b.y + b.height) - max(a.y, b.y) > 1e-6
    )


def between(p: tuple[float, float], q: tuple[float, float]) -> Box:
    """What a part of a path can touch: the curve that is drawn for it stays in there."""
    return Box(min(p[0], q[0]), min(p[1], q[1]) - 1e-3, abs(p[0] - q[0]), abs(p[1] - q[1]) + 2e-3)


def check(nodes: list[Node], edges: list[Edge], placed: Placed) -> None:
    for node in nodes:
        box = placed.boxes[node.id]
        assert (box.width, box.height) == (node.width, node.height)
        assert box.x >= 0 and box.y >= 0 and box.x + box.width <= placed.width and box.y + box.height <= placed.height
    for a, b in combinations(placed.boxes.values(), 2):
        assert not overlap(a, b)
    for edge, path in zip(edges, placed.paths, strict=True):
        source, target = placed.boxes[edge.source], placed.boxes[edge.target]
        assert path[0][0] == source.x + source.width and source.y < path[0][1] < source.y + source.height
        assert path[-1][0] == target.x and target.y < path[-1][1] < target.y + target.height
        assert path[1][0] - path[0][0] >= edge.label_width - 1e-6
        for number, (p, q) in enumerate(pairwise(path)):
            assert p[0] <= q[0] + 1e-9
            if number % 2 == 0:
                assert p[1] == q[1]
            assert 0 <= q[1] <= placed.height
            assert not any(overlap(between(p, q), box) for box in placed.boxes.values())


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_nothing_overlaps(graph: tuple[list[Node], list[Edge]]) -> None:
    nodes, edges = graph
    placed = layout(nodes, edges)
    check(nodes, edges, placed)
    assert layout(nodes, edges) == placed


def test_nothing_overlaps_in_a_large_graph() -> None:
    nodes = [Node(i, 60 + i % 7 * 10, 30 + i % 3 * 15) for i in range(300)]
    edges = [Edge(i // 2, i) for i in range(1, 300)] + [Edge(i, i + 37) for i in range(0, 260, 3)]
    check(nodes, edges, layout(nodes, edges))


def test_a_chain_is_straight() -> None:
    placed = layout([Node(i, 50, 20 + i * 10) for i in range(5)], [(i, i + 1) for i in range(4)])
    assert len({y for path in placed.paths for _, y in path}) == 1
    lefts = [placed.boxes[i].x for i in range(5)]
    assert lefts == sorted(lefts)


def test_an_edge_that_skips_a_chain_is_straight_but_for_its_ends() -> None:
    chain = [(i, i + 1) for i in range(6)]
    placed = layout([Node(i, 50, 40) for i in range(7)], [*chain, (0, 6)])
    long_edge = placed.paths[-1]
    assert len({y for _, y in long_edge[2:-2]}) == 1  # all that passes other columns
    assert len({y for path in placed.paths[1:5] for _, y in path}) == 1


def test_two_edges_between_the_same_boxes_are_apart() -> None:
    placed = layout([Node("x", 50, 40), Node("square", 50, 40)], [("x", "square"), ("x", "square")])
    first, second = placed.paths
    assert first[0][1] != second[0][1] and first[-1][1] != second[-1][1]
    assert len({y for _, y in first}) == len({y for _, y in second}) == 1


def test_parameters_stand_beside_what_uses_them() -> None:
    nodes = [Node(name, 50, 40) for name in ("x", "h1", "h2", "h3", "w", "wt", "y")]
    edges = [("x", "h1"), ("h1", "h2"), ("h2", "h3"), ("w", "wt"), ("wt", "y"), ("h3", "y")]
    boxes = layout(nodes, edges).boxes
    assert boxes["wt"].x == boxes["h3"].x and boxes["w"].x == boxes["h2"].x


def test_edges_of_a_tree_do_not_cross() -> None:
    edges = [((i - 1) // 3, i) for i in range(1, 60)]
    shuffled = [((a * 7 + 3) % 60, (b * 7 + 3) % 60) for a, b in edges]
    order = topological(60, shuffled)
    assert order is not None
    routes, column = chains(ranks(order, shuffled), shuffled)
    short = [step for route in routes for step in pairwise(route)]
    assert crossings(ordered(column, short), neighbours(len(column), short)[1]) == 0


def test_crossings_are_counted() -> None:
    after = neighbours(6, [(0, 3), (0, 5), (1, 3), (1, 4), (2, 3)])[1]
    assert crossings([[0, 1, 2], [3, 4, 5]], after) == 4


def test_no_nodes_and_one() -> None:
    assert layout([], []).boxes == {}
    placed = layout([Node("a", 30, 20)], [])
    assert placed.width > 30 and placed.height > 20
    assert len({box.y for box in layout([Node(i, 30, 20) for i in range(3)], []).boxes.values()}) == 3


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        ("abcd", ["ab", "bc", "ca", "cd"], "has a cycle, .*: a -> b -> c -> a$"),
        ("ab", ["aa"], "has a cycle, .*: a -> a$"),
        ("aba", [], "two nodes have the id 'a'"),
        ("ab", ["ac"], "the edge 'a' -> 'c' ends at 'c', which is no node"),
    ],
)
def test_what_cannot_be_drawn_is_refused(nodes: str, edges: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layout([Node(name, 10, 10) for name in nodes], [(edge[0], edge[1]) for edge in edges])


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_sizes_are_positive(size: float) -> None:
    with pytest.raises(ValueError, match="node 'a' must have a positive size"):
        layout([Node("a", size, 10)], [])
