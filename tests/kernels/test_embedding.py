"""index_add, add_within_rows and embedding_backward against np.add.at: duplicates, shapes, errors, exact bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.kernels.embedding import add_within_rows, embedding_backward, index_add, take_rows
from tinytorch.kernels.threads import get_num_threads, set_num_threads

dtypes = st.sampled_from([np.float32, np.float64])


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)


@given(
    st.one_of(st.integers(0, 30), st.just(500)),
    st.one_of(st.integers(0, 70), st.sampled_from([127, 128, 200])),
    st.sampled_from([1, 2, 65, 3000]),
    dtypes,
    st.integers(0, 2**32 - 1),
)
def test_against_numpy(count: int, columns: int, rows: int, dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grad = rng.standard_normal((count, columns)).astype(dtype)
    index = rng.integers(0, rows, count)
    expected = np.zeros((rows, columns))
    np.add.at(expected, index, grad.astype(np.float64))
    got = embedding_backward(grad, index, rows)
    assert got.dtype == dtype
    tolerance = 1e-4 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    start = rng.standard_normal((rows, columns)).astype(dtype)
    into = start.copy()
    index_add(into, index, grad)
    np.testing.assert_allclose(into, start + expected, rtol=tolerance, atol=tolerance)


@given(st.integers(0, 40), st.integers(1, 300), st.integers(0, 300), dtypes, st.integers(0, 2**32 - 1))
def test_adding_within_rows(rows: int, columns: int, count: int, dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    out, source = rng.standard_normal((rows, columns)).astype(dtype), rng.standard_normal((rows, count)).astype(dtype)
    index = rng.integers(0, columns, (rows, count))
    expected = out.copy()
    np.add.at(expected, (np.arange(rows)[:, None], index), source)
    add_within_rows(out, index, source)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("bad", [-1, 4, 2**40])
def test_index_outside_the_rows(bad: int) -> None:
    out = np.zeros((4, 3))
    with pytest.raises(IndexError, match=rf"index\[2\] is {bad}, which is out of bounds for 4 rows"):
        index_add(out, np.array([0, 3, bad]), np.ones((3, 3)))
    np.testing.assert_array_equal(out, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    grad, index = rng.standard_normal((999, 333)).astype(dtype), rng.integers(0, 7, 999)
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        results.append(embedding_backward(grad, index, 7))
    np.testing.assert_array_equal(*results)


@given(
    st.sampled_from([(0,), (3, 0), (7,), (2, 5), (500, 3)]),
    st.sampled_from([0, 1, 33, 128]),
    st.sampled_from([1, 65]),
    st.sampled_from([np.float32, np.float64, np.float16, np.int64]),
    st.sampled_from([np.int64, np.int32, np.uint8]),
)
def test_rows_are_taken_as_numpy_takes_them(shape: Any, columns: int, rows: int, dtype: Any, index_dtype: Any) -> None:
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((rows, columns)) * 100).astype(dtype)
    index = rng.integers(0, rows, shape).astype(index_dtype)
    for w, i in ((weight, index), (np.asfortranarray(weight), index), (weight, np.asfortranarray(index))):
        got = take_rows(w, i)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, w[i])
