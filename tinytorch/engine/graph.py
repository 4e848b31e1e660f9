"""The graph: its edges, where they end, in which order its nodes are walked through, and how it is dropped.

A leaf is no node: its edges end in an AccumulateGrad, which holds it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

from .hooks import Hooked, Hooks
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


# Threads that add to one leaf take turns. Leaves share these locks: one of a leaf's own could be neither pickled nor
# copied. Reentrant, since what allocates may run finalizers, which may do anything.
LOCKS = tuple([threading.RLock() for _ in range(64)])


class AccumulateGrad(Hooked):
    """Where the edges to a leaf end. It holds its leaf, `variable`; the leaf knows it by a weak reference."""

    edges = ()
    links = 0
    output_count = 1

    variable: Any

    def __del__(self) -> None:
        gradient = self.variable._grad
        if gradient is not None and gradient._grad_fn is not None:  # which leads to other leaves, and so on
            del gradient
            drop([self.__dict__.pop("variable")])

    @property
    def hooks(self) -> Hooks | None:  # type: ignore[override]
        """Those of the leaf."""
        return None if self.variable.hooks is None else mode.run.read(self.variable, "hooks")

    @property
    def metadata(self) -> tuple[tuple[tuple[int, ...], Any], ...]:
        """The shape and dtype of the leaf."""
        array = self.variable.array
        return ((array.shape, array.dtype),)

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """Nothing lies below."""
        return ()

    def __call__(self, gradient: Any, own: bool = False) -> None:
        """Add a gradient to the leaf's; the node's own hooks are not called."""
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
        """As PyTorch calls it."""
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
    """The node of a leaf: the one that some graph holds, or a new one."""
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


def limited(
    order: list[Any], roots: Iterable[Edge], wanted: frozenset[Edge]
) -> tuple[list[Any], dict[Any, int], frozenset[Edge]]:
    """Of an order, the nodes that lead from the roots to an edge that is wanted; their `uses_of`; the edges that do."""
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
