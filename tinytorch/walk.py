"""The backward walk: from the outputs to the leaves, each node once, when all its gradients are there.

A node is a Function that ran, or a leaf Tensor, which is a node without edges. What a node offers:

    edges         one per input: (node, output number) where a gradient is wanted, else None
    metadata      one (shape, dtype) per output
    output_count  the number of outputs
    hooks         None, or Hooks: what is done with the complete gradients
    run_backward  gradients of the outputs -> gradients of the inputs, in the order of the edges
    release       drop what was saved for backward

The walk alone undoes broadcasting, checks shapes, casts dtypes and sums the gradients of a shared
input, so no operation has to.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .kernels.arithmetic import add
from .kernels.memory import ALIGNMENT, empty_like
from .modes import mode

if TYPE_CHECKING:
    from .tensor import Tensor

Edge = tuple[Any, int]
LINKS = 64  # of a chain of nodes, at most so many are dropped one from inside the other


class Links(list[Edge | None]):
    """Edges, in place of a tuple, of every so many-th node of a chain: where they are dropped, recursion ends.

    Python drops what a node holds while it drops the node, and so on down the chain; some versions go deeper so than
    a small stack can bear. What these edges hold is instead dropped from a loop, that of the first of them to go.
    """

    def __del__(self, mode: Any = mode) -> None:  # the mode of the module is gone when the interpreter ends
        if mode.dropped is not None:
            mode.dropped += self
            return
        mode.dropped = dropped = self[:]
        self.clear()
        try:
            while dropped:
                dropped.pop()
        finally:
            mode.dropped = None


def topological_order(roots: Iterable[Any], targets: frozenset[Any] | None = None) -> list[Any]:
    """Every node that a gradient must pass through, inputs before the nodes that use them.

    With `targets`, only the targets and the nodes that lead to one of them. Iterative, so the depth
    of the graph is not limited by the interpreter's stack.
    """
    order: list[Any] = []
    seen: set[Any] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node is None:  # all that the node below it needs is in the order now
            order.append(stack.pop())
        elif node not in seen:
            seen.add(node)
            if node.edges:
                stack += [node, None]
                stack += [edge[0] for edge in node.edges if edge is not None and edge[0] not in seen]
            else:
                order.append(node)
    if targets is None:
        return order
    leading: set[Any] = set()
    for node in order:
        if node in targets or any(edge is not None and edge[0] in leading for edge in node.edges):
            leading.add(node)
    return [node for node in order if node in leading]


def walk(
    roots: Sequence[Edge],
    gradients: Sequence[Tensor],
    *,
    captures: Sequence[Edge] | None = None,
    targets: Iterable[Any] | None = None,
    retain_graph: bool,
    create_graph: bool,
) -> dict[Edge, Tensor]:
    """Send gradients from the roots down the graph.

    Leaves add what arrives to their `.grad`. With `targets`, these nodes and those that lead to one
    of them are run, no others. With `captures` only those that lead to one of these edges are run:
    the gradients that arrive there are returned, and no leaf is reached.
    """
    captured: dict[Edge, Tensor] = {}
    if captures is not None:
        targets = [node for node, _ in captures]
    order = topological_order([node for node, _ in roots], None if targets is None else frozenset(targets))
    to_run = None if targets is None else set(order)  # None: all that an edge leads to
    arrived: dict[Any, list[Tensor | None]] = {}
    wanted = frozenset(captures or ())
    recording, mode.grad, tape = mode.grad, create_graph, mode.tape
    try:
        with np.errstate(all="ignore"):
            if tape is not None:
                gradients = tape.seeds(gradients)
            if to_run is not None and len(roots) == 1 and roots[0][0] not in to_run:
                # As in PyTorch: one root's hooks see its gradient, also where it does not lead to what is wanted.
                ((node, number),) = roots
                if node.hooks is not None:
                    node.hooks.run([*[None] * number, gradients[0], *[None] * (node.output_count - number - 1)])
            for edge, gradient in zip(roots, gradients, strict=True):
                if to_run is None or edge[0] in to_run:
                    _arrive(arrived, edge, gradient)
            while order:
                node = order.pop()
                grads = arrived.pop(node, None)
                if grads is None:
                    continue
                if wanted and to_run is not None:
                    # As in PyTorch: where the walk ends, hooks come before the capture; where it goes on, after it.
                    ends = not any(edge and edge[0] in to_run for edge in node.edges)
                    if ends and node.hooks is not None:
                        node.hooks.run(grads)
                    _capture(captured, wanted, node, grads)
                    if ends:
                        continue
                if node.hooks is not None:
                    node.hooks.run(grads)
                results = node.run_backward(grads) if tape is None else tape.backward(node, grads)
                grads = None
                if len(results) != len(node.edges):
                    raise RuntimeError(
                        f"{node.name()} returned {len(results)} gradients for {len(node.edges)} inputs: "
                        "backward returns one per input, None where there is none"
                    )
                for i, edge in enumerate(node.edges):
                    # Dropped from the list, so that a gradient nobody else holds can be written into.
                    result, results[i] = results[i], None
                    if edge is not None and result is not None and (to_run is None or edge[0] in to_run):
                        _arrive(arrived, edge, _fit(result, edge, node))
                    result = None
                if not retain_graph:
                    node.release()
    finally:
        mode.grad = recording
    return captured


def _fit(grad: Tensor, edge: Edge, node: Any) -> Tensor:
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


def _arrive(arrived: dict[Any, list[Tensor | None]], edge: Edge, grad: Tensor) -> None:
    """Add a gradient to those that already arrived at this output."""
    node, number = edge
    grads = arrived.get(node)
    if grads is None:
        grads = arrived[node] = [None] * node.output_count
    present, grads[number] = grads[number], None
    if present is None:
        grads[number] = grad
    elif mode.grad:
        grads[number] = present + grad
    elif is_exclusive(present):
        add(present.array, grad.array, out=present.array)
        grads[number] = present
    else:
        # In the same layout as in place, as NumPy adds up what lies in another one in another order.
        total = empty_like(present.array)
        add(present.array, grad.array, out=total)
        grads[number] = type(present)(total)


def _capture(captured: dict[Edge, Tensor], wanted: frozenset[Edge], node: Any, grads: list[Tensor | None]) -> None:
    for number, grad in enumerate(grads):
        if grad is not None and (node, number) in wanted:
            captured[node, number] = grad


class Hooks:
    """What is done with the complete gradients of a node: functions are called, then Tensors keep theirs."""

    def __init__(self) -> None:
        self.functions: list[tuple[int, Callable[[Any], Any]]] = []  # (output number, function), in their order
        # Output number to the Tensor that retains its gradient: weakly, as the node must not hold its outputs.
        self.retaining: dict[int, weakref.ref[Tensor]] = {}

    def run(self, grads: list[Tensor | None]) -> None:
        """Those that are registered now: what a hook adds or removes counts from the next walk on."""
        for number, hook in list(self.functions):
            # None of an output that nothing depends on, as in PyTorch.
            grad, tape = grads[number], mode.tape
            replaced = hook(grad) if tape is None else tape.hook(self.functions, hook, grad)
            if replaced is not None:
                grads[number] = _checked(replaced, grad)
        for number, reference in list(self.retaining.items()):
            grad, tensor = grads[number], reference()
            if grad is not None and tensor is not None:
                tensor.keep_grad(grad)


def _checked(replaced: Any, grad: Tensor | None) -> Tensor:
    """What a hook returned, if it can take the place of its gradient."""
    if grad is None:
        raise RuntimeError("a hook returned a gradient for an output that has none: it must return None there")
    if not hasattr(replaced, "requires_grad"):
        raise TypeError(f"a hook must return a Tensor or None, not {type(replaced).__name__}")
    if (replaced.array.shape, replaced.array.dtype) != (grad.array.shape, grad.array.dtype):
        raise RuntimeError(
            f"a hook replaced a gradient, {grad.dtype} {tuple(grad.shape)}, by {replaced.dtype} "
            f"{tuple(replaced.shape)}: shape and dtype must stay"
        )
    result: Tensor = replaced
    return result


def _reference_counts(tensor: Any) -> tuple[int, int, int]:
    """References to a tensor, its array and the array's base, from two calls below the variable that holds it."""
    return sys.getrefcount(tensor), sys.getrefcount(tensor.array), sys.getrefcount(tensor.array.base)


