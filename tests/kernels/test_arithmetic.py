"""Sums on all threads are NumPy's, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.kernels.arithmetic import add, column_sums
from tinytorch.kernels.threads import get_num_threads, set_num_threads

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-310, 1e-40, 3e38, -3e38]


def assert_same_bits(ours: Any, expected: Any) -> None:
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(np.signbit(ours[ours == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (1 << 15,), (257, 129), (2, 3, 10007)])
def test_same_shape(dtype: Any, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    a, b = (np.asarray(generator.choice([*SPECIAL, 1.5, -2.25], shape)).astype(dtype) for _ in range(2))
    with np.errstate(all="ignore"):
        expected = a + b
        assert_same_bits(np.asarray(add(a, b)), np.asarray(expected))
        out = a.copy()
        assert add(out, b, out=out) is out
        assert_same_bits(out, np.asarray(expected))


def test_what_is_left_to_numpy() -> None:
    a = np.ones((200, 200), np.float32)
    frozen = a.copy()
    frozen.flags.writeable = False
    others = [
        a.T,
        a[0],
        a[:, :1],
        a.astype(np.float64),
        a.astype(np.int64),
        frozen,
        np.ones((200, 400), np.float32)[:, ::2],
    ]
    for other in others:
        assert_same_bits(add(a, other), a + other)
        assert_same_bits(add(other, a), other + a)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (1, 1), (256, 32), (300, 129), (1000, 1100)])
def test_column_sums(dtype: Any, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    np.testing.assert_array_equal(column_sums(x), np.add.accumulate(x, axis=0)[-1] if len(x) else np.zeros(shape[1]))
    assert column_sums(x).dtype == dtype
    threads = get_num_threads()
    try:
        set_num_threads(1)
        alone = column_sums(x)
    finally:
        set_num_threads(threads)
    np.testing.assert_array_equal(alone, column_sums(x))
    for other in (x[::2], np.asfortranarray(x), x.astype(np.float16)):
        np.testing.assert_array_equal(column_sums(other), other.sum(axis=0))


def test_column_sums_of_what_is_not_finite() -> None:
    x = np.array([[np.inf, np.nan, 1.0, 1e-40], [-np.inf, 1.0, np.inf, 1e-40]], np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(column_sums(x), x[0] + x[1])
