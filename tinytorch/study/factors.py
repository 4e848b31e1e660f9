"""The derivative of a product by one factor is the other: which element of which value that is."""

from __future__ import annotations

import numpy as np

from ..ops.arithmetic import Mul
from ..ops.broadcasting import Expand
from ..ops.indexing import Slice
from ..ops.linalg import Matmul
from ..ops.shape import Alias, Permute, Reshape, Transpose, View
from .steps import Step, Value

Index = tuple[int, ...]

_VIEWS = (Alias, Expand, Permute, Reshape, Slice, Transpose, View)


def is_product(step: Step) -> bool:
    """Whether it is one, of numbers or of matrices."""
    return step.operation in (Mul, Matmul)


def other_factor(step: Step, place: int, index: Index, at: Index) -> tuple[Value, Index] | None:
    """The element that is dy/dx, for an element x of an input and y of the output; None where it is no product."""
    if not is_product(step):
        return None
    own, other = step.inputs[place], step.inputs[1 - place]
    if own is None or other is None:
        return None
    if step.operation is Mul:
        return _source(other, _broadcast(at, other.shape))
    transposed = step.settings.get("a_transposed", False), step.settings.get("b_transposed", False)
    summed_last = (place == 0) is not transposed[place]  # where the dimension lies that is summed over
    k = index[-1 if summed_last else -2]
    place_in_other = (k, at[-1]) if place == 0 else (at[-2], k)
    if transposed[1 - place]:
        place_in_other = place_in_other[::-1]
    return _source(other, (*_broadcast(at[:-2], other.shape[:-2]), *place_in_other))


def _broadcast(at: Index, shape: tuple[int, ...]) -> Index:
    """The index of what is broadcast to the element at an index."""
    return tuple([0 if size == 1 else i for i, size in zip(at[len(at) - len(shape) :], shape, strict=True)])


def _source(value: Value, index: Index) -> tuple[Value, Index]:
    """Through views that have no name of their own, to what they are views of."""
    while value.step is not None and value.step.operation in _VIEWS and not value.given:
        source = value.step.inputs[0]
        if source is None:
            break
        numbers = np.arange(source.array.size).reshape(source.shape)
        operation = value.step.operation
        flat = int(operation.forward(operation(), numbers, **value.step.settings)[index])
        index = tuple([int(i) for i in np.unravel_index(flat, source.shape)])
        value = source
    return value, index
