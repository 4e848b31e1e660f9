"""The same elements several times: repeat, tile, repeat_interleave, meshgrid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.function import Function
from ..engine.tensor import wrap
from ..kernels.launch import launched
from .broadcasting import expand
from .common import Array, is_tensor, normalize_dim, sizes, whole
from .indexing import Index
from .shape import reshape, transpose, unsqueeze
from .subscripts import ARRAY

if TYPE_CHECKING:
    from ..tensor import Tensor


def repeat(input: Tensor, *repeats: int | Sequence[int]) -> Tensor:
    """Copies side by side: the given number along each dimension, new dimensions first."""
    times = sizes(repeats)
    extra = len(times) - input.ndim
    if extra < 0:
        raise RuntimeError(f"repeat: {len(times)} repeats for a tensor of {input.ndim} dimensions: give one for each")
    if min(times, default=0) < 0:
        raise RuntimeError(f"repeat: repeats can not be negative, got {times}")
    shape = (1,) * extra + tuple(input.shape)
    between = tuple(n for size in shape for n in (1, size))
    wide = tuple(n for k, size in zip(times, shape, strict=True) for n in (k, size))
    copied = expand(reshape(input, between), wide).clone()
    return whole(reshape(copied, [k * n for k, n in zip(times, shape, strict=True)]))


def tile(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """As repeat, but fewer repeats than dimensions apply to the last ones."""
    times = sizes(dims)
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


class Repeated(Function):
    """Each of a row of places as many times as its count says"""

    examples = ((lambda t, x: t.repeat_interleave(t.tensor([2, 3]) + 0 * x.long()), (2,)),)
    errors = (
        (lambda t, x: x.repeat_interleave(t.tensor([1, -1, 1])), (3,), RuntimeError, "can not be negative, got -1"),
        (lambda t, x: x.repeat_interleave(t.tensor([1, 2])), (3,), RuntimeError, "one or as many as the 3"),
        (lambda t, x: x.repeat_interleave(x), (3,), RuntimeError, "must be integers"),
    )

    @staticmethod
    def forward(ctx: Repeated, places: Array, counts: Array) -> Any:
        _check_counts(counts)
        return places.repeat(counts)


@launched
def _check_counts(counts: Array) -> None:
    if counts.min(initial=0) < 0:
        raise RuntimeError(f"repeat_interleave: repeats can not be negative, got {counts.min()}")


def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Repeat each element (or each slice of a dimension) in a row, by one number or by a tensor with one for each.

    Without `repeats` the input is these numbers, and the result is 0, 1, 2, ... repeated by them. output_size, if
    given, must be the size of the result.
    """
    if repeats is None:
        places = wrap(np.arange(input.shape[0] if input.ndim else 1))
        return repeat_interleave(places, input, 0, output_size=output_size)
    if dim is None:
        input, dim = reshape(input, -1), 0
    elif not input.ndim:
        input = reshape(input, 1)
    dim = normalize_dim(dim, input.ndim)
    shape, lead = tuple(input.shape), (slice(None),) * dim
    if isinstance(repeats, int):
        if repeats < 0:
            raise RuntimeError(f"repeat_interleave: repeats can not be negative, got {repeats}")
        copied = expand(unsqueeze(input, dim + 1), (*shape[: dim + 1], repeats, *shape[dim + 1 :])).clone()
        result = whole(reshape(copied, (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :])))
    else:
        places = Repeated.apply(wrap(np.arange(shape[dim])), _counts(repeats, shape[dim]))
        result = Index.apply(input, places, layout=(*lead, ARRAY))
    if output_size is not None and result.shape[dim] != output_size:
        raise RuntimeError(f"repeat_interleave: output_size is {output_size}, but {result.shape[dim]} come out")
    return result


def _counts(repeats: Any, size: int) -> Tensor:
    """How many times each, from a tensor of integers."""
    if not is_tensor(repeats):
        raise TypeError(f"repeat_interleave: repeats must be an int or a Tensor, got {type(repeats).__name__}")
    counts: Tensor = repeats
    if counts.dtype.kind not in "iu" or counts.ndim > 1 or counts.array.size not in (1, size):
        raise RuntimeError(
            f"repeat_interleave: repeats must be integers, one or as many as the {size} of the dimension, got "
            f"{counts.dtype} {tuple(counts.shape)}"
        )
    return counts


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinate grids from vectors (or numbers) of one dtype, as views: the i-th varies along dimension i.

    indexing="xy" swaps the first two dimensions of all.
    """
    if len(tensors) == 1 and isinstance(tensors[0], Sequence):
        tensors = tuple(tensors[0])
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty list of Tensors")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", got {indexing!r}')
    for x in tensors:
        if not is_tensor(x):
            raise TypeError(f"meshgrid: expected Tensors, got {type(x).__name__}")
        if x.ndim > 1 or x.dtype != tensors[0].dtype:
            raise RuntimeError(
                f"meshgrid: expected vectors of one dtype, got {x.dtype} {tuple(x.shape)} beside {tensors[0].dtype}"
            )
    shape = tuple([x.numel() for x in tensors])
    grids = [
        expand(reshape(x, [n if i == k else 1 for i, n in enumerate(shape)]), shape) for k, x in enumerate(tensors)
    ]
    return tuple([transpose(grid, 0, 1) if indexing == "xy" and len(shape) > 1 else grid for grid in grids])
