"""Damage to JSON that knows what JSON is: a value of another kind, a key too many or too few, too deep, too long.

And to bytes: cut short, flipped, no UTF-8.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, -5, 2, 3, 7, 64, 10**6, 10**7, 10**12, 2**31, 2**53, 2**63, 2**64, 2**70, -(2**70),
    10**400, 0.0, 0.5, 1.0, 1.5, -1.5, 1e-300, 1e300, float("nan"), float("inf"), float("-inf"),
    "", "x", "0", "8", "false", "true", "null", "NaN", "..", "/etc/passwd", "a\nb", "\x1b[2J", "\ud800", "\0", "😀",
    "x" * 9999, [], {}, [[]], [None], [1, "x", None], {"a": {"b": []}}, {"": 0}, [[1, 2], [3]], [0] * 1000, [10**9],
    [-1], ["x"] * 100, r"(([a-z_.0-9]+)+)+X", r"(?:.?){65000}(?:.?){65000}[Q!]", "(", "(?x) #", ".*", "[", r"\1",
    "all-linear",
]  # fmt: skip


def mutated(value: Any, rng: Random, keys: list[str]) -> Any:
    """A copy of a tree with some of its nodes changed; `keys` are names that its readers know."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        value = _once(value, rng, keys)
    return value


def _once(value: Any, rng: Random, keys: list[str]) -> Any:
    parent, place = _node(value, rng)
    if parent is None:
        return _value(rng)
    action = rng.randrange(8)
    if action <= 2:
        parent[place] = _value(rng)
    elif action == 3:
        del parent[place]
    elif action == 4:  # a value from elsewhere
        other, there = _node(value, rng)
        try:
            parent[place] = copy.deepcopy(other[there]) if other is not None else {}
        except RecursionError:  # deep already
            parent[place] = {}
    elif action == 5:
        parent[place] = _near(parent[place], rng)
    elif isinstance(parent, dict):
        key = rng.choice([*keys, "x", "", place.upper()]) if action == 6 else place + rng.choice(" \n_s")
        parent[key] = _value(rng) if rng.random() < 0.7 else parent.pop(place)
    else:
        parent.insert(place, _value(rng))
    return value


def _node(value: Any, rng: Random) -> tuple[Any, Any]:
    """A list or object in a tree, and one of its places; (None, None) for the root."""
    places: list[tuple[Any, Any]] = [(None, None)]
    stack = [value]
    while stack and len(places) < 3000:
        item = stack.pop()
        inner = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else []
        places += [(item, place) for place in inner]
        stack += [item[place] for place in inner if isinstance(item[place], (dict, list))]
    # Half of the time one of the first, which are those at the top.
    return rng.choice(places[:60] if rng.random() < 0.5 else places)


def _value(rng: Random) -> Any:
    if rng.random() < 0.03:
        value: Any = rng.choice(VALUES)
        for _ in range(rng.choice((3, 50, 400))):
            value = [value] if rng.random() < 0.5 else {"a": value}
        return value
    return copy.deepcopy(rng.choice(VALUES))


def _near(value: Any, rng: Random) -> Any:
    """Something of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, value, -2 * value, 10**6))
    if isinstance(value, float):
        return value * rng.choice((-1, 0, 2, 1e10, 1e300, float("nan")))
    if isinstance(value, str):
        cut = rng.randrange(len(value) + 1)
        return value[:cut] + rng.choice(["", "x", "\n", "é", "\ud800", value]) + value[cut:]
    return [value, value] if isinstance(value, list) else {"a": value}


def written(value: Any, rng: Random, wide: bool = True) -> bytes:
    """A tree as JSON, sometimes damaged as text; where `wide`, also of a million values."""
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)))
    except RecursionError:
        text = "[" * 5000
    damage = rng.randrange(25)
    if damage == 0:
        text = rng.choice('[{"') * rng.choice((10, 1000, 100_000)) + text
    elif damage == 1:
        text = '{"a":' * rng.choice((10, 1000, 100_000))
    elif damage == 2:
        text = "\ufeff" + text
    elif damage == 3:
        text = text.replace("1", rng.choice(("1" * 5000, "1e999", "-0", "NaN", "\\ud83d", "1.")), 1)
    elif damage == 5 and wide and rng.random() < 0.2:
        text = '{"a": [' + rng.choice(("[],", "{},", '{"a": 0},', '"ab",', "1.5,")) * 1_000_000 + "0]}"
    content = text.encode("utf-8", "surrogatepass")
    return damaged(content, rng) if damage == 4 else content


def damaged(content: bytes, rng: Random) -> bytes:
    """Bytes, cut short, longer, flipped or in another order."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if not changed:
            return b"\0"
        place = rng.randrange(min(len(changed), rng.choice((16, 1000, len(changed)))))
        action = rng.randrange(6)
        if action == 0:
            del changed[place:]
        elif action == 1:
            changed[place] ^= 1 << rng.randrange(8)
        elif action == 2:
            changed[place] = rng.choice((0, 255, 34, 92, 91, 123))
        elif action == 3:
            changed[place:place] = rng.randbytes(rng.choice((1, 4, 100)))
        elif action == 4:
            del changed[place : place + rng.choice((1, 8, 100))]
        else:
            changed[place:place] = changed[:100]
    return bytes(changed)
