"""The public Tensor: the engine's Tensor plus operations as methods, conversions and properties."""

from __future__ import annotations

import builtins  # the methods float, int and bool hide the types of that name inside the class
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import dtypes
from .conversions import Conversions
from .derivatives import backward
from .dtypes import CPU, is_floating
from .engine import tensor as engine
from .engine.mode import mode
from .kernels.arithmetic import add
from .methods import Methods
from .ops import elementwise
from .ops.common import create, normalize_dim

Array = np.ndarray[Any, Any]


class Size(tuple[int, ...]):
    """A shape: a tuple of ints that prints as PyTorch's does."""

    def numel(self) -> int:
        """The number of elements."""
        return int(np.prod(self, dtype=np.int64))

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"


class Tensor(engine.Tensor, Conversions, Methods):
    """An n-dimensional array that remembers how it was computed.

    `array` is the NumPy array underneath. A tensor made by the user is a leaf; with `requires_grad`
    it collects gradients in `grad` when `backward()` is called on something computed from it. Make one with
    `tinytorch.tensor`, `zeros`, `randn`, ...; `Tensor(data)` has the default dtype.
    """

    __array_priority__ = 1000  # so that array + tensor is a tensor

    def __init__(self, data: Any, *, requires_grad: builtins.bool = False) -> None:
        if isinstance(data, engine.Tensor):
            data = mode.run.read(data, "array").view()
        elif not isinstance(data, (np.ndarray, np.generic)):
            data = create(lambda: np.asarray(data, dtypes.get_default_dtype())).array
        if type(data) is not np.ndarray:
            data = data.view(np.ndarray) if isinstance(data, np.ndarray) else np.asarray(data)
        self.array: Array = data
        self._counter = [0]
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

    nelement, ndimension = numel, dim

    def element_size(self) -> builtins.int:
        """Bytes in an element."""
        return self.array.itemsize

    def stride(self, dim: builtins.int | None = None) -> Any:
        """The distance in elements between neighbours, in each dimension or in one."""
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
    def data(self) -> Tensor:
        """The same memory without history, and with its own version counter: backward does not notice writes to it.

        Assigning a Tensor replaces the memory. As in PyTorch, if a leaf was saved for backward, its new values count;
        backward raises RuntimeError if this tensor is not a leaf, or if the new shape or dtype differs.
        """
        # A view, since no two Tensors may hold the same array object, by which a saved input is recognised.
        return Tensor(mode.run.read(self, "array").view())

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data must be a Tensor, got {type(value).__name__}")
        if self._requires_grad and not is_floating(value.array.dtype):
            raise RuntimeError(
                f"a tensor that requires grad has data of a floating dtype, these are {value.dtype}: "
                "requires_grad_(False) first, or convert them"
            )
        mode.run.call(assign_data, self, value)

    def backward(
        self,
        gradient: Any = None,
        retain_graph: builtins.bool | None = None,
        create_graph: builtins.bool = False,
        inputs: Any = None,
    ) -> None:
        """Add this tensor's derivative, weighted by `gradient` (1 for a scalar), to the leaves' `.grad`.

        retain_graph keeps what was saved, for another walk; create_graph records the walk itself, for
        derivatives of higher order; inputs limits the leaves to these.
        """
        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same memory, without history and without gradient."""
        result = self.data
        result._counter = self._counter
        return result

    def clone(self) -> Tensor:
        """A copy in new memory, in C order; gradients flow through."""
        return elementwise.Clone.apply(self)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        if self.grad_fn is not None:
            raise RuntimeError("only leaf Tensors support deepcopy: use detach() or clone()")
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.array = _copied_with_its_memory(self.array, memo)
        copied._counter = memo.setdefault(("versions of", id(self._counter)), [0])
        copied._requires_grad = self._requires_grad
        copied._grad = copy.deepcopy(self._grad, memo)
        vars(copied).update(copy.deepcopy(self._attributes(), memo))
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """For copy.copy and pickle: a leaf with the same elements, without gradient."""
        return _leaf, (type(self), self.array, self._requires_grad, self._attributes())

    def _attributes(self) -> dict[str, Any]:
        """The attributes that the user has set."""
        own = ("array", "_counter")  # the others have defaults on the class
        return {name: value for name, value in vars(self).items() if name not in own and not hasattr(Tensor, name)}

    def __repr__(self) -> str:
        from .printing import tensor_repr

        return tensor_repr(self, "tensor" if type(self) is Tensor else type(self).__name__)

    __hash__ = object.__hash__  # by identity, although == compares elements


engine.register(Tensor, add)


def assign_data(tensor: Any, value: Any) -> None:
    """`tensor.data = value`: replace the memory."""
    if not _same_elements(tensor.array, value.array):  # unlike `x.data -= 1`, which assigns x.data to itself
        # For arrays saved from the old memory this counts as a change: see engine/saved.py.
        old, tensor._counter = tensor._counter, tensor._counter.copy()
        old[0] += 1
        tensor.array, tensor._base = value.array.view(), None


def _leaf(cls: Any, array: Array, requires_grad: builtins.bool, attributes: dict[str, Any]) -> Tensor:
    tensor: Tensor = cls.__new__(cls)
    tensor.array, tensor._counter, tensor._requires_grad = array.view(), [0], requires_grad
    vars(tensor).update(attributes)
    return tensor


def _same_elements(a: Array, b: Array) -> bool:
    """Whether both are the same elements in the same memory."""
    return (a.ctypes.data, a.shape, a.strides, a.dtype) == (b.ctypes.data, b.shape, b.strides, b.dtype)


def _copied_with_its_memory(array: Array, memo: dict[Any, Any]) -> Array:
    """A copy of all the memory that an array lies in, made once per memo, so that copied views share memory too."""
    memory = array
    while type(memory.base) is np.ndarray:
        memory = memory.base
    if not memory.flags.forc:  # it has gaps, which only memory from elsewhere has
        return array.copy()
    key = "memory of", id(memory)
    if key not in memo:
        memo[key] = memory.reshape(-1, order="A").view(np.uint8).copy()
    copied: Array = np.ndarray(
        array.shape, array.dtype, memo[key], array.ctypes.data - memory.ctypes.data, array.strides
    )
    copied.flags.writeable = not any(n > 1 and step == 0 for n, step in zip(array.shape, array.strides, strict=True))
    return copied
