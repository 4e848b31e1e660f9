"""Order: topk, sort, argsort. The elements are gathered, and `gather` gives their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.function import Function
from .common import Array, normalize_dim, widened
from .extremes import ValuesIndices
from .gathering import gather

if TYPE_CHECKING:
    from ..tensor import Tensor


class ArgSort(Function):
    """y = the indices of the k smallest (if descending, largest) elements of x along dim, in order"""

    examples = (
        (lambda t, x: x.argsort(1), (3, 4)),
        (lambda t, x: t.sort(x, stable=True, dim=0, descending=True).indices, (3, 4)),
    )
    errors = (
        (lambda t, x: x.topk(5), (3, 4), RuntimeError, "k out of range: k = 5, dimension 1 has size 4"),
        (lambda t, x: x.argsort(2), (3, 4), IndexError, "Dimension out of range"),
    )

    @staticmethod
    def forward(ctx: ArgSort, x: Array, k: int, dim: int, descending: bool) -> Any:
        rows = np.moveaxis(np.atleast_1d(x), dim, -1)
        order = np.moveaxis(_argsort(rows, descending)[..., :k], -1, dim)
        return order if x.ndim else order.reshape(())


def _argsort(x: Array, descending: bool) -> Array:
    """Stable order along the last axis; NaN counts as the largest, which NumPy does not know of bfloat16."""
    x = widened(x)
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")
    last = x.shape[-1] - 1
    return last - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
    """The k largest (or smallest) elements along dim, in order, and their indices. Equal elements keep their order."""
    dim = normalize_dim(dim, input.ndim)
    size = input.shape[dim] if input.ndim else 1
    if not 0 <= k <= size:
        raise RuntimeError(f"topk: selected index k out of range: k = {k}, dimension {dim} has size {size}")
    order = ArgSort.apply(input, k=k, dim=dim, descending=largest)
    return ValuesIndices(gather(input, dim, order) if input.ndim else input.clone(), order)


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = False) -> ValuesIndices:
    """The elements along dim in order, and the indices they came from. Equal elements always keep their order."""
    size = input.shape[normalize_dim(dim, input.ndim)] if input.ndim else 1
    return topk(input, size, dim, largest=descending)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The indices that sort along dim. Equal elements always keep their order."""
    return sort(input, dim, descending).indices
