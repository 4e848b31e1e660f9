"""layer_norm and rms_norm against NumPy in float64: shapes, options, large means, backwards, exact bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinytorch.kernels.normalization import (
    layer_norm,
    layer_norm_backward,
    plain_layer_norm,
    rms_norm,
    rms_norm_backward,
)
from tinytorch.kernels.threads import get_num_threads, set_num_threads

Array = npt.NDArray[np.floating]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
EPS = 1e-5
dtypes = st.sampled_from([np.float32, np.float64])
shapes = st.tuples(st.integers(0, 70), st.one_of(st.integers(1, 70), st.sampled_from([127, 384, 1000])))


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)


def reference_layer(x: Array, w: Any, b: Any) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPS) * w + b


def reference_rms(x: Array, w: Any) -> Array:
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS) * w


def numeric(function: Callable[[Array], Array], at: Array, direction: Array, cotangent: Array) -> float:
    """The derivative of sum(cotangent * function) at a point, along a direction, by central differences."""
    h = 1e-6
    return float((cotangent * (function(at + h * direction) - function(at - h * direction))).sum() / (2 * h))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 33), (2, 200)])
def test_what_the_plain_loop_says(shape: tuple[int, int], dtype: Any) -> None:
    rng = np.random.default_rng(sum(shape))
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in (shape, shape[1], shape[1]))
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for ours, exact in zip(layer_norm(x, w, b, EPS), plain_layer_norm(x, w, b, EPS), strict=True):
        np.testing.assert_allclose(ours, exact, **near)


@given(shapes, dtypes, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_forward(shape: tuple[int, int], dtype: Any, has_weight: bool, has_bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in (shape, shape[1], shape[1]))
    x64 = x.astype(np.float64)
    y, mean, rstd = layer_norm(x, w if has_weight else None, b if has_bias else None, EPS)
    expected = reference_layer(x64, w if has_weight else 1, b if has_bias else 0)
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype] * 10}
    np.testing.assert_allclose(y, expected, **near)
    np.testing.assert_allclose(mean, x64.mean(axis=1), **near)
    np.testing.assert_allclose(rstd, (x64.var(axis=1) + EPS) ** -0.5, rtol=1e-3 if dtype is np.float32 else 1e-9)
    assert y.dtype == mean.dtype == rstd.dtype == dtype
    y, rstd = rms_norm(x, w if has_weight else None, EPS)
    np.testing.assert_allclose(y, reference_rms(x64, w if has_weight else 1), **near)
    assert y.dtype == rstd.dtype == dtype


@given(shapes, st.integers(0, 2**32 - 1))
def test_backward_is_the_derivative(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, grad, along = rng.standard_normal((3, *shape))
    w, b, along_w, along_b = rng.standard_normal((4, shape[1]))
    assume(shape[1] >= 3)  # else the variance may be near 0: no central difference is good enough there
    _, mean, rstd = layer_norm(x, w, b, EPS)
    dx, dw, db = layer_norm_backward(grad, x, w, mean, rstd)
    near = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose((dx * along).sum(), numeric(lambda v: reference_layer(v, w, b), x, along, grad), **near)
    np.testing.assert_allclose(
        (dw * along_w).sum(), numeric(lambda v: reference_layer(x, v, b), w, along_w, grad), **near
    )
    np.testing.assert_allclose(
        (db * along_b).sum(), numeric(lambda v: reference_layer(x, w, v), b, along_b, grad), **near
    )
    _, rstd = rms_norm(x, w, EPS)
    dx, dw = rms_norm_backward(grad, x, w, rstd)
    np.testing.assert_allclose((dx * along).sum(), numeric(lambda v: reference_rms(v, w), x, along, grad), **near)
    np.testing.assert_allclose((dw * along_w).sum(), numeric(lambda v: reference_rms(x, v), w, along_w, grad), **near)


@pytest.mark.parametrize("shape", [(5, 7), (300, 129)])
def test_float32_backward_agrees_with_float64(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((2, *shape)).astype(np.float32)
    w = rng.standard_normal(shape[1]).astype(np.float32)
    x64, grad64, w64 = (a.astype(np.float64) for a in (x, grad, w))
    for weight, weight64 in ((w, w64), (None, None)):
        got = layer_norm_backward(grad, x, weight, *layer_norm(x, weight, None, EPS)[1:])
        expected = layer_norm_backward(grad64, x64, weight64, *layer_norm(x64, weight64, None, EPS)[1:])
        got += rms_norm_backward(grad, x, weight, rms_norm(x, weight, EPS)[1])
        expected += rms_norm_backward(grad64, x64, weight64, rms_norm(x64, weight64, EPS)[1])
        for a, e in zip(got, expected, strict=True):
            assert a is not None
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [3, 400])
def test_only_what_is_needed(rows: int) -> None:
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((2, rows, 100))
    w = rng.standard_normal(100)
    _, mean, rstd = layer_norm(x, w, w, EPS)
    full = layer_norm_backward(grad, x, w, mean, rstd)
    full_rms = rms_norm_backward(grad, x, w, rstd)
    for mask in range(8):
        need = [bool(mask & bit) for bit in (1, 2, 4)]
        for part, whole, needed in zip(layer_norm_backward(grad, x, w, mean, rstd, *need), full, need, strict=True):
            assert (part is None) is not needed
            if needed:
                np.testing.assert_array_equal(part, whole)
        for part, whole, needed in zip(rms_norm_backward(grad, x, w, rstd, *need[:2]), full_rms, need[:2], strict=True):
            assert (part is None) is not needed
            if needed:
                np.testing.assert_array_equal(part, whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_mean_and_constant_rows(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = (1000 + rng.standard_normal((20, 512))).astype(dtype)
    y, _, _ = layer_norm(x, None, None, EPS)
    np.testing.assert_allclose(y, reference_layer(x.astype(np.float64), 1, 0), atol=2e-4)
    constant = np.full((2, 50), 7, dtype)
    y, mean, rstd = layer_norm(constant, None, None, EPS)
    np.testing.assert_array_equal(y, 0)
    dx, _, _ = layer_norm_backward(rng.standard_normal((2, 50)).astype(dtype), constant, None, mean, rstd)
    assert np.isfinite(dx).all()


def test_nan_stays_in_its_row_and_empty_arrays_work() -> None:
    x = np.random.default_rng(0).standard_normal((4, 37)).astype(np.float32)
    x[1, 5] = np.nan
    x[2, 5] = np.inf
    for y in (layer_norm(x, None, None, EPS)[0], rms_norm(x, None, EPS)[0]):
        assert np.isfinite(y[[0, 3]]).all()
        assert np.isnan(y[1]).all()
        assert np.isnan(y[2]).any()
    for shape in ((0, 5), (3, 0), (0, 0)):
        empty = np.empty(shape)
        y, mean, rstd = layer_norm(empty, None, None, EPS)
        dx, dw, db = layer_norm_backward(empty, empty, None, mean, rstd)
        assert (y.shape, dx.shape, mean.shape) == (shape, shape, shape[:1])
        np.testing.assert_array_equal(dw, np.zeros(shape[1]))
        np.testing.assert_array_equal(db, np.zeros(shape[1]))
        dx, dw = rms_norm_backward(empty, empty, None, rms_norm(empty, None, EPS)[1])
        assert (dx.shape, dw.shape) == (shape, shape[1:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((2, 1001, 131)).astype(dtype)
    w, b = rng.standard_normal((2, 131)).astype(dtype)
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        y, mean, rstd = layer_norm(x, w, b, EPS)
        z, rms = rms_norm(x, w, EPS)
        results.append([y, z, *layer_norm_backward(grad, x, w, mean, rstd), *rms_norm_backward(grad, x, w, rms)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
