"""Leaky ReLU, GELU, SiLU, SwiGLU and erf against NumPy in float64: values, derivatives, extremes, exact bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.kernels.activation import (
    erf,
    gelu,
    gelu_backward,
    leaky_relu,
    leaky_relu_backward,
    silu,
    silu_backward,
    swiglu,
    swiglu_backward,
)
from tinytorch.kernels.threads import get_num_threads, set_num_threads

Array = npt.NDArray[np.floating]
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-14}
dtypes = st.sampled_from([np.float32, np.float64])
sizes = st.one_of(st.integers(0, 100), st.sampled_from([8191, 8192, 8193, 16390, 50001]))
_erf = np.vectorize(math.erf, otypes=[np.float64])


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)


def reference_gelu(x: Array, tanh: bool) -> Array:
    if tanh:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def reference_silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def derivative(function: Callable[[Array], Array], x: Array) -> Array:
    """Central differences of fourth order, accurate to about 1e-11."""
    h = 1e-3
    near, far = function(x + h) - function(x - h), function(x + 2 * h) - function(x - 2 * h)
    return (8 * near - far) / (12 * h)


def draw(seed: int, size: int, dtype: Any, count: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(size) * 3).astype(dtype) for _ in range(count)]


@given(sizes, dtypes, st.integers(0, 2**32 - 1))
def test_forward(size: int, dtype: Any, seed: int) -> None:
    x, up = draw(seed, size, dtype, 2)
    wide, wide_up = x.astype(np.float64), up.astype(np.float64)
    for got, expected in (
        (gelu(x), reference_gelu(wide, False)),
        (gelu(x, True), reference_gelu(wide, True)),
        (silu(x), reference_silu(wide)),
        (swiglu(x, up), reference_silu(wide) * wide_up),
        (erf(x), _erf(wide)),
    ):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@given(sizes, dtypes, st.integers(0, 2**32 - 1))
def test_backward_is_the_derivative(size: int, dtype: Any, seed: int) -> None:
    grad, x, up = draw(seed, size, dtype, 3)
    g, wide, wide_up = (a.astype(np.float64) for a in (grad, x, up))
    dgate, dup = swiglu_backward(grad, x, up)
    slope = derivative(reference_silu, wide)
    for got, expected in (
        (gelu_backward(grad, x), g * derivative(lambda v: reference_gelu(v, False), wide)),
        (gelu_backward(grad, x, True), g * derivative(lambda v: reference_gelu(v, True), wide)),
        (silu_backward(grad, x), g * slope),
        (dgate, g * wide_up * slope),
        (dup, g * reference_silu(wide)),
    ):
        assert got.dtype == dtype
        tolerance = 1e-5 if dtype is np.float32 else 1e-9
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tanh", [False, True])
def test_extremes(dtype: Any, tanh: bool) -> None:
    info = np.finfo(dtype)
    x = np.array([1e4, -1e4, np.sqrt(info.max), -np.sqrt(info.max), info.max, 0, info.smallest_subnormal], dtype)
    one = np.ones_like(x)
    np.testing.assert_array_equal(gelu(x, tanh)[:6], [x[0], 0, x[2], 0, x[4], 0])
    np.testing.assert_allclose(gelu_backward(one, x, tanh), [1, 0, 1, 0, 1, 0.5, 0.5])
    np.testing.assert_array_equal(silu(x)[:6], [x[0], 0, x[2], 0, x[4], 0])
    np.testing.assert_allclose(silu_backward(one, x), [1, 0, 1, 0, 1, 0.5, 0.5])
    with_nan = np.array([np.nan, 1], dtype)
    for y in (
        gelu(with_nan, tanh),
        gelu_backward(np.ones(2, dtype), with_nan, tanh),
        silu(with_nan),
        silu_backward(np.ones(2, dtype), with_nan),
        erf(with_nan),
    ):
        assert np.isnan(y[0])
        assert np.isfinite(y[1])


def test_shapes_are_kept() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5))
    grad = np.random.default_rng(1).standard_normal((2, 3, 5))
    for y in (gelu(x), gelu_backward(grad, x), silu(x), silu_backward(grad, x), swiglu(x, grad), erf(x)):
        assert y.shape == x.shape
    np.testing.assert_array_equal(gelu(x).ravel(), gelu(x.ravel()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype: Any) -> None:
    grad, x, up = draw(0, 100003, dtype, 3)
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        forward = [gelu(x), gelu(x, True), silu(x), swiglu(x, up), erf(x)]
        backward = [gelu_backward(grad, x), gelu_backward(grad, x, True), silu_backward(grad, x)]
        results.append([*forward, *backward, *swiglu_backward(grad, x, up)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@given(sizes, dtypes, st.integers(0, 2**32 - 1))
def test_leaky_relu(size: int, dtype: Any, seed: int) -> None:
    x, grad = draw(seed, size, dtype, 2)
    x[: size // 7] = np.resize(np.array([0, -0.0, np.inf, -np.inf, np.nan], dtype), size // 7)
    slope = dtype(0.01)
    np.testing.assert_array_equal(leaky_relu(x, 0.01), np.where(x > 0, x, slope * x))
    np.testing.assert_array_equal(leaky_relu_backward(grad, x, 0.01), np.where(x > 0, grad, slope * grad))
