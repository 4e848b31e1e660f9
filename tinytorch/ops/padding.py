"""Padding, with a constant or with a tensor's own elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.function import Function
from ..engine.tensor import wrap
from .common import Array, integers
from .indexing import Index
from .subscripts import ARRAY

if TYPE_CHECKING:
    from ..tensor import Tensor


class Pad(Function):
    """A constant put around x: (before, after) for each dimension; a negative number crops"""

    examples = (
        (lambda t, x: t.nn.functional.pad(x, (1, 2)), (3, 4)),
        (lambda t, x: t.nn.functional.pad(x, (0, 1, -1, 2), value=3.0), (3, 4)),
    )
    errors = (
        (lambda t, x: t.nn.functional.pad(x, (1,)), (3,), RuntimeError, "expected pairs for at most 1 dimensions"),
        (lambda t, x: t.nn.functional.pad(x, (1, 1, 1, 1)), (3,), RuntimeError, "expected pairs for at most 1"),
        (lambda t, x: t.nn.functional.pad(x, (-2, -2)), (3,), RuntimeError, "crops more than there is"),
        (lambda t, x: t.nn.functional.pad(x, (1.5, 1)), (3,), TypeError, "pad must be integers"),
        (lambda t, x: t.nn.functional.pad(x, (1, 1), "edge"), (3, 4), NotImplementedError, "unrecognised mode 'edge'"),
        (lambda t, x: t.nn.functional.pad(x, (4, 0), "reflect"), (3, 4), RuntimeError, "(4, 0) does not fit"),
        (lambda t, x: t.nn.functional.pad(x, (0, 5), "circular"), (3, 4), RuntimeError, "(0, 5) does not fit"),
        (lambda t, x: t.nn.functional.pad(x, (-3, -2), "replicate"), (3, 4), RuntimeError, "does not fit"),
        (lambda t, x: t.nn.functional.pad(x, (1, 1), "reflect", 2.0), (3, 4), RuntimeError, "takes no value, got 2.0"),
        (lambda t, x: t.nn.functional.pad(x, (1, 1), "reflect"), (3, 0), RuntimeError, "needs elements"),
        (lambda t, x: t.nn.functional.pad(x, (1, 1), "circular"), (3,), NotImplementedError, "one or two others"),
    )
    widths: tuple[tuple[int, int], ...]

    @staticmethod
    def forward(ctx: Pad, x: Array, widths: tuple[tuple[int, int], ...], value: float) -> Any:
        ctx.widths = widths
        cropped = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True))]
        return np.pad(cropped, [(max(a, 0), max(b, 0)) for a, b in widths], constant_values=value)

    # the gradient with what was added cropped, and zeros where x was cropped
    @staticmethod
    def backward(ctx: Pad, g: Tensor) -> Any:
        return Pad.apply(g, widths=tuple((-a, -b) for a, b in ctx.widths), value=0.0)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad the input: pad = (before, after) for the last dimension, then for the one before it, ...

    A negative number crops. mode "constant" adds the value, by default 0; "reflect" mirrors the elements at the
    outermost; "replicate" repeats the outermost; "circular" continues with the other side. The last three pad 1 to 3
    dimensions after one or two others (channels, a batch); "reflect" must add less than the dimension's size,
    "circular" no more. Raises RuntimeError if a size does not fit, NotImplementedError for other modes or dimensions.
    """
    ends = integers("pad", tuple(pad))
    if len(ends) % 2 or len(ends) > 2 * input.ndim:
        raise RuntimeError(f"pad: expected pairs for at most {input.ndim} dimensions, got {ends}")
    pairs = list(zip(ends[::2], ends[1::2], strict=True))[::-1]
    first = input.ndim - len(pairs)
    if mode == "constant":
        widths = ((0, 0),) * first + tuple(pairs)
        if any(min(a, 0) + min(b, 0) + n < 0 for n, (a, b) in zip(input.shape, widths, strict=True)):
            raise RuntimeError(f"pad: {ends} crops more than there is of shape {tuple(input.shape)}")
        return Pad.apply(input, widths=widths, value=0.0 if value is None else value)
    if mode not in _PLACES:
        raise NotImplementedError(f"pad: unrecognised mode {mode!r}: 'constant', 'reflect', 'replicate' or 'circular'")
    if value:
        raise RuntimeError(f"pad: mode {mode!r} takes no value, got {value}")
    if not 1 <= len(pairs) <= 3 or first not in (1, 2):
        raise NotImplementedError(
            f"pad: mode {mode!r} pads 1 to 3 dimensions behind one or two others, got {len(pairs)} of {input.ndim}"
        )
    if 0 in input.shape[first - 1 :]:
        raise RuntimeError(f"pad: mode {mode!r} needs elements, got shape {tuple(input.shape)}")
    for dim, (before, after) in enumerate(pairs, start=first):
        size = input.shape[dim]
        if size + before + after < 0 or max(before, after) > _most(mode, size):
            raise RuntimeError(
                f"pad: ({before}, {after}) does not fit dimension {dim} of shape {tuple(input.shape)} in mode {mode!r}"
            )
        if before or after:
            places = wrap(_PLACES[mode](size, before, after))
            input = Index.apply(input, places, layout=(slice(None),) * dim + (ARRAY,))
    return input


def _most(mode: str, size: int) -> float:
    """The largest padding: no element is mirrored or comes round twice."""
    return {"reflect": size - 1, "circular": size}.get(mode, math.inf)


def _reflected(size: int, before: int, after: int) -> Any:
    return size - 1 - np.abs(size - 1 - np.abs(np.arange(-before, size + after)))


def _replicated(size: int, before: int, after: int) -> Any:
    return np.clip(np.arange(-before, size + after), 0, size - 1)


def _circular(size: int, before: int, after: int) -> Any:
    kept = np.arange(max(-before, 0), size - max(-after, 0))  # of a cropped side nothing comes round
    return kept[np.arange(-max(before, 0), kept.size + max(after, 0)) % max(kept.size, 1)]


_PLACES = {"reflect": _reflected, "replicate": _replicated, "circular": _circular}
