"""Conversions that a Tensor inherits: to an array, to Python numbers, to another dtype."""

from __future__ import annotations

import builtins  # the methods float, int and bool hide the types of that name inside the class
from typing import TYPE_CHECKING, Any

import numpy as np

from . import dtypes
from .dtypes import DTypeLike, as_dtype, check_device
from .engine.tensor import wrap
from .ops import elementwise
from .ops.common import elements_of, is_tensor

if TYPE_CHECKING:
    from .tensor import Tensor

Array = np.ndarray[Any, Any]


class Conversions:
    """To and from NumPy, to Python's numbers, between dtypes."""

    array: Array

    def numpy(self: Any, *, force: builtins.bool = False) -> Array:
        """The array underneath, sharing memory; RuntimeError if it requires grad, unless force."""
        if self._requires_grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        view: Array = elements_of(self).view()
        return view

    def __array_wrap__(self: Any, array: Array, context: Any = None, return_scalar: builtins.bool = False) -> Tensor:
        return wrap(np.asarray(array))  # the result of a NumPy function called on a Tensor

    def __array__(self: Any, dtype: Any = None, copy: builtins.bool | None = None) -> Array:
        array: Array = self.numpy().__array__()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
        array = elements_of(self).reshape(())
        return array.item() if self.array.dtype != dtypes.bfloat16 else float(array)

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        array = elements_of(self)
        return (array.astype(np.float32) if self.array.dtype == dtypes.bfloat16 else array).tolist()

    def to(
        self: Any,
        *args: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        copy: builtins.bool = False,
        non_blocking: builtins.bool = False,
    ) -> Tensor:
        """Convert to another dtype, or another tensor's; self if nothing changes. The only device is the CPU."""
        for arg in args:
            if is_tensor(arg):
                dtype = arg.dtype
            elif isinstance(arg, str) and not _is_dtype_name(arg):
                device = arg
            else:
                dtype = arg
        check_device(device)
        dtype = self.dtype if dtype is None else as_dtype(dtype)
        if dtype == self.array.dtype:
            same: Tensor = self.clone() if copy else self
            return same
        return elementwise.To.apply(self, dtype=dtype)

    def type(self: Any, dtype: DTypeLike | None = None) -> Any:
        """Convert to another dtype; without an argument, return the dtype's name."""
        return f"torch.{self.dtype}" if dtype is None else self.to(as_dtype(dtype))

    def type_as(self, other: Tensor) -> Tensor:
        """Convert to the dtype of another tensor."""
        return self.to(other.dtype)

    def cpu(self: Any) -> Tensor:
        """Return self: there is no other device."""
        itself: Tensor = self
        return itself

    def float(self) -> Tensor:
        """As float32."""
        return self.to(dtypes.float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.to(dtypes.float64)

    def half(self) -> Tensor:
        """As float16."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Tensor:
        """As bfloat16."""
        return self.to(dtypes.bfloat16)

    def long(self) -> Tensor:
        """As int64."""
        return self.to(dtypes.int64)

    def int(self) -> Tensor:
        """As int32."""
        return self.to(dtypes.int32)

    def bool(self) -> Tensor:
        """As booleans: False where the element is 0."""
        return self.to(dtypes.bool)

    def __bool__(self) -> Any:
        if self.array.size != 1:
            raise RuntimeError(
                f"Boolean value of Tensor with {self.array.size} values is ambiguous: use any() or all()"
            )
        return bool(elements_of(self).reshape(()))

    def __float__(self) -> Any:
        return float(self._number())

    def __int__(self) -> Any:
        return int(self._number())

    def _number(self) -> Any:
        if self.array.size != 1:
            raise ValueError(f"only one element tensors convert to Python scalars, this one has {self.array.size}")
        return self.item()

    def __index__(self) -> Any:
        if self.array.size != 1 or self.array.dtype.kind not in "biu":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if not self.array.ndim else object.__format__(self, spec)

    def __contains__(self, value: Any) -> Any:
        return bool((elements_of(self) == elements_of(value)).any())


def _is_dtype_name(name: str) -> builtins.bool:
    return name in vars(dtypes) and isinstance(vars(dtypes)[name], np.dtype)
