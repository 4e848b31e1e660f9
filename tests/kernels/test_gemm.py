"""matmul against NumPy in float64: shapes, strides, batches, epilogues, exact bits, non-finite numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.kernels.gemm.block import COLUMN_BLOCK, DEPTH_BLOCK, ROW_BLOCK
from tinytorch.kernels.gemm.gemm import get_matmul_backend, matmul, plain_matmul, set_matmul_backend
from tinytorch.kernels.simd import REGISTERS, ROWS, VECTOR_BYTES
from tinytorch.kernels.threads import get_num_threads, max_threads, set_num_threads

Array = npt.NDArray[np.floating]
DTYPES = (np.float32, np.float64)
LAYOUTS = ("plain", "transposed", "sliced", "negative", "padded", "repeated_row", "repeated_col")
# Around the tiles' sizes, the limits between the paths, and the blocks.
SIZES = st.one_of(
    st.integers(0, 20),
    st.sampled_from([23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97, 191, 193, 255, 257, 300, 523]),
)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)
    set_matmul_backend("numba")


def make(rng: np.random.Generator, shape: tuple[int, ...], dtype: type, layout: str) -> Array:
    """Normal numbers of a shape, whose last two dimensions have the strides that the layout names."""
    *batch, rows, cols = shape
    if layout == "transposed":
        return rng.standard_normal((*batch, cols, rows)).astype(dtype).swapaxes(-1, -2)
    if layout == "sliced":
        return rng.standard_normal((*batch, 2 * rows, 3 * cols)).astype(dtype)[..., ::2, ::3]
    if layout == "negative":
        return rng.standard_normal(shape).astype(dtype)[..., ::-1, ::-1]
    if layout == "padded":
        return rng.standard_normal((*batch, rows + 3, cols + 5)).astype(dtype)[..., 1 : rows + 1, 2 : cols + 2]
    if layout == "repeated_row":
        return np.broadcast_to(rng.standard_normal((*batch, 1, cols)).astype(dtype), shape)
    if layout == "repeated_col":
        return np.broadcast_to(rng.standard_normal((*batch, rows, 1)).astype(dtype), shape)
    return rng.standard_normal(shape).astype(dtype)


def assert_product(got: Array, a: Array, b: Array, plus: Array | float = 0.0) -> None:
    """|got - exact| <= c * eps * (|a| @ |b| + |plus|), the bound of a sum of K products in any order.

    (N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.5, with c = K + 2.)
    """
    assert got.dtype == a.dtype
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    exact = np.matmul(wide_a, wide_b) + plus
    assert got.shape == exact.shape
    # The reference itself is rounded in float64.
    eps = np.finfo(a.dtype).eps + np.finfo(np.float64).eps
    bound = (a.shape[-1] + 2) * eps * (np.matmul(abs(wide_a), abs(wide_b)) + np.abs(plus))
    assert (abs(got - exact) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3), (9, 40, 17), (17, 3, 33), (5, 0, 4)])
def test_what_the_plain_loop_says(shape: tuple[int, int, int], dtype: type) -> None:
    rng = np.random.default_rng(sum(shape))
    m, k, n = shape
    a, b, bias = make(rng, (m, k), dtype, "plain"), make(rng, (k, n), dtype, "transposed"), rng.normal(size=n)
    bias = bias.astype(dtype)
    for plus in (None, bias):
        exact = plain_matmul(a, b, plus)
        bound = (k + 2) * np.finfo(dtype).eps * plain_matmul(abs(a), abs(b), None if plus is None else abs(plus))
        assert (abs(matmul(a, b, bias=plus) - exact) <= bound).all()


@settings(max_examples=300, deadline=None)
@given(SIZES, SIZES, SIZES, st.sampled_from(DTYPES), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.data())
def test_products_of_any_shape_and_strides(
    m: int, n: int, k: int, dtype: type, left: str, right: str, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a, b = make(rng, (m, k), dtype, left), make(rng, (k, n), dtype, right)
    assert_product(matmul(a, b), a, b)

    out = make(rng, (m, n), dtype, data.draw(st.sampled_from(LAYOUTS[:5])))
    before, bias = out.astype(np.float64), make(rng, (n, 1), dtype, "padded")[:, 0]
    accumulate, with_bias = data.draw(st.booleans()), data.draw(st.booleans())
    plus = before * accumulate + bias.astype(np.float64) * with_bias
    assert matmul(a, b, out, accumulate=accumulate, bias=bias if with_bias else None) is out
    assert_product(out, a, b, plus)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 2, 3]), max_size=4), st.integers(1, 40), st.integers(1, 40), st.integers(0, 40),
    st.sampled_from(DTYPES), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.data(),
)  # fmt: skip
def test_batches_broadcast(
    batch: list[int], m: int, n: int, k: int, dtype: type, left: str, right: str, data: st.DataObject
) -> None:
    def part() -> tuple[int, ...]:
        return tuple(data.draw(st.sampled_from([1, size])) for size in batch[data.draw(st.integers(0, len(batch))) :])

    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a, b = make(rng, (*part(), m, k), dtype, left), make(rng, (*part(), k, n), dtype, right)
    assert_product(matmul(a, b), a, b)
    out = rng.standard_normal(np.matmul(a, b).shape).astype(dtype)
    before = out.astype(np.float64)
    matmul(a, b, out, accumulate=True)
    assert_product(out, a, b, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(700, 1100, 600), (1, 3000, 520), (3, 400, 777), (2000, 5, 130), (64, 2100, 64), (9, 9, 3000)]
)
@pytest.mark.parametrize("left", ["plain", "transposed"])
@pytest.mark.parametrize("right", ["plain", "transposed"])
def test_bits_do_not_depend_on_threads(shape: tuple[int, int, int], dtype: type, left: str, right: str) -> None:
    """Shapes of several blocks in each direction, and of every path."""
    m, n, k = shape
    rng = np.random.default_rng(0)
    a, b = make(rng, (m, k), dtype, left), make(rng, (k, n), dtype, right)
    first = matmul(a, b)
    assert_product(first, a, b)
    assert np.array_equal(first, matmul(a, b))
    for threads in range(1, max_threads() + 1):
        set_num_threads(threads)
        assert np.array_equal(first, matmul(a, b))


def test_many_small_products_and_one_right_side_for_a_batch() -> None:
    rng = np.random.default_rng(1)
    for left, right in [((128, 8, 8), (128, 8, 8)), ((12, 4, 64, 32), (12, 4, 32, 64)), ((12, 64, 128), (128, 65))]:
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in (left, right))
        together = matmul(a, b)
        assert_product(together, a, b)
        set_num_threads(1)
        assert np.array_equal(together, matmul(a, b))
        set_num_threads(max_threads())
    heads = rng.standard_normal((3, 20, 4, 16)).astype(np.float32).transpose(0, 2, 1, 3)
    assert_product(matmul(heads, heads.swapaxes(-1, -2)), heads, heads.swapaxes(-1, -2))


@pytest.mark.parametrize("shape", [(40, 50, 30), (1, 700, 70), (4, 90, 33), (90, 3, 33)])
@pytest.mark.parametrize("left", ["plain", "transposed"])
@pytest.mark.parametrize("right", ["plain", "transposed"])
def test_infinities_and_nan_go_where_they_belong(shape: tuple[int, int, int], left: str, right: str) -> None:
    m, n, k = shape
    rng = np.random.default_rng(2)
    a, b = make(rng, (m, k), np.float32, left), make(rng, (k, n), np.float32, right)
    a[m // 2, k - 1], b[0, n - 1], b[k // 2, n // 2] = np.inf, np.nan, -np.inf
    a[0, 1] = 0.0
    with np.errstate(invalid="ignore"):
        expected = np.einsum("ik,kj->ij", a.astype(np.float64), b.astype(np.float64))
    got = matmul(a, b)
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    assert np.array_equal(np.isposinf(got), np.isposinf(expected))
    assert np.array_equal(np.isneginf(got), np.isneginf(expected))


def test_old_contents_of_out_and_scratch_do_not_matter() -> None:
    matmul(np.full((50, 70), np.nan, np.float32), np.full((70, 90), np.nan, np.float32))
    a, b = np.ones((13, 7), np.float32), np.ones((7, 33), np.float32)
    assert np.array_equal(matmul(a, b, np.full((13, 33), np.nan, np.float32)), np.full((13, 33), 7.0))
    nothing = np.full((2, 3), np.nan, np.float32)
    bias = np.arange(3, dtype=np.float32)
    assert np.array_equal(matmul(a[:2, :0], b[:0, :3], nothing, bias=bias), np.broadcast_to(bias, (2, 3)))


def test_nothing_outside_out_is_written() -> None:
    rng = np.random.default_rng(3)
    for m, n in [(1, 1), (3, 5), (13, 33), (12, 32), (8, 17), (1, 129)]:
        frame = np.full((m + 2, n + 2), 5.0, np.float32)
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, 9), (9, n)))
        matmul(a, b, frame[1:-1, 1:-1])
        inside = np.zeros(frame.shape, bool)
        inside[1:-1, 1:-1] = True
        assert (frame[~inside] == 5.0).all()
        assert_product(frame[1:-1, 1:-1], a, b)


def test_fields_of_records_are_copied_and_refused_as_results() -> None:
    records = np.zeros((2, 3), [("tag", np.uint8), ("number", np.float32)])
    records["number"] = np.arange(6).reshape(2, 3)
    field, b = records["number"], np.ones((3, 3), np.float32)
    assert field.strides == (15, 5)
    assert_product(matmul(field, b, bias=field[1]), field, b, field[1].astype(np.float64))
    frozen = np.zeros((2, 3), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        matmul(np.ones((2, 3), np.float32), b, frozen)
    with pytest.raises(ValueError, match="aligned"):
        matmul(np.ones((2, 3), np.float32), b, field)


def test_blas_gives_the_same_up_to_rounding() -> None:
    rng = np.random.default_rng(4)
    a, b, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 30, 40), (40, 50), (50,)))
    out = np.ones((2, 30, 50), np.float32)
    set_matmul_backend("blas")
    assert get_matmul_backend() == "blas"
    matmul(a, b, out, accumulate=True, bias=bias)
    assert_product(out, a, b, 1.0 + bias.astype(np.float64))
    with pytest.raises(ValueError, match="cublas"):
        set_matmul_backend("cublas")


def test_errors_name_what_was_wrong() -> None:
    a, b = np.ones((2, 3), np.float32), np.ones((4, 5), np.float32)
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(4, 5\)"):
        matmul(a, b)
    with pytest.raises(TypeError, match="float32 and float64"):
        matmul(a, b.astype(np.float64))
    with pytest.raises(TypeError, match="int64"):
        matmul(a.astype(np.int64), b.astype(np.int64))
    with pytest.raises(ValueError, match="two dimensions"):
        matmul(a[0], b)
    with pytest.raises(ValueError, match="broadcast"):
        matmul(np.ones((2, 4, 3)), np.ones((3, 3, 4)))
    with pytest.raises(ValueError, match="out"):
        matmul(a, a.T, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="bias"):
        matmul(a, a.T, bias=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="needs out"):
        matmul(a, a.T, accumulate=True)


@pytest.mark.parametrize("layouts", [("plain", "plain"), ("transposed", "transposed")])
@pytest.mark.parametrize("threads", [1, max_threads()])
def test_more_than_a_block_each_way(layouts: tuple[str, str], threads: int) -> None:
    set_num_threads(threads)
    rows, cols, depth = ROW_BLOCK + 5, 2 * COLUMN_BLOCK + 7, DEPTH_BLOCK + 3
    rng = np.random.default_rng(5)
    a, b = make(rng, (rows, depth), np.float32, layouts[0]), make(rng, (depth, cols), np.float32, layouts[1])
    assert_product(matmul(a, b), a, b)
    assert_product(matmul(b.T, a.T), b.T, a.T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [1, 33, 70, COLUMN_BLOCK + 9])
def test_rows_that_are_pages_apart(dtype: type, cols: int) -> None:
    """Whole rows of such an operand are packed before, unless few rows of the other one need them."""
    rng = np.random.default_rng(8)
    far = rng.standard_normal((DEPTH_BLOCK + 3, 1100)).astype(dtype)[:, 5 : 5 + cols]
    for rows in (5, 9 * ROWS + 1):
        a = rng.standard_normal((rows, len(far))).astype(dtype)
        assert_product(matmul(a, far), a, far)
        assert_product(matmul(a, far, np.ones((rows, cols), dtype), accumulate=True), a, far, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 5, 13, 30])
@pytest.mark.parametrize("cols", [1, 7, 17, 33, 70])
@pytest.mark.parametrize("accumulate", [False, True])
def test_nothing_is_written_beside_the_result(dtype: type, rows: int, cols: int, accumulate: bool) -> None:
    rng = np.random.default_rng(6)
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, 20), (20, cols)))
    around = np.full((rows + 20, cols + 70), 7, dtype)
    matmul(a, b, around[10 : 10 + rows, 35 : 35 + cols], accumulate=accumulate)
    assert_product(around[10 : 10 + rows, 35 : 35 + cols].copy(), a, b, 7.0 if accumulate else 0.0)
    around[10 : 10 + rows, 35 : 35 + cols] = 7
    assert (around == 7).all()


def test_nothing_is_read_beside_the_operands() -> None:
    rng = np.random.default_rng(7)
    for rows, depth, cols in ((5, 9, 7), (13, 33, 40), (70, 5, 17)):
        around = np.full((2, 100, 100), np.nan, np.float32)
        a, b = around[0, :rows, :depth], around[1, :depth, :cols]
        a[...], b[...] = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
        assert_product(matmul(a, b), a, b)
        assert_product(matmul(a.copy(), b), a, b)


def test_tiles_fit_the_registers() -> None:
    assert ROWS * 2 + 3 <= REGISTERS
    assert COLUMN_BLOCK % (2 * VECTOR_BYTES // 4) == 0
