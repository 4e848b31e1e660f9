"""Products with stored weights against decoding them and multiplying in float64."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.kernels.gemm.gemm import SKINNY
from tinytorch.kernels.gemm.pairs import PAIRS
from tinytorch.kernels.stored.stored import (
    Stored,
    get_float32_matmul_precision,
    linear,
    linear_backward,
    set_float32_matmul_precision,
    stored_floats,
)
from tinytorch.kernels.threads import get_num_threads, max_threads, set_num_threads

Array = npt.NDArray[np.floating]
TWO_BYTES = (ml_dtypes.bfloat16, np.float16)
DTYPES = (np.float32, np.float64)
# Around the number of rows that are dot products, segments of 64 and blocks of 256.
ROWS = st.integers(0, 12) | st.sampled_from([40, 193, 260])
SIZES = st.integers(0, 20) | st.sampled_from([31, 33, 63, 64, 65, 127, 128, 130, 191, 255, 256, 257, 300, 523])
LAYOUTS = ("plain", "padded", "transposed", "sliced", "reversed", "unaligned")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)
    set_float32_matmul_precision("highest")


def make(rng: np.random.Generator, rows: int, cols: int, dtype: type, layout: str) -> Array:
    """Normal numbers with the strides that the layout names."""
    if layout == "transposed":
        return rng.standard_normal((cols, rows)).astype(dtype).T
    if layout == "sliced":
        return rng.standard_normal((2 * rows, 3 * cols)).astype(dtype)[::2, ::3]
    if layout == "padded":
        return rng.standard_normal((rows + 3, cols + 5)).astype(dtype)[1 : rows + 1, 2 : cols + 2]
    if layout == "reversed":
        return rng.standard_normal((rows, cols)).astype(dtype)[::-1]
    plain = rng.standard_normal((rows, cols)).astype(dtype)
    if layout == "unaligned":
        return np.frombuffer(b"?" + plain.tobytes(), dtype, plain.size, 1).reshape(rows, cols)
    plain.flags.writeable = False
    return plain


def assert_product(got: Array, a: Array, b: Array, plus: Array | float = 0.0) -> None:
    """|got - exact| <= c * eps * (|a| @ |b| + |plus|): as for matmul, with two more roundings for scales."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    exact = wide_a @ wide_b + plus
    assert got.shape == exact.shape
    eps = np.finfo(got.dtype).eps + np.finfo(np.float64).eps
    bound = (a.shape[-1] + 4) * eps * (abs(wide_a) @ abs(wide_b) + np.abs(plus))
    assert (abs(got - exact) <= bound).all()


def check(rng: np.random.Generator, m: int, weight: Stored, decoded: Array, dtype: type, layout: str) -> None:
    """Both products, with and without a bias, against the decoded weight."""
    n, k = decoded.shape
    x, g, bias = (make(rng, *shape, dtype, layout) for shape in ((m, k), (m, n), (n, 1)))
    y = linear(x, weight)
    assert y.dtype == dtype
    assert_product(y, x, decoded.T)
    assert_product(linear(x, weight, bias[:, 0]), x, decoded.T, bias[:, 0].astype(np.float64))
    dx = linear_backward(g, weight)
    assert dx.dtype == dtype
    assert_product(dx, g, decoded)
    set_float32_matmul_precision("medium")
    if not PAIRS or dtype == np.float64:
        assert np.array_equal(linear(x, weight), y)
        assert np.array_equal(linear_backward(g, weight), dx)
    else:
        decoded = in_bfloat16(decoded)
        assert_product(linear_backward(g, weight), in_bfloat16(g), decoded)
        if m <= SKINNY:
            assert np.array_equal(linear(x, weight), y)
        else:
            assert_product(linear(x, weight, bias[:, 0]), in_bfloat16(x), decoded.T, bias[:, 0].astype(np.float64))
    set_float32_matmul_precision("highest")


def in_bfloat16(array: Array) -> Array:
    """Rounded to bfloat16, by way of float32, as kernels decode."""
    rounded: Array = array.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)
    return rounded


