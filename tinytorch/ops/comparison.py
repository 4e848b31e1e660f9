"""Comparisons and tests of elements: bool tensors, without gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..modes import mode
from .common import array_of, as_array, is_tensor, promote, wrap

if TYPE_CHECKING:
    from ..tensor import Tensor


def _comparison(ufunc: np.ufunc) -> Callable[[Any, Any], Tensor]:
    def compare(input: Any, other: Any) -> Tensor:
        if not is_tensor(input):
            raise TypeError(f"{ufunc.__name__}: expected a Tensor first, got {type(input).__name__}")
        # int64 beside float32 is compared as float32, where NumPy would take float64. Of numbers NumPy knows that they
        # have no size, but not beside bfloat16, which is none of its own dtypes.
        kind = input.array.dtype.kind
        if is_tensor(other):
            unlike = other.array.dtype is not input.array.dtype
        else:
            unlike = kind == "V" or (kind != "f" and isinstance(other, float)) or not isinstance(other, (int, float))
        if unlike:
            input, other = promote(input, other)
        try:
            return wrap(as_array(mode.quietly(ufunc, array_of(input), array_of(other))))
        except ValueError as error:
            raise RuntimeError(f"{ufunc.__name__}: {error}") from None

    compare.__doc__ = f"Element by element, broadcast, numpy.{ufunc.__name__}: a bool tensor."
    return compare


def _logical(ufunc: np.ufunc) -> Callable[[Any, Any], Tensor]:
    def combine(input: Tensor, other: Tensor) -> Tensor:
        for x in (input, other):
            if not is_tensor(x):
                raise TypeError(f"{ufunc.__name__}: expected Tensors, got {type(x).__name__}")
        return wrap(as_array(ufunc(array_of(input), array_of(other))))

    combine.__doc__ = f"Element by element, broadcast, numpy.{ufunc.__name__} of what is not zero: a bool tensor."
    return combine


def _test(ufunc: np.ufunc) -> Callable[[Any], Tensor]:
    def test(input: Tensor) -> Tensor:
        return wrap(as_array(ufunc(array_of(input))))

    test.__doc__ = f"Element by element, numpy.{ufunc.__name__}: a bool tensor."
    return test


eq, ne, lt = _comparison(np.equal), _comparison(np.not_equal), _comparison(np.less)
le, gt, ge = _comparison(np.less_equal), _comparison(np.greater), _comparison(np.greater_equal)
logical_and, logical_or, logical_xor = _logical(np.logical_and), _logical(np.logical_or), _logical(np.logical_xor)
isnan, isinf, isfinite, logical_not = _test(np.isnan), _test(np.isinf), _test(np.isfinite), _test(np.logical_not)
