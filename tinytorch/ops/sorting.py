"""Order: topk, sort, argsort. The elements are gathered, so that is where their gradients come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .common import array_of, normalize_dim, wrap
from .indexing import gather
from .reduction import ValuesIndices

if TYPE_CHECKING:
    from ..tensor import Tensor


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
    """The k largest (or smallest) elements along dim, in order, and their indices; the first of equals comes first."""
    dim = normalize_dim(dim, input.ndim)
    size = input.shape[dim] if input.ndim else 1
    if not 0 <= k <= size:
        raise RuntimeError(f"topk: selected index k out of range: k = {k}, dimension {dim} has size {size}")
    x = np.atleast_1d(array_of(input))
    order = np.moveaxis(_argsort(np.moveaxis(x, dim, -1), largest)[..., :k], -1, dim)
    order = order.reshape(input.shape) if input.ndim == 0 else order
    return ValuesIndices(gather(input, dim, order) if input.ndim else input.clone(), wrap(order))


def _argsort(x: Any, descending: bool) -> Any:
    """Stable order along the last axis; NaN counts as the largest."""
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")
    last = x.shape[-1] - 1
    return last - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = False) -> ValuesIndices:
    """The elements along dim in order, and the indices they came from. Equal ones keep their order, stable or not."""
    size = input.shape[normalize_dim(dim, input.ndim)] if input.ndim else 1
    return topk(input, size, dim, largest=descending)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The indices that sort along dim. Equal elements keep their order, stable or not."""
    return sort(input, dim, descending).indices
