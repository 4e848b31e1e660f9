"""The state outside a compiled function: what must be unchanged for its program to be right, and what it changes."""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections.abc import Iterable
from operator import attrgetter, eq, is_
from typing import Any

import numpy as np

from ..engine.mode import mode
from ..tensor import Tensor
from .arguments import is_traced, owner
from .arrays import NotTraceable, Recorded

Array = np.ndarray[Any, Any]

SHARES_MEMORY = (
    "an argument of a compiled function shares memory with a Tensor from outside, or its gradient, that the function "
    "writes to: pass a clone()"
)
_MADE_OF_AN_ARRAY = (
    "a compiled function makes {}, {} {}, of a NumPy array, which would be the same one at each call: make it with "
    "tinytorch.tensor(), or outside"
)


class Outside:
    """Tensors, modules and hooks that a trace uses. A call that finds them changed must be traced again."""

    def __init__(self) -> None:
        self._guards: dict[str, tuple[list[Any], list[Any]]] = {}  # by attribute name: objects, and their values
        self._lists: tuple[list[Any], list[Any]] = [], []  # lists, and their contents
        self._without_grad: list[Tensor] = []
        self._with_grad: list[Tensor] = []
        self._guarded: set[tuple[int, str]] = set()
        self._had_grad: dict[int, bool] = {}  # by id of a leaf
        self._versions: dict[int, list[Any]] = {}  # by id: version counters, and their values
        self._histories: dict[int, tuple[Tensor, Any]] = {}  # by id: Tensors, and their grad_fn
        self.leaves: list[Tensor] = []  # whose previous .grad is read or added to

    # ------------------------------------------------------------------ while tracing

    def meet(self, tensor: Tensor) -> None:
        """Note that the function uses a Tensor from outside."""
        self.guard(tensor, "array")
        self.guard(tensor, "_requires_grad")
        if tensor._requires_grad and tensor._grad_fn is None:
            self.note_grad(tensor)
            if mode.grad:  # else it gets no gradient, and no hook is called
                self.guard(tensor, "hooks")
                self.guard(tensor, "_post_accumulate_hooks")
                if tensor.hooks is not None:
                    self.guard_list(tensor.hooks.functions)
        self._versions.setdefault(id(tensor._counter), [tensor._counter, tensor._counter[0]])
        self._histories.setdefault(id(tensor), (tensor, tensor._grad_fn))

    def guard(self, thing: Any, name: str) -> None:
        """Note that an attribute is read, or about to be changed."""
        if (id(thing), name) not in self._guarded and not is_traced(thing):
            self._guarded.add((id(thing), name))
            things, values = self._guards.setdefault(name, ([], []))
            things.append(thing)
            values.append(getattr(thing, name))

    def guard_list(self, held: list[Any]) -> None:
        """Note that a list is read."""
        if not any(held is known for known in self._lists[0]):
            self._lists[0].append(held)
            self._lists[1].append(held.copy())

    def note_grad(self, leaf: Tensor) -> None:
        """Note whether a leaf has a gradient before the function changes it."""
        self._had_grad.setdefault(id(leaf), leaf._grad is not None)

    def guard_grad(self, leaf: Tensor) -> None:
        """Guard whether the leaf has a gradient, if it is known here."""
        if id(leaf) in self._had_grad:
            (self._with_grad if self._had_grad[id(leaf)] else self._without_grad).append(leaf)

    def counts(self, counter: list[int]) -> bool:
        """Whether this is the version counter of something known here."""
        return id(counter) in self._versions

    def versions(self) -> list[int]:
        """The versions now."""
        return [counter[0] for counter, _ in self._versions.values()]

    def let_pass(self, before: list[int]) -> None:
        """Ignore the rise of versions since `before`."""
        for version, count in zip(self._versions.values(), before, strict=True):
            version[1] += version[0][0] - count

    # ------------------------------------------------------------------ when the trace ends

    def take_histories_back(self) -> list[Tensor]:
        """Remove the histories that Tensors were given, whose nodes are of no use outside; returns those Tensors."""
        given = []
        for tensor, history in self._histories.values():
            if tensor._grad_fn is not history:
                given.append(tensor)
                tensor._grad_fn, tensor._requires_grad, tensor.output_nr = history, history is not None, 0
        return given

    def check_hooks(self) -> None:
        """NotTraceable if the function has registered hooks."""
        leaves, hooks = self._guards.get("hooks", ([], []))
        new = [leaf.hooks for leaf, before in zip(leaves, hooks, strict=True) if leaf.hooks is not before]
        leaves, lists = self._guards.get("_post_accumulate_hooks", ([], []))
        after = [leaf for leaf, before in zip(leaves, lists, strict=True) if leaf._post_accumulate_hooks is not before]
        registered = after or any([hooks is not None and hooks.functions for hooks in new])
        if registered or self._lists[0] != self._lists[1]:
            raise NotTraceable("a compiled function registers a hook with what is outside: do it before, once")

    def find_written(self, traced: Iterable[Recorded], by_calls: bool, arguments_too: bool) -> None:
        """Find what the function has written to outside.

        `sensitive` is memory that no argument may share, by its owner, because it or the argument is written to.
        """
        written = {id(t.value): t.value for t in traced if t.writes}
        self.sensitive: dict[int, list[Array]] = {}
        self._written: list[Tensor] = []
        for tensor, array in zip(*self._guards.get("array", ([], [])), strict=True):
            if written.pop(id(array), None) is not None:
                self._written.append(tensor)
            elif not (arguments_too or (by_calls and tensor._requires_grad)):
                continue
            self.sensitive.setdefault(id(owner(array)), []).append(array)
        self._written_arrays = list(written.values())  # NumPy arrays that belong to no Tensor
        for array in self._written_arrays:
            self.sensitive.setdefault(id(owner(array)), []).append(array)

    def close(self, steps: list[Any], kept: list[Any]) -> None:
        """Keep only what runs need: NotTraceable if they would find the previous run's leftovers.

        `rises` are version counters and by how much they rise; `changes` are attributes that end up changed.
        """
        self.rises = [(counter, counter[0] - before) for counter, before in self._versions.values()]
        self.rises = [(counter, rise) for counter, rise in self.rises if rise]
        self._forget_what_is_gone()
        self._check_made_inside(steps, kept)
        self.changes = [
            (thing, name, getattr(thing, name))
            for name in ("_requires_grad", "training")
            for thing, value in zip(*self._guards.get(name, ([], [])), strict=True)
            if getattr(thing, name) is not value
        ]

    def _forget_what_is_gone(self) -> None:
        """Drop guards of Tensors that nothing else refers to: constants that the function made, which never change."""
        written = [(weakref.ref(t), t.dtype, tuple(t.shape)) for t in self._written]
        guards = {
            name: [(weakref.ref(thing), value) for thing, value in zip(*guards, strict=True)]
            for name, guards in self._guards.items()
        }
        self._guards.clear()
        self._histories.clear()
        self._written.clear()
        for reference, dtype, shape in written:
            if reference() is None:
                raise NotTraceable(_MADE_OF_AN_ARRAY.format("a Tensor that it writes to", dtype, shape))
        for name, references in guards.items():
            kept = [(thing, value) for reference, value in references if (thing := reference()) is not None]
            self._guards[name] = [thing for thing, _ in kept], [value for _, value in kept]

    def _check_made_inside(self, steps: list[Any], kept: list[Any]) -> None:
        """NotTraceable if a leaf with a gradient, or an array that was written to, belongs to the function alone."""
        tensors, before = self._guards.get("_requires_grad", ([], []))
        new = {id(tensor) for tensor, required in zip(tensors, before, strict=True) if not required}
        leaves = [leaf for leaf in self.leaves if id(leaf) in new]
        if not leaves and not self._written_arrays:
            return
        ours = [kept, leaves, self.leaves, self._without_grad, self._with_grad, self._written_arrays]
        known = _all_in([*steps, *ours, *self._guards.values(), *self.sensitive.values()])
        for leaf in leaves:
            if _is_held_by(leaf, known):
                raise NotTraceable(_MADE_OF_AN_ARRAY.format("a leaf", leaf.dtype, tuple(leaf.shape)))
        for array in self._written_arrays:
            if _is_held_by(array, known) and (owner(array) is array or _is_held_by(owner(array), known)):
                raise NotTraceable(_MADE_OF_AN_ARRAY.format("a Tensor that it writes to", array.dtype, array.shape))

    # ------------------------------------------------------------------ in later calls

    def is_as_it_was(self) -> bool:
        """Whether everything is as the trace assumed."""
        for name, (things, values) in self._guards.items():
            if not all(map(is_, map(attrgetter(name), things), values)):
                return False
        if any([leaf._grad is not None for leaf in self._without_grad]):
            return False
        return all(map(eq, *self._lists)) and all([leaf._grad is not None for leaf in self._with_grad])

    def check_apart(self, tensors: Iterable[Tensor]) -> None:
        """NotTraceable if an argument is in memory that changes while its copy would not, or the other way round."""
        for tensor in tensors:
            for array in self.sensitive.get(id(owner(tensor.array)), ()):
                if np.may_share_memory(array, tensor.array):
                    raise NotTraceable(SHARES_MEMORY)

    def check_apart_from_gradients(self, tensors: Iterable[Tensor]) -> None:
        """NotTraceable if an argument is in the memory of a gradient."""
        present = [leaf._grad.array for leaf in self.leaves if leaf._grad is not None]
        if present:
            owners = {id(owner(tensor.array)) for tensor in tensors}
            for array in present:
                if id(array if array.base is None else array.base) in owners:
                    raise NotTraceable(SHARES_MEMORY)


def _all_in(parts: list[Any]) -> set[int]:
    """The ids of parts and of everything in them."""
    known: set[int] = set()
    while parts:
        part = parts.pop()
        known.add(id(part))
        if isinstance(part, functools.partial):
            parts += [part.args, part.keywords]
        elif isinstance(part, (tuple, list, dict)):
            parts += part.values() if isinstance(part, dict) else part
    return known


def _is_held_by(thing: Any, known: set[int]) -> bool:
    """Whether only the known objects refer to it."""
    return all(id(held) in known or isinstance(held, types.FrameType) for held in gc.get_referrers(thing))
