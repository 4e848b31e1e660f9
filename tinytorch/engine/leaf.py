"""Leaves: the node that stands for one at the end of its edges, and how a gradient is added to its `.grad`."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from .graph import drop
from .hooks import Hooked, Hooks
from .mode import mode

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

    def receive(self, gradient: Any, own: bool) -> None:
        """Add a complete gradient to the leaf's `.grad`, and call the node's own hooks around that."""
        if self._prehooks is None and self._posthooks is None:
            return self(gradient, own)
        (gradient,) = self.before([gradient])
        if gradient is not None:
            self(gradient)
            self.after([], (gradient,))

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


def accumulator(leaf: Any) -> AccumulateGrad:
    """The node of a leaf: the one that some graph holds, or a new one."""
    reference = leaf._accumulator
    node: AccumulateGrad | None = None if reference is None else reference()
    if node is None:
        node = AccumulateGrad()
        node.variable, leaf._accumulator = leaf, weakref.ref(node)
    return node
