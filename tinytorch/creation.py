"""Tensors from nothing, from data and from random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import dtypes
from .dtypes import as_dtype, check_device, get_default_dtype, is_floating
from .kernels import memory
from .kernels.tape import launch
from .modes import mode, untraced
from .ops.common import array_of, sizes
from .random import Generator, default_generator
from .tensor import Tensor


def _finish(array: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    check_device(device)
    if dtype is not None and array.dtype != as_dtype(dtype):
        array = memory.copy(array, as_dtype(dtype))
    if mode.tape is not None and type(array) is np.ndarray:
        array = mode.tape.constant(array)
    return Tensor(array, requires_grad)


def _array(data: Any) -> Any:
    """An array from anything; Python floats get the default dtype, Python integers int64."""
    if isinstance(data, Tensor):
        return array_of(data)
    if isinstance(data, (np.ndarray, np.generic)):
        return _checked(np.asarray(data))
    if isinstance(data, (list, tuple)) and any(
        isinstance(item, (Tensor, np.ndarray, np.generic, list, tuple)) for item in data
    ):
        parts = [_array(item) for item in data]
        if len({part.shape for part in parts}) > 1:
            raise ValueError(
                f"tensor: expected sequences of equal length, got shapes {sorted({p.shape for p in parts})}"
            )
        dtype = parts[0].dtype
        for part in parts[1:]:
            dtype = dtypes.promote_types(dtype, part.dtype)
        return np.stack([part.astype(dtype, copy=False) for part in parts])
    array = _checked(np.asarray(data))
    if array.dtype.kind == "f":
        return array.astype(get_default_dtype())
    if array.dtype.kind == "u":
        raise ValueError(f"tensor: {array.max()} does not fit into int64")
    return array


def _checked(array: Any) -> Any:
    if array.dtype.kind not in "biuf" and not is_floating(array.dtype):
        raise TypeError(f"expected real numbers, got NumPy dtype {array.dtype}")
    return array


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A leaf with a copy of the data: numbers, nested lists, arrays or Tensors.

    Python floats become the default dtype, integers int64; arrays keep their dtype.
    """
    return _finish(memory.copy(_array(data)), dtype, device, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of the data: the same one, or sharing an array's memory, where nothing needs converting."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == as_dtype(dtype)):
        check_device(device)
        return from_numpy(data)
    return _finish(_array(data).view(), dtype, device, False)


def from_numpy(array: Any) -> Tensor:
    """A Tensor that shares the array's memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    return Tensor(_checked(array if mode.tape is None else mode.tape.outside(array)).view())


def zeros(*shape: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """0 everywhere."""
    return _finish(memory.zeros(_shape(shape, size), _or_default(dtype)), None, device, requires_grad)


def ones(*shape: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """1 everywhere."""
    return _finish(np.ones(_shape(shape, size), _or_default(dtype)), None, device, requires_grad)


def empty(*shape: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever was in the memory."""
    return _finish(memory.empty(_shape(shape, size), _or_default(dtype)), None, device, requires_grad)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """One value everywhere; without a dtype, that of the value."""
    value = _array(array_of(fill_value))
    return _finish(np.full(sizes((size,)), value, value.dtype), dtype, device, requires_grad)


def _shape(args: tuple[Any, ...], size: Any) -> tuple[int, ...]:
    """A shape given as separate integers, as one sequence, or as size=."""
    return sizes(args if size is None else (size,))


def _or_default(dtype: Any) -> Any:
    return get_default_dtype() if dtype is None else as_dtype(dtype)


def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below end; integers unless one of them is a float."""
    if end is None:
        start, end = 0, start
    start, end, step = (value.item() if isinstance(value, Tensor) else value for value in (start, end, step))
    if step == 0 or (end - start) * step < 0:
        raise RuntimeError(f"arange: step {step} does not lead from {start} to {end}")
    array = np.arange(start, end, step)
    if dtype is None and array.dtype.kind == "f":
        dtype = get_default_dtype()
    return _finish(array, dtype, device, requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """So many values at equal distances from start to end, both included."""
    return _finish(np.linspace(start, end, steps), _or_default(dtype), device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """1 on the diagonal of an (n, m) matrix, else 0."""
    return _finish(np.eye(n, m, dtype=_or_default(dtype)), None, device, requires_grad)


def _like(input: Tensor, dtype: Any) -> Any:
    return input.dtype if dtype is None else as_dtype(dtype)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """0 everywhere, in the shape and dtype of a tensor."""
    return zeros(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """1 everywhere, in the shape and dtype of a tensor."""
    return ones(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever was in the memory, in the shape and dtype of a tensor."""
    return empty(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere, in the shape and dtype of a tensor."""
    return full(input.shape, fill_value, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def _draw(generator: Generator | None, function: Callable[[np.random.Generator], Any]) -> Any:
    return (generator or default_generator).draw(function)


def rand(
    *shape: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform in [0, 1)."""
    array = (generator or default_generator).uniform(_shape(shape, size), _or_default(dtype))
    return _finish(array, None, device, requires_grad)


def randn(
    *shape: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed, mean 0 and variance 1."""
    array = _draw(generator, lambda stream: stream.standard_normal(_shape(shape, size)))
    return _finish(array, _or_default(dtype), device, requires_grad)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Integers from low (0 if only one bound is given) up to, but not including, high: int64."""
    if size is None:  # PyTorch's overload randint(high, size)
        high, size = None, high
    if high is None:
        low, high = 0, low
    if high <= low:
        raise RuntimeError(f"randint expects low < high, got low={low}, high={high}")
    array = _draw(generator, lambda stream: stream.integers(int(low), int(high), sizes((size,))))
    return _finish(array, dtypes.int64 if dtype is None else dtype, device, False)


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """The integers 0..n-1 in a random order: int64."""
    array = _draw(generator, lambda stream: stream.permutation(n))
    return _finish(array, dtypes.int64 if dtype is None else dtype, device, False)


@untraced
def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Normally distributed; mean and std are numbers or Tensors."""
    shape = None if size is None else sizes((size,))
    array = _draw(generator, lambda stream: stream.normal(array_of(mean), array_of(std), shape))
    return _finish(array, get_default_dtype(), None, False)


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform in [0, 1), in the shape and dtype of a tensor."""
    return rand(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Normally distributed, in the shape and dtype of a tensor."""
    return randn(input.shape, dtype=_like(input, dtype), device=device, requires_grad=requires_grad)


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that the input holds, else 0, in its dtype."""
    p, shape = array_of(input), input.shape
    launch(_check_probabilities, p)
    return Tensor((_draw(generator, lambda stream: stream.random(shape)) < p).astype(p.dtype))


def _check_probabilities(p: Any) -> None:
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
