"""Rotations of pairs against complex numbers in float64: values, the way back, exact bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.kernels.rope import rotate
from tinytorch.kernels.threads import get_num_threads, set_num_threads

TOLERANCE = {np.float32: 1e-6, np.float64: 1e-15}
small = st.integers(1, 5)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)


def make(positions: int, batch: int, heads: int, half: int, dtype: Any, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch * positions, heads, 2 * half)).astype(dtype)
    angles = rng.uniform(-9, 9, (positions, half))
    return x, np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


@given(small, small, small, st.integers(1, 40), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_pairs_turn_as_complex_numbers(T: int, B: int, H: int, half: int, dtype: Any, seed: int) -> None:
    x, cos, sin = make(T, B, H, half, dtype, seed)
    y = rotate(x, cos, sin)
    assert y.dtype == dtype
    turn = np.tile(cos.astype(np.float64) + 1j * sin.astype(np.float64), (B, 1))[:, None]
    expected = (x[..., :half] + 1j * x[..., half:].astype(np.float64)) * turn
    near = {"rtol": 0, "atol": TOLERANCE[dtype] * max(1.0, float(np.abs(x).max()))}
    np.testing.assert_allclose(y[..., :half], expected.real, **near)
    np.testing.assert_allclose(y[..., half:], expected.imag, **near)
    np.testing.assert_allclose(rotate(y, cos, sin, back=True), x, **near)


def test_bits_do_not_depend_on_threads() -> None:
    x, cos, sin = make(300, 2, 4, 32, np.float32)
    set_num_threads(1)
    expected = rotate(x, cos, sin)
    set_num_threads(4)
    np.testing.assert_array_equal(rotate(x, cos, sin), expected)
