"""Counting and finding: of numbers that have no gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32, float64, int32, int64
from ..engine.function import Function
from .common import Array, Dims, is_tensor, promote, widened

if TYPE_CHECKING:
    from ..tensor import Tensor


class BinCount(Function):
    """y_k = how often x is k, or the sum of its weights there"""

    examples = ((lambda t, x: (x > 0).long().reshape(-1).bincount(minlength=3), (3, 4)),)
    errors = (
        (lambda t, x: x.bincount(), (3,), RuntimeError, "integers, got float"),
        (lambda t, x: x.long().bincount(), (3, 4), RuntimeError, "a vector of integers"),
        (lambda t: t.tensor([-1]).bincount(), RuntimeError, "non-negative integers"),
        (lambda t, x: (x > 9).long().bincount(x[:2]), (3,), RuntimeError, "weights for each"),
    )

    @staticmethod
    def forward(ctx: BinCount, x: Array, weights: Array | None, minlength: int) -> Any:
        if x.size and x.min() < 0:
            raise RuntimeError(f"bincount: expected non-negative integers, got {x.min()}")
        counts = np.bincount(x, weights, minlength)
        return counts if weights is None else counts.astype(weights.dtype if weights.dtype == float32 else float64)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each integer from 0 occurs in a vector, int64; with weights (like input), their sums."""
    if input.dtype.kind not in "iu" or input.ndim != 1:
        raise RuntimeError(f"bincount: expected a vector of integers, got {input.dtype} {tuple(input.shape)}")
    if minlength < 0:
        raise RuntimeError(f"bincount: minlength must not be negative, got {minlength}")
    if weights is not None:
        if weights.shape != input.shape:
            raise RuntimeError(
                f"bincount: expected weights for each of {tuple(input.shape)}, got {tuple(weights.shape)}"
            )
        weights = weights.detach()
    return BinCount.apply(input, weights, minlength=minlength)


class Unique(Function):
    """y = the different elements of x in order, where each x_i is among them, and how often it is there"""

    examples = ((lambda t, x: t.unique(x.detach().round(), return_inverse=True, return_counts=True), (3, 4)),)

    @staticmethod
    def forward(ctx: Unique, x: Array) -> Any:
        x, dtype = widened(x), x.dtype  # NumPy's order of bfloat16 goes wrong at NaN
        values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True, equal_nan=False)
        return values.astype(dtype), inverse.reshape(x.shape).astype(int64), counts.astype(int64)


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: None = None
) -> Any:
    """The different elements, sorted; if asked for, where each element of input is among them, and how often it occurs.

    They are sorted whatever `sorted` says. Slices along a dim cannot be compared.
    """
    if dim is not None:
        raise NotImplementedError("unique: slices along a dim cannot be compared here, only elements")
    values, inverse, counts = Unique.apply(input.detach())
    if not (return_inverse or return_counts):
        return values
    return (values, *[inverse] * return_inverse, *[counts] * return_counts)


class SearchSorted(Function):
    """y_i = how many elements of the sorted a are below v_i; with right, below or equal"""

    examples = (
        (lambda t, a, v: t.searchsorted(a.reshape(-1).sort().values, v), (5,), (3, 4)),
        (lambda t, a, v: t.searchsorted(a.reshape(-1).sort().values, v, right=True), (2, 5), (2, 3)),
    )
    errors = ((lambda t, a, v: t.searchsorted(a, v), (2, 5), (3, 4), RuntimeError, "(2, 5)"),)

    @staticmethod
    def forward(ctx: SearchSorted, a: Array, v: Array, right: bool) -> Any:
        side: Any = "right" if right else "left"
        a, v = widened(a), widened(v)
        if a.ndim == 1:
            return np.asarray(np.searchsorted(a, v, side), int64)
        places = np.empty(v.shape, int64)
        for row in np.ndindex(a.shape[:-1]):
            places[row] = np.searchsorted(a[row], v[row], side)
        return places


def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where each value would be inserted into a sorted vector, or rows of values into rows, to keep it sorted.

    Before equal elements; after them with right, or side="right". sorter gives the order of a sequence that is not
    sorted, as argsort does.
    """
    if side not in (None, "left", "right") or (right and side == "left"):
        raise RuntimeError(f"searchsorted: side must be 'left' or 'right', and agree with right, got {side!r}")
    if sorter is not None:
        sorted_sequence = sorted_sequence.take_along_dim(sorter, -1)
    if sorted_sequence.dtype.kind == "b":
        raise NotImplementedError("searchsorted is not implemented for bool")
    sequence, values = promote(sorted_sequence.detach(), input.detach() if is_tensor(input) else input)
    shape, rows = tuple(sequence.shape), tuple(values.shape)
    if len(shape) != 1 and (not shape or shape[:-1] != rows[:-1]):
        raise RuntimeError(f"searchsorted: the rows of a sequence {shape} do not fit those of the values {rows}")
    found = SearchSorted.apply(sequence, values, right=right or side == "right")
    return found.to(int32) if out_int32 else found


def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of boundaries (sorted) below each element; with right, below or equal."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not 0."""
    return (input.detach() != 0).sum(dim)
