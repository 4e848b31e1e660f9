"""Tensors from nothing, from data and from random numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dtypes
from .dtypes import DType, DTypeLike, as_dtype, as_number, check_device, get_default_dtype, is_floating
from .engine.mode import mode
from .engine.runner import untraced
from .kernels.launch import aligned_copy, aligned_empty, aligned_zeros, launched
from .ops.common import Array, create, elements_of, is_tensor, only_floating, python_number, sizes
from .random import Generator, default_generator
from .tensor import Tensor


def _finish(array: Array, dtype: DTypeLike | None, device: str | None, requires_grad: bool) -> Tensor:
    if device is not None:
        check_device(device)
    if dtype is not None and array.dtype != as_dtype(dtype):
        array = aligned_copy(array, as_dtype(dtype))
    tensor = create(lambda: array)
    return tensor.requires_grad_() if requires_grad else tensor


def _array(data: Any, dtype: DTypeLike | None) -> Array:
    """An array of anything. What is no array yet is made in dtype; None is the default dtype for floats, else int64."""
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


_PARTS = (Tensor, np.ndarray, np.generic, list, tuple)  # what makes a list more than a list of numbers


def _dtype_of(data: Any) -> DType:
    """The dtype that holds all there is in nested lists."""
    if isinstance(data, (list, tuple)) and data:
        found = _dtype_of(data[0])
        for item in data[1:]:
            found = dtypes.promote_types(found, _dtype_of(item))
        return found
    if isinstance(data, (Tensor, np.ndarray, np.generic)):
        return _checked(data).dtype
    return _of_numbers(data, None).dtype


def _of_numbers(data: Any, dtype: DType | None) -> Array:
    """Python numbers, one or a list of them, each converted by itself: no float passes through the default dtype."""
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
    if array.dtype.kind == "f" and array.ndim and set(map(type, data)) != {float}:  # integers too, which are exact
        return np.array([as_number(python_number(number), dtype) for number in data], dtype)
    return _fitting(array, dtype)


def _fitting(array: Array, dtype: DType) -> Array:
    """The array in another dtype. RuntimeError where that is for integers, and has no room for a number."""
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

    Without a dtype, Python floats become the default one, integers int64; arrays keep theirs. Raises RuntimeError for a
    number that an integer dtype does not hold; arrays and Tensors are cast as NumPy does it.
    """
    return _finish(aligned_copy(_array(data, dtype)), dtype, device, requires_grad)


