"""Tensors from outside on the tape of a compiled function: used in place, or through mirrors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.mode import mode
from ..tensor import Tensor, assign_data
from . import steps
from .arguments import Mirror, bounds, is_traced, layout, sharing, written
from .arrays import NotTraceable, Recorded
from .outside import SHARES_MEMORY, Outside
from .tape import Tape


class OutsideTape(Tape):
    """A tape with Tensors from outside.

    Such a Tensor is used in place, and guarded: a call that finds it with other memory is traced again. An argument or
    the gradient of a leaf, which may be a different one at each call, has a Mirror.
    """

    def __init__(self, tensors: Sequence[Tensor], apart: bool = False) -> None:
        """`apart` says that arguments that share memory may be separated, since they are not written to."""
        super().__init__()
        self.surroundings = Outside()
        self._mirrors: dict[int, Mirror] = {}  # by id of the Tensor inside
        self._gradients: dict[int, Mirror] = {}  # for what is or was the .grad of a leaf: by id of the Tensor outside
        self._touched: set[int] = set()  # ids of the leaves whose .grad was read, written or added to
        self._calls: list[tuple[int, steps.Call]] = []  # untraced functions, and how many steps are before them
        self.pattern = () if apart else sharing([tensor.array for tensor in tensors])
        self._arguments: dict[int, Mirror] = {}  # by id of the Tensor outside
        self.inputs = self._inputs(tensors)

    def _inputs(self, tensors: Sequence[Tensor]) -> list[Mirror]:
        """The mirrors to which arguments are copied, with the same layouts, sharing memory in the same way."""
        traced: dict[int, Recorded] = {}
        for group in self.pattern:
            arrays = [tensors[i].array for i, _, _ in group]
            first = arrays[0].ctypes.data - group[0][1]
            memory = self.empty(max([bounds(array)[1] for array in arrays]) - first, np.uint8)
            for array, (i, start, strides) in zip(arrays, group, strict=True):
                own = np.ndarray(array.shape, array.dtype, memory.value, start, strides)
                traced[i] = Recorded(self, own, memory)
        counters: dict[int, list[int]] = {}
        for i, tensor in enumerate(tensors):
            array = tensor.array
            if i not in traced:
                placed = layout(array) or (0,)
                traced[i] = self.empty(array.shape, array.dtype, placed[1:] or None, placed[0])
            mirror = Mirror(traced[i], tensor)
            if traced[i].base is not None:
                mirror.tensor._counter = counters.setdefault(id(tensor._counter), mirror.tensor._counter)
            mirror.load()
            self._arguments[id(tensor)] = self._mirrors[id(mirror.tensor)] = mirror
        return list(self._arguments.values())

    def mirrors_by_memory(self) -> dict[int, list[Mirror]]:
        """All mirrors, by the id of the owner of their memory."""
        result: dict[int, list[Mirror]] = {}
        for mirror in self.mirrors:
            result.setdefault(id(mirror.root), []).append(mirror)
        return result

    @property
    def mirrors(self) -> list[Mirror]:
        """The mirrors of arguments and of gradients."""
        return list({id(mirror): mirror for mirror in (*self._gradients.values(), *self.inputs)}.values())

    def stand_in(self, argument: Tensor) -> Tensor:
        """The Tensor that the function gets instead of an argument."""
        tensor: Tensor = self._arguments[id(argument)].tensor
        return tensor

    def guard(self, thing: Any, name: str) -> None:
        """Trace again once the attribute is another object. Call this before the function changes it."""
        self.surroundings.guard(thing, name)

    def guard_list(self, held: list[Any]) -> None:
        """Trace again once the list has other contents."""
        self.surroundings.guard_list(held)

    def enter(self, tensor: Tensor) -> Recorded:
        """The array of a Tensor, traced if it comes from outside."""
        array: Any = tensor.array
        if type(array) is Recorded:
            return array
        if mode.grad and tensor._grad_fn is not None:
            raise NotTraceable(
                f"a Tensor from outside, {tensor.dtype} {tuple(tensor.shape)}, has a history, which cannot be walked "
                "at each call: compute it inside of the compiled function, or detach() it"
            )
        self.surroundings.meet(tensor)
        return self.outside(array)

    def assign_data(self, tensor: Tensor, value: Tensor) -> None:
        """`tensor.data = value`, which is possible only for the function's own Tensors."""
        if not is_traced(tensor) or id(tensor) in self._mirrors:
            raise NotTraceable(
                f"a compiled function assigns .data of a Tensor from outside, {tensor.dtype} {tuple(tensor.shape)}, "
                "which would have other memory at each call: write into it, with copy_() under no_grad()"
            )
        assign_data(tensor, value)

    # ------------------------------------------------------------------ gradients of leaves from outside

    def grad_of(self, tensor: Tensor) -> Tensor | None:
        """The function's view of `tensor.grad`."""
        gradient = tensor._grad
        if is_traced(tensor):
            mirror = self._mirrors.get(id(tensor))
            if gradient is None and mirror is not None and mirror.outside._grad is not None:
                raise NotTraceable("a compiled function reads .grad of an argument: pass it as another argument")
            return gradient
        if not self._calls:  # they may have changed it before
            self.surroundings.note_grad(tensor)
        if self._touch_grad(tensor):
            self.surroundings.guard_grad(tensor)
        if gradient is None:
            self.steps.append((steps.expect_no_grad, (tensor,)))
            return None
        mirror = self._gradients.get(id(gradient))
        if mirror is None:
            if gradient._requires_grad:
                raise NotTraceable("a gradient from outside requires grad: a compiled function cannot differentiate it")
            mirror = self._mirror_gradient(Mirror(self._memory_of_gradient(gradient), gradient))
        self.record(steps.find_grad, tensor, mirror)
        inside: Tensor = mirror.tensor
        return inside

    def set_grad(self, tensor: Tensor, value: Tensor | None) -> None:
        """`tensor.grad = value`, at each call."""
        if is_traced(tensor):
            tensor._grad = value
            return
        self._touched.add(id(tensor))
        if value is None or not is_traced(value):
            self.record(setattr, tensor, "_grad", value)
            return
        if value._requires_grad:
            raise NotTraceable("a compiled function sets .grad to what has a history: detach() it")
        mirror = self._mirrors.get(id(value))
        if mirror is None:  # made by the function: each call leaves a new Tensor, or a view of another
            traced = self.enter(value)
            mirror = Mirror(traced, Tensor(traced.value), value)
            whole = [other for other in self.mirrors if other.root is traced.root]
            if whole:
                self.record(steps.renew_view, mirror, whole[0], value._counter is whole[0].tensor._counter)
            else:
                self.record(steps.renew, mirror)
            mirror.sync()
        self._mirror_gradient(mirror)
        self.record(steps.set_grad, tensor, mirror)

    def accumulate_outside(self, leaf: Tensor, gradient: Tensor) -> None:
        """Add the gradient that arrived at a leaf from outside to its .grad, as `backward` does."""
        if mode.grad and gradient._requires_grad:
            raise NotTraceable(
                "backward(create_graph=True) in a compiled function leaves gradients that have a history: take them "
                "from autograd.grad(..., create_graph=True)"
            )
        self._touch_grad(leaf)
        mirrors = [] if leaf._grad is None else self._mirrors_of_memory(leaf._grad)
        self._store(mirrors)
        self.record(steps.accumulate, leaf, self.enter(gradient), mode.grad)
        self._load(mirrors)

    def _touch_grad(self, leaf: Tensor) -> bool:
        """Whether this is the first time that the function uses the leaf's gradient."""
        if id(leaf) in self._touched:
            return False
        self._touched.add(id(leaf))
        self.surroundings.leaves.append(leaf)
        gradient = leaf._grad
        if gradient is not None and any(np.may_share_memory(gradient.array, m.outside.array) for m in self.inputs):
            raise NotTraceable(SHARES_MEMORY)
        return True

    def _mirrors_of_memory(self, gradient: Tensor) -> list[Mirror]:
        return [m for m in self._gradients.values() if np.may_share_memory(m.outside.array, gradient.array)]

    def _memory_of_gradient(self, gradient: Tensor) -> Recorded:
        """The memory for a gradient from outside: shared with those that share its memory outside."""
        known = self._mirrors_of_memory(gradient)
        if not known:
            return self.filled(gradient.array)
        self._store(known)
        array = known[0].outside.array
        if (array.ctypes.data, array.strides) != (gradient.array.ctypes.data, gradient.array.strides):
            raise NotTraceable("a gradient from outside is a part of another, which a compiled function cannot follow")
        return Recorded(self, known[0].array.view(), known[0].root)

    def _mirror_gradient(self, mirror: Mirror) -> Mirror:
        self._mirrors[id(mirror.tensor)] = self._gradients[id(mirror.outside)] = mirror
        return mirror

    def _store(self, mirrors: Sequence[Mirror]) -> None:
        """Copy what was written here to the outside."""
        for mirror, rise in written(mirrors):
            self.record(mirror.store, rise)
        for mirror in mirrors:
            mirror.sync()

    def _load(self, mirrors: Sequence[Mirror]) -> None:
        """Copy what is outside to here, with a new version if that has changed."""
        for mirror in mirrors:
            self.record(mirror.load)
            mirror.tensor._counter[0] += mirror.outside._counter[0] - mirror.outside_version
        for mirror in mirrors:
            mirror.sync()
