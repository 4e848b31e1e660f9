"""Nested tuples, lists and dicts, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def leaves(tree: Any) -> Iterator[Any]:
    """What is in nested tuples, lists and dicts."""
    if isinstance(tree, (tuple, list, dict)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part)
    else:
        yield tree


def rebuilt(tree: Any, parts: Iterator[Any]) -> Any:
    """The same nesting with other leaves."""
    if isinstance(tree, dict):
        return {key: rebuilt(below, parts) for key, below in tree.items()}
    if isinstance(tree, (tuple, list)):
        found = [rebuilt(below, parts) for below in tree]
        return type(tree)(*found) if hasattr(tree, "_fields") else type(tree)(found)
    return next(parts)


def structure(tree: Any) -> Any:
    """The nesting alone, with * for leaves."""
    return rebuilt(tree, iter(lambda: "*", None))


def spread(prefix: Any, tree: Any) -> list[Any] | None:
    """For each leaf of the tree what the prefix, which may end above it, says of it; None where they do not fit."""
    if not isinstance(prefix, (tuple, list, dict)):
        return [prefix for _ in leaves(tree)]
    if type(prefix) is not type(tree) or len(prefix) != len(tree):
        return None
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree))
    if isinstance(prefix, dict) and prefix.keys() != keys:
        return None
    found = []
    for key in keys:
        below = spread(prefix[key], tree[key])
        if below is None:
            return None
        found += below
    return found
