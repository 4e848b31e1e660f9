"""softmax and log_softmax against NumPy in float64: shapes, extremes, masked rows, backwards, exact bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.kernels.softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from tinytorch.kernels.threads import get_num_threads, set_num_threads

Array = npt.NDArray[np.floating]
TOLERANCE = {np.float32: 3e-6, np.float64: 1e-14}
dtypes = st.sampled_from([np.float32, np.float64])
shapes = st.tuples(st.integers(0, 40), st.one_of(st.integers(0, 70), st.sampled_from([127, 256, 1001])))


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)


def reference(x: Array) -> tuple[Array, Array]:
    """softmax and log_softmax in float64."""
    x = x.astype(np.float64)
    shifted = x - x.max(axis=1, keepdims=True, initial=-np.inf)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True, initial=0 if x.shape[1] else 1))
    return np.exp(logs), logs


def draw(seed: int, shape: tuple[int, int], dtype: Any, count: int = 1) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for _ in range(count)]


@given(shapes, dtypes, st.sampled_from([0.01, 1.0, 30.0, 1e4]), st.integers(0, 2**32 - 1))
def test_forward(shape: tuple[int, int], dtype: Any, size: float, seed: int) -> None:
    (x,) = draw(seed, shape, dtype)
    x *= dtype(size)
    y, logs = reference(x)
    assert softmax(x).dtype == log_softmax(x).dtype == dtype
    np.testing.assert_allclose(softmax(x), y, rtol=TOLERANCE[dtype] * 10, atol=1e-37)
    np.testing.assert_allclose(log_softmax(x), logs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@given(st.tuples(st.integers(0, 40), st.integers(0, 130)), dtypes, st.integers(0, 2**32 - 1))
def test_backward(shape: tuple[int, int], dtype: Any, seed: int) -> None:
    x, grad = draw(seed, shape, dtype, 2)
    y, logs = reference(x)
    g = grad.astype(np.float64)
    expected = np.einsum("ni,nij->nj", g, y[:, :, None] * (np.eye(shape[1]) - y[:, None, :]))
    expected_log = np.einsum("ni,nij->nj", g, np.eye(shape[1]) - y[:, None, :])
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype] * (1 + shape[1] ** 0.5)}
    np.testing.assert_allclose(softmax_backward(grad, y.astype(dtype)), expected, **tolerance)
    np.testing.assert_allclose(log_softmax_backward(grad, logs.astype(dtype)), expected_log, **tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 5, 64, 100])
def test_masked_rows(dtype: Any, columns: int) -> None:
    x, grad = draw(0, (4, columns), dtype, 2)
    x[1] = -np.inf
    x[2, 1:] = -np.inf
    y, logs = softmax(x), log_softmax(x)
    np.testing.assert_array_equal(y[1], 0)
    np.testing.assert_array_equal(y[2], np.eye(1, columns)[0])
    np.testing.assert_array_equal(logs[1], -np.inf)
    assert logs[2, 0] == 0
    assert np.isfinite(softmax_backward(grad, y)).all()
    np.testing.assert_array_equal(softmax_backward(grad, y)[1], 0)
    np.testing.assert_array_equal(log_softmax_backward(grad, logs)[1], 0)
    assert np.isfinite(log_softmax_backward(grad, logs)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_nan_and_inf_reach_the_user(function: Any, bad: float, dtype: Any) -> None:
    x = draw(0, (6, 33), dtype)[0]
    x[1, 4] = bad
    x[4] = -np.inf
    x[4, 32] = bad
    y = function(x)
    assert np.isnan(y[1]).any()
    assert np.isnan(y[4]).any()
    assert np.isfinite(y[[0, 2, 3, 5]]).all()
    if np.isnan(bad):
        assert np.isnan(y[[1, 4]]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_keeps_small_differences_of_large_logits(dtype: Any) -> None:
    x = np.full((1, 3), 1e6, dtype)
    np.testing.assert_allclose(log_softmax(x), -np.log(3), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype: Any) -> None:
    x, grad = draw(3, (513, 131), dtype, 2)
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        y, logs = softmax(x), log_softmax(x)
        results.append([y, logs, softmax_backward(grad, y), log_softmax_backward(grad, logs)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
