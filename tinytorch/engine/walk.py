"""The backward walk: from the outputs to the leaves, each node once, when all its gradients are there.

The walk alone undoes broadcasting, checks shapes, casts dtypes and sums the gradients of a shared input, so that no
operation has to. It writes into a gradient only where nobody else can hold that memory: in the results of a backward
whose operation does not say `backward_shares`, and in the walk's own sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import tensor
from .graph import Edge, limited, topological_order
from .mode import mode

# By node: the gradients of its outputs that have arrived so far, and whether the walk owns each of them.
Arrived = dict[Any, Any]
Receive = Callable[[Edge, Any, bool], None]  # an edge, its gradient, and whether the walk owns that


def walk(
    roots: Sequence[Edge],
    gradients: Sequence[Any],
    receive: Receive,
    *,
    wanted: Iterable[Edge] | None = None,
    running: bool = False,
    retain_graph: bool,
    create_graph: bool,
) -> None:
    """Send gradients from the roots down the graph, and hand each one that is wanted to `receive` once it is complete.

    By default all leaves are wanted. If edges are given, only the nodes that lead to one of them run, and if `running`,
    the nodes whose outputs are wanted, too; as in PyTorch, hooks alone see the results of these.
    """
    order, uses = topological_order([node for node, _ in roots])
    edges = followed = None  # the wanted edges, and all that lead to one
    if wanted is not None:
        edges = frozenset(wanted)
        order, uses, followed = limited(order, roots, edges)
    arrived: Arrived = {}

    def complete(leaf: Any) -> None:
        """Hand over the gradient of a leaf, which nothing more will be added to."""
        grads, own = arrived.pop(leaf, (None, None))
        if grads is None or (edges is not None and (leaf, 0) not in edges):
            return
        hooked = leaf.variable.hooks is not None
        if hooked:
            leaf.hooks.run(grads)
        receive((leaf, 0), grads[0], own[0] and not hooked)

    recording, mode.grad = mode.grad, create_graph
    try:
        with np.errstate(all="ignore"):
            for edge, gradient in zip(roots, gradients, strict=True):
                if followed is None or edge in followed:
                    _arrive(arrived, edge, gradient, False)
                elif len(roots) == 1:
                    _run_hooks_of_root(*edge, gradient)
            for node, _ in roots:
                if not node.edges and not uses.get(node):
                    complete(node)
            while order:
                node = order.pop()
                if not node.edges:
                    continue
                grads, _ = arrived.pop(node, (None, None))
                results = None if grads is None else _results(node, grads, receive, edges, followed, running)
                grads = None
                own = not node.backward_shares
                for i, edge in enumerate(node.edges):
                    if edge is None:
                        continue
                    below = edge[0]
                    if results is not None and results[i] is not None:
                        # Dropped from the list, so that a gradient lives no longer than it must.
                        result, results[i] = results[i], None
                        if followed is None or edge in followed:
                            _arrive(arrived, edge, result, own, node)
                        result = None
                    if below in uses:
                        uses[below] -= 1
                        if not uses[below]:
                            complete(below)
                if not retain_graph and node._saved and results is not None:
                    node.release()
    finally:
        mode.grad = recording


def _run_hooks_of_root(node: Any, number: int, gradient: Any) -> None:
    """As in PyTorch, the hooks of a single root see its gradient even if it leads to nothing that is wanted."""
    if node.hooks is not None:
        node.hooks.run([*[None] * number, gradient, *[None] * (node.output_count - number - 1)])


def _results(
    node: Any, grads: list[Any], receive: Receive, edges: Any, followed: Any, running: bool
) -> list[Any] | None:
    """The gradients of a node's inputs; None if the walk ends at this node."""
    if node.hooks is None and node._prehooks is None and node._posthooks is None and (not edges or running):
        results: list[Any] | None = mode.run.backward(node, grads)
    else:
        results = _with_hooks(node, grads, receive, edges, followed, running)
    if results is not None and len(results) != len(node.edges):
        raise RuntimeError(
            f"{node.name()} returned {len(results)} gradients for {len(node.edges)} inputs: "
            "backward returns one per input, None where there is none"
        )
    return results


def _with_hooks(
    node: Any, grads: list[Any], receive: Receive, edges: Any, followed: Any, running: bool
) -> list[Any] | None:
    """The same for a node that has hooks, or where the walk may end."""
    hooks = node.hooks
    if edges and not running:
        # As in PyTorch: where the walk ends, hooks come before a gradient is handed over; where it goes on, after that.
        ends = True not in _leading_on(node, followed)
        if ends and hooks is not None:
            hooks.run(grads)
        for number, grad in enumerate(grads):
            if grad is not None and (node, number) in edges:
                receive((node, number), grad, False)
        if ends:
            return None
    if hooks is not None:
        hooks.run(grads)
    if node._prehooks:
        grads = node.before(grads)
        if all([grad is None for grad in grads]):
            return [None] * len(node.edges)
    given = tuple(grads) if node._posthooks else ()
    results: list[Any] = mode.run.backward(node, grads)
    if node._posthooks and len(results) == len(node.edges):
        results = [
            _fit(result, edge, node) if wanted and result is not None else None
            for edge, result, wanted in zip(node.edges, results, _leading_on(node, followed), strict=True)
        ]
        results = node.after(results, given)
    return results


def _leading_on(node: Any, followed: Any) -> list[bool]:
    """For each input, whether its gradient leads to something that is wanted."""
    return [edge is not None and (followed is None or edge in followed) for edge in node.edges]


def _fit(grad: Any, edge: Edge, node: Any) -> Any:
    """The gradient in the shape and dtype of the input it belongs to."""
    shape, dtype = edge[0].metadata[edge[1]]
    if grad.array.shape != shape:
        try:
            grad = grad.sum_to_size(shape)
        except RuntimeError:
            raise RuntimeError(
                f"{node.name()} returned a gradient of shape {tuple(grad.shape)} for an input of shape {shape}"
            ) from None
    return grad if grad.array.dtype == dtype else grad.to(dtype)


def _arrive(arrived: Arrived, edge: Edge, grad: Any, own: bool, node: Any = None) -> None:
    """Add a gradient, in the shape and dtype of what it belongs to, to what has arrived there."""
    below, number = edge
    if node is not None:
        shape, dtype = below.metadata[number]
        if grad.array.shape != shape or grad.array.dtype != dtype:
            grad, own = _fit(grad, edge, node), True
    found = arrived.get(below)
    if found is None:
        count = below.output_count
        found = arrived[below] = [None] * count, [False] * count
    grads, owned = found
    present = grads[number]
    if present is None:
        grads[number], owned[number] = grad, own
        return
    if owned[number] and not mode.grad:
        tensor.add(present.array, grad.array, out=present.array)
    # NumPy's sums follow the order in memory, so the new one may be taken over only if it is in the same order.
    elif own and not mode.grad and grad.array.strides == present.array.strides and grad.array.flags.writeable:
        tensor.add(present.array, grad.array, out=grad.array)
        grads[number] = grad
    else:
        grads[number] = present + grad
    owned[number] = True
