"""Quantized weights: what the codes mean, how far they are off, that kernels read them so, and the product."""

from __future__ import annotations

import tracemalloc
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch
from tests.kernels.test_stored import DTYPES, LAYOUTS, ROWS, SIZES, check
from tinytorch.kernels.stored.decoding import NF4_VALUES
from tinytorch.kernels.stored.stored import linear_backward
from tinytorch.quantization import QuantizedWeight, layout, quantized_linear

KINDS = [("int8", None), ("int8", 64), ("int8", 128), ("nf4", None)]
kinds = pytest.mark.parametrize(("scheme", "group_size"), KINDS)
WIDEST_GAP = 1 - 0.6961928009986877  # between neighbours in NF4


def weight_of(rng: np.random.Generator, rows: int, columns: int) -> Any:
    """Normal numbers, in rows of very different sizes."""
    return rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-3, 3, (rows, 1))


def test_nf4_is_made_of_quantiles_of_the_normal_distribution() -> None:
    """Appendix E: 8 quantiles from -1 up to 0, 9 from 0 to 1, evenly spaced in probability, 0 once, scaled to 1.

    The tails are cut off where the average of 1 - 1/32 and 1 - 1/30 leaves them. The published numbers have the
    precision of a quantile function in float32.
    """
    end, normal = ((1 - 1 / 32) + (1 - 1 / 30)) / 2, NormalDist()
    positive = [normal.inv_cdf(p) for p in np.linspace(end, 0.5, 9)[:-1]]
    negative = [-normal.inv_cdf(p) for p in np.linspace(end, 0.5, 8)[:-1]]
    values = np.sort([*negative, 0.0, *positive]) / max(positive)
    np.testing.assert_allclose(NF4_VALUES, values, atol=2e-7)


@kinds
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(0, 30), columns=SIZES, seed=st.integers(0, 2**32))
def test_numbers_come_back_within_the_bound(
    scheme: str, group_size: int | None, rows: int, columns: int, seed: int
) -> None:
    """int8: half a scale. NF4: half the widest gap times the scale, and what the scale itself is off."""
    array = weight_of(np.random.default_rng(seed), rows, columns)
    weight = QuantizedWeight.quantize(array, scheme, group_size)
    decoded = weight.dequantize(np.float64)
    assert decoded.shape == weight.shape == (rows, columns)
    width = weight.group_size or max(columns, 1)
    for start in range(0, columns, width):
        group = slice(start, start + width)
        largest = abs(array[:, group]).max(axis=1, initial=0, keepdims=True)
        if scheme == "int8":
            bound = largest / 127 / 2
        else:
            # A step's group of 256 scales may hold the largest of all; so may the offset.
            step = 2 * abs(array).max(initial=0) / 127
            bound = WIDEST_GAP / 2 * (largest + step / 2) + step / 2
        assert (abs(decoded - array)[:, group] <= bound * (1 + 1e-5)).all()


@kinds
def test_what_was_quantized_is_quantized_to_itself(scheme: str, group_size: int | None) -> None:
    array = np.random.default_rng(0).standard_normal((40, 300))
    weight = QuantizedWeight.quantize(array, scheme, group_size)
    again = QuantizedWeight.quantize(weight.dequantize(np.float64), scheme, group_size)
    np.testing.assert_array_equal(again.codes, weight.codes)
    if scheme == "int8":
        np.testing.assert_array_equal(again.scales, weight.scales)
    else:  # the mean of the scales has moved, by less than a step
        np.testing.assert_allclose(again.dequantize(), weight.dequantize(), atol=2 * weight.scales.max())


def test_nf4_s_own_values_are_kept() -> None:
    """Where all scales are equal they are the offset, and nothing is lost but the rounding of one product."""
    array = np.random.default_rng(0).choice(np.array(NF4_VALUES, np.float32), (9, 192)) * np.float32(0.3)
    array[:, ::64] = np.float32(-0.3)
    weight = QuantizedWeight.quantize(array, "nf4")
    np.testing.assert_allclose(weight.dequantize(), array, rtol=1e-6)
    assert (weight.scale_codes == 0).all()
    assert (array == 0).any()
    assert (weight.dequantize()[array == 0] == 0).all()


