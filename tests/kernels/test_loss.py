"""cross_entropy against NumPy in float64: smoothing, weights, ignored rows, extremes, gradients, exact bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.kernels.loss import count_kept, cross_entropy, cross_entropy_backward
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


def reference(logits: Array, target: Any, smoothing: float, weight: Array) -> tuple[Array, Array]:
    """Each row's loss, and its gradient from the full Jacobian of log_softmax."""
    z = logits.astype(np.float64)
    rows, classes = z.shape
    shifted = z - z.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    kept = target != IGNORE
    q = smoothing / classes * np.broadcast_to(weight, z.shape).astype(np.float64)
    q[kept, target[kept]] += (1 - smoothing) * weight[target[kept]]
    q[~kept] = 0
    dlogits = np.empty_like(z)
    for n in range(rows):
        dlogits[n] = -q[n] @ (np.eye(classes) - np.exp(logs[n]))
    return -(q * logs).sum(axis=1), dlogits


def draw(seed: int, shape: tuple[int, int], dtype: Any) -> tuple[Array, Any, Array, Array]:
    rng = np.random.default_rng(seed)
    logits, scale = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[0]).astype(dtype)
    target = rng.integers(0, shape[1], shape[0])
    target[rng.random(shape[0]) < 0.2] = IGNORE
    return logits, target, rng.random(shape[1]).astype(dtype), scale


@given(shapes, dtypes, st.sampled_from([0.0, 0.1, 1.0]), st.booleans(), st.integers(0, 2**32 - 1))
def test_against_float64(shape: tuple[int, int], dtype: Any, smoothing: float, weighted: bool, seed: int) -> None:
    logits, target, weight, scale = draw(seed, shape, dtype)
    options = (IGNORE, smoothing, weight if weighted else None)
    losses, lse = cross_entropy(logits, target, *options)
    dlogits = cross_entropy_backward(scale, logits, lse, target, *options)
    expected, gradient = reference(logits, target, smoothing, weight if weighted else np.ones(shape[1]))
    assert losses.dtype == dlogits.dtype == dtype
    assert lse.dtype == np.float64
    tolerance = 2e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(losses, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dlogits, gradient * scale[:, None], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(dlogits[target == IGNORE], 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits(dtype: Any, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    # Steps of 1/64 are exact in float32 beside 1e4, so nothing but the kernel can lose them.
    logits = (1e4 + rng.integers(-128, 128, (30, 65)) / 64).astype(dtype)
    target = rng.integers(0, 65, 30)
    losses, lse = cross_entropy(logits, target, IGNORE, smoothing)
    dlogits = cross_entropy_backward(np.ones(30, dtype), logits, lse, target, IGNORE, smoothing)
    expected, gradient = reference(logits, target, smoothing, np.ones(65))
    tolerance = 1e-5 if dtype is np.float32 else 1e-10
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    np.testing.assert_allclose(dlogits, gradient, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_logits(dtype: Any) -> None:
    logits = np.zeros((3, 20), dtype)
    logits[:, 7:] = -np.inf  # masked classes
    logits[2, 3] = np.nan
    target = np.array([2, 9, 1])
    losses, lse = cross_entropy(logits, target)
    np.testing.assert_allclose(losses[:2], [np.log(7), np.inf], rtol=1e-6)
    assert np.isnan(losses[2])
    dlogits = cross_entropy_backward(np.ones(3, dtype), logits, lse, target)
    np.testing.assert_allclose(dlogits[0], [*(np.full(7, 1 / 7) - np.eye(7)[2]), *np.zeros(13)], rtol=1e-5)


@pytest.mark.parametrize("bad", [-1, 5, 2**40, -(2**40)])
def test_target_outside_the_classes(bad: int) -> None:
    with pytest.raises(IndexError, match=rf"target\[1\] is {bad}, .* from 0 to 4 .*ignore_index = -100"):
        cross_entropy(np.zeros((3, 5)), np.array([0, bad, 7]))


def test_ignore_index_may_be_a_class() -> None:
    logits = np.random.default_rng(0).standard_normal((3, 5))
    target = np.array([2, 0, 2])
    losses, lse = cross_entropy(logits, target, ignore_index=2)
    assert (losses != 0).tolist() == [False, True, False]
    dlogits = cross_entropy_backward(np.ones(3), logits, lse, target, ignore_index=2)
    assert dlogits.any(axis=1).tolist() == [False, True, False]


def test_targets_that_are_kept_are_counted() -> None:
    like = np.empty(0, np.float32)
    for target, count in (([0, 2, IGNORE, 2], 3), ([IGNORE], 0), ([], 0)):
        kept = count_kept(np.array(target, np.int64), IGNORE, like)
        assert kept == count and kept.shape == () and kept.dtype == np.float32


def test_empty() -> None:
    losses, lse = cross_entropy(np.empty((0, 5)), np.empty(0, np.int64))
    assert losses.shape == lse.shape == (0,)
    assert cross_entropy_backward(losses, np.empty((0, 5)), lse, np.empty(0, np.int64)).shape == (0, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype: Any) -> None:
    logits, target, weight, scale = draw(0, (777, 131), dtype)
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        losses, lse = cross_entropy(logits, target, IGNORE, 0.1, weight)
        results.append([losses, lse, cross_entropy_backward(scale, logits, lse, target, IGNORE, 0.1, weight)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_mean_is_pytorchs(smoothing: float, weighted: bool) -> None:
    import torch

    logits, target, weight, _ = draw(0, (50, 33), np.float64)
    class_weight = weight if weighted else None
    there = torch.from_numpy(logits).requires_grad_()
    expected = torch.nn.functional.cross_entropy(
        there,
        torch.from_numpy(target),
        weight=torch.from_numpy(weight) if weighted else None,
        label_smoothing=smoothing,
    )
    expected.backward()
    losses, lse = cross_entropy(logits, target, IGNORE, smoothing, class_weight)
    kept = target[target != IGNORE]
    divisor = len(kept) if class_weight is None else class_weight[kept].sum(dtype=np.float64)
    np.testing.assert_allclose(losses.sum() / divisor, expected.item(), rtol=1e-13)
    dlogits = cross_entropy_backward(np.full(50, 1 / divisor), logits, lse, target, IGNORE, smoothing, class_weight)
    np.testing.assert_allclose(dlogits, there.grad.numpy(), rtol=1e-12, atol=1e-15)
