"""The Tensor: an array, whether it wants a gradient, and the node of the graph that made it."""

from __future__ import annotations

import builtins  # the methods float, int and bool hide the types of that name inside the class
import copy
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import dtypes
from .conversions import Conversions
from .derivatives import backward
from .dtypes import CPU, is_floating
from .function import Function, shares_memory
from .kernels.arithmetic import add
from .kernels.traced import ARRAYS
from .methods import Methods
from .modes import mode
from .ops import elementwise
from .ops.common import array_of, normalize_dim
from .walk import Edge, Hooks, is_exclusive

Array = np.ndarray[Any, Any]


class Size(tuple[int, ...]):
    """A shape: a tuple of ints that prints as PyTorch's does."""

    def numel(self) -> int:
        """The number of elements."""
        return int(np.prod(self, dtype=np.int64))

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away again."""

    def __init__(self, hooks: list[Any], entry: Any) -> None:
        self._hooks, self._entry = hooks, entry

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        # By identity: one function may be registered twice.
        self._hooks[:] = [entry for entry in self._hooks if entry is not self._entry]


class Tensor(Conversions, Methods):
    """An n-dimensional array that remembers how it was computed.

    `array` is the NumPy array underneath. A tensor made by the user is a leaf; with `requires_grad`
    it collects gradients in `grad` when `backward()` is called on something computed from it. It is
    made by `tinytorch.tensor`, `zeros`, `randn`, ...; `Tensor(data)` makes one of the default dtype.
    """

    # Defaults live on the class, so that making a tensor sets only what differs.
    _requires_grad = False
    _grad: Tensor | None = None
    grad_fn: Function | None = None
    output_nr = 0  # which output of grad_fn this is
    hooks: Hooks | None = None
    # Of a view: the Tensor whose memory it is, no view itself, and the version of the memory when the view was taken.
    _base: Tensor | None = None
    _view_version = 0
    _retains_grad = False
    edges: tuple[Edge | None, ...] = ()  # as a node of the graph, a leaf has no inputs
    links = 0
    output_count = 1

    __array_priority__ = 1000  # so that array + tensor is a tensor

    def __init__(self, data: Any, requires_grad: builtins.bool = False) -> None:
        if type(data) not in ARRAYS:
            if isinstance(data, Tensor):
                data = array_of(data).view()
            elif not isinstance(data, (np.ndarray, np.generic)):
                data = np.asarray(data, dtypes.get_default_dtype())
                data = data if mode.tape is None else mode.tape.constant(data)
            data = data if type(data) in ARRAYS else np.asarray(data)
        self.array: Array = data
        # Shared with views. The version of the memory, which in-place operations count up, and the
        # version that the last one of them to be recorded made.
        self._counter = [0, 0]
        if requires_grad:
            self.requires_grad_()

    # ------------------------------------------------------------------ what it is

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return Size(self.array.shape)

    @property
    def ndim(self) -> builtins.int:
        """The number of dimensions."""
        return self.array.ndim

    @property
    def dtype(self) -> dtypes.DType:
        """The type of the elements: a NumPy dtype."""
        dtype: dtypes.DType = self.array.dtype
        return dtype

    @property
    def device(self) -> dtypes.device:
        """Always the CPU."""
        return CPU

    @property
    def is_leaf(self) -> builtins.bool:
        """Whether it was not made by a recorded operation."""
        return self.grad_fn is None

    @property
    def retains_grad(self) -> builtins.bool:
        """Whether it is not a leaf, and keeps its gradient all the same."""
        return self._retains_grad

    @property
    def itemsize(self) -> builtins.int:
        """Bytes in an element."""
        return self.array.itemsize

    @property
    def nbytes(self) -> builtins.int:
        """Bytes in all elements."""
        return self.array.nbytes

    def dim(self) -> builtins.int:
        """The number of dimensions."""
        return self.array.ndim

    def size(self, dim: builtins.int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return self.shape if dim is None else self.array.shape[normalize_dim(dim, self.array.ndim)]

    def numel(self) -> builtins.int:
        """The number of elements."""
        return self.array.size

    def element_size(self) -> builtins.int:
        """Bytes in an element."""
        return self.array.itemsize

    def stride(self, dim: builtins.int | None = None) -> Any:
        """Elements from one index to the next, in each dimension or one."""
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        return strides if dim is None else strides[dim]

    def is_contiguous(self) -> builtins.bool:
        """Whether the elements lie in C order without gaps."""
        return bool(self.array.flags.c_contiguous)

    def is_floating_point(self) -> builtins.bool:
        """Whether the elements are floating-point numbers."""
        return is_floating(self.array.dtype)

    def data_ptr(self) -> builtins.int:
        """The address of the first element."""
        return int(self.array.ctypes.data)

    def __len__(self) -> builtins.int:
        if not self.array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.array.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    # ------------------------------------------------------------------ its place in the graph

    @property
    def requires_grad(self) -> builtins.bool:
        """Whether gradients flow to it."""
        if mode.tape is not None:
            mode.tape.guard(self, "_requires_grad")
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: builtins.bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Ask for a gradient, or no longer; only leaves of a floating dtype can."""
        if requires_grad and not is_floating(self.array.dtype):
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, this one is {self.dtype}")
        if not requires_grad and self.grad_fn is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables: use detach()")
        if mode.tape is not None:
            mode.tape.guard(self, "_requires_grad")
        self._requires_grad = requires_grad or self.grad_fn is not None
        return self

    @property
    def grad(self) -> Tensor | None:
        """The gradient collected so far, or None."""
        return self._grad if mode.tape is None else mode.tape.grad_of(self)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad must be a Tensor or None, got {type(value).__name__}")
            if value.array.shape != self.array.shape or value.dtype != self.dtype:
                raise RuntimeError(
                    f"grad must be {self.dtype} {tuple(self.shape)} like its tensor, got {value.dtype} "
                    f"{tuple(value.shape)}"
                )
        if mode.tape is None:
            self._grad = value
        else:
            mode.tape.set_grad(self, value)

    @property
    def data(self) -> Tensor:
        """The same memory without history, and with a version of its own: writing to it is not noticed by backward.

        Assigning a Tensor swaps the memory. What was saved of this tensor is from then on what it holds now, if it is
        a leaf, as in PyTorch; RuntimeError in backward if it is none, or if the shape or dtype is another.
        """
        # A view, as everywhere: no two Tensors hold one array object, which is what a saved input is known by.
        return Tensor(array_of(self).view())

    @data.setter
    def data(self, value: Tensor) -> None:
        if mode.tape is not None:
            mode.tape.assign_data(self)
        if not isinstance(value, Tensor):
            raise TypeError(f"data must be a Tensor, got {type(value).__name__}")
        if self._requires_grad and not is_floating(value.array.dtype):
            raise RuntimeError(
                f"a tensor that requires grad has data of a floating dtype, these are {value.dtype}: "
                "requires_grad_(False) first, or convert them"
            )
        if not _same_elements(self.array, value.array):  # else as after `x.data -= 1`, which assigns x.data to itself
            # For what was saved of the old memory this counts as a change: see Function._present.
            old, self._counter = self._counter, self._counter.copy()
            old[0] += 1
            self.array, self._base = value.array.view(), None

    @property
    def edge(self) -> Edge:
        """Its node and which output of it: where the walk begins, or a gradient is captured."""
        self._check_fresh()
        return (self, 0) if self.grad_fn is None else (self.grad_fn, self.output_nr)

    @property
    def metadata(self) -> tuple[tuple[tuple[builtins.int, ...], np.dtype[Any]], ...]:
        """As a node of the graph: the shape and dtype of its only output."""
        return ((self.array.shape, self.array.dtype),)

    def name(self) -> str:
        """As a node of the graph: what PyTorch calls a leaf's."""
        return "AccumulateGrad"

    def run_backward(self, grads: list[Any]) -> list[Any]:
        """As a node of the graph: add what arrived to `.grad`."""
        grad, grads[0] = grads[0], None
        if self.grad_fn is not None:
            raise RuntimeError(
                f"a leaf of this graph, {self.dtype} {tuple(self.shape)}, was changed by a recorded in-place operation "
                "since the forward: it has a history of its own now, and no place for a gradient"
            )
        if grad is None or not self._requires_grad:  # requires_grad_(False) since the forward
            return []
        with _LOCKS[id(self) // 64 % 64]:
            present = self._grad
            if present is None:
                self._grad = grad if is_exclusive(grad) and grad.array.flags.c_contiguous else grad.clone()
            elif mode.grad or not present.array.flags.writeable:  # recorded gradients are added out of place
                self._grad = present + grad
            else:
                add(present.array, grad.array, out=present.array)
                present._counter[0] += 1
        return []

    def keep_grad(self, grad: Tensor) -> None:
        """As a result that retains its gradient: add it to `.grad`, in memory that nothing else has."""
        with _LOCKS[id(self) // 64 % 64]:
            self._grad = grad.clone() if self._grad is None else self._grad + grad

    def release(self) -> None:
        """As a node of the graph: nothing was saved."""

    def backward(
        self,
        gradient: Any = None,
        retain_graph: builtins.bool | None = None,
        create_graph: builtins.bool = False,
        inputs: Any = None,
    ) -> None:
        """Add to every leaf's `.grad` the derivative of this tensor, weighted by `gradient` (1 for a single number).

        retain_graph keeps what was saved, for another walk; create_graph records the walk itself, for
        derivatives of higher order; inputs limits the leaves to these.
        """
        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same memory, without history and without gradient."""
        result = self.data
        result._counter = self._counter
        return result

    def detach_(self) -> Tensor:
        """Drop the history of this tensor itself."""
        if self._base is not None:
            raise RuntimeError("can't detach a view in place, its base would keep the history: use detach()")
        self.grad_fn, self._requires_grad, self.output_nr = None, False, 0
        return self

    def retain_grad(self) -> None:
        """Keep the gradient in `.grad` although it is not a leaf."""
        self._check_fresh()
        if not self._requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.grad_fn is not None:
            self._retains_grad = True
            self._node_hooks().retaining[self.output_nr] = weakref.ref(self)

    def register_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call `hook(grad)` when the gradient is complete; what it returns, unless None, takes its place."""
        self._check_fresh()
        if not self._requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if mode.tape is not None:
            mode.tape.enter(self)  # which looks at the hooks that it has
        functions = self._node_hooks().functions
        entry = (self.output_nr, hook)
        functions.append(entry)
        return RemovableHandle(functions, entry)

    def _node_hooks(self) -> Hooks:
        node: Any = self if self.grad_fn is None else self.grad_fn
        if node.hooks is None:
            node.hooks = Hooks()
        hooks: Hooks = node.hooks
        return hooks

    def _set_history(self, result: Tensor) -> None:
        """Take over the history of the result that an in-place operation wrote here."""
        if self._retains_grad and self.grad_fn is not None and self.grad_fn.hooks is not None:
            self.grad_fn.hooks.retaining.pop(self.output_nr, None)  # unlike hooks, which stay with the old value
        self._requires_grad, self.grad_fn, self.output_nr = result._requires_grad, result.grad_fn, result.output_nr
        if self._retains_grad:
            self.retain_grad()

    @property
    def _version(self) -> builtins.int:
        return self._counter[0]

    def _share_memory_of(self, base: Tensor, array: Any) -> None:
        """Note that this is a view of base, which has this array, if its memory is."""
        if shares_memory(self.array, array):
            self._counter = base._counter
            self._view_version = base._counter[0]
            self._base = base if base._base is None else base._base

    def _check_fresh(self) -> None:
        """RuntimeError for a view whose memory has by now a history that the view does not have."""
        base = self._base
        if base is None or self._view_version == self._counter[0]:
            return
        if self._view_version < self._counter[1] or (base._requires_grad and not self._requires_grad):
            raise RuntimeError(
                f"a view of shape {tuple(self.shape)} was taken before its base was modified by an in-place operation, "
                f"and has not the history that its base has now: the memory is at version {self._counter[0]}, the view "
                f"at version {self._view_version}. Take the view again"
            )

    def clone(self) -> Tensor:
        """A copy in memory of its own, in C order; gradients flow through."""
        return elementwise.Clone.apply(self)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        if self.grad_fn is not None:
            raise RuntimeError("only leaf Tensors support deepcopy: use detach() or clone()")
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.array = _copied_with_its_memory(self.array, memo)
        copied._counter = memo.setdefault(("versions of", id(self._counter)), [0, 0])
        copied._requires_grad = self._requires_grad
        copied._grad = copy.deepcopy(self._grad, memo)
        vars(copied).update(copy.deepcopy(self._attributes(), memo))
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """For copy.copy and pickle: a leaf of the same elements, without gradient."""
        return _leaf, (type(self), self.array, self._requires_grad, self._attributes())

    def _attributes(self) -> dict[str, Any]:
        """Those that the user has set."""
        own = ("array", "_counter")  # others have a default on the class
        return {name: value for name, value in vars(self).items() if name not in own and not hasattr(Tensor, name)}

    def __repr__(self) -> str:
        from .printing import tensor_repr

        return tensor_repr(self)

    __hash__ = object.__hash__  # by identity, although == compares elements


Function.make_tensor = Tensor

# Threads that add to one leaf take turns. Leaves share these locks: one of a leaf's own could be neither pickled nor
# copied. Reentrant, since what allocates may run finalizers, which may do anything.
_LOCKS = tuple([threading.RLock() for _ in range(64)])


def _leaf(cls: Any, array: Array, requires_grad: builtins.bool, attributes: dict[str, Any]) -> Tensor:
    tensor: Tensor = cls.__new__(cls)
    tensor.array, tensor._counter, tensor._requires_grad = array.view(), [0, 0], requires_grad
    vars(tensor).update(attributes)
    return tensor


def _same_elements(a: Array, b: Array) -> bool:
    """Whether both are the same elements of the same memory."""
    return (a.ctypes.data, a.shape, a.strides, a.dtype) == (b.ctypes.data, b.shape, b.strides, b.dtype)


def _copied_with_its_memory(array: Array, memo: dict[Any, Any]) -> Array:
    """A copy of all the memory that an array lies in, once for each memo: copies of views share it as the views do."""
    memory = array
    while type(memory.base) is np.ndarray:
        memory = memory.base
    if not memory.flags.forc:  # it has gaps, as only memory from elsewhere does
        return array.copy()
    key = "memory of", id(memory)
    if key not in memo:
        memo[key] = memory.reshape(-1, order="A").view(np.uint8).copy()
    copied: Array = np.ndarray(
        array.shape, array.dtype, memo[key], array.ctypes.data - memory.ctypes.data, array.strides
    )
    copied.flags.writeable = not any(n > 1 and step == 0 for n, step in zip(array.shape, array.strides, strict=True))
    return copied
