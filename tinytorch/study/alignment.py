"""How high each node of a layered graph stands, so that edges are straight where they can be.

U. Brandes and B. Köpf, "Fast and Simple Horizontal Coordinate Assignment" (2001), turned by 90 degrees: each node is
aligned with the median of its neighbours, in four ways (from the left or the right column, ties upwards or downwards),
and stands in the middle of the four. Long edges are aligned before short ones, so they have two bends at most.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise

from .layers import Columns, Neighbours

Apart = Callable[[int, int], float]  # how far the middles of two neighbours in a column must be apart


def heights(
    columns: Columns, before: Neighbours, after: Neighbours, is_dummy: Callable[[int], bool], apart: Apart
) -> list[float]:
    """The middle of each node; neighbours in a column are at least `apart`."""
    conflicts = _conflicts(columns, before, is_dummy)
    found = []
    for beside, onward in ((before, columns), (after, columns[::-1])):
        for sign in (1, -1):
            turned = [nodes[::sign] for nodes in onward]
            root = _aligned(turned, beside, conflicts)
            middle = _compact(turned, root, apart)
            found.append((sign, [sign * value for value in middle]))
    if not found[0][1]:
        return []
    narrowest = min(found, key=lambda entry: max(entry[1]) - min(entry[1]))[1]
    moved = []
    for sign, middle in found:
        # Those pressed upwards agree at the top, the others at the bottom.
        shift = min(narrowest) - min(middle) if sign == 1 else max(narrowest) - max(middle)
        moved.append([value + shift for value in middle])
    four = zip(*moved, strict=True)
    return [(a + b) / 2 for _, a, b, _ in map(sorted, four)]


def _conflicts(columns: Columns, before: Neighbours, is_dummy: Callable[[int], bool]) -> set[tuple[int, int]]:
    """Edges that cross the inner part of a long edge: the long one is the one that is kept straight."""
    found = set()
    for left, right in pairwise(columns):
        place = {node: number for number, node in enumerate(left)}
        # Where the inner part of the long edge that arrives at each place began, if it is one.
        began = [place[before[node][0]] if is_dummy(node) and is_dummy(before[node][0]) else None for node in right]
        lowest = list(accumulate(began, lambda a, b: a if b is None else max(a, b), initial=-1))
        highest = list(accumulate(began[::-1], lambda a, b: a if b is None else min(a, b), initial=len(left)))[::-1]
        for number, node in enumerate(right):
            for source in before[node] if began[number] is None else ():
                if lowest[number] > place[source] or highest[number + 1] < place[source]:
                    found.add((source, node))
    return found


def _aligned(columns: Columns, beside: Neighbours, conflicts: set[tuple[int, int]]) -> list[int]:
    """The first node of the row that each belongs to: rows of nodes aligned with the median of their neighbours."""
    root = list(range(len(beside)))
    taken = [False] * len(beside)  # whether a node is continued already
    for fixed, nodes in pairwise(columns):
        place = {node: number for number, node in enumerate(fixed)}
        last = -1
        for node in nodes:
            others = sorted(beside[node], key=place.__getitem__)
            middle = (len(others) - 1) / 2
            for other in others[int(middle) : int(middle + 0.5) + 1]:
                marked = (other, node) in conflicts or (node, other) in conflicts
                if root[node] == node and not taken[other] and not marked and last < place[other]:
                    root[node], taken[other], last = root[other], True, place[other]
    return root


def _compact(columns: Columns, root: list[int], apart: Apart) -> list[float]:
    """Rows as far up as they can be, and then each as near to the ones below as they let it."""
    count = len(root)
    below: list[dict[int, float]] = [{} for _ in range(count)]
    missing = [0] * count
    for nodes in columns:
        for upper, lower in pairwise(nodes):
            a, b = root[upper], root[lower]
            if b not in below[a]:
                missing[b] += 1
            below[a][b] = max(below[a].get(b, 0.0), apart(upper, lower))
    middle = [0.0] * count
    order = [node for node in range(count) if root[node] == node and not missing[node]]
    for row in order:
        for other, distance in below[row].items():
            middle[other] = max(middle[other], middle[row] + distance)
            missing[other] -= 1
            if not missing[other]:
                order.append(other)
    for row in reversed(order):
        if below[row]:
            middle[row] = max(middle[row], min(middle[other] - distance for other, distance in below[row].items()))
    return [middle[root[node]] for node in range(count)]