def as_tensor(data: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """A Tensor of the data: the same one, or sharing an array's memory, where nothing needs converting."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == as_dtype(dtype)):
        check_device(device)
        return from_numpy(data)
    return _finish(_array(data, dtype).view(), dtype, device, False)


def from_numpy(array: Array) -> Tensor:
    """A Tensor that shares the array's memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    tensor: Tensor = mode.run.call(sharing, _checked(array))
    return tensor


def sharing(array: Array) -> Tensor:
    """A Tensor over an array's memory, in a compiled function too: whatever is there when it is called."""
    return Tensor(array.view())


def zeros(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """0 everywhere."""
    return _finish(aligned_zeros(_shape(shape, size), _or_default(dtype)), None, device, requires_grad)


def ones(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 everywhere."""
    return _finish(np.ones(_shape(shape, size), _or_default(dtype)), None, device, requires_grad)


def empty(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Whatever was in the memory."""
    return _finish(aligned_empty(_shape(shape, size), _or_default(dtype)), None, device, requires_grad)


def full(
    size: Sequence[int],
    fill_value: Any,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number, or a Tensor without dimensions, everywhere; without a dtype, in that of a tensor of the number.

    Raises RuntimeError where the dtype does not hold the number.
    """
    if is_tensor(fill_value) and not fill_value.ndim:
        value = elements_of(fill_value)
        value = value.astype(_of_numbers(value.dtype.type(0).item(), None).dtype if dtype is None else as_dtype(dtype))
    elif isinstance(fill_value, (int, float, np.generic)):
        number = python_number(fill_value)
        value = as_number(number, _of_numbers(number, None).dtype if dtype is None else as_dtype(dtype))
    else:
        raise TypeError(f"full: expected a number to fill with, got {type(fill_value).__name__}")
    return _finish(np.full(_size("full", size), value, value.dtype), None, device, requires_grad)


def _shape(args: tuple[Any, ...], size: Sequence[int] | None) -> tuple[int, ...]:
    """A shape given as separate integers, as one sequence, or as size=."""
    shape = sizes(args if size is None else (size,))
    if min(shape, default=0) < 0:
        raise RuntimeError(f"cannot create a tensor with negative dimension {min(shape)}: {list(shape)}")
    return shape


def _size(what: str, size: Any) -> tuple[int, ...]:
    """A shape that must be a sequence."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"{what}: size must be a tuple of integers, got {type(size).__name__}")
    return _shape((), size)


def _or_default(dtype: DTypeLike | None) -> DType:
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


def _no_bools(what: str, dtype: DType) -> None:
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

    For an integer dtype the three lose their fractions first, as in PyTorch. Raises RuntimeError where they are not
    finite, or step does not lead from start to end.
    """
    if end is None:
        start, end = 0, start
    if type(start) is type(end) is type(step) is int and 0 == start < end < 1 << 63 and step == 1 and dtype is None:
        return _finish(np.arange(end), None, device, requires_grad)
    array, dtype = _range(start, end, step, dtype)
    return _finish(array, dtype, device, requires_grad)


def _range(start: Any, end: Any, step: Any, dtype: DTypeLike | None) -> tuple[Array, DType]:
    """The numbers of arange, and their dtype."""
    start, end, step = (_end("arange", value) for value in (start, end, step))
    if dtype is None:
        dtype = get_default_dtype() if float in (type(start), type(end), type(step)) else dtypes.int64
    dtype = as_dtype(dtype)
    _no_bools("arange", dtype)
    if not (math.isfinite(start) and math.isfinite(end)) or not abs(step) > 0:
        raise RuntimeError(f"arange: unsupported range from {start} to {end} by {step}")
    if (end - start) * step < 0:
        raise RuntimeError(f"arange: step {step} does not lead from {start} to {end}")
    count = math.ceil((end - start) / step)
    if not is_floating(dtype):
        start, whole_end, step = (int(as_number(value, dtypes.int64)) for value in (start, end, step))
        if step == 0:
            raise ValueError(f"arange: in {dtype} the step loses its fraction, and must not be 0 then")
        if dtype == dtypes.int64:  # others are as many as there are with fractions
            count = -((start - whole_end) // step)
    return start + step * np.arange(max(count, 0)), dtype


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """So many values at equal distances from start to end, numbers or tensors without dimensions, both included.

    In an integer dtype both ends must fit and lose their fractions, as then each value does.
    """
    dtype, steps = _or_default(dtype), operator.index(steps)
    _no_bools("linspace", dtype)
    if steps < 0:
        raise RuntimeError(f"linspace: the number of steps must be non-negative, got {steps}")
    start, end = _end("linspace", start), _end("linspace", end)
    if not is_floating(dtype):  # of none or one value, what is not among them need not fit
        start, end = (int(as_number(value, dtype)) if steps > n else 0 for n, value in enumerate((start, end)))
    step, index = (end - start) / max(steps - 1, 1), np.arange(steps)
    from_start = (index < steps // 2) | (steps == 1)  # each half from its end, so that both are met
    array = np.where(from_start, start + step * index, end - step * (steps - 1 - index))
    return _finish(array, dtype, device, requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 on the diagonal of an (n, m) matrix, else 0."""
    rows, columns = _shape((n, n if m is None else m), None)
    return _finish(np.eye(rows, columns, dtype=_or_default(dtype)), None, device, requires_grad)


def _like(input: Tensor, dtype: DTypeLike | None) -> DType:
    return input.dtype if dtype is None else as_dtype(dtype)


def zeros_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """0 everywhere, in the shape and dtype of a tensor."""
    return zeros(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def ones_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """1 everywhere, in the shape and dtype of a tensor."""
    return ones(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def empty_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Whatever was in the memory, in the shape and dtype of a tensor."""
    return empty(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere, in the shape and dtype of a tensor, as `full`."""
    return full(input.shape, fill_value, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def _draw(generator: Generator | None, function: Callable[[np.random.Generator], Any]) -> Any:
    return (generator or default_generator).draw(function)


def _real(what: str, dtype: DTypeLike | None) -> DType:
    """A floating-point dtype, the default one where none is given."""
    dtype = _or_default(dtype)
    if not is_floating(dtype):
        raise RuntimeError(f"{what} is not implemented for {dtype}")
    return dtype


def rand(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform in [0, 1)."""
    array = (generator or default_generator).uniform(_shape(shape, size), _real("rand", dtype))
    return _finish(array, None, device, requires_grad)


def randn(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed, mean 0 and variance 1."""
    wanted, dtype = _shape(shape, size), _real("randn", dtype)
    return _finish(_draw(generator, lambda stream: stream.standard_normal(wanted)), dtype, device, requires_grad)


def randint(
    low: int,
    high: Any = None,
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers from low (0 if only one bound is given) up to, but not including, high: int64.

    Raises RuntimeError where low is not below high, or an integer dtype does not hold what is between them.
    """
    if size is None:  # PyTorch's overload randint(high, size)
        high, size = None, high
    if high is None:
        low, high = 0, low
    low, high, shape = operator.index(low), operator.index(high), _size("randint", size)
    if high <= low:
        raise RuntimeError(f"randint expects low < high, got low={low}, high={high}")
    dtype = dtypes.int64 if dtype is None else as_dtype(dtype)
    if not is_floating(dtype):
        limits = (0, 1) if dtype == dtypes.bool else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if low < limits[0] or high - 1 > limits[1]:
            raise RuntimeError(f"randint: {low} to {high - 1} is out of bounds for {dtype}")
    return _finish(_draw(generator, lambda stream: stream.integers(low, high, shape)), dtype, device, requires_grad)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers 0..n-1 in a random order: int64. Raises RuntimeError where the dtype does not hold n."""
    (n,), dtype = _shape((n,), None), dtypes.int64 if dtype is None else as_dtype(dtype)
    _no_bools("randperm", dtype)
    if not is_floating(dtype):
        as_number(n, dtype)
    elif n > 2 / dtypes.finfo(dtype).eps + 1:
        raise RuntimeError(f"randperm: {dtype} does not hold all integers below {n}")
    return _finish(_draw(generator, lambda stream: stream.permutation(n)), dtype, device, requires_grad)


@untraced
def normal(
    mean: Any,
    std: Any = 1.0,
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed, with means and standard deviations of Tensors, broadcast; or of two numbers, in a size.

    In the dtype of mean where that is a Tensor, or else of std; of numbers in dtype. Raises RuntimeError for integers
    and for a std that is negative or no number.
    """
    of_tensors = is_tensor(mean) or is_tensor(std)
    if of_tensors == (size is not None) or (of_tensors and dtype is not None):
        raise TypeError("normal: give size, and dtype, with two numbers, not with a Tensor")
    if of_tensors:
        dtype = (mean if is_tensor(mean) else std).dtype
    dtype = _real("normal", dtype)
    m, s = (np.asarray(elements_of(value), np.float64) for value in (mean, std))
    if not (s >= 0).all():
        raise RuntimeError(f"normal expects std >= 0.0, but found std {s[~(s >= 0)][0]}")
    try:
        shape = np.broadcast_shapes(m.shape, s.shape) if size is None else _size("normal", size)
    except ValueError:
        raise RuntimeError(f"normal: mean {m.shape} and std {s.shape} do not broadcast") from None
    array = _draw(generator, lambda stream: stream.normal(m, s, shape))
    return _finish(array, dtype, device, requires_grad)


def rand_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Uniform in [0, 1), in the shape and dtype of a tensor."""
    return rand(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def randn_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Normally distributed, in the shape and dtype of a tensor."""
    return randn(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that the input holds, else 0, in its dtype."""
    p, shape = elements_of(only_floating("bernoulli", input)), input.shape
    _check_probabilities(p)
    return Tensor((_draw(generator, lambda stream: stream.random(shape)) < p).astype(p.dtype))


@launched
def _check_probabilities(p: Array) -> None:
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError("bernoulli: expected all probabilities to be between 0 and 1")


@untraced
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Indices drawn with probability proportional to the rows of input, (C,) or (N, C): int64 (..., num_samples).

    Raises RuntimeError for negative, infinite or NaN weights, rows without weight, and more samples
    than there are weights when drawing without replacement.
    """
    if input.ndim not in (1, 2) or not is_floating(input.dtype):
        raise RuntimeError(
            f"multinomial expects floating-point weights of 1 or 2 dimensions, got {input.dtype} {tuple(input.shape)}"
        )
    weights = np.atleast_2d(input.array).astype(np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if num_samples < 1 or (not replacement and num_samples > (weights > 0).sum(axis=1).min(initial=num_samples)):
        raise RuntimeError(
            f"multinomial: cannot draw {num_samples} samples from {weights.shape[1]} weights without replacement"
        )
    total = weights.sum(axis=1, keepdims=True)
    if (total <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if replacement or num_samples == 1:
        # The first place where the running sum exceeds a uniform number: a weight of 0 is never drawn.
        draws = _draw(generator, lambda stream: stream.random((len(weights), num_samples))) * total
        running = np.cumsum(weights, axis=1)
        indices = (
            np.stack([np.searchsorted(row, draw, side="right") for row, draw in zip(running, draws, strict=True)])
            if len(weights)
            else np.zeros((0, num_samples), np.int64)
        )
        last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
        indices = np.minimum(indices, last[:, None])
    else:
        # The largest of exponential races: Efraimidis and Spirakis 2006.
        with np.errstate(divide="ignore"):
            keys = _draw(generator, lambda stream: stream.standard_exponential(weights.shape)) / weights
        indices = np.argsort(keys, axis=1)[:, :num_samples]
    return Tensor(indices.astype(np.int64).reshape(*input.shape[:-1], num_samples))
