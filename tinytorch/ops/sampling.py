"""Draws whose probabilities a Tensor holds: operations without gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..dtypes import is_floating
from ..engine.runner import untraced
from ..engine.tensor import wrap
from ..kernels.launch import launched
from ..random import Generator, generator_or_default
from .common import Array, elements_of, only_floating

if TYPE_CHECKING:
    from ..tensor import Tensor


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability in the input, else 0, in the input's dtype."""
    p, shape = elements_of(only_floating("bernoulli", input)), input.shape
    _check_probabilities(p)
    drawn = generator_or_default(generator).draw(lambda stream: stream.random(shape))
    return wrap((drawn < p).astype(p.dtype))


@launched
def _check_probabilities(p: Array) -> None:
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError("bernoulli: expected all probabilities to be between 0 and 1")


@untraced
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Indices drawn with probability proportional to the rows of input, (C,) or (N, C): int64 (..., num_samples).

    Raises RuntimeError for negative, infinite or NaN weights, rows without weight, and more samples
    than there are weights when drawing without replacement.
    """
    if input.ndim not in (1, 2) or not is_floating(input.dtype):
        raise RuntimeError(
            f"multinomial expects floating-point weights of 1 or 2 dimensions, got {input.dtype} {tuple(input.shape)}"
        )
    draw = generator_or_default(generator).draw
    weights = np.atleast_2d(input.array).astype(np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    total = weights.sum(axis=1, keepdims=True)
    if (total <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if num_samples < 1 or (not replacement and num_samples > (weights > 0).sum(axis=1).min(initial=num_samples)):
        raise RuntimeError(
            f"multinomial: cannot draw {num_samples} samples from {weights.shape[1]} weights without replacement"
        )
    if replacement or num_samples == 1:
        # The first index where the running sum exceeds a uniform number, so a weight of 0 is never drawn.
        draws = draw(lambda stream: stream.random((len(weights), num_samples))) * total
        running = np.cumsum(weights, axis=1)
        indices = (
            np.stack([np.searchsorted(row, draw, side="right") for row, draw in zip(running, draws, strict=True)])
            if len(weights)
            else np.zeros((0, num_samples), np.int64)
        )
        last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
        indices = np.minimum(indices, last[:, None])
    else:
        # The winners of an exponential race: Efraimidis and Spirakis 2006.
        with np.errstate(divide="ignore"):
            keys = draw(lambda stream: stream.standard_exponential(weights.shape)) / weights
        indices = np.argsort(keys, axis=1)[:, :num_samples]
    return wrap(indices.astype(np.int64).reshape(*input.shape[:-1], num_samples))
