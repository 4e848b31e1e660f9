"""Tensors of random numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dtypes
from .creation import dtype_like, finish, no_bools, or_default, shape_of, size_of
from .dtypes import DType, DTypeLike, as_dtype, as_number, is_floating
from .engine.runner import untraced
from .ops.common import elements_of, is_tensor
from .random import Generator, generator_or_default
from .tensor import Tensor


def _draw(generator: Generator | None, function: Callable[[np.random.Generator], Any]) -> Any:
    return generator_or_default(generator).draw(function)


def _real(what: str, dtype: DTypeLike | None) -> DType:
    """A floating-point dtype: the given one, or else the default."""
    dtype = or_default(dtype)
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
    array = generator_or_default(generator).uniform(shape_of(shape, size), _real("rand", dtype))
    return finish(array, None, device, requires_grad)


def randn(
    *shape: int | Sequence[int],
    size: Sequence[int] | None = None,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed, mean 0 and variance 1."""
    wanted, dtype = shape_of(shape, size), _real("randn", dtype)
    return finish(_draw(generator, lambda stream: stream.standard_normal(wanted)), dtype, device, requires_grad)


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

    Raises RuntimeError if low is not below high, or the range does not fit an integer dtype.
    """
    if size is None:  # PyTorch's overload randint(high, size)
        high, size = None, high
    if high is None:
        low, high = 0, low
    low, high, shape = operator.index(low), operator.index(high), size_of("randint", size)
    if high <= low:
        raise RuntimeError(f"randint expects low < high, got low={low}, high={high}")
    dtype = dtypes.int64 if dtype is None else as_dtype(dtype)
    if not is_floating(dtype):
        limits = (0, 1) if dtype == dtypes.bool else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if low < limits[0] or high - 1 > limits[1]:
            raise RuntimeError(f"randint: {low} to {high - 1} is out of bounds for {dtype}")
    return finish(_draw(generator, lambda stream: stream.integers(low, high, shape)), dtype, device, requires_grad)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers 0..n-1 in a random order: int64. Raises RuntimeError if n does not fit the dtype."""
    (n,), dtype = shape_of((n,), None), dtypes.int64 if dtype is None else as_dtype(dtype)
    no_bools("randperm", dtype)
    if not is_floating(dtype):
        as_number(n, dtype)
    elif n > 2 / dtypes.finfo(dtype).eps + 1:
        raise RuntimeError(f"randperm: {dtype} does not hold all integers below {n}")
    return finish(_draw(generator, lambda stream: stream.permutation(n)), dtype, device, requires_grad)


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
    """Normally distributed, with mean and std given as Tensors, which broadcast, or as two numbers and a size.

    The dtype is mean's if that is a Tensor, else std's; for two numbers it is `dtype`. Raises RuntimeError for
    integers, and for a std that is negative or NaN.
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
        shape = np.broadcast_shapes(m.shape, s.shape) if size is None else size_of("normal", size)
    except ValueError:
        raise RuntimeError(f"normal: mean {m.shape} and std {s.shape} do not broadcast") from None
    array = _draw(generator, lambda stream: stream.normal(m, s, shape))
    return finish(array, dtype, device, requires_grad)


def rand_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Uniform in [0, 1), in the shape and dtype of a tensor."""
    return rand(input.shape, dtype=dtype_like(input, dtype), device=device, requires_grad=requires_grad)


def randn_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Normally distributed, in the shape and dtype of a tensor."""
    return randn(input.shape, dtype=dtype_like(input, dtype), device=device, requires_grad=requires_grad)
