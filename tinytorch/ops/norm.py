"""Norms of vectors, and what is built on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..dtypes import DTypeLike
from .common import Dims, in_float32, keyword_aliases, only_floating, promote
from .extremes import amax, amin

if TYPE_CHECKING:
    from ..tensor import Tensor


def norm(
    input: Tensor,
    p: float | str = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
    **aliases: Dims,
) -> Tensor:
    """(sum |input|^p)^(1/p), over all elements or some dimensions; "fro" is 2, inf the largest, 0 how many are not 0.

    The gradient at 0 is 0.
    """
    input = only_floating("norm", input if dtype is None else input.to(dtype))
    dim, keepdim = keyword_aliases(dim, keepdim, aliases)
    if isinstance(p, str) and p != "fro":
        raise ValueError(f"norm: p is a number or 'fro', got {p!r}")
    p = 2.0 if isinstance(p, str) else float(p)
    if math.isinf(p):
        dims = None if dim == () else dim
        return (amax if p > 0 else amin)(input.abs(), dims, keepdim)
    if p == 0:
        return (input != 0).to(input.dtype).sum(dim, keepdim)
    return in_float32(_norm, input, p=p, dim=dim, keepdim=keepdim)


def _norm(x: Tensor, p: float, dim: Dims, keepdim: bool) -> Tensor:
    if p == 1:
        return x.abs().sum(dim, keepdim)
    if p == 2:
        return _root((x * x).sum(dim, keepdim), 2)
    return _root(_power(x.abs(), p).sum(dim, keepdim), p)


# At 0 both powers may have an infinite derivative, and 0 times that would be NaN: there they are computed of 1, and
# what comes of it is not chosen.
def _root(x: Tensor, p: float) -> Tensor:
    inside = x.masked_fill(x == 0, 1.0)
    return (inside.sqrt() if p == 2 else inside ** (1 / p)).masked_fill(x == 0, 0.0 if p > 0 else math.inf)


def _power(x: Tensor, p: float) -> Tensor:
    return (x.masked_fill(x == 0, 1.0) ** p).masked_fill(x == 0, 0.0 if p > 0 else math.inf)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Vectors along dim divided by their norm, or by eps if that is larger."""
    only_floating("normalize", input)
    return in_float32(lambda x: x / norm(x, p, dim, keepdim=True).clamp(min=eps), input)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along dim, broadcast; a norm below eps counts as eps."""
    a, b = promote(x1, x2)
    only_floating("cosine_similarity", a)
    shape = np.broadcast_shapes(a.array.shape, b.array.shape)

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        a, b = [x / norm(x, 2, dim, keepdim=True).clamp(min=eps) for x in (a.expand(shape), b.expand(shape))]
        return (a * b).sum(dim)

    return in_float32(cosine, a, b)

