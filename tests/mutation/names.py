"""Who uses what, by name: which lines may see a fault in code whose own lines no test was seen to run.

Such is what runs once at import (constants, classes) and what Numba compiles. A name that is used in such code makes
the code's own name, or what is assigned there, one to look for in turn.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Mention(NamedTuple):
    """A name stands in a line of a file, within `owners`: the function around it, or what the line assigns."""

    path: str
    line: int
    owners: tuple[str, ...]


class Names:
    """The mentions of every name in a tree of sources."""

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        self.mentions: dict[str, list[Mention]] = defaultdict(list)
        for path in paths:
            for statement in ast.parse((root / path).read_bytes()).body:
                for name, mention in _mentions(path, statement, (), _owners(statement)):
                    self.mentions[name].append(mention)

    def users(self, names: Iterable[str], ends: Callable[[Mention], bool]) -> tuple[list[Mention], set[str]]:
        """The mentions of the names at which the search ends, and all names that were looked for on the way."""
        found: list[Mention] = []
        seen = set(names)
        waiting = list(seen)
        while waiting:
            for mention in self.mentions[waiting.pop()]:
                if ends(mention):
                    found.append(mention)
                    continue
                for owner in mention.owners:
                    if owner not in seen:
                        seen.add(owner)
                        waiting.append(owner)
        return found, seen


def innermost(scope: tuple[str, ...]) -> tuple[str, ...]:
    """What others call it: the function's name, or its class's where Python calls it by itself (`__init__`)."""
    named = [name for name in scope if not name.startswith("__")]
    return tuple(named[-1:])


def assigned_names(statement: Any) -> tuple[str, ...]:
    """The names that a statement assigns."""
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    return tuple(x.id for target in targets if target for x in ast.walk(target) if isinstance(x, ast.Name))


def _owners(statement: Any) -> tuple[str, ...]:
    return assigned_names(statement) if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)) else ()


def _mentions(path: str, node: Any, scope: tuple[str, ...], owners: tuple[str, ...]) -> Iterator[tuple[str, Mention]]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        scope = (*scope, node.name)
        owners = innermost(scope)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id, Mention(path, node.lineno, owners)
    if isinstance(node, ast.Attribute):
        yield node.attr, Mention(path, node.end_lineno or node.lineno, owners)
    for child in ast.iter_child_nodes(node):
        yield from _mentions(path, child, scope, owners)
