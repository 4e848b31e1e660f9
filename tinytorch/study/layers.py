"""Which column each node of a directed acyclic graph stands in, and in which order, so that few edges cross.

Nodes and edges are numbers here. An edge over several columns is cut into a chain of short ones by dummy nodes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import pairwise

ROUNDS = 24  # sweeps over all columns
PATIENCE = 6  # of them without fewer crossings, after which it stays as it is
SWAPPED = 600  # nodes, dummies included, up to which neighbours are also swapped one by one

Edges = list[tuple[int, int]]
Columns = list[list[int]]  # the nodes in each, from top to bottom
Neighbours = list[list[int]]


def topological(count: int, edges: Edges) -> list[int] | None:
    """The nodes, each after those that lead to it; None where a cycle is in the way."""
    missing, after = [0] * count, neighbours(count, edges)[1]
    for _, target in edges:
        missing[target] += 1
    order = [node for node in range(count) if not missing[node]]
    for node in order:
        for target in after[node]:
            missing[target] -= 1
            if not missing[target]:
                order.append(target)
    return order if len(order) == count else None


def cycle(count: int, edges: Edges) -> list[int]:
    """A cycle of a graph that has one, from its lowest node and back to it."""
    before = neighbours(count, edges)[0]
    left = set(range(count))
    while free := [node for node in left if not any(source in left for source in before[node])]:
        left.difference_update(free)
    path = [min(left)]  # each of these has another of them before it
    while path[-1] not in path[:-1]:
        path.append(min(source for source in before[path[-1]] if source in left))
    found = path[path.index(path[-1]) + 1 :][::-1]
    first = found.index(min(found))
    return [*found[first:], *found[:first], found[first]]


def neighbours(count: int, edges: Edges) -> tuple[Neighbours, Neighbours]:
    """What lies before and after each node, once for each edge."""
    before: Neighbours = [[] for _ in range(count)]
    after: Neighbours = [[] for _ in range(count)]
    for source, target in edges:
        before[target].append(source)
        after[source].append(target)
    return before, after


def ranks(order: list[int], edges: Edges) -> list[int]:
    """The column of each node: edges lead to the right, and are short together.

    First as far left as can be; then each node goes where most of its edges pull it, until nothing moves. Where as many
    pull either way it goes right and then back, which takes along what hangs on it alone.
    """
    before, after = neighbours(len(order), edges)
    rank = [0] * len(order)
    for node in order:
        rank[node] = max((rank[source] + 1 for source in before[node]), default=0)
    for _ in range(len(order)):
        previous = list(rank)
        for node in reversed(order):
            if after[node] and len(after[node]) >= len(before[node]):
                rank[node] = min(rank[target] for target in after[node]) - 1
        for node in order:
            if before[node] and len(before[node]) >= len(after[node]):
                rank[node] = max(rank[source] for source in before[node]) + 1
        if rank == previous:
            break
    first = min(rank, default=0)
    return [column - first for column in rank]


def chains(rank: list[int], edges: Edges) -> tuple[list[list[int]], list[int]]:
    """For each edge its nodes from column to column, dummies between the ends; and the column of each, dummies too."""
    column, found = list(rank), []
    for source, target in edges:
        between = range(rank[source] + 1, rank[target])
        found.append([source, *range(len(column), len(column) + len(between)), target])
        column += between
    return found, column


def ordered(column: list[int], short: Edges) -> Columns:
    """The nodes of each column, in an order with few crossings: of two beginnings, the better end."""
    before, after = neighbours(len(column), short)
    found = []
    for start, onward in ((after, before), (before, after)):
        columns = _begun(column, start, onward)
        found.append(_improved(columns, before, after))
    return min(found, key=lambda columns: crossings(columns, after))


def _begun(column: list[int], start: Neighbours, onward: Neighbours) -> Columns:
    """Depth first from the nodes that have nothing in `start`: what belongs together stands together."""
    columns: Columns = [[] for _ in range(max(column, default=-1) + 1)]
    seen = [False] * len(column)
    stack = [node for node in reversed(range(len(column))) if not start[node]]
    while stack:
        node = stack.pop()
        if not seen[node]:
            seen[node] = True
            columns[column[node]].append(node)
            stack += reversed(onward[node])
    return columns


def _improved(columns: Columns, before: Neighbours, after: Neighbours) -> Columns:
    """By sweeps to the right and to the left, each node goes to the median of its neighbours in the column before."""
    best, fewest, since = columns, crossings(columns, after), 0
    for turn in range(ROUNDS):
        if not fewest or since >= PATIENCE:
            break
        columns = [list(nodes) for nodes in columns]
        beside = after if turn % 2 else before
        sweep = range(len(columns) - 2, -1, -1) if turn % 2 else range(1, len(columns))
        for number in sweep:
            _sort(columns[number], columns[number + (1 if turn % 2 else -1)], beside, turn % 4 > 1)
        if len(before) <= SWAPPED:
            _swap(columns, before, after)
        count, since = crossings(columns, after), since + 1
        if count < fewest:
            best, fewest, since = columns, count, 0
    return best


def _sort(nodes: list[int], fixed: list[int], beside: Neighbours, ties_turned: bool) -> None:
    """By the medians of neighbours; those without any stay where they are."""
    place = {node: number for number, node in enumerate(fixed)}
    medians = {}
    for node in nodes:
        places = sorted(place[other] for other in beside[node])
        if places:
            middle = len(places) // 2
            medians[node] = places[middle] if len(places) % 2 else (places[middle - 1] + places[middle]) / 2
    moving = [node for node in nodes if node in medians]
    if ties_turned:
        moving.reverse()
    moving.sort(key=medians.__getitem__)
    rest = iter(moving)
    nodes[:] = [next(rest) if node in medians else node for node in nodes]


def _swap(columns: Columns, before: Neighbours, after: Neighbours) -> None:
    """Swap neighbours in a column wherever fewer of their edges cross then, until none do."""
    place = [0] * len(before)
    for nodes in columns:
        for number, node in enumerate(nodes):
            place[node] = number
    for _ in range(PATIENCE):
        moved = False
        for nodes in columns:
            for number in range(len(nodes) - 1):
                upper, lower = nodes[number], nodes[number + 1]
                gain = 0
                for beside in (before, after):
                    for a in beside[upper]:
                        for b in beside[lower]:
                            gain += (place[a] > place[b]) - (place[a] < place[b])
                if gain > 0:
                    nodes[number], nodes[number + 1] = lower, upper
                    place[upper], place[lower] = number + 1, number
                    moved = True
        if not moved:
            return


def crossings(columns: Columns, after: Neighbours) -> int:
    """How many pairs of edges cross."""
    total = 0
    for nodes, following in pairwise(columns):
        place = {node: number for number, node in enumerate(following)}
        above: list[int] = []
        for node in nodes:
            places = sorted(place[other] for other in after[node])
            # each crosses those of nodes above that end below it
            total += sum(len(above) - bisect_left(above, number + 1) for number in places)
            for number in places:
                insort(above, number)
    return total
