"""The scalar functions against NumPy in more precision, in units in the last place, over the whole range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest

from tinytorch.kernels import math as kernels
from tinytorch.kernels.compiler import FASTMATH

Array = npt.NDArray[np.floating]


def loop(function: Callable[[Any], Any]) -> Callable[[Array], Array]:
    """The function over an array, compiled with what kernels allow LLVM to assume."""

    @numba.njit(fastmath=FASTMATH, error_model="numpy")
    def apply(x: Array, y: Array) -> None:
        for i in range(x.size):
            y[i] = function(x[i])

    def run(x: Array) -> Array:
        y = np.empty_like(x)
        apply(x, y)
        return y

    return run


FUNCTIONS = {name: loop(getattr(kernels, name)) for name in ("exp_of_negative", "tanh", "sigmoid", "erf")}
_erf = np.vectorize(math.erf, otypes=[np.float64])


def exact(name: str, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            return 1 / (1 + np.exp(-x))
        return _erf(x) if name == "erf" else getattr(np, name.removesuffix("_of_negative"))(x)


def ulps(got: Array, expected: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The distance in units in the last place of got's type; 0 where both are the same infinity or NaN."""
    with np.errstate(all="ignore"):
        rounded = expected.astype(got.dtype)
        unit = np.spacing(np.abs(rounded)).astype(expected.dtype)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        return np.where(same, 0, np.abs(got.astype(expected.dtype) - expected) / unit).astype(np.float64)


# One in a thousand of all float32, of either sign: denormals, infinities and NaN among them.
EVERY_FLOAT32 = np.arange(-(2**31), 2**31, 1009).astype(np.int32).view(np.float32)


def _outside(name: str, x: Array, log_tiny: float) -> npt.NDArray[np.bool_]:
    """Where it is not meant to be exact: denormal results are 0, and exp is for what is not above 0, or hardly."""
    above = x > 0.1 if name == "exp_of_negative" else np.zeros(x.shape, np.bool_)
    return above | (x < log_tiny) if name in ("exp_of_negative", "sigmoid") else above


@pytest.mark.parametrize(("name", "limit"), [("exp_of_negative", 1.5), ("tanh", 3.0), ("sigmoid", 3.0), ("erf", 4.0)])
def test_float32(name: str, limit: float) -> None:
    x = EVERY_FLOAT32
    if name == "erf":  # the reference is slow
        x = x[::20]
    x = x[~_outside(name, x, -87.3)]
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wide = x.astype(np.float64)
    assert np.max(ulps(FUNCTIONS[name](x), exact(name, wide))) < limit


@pytest.mark.parametrize(("name", "limit"), [("exp_of_negative", 1.5), ("tanh", 3.0), ("sigmoid", 3.0)])
def test_float64(name: str, limit: float) -> None:
    if np.finfo(np.longdouble).nmant < 63:
        limit += 1  # the reference is no better than float64
    rng = np.random.default_rng(0)
    small = 10.0 ** rng.uniform(-323, 2, 20000) * rng.choice([-1, 1], 20000)
    x = np.concatenate([np.linspace(-760, 720, 200001), rng.standard_normal(100000) * 3, small])
    x = x[~_outside(name, x, -708.3)]
    assert np.max(ulps(FUNCTIONS[name](x), exact(name, x.astype(np.longdouble)))) < limit


def test_erf_float64() -> None:
    x = np.concatenate([np.linspace(-7, 7, 30001), 10.0 ** np.linspace(-323, 0, 5000)])
    assert np.max(ulps(FUNCTIONS["erf"](x), exact("erf", x))) < 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_and_slope_of_gelu(dtype: Any) -> None:
    """Within two roundings of 1 everywhere; the lower tail keeps four digits down to -5."""
    below, slope = loop(kernels.normal), loop(kernels.gelu_slope)
    x = np.concatenate([np.linspace(-10, 10, 20001), [-1e4, 1e4, -1e30, 1e30]]).astype(dtype)
    wide = x.astype(np.float64)
    probability = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in wide])
    derivative = probability + wide * np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    rounding = 2 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(below(x), probability, rtol=0, atol=rounding)
    np.testing.assert_allclose(slope(x), derivative, rtol=0, atol=rounding)
    tail = (x < 0) & (x > -5)
    np.testing.assert_allclose(below(x)[tail], probability[tail], rtol=1e-4)
    infinite = np.array([np.inf, -np.inf, np.nan, 0], dtype)
    np.testing.assert_array_equal(below(infinite), [1, 0, np.nan, 0.5])
    np.testing.assert_array_equal(slope(infinite), [1, 0, np.nan, 0.5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges(dtype: Any) -> None:
    info = np.finfo(dtype)
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, info.max, -info.max, info.smallest_subnormal], dtype)
    nan, least = np.nan, info.smallest_subnormal
    expected = {
        "tanh": [1, -1, nan, 0, -0.0, 1, -1, least],
        "sigmoid": [1, 0, nan, 0.5, 0.5, 1, 0, 0.5],
        "erf": [1, -1, nan, 0, -0.0, 1, -1, least],
    }
    for name, values in expected.items():
        y = FUNCTIONS[name](x)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, np.array(values, dtype), err_msg=name)
    assert np.signbit(FUNCTIONS["tanh"](x)[4])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_is_zero_in_place_of_denormals(dtype: Any) -> None:
    info = np.finfo(dtype)
    last = np.log(info.tiny)
    y = FUNCTIONS["exp_of_negative"](
        np.array([-np.inf, info.min, 1.001 * last, 0.999 * last, -info.smallest_subnormal, -0.0, np.nan], dtype)
    )
    np.testing.assert_array_equal(y[:3], 0)
    assert info.tiny <= y[3] < 1.1 * np.exp(0.999 * last)
    np.testing.assert_array_equal(y[4:], [1, 1, np.nan])


def test_bits_round_trip_and_maximum() -> None:
    @numba.njit
    def bits(x: Any) -> Any:
        return kernels.float_to_bits(x)

    @numba.njit
    def back(x: Any) -> Any:
        return kernels.bits_to_float(kernels.float_to_bits(x))

    @numba.njit(fastmath=FASTMATH)
    def largest(x: Array) -> Any:
        y = x[0]
        for i in range(x.size):
            y = kernels.maximum(y, x[i])
        return y

    assert bits(np.float32(1)) == 0x3F800000
    assert bits(np.float64(1)) == 0x3FF0000000000000
    assert back(np.float32(-1.25)) == -1.25
    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(1).standard_normal(77).astype(dtype)
        assert largest(x) == x.max()
        for position in (0, 40, 76):
            with_nan = x.copy()
            with_nan[position] = np.nan
            assert np.isnan(largest(with_nan))


def test_loops_over_exp_are_vectorised() -> None:
    @numba.njit(fastmath=FASTMATH, error_model="numpy")
    def apply(x: Array, y: Array) -> None:
        for i in range(x.size):
            y[i] = kernels.exp_of_negative(x[i])

    x = np.ones(64, np.float32)
    apply(x, np.empty_like(x))
    code = next(iter(apply.inspect_llvm().values()))
    assert any(f"<{lanes} x float>" in code for lanes in (4, 8, 16))