def test_the_layout_of_nf4() -> None:
    """Column i of a block in the lower half of byte i, column 32 + i in the upper half."""
    array = np.zeros((1, 70), np.float32)
    array[0, [0, 33, 69]] = 1.0, -1.0, 1.0
    codes = QuantizedWeight.quantize(array, "nf4").codes
    assert codes.shape == (1, 64)
    assert [codes[0, i] for i in (0, 1, 2, 32 + 5, 63)] == [0x7F, 0x07, 0x77, 0x7F, 0x77]


@settings(max_examples=60, deadline=None)
@given(
    ROWS, SIZES, SIZES, st.sampled_from(KINDS), st.sampled_from(DTYPES), st.sampled_from(LAYOUTS),
    st.integers(0, 2**32),
)  # fmt: skip
def test_products_with_the_kernels(
    m: int, n: int, k: int, kind: tuple[str, int | None], dtype: type, layout_of_input: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = QuantizedWeight.quantize(weight_of(rng, n, k), *kind)
    check(rng, m, weight.stored, weight.dequantize(np.float64), dtype, layout_of_input)


@kinds
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_decode_to_the_same_bits(scheme: str, group_size: int | None, dtype: type) -> None:
    weight = QuantizedWeight.quantize(weight_of(np.random.default_rng(0), 50, 333), scheme, group_size)
    np.testing.assert_array_equal(linear_backward(np.eye(50, dtype=dtype), weight.stored), weight.dequantize(dtype))


@kinds
def test_arrays_and_back(scheme: str, group_size: int | None) -> None:
    array = weight_of(np.random.default_rng(0), 20, 333)
    weight = QuantizedWeight.quantize(array, scheme, group_size)
    arrays = weight.arrays()
    assert {s: (a.dtype, a.shape) for s, a in arrays.items()} == layout(scheme, (20, 333), group_size)
    assert weight.nbytes == sum(a.nbytes for a in arrays.values())
    back = QuantizedWeight.from_arrays(scheme, (20, 333), arrays, group_size)
    np.testing.assert_array_equal(back.dequantize(), weight.dequantize())
    for suffix in arrays:
        with pytest.raises(ValueError, match=f"{scheme} weight{suffix}: expected .*, got none"):
            QuantizedWeight.from_arrays(scheme, (20, 333), {**arrays, suffix: None}, group_size)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="weight: expected"):
        QuantizedWeight.from_arrays(scheme, (20, 500), arrays, group_size)


@kinds
def test_arrays_of_any_layout_are_read_as_they_are(scheme: str, group_size: int | None) -> None:
    """The kernels go from one element to the next, whatever the strides are: not past the end, or between others."""
    weight = QuantizedWeight.quantize(weight_of(np.random.default_rng(0), 20, 333), scheme, group_size)
    x = np.random.default_rng(1).standard_normal((3, 333)).astype(np.float32)
    expected = quantized_linear(tinytorch.from_numpy(x), weight).tolist()
    layouts = {
        "Fortran": np.asfortranarray,
        "reversed": lambda a: a[::-1].copy()[::-1],
        "spread": lambda a: np.repeat(a, 3, -1)[..., ::3],
        "off": lambda a: np.frombuffer(b"?" + a.tobytes(), a.dtype, a.size, 1).reshape(a.shape),
    }
    for change in layouts.values():
        arrays = {suffix: change(array) if array.ndim else array for suffix, array in weight.arrays().items()}
        other = QuantizedWeight.from_arrays(scheme, (20, 333), arrays, group_size)
        assert quantized_linear(tinytorch.from_numpy(x), other).tolist() == expected


def test_bits_a_number() -> None:
    array = np.ones((256, 2048))
    assert QuantizedWeight.quantize(array, "int8").nbytes == 256 * 2048 + 256 * 4
    assert QuantizedWeight.quantize(array, "int8", 64).nbytes == 256 * 2048 * (1 + 4 / 64)
    assert QuantizedWeight.quantize(array, "nf4").nbytes == 256 * 2048 * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 4


@kinds
def test_rows_that_are_zero_or_tiny_are_kept(scheme: str, group_size: int | None) -> None:
    array = np.random.default_rng(0).standard_normal((4, 128)).astype(np.float32)
    array[1], array[2] = 0.0, np.float32(1e-44)
    decoded = QuantizedWeight.quantize(array, scheme, group_size).dequantize()
    assert (decoded[1] == 0).all()
    assert (abs(decoded[2]) <= 2e-44).all()