def is_exclusive(tensor: Tensor) -> bool:
    """Whether the caller's variable alone holds this tensor, its array and its memory.

    Then it may be written into, or kept without a copy. A backward may hand on the gradient that
    it got, a view of it, or the same tensor twice; each of these shows in a reference count. What
    the counts are for a tensor held once is measured at import, as interpreters differ.
    """
    if not tensor.array.flags.writeable or not _is_whole(tensor.array):
        return False
    of_tensor, of_array, of_base = _reference_counts(tensor)
    return (
        of_tensor <= _HELD_ONCE[0]
        and of_array <= _HELD_ONCE[1]
        and (tensor.array.base is None or of_base <= _HELD_ONCE[2])
    )


def _is_whole(array: Any) -> bool:
    """Whether it is all of its memory, but for what aligns it: no view, or one that has another shape."""
    base = array.base
    if base is None:
        return True
    if type(base) is not np.ndarray or base.base is not None:
        return False
    aligned = base.dtype == np.uint8 and base.nbytes <= array.nbytes + ALIGNMENT
    return bool(aligned or base.size == array.size)


def _count_held_once() -> tuple[int, int, int]:
    class Probe:
        array = None

    probe = Probe()
    probe.array = np.zeros(1).reshape(1, 1)  # type: ignore[assignment]
    return _count_from_below(probe)


def _count_from_below(probe: Any) -> tuple[int, int, int]:
    return _reference_counts(probe)


_HELD_ONCE = _count_held_once()
