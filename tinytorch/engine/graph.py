"""The graph: its edges and where they end, the order in which the walk visits its nodes, and how it is freed.

A leaf is not a node: its edges end in an AccumulateGrad, which holds it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

from .hooks import Hooked, Hooks
from .mode import mode

Edge = tuple[Any, int]  # a node, and which of its outputs
LINKS = 64  # the longest chain of nodes that Python frees by recursion


class Links(list[Edge | None]):
    """The edges of every LINKS-th node along a chain, in place of a tuple: where these are freed, recursion ends.

    Python frees what a node holds while it frees the node, and so on down the chain; in some versions this goes deeper
    than a small stack allows. What these edges hold is freed from a loop instead, which the first of them starts.
    """

    def __del__(self) -> None:
        held = self[:]
        self.clear()
        drop(held)


def drop(held: list[Any], mode: Any = mode) -> None:  # the mode of the module is gone when the interpreter ends
    """Drop the objects in a list, and all that is freed with them, one after the other instead of by recursion."""
    if mode.dropped is not None:
        mode.dropped += held
        return
    mode.dropped = held
    try:
        while held:
            held.pop()
    finally:
        mode.dropped = None


# Threads that add to the same leaf take turns. Leaves share these locks, since a leaf that had one of its own could be
# neither pickled nor copied. They are reentrant, because an allocation may run finalizers, which may do anything.
LOCKS = tuple([threading.RLock() for _ in range(64)])


class AccumulateGrad(Hooked):
    """Where the edges to a leaf end. It holds its leaf, `variable`; the leaf refers to it weakly."""

    edges = ()
    links = 0
    output_count = 1

    variable: Any

    def __del__(self) -> None:
        gradient = self.variable._grad
        if gradient is not None and gradient._grad_fn is not None:  # that history leads to other leaves, and so on
            del gradient
            drop([self.__dict__.pop("variable")])

    @property
    def hooks(self) -> Hooks | None:  # type: ignore[override]
        """The hooks of the leaf."""
        return None if self.variable.hooks is None else mode.run.read(self.variable, "hooks")

    @property
    def metadata(self) -> tuple[tuple[tuple[int, ...], Any], ...]:
        """The shape and dtype of the leaf."""
        array = self.variable.array
        return ((array.shape, array.dtype),)

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """None: nothing lies below a leaf."""
        return ()

    def __call__(self, gradient: Any, own: bool = False) -> None:
        """Add a gradient to the leaf's, without calling this node's own hooks."""
        leaf = self.variable
        if leaf._grad_fn is not None:
            raise RuntimeError(
                f"a leaf of this graph, {leaf.dtype} {tuple(leaf.shape)}, was changed by a recorded in-place operation "
                "since the forward: it has a history of its own now, and no place for a gradient"
            )
        if leaf._requires_grad:  # else requires_grad_(False) since the forward
            mode.run.accumulate(leaf, gradient, own)
            if leaf._post_accumulate_hooks:
                for (hook,) in list(mode.run.read(leaf, "_post_accumulate_hooks")):
                    hook(leaf)

    @classmethod
    def name(cls) -> str:
        """The name that PyTorch gives it."""
        return "AccumulateGrad"

    def __repr__(self) -> str:
        return "<AccumulateGrad>"


def collect(edge: Edge, gradient: Any, own: bool) -> None:
    """Add a complete gradient to the `.grad` of the leaf where an edge ends, with the hooks of its node around that."""
    node = edge[0]
    if node._prehooks is None and node._posthooks is None:
        return node(gradient, own)
    (gradient,) = node.before([gradient])
    if gradient is not None:
        node(gradient)
        node.after([], (gradient,))


def accumulator(leaf: Any) -> AccumulateGrad:
    """The AccumulateGrad of a leaf: the one that some graph holds, or a new one."""
    reference = leaf._accumulator
    node: AccumulateGrad | None = None if reference is None else reference()
    if node is None:
        node = AccumulateGrad()
        node.variable, leaf._accumulator = leaf, weakref.ref(node)
    return node


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
        if node is None:  # everything that the next node on the stack needs is in the order now
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


def limited(
    order: list[Any], roots: Iterable[Edge], wanted: frozenset[Edge]
) -> tuple[list[Any], dict[Any, int], frozenset[Edge]]:
    """What leads from the roots to a wanted edge: the nodes in their order, their `uses_of`, and the edges."""
    nodes = leading(order, {node for node, _ in wanted})
    edges = [*roots, *[edge for node in nodes for edge in node.edges if edge is not None]]
    followed = wanted.union([edge for edge in edges if edge[0] in nodes])
    return [node for node in order if node in nodes], uses_of(nodes), followed


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
