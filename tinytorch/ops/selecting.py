"""Parts of a tensor by a dimension and a place, a mask, or an index array: functions of Index and Gather."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.tape import launch
from .common import array_of, as_array, is_tensor, normalize_dim, wrap
from .indexing import Index, gather, getitem, with_dims

if TYPE_CHECKING:
    from ..tensor import Tensor


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The coordinates of the elements that are not zero: int64 (n, ndim), or with as_tuple a tuple of ndim times (n,).

    As a tuple it is an index of those elements; a tensor without dimensions has one coordinate there.
    """
    x = array_of(input)
    if not as_tuple:
        return wrap(np.argwhere(x))
    return tuple([wrap(places) for places in np.nonzero(x if x.ndim else x.reshape(1))])


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice of dim at one index, without that dimension."""
    return getitem(input, (slice(None),) * normalize_dim(dim, input.ndim) + (index,))


def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """A stretch of a dimension, as a view. start, also an integer Tensor, counts from the end where it is negative."""
    if not input.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor")
    if is_tensor(start):
        if start.ndim or start.dtype.kind not in "iu":
            raise RuntimeError(
                f"narrow: start must be an 0-dim integral Tensor, got {start.dtype} {tuple(start.shape)}"
            )
        start = int(start)
    for name, value in (("start", start), ("length", length)):
        if isinstance(value, bool):
            raise TypeError(f"narrow: {name} must be an int, not bool")
    dim = normalize_dim(dim, input.ndim)
    size = input.shape[dim]
    if length < 0:
        raise RuntimeError(f"narrow: length must be non-negative, got {length}")
    if not -size <= start <= size:
        raise IndexError(f"narrow: start out of range (expected to be in range of [{-size}, {size}], but got {start})")
    start = start + size if start < 0 else start
    if start + length > size:
        raise RuntimeError(f"narrow: {start} + {length} exceeds dimension size {size}")
    return getitem(input, (slice(None),) * dim + (slice(start, start + length),))


def index_select(input: Tensor, dim: int, index: Any) -> Tensor:
    """The slices of dim named by a one-dimensional index (integers)."""
    index = as_array(index)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"index_select: expected an integer index, got {index.dtype}")
    if index.ndim > 1:
        raise IndexError(f"index_select: index is supposed to be a vector, got shape {index.shape}")
    if not input.ndim and index.size != 1:
        raise RuntimeError(f"index_select: a tensor without dimensions has one slice, the index names {index.size}")
    dim = normalize_dim(dim, input.ndim)
    size = input.shape[dim] if input.ndim else 1
    if index.size:
        launch(_check_range, index, size)
    chosen = Index.apply(with_dims(input), index=(slice(None),) * dim + (index.reshape(-1),))
    return chosen if input.ndim else chosen.reshape(())


def _check_range(index: Any, size: int) -> None:
    if index.min() < 0 or index.max() >= size:
        raise IndexError(f"index_select: index {index.min()}..{index.max()} is out of range for size {size}")


def masked_select(input: Tensor, mask: Any) -> Tensor:
    """The elements where the mask (bool, broadcast) holds, as a vector."""
    mask = as_array(mask)
    if mask.dtype.kind != "b":
        raise RuntimeError(f"masked_select: expected a bool mask, got {mask.dtype}")
    try:
        shape = np.broadcast_shapes(mask.shape, tuple(input.shape))
    except ValueError:
        raise RuntimeError(f"masked_select: mask {mask.shape} does not broadcast with {tuple(input.shape)}") from None
    return Index.apply(with_dims(input.expand(shape)), index=(np.broadcast_to(mask, shape or (1,)),))


def take_along_dim(input: Tensor, indices: Any, dim: int | None = None) -> Tensor:
    """As gather, with index and input broadcast against each other in the other dimensions; negative ones count from
    the end. Without dim, of the flattened tensor, a vector."""
    index = as_array(indices)
    if dim is None:
        return gather(input.reshape(-1), 0, index.reshape(-1))
    dim = normalize_dim(dim, input.ndim)
    if index.ndim != input.ndim:
        raise RuntimeError(f"take_along_dim: the index has {index.ndim} dimensions, the input {input.ndim}")
    others = [tuple([1 if d == dim else n for d, n in enumerate(shape)]) for shape in (index.shape, tuple(input.shape))]
    try:
        shape = list(np.broadcast_shapes(*others))
    except ValueError:
        raise RuntimeError(
            f"take_along_dim: the index {index.shape} does not broadcast with {tuple(input.shape)} outside of dim {dim}"
        ) from None
    if not shape:
        return gather(input, 0, index)
    size = input.shape[dim]
    index = np.broadcast_to(index, [*shape[:dim], index.shape[dim], *shape[dim + 1 :]])
    return gather(input.expand([*shape[:dim], size, *shape[dim + 1 :]]), dim, np.where(index < 0, index + size, index))