@settings(max_examples=150, deadline=None)
@given(
    ROWS, SIZES, SIZES, st.sampled_from(TWO_BYTES), st.sampled_from(DTYPES), st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS), st.integers(0, 2**32),
)  # fmt: skip
def test_two_byte_weights(
    m: int, n: int, k: int, stored: type, dtype: type, layout: str, layout_of_weight: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = make(rng, n, k, stored, layout_of_weight)
    check(rng, m, stored_floats(weight), weight, dtype, layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", TWO_BYTES)
def test_every_two_byte_number_is_decoded_exactly(stored: type, dtype: type) -> None:
    """All 65,536 of them, subnormal numbers, infinities and NaN too: by ones, in vectors, and when packed."""
    with np.errstate(invalid="ignore"):
        expected = np.arange(2**16, dtype=np.uint16).view(stored).astype(dtype)
    one = np.ones((1, 1), dtype)
    column = stored_floats(np.arange(2**16, dtype=np.uint16).view(stored)[:, None])
    np.testing.assert_array_equal(linear(one, column)[0], expected)
    np.testing.assert_array_equal(linear(np.repeat(one, 10, 0), column)[9], expected)
    row = stored_floats(np.arange(2**16, dtype=np.uint16).view(stored)[None])
    np.testing.assert_array_equal(linear_backward(one, row)[0], expected)
    # One number in each row of 64, the others 0, which no infinity meets.
    diagonal = np.zeros((2**16, 64), stored)
    diagonal[np.arange(2**16), np.arange(2**16) % 64] = np.arange(2**16, dtype=np.uint16).view(stored)
    np.testing.assert_array_equal(linear(np.ones((1, 64), dtype), stored_floats(diagonal))[0], expected)


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("stored", TWO_BYTES)
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_infinities_and_nan_go_where_they_belong(precision: str, stored: type, rows: int) -> None:
    set_float32_matmul_precision(precision)
    rng = np.random.default_rng(2)
    weight, x = rng.standard_normal((50, 70)).astype(stored), rng.standard_normal((rows, 70)).astype(np.float32)
    weight[3, 69], weight[7, 0], weight[8, 30] = np.inf, np.nan, -np.inf
    x[rows // 2, 30] = 0.0
    with np.errstate(invalid="ignore"):
        expected = np.einsum("ik,jk->ij", x.astype(np.float64), weight.astype(np.float64))
    got = linear(x, stored_floats(weight))
    for kind in (np.isnan, np.isposinf, np.isneginf):
        assert np.array_equal(kind(got), kind(expected))


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("shape", [(1, 3000, 520), (7, 900, 777), (300, 2100, 600), (2000, 70, 130)])
def test_bits_do_not_depend_on_threads(shape: tuple[int, int, int], precision: str) -> None:
    set_float32_matmul_precision(precision)
    m, n, k = shape
    rng = np.random.default_rng(0)
    weight = stored_floats(rng.standard_normal((n, k)).astype(ml_dtypes.bfloat16))
    x, g = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((m, n)).astype(np.float32)
    y, dx = linear(x, weight), linear_backward(g, weight)
    for threads in range(1, max_threads() + 1):
        set_num_threads(threads)
        assert np.array_equal(y, linear(x, weight))
        assert np.array_equal(dx, linear_backward(g, weight))


@pytest.mark.parametrize("rows", [1, 20])
def test_the_weight_is_never_copied(rows: int) -> None:
    """16 megabytes of weight: what is allocated is the result, and no copy in any dtype."""
    weight = np.ones((2048, 4096), ml_dtypes.bfloat16)
    x, g = np.ones((rows, 4096), np.float32), np.ones((rows, 2048), np.float32)
    linear(x, stored_floats(weight)), linear_backward(g, stored_floats(weight))  # compiles
    tracemalloc.start()
    linear(x, stored_floats(weight)), linear_backward(g, stored_floats(weight))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes + g.nbytes + 2**16


@pytest.mark.oracle
@pytest.mark.parametrize("shape", [(20, 300, 520), (33, 64, 2048)])
def test_medium_precision_is_what_pytorch_does_in_bfloat16(shape: tuple[int, int, int]) -> None:
    """But for PyTorch's rounding of the result."""
    import torch

    m, n, k = shape
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((n, k)).astype(np.float32), rng.standard_normal(n).astype(np.float32)
    x, g = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((m, n)).astype(np.float32)
    their_x, their_weight, their_bias, their_g = (torch.from_numpy(a).bfloat16() for a in (x, weight, bias, g))
    their_y = torch.nn.functional.linear(their_x.requires_grad_(), their_weight, their_bias)
    their_y.backward(their_g)
    set_float32_matmul_precision("medium")
    stored = stored_floats(weight.astype(ml_dtypes.bfloat16))
    y, dx = linear(x, stored, in_bfloat16(bias)), linear_backward(g, stored)
    rounding = {"rtol": 2**-8, "atol": 1e-3} if PAIRS else {"rtol": 2**-8, "atol": 2**-8 * k**0.5 * 4}
    np.testing.assert_allclose(y, their_y.detach().float().numpy(), **rounding)
    assert their_x.grad is not None
    np.testing.assert_allclose(dx, their_x.grad.float().numpy(), **rounding)


def test_the_precision_is_one_of_pytorch_s() -> None:
    for name in ("medium", "high", "highest"):
        set_float32_matmul_precision(name)
        assert get_float32_matmul_precision() == name
    with pytest.raises(ValueError, match="'low'"):
        set_float32_matmul_precision("low")
    assert get_float32_matmul_precision() == "highest"


def test_errors_name_what_was_wrong() -> None:
    weight = stored_floats(np.ones((4, 3), np.float16))
    with pytest.raises(ValueError, match=r"\(2, 4\) does not fit a stored weight \(4, 3\)"):
        linear(np.ones((2, 4), np.float32), weight)
    with pytest.raises(ValueError, match=r"\(2, 3\) does not fit a stored weight of 4 rows"):
        linear_backward(np.ones((2, 3), np.float32), weight)
    with pytest.raises(TypeError, match="float16"):
        linear(np.ones((2, 3), np.float16), weight)
    with pytest.raises(TypeError, match="float64"):
        linear(np.ones((2, 3), np.float32), weight, np.ones(4))
    with pytest.raises(TypeError, match="float32"):
        stored_floats(np.ones((2, 3), np.float32))
