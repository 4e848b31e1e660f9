"""The public Tensor: the engine's, with every operation as a method, conversions, and what it says of itself."""

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
    it collects gradients in `grad` when `backward()` is called on something computed from it. It is
    made by `tinytorch.tensor`, `zeros`, `randn`, ...; `Tensor(data)` makes one of the default dtype.
    """

    __array_priority__ = 1000  # so that array + tensor is a tensor

    def __init__(self, data: Any, requires_grad: builtins.bool = False) -> None:
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
    def data(self) -> Tensor:
        """The same memory without history, and with a version of its own: writing to it is not noticed by backward.

        Assigning a Tensor swaps the memory. What was saved of this tensor is from then on what it holds now, if it is
        a leaf, as in PyTorch; RuntimeError in backward if it is none, or if the shape or dtype is another.
        """
        # A view, as everywhere: no two Tensors hold one array object, which is what a saved input is known by.
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

    def clone(self) -> Tensor:
        """A copy in memory of its own, in C order; gradients flow through."""
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
        """For copy.copy and pickle: a leaf of the same elements, without gradient."""
        return _leaf, (type(self), self.array, self._requires_grad, self._attributes())

    def _attributes(self) -> dict[str, Any]:
        """Those that the user has set."""
        own = ("array", "_counter")  # others have a default on the class
        return {name: value for name, value in vars(self).items() if name not in own and not hasattr(Tensor, name)}

    def __repr__(self) -> str:
        from .printing import tensor_repr

        return tensor_repr(self, "tensor" if type(self) is Tensor else type(self).__name__)

    __hash__ = object.__hash__  # by identity, although == compares elements


engine.register(Tensor, add)


def assign_data(tensor: Any, value: Any) -> None:
    """`tensor.data = value`: other memory."""
    if not _same_elements(tensor.array, value.array):  # else as after `x.data -= 1`, which assigns x.data to itself
        # For what was saved of the old memory this counts as a change: see engine/saved.py.
        old, tensor._counter = tensor._counter, tensor._counter.copy()
        old[0] += 1
        tensor.array, tensor._base = value.array.view(), None


def _leaf(cls: Any, array: Array, requires_grad: builtins.bool, attributes: dict[str, Any]) -> Tensor:
    tensor: Tensor = cls.__new__(cls)
    tensor.array, tensor._counter, tensor._requires_grad = array.view(), [0], requires_grad
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
