"""Edges of the graph, and how a graph of any length is dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .mode import mode

Edge = tuple[Any, int]  # a node, and which of its outputs
LINKS = 64  # nodes of a chain at most that are dropped one from inside the other


class Links(list[Edge | None]):
    """Edges, in place of a tuple, of one node in LINKS along a chain: where they are dropped, recursion ends.

    Python drops what a node holds while it drops the node, and so on down the chain; some versions go deeper this way
    than a small stack can bear. What these edges hold is dropped from a loop instead, that of the first of them to go.
    """

    def __del__(self) -> None:
        held = self[:]
        self.clear()
        drop(held)


def drop(held: list[Any], mode: Any = mode) -> None:  # the mode of the module is gone when the interpreter ends
    """Drop what a list holds, which nothing else may hold, and what is dropped with it: one after the other."""
    if mode.dropped is not None:
        mode.dropped += held
        return
    mode.dropped = held
    try:
        while held:
            held.pop()
    finally:
        mode.dropped = None


def topological_order(roots: Iterable[Any]) -> tuple[list[Any], dict[Any, int]]:
    """The nodes that a gradient passes through, inputs before the nodes that use them; and `uses_of` them.

    Iterative, so the depth of the graph is not limited by the interpreter's stack.
    """
    order: list[Any] = []
    seen: set[Any] = set()
    uses: dict[Any, int] = {}  # by leaf: the edges that lead to it
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node is None:  # all that the node below it needs is in the order now
            order.append(stack.pop())
        elif node not in seen:
            seen.add(node)
            if node.edges:
                stack += [node, None]
                for below in [edge[0] for edge in node.edges if edge is not None]:
                    if not below.edges:
                        uses[below] = uses.get(below, 0) + 1
                    elif below not in seen:
                        stack.append(below)
            else:
                order.append(node)
    return order, uses


def leading(order: list[Any], ends: set[Any]) -> set[Any]:
    """The nodes at which something is wanted, and those that lead to one of them."""
    leading: set[Any] = set()
    for node in order:
        if node in ends or any([edge is not None and (edge[0] in leading or edge[0] in ends) for edge in node.edges]):
            leading.add(node)
    return leading


def uses_of(nodes: Iterable[Any]) -> dict[Any, int]:
    """By leaf, how many edges of these nodes lead to it."""
    uses: dict[Any, int] = {}
    for node in nodes:
        for edge in node.edges:
            if edge is not None and not edge[0].edges:
                uses[edge[0]] = uses.get(edge[0], 0) + 1
    return uses
