"""Tensors from nothing and from data."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import dtypes
from .dtypes import DType, DTypeLike, as_dtype, as_number, check_device, get_default_dtype, is_floating
from .engine.mode import mode
from .kernels.launch import aligned_copy, aligned_empty, aligned_zeros
from .ops.common import Array, create, elements_of, is_tensor, python_number, sizes
from .tensor import Tensor


def finish(array: Array, dtype: DTypeLike | None, device: str | None, requires_grad: bool) -> Tensor:
    if device is not None:
        check_device(device)
    if dtype is not None and array.dtype != as_dtype(dtype):
        array = aligned_copy(array, as_dtype(dtype))
    tensor = create(lambda: array)
    return tensor.requires_grad_() if requires_grad else tensor


def _array(data: Any, dtype: DTypeLike | None) -> Array:
    """An array from any data. Numbers get `dtype`; None means the default dtype for floats, else int64."""
    if isinstance(data, Tensor):
        return elements_of(data)
    if isinstance(data, np.ndarray):
        return _checked(data)
    dtype = None if dtype is None else as_dtype(dtype)
    if isinstance(data, np.generic):
        return _checked(np.asarray(data)) if dtype is None else as_number(python_number(data), dtype, halves=False)
    if isinstance(data, (list, tuple)) and any(isinstance(item, _PARTS) for item in data):
        dtype = _dtype_of(data) if dtype is None else dtype
        parts = [_fitting(_array(item, dtype), dtype) for item in data]
        if len({part.shape for part in parts}) > 1:
            raise ValueError(
                f"tensor: expected sequences of equal length, got shapes {sorted({p.shape for p in parts})}"
            )
        return np.stack(parts)
    return _of_numbers(data, dtype)


_PARTS = (Tensor, np.ndarray, np.generic, list, tuple)  # items by which a list is more than a list of numbers


def _dtype_of(data: Any) -> DType:
    """The dtype that can hold all values in nested lists."""
    if isinstance(data, (list, tuple)) and data:
        found = _dtype_of(data[0])
        for item in data[1:]:
            found = dtypes.promote_types(found, _dtype_of(item))
        return found
    if isinstance(data, (Tensor, np.ndarray, np.generic)):
        return _checked(data).dtype
    return _of_numbers(data, None).dtype


def _of_numbers(data: Any, dtype: DType | None) -> Array:
    """One Python number or a list of them, converted directly: no float passes through the default dtype."""
    array = np.asarray(data)
    large = array.dtype.kind in "uO" and all(isinstance(number, (int, float)) for number in array.reshape(-1).tolist())
    if large and (dtype is None or dtype.kind in "iu"):
        raise ValueError(f"tensor: {max(array.reshape(-1), key=abs)} does not fit into int64")
    array = array.astype(np.float64) if large else _checked(array)
    if dtype is None:
        return array.astype(get_default_dtype()) if array.dtype.kind == "f" else array
    if dtype == dtypes.bool:
        return array != 0
    if is_floating(dtype):
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    if array.dtype.kind == "f" and array.ndim and set(map(type, data)) != {float}:  # with exact integers
        return np.array([as_number(python_number(number), dtype) for number in data], dtype)
    return _fitting(array, dtype)


def _fitting(array: Array, dtype: DType) -> Array:
    """The array in another dtype. RuntimeError if that is an integer dtype in which a number does not fit."""
    if array.dtype != dtype and dtype.kind in "iu" and type(array) is np.ndarray and array.size:
        for number in (array.min(), array.max()):
            as_number(python_number(number), dtype)
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def _checked(array: Any) -> Any:
    if array.dtype.kind not in "biuf" and not is_floating(array.dtype):
        raise TypeError(f"expected real numbers, got NumPy dtype {array.dtype}")
    return array


def tensor(
    data: Any, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A leaf with a copy of the data: numbers, nested lists, arrays or Tensors.

    Without a dtype, Python floats get the default dtype and integers int64; arrays keep theirs. Raises RuntimeError
    for a number that does not fit an integer dtype; arrays and Tensors are cast as in NumPy.
    """
    return finish(aligned_copy(_array(data, dtype)), dtype, device, requires_grad)


