"""Python's numbers on their way in: exact, rounded once, or refused. By rule, and as PyTorch where it is installed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import bfloat16, float16, float32, float64, int8, int16, int32, int64, uint8

INTEGERS = (uint8, int8, int16, int32, int64)
FLOATS = (float16, bfloat16, float32, float64)


def named(dtype: Any, t: Any) -> Any:
    return getattr(t, str(dtype))


def written(x: Any, index: Any, value: Any) -> Any:
    x[index] = value
    return x


# Each puts a number v into a tensor of dtype d, of one element or with it in front.
WAYS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "tensor": lambda t, v, d: t.tensor(v, dtype=d),
    "tensor_of_list": lambda t, v, d: t.tensor([v, 1], dtype=d),
    "tensor_of_floats": lambda t, v, d: t.tensor([v, 1.0], dtype=d),
    "tensor_of_lists": lambda t, v, d: t.tensor([[v], [1]], dtype=d),
    "as_tensor": lambda t, v, d: t.as_tensor((v,), dtype=d),
    "full": lambda t, v, d: t.full((2,), v, dtype=d),
    "full_like": lambda t, v, d: t.full_like(t.zeros(2), v, dtype=d),
    "fill_": lambda t, v, d: t.zeros(2, dtype=d).fill_(v),
    "masked_fill": lambda t, v, d: t.zeros(2, dtype=d).masked_fill(t.tensor([True, False]), v),
    "masked_fill_": lambda t, v, d: t.zeros(2, dtype=d).masked_fill_(t.tensor([True, False]), v),
    "setitem": lambda t, v, d: written(t.zeros(2, dtype=d), 0, v),
    "setitem_slice": lambda t, v, d: written(t.zeros(2, dtype=d), slice(None), v),
    "setitem_mask": lambda t, v, d: written(t.zeros(2, dtype=d), t.tensor([True, False]), v),
}
ways = pytest.mark.parametrize("way", WAYS)


def limits(dtype: Any) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def outside(dtype: Any) -> list[Any]:
    """Numbers that an integer dtype does not hold."""
    low, high = limits(dtype)
    numbers: list[Any] = [math.nan, math.inf, -math.inf, 1e300, -1e19, 2.0**63, 1e10 if dtype != int64 else 1e19]
    if dtype != int64:
        numbers += [high + 1, -high - 2 if low else -high - 1, high + 0.5, low - 1.5, 2**53 + 1, np.int64(high + 1)]
    return numbers + ([-0.5] if dtype == uint8 else [])


def inside(dtype: Any) -> list[tuple[Any, int]]:
    """Numbers and what becomes of them."""
    low, high = limits(dtype)
    found: list[tuple[Any, int]] = [(low, low), (high, high), (1.7, 1), (100.0, 100), (True, 1), (np.int8(5), 5)]
    if dtype == uint8:
        found += [(-1, 255), (-255, 1), (254.9, 254)]  # negative integers count from 256 down, as in PyTorch
    else:
        found += [(-1.7, -1), (-0.5, 0), (-100, -100)]
    if dtype == int64:
        found += [(2**53 + 1, 2**53 + 1), (16777217.0, 16777217), (np.int64(2**53 + 1), 2**53 + 1)]
    return found


@ways
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_hold_what_fits(dtype: Any, way: str) -> None:
    for number, expected in inside(dtype):
        y = WAYS[way](tinytorch, number, dtype)
        assert y.dtype == dtype and y.array.reshape(-1)[0] == expected, f"{number!r} became {y}"


@ways
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_refuse_what_does_not_fit(dtype: Any, way: str) -> None:
    for number in outside(dtype):
        with pytest.raises(RuntimeError, match=f"cannot be converted to type {dtype} without overflow"):
            WAYS[way](tinytorch, number, dtype)


@ways
def test_floats_keep_their_digits(way: str) -> None:
    for number in (0.1, -1.7, 1e300, 16777217.0, 2**53, 2**70, math.inf, np.float64(0.1), np.float32(0.1), True):
        assert WAYS[way](tinytorch, number, float64).array.reshape(-1)[0] == number
    assert math.isnan(WAYS[way](tinytorch, math.nan, float64).array.reshape(-1)[0])
    for dtype in FLOATS:  # rounded once
        y = WAYS[way](tinytorch, 0.1, dtype)
        assert y.dtype == dtype and y.array.reshape(-1)[0] == np.float64(0.1).astype(dtype)
    assert WAYS[way](tinytorch, 0.25, tinytorch.bool).array.reshape(-1)[0]


@pytest.mark.oracle
@ways
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, np.dtype("bool")], ids=str)
def test_numbers_as_pytorch(dtype: Any, way: str) -> None:
    import torch

    numbers = [300, -1, 256, -129, -300, 1e10, 2**31, 2**53 + 1, 255.5, -0.5, 1.7, math.nan, -math.inf, 1e39, 0.1, True]

    def result(t: Any, number: Any) -> Any:
        try:
            return WAYS[way](t, number, named(dtype, t)).double().tolist()
        except RuntimeError:
            return "refused"

    for number in numbers:
        np.testing.assert_equal(result(tinytorch, number), result(torch, number), err_msg=f"{number!r}")


def test_the_default_dtype_takes_digits_too() -> None:
    tinytorch.set_default_dtype(float64)
    try:
        for y in (tinytorch.tensor(0.1), tinytorch.tensor([[0.1]]), tinytorch.full((1,), 0.1), tinytorch.Tensor([0.1])):
            assert y.dtype == float64 and y.item() == 0.1
        assert tinytorch.where(tinytorch.tensor([True]), 0.1, 0.2).item() == 0.1
        assert (tinytorch.tensor([1]) * 0.1).item() == 0.1
    finally:
        tinytorch.set_default_dtype(float32)
    assert tinytorch.tensor(0.1).item() == np.float32(0.1)


def test_lists_of_tensors_and_numbers() -> None:
    t = tinytorch
    wide = t.tensor(0.1, dtype=float64)
    lists: tuple[Any, ...] = ([wide, 0.1], [0.1, wide], [[0.1], [wide]], [0.1, np.float64(0.1)])
    for y in map(t.tensor, lists):
        assert y.dtype == float64 and set(y.reshape(-1).tolist()) == {0.1}
    assert t.tensor([t.tensor(0.1), 0.1], dtype=float64).tolist() == [np.float32(0.1), 0.1]
    assert t.tensor([t.tensor(1), 2.5]).dtype == float32 and t.tensor([[True], [2]]).dtype == int64
    assert t.tensor([2**53 + 1, 0.5], dtype=int64).tolist() == [2**53 + 1, 0]
    assert t.tensor([-1, 2.5], dtype=uint8).tolist() == [255, 2]
    assert t.tensor([2**64, 1], dtype=float64).tolist() == [2.0**64, 1]
    assert t.tensor([np.uint8(200), 3], dtype=int32).tolist() == [200, 3]
    for data in ([t.tensor(300)], [[300.0, 1.0]], [np.array([300])], [np.int16(300)], range(299, 301), [[1], [np.nan]]):
        with pytest.raises(RuntimeError, match="cannot be converted to type uint8"):
            t.tensor(data, dtype=uint8)
    # Arrays and Tensors are cast, as in PyTorch.
    assert t.tensor(np.array([300]), dtype=uint8).tolist() == t.tensor(t.tensor([300]), dtype=uint8).tolist() == [44]


@pytest.mark.parametrize("data", [2**63, [2**63], 2**64, [1, -(2**64)], [[2**63]]])
def test_integers_beyond_int64(data: Any) -> None:
    with pytest.raises(ValueError, match="does not fit into int64"):
        tinytorch.tensor(data)
    with pytest.raises(ValueError, match="does not fit into int64"):
        tinytorch.tensor(data, dtype=int64)
    assert tinytorch.tensor(data, dtype=float64).abs().max().item() >= 2.0**63


# ---------------------------------------------------------------------- beside a tensor


def test_beside_float64_numbers_keep_their_digits() -> None:
    x = tinytorch.ones(1, dtype=float64)
    for y, expected in (
        (x + 0.1, 1.1), (0.1 + x, 1.1), (x - 0.1, 0.9), (0.1 - x, 0.1 - 1), (x * 0.1, 0.1), (x / 3, 1 / 3),
        (0.1 / x, 0.1), (x * 1e300, 1e300), (x + np.float64(0.1), 1.1), (x.add(x, alpha=0.1), 1.1),
        (x.sub(x, alpha=0.1), 0.9),
        (x.add(tinytorch.ones(1), alpha=0.1), 1.1), (x.clamp(max=0.1), 0.1), (x.clamp(min=1.1), 1.1),
        (tinytorch.where(x > 0, 0.1, x), 0.1), (tinytorch.where(x < 0, x, 0.1), 0.1), ((2 * x) ** 0.1, 2**0.1),
        (x.masked_fill(x > 0, 0.1), 0.1), (x.clone().mul_(0.1), 0.1), (x.clone().add_(0.1), 1.1),
    ):  # fmt: skip
        assert y.dtype == float64 and y.item() == expected


def test_beside_int64_numbers_are_exact() -> None:
    x, large = tinytorch.ones(1, dtype=int64), 2**53 + 1
    for y, expected in (
        (x + large, large + 1), (large - x, large - 1), (x * large, large), (x.add(x, alpha=large), large + 1),
        (x.clamp(min=large), large), (tinytorch.where(x > 0, large, x), large), (x.masked_fill(x > 0, large), large),
        (tinytorch.where(x > 0, large, 0), large), (x * (2**63 - 1), 2**63 - 1),
    ):  # fmt: skip
        assert y.dtype == int64 and y.item() == expected
    assert tinytorch.equal(x + large == large + 1, tinytorch.tensor([True]))


def test_integers_beside_smaller_ones_wrap() -> None:
    x = tinytorch.ones(1, dtype=uint8)
    for y, expected in (
        (x + 300, 45), (x - 2, 255), (-1 + x, 0), (x * 300, 44), (x * -1, 255), (x + 2**40, 1),
        (x.clone().add_(300), 45), (tinytorch.tensor(1, dtype=int8) + 200, -55),
    ):  # fmt: skip
        assert y.dtype in (uint8, int8) and y.item() == expected
    with pytest.raises(OverflowError, match="does not fit into int64"):
        x + 2**64
    for call in (
        lambda: tinytorch.where(x > 0, 300, x),
        lambda: tinytorch.where(x > 0, x, -300),
        lambda: x.clamp(min=300),
        lambda: x.clamp(max=-300),
        lambda: x**300,
        lambda: tinytorch.where(x > 0, tinytorch.ones(1), 1e39),
    ):
        with pytest.raises(RuntimeError, match=r"cannot be converted to type \w+ without overflow"):
            call()


def test_numpys_numbers_are_numbers() -> None:
    """Not tensors without dimensions, which would decide the dtype."""
    ints, truth = tinytorch.ones(2, dtype=int64), tinytorch.tensor([True])
    assert (ints * np.float64(0.5)).dtype == (ints / np.float64(2)).dtype == float32
    assert (truth + np.uint8(200)).dtype == int64 and (truth * np.bool_(True)).dtype == tinytorch.bool
    number = tinytorch.ones((), dtype=float16)
    assert (number * np.float32(0.5)).dtype == (np.float64(0.5) + number).dtype == float16
    assert tinytorch.result_type(ints, np.float64(1)) == float32 and tinytorch.result_type(1, 0.5) == float32
    assert tinytorch.result_type(True, 2) == int64 and tinytorch.result_type(True, False) == tinytorch.bool


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_factors_of_two_bytes_are_not_rounded(dtype: Any) -> None:
    """x * 0.1 is the rounded product, not that of x and a rounded 0.1; so are its gradient, and a quotient's."""
    values = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    exact = values.astype(np.float32)
    x = tinytorch.from_numpy(values).requires_grad_()
    tenth = np.float32(0.1)
    for y, expected, slope in (
        (x * 0.1, exact * tenth, tenth),
        (0.1 * x, exact * tenth, tenth),
        (x / 3, exact / np.float32(3), 1 / np.float32(3)),
        (x * tinytorch.tensor(0.1), exact * tenth, tenth),
        (x / 70_000, exact / np.float32(70_000), 1 / np.float32(70_000)),
    ):
        assert y.dtype == dtype and np.array_equal(y.detach().numpy(), expected.astype(dtype))
        (grad,) = tinytorch.autograd.grad(y.sum(), x)
        assert set(grad.tolist()) == {float(np.float32(slope).astype(dtype))}
    assert (x * 0.5).grad_fn.name() == "MulBackward0"  # which it holds
    scale = tinytorch.tensor(0.1, requires_grad=True)
    (x.detach() * scale).sum().backward()
    assert scale.grad.dtype == float32 and scale.grad.item() == pytest.approx(exact.sum(), rel=1e-2, abs=0.1)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_two_bytes_beside_numbers_to_the_bit(dtype: Any) -> None:
    import torch

    rng = np.random.default_rng(0)
    values = rng.standard_normal(1000).astype(np.float32)
    ours = tinytorch.from_numpy(values).to(dtype)
    theirs = torch.from_numpy(values).to(named(dtype, torch))
    for call in (
        lambda x, s: x + s, lambda x, s: x - s, lambda x, s: s - x, lambda x, s: x * s, lambda x, s: s * x,
        lambda x, s: x / s, lambda x, s: x.clamp(min=s),
    ):  # fmt: skip
        for number in rng.standard_normal(5).tolist():
            assert np.array_equal(call(ours, number).float().numpy(), call(theirs, number).float().numpy())
