"""What stands between the brackets of x[...], with PyTorch's meaning, made ready for NumPy."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..dtypes import int8, int16, int64, uint8
from ..kernels.traced import ARRAYS, Traced
from .common import array_of, is_tensor

Parts = tuple[Any, ...]

_WHOLE = slice(None)


def subscripts(index: Any, ndim: int) -> tuple[Parts | None, Parts]:
    """The index of an array of ndim dimensions in two steps: x[first][then] is x[index]. `first` is None as a rule.

    An integer selects before anything else in PyTorch; in NumPy, beside an index array, it is an index array itself,
    and decides where the dimensions of the result go. x[0, :, [0, 1]] of a shape (2, 3, 4) has (2, 3) in NumPy, (3, 2)
    in PyTorch. So where both occur, the integers make a step of their own.
    """
    if type(index) is int:
        return None, (index,)
    integers = arrays = False
    parts = []
    for part in index if isinstance(index, tuple) else (_alone(index),):
        if type(part) is int:
            integers = True
        elif type(part) is slice:
            if part.step is not None and operator.index(part.step) < 1:
                raise ValueError(f"slice step must be greater than zero, got {part.step}: flip() reverses")
        elif part is not None and part is not Ellipsis:
            part = _part(part)
            if _is_integer(part):
                integers = True
            else:
                arrays = True
        parts.append(part)
    if not arrays or len(parts) == 1:
        return None, tuple(parts)
    if sum([_reach(part) for part in parts]) == ndim:
        # An ellipsis of no dimensions parts nothing in PyTorch, in NumPy it parts index arrays.
        parts = [part for part in parts if part is not Ellipsis]
    return _integers_first(parts) if integers else (None, tuple(parts))


def _integers_first(parts: list[Any]) -> tuple[Parts, Parts]:
    first: list[Any] = []
    then: list[Any] = []
    for part in parts:
        if _is_integer(part):
            first.append(part)
            continue
        then.append(part)
        first += [part] if part is Ellipsis else [_WHOLE] * _reach(part)
    if not any(part is Ellipsis for part in first):
        first.append(Ellipsis)  # with which also a single element is a view
    return tuple(first), tuple(then)


def _reach(part: Any) -> int:
    """How many dimensions a part is about."""
    if part is None or part is Ellipsis or type(part) is bool:
        return 0
    return part.ndim if type(part) in ARRAYS and part.dtype.kind == "b" else 1


def _is_integer(part: Any) -> bool:
    # In a compiled function a Tensor without dimensions is an integer that is another at each call.
    return type(part) is int or (type(part) is Traced and part.ndim == 0 and part.dtype.kind != "b")


def _alone(index: Any) -> Any:
    """An index that is no tuple."""
    if isinstance(index, list) and not all(isinstance(i, (int, np.integer, np.bool_)) for i in index):
        raise IndexError(
            "a list of Tensors, lists or slices is ambiguous as an index: write x[tuple(index)] for one part for each "
            "dimension, x[torch.tensor(index)] for an index array"
        )
    return index


def _part(part: Any) -> Any:
    """An integer, a truth value, or an index array or mask, from whatever else may stand in an index."""
    if is_tensor(part):
        array = array_of(part)
        if array.dtype in (int8, int16) and array.ndim:
            raise IndexError(f"tensors used as indices must be int64, int32, uint8 or bool tensors, got {array.dtype}")
        return _checked(array)
    if type(part) in ARRAYS:
        return _checked(part)
    if isinstance(part, (bool, np.bool_)):
        return bool(part)
    if isinstance(part, (list, tuple, range)):
        return _checked(_index_array(part))
    try:
        return operator.index(part)
    except TypeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None, Tensors and lists of integers or bools are valid "
            f"indices, got {type(part).__name__}"
        ) from None


def _checked(array: Any) -> Any:
    if array.dtype is int64 and array.ndim:
        return array
    if array.dtype.kind not in "iub":
        raise IndexError(f"tensors used as indices must be integer or bool tensors, got {array.dtype}")
    if array.dtype == uint8:
        return array != 0  # a mask, as in PyTorch, which once had no bool
    if array.ndim == 0 and array.dtype.kind != "b" and type(array) is np.ndarray:
        return int(array)
    return array


def _index_array(numbers: Any) -> Any:
    """An index array from a sequence of numbers, or from lists of them of one length."""
    parts = [array_of(part) for part in numbers]
    if any(isinstance(part, tuple) or (type(part) in ARRAYS and part.ndim) for part in parts):
        raise IndexError(
            "a sequence of Tensors, arrays or tuples cannot be a part of an index: make an index array of it with "
            "torch.stack() or torch.tensor()"
        )
    try:
        return np.asarray(parts, None if parts else int64)
    except ValueError:
        raise IndexError(f"the lists in an index must have one length, got {numbers}") from None


def index_arrays(indices: Any) -> Parts:
    """The index arrays and masks of index_put, where a Tensor without dimensions is an array too."""
    if not isinstance(indices, (tuple, list)) or not all(is_tensor(i) or type(i) is np.ndarray for i in indices):
        raise TypeError("index_put: indices must be a tuple of Tensors, one for each dimension")
    arrays = [array_of(index) for index in indices]
    checked = [_checked(array) for array in arrays]
    return tuple([array if type(part) is int else part for array, part in zip(arrays, checked, strict=True)])


def is_basic(parts: Parts) -> bool:
    """Whether there are integers, slices, None and ... alone, so that no element is named twice."""
    return all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)