def as_tensor(data: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """A Tensor of the data: the same Tensor, or one that shares the array's memory, if nothing needs converting."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == as_dtype(dtype)):
        check_device(device)
        return from_numpy(data)
    return finish(_array(data, dtype).view(), dtype, device, False)


def from_numpy(array: Array) -> Tensor:
    """A Tensor that shares the array's memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    tensor: Tensor = mode.run.call(sharing, _checked(array))
    return tensor


def sharing(array: Array) -> Tensor:
    """A Tensor over an array's memory. A compiled function too uses whatever is there when it is called."""
    return Tensor(array.view())


def zeros(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros."""
    return finish(aligned_zeros(shape_of(shape, size), or_default(dtype)), None, device, requires_grad)


def ones(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones."""
    return finish(np.ones(shape_of(shape, size), or_default(dtype)), None, device, requires_grad)


def empty(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor whose memory is not initialised."""
    return finish(aligned_empty(shape_of(shape, size), or_default(dtype)), None, device, requires_grad)


def full(
    size: Sequence[int],
    fill_value: Any,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor filled with one number or 0-d Tensor; without a dtype, in the dtype that `tensor` gives the number.

    Raises RuntimeError if the number does not fit the dtype.
    """
    if is_tensor(fill_value) and not fill_value.ndim:
        value = elements_of(fill_value)
        value = value.astype(_of_numbers(value.dtype.type(0).item(), None).dtype if dtype is None else as_dtype(dtype))
    elif isinstance(fill_value, (int, float, np.generic)):
        number = python_number(fill_value)
        value = as_number(number, _of_numbers(number, None).dtype if dtype is None else as_dtype(dtype))
    else:
        raise TypeError(f"full: expected a number to fill with, got {type(fill_value).__name__}")
    return finish(np.full(size_of("full", size), value, value.dtype), None, device, requires_grad)


def shape_of(args: tuple[Any, ...], size: Sequence[int] | None) -> tuple[int, ...]:
    """A shape given as separate integers, as one sequence, or as size=."""
    shape = sizes(args if size is None else (size,))
    if min(shape, default=0) < 0:
        raise RuntimeError(f"cannot create a tensor with negative dimension {min(shape)}: {list(shape)}")
    return shape


def size_of(what: str, size: Any) -> tuple[int, ...]:
    """A shape that must be given as a sequence."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"{what}: size must be a tuple of integers, got {type(size).__name__}")
    return shape_of((), size)


def or_default(dtype: DTypeLike | None) -> DType:
    return get_default_dtype() if dtype is None else as_dtype(dtype)


def _end(what: str, value: Any) -> Any:
    """An end of a range, as a Python number."""
    if is_tensor(value):
        if value.ndim:
            raise RuntimeError(f"{what}: expected tensors without dimensions, got shape {tuple(value.shape)}")
        value = value.item()
    if not isinstance(value, (int, float, np.generic)):
        raise TypeError(f"{what}: expected a number, got {type(value).__name__}")
    return python_number(value)


def no_bools(what: str, dtype: DType) -> None:
    if dtype == dtypes.bool:
        raise RuntimeError(f"{what} is not implemented for bool")


def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below end; integers unless one of them is a float.

    For an integer dtype all three are truncated first, as in PyTorch. Raises RuntimeError if one is not finite, or
    step does not lead from start to end.
    """
    if end is None:
        start, end = 0, start
    start, end, step = (_end("arange", value) for value in (start, end, step))
    if dtype is None:
        dtype = get_default_dtype() if float in (type(start), type(end), type(step)) else dtypes.int64
    dtype = as_dtype(dtype)
    no_bools("arange", dtype)
    if not (math.isfinite(start) and math.isfinite(end)) or not abs(step) > 0:
        raise RuntimeError(f"arange: unsupported range from {start} to {end} by {step}")
    if (end - start) * step < 0:
        raise RuntimeError(f"arange: step {step} does not lead from {start} to {end}")
    count = math.ceil((end - start) / step)
    if not is_floating(dtype):
        start, whole_end, step = (int(as_number(value, dtypes.int64)) for value in (start, end, step))
        if step == 0:
            raise ValueError(f"arange: in {dtype} the step is truncated, and must not be 0 then")
        if dtype == dtypes.int64:  # other dtypes have as many values as without truncation
            count = -((start - whole_end) // step)
    return finish(start + step * np.arange(max(count, 0)), dtype, device, requires_grad)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` evenly spaced values from start to end, both included; each may be a number or a 0-d tensor.

    In an integer dtype both ends must fit; they are truncated, and then each value is.
    """
    dtype, steps = or_default(dtype), operator.index(steps)
    no_bools("linspace", dtype)
    if steps < 0:
        raise RuntimeError(f"linspace: the number of steps must be non-negative, got {steps}")
    start, end = _end("linspace", start), _end("linspace", end)
    if not is_floating(dtype):  # with fewer than two values, an end that is not among them need not fit
        start, end = (int(as_number(value, dtype)) if steps > n else 0 for n, value in enumerate((start, end)))
    return finish(_evenly_spaced(start, end, steps), dtype, device, requires_grad)


def _evenly_spaced(start: Any, end: Any, steps: int) -> Array:
    step, index = (end - start) / max(steps - 1, 1), np.arange(steps)
    from_start = (index < steps // 2) | (steps == 1)  # each half from its own end, so that both ends are exact
    return np.where(from_start, start + step * index, end - step * (steps - 1 - index))


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: Any = 10.0,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` powers of the base, whose exponents are evenly spaced from start to end, both included.

    In an integer dtype the exponents start and end are truncated, and then each power is, which must fit.
    """
    dtype, steps = or_default(dtype), operator.index(steps)
    no_bools("logspace", dtype)
    if steps < 0:
        raise RuntimeError(f"logspace: the number of steps must be non-negative, got {steps}")
    start, end, base = (_end("logspace", value) for value in (start, end, base))
    if not is_floating(dtype):
        start, end = (int(as_number(value, dtypes.int64)) for value in (start, end))
    with np.errstate(all="ignore"):
        array = np.power(float(base), _evenly_spaced(start, end, steps))
    return finish(_fitting(array, dtype), None, device, requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """An (n, m) matrix with ones on the diagonal and zeros elsewhere."""
    rows, columns = shape_of((n, n if m is None else m), None)
    return finish(np.eye(rows, columns, dtype=or_default(dtype)), None, device, requires_grad)


def dtype_like(input: Tensor, dtype: DTypeLike | None) -> DType:
    return input.dtype if dtype is None else as_dtype(dtype)


def zeros_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros in the shape and dtype of a tensor."""
    return zeros(input.shape, dtype=dtype_like(input, dtype), device=device, requires_grad=requires_grad)


def ones_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Ones in the shape and dtype of a tensor."""
    return ones(input.shape, dtype=dtype_like(input, dtype), device=device, requires_grad=requires_grad)


def empty_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Uninitialised memory in the shape and dtype of a tensor."""
    return empty(input.shape, dtype=dtype_like(input, dtype), device=device, requires_grad=requires_grad)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere, in the shape and dtype of a tensor; see `full`."""
    return full(input.shape, fill_value, dtype=dtype_like(input, dtype), device=device, requires_grad=requires_grad)
