"""Sums on all threads are NumPy's: of two arrays to the bit, over dimensions as exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.kernels.arithmetic import add, column_sums, total
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


SHAPES = [(3, 40000), (40000, 3), (300, 200), (2, 3, 50, 400), (1, 1 << 17), (70000,), (20, 0, 5000)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_over_dimensions(dtype: Any, shape: tuple[int, ...], keepdims: bool) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    last = len(shape) - 1
    axes = [None, (), (0,), (-1,), tuple(range(last + 1)), tuple({last, 0}), tuple(range(1, last + 1))]
    for axis in dict.fromkeys(axes):
        expected = x.astype(np.float64).sum(axis=axis, keepdims=keepdims)
        largest = np.abs(x).astype(np.float64).sum(axis=axis, keepdims=keepdims)  # what rounding is relative to
        ours = total(x, axis, keepdims)
        assert ours.dtype == dtype and ours.shape == expected.shape
        assert (np.abs(ours - expected) <= 64 * np.finfo(dtype).eps * largest).all()


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_sums_of_what_is_not_finite(special: float) -> None:
    x = np.ones((400, 300), np.float32)
    x[7, 290] = special
    for axes in (None, (0,), (1,)):
        np.testing.assert_array_equal(total(x, axes), x.sum(axis=axes))


@pytest.mark.parametrize("axes", [None, (0,), (1,)])
def test_bits_of_sums_do_not_depend_on_threads(axes: Any) -> None:
    x = np.random.default_rng(0).standard_normal((500, 701)).astype(np.float32)
    threads, results = get_num_threads(), []
    try:
        for count in (1, 2):
            set_num_threads(count)
            results.append(total(x, axes))
    finally:
        set_num_threads(threads)
    np.testing.assert_array_equal(*results)
