"""What stands between the brackets of x[...], with PyTorch's meaning, made ready for NumPy.

An index comes in two parts: its layout, a setting, which holds integers, slices, None and ..., and ARRAY in the place
of each index array; and these arrays, Tensors, which are inputs of the operation like any other.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import int8, int16, int64, uint8
from ..engine.mode import mode
from ..engine.tensor import wrap
from .common import as_array, as_input, is_tensor
from .comparison import ne

if TYPE_CHECKING:
    from ..tensor import Tensor

Array = np.ndarray[Any, Any]
Layout = tuple[Any, ...]
Arrays = tuple[Any, ...]

ARRAY = "array"
_WHOLE = slice(None)


def subscripts(index: Any, input: Tensor) -> tuple[tuple[Layout, Arrays] | None, Layout, Arrays]:
    """The index of a Tensor in two steps: x[first][then] is x[index]. `first` is None as a rule.

    An integer selects before anything else in PyTorch; in NumPy, beside an index array, it is an index array itself,
    and decides where the dimensions of the result go. x[0, :, [0, 1]] of a shape (2, 3, 4) has (2, 3) in NumPy, (3, 2)
    in PyTorch. So where both occur, the integers make a step of their own.
    """
    if type(index) is int:
        return None, (index,), ()
    integers = arrays = False
    parts = []
    for part in index if isinstance(index, tuple) else (_alone(index),):
        if type(part) is int:
            integers = True
        elif type(part) is slice:
            if part.step is not None and operator.index(part.step) < 1:
                raise ValueError(f"slice step must be greater than zero, got {part.step}: flip() reverses")
        elif part is not None and part is not Ellipsis:
            part = _part(part, input)
            if _is_integer(part):
                integers = True
            arrays = arrays or type(part) is not int
        parts.append(part)
    if not arrays:
        return None, tuple(parts), ()
    if len(parts) == 1:
        return None, *_split(parts)
    if sum([_reach(part) for part in parts]) == input.array.ndim:
        # An ellipsis of no dimensions parts nothing in PyTorch, in NumPy it parts index arrays.
        parts = [part for part in parts if part is not Ellipsis]
    if not integers:
        return None, *_split(parts)
    first, then = _integers_first(parts)
    return _split(first), *_split(then)


def _split(parts: list[Any]) -> tuple[Layout, Arrays]:
    """The layout of an index and its arrays."""
    arrays = [is_tensor(part) for part in parts]
    layout = tuple([ARRAY if array else part for part, array in zip(parts, arrays, strict=True)])
    return layout, tuple([part for part, array in zip(parts, arrays, strict=True) if array])


def placed(layout: Layout, arrays: Arrays) -> tuple[Any, ...]:
    """The index for NumPy: the layout with the arrays in their places."""
    if not arrays:
        return layout
    rest = iter(arrays)
    return tuple([next(rest) if part == ARRAY else part for part in layout])


def _integers_first(parts: list[Any]) -> tuple[list[Any], list[Any]]:
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
    return first, then


def _reach(part: Any) -> int:
    """How many dimensions a part is about."""
    if part is None or part is Ellipsis:
        return 0
    return part.array.ndim if is_tensor(part) and part.array.dtype.kind == "b" else 1


def _is_integer(part: Any) -> bool:
    # A Tensor without dimensions is an integer that is not known now: see _number.
    return type(part) is int or (is_tensor(part) and part.array.ndim == 0 and part.array.dtype.kind != "b")


def _alone(index: Any) -> Any:
    """An index that is no tuple."""
    if isinstance(index, list) and not all(isinstance(i, (int, np.integer, np.bool_)) for i in index):
        raise IndexError(
            "a list of Tensors, lists or slices is ambiguous as an index: write x[tuple(index)] for one part for each "
            "dimension, x[torch.tensor(index)] for an index array"
        )
    return index


def _part(part: Any, input: Tensor) -> Any:
    """An integer, or a Tensor that is an index array or mask, from whatever else may stand in an index."""
    if is_tensor(part):
        if part.array.dtype in (int8, int16) and part.array.ndim:
            raise IndexError(
                f"tensors used as indices must be int64, int32, uint8 or bool tensors, got {part.array.dtype}"
            )
        return _checked(part)
    if isinstance(part, (bool, np.bool_)):
        return wrap(np.asarray(part))
    if isinstance(part, (list, tuple, range)):
        return _checked(wrap(_index_array(part)))
    if as_array(part) is part:
        return _checked(as_input(part, input))
    try:
        return operator.index(part)
    except TypeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None, Tensors and lists of integers or bools are valid "
            f"indices, got {type(part).__name__}"
        ) from None


def _checked(index: Tensor) -> Any:
    """A Tensor that is an index array or a mask, or the integer in a Tensor without dimensions."""
    dtype = index.array.dtype
    if dtype is int64 and index.array.ndim:
        return index
    if dtype.kind not in "iub":
        raise IndexError(f"tensors used as indices must be integer or bool tensors, got {dtype}")
    if dtype == uint8:
        return ne(index, 0)  # a mask, as in PyTorch, which once had no bool
    return index if index.array.ndim or dtype.kind == "b" else _number(index)


def _number(index: Tensor) -> Any:
    """The integer in a Tensor without dimensions; or the Tensor, where it is not known now.

    As in a compiled function, where it is another one at each call.
    """
    try:
        return operator.index(mode.run.read(index, "array"))
    except TypeError:
        return index


def _index_array(numbers: Any) -> Any:
    """An index array from a sequence of numbers, or from lists of them of one length."""
    parts = [mode.run.read(part, "array") if is_tensor(part) else part for part in numbers]
    if any(isinstance(part, tuple) or getattr(part, "ndim", 0) for part in parts):
        raise IndexError(
            "a sequence of Tensors, arrays or tuples cannot be a part of an index: make an index array of it with "
            "torch.stack() or torch.tensor()"
        )
    parts = [part.item() if isinstance(part, np.ndarray) else part for part in parts]
    try:
        parts = [part.item() if isinstance(part, np.ndarray) else part for part in parts]
        return np.asarray(parts, None if parts else int64)
    except ValueError:
        raise IndexError(f"the lists in an index must have one length, got {numbers}") from None


def index_arrays(indices: Any, input: Tensor) -> Arrays:
    """The index arrays and masks of index_put, where a Tensor without dimensions is an array too."""
    if not isinstance(indices, (tuple, list)) or not all(is_tensor(i) or type(i) is np.ndarray for i in indices):
        raise TypeError("index_put: indices must be a tuple of Tensors, one for each dimension")
    tensors = [as_input(index, input) for index in indices]
    checked = [_checked(tensor) for tensor in tensors]
    return tuple([tensor if type(part) is int else part for tensor, part in zip(tensors, checked, strict=True)])
