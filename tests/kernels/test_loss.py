"""cross_entropy against NumPy in float64: smoothing, ignored rows, means, extremes, gradients, exact bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.kernels.loss import cross_entropy, cross_entropy_backward
from tinytorch.kernels.threads import get_num_threads, set_num_threads

Array = npt.NDArray[np.floating]
dtypes = st.sampled_from([np.float32, np.float64])
shapes = st.tuples(st.integers(0, 40), st.one_of(st.integers(1, 70), st.sampled_from([127, 1001])))
IGNORE = -100


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)


def reference(logits: Array, target: Any, smoothing: float) -> tuple[Array, Array]:
    """Each row's loss, and its gradient from the full Jacobian of log_softmax."""
    z = logits.astype(np.float64)
    rows, classes = z.shape
    shifted = z - z.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    kept = target != IGNORE
    q = np.full(z.shape, smoothing / classes)
    q[kept, target[kept]] += 1 - smoothing
    q[~kept] = 0
    dlogits = np.empty_like(z)
    for n in range(rows):
        dlogits[n] = -q[n] @ (np.eye(classes) - np.exp(logs[n]))
    return -(q * logs).sum(axis=1), dlogits


def draw(seed: int, shape: tuple[int, int], dtype: Any) -> tuple[Array, Any, Array]:
    rng = np.random.default_rng(seed)
    logits, grad = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[0]).astype(dtype)
    target = rng.integers(0, shape[1], shape[0])
    target[rng.random(shape[0]) < 0.2] = IGNORE
    return logits, target, grad


@given(shapes, dtypes, st.sampled_from([0.0, 0.1, 1.0]), st.integers(0, 2**32 - 1))
def test_against_float64(shape: tuple[int, int], dtype: Any, smoothing: float, seed: int) -> None:
    logits, target, grad = draw(seed, shape, dtype)
    options = (IGNORE, smoothing)
    losses, total, lse, divisor = cross_entropy(logits, target, *options, mean=False)
    dlogits = cross_entropy_backward(grad, divisor, logits, lse, target, *options)
    expected, gradient = reference(logits, target, smoothing)
    assert losses.dtype == dlogits.dtype == total.dtype == divisor.dtype == dtype
    assert lse.dtype == np.float64
    tolerance = 2e-5 if dtype is np.float32 else 1e-12
    near = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(losses, expected, **near)
    np.testing.assert_allclose(total, expected.sum(), rtol=tolerance, atol=40 * tolerance)
    np.testing.assert_allclose(dlogits, gradient * grad[:, None], **near)
    np.testing.assert_array_equal(dlogits[target == IGNORE], 0)

    _, mean, lse, divisor = cross_entropy(logits, target, *options)
    kept = (target != IGNORE).sum()
    assert divisor.shape == mean.shape == () and divisor == kept
    if kept:
        np.testing.assert_allclose(mean, expected.sum() / kept, **near)
        dlogits = cross_entropy_backward(np.array([0.5], dtype), divisor, logits, lse, target, *options)
        np.testing.assert_allclose(dlogits, gradient * 0.5 / kept, **near)
    else:
        assert np.isnan(mean)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits(dtype: Any, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    # Steps of 1/64 are exact in float32 beside 1e4, so nothing but the kernel can lose them.
    logits = (1e4 + rng.integers(-128, 128, (30, 65)) / 64).astype(dtype)
    target = rng.integers(0, 65, 30)
    losses, _, lse, divisor = cross_entropy(logits, target, IGNORE, smoothing, mean=False)
    dlogits = cross_entropy_backward(np.ones(30, dtype), divisor, logits, lse, target, IGNORE, smoothing)
    expected, gradient = reference(logits, target, smoothing)
    tolerance = 1e-5 if dtype is np.float32 else 1e-10
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    np.testing.assert_allclose(dlogits, gradient, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_logits(dtype: Any) -> None:
    logits = np.zeros((3, 20), dtype)
    logits[:, 7:] = -np.inf  # masked classes
    logits[2, 3] = np.nan
    target = np.array([2, 9, 1])
    losses, total, lse, divisor = cross_entropy(logits, target, mean=False)
    np.testing.assert_allclose(losses[:2], [np.log(7), np.inf], rtol=1e-6)
    assert np.isnan(losses[2]) and np.isnan(total)
    assert cross_entropy(logits[:2], target[:2])[1] == np.inf
    dlogits = cross_entropy_backward(np.ones(3, dtype), divisor, logits, lse, target)
    np.testing.assert_allclose(dlogits[0], [*(np.full(7, 1 / 7) - np.eye(7)[2]), *np.zeros(13)], rtol=1e-5)


@pytest.mark.parametrize("bad", [-1, 5, 2**40, -(2**40)])
def test_target_outside_the_classes(bad: int) -> None:
    with pytest.raises(IndexError, match=rf"target\[1\] is {bad}, .* from 0 to 4 .*ignore_index = -100"):
        cross_entropy(np.zeros((3, 5)), np.array([0, bad, 7]))


def test_ignore_index_may_be_a_class() -> None:
    logits = np.random.default_rng(0).standard_normal((3, 5))
    target = np.array([2, 0, 2])
    losses, total, lse, divisor = cross_entropy(logits, target, ignore_index=2)
    assert (losses != 0).tolist() == [False, True, False] and total == losses[1]
    dlogits = cross_entropy_backward(np.ones(3), divisor, logits, lse, target, ignore_index=2)
    assert dlogits.any(axis=1).tolist() == [False, True, False]


def test_empty() -> None:
    logits, target = np.empty((0, 5)), np.empty(0, np.int64)
    losses, mean, lse, divisor = cross_entropy(logits, target)
    assert losses.shape == lse.shape == (0,) and np.isnan(mean)
    assert cross_entropy(logits, target, mean=False)[1] == 0
    assert cross_entropy_backward(losses, divisor, logits, lse, target).shape == (0, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype: Any) -> None:
    logits, target, grad = draw(0, (777, 131), dtype)
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        losses, total, lse, divisor = cross_entropy(logits, target, IGNORE, 0.1)
        dlogits = cross_entropy_backward(grad, divisor, logits, lse, target, IGNORE, 0.1)
        results.append([losses, total, lse, dlogits])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_mean_is_pytorchs(smoothing: float) -> None:
    import torch

    logits, target, _ = draw(0, (50, 33), np.float64)
    there = torch.from_numpy(logits).requires_grad_()
    expected = torch.nn.functional.cross_entropy(there, torch.from_numpy(target), label_smoothing=smoothing)
    expected.backward()
    _, mean, lse, divisor = cross_entropy(logits, target, IGNORE, smoothing)
    np.testing.assert_allclose(mean, expected.item(), rtol=1e-13)
    dlogits = cross_entropy_backward(np.ones(1), divisor, logits, lse, target, IGNORE, smoothing)
    np.testing.assert_allclose(dlogits, there.grad.numpy(), rtol=1e-12, atol=1e-15)
