"""Histograms: how many elements lie between the edges of each bin. They have no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..dtypes import float32, float64
from ..engine.function import Function
from ..kernels.launch import empty, launched
from .common import Array, create, is_tensor

if TYPE_CHECKING:
    from ..tensor import Tensor


class BinEdges(Function):
    """e_b = low + (high - low) b / n for b = 0..n; where no range is given, from the smallest x to the largest"""

    examples = (
        (lambda t, x: t.histogram(x.detach().double(), 5).bin_edges.to(x.dtype), (3, 4)),
        (lambda t, x: t.histogram(x.detach().double(), bins=4, range=(-1, 1)).bin_edges.to(x.dtype), (3, 4)),
        (lambda t, x: t.histogram((x - x).detach().double(), 2).bin_edges.to(x.dtype), (3, 4)),
    )
    errors = (
        (lambda t, x: t.histogram(x, 0), (3,), RuntimeError, "bins must be > 0, but got 0"),
        (lambda t, x: t.histogram(x, 2.0), (3,), TypeError, "integer"),
        (lambda t, x: t.histogram(x, 2, range=(1.0, 0.0)), (3,), RuntimeError, "min should not exceed max"),
        (lambda t, x: t.histogram(x, 2, range=(0.0,)), (3,), RuntimeError, "range should have 2 elements, but got 1"),
        (lambda t, x: t.histogram(x / (x - x), 2), (3,), RuntimeError, "is not finite"),
        (lambda t, x: t.histogram(x, 2, range=(0.0, float("inf"))), (3,), RuntimeError, "[0.0, inf] is not finite"),
    )

    @staticmethod
    def forward(ctx: BinEdges, x: Array, bins: int, limits: tuple[float, float] | None) -> Any:
        edges = empty((bins + 1,), x.dtype)
        _space(x, limits, edges)
        return edges


@launched
def _space(x: Array, limits: tuple[float, float] | None, edges: Array) -> None:
    if limits is None:
        limits = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
    low, high = limits
    if not np.isfinite(limits).all():
        raise RuntimeError(f"histogram: the range [{low}, {high}] is not finite: give one, as range=(min, max)")
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges[:] = np.linspace(low, high, len(edges))


def _weighted(t: Any, x: Any, w: Any) -> Any:
    return t.histogram(x, 3, range=(-1.0, 1.0), weight=w).hist


def _over_edges(t: Any, x: Any) -> Any:
    return t.histogram(x, t.tensor([-1.0, 0.0, 0.5], dtype=x.dtype), density=True).hist


class Histogram(Function):
    """y_b = sum_i w_i [e_b <= x_i < e_(b+1)]; the last bin has its upper edge, too"""

    examples = (
        (lambda t, x: t.histogram(x.detach().double(), 5).hist.to(x.dtype), (3, 4)),
        (lambda t, x: x.detach().double().histogram(density=True).hist.to(x.dtype), (3, 4)),
        (lambda t, x, w: _weighted(t, x.detach().double(), w.detach().double()).to(x.dtype), (3, 4), (3, 4)),
        (lambda t, x: _over_edges(t, x.detach().double()).to(x.dtype), (3, 4)),
    )
    errors = (
        (lambda t, x: t.histogram(x.long(), 2), (3,), RuntimeError, "not implemented for"),
        (lambda t, x: t.histogram(x.half(), 2), (3,), RuntimeError, "not implemented for"),
        (lambda t, x: t.histogram([1.0, 2.0], 2), (3,), TypeError, "histogram"),
        (lambda t, x: t.histogram(x, x, range=(0.0, 1.0)), (3,), TypeError, "histogram"),
        (lambda t, x: t.histogram(x.float(), x.double()), (3,), RuntimeError, "same dtype"),
        (lambda t, x: t.histogram(x, t.ones(2, 2)), (3,), RuntimeError, "one dimension"),
        (lambda t, x: t.histogram(x, t.ones(1)), (3,), RuntimeError, "bins must be > 0, but got 0"),
        (lambda t, x: t.histogram(x, t.ones(0)), (3,), RuntimeError, "bins"),
        (lambda t, x: t.histogram(x, 2, weight=t.ones(2)), (3,), RuntimeError, "should have the same shape"),
        (lambda t, x: t.histogram(x.float(), 2, weight=x.double()), (3,), RuntimeError, "same dtype"),
        (
            lambda t, x: t.histogram(x, t.tensor([1.0, 0.0], dtype=x.dtype)),
            (3,),
            RuntimeError,
            "must not decrease",
            "PyTorch counts something",
        ),
    )

    @staticmethod
    def forward(ctx: Histogram, x: Array, edges: Array, weight: Array) -> Any:
        hist = empty((len(edges) - 1,), x.dtype)
        _count(x, edges, weight, hist)
        return hist


@launched
def _count(x: Array, edges: Array, weight: Array, hist: Array) -> None:
    if (edges[1:] < edges[:-1]).any():
        raise RuntimeError("histogram: the edges of the bins must not decrease")
    inside = (x >= edges[0]) & (x <= edges[-1])
    place = np.minimum(np.searchsorted(edges, x[inside], side="right") - 1, len(hist) - 1)
    hist[:] = np.bincount(place, weight[inside], len(hist))


class HistogramResult(NamedTuple):
    """What histogram returns."""

    hist: Tensor
    bin_edges: Tensor


def histogram(
    input: Tensor,
    bins: Any = 100,
    *,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> HistogramResult:
    """How many elements lie in each bin, (bins,), and the edges of the bins, (bins + 1,), in the input's dtype.

    bins is their number, over the given range or that of the elements, or a tensor of edges. A bin has its lower edge,
    and the last one both; elements outside of all bins, and NaN, are left out. With a weight, in the input's shape, the
    weights of the elements are summed instead; with density, the result is divided so that its integral is 1. Raises
    RuntimeError for dtypes other than float32 and float64, and where the shapes, bins or range do not fit.
    """
    if not is_tensor(input):
        raise TypeError(f"histogram: expected a Tensor, got {type(input).__name__}")
    if input.dtype not in (float32, float64):
        raise RuntimeError(f"histogram is not implemented for {input.dtype}: convert the input with .float()")
    edges = _edges(input, bins, range)
    if weight is None:
        shape, dtype = input.shape, input.dtype
        weight = create(lambda: np.ones(shape, dtype))
    elif weight.shape != input.shape or weight.dtype != input.dtype:
        raise RuntimeError(
            f"histogram: weight should have the same shape and the same dtype as the input, {input.dtype} "
            f"{tuple(input.shape)}, but got {weight.dtype} {tuple(weight.shape)}"
        )
    hist: Tensor = Histogram.apply(input, edges, weight)
    return HistogramResult(hist / hist.sum() / (edges[1:] - edges[:-1]) if density else hist, edges)


def _edges(input: Tensor, bins: Any, limits: Sequence[float] | None) -> Tensor:
    count = bins.numel() - 1 if is_tensor(bins) else index(bins)
    if count < 1:
        raise RuntimeError(f"histogram: bins must be > 0, but got {count}")
    if is_tensor(bins):
        if limits is not None:
            raise TypeError("histogram: give a range with a number of bins, not with their edges")
        if bins.ndim != 1 or bins.dtype != input.dtype:
            raise RuntimeError(
                f"histogram: the edges of the bins should have one dimension and the same dtype as the input, "
                f"{input.dtype}, but got {bins.dtype} {tuple(bins.shape)}"
            )
        return bins.detach().clone()
    if limits is not None:
        if len(limits) != 2:
            raise RuntimeError(f"histogram: range should have 2 elements, but got {len(limits)}")
        limits = (float(limits[0]), float(limits[1]))
        if limits[0] > limits[1]:
            raise RuntimeError(f"histogram: min should not exceed max, but got range {limits}")
    return BinEdges.apply(input, bins=count, limits=limits)
