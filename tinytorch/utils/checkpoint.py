"""Activation checkpointing: what backward needs of a part of the graph is computed a second time instead of kept.

Chen et al. 2016, arXiv:1604.06174. Of L blocks, each in a checkpoint, the graph holds the L inputs and, while backward
is in one of them, that block's activations, in place of the activations of all. The price is one more forward.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ..function import Function
from ..modes import enable_grad, mode
from ..random import default_generator
from ..tensor import Tensor

Record = tuple[Any, ...]  # see Function._keep: array, source, version counter, version


class CheckpointError(RuntimeError):
    """The function did not do the same when it ran again."""


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), whose operations keep nothing for backward: it runs again when backward comes to it.

    Values, gradients and derivatives of any order are those without the checkpoint, to the bit, if the function does
    the same both times (CheckpointError where it records other operations). The second run draws the same numbers from
    the default generator and leaves it as it was, unless preserve_rng_state is False. use_reentrant=True, PyTorch's
    older way, which loses the gradients of parameters where no argument requires one, raises ValueError.
    """
    if use_reentrant:
        raise ValueError("checkpoint has no use_reentrant=True: leave it out")
    if not mode.grad or mode.tape is not None:  # a compiled function keeps what it works in: nothing to save
        return function(*args, **kwargs)
    again = _Recomputation(lambda: function(*args, **kwargs), args, preserve_rng_state)
    with _recorded() as nodes:
        result = function(*args, **kwargs)
    again.take_over(nodes)
    return result


class _Pending:
    """In a node's place for what it saved: the records without their arrays. Called before they are needed."""

    def __init__(self, recomputation: _Recomputation, index: int, records: list[Record]) -> None:
        self.recomputation, self.index, self.records = recomputation, index, records

    def __call__(self) -> None:
        self.recomputation.restore()


class _Recomputation:
    """A function to be run again, and the nodes of its first run, in their order."""

    def __init__(self, function: Callable[[], Any], args: tuple[Any, ...], preserve_rng_state: bool) -> None:
        self.function = function
        self.versions = [(arg, arg._counter[0]) for arg in args if isinstance(arg, Tensor)]
        self.random_state = default_generator.get_state() if preserve_rng_state else None
        self.unfold = mode.unfold
        self.kinds: list[type[Function]] = []
        # Weak, since the nodes hold this object: dropping the loss frees the graph, as without a checkpoint.
        self.nodes: list[weakref.ref[Function]] = []

    def take_over(self, nodes: list[Function]) -> None:
        """Drop what the nodes have saved."""
        self.kinds, self.nodes = [type(node) for node in nodes], [weakref.ref(node) for node in nodes]
        for index, node in enumerate(nodes):
            saved = node._saved
            if saved:
                # That of a checkpoint inside this one has its records already.
                records = saved.records if isinstance(saved, _Pending) else [_without_array(*r) for r in saved]
                node._saved = _Pending(self, index, records)

    def restore(self) -> None:
        """Run the function and give each node what it had saved."""
        for arg, version in self.versions:
            if arg._counter[0] != version:
                raise RuntimeError(
                    f"an argument of a checkpoint, {arg.dtype} {tuple(arg.shape)}, was modified by an in-place "
                    "operation before backward came to it: clone() it before the change"
                )
        with _recorded() as nodes, _as_before(self.random_state, self.unfold), enable_grad():
            self.function()
        if [type(node) for node in nodes] != self.kinds:
            raise CheckpointError(
                f"the function of a checkpoint recorded {len(self.kinds)} operations at first and {len(nodes)} when it "
                "ran again, or others: it must do the same both times"
            )
        for reference, new in zip(self.nodes, nodes, strict=True):
            node = reference()
            pending: Any = None if node is None else node._saved
            if isinstance(pending, _Pending) and pending.recomputation is self:
                assert node is not None
                node._saved = _refilled(pending.records, new._saved, reference)


def _without_array(array: Any, source: Any, counter: Any, version: int) -> Record:
    """The array of a leaf stays: its memory is not the graph's, and a change of it is to be noticed."""
    is_leaf = isinstance(source, Tensor)
    return (array, source, counter, version) if is_leaf else (None, source, None, 0)


def _refilled(records: list[Record], new: Any, node: weakref.ref[Function]) -> Any:
    """The new run's arrays in the old records, which know the old node's place in its graph."""
    if isinstance(new, _Pending):  # the new run met a checkpoint inside: what that brings back is for the old node
        new.recomputation.nodes[new.index] = node
        return _Pending(new.recomputation, new.index, records)
    return [
        (array, source, counter, version) if old is None else (old, source, old_counter, old_version)
        for (old, source, old_counter, old_version), (array, _, counter, version) in zip(records, new, strict=True)
    ]


@contextlib.contextmanager
def _recorded() -> Iterator[list[Function]]:
    """A list that receives the nodes made inside, in their order; a list outside receives them too."""
    outer = mode.nodes
    nodes: list[Function] = []
    mode.nodes = nodes
    try:
        yield nodes
    finally:
        mode.nodes = outer
        if outer is not None:
            outer.extend(nodes)


@contextlib.contextmanager
def _as_before(random_state: Tensor | None, unfold: bool) -> Iterator[None]:
    """The random numbers and the mode of the first run."""
    now, unfold_now = default_generator.get_state(), mode.unfold
    mode.unfold = unfold
    if random_state is not None:
        default_generator.set_state(random_state)
    try:
        yield
    finally:
        mode.unfold = unfold_now
        if random_state is not None:
            default_generator.set_state(now)
