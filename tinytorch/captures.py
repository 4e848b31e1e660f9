"""Collect the gradients that arrive at given edges of a graph, without adding to any leaf's `.grad`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .engine.graph import Edge
from .engine.walk import walk


def gradients_at(
    wanted: Iterable[Edge], roots: Sequence[Edge], gradients: Sequence[Any], *, retain_graph: bool, create_graph: bool
) -> dict[Edge, Any]:
    """The gradient that a walk from the roots brings to each edge; edges that it does not reach are missing."""
    found: dict[Edge, Any] = {}

    def keep(edge: Edge, gradient: Any, own: bool) -> None:
        found[edge] = gradient

    walk(roots, gradients, keep, wanted=wanted, retain_graph=retain_graph, create_graph=create_graph)
    return found