@pytest.mark.parametrize("dtype", [tinytorch.bfloat16, tinytorch.float16, tinytorch.float64], ids=str)
def test_weights_of_any_dtype(dtype: Any) -> None:
    tensor = tinytorch.randn(20, 100).to(dtype)
    for scheme, group_size in KINDS:
        given = QuantizedWeight.quantize(tensor, scheme, group_size)
        expected = QuantizedWeight.quantize(tensor.numpy().astype(np.float32), scheme, group_size)
        np.testing.assert_array_equal(given.dequantize(), expected.dequantize())
        assert given.dequantize(dtype).dtype == dtype


@kinds
@pytest.mark.parametrize("rows", [1, 20])
def test_the_weight_is_never_decoded_as_a_whole(scheme: str, group_size: int | None, rows: int) -> None:
    weight = QuantizedWeight.quantize(np.ones((1024, 4096), np.float32), scheme, group_size)
    x = tinytorch.ones(rows, 4096, requires_grad=True)

    def step() -> None:
        quantized_linear(x, weight).backward(tinytorch.ones(rows, 1024))

    step()  # compiles
    x.grad = None
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20  # a copy of the codes takes 2 or 4 times as much, float32 16 times


def test_quantizing_needs_little_memory() -> None:
    array = np.ones((4096, 4096), tinytorch.bfloat16)
    for scheme, result in (("int8", 16 * 2**20), ("nf4", 9 * 2**20)):
        tracemalloc.start()
        QuantizedWeight.quantize(array, scheme)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < result + 110 * 2**20


def test_two_byte_inputs_and_biases() -> None:
    weight = QuantizedWeight.quantize(np.random.default_rng(0).standard_normal((5, 70)), "nf4")
    x, bias = tinytorch.randn(3, 70).to(tinytorch.bfloat16), tinytorch.randn(5).to(tinytorch.bfloat16)
    y = quantized_linear(x.requires_grad_(), weight, bias.requires_grad_())
    y.backward(tinytorch.ones_like(y))
    assert y.dtype == x.grad.dtype == bias.grad.dtype == tinytorch.bfloat16
    expected = x.detach().numpy().astype(np.float64) @ weight.dequantize(np.float64).T
    np.testing.assert_allclose(
        y.detach().numpy().astype(np.float64), expected + bias.detach().numpy().astype(np.float64), rtol=1e-2, atol=1e-1
    )


def test_errors_name_what_was_wrong() -> None:
    array = np.ones((4, 3))
    for scheme, group_size, message in (
        ("int4", None, "'int4'.* int8, nf4"),
        ("int8", 96, "96.* power of two"),
        ("int8", 32, "32.* from 64"),
        ("nf4", 128, "128.* 64"),
    ):
        with pytest.raises(ValueError, match=message):
            QuantizedWeight.quantize(array, scheme, group_size)
    with pytest.raises(ValueError, match="infinities or NaN"):
        QuantizedWeight.quantize(array * np.nan, "int8")
    with pytest.raises(ValueError, match=r"\(3,\)"):
        QuantizedWeight.quantize(array[0], "int8")
    weight = QuantizedWeight.quantize(array, "int8")
    with pytest.raises(RuntimeError, match=r"input \(2, 4\) does not fit weight \(4, 3\)"):
        quantized_linear(tinytorch.ones(2, 4), weight)
    with pytest.raises(RuntimeError, match=r"bias \(3,\) does not fit"):
        quantized_linear(tinytorch.ones(2, 3), weight, tinytorch.ones(3))
    with pytest.raises(RuntimeError, match="float32 and float64"):
        quantized_linear(tinytorch.ones(2, 3), weight, tinytorch.ones(4, dtype=tinytorch.float64))
    with pytest.raises(RuntimeError, match="int64"):
        quantized_linear(tinytorch.ones(2, 3, dtype=tinytorch.int64), weight)


@kinds
def test_some_rows_are_decoded_by_themselves(scheme: str, group_size: int | None) -> None:
    weight = QuantizedWeight.quantize(weight_of(np.random.default_rng(0), 30, 333), scheme, group_size)
    np.testing.assert_array_equal(weight.dequantize(rows=slice(7, 20)), weight.dequantize()[7:20])
