"""The order of the walk

A graph is a dictionary: inputs_of["y"] lists the nodes that y was computed
from, in any order, and maybe one of them twice. A node that was computed from
none has an empty list. order(inputs_of, root) returns a list of the nodes that
the root depends on, itself included, each once, in an order in which backward
may run them: the root first, and each node after all those that use it,
because only then is its gradient complete. A chain may be longer than Python's
stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...engine.graph import topological_order
from ...engine.walk import walk
from ..practice.exercise import Exercise, Problem, Question
from ..practice.student import called

Graph = dict[str, list[str]]


def question(rng: np.random.Generator) -> Question:
    """Nodes in layers, and beside them some that the root does not depend on; or a long chain with short cuts."""
    if rng.random() < 0.4:
        count, near = 3000, 2
    else:
        count, near = 9, 4
    names = [f"n{i}" for i in rng.permutation(count)]  # inputs first, the root last
    graph: Graph = {}
    for place, name in enumerate(names):
        before = names[max(0, place - near) : place]
        some = [other for other in before if rng.random() < 0.5]
        graph[name] = [str(x) for x in rng.permutation([*before[-1:], *some])]
    graph["unused"] = [names[0]]
    shuffled = {str(name): graph[str(name)] for name in rng.permutation(list(graph))}
    return Question({"inputs_of": shuffled, "root": names[-1]}, accepts=judge(shuffled, names[-1]))


def judge(inputs_of: Graph, root: str) -> Callable[[Any], Problem | None]:
    """What is wrong with an order of a graph."""
    needed, stack = {root}, [root]
    while stack:
        for name in inputs_of[stack.pop()]:
            if name not in needed:
                needed.add(name)
                stack.append(name)

    def accepts(order: Any) -> Problem | None:
        if not isinstance(order, list):
            return Problem(f"order returns {called(order)}, expected a list of the nodes' names")
        if strange := [name for name in order if not isinstance(name, str) or name not in inputs_of]:
            return Problem(f"there is {strange[0]!r} in the order, which is no node of the graph")
        place = {name: i for i, name in enumerate(order)}
        if len(place) < len(order):
            twice = next(name for i, name in enumerate(order) if place[name] != i)
            return Problem(
                f"{twice} is in the order {order.count(twice)} times, expected once",
                "several paths lead to some nodes",
                "a node that was reached before is visited again: remember which were seen",
            )
        if missing := needed - set(order):
            one = next(name for name in inputs_of if name in missing)
            return Problem(
                f"{len(missing)} of {len(needed)} nodes are missing, {one} among them",
                "follow every input of every node",
                "not every input is followed; or the root or the nodes without inputs are left out",
            )
        if extra := set(order) - needed:
            return Problem(
                f"{next(name for name in order if name in extra)} is in the order, and the root does not depend on it",
                "begin at the root",
                "all nodes are in the order: only those that are reached from the root belong there",
            )
        early = [(x, y) for y in order for x in inputs_of[y] if place[x] < place[y]]
        if not early:
            return None
        x, y = early[0]
        fact = f"{x} is visited before {y}, which uses it: {len(early)} of the edges are that way"
        nudge = "when may a node be visited? Not at once when it is first reached"
        if not [1 for y in order for x in inputs_of[y] if place[x] > place[y]]:
            return Problem(fact, nudge, "the order is the reverse: inputs first is the order of the forward")
        return Problem(
            fact, nudge,
            "nodes are visited as they are reached, one path or one layer after the other; a node must wait until all "
            "that use it are done, and there may be several",
        )  # fmt: skip

    return accepts


EXERCISE = Exercise(question, "when is the gradient of a node complete?", [topological_order, walk], function="order")
