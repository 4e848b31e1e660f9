"""Copies of objects and of everything in them, to restore them and to find where two differ."""

from __future__ import annotations

import copy
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..engine.function import Function
from ..tensor import Tensor

Array = np.ndarray[Any, Any]

# Caches, counts and links that are invisible from outside, and things that a trace leaves alone.
_MACHINERY = {
    "_base", "_chain", "_refused", "_seen", "_counter", "_grad_fn", "output_nr", "hooks", "_accumulator", "addresses",
}  # fmt: skip
_LEFT_ALONE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, Function)
_NAMES = {"array": "", "_grad": ".grad", "_requires_grad": ".requires_grad"}


class State:
    """Objects and everything in them, as they are now: arrays, lists, dictionaries, attributes."""

    def __init__(self, things: Iterable[Any]) -> None:
        self._things: dict[int, Any] = {}  # by id, those that were added
        self._kept: dict[int, tuple[Any, Any]] = {}  # by id, these and their parts: the object, and its content
        self.add_all(things)

    @property
    def things(self) -> list[Any]:
        """Those that were added."""
        return list(self._things.values())

    def add_all(self, things: Iterable[Any]) -> None:
        """Add each thing, unless it is known."""
        for thing in things:
            self.add(thing)

    def add(self, thing: Any) -> None:
        """Add a thing; what is already known, on its own or as a part, keeps its earlier copy."""
        if thing is None or id(thing) in self._things:
            return
        self._things[id(thing)] = thing
        waiting = [thing]
        while waiting:
            thing = waiting.pop()
            held = None if id(thing) in self._kept else _held(thing)
            if held is not None:
                self._kept[id(thing)] = thing, held
                if not isinstance(held, np.ndarray):
                    waiting += held.values() if isinstance(held, dict) else held

    def restore(self) -> None:
        """Restore everything; memory that was added twice gets its earlier content."""
        for thing, held in reversed(self._kept.values()):
            if isinstance(thing, np.ndarray):
                if thing.flags.writeable:
                    np.copyto(thing, held)
            elif isinstance(thing, np.random.Generator):
                thing.bit_generator.state = held["state"]
            elif isinstance(thing, (list, deque)):
                thing.clear()
                thing.extend(held)
            elif not isinstance(thing, tuple):
                attributes = thing if isinstance(thing, dict) else vars(thing)
                attributes.clear()
                attributes.update(held)

    def difference(self, other: State, name: str | None = None) -> str | None:
        """Where it first differs from another state, and by how much, or None. `name` is the name to give it."""
        seen: set[tuple[int, int]] = set()
        for mine, theirs in zip(self.things, other.things, strict=True):
            found = self._difference(other, mine, theirs, type(mine).__name__ if name is None else name, seen)
            if found is not None:
                return found
        return None

    def _difference(self, other: State, mine: Any, theirs: Any, path: str, seen: set[tuple[int, int]]) -> str | None:
        if (id(mine), id(theirs)) in seen:
            return None
        seen.add((id(mine), id(theirs)))
        if type(mine) is not type(theirs):
            return f"{path} is {type(mine).__name__}, as written {type(theirs).__name__}"
        if id(mine) not in self._kept:
            if isinstance(mine, (bool, int, float, str)) and repr(mine) != repr(theirs):
                return f"{path} is {mine!r}, as written {theirs!r}"
            return None
        ours, others = self._kept[id(mine)][1], other._kept[id(theirs)][1]
        if isinstance(mine, np.ndarray):
            return _of_arrays(ours, others, path)
        for name, here, there in _pairs(mine, ours, others):
            found = self._difference(other, here, there, path + name, seen)
            if found is not None:
                return found
        return None


_ABSENT = object()


def _held(thing: Any) -> Any:
    if isinstance(thing, np.ndarray):
        return thing.copy()
    if isinstance(thing, (list, tuple, deque)):
        return list(thing)
    if isinstance(thing, dict):
        return dict(thing)
    if isinstance(thing, np.random.Generator):
        return {"state": copy.deepcopy(thing.bit_generator.state)}
    if isinstance(thing, _LEFT_ALONE) or not hasattr(thing, "__dict__") or type(thing).__module__.startswith("numba"):
        return None
    return dict(vars(thing))


def _pairs(thing: Any, ours: Any, others: Any) -> Iterator[tuple[str, Any, Any]]:
    """The names of the parts, and the parts of both."""
    if isinstance(ours, list):
        for i in range(max(len(ours), len(others))):
            here, there = (part[i] if i < len(part) else _ABSENT for part in (ours, others))
            yield f"[{i}]", here, there
        return
    inside = isinstance(thing, dict)
    for key in dict.fromkeys((*ours, *others)):
        if inside or key not in _MACHINERY:
            name = f"[{_described(key)}]" if inside else _NAMES.get(key, f".{key}")
            absent = _ABSENT if inside else getattr(type(thing), key, _ABSENT)
            yield name, ours.get(key, absent), others.get(key, absent)


def _described(thing: Any) -> str:
    return type(thing).__name__ if isinstance(thing, Tensor) else repr(thing)


def _of_arrays(a: Array, b: Array, path: str) -> str | None:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{path} is {a.dtype} {a.shape}, as written {b.dtype} {b.shape}"
    if a.tobytes() == b.tobytes():
        return None
    wide, other = a.astype(np.float64), b.astype(np.float64)
    unequal = ((a != b) | (np.signbit(wide) != np.signbit(other))) & ~(np.isnan(wide) & np.isnan(other))
    if not unequal.any():
        return None
    largest = np.abs(wide - other)[unequal].max()
    return f"{path}, {a.dtype} {a.shape}, by up to {largest:.3g} in {unequal.sum()} of {a.size} elements"
