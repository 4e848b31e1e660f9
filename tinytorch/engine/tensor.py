"""The Tensor as the engine knows it: an array, whether it wants a gradient, and the node of the graph that made it.

The public Tensor (tinytorch/tensor.py) adds the operations as methods. It is registered here, as what operations make.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import graph, views
from .hooks import Hooks, RemovableHandle, registered
from .mode import mode

if TYPE_CHECKING:
    from typing_extensions import Self

Array = np.ndarray[Any, Any]

add: Callable[..., Array]  # from above: add(a, b, out=c)


class Tensor:
    """An array with a place in the graph. A leaf, which no recorded operation made, collects gradients in `grad`."""

    # Defaults live on the class, so that making a tensor sets only what differs.
    _requires_grad = False
    _grad: Any = None
    _grad_fn: Any = None  # as it was when last asked for; `grad_fn` is as it is now
    output_nr = 0  # which output of grad_fn this is
    hooks: Hooks | None = None  # of a leaf; those of a result are its node's
    _accumulator: Any = None  # a weak reference to the node of a leaf
    _post_accumulate_hooks: list[Any] | None = None
    _retains_grad = False
    # Of a view (views.py): whose memory it is, how it was made of that, and the version of it that its history is of.
    _base: Any = None
    _chain: Any = None
    _refused: str | None = None
    _seen = 0

    array: Array
    _counter: list[int]  # one number, the version of the memory: shared with views

    @property
    def grad_fn(self) -> Any:
        """The node of the graph that made it; None for a leaf."""
        if self._base is not None and self._seen != self._counter[0]:
            views.renew(self)
        return self._grad_fn

    @property
    def is_leaf(self) -> bool:
        """Whether it was not made by a recorded operation."""
        return self.grad_fn is None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it."""
        base = self._base
        stale = base is not None and self._seen != self._counter[0] and base._counter is self._counter
        if stale and (base._requires_grad or self._grad_fn is not None):
            return bool(base._requires_grad)  # as soon as its history is asked for
        return bool(mode.run.read(self, "_requires_grad"))

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask for a gradient, or no longer; only leaves of a floating dtype can."""
        if requires_grad and self.array.dtype.kind in "biu":
            raise RuntimeError(
                f"only Tensors of floating point dtype can require gradients, this one is {self.array.dtype}"
            )
        if not requires_grad and self.grad_fn is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables: use detach()")
        mode.run.read(self, "_requires_grad")
        self._requires_grad = requires_grad or self._grad_fn is not None
        return self

    @property
    def grad(self) -> Self | None:
        """The gradient collected so far, or None, of which there is a warning where no gradient is ever kept."""
        if self._grad is None and self._grad_fn is not None and not self._retains_grad:
            warnings.warn(
                "The .grad of a Tensor that is not a leaf is None: backward() keeps gradients of leaves alone. Call "
                "retain_grad() on it before backward(), if you want its gradient",
                UserWarning,
                stacklevel=2,
            )
        return mode.run.read(self, "_grad")

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad must be a Tensor or None, got {type(value).__name__}")
            if (value.array.shape, value.array.dtype) != (self.array.shape, self.array.dtype):
                raise RuntimeError(
                    f"grad must be {self.array.dtype} {self.array.shape} like its tensor, got {value.array.dtype} "
                    f"{value.array.shape}"
                )
        mode.run.call(set_grad, self, value)

    @property
    def retains_grad(self) -> bool:
        """Whether it is not a leaf, and keeps its gradient all the same."""
        return self._retains_grad

    def retain_grad(self) -> None:
        """Keep the gradient in `.grad` although it is not a leaf."""
        node = self.grad_fn
        if not self._requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if node is not None:
            self._retains_grad = True
            hooks_of(self).retaining[self.output_nr] = weakref.ref(self)

    def register_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call `hook(grad)` when the gradient is complete; what it returns, unless None, takes its place."""
        if self.grad_fn is None and not self._requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        mode.run.read(self, "hooks")
        functions, entry = hooks_of(self).functions, (self.output_nr, hook)
        functions.append(entry)
        return RemovableHandle(functions, entry)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], None]) -> RemovableHandle:
        """Call `hook(leaf)` each time that backward has added to `leaf.grad`; only leaves have such hooks."""
        if not self._requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self.grad_fn is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        mode.run.read(self, "_post_accumulate_hooks")
        if self._post_accumulate_hooks is None:
            self._post_accumulate_hooks = []
        return registered(self._post_accumulate_hooks, hook)

    @property
    def _version(self) -> int:
        return self._counter[0]

    def _is_view(self) -> bool:
        return self._base is not None

    def detach_(self) -> Self:
        """Drop the history of this tensor itself."""
        if self._base is not None:
            raise RuntimeError("can't detach a view in place, its base would keep the history: use detach()")
        self._grad_fn, self._requires_grad, self.output_nr = None, False, 0
        return self

    def keep_grad(self, grad: Any) -> None:
        """As a result that retains its gradient: add it to `.grad`, in memory that nothing else has."""
        with graph.LOCKS[id(self) // 64 % 64]:
            self._grad = grad.clone() if self._grad is None else self._grad + grad

    def _accumulate(self, grad: Any, own: bool) -> None:
        """As a leaf: add a gradient to `.grad`, whose memory it becomes where it is nobody else's."""
        with graph.LOCKS[id(self) // 64 % 64]:
            present = self._grad
            if present is None:
                array = grad.array
                own = own and array.flags.c_contiguous and array.flags.writeable
                self._grad = grad if own else grad.clone()
            elif mode.grad or not present.array.flags.writeable:  # recorded gradients are added out of place
                self._grad = present + grad
            else:
                add(present.array, grad.array, out=present.array)
                present._counter[0] += 1

    def set_history(self, node: Any, number: int) -> None:
        """Take over the history of what an in-place operation wrote here."""
        if self._retains_grad and self._grad_fn is not None and self._grad_fn.hooks is not None:
            self._grad_fn.hooks.retaining.pop(self.output_nr, None)  # unlike hooks, which stay with the old value
        self._requires_grad, self._grad_fn, self.output_nr = node is not None, node, number
        if self._retains_grad and node is not None:
            hooks_of(self).retaining[number] = weakref.ref(self)

    __hash__ = object.__hash__  # by identity, although == compares elements


_new, _ARRAY, _public = object.__new__, np.ndarray, Tensor


def register(tensor: Any, sums: Callable[..., Array]) -> None:
    """What operations make is of this class from now on, and this is the kernel that adds gradients up."""
    global _public, add
    _public, add = tensor, sums


def wrap(array: Any) -> Any:
    """A Tensor without history."""
    tensor = _new(_public)
    tensor.array = array if type(array) is _ARRAY or isinstance(array, _ARRAY) else np.asarray(array)
    tensor._counter = [0]
    return tensor


def edge_of(tensor: Any) -> tuple[Any, int]:
    """Where the walk begins, or a gradient arrives: a node, and which of its outputs."""
    node = tensor.grad_fn
    return (graph.accumulator(tensor), 0) if node is None else (node, tensor.output_nr)


def hooks_of(tensor: Any) -> Hooks:
    """The hooks of a Tensor, which are its node's if it is no leaf."""
    owner = tensor if tensor._grad_fn is None else tensor._grad_fn
    if owner.hooks is None:
        owner.hooks = Hooks()
    return owner.hooks


def set_grad(tensor: Any, value: Any) -> None:
    """`tensor.grad = value`"""
    tensor._grad = value
