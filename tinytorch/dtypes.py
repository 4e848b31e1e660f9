"""Dtypes under PyTorch's names, PyTorch's rules for combining them, and the device.

A dtype is NumPy's own object, so arrays and tensors share them: `tinytorch.float32 == numpy.dtype("float32")`.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import ml_dtypes
import numpy as np

DType = np.dtype[Any]
DTypeLike = DType | type[Any] | str  # anything that names a dtype: see as_dtype

bool = np.dtype("bool")
uint8 = np.dtype("uint8")
int8 = np.dtype("int8")
int16 = short = np.dtype("int16")
int32 = int = np.dtype("int32")
int64 = long = np.dtype("int64")
float16 = half = np.dtype("float16")
bfloat16 = np.dtype(ml_dtypes.bfloat16)
float32 = float = np.dtype("float32")
float64 = double = np.dtype("float64")

FLOATS: frozenset[DType] = frozenset({float16, bfloat16, float32, float64})
_LARGEST = {dtype: builtins.float(ml_dtypes.finfo(dtype).max) for dtype in FLOATS}  # type: ignore[no-untyped-call]
_PYTHON = {builtins.bool: bool, builtins.int: int64}
_default: DType = float32


def get_default_dtype() -> DType:
    """The dtype of tensors made from Python floats, and of the result of integer division."""
    return _default


def set_default_dtype(dtype: DTypeLike) -> None:
    """Make another floating-point dtype the default; float64 suits gradient checking."""
    global _default
    dtype = as_dtype(dtype)
    if dtype not in FLOATS:
        raise TypeError(f"the default dtype must be floating point, got {dtype}")
    _default = dtype


def as_dtype(dtype: DTypeLike) -> DType:
    """A NumPy dtype from anything that names one; Python's bool, int and float mean bool, int64 and the default."""
    if dtype is builtins.float:
        return _default
    if isinstance(dtype, type) and dtype in _PYTHON:
        return _PYTHON[dtype]
    result: DType = np.dtype(dtype)
    return result


def is_floating(dtype: DType) -> builtins.bool:
    """Whether values of this dtype can have gradients."""
    return dtype in FLOATS


def category_of(dtype: DType) -> builtins.int:
    """0 for bool, 1 for integers, 2 for floating point: what is higher decides the dtype of a result."""
    return 2 if dtype in FLOATS else 1 if dtype.kind in "iu" else 0


def promote_types(type1: DTypeLike, type2: DTypeLike) -> DType:
    """The smallest dtype that holds both. Unlike in NumPy, a float with an integer keeps the float's size."""
    a, b = as_dtype(type1), as_dtype(type2)
    if a == b:
        return a
    if category_of(a) != category_of(b):
        return a if category_of(a) > category_of(b) else b
    if {a, b} == {float16, bfloat16}:
        return float32
    return a if b == bfloat16 and a.itemsize > 2 else b if a == bfloat16 else np.promote_types(a, b)


def result_type(tensor: Any, other: Any) -> DType:
    """The dtype in which two tensors, or a tensor and a Python number, are combined.

    A 0-d tensor counts as a number beside one with dimensions: it decides only if its category
    (bool < integer < floating point) is higher. For two numbers, it is the dtype of a tensor made from the higher one.
    """
    tensor, other = [x.item() if isinstance(x, np.generic) else x for x in (tensor, other)]
    if not hasattr(other, "dtype"):
        return _with_number(tensor.dtype if hasattr(tensor, "dtype") else _with_number(bool, tensor), other)
    if not hasattr(tensor, "dtype"):
        return _with_number(other.dtype, tensor)
    a, b = tensor.dtype, other.dtype
    if a == b or (tensor.ndim == 0) == (other.ndim == 0):
        return promote_types(a, b)
    strong, weak = (a, b) if other.ndim == 0 else (b, a)
    chosen: DType = strong if category_of(strong) >= category_of(weak) else weak
    return chosen


def _with_number(dtype: DType, number: Any) -> DType:
    category = 0 if isinstance(number, builtins.bool) else 1 if isinstance(number, builtins.int) else 2
    if category_of(dtype) >= category:
        return dtype
    return _default if category == 2 else int64


def as_number(number: Any, dtype: DType, halves: builtins.bool = True) -> Any:
    """A Python number in a dtype, as a 0-d array.

    Raises RuntimeError, like PyTorch, if it does not fit. An integer dtype takes any number within its limits and
    truncates it (uint8 also takes negative integers above -256, which wrap around); a floating-point dtype takes any
    but finite numbers beyond its largest. `halves=False` lets those become infinite in float16 and bfloat16.
    """
    if dtype.kind == "b":
        return np.asarray(number != 0)
    largest = _LARGEST.get(dtype)
    if largest is not None:
        value = builtins.float(number)
        if largest < abs(value) < math.inf:
            if halves or dtype == float32:
                raise _overflow(number, dtype)
            with np.errstate(over="ignore"):
                return np.asarray(value, dtype)
        return np.asarray(value, dtype)
    limits = np.iinfo(dtype)
    low = -limits.max if limits.min == 0 and isinstance(number, builtins.int) else limits.min
    if not low <= number <= limits.max:
        raise _overflow(number, dtype)
    return np.asarray(builtins.int(number)).astype(dtype)


def _overflow(number: Any, dtype: DType) -> RuntimeError:
    return RuntimeError(f"value {number} cannot be converted to type {dtype} without overflow")


def finfo(dtype: DTypeLike) -> Any:
    """Limits of a floating-point dtype: eps, max, min, tiny."""
    return ml_dtypes.finfo(as_dtype(dtype))  # type: ignore[no-untyped-call]


def iinfo(dtype: DTypeLike) -> np.iinfo[Any]:
    """Limits of an integer dtype: min, max, bits."""
    return np.iinfo(as_dtype(dtype))


class device(str):
    """Where tensors live: always the CPU, the only device. `device("cpu")`; as a string it is "cpu"."""

    def __new__(cls, type: Any = "cpu", index: builtins.int | None = None) -> device:
        """RuntimeError for any other device."""
        check_device(type)
        return super().__new__(cls, "cpu")

    @property
    def type(self) -> str:
        """The kind of device."""
        return str(self)

    def __repr__(self) -> str:
        return f"device(type={str(self)!r})"


def check_device(device: Any) -> None:
    """RuntimeError unless the device is None or the CPU."""
    if device is not None and str(device).partition(":")[0] != "cpu":
        raise RuntimeError(f"device {str(device)!r} is not available: tinytorch computes on the CPU, device='cpu'")


CPU = device()
