"""Writing and adding at the places that an index names along one dimension, or at the diagonal of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.tensor import wrap
from ..kernels.launch import check_bounds
from .arithmetic import times
from .common import Array, as_input, elements_of, is_tensor, normalize_dim
from .elementwise import cast, masked_fill
from .gathering import check_index, with_dims
from .indexing import IndexAssign, Scatter, index_put
from .subscripts import ARRAY

if TYPE_CHECKING:
    from ..tensor import Tensor


def scatter(input: Tensor, dim: int, index: Tensor | Array, src: Any = None, *, value: Any = None) -> Tensor:
    """A copy of input with src[i][j], or one number, at the place [index[i][j]][j] for dim 0, and likewise for any dim.

    Where an index names a place twice, one of the two elements of src is written there, and, as in PyTorch, both get
    its gradient.
    """
    dim = normalize_dim(dim, input.ndim)
    index = as_input(index, input)
    src = value if src is None else src
    if not is_tensor(src):
        src, shaped = cast("scatter", src, input.dtype), None
    elif src.dtype != input.dtype:
        raise RuntimeError(f"scatter: the input is {input.dtype}, src {src.dtype}: convert it with .to()")
    else:
        src = shaped = with_dims(src)
    if not index.array.size:
        return input.clone()
    check_index("scatter", index, input, dim, shaped)
    index, x = with_dims(index), with_dims(input)
    sizes = index.array.shape
    check_bounds("scatter: index", elements_of(index), x.shape[dim], "places", RuntimeError)
    grid: list[Any] = [wrap(places) for places in np.ogrid[tuple(slice(n) for n in sizes)]]
    grid[dim] = index
    if shaped is not None and src.array.shape != sizes:
        src = src[tuple(slice(n) for n in sizes)]
    written = IndexAssign.apply(x, src, *grid, layout=(ARRAY,) * x.ndim)
    return written if input.ndim else written.reshape(())


def index_add(input: Tensor, dim: int, index: Tensor | Array, source: Tensor, *, alpha: float = 1) -> Tensor:
    """A copy of input to whose slices of dim at an index (a vector) those of source, times alpha, are added."""
    dim, index = _slices("index_add", input, dim, index)
    if source.dtype != input.dtype:
        raise RuntimeError(f"index_add: the input is {input.dtype}, source {source.dtype}: convert it with .to()")
    x, source = with_dims(input), with_dims(source)
    expected = (*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :])
    if tuple(source.shape) != expected:
        raise RuntimeError(f"index_add: expected a source of shape {expected}, got {tuple(source.shape)}")
    check_bounds("index_add: index", elements_of(index), x.shape[dim], "slices")
    layout = (slice(None),) * dim + (ARRAY,)
    scaled = source if alpha == 1 else times(source, alpha)
    added = x + Scatter.apply(scaled, index, layout=layout, shape=tuple(x.shape))
    return added if input.ndim else added.reshape(())


def index_fill(input: Tensor, dim: int, index: Tensor | Array, value: Any) -> Tensor:
    """A copy of input with a number, or a 0-d Tensor, in the slices of dim at an index (a vector); -1 is the last."""
    dim, index = _slices("index_fill", input, dim, index)
    if is_tensor(value) and value.ndim:
        raise RuntimeError(f"index_fill: expected a 0-d value, got shape {tuple(value.shape)}")
    x = with_dims(input)
    size = x.shape[dim]
    # As a mask, since a place that the index names twice counts once in the gradient of the value.
    named = IndexAssign.apply(wrap(np.zeros(size, np.bool_)), wrap(np.True_), index, layout=(ARRAY,))
    filled = masked_fill(x, named.reshape(size, *(1,) * (x.ndim - dim - 1)), value)
    return filled if input.ndim else filled.reshape(())


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix that is 0 elsewhere; of a matrix, its diagonal, copied."""
    if input.ndim not in (1, 2):
        raise RuntimeError(f"diag: expected a vector or a matrix, got shape {tuple(input.shape)}")
    below, right = max(-diagonal, 0), max(diagonal, 0)
    if input.ndim == 2:
        length = max(0, min(input.shape[0] - below, input.shape[1] - right))
        return input[wrap(np.arange(length) + below), wrap(np.arange(length) + right)]
    size = input.shape[0] + abs(diagonal)
    places = np.arange(input.shape[0])
    zeros = wrap(np.zeros((size, size), input.dtype))
    return index_put(zeros, (wrap(places + below), wrap(places + right)), input)


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, got shape {tuple(input.shape)}")
    return diag(input).sum()


def _slices(what: str, input: Tensor, dim: int, index: Any) -> tuple[int, Tensor]:
    """The dimension counted from the front, and a vector of places along it."""
    dim = normalize_dim(dim, input.ndim)
    index = as_input(index, input)
    if index.dtype.kind not in "iu" or index.dtype.itemsize < 4:
        raise RuntimeError(f"{what}: expected an index of int32 or int64, got {index.dtype}")
    if index.ndim > 1:
        raise IndexError(f"{what}: index is supposed to be a vector, got shape {tuple(index.shape)}")
    return dim, with_dims(index)
