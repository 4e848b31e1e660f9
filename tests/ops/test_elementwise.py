"""Elementwise operations and activations at their edges: zeros, infinities, NaN, ties, large and small numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops.checks import assert_same_error, compare_with_torch
from tinytorch.autograd import gradcheck

EDGES = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 30.0, -30.0, 800.0, -800.0, 1e-30, np.inf, -np.inf, np.nan])
SMOOTH = np.random.default_rng(0).standard_normal((3, 4))
ODD = {"sqrt", "rsqrt", "log", "log2", "log10", "reciprocal"}

UNARY: dict[str, Any] = {
    "neg": lambda t, x: -x,
    "abs": lambda t, x: abs(x),
    "exp": lambda t, x: x.exp(),
    "expm1": lambda t, x: t.expm1(x),
    "log": lambda t, x: t.log(x),
    "log1p": lambda t, x: t.log1p(x),
    "log2": lambda t, x: t.log2(x),
    "log10": lambda t, x: t.log10(x),
    "logaddexp": lambda t, x: t.logaddexp(x, t.zeros_like(x)),
    "logaddexp_infinities": lambda t, x: t.logaddexp(x, -x.abs()),
    "sqrt": lambda t, x: t.sqrt(x),
    "rsqrt": lambda t, x: t.rsqrt(x),
    "square": lambda t, x: t.square(x),
    "reciprocal": lambda t, x: t.reciprocal(x),
    "sin": lambda t, x: t.sin(x),
    "cos": lambda t, x: t.cos(x),
    "tanh": lambda t, x: t.tanh(x),
    "sigmoid": lambda t, x: t.sigmoid(x),
    "erf": lambda t, x: t.erf(x),
    "relu": lambda t, x: t.relu(x),
    "leaky_relu": lambda t, x: t.nn.functional.leaky_relu(x, 0.2),
    "softplus": lambda t, x: t.nn.functional.softplus(x),
    "gelu": lambda t, x: t.nn.functional.gelu(x),
    "gelu_tanh": lambda t, x: t.nn.functional.gelu(x, approximate="tanh"),
    "silu": lambda t, x: t.nn.functional.silu(x),
    "clamp": lambda t, x: x.clamp(-0.5, 1.0),
    "clamp_min": lambda t, x: t.clamp(x, min=0.0),
    "clamp_max": lambda t, x: x.clamp(max=-1.0),
    "clamp_crossed": lambda t, x: x.clamp(2.0, 1.0),
    "clip": lambda t, x: x.clip(-1, 1),
    "clamp_tensor": lambda t, x: x.clamp(t.zeros_like(x), t.ones_like(x)),
    "clamp_by_itself": lambda t, x: t.zeros_like(x).clamp(x, x + 1),
    "clamp_from_below": lambda t, x: t.ones_like(x).clamp(max=x),
    "pow_2": lambda t, x: x**2,
    "pow_3": lambda t, x: x**3,
    "pow_half": lambda t, x: x**0.5,
    "pow_0": lambda t, x: x**0,
    "pow_minus_1": lambda t, x: x**-1,
    "rpow": lambda t, x: 2**x,
    "rdiv": lambda t, x: 1 / x,
    "floor_divide": lambda t, x: (x // 0.75).detach(),
    "div_floor": lambda t, x: t.div(x, 0.75, rounding_mode="floor"),
    "div_trunc": lambda t, x: t.div(x, -0.75, rounding_mode="trunc"),
    "sign": lambda t, x: x.sign(),
    "floor": lambda t, x: x.floor(),
    "ceil": lambda t, x: x.ceil(),
    "trunc": lambda t, x: x.trunc(),
    "round": lambda t, x: x.round(),
    "round_2": lambda t, x: t.round(x, decimals=2),
    "round_tens": lambda t, x: t.round(x, decimals=-1),
    "remainder": lambda t, x: x % 0.75,
    "remainder_negative": lambda t, x: t.remainder(x, -0.75),
    "masked_fill": lambda t, x: x.masked_fill(x > 0, -1.0),
    "where": lambda t, x: t.where(x > 0, x, x * 2),
    "where_hides_nan": lambda t, x: t.where(x > 0, x, t.zeros_like(x)),
    "maximum_ties": lambda t, x: t.maximum(x, x.abs()),
    "minimum": lambda t, x: t.minimum(x, t.zeros_like(x)),
    "isnan": lambda t, x: (x.isnan(), x.isinf(), x.isfinite()),
    "comparisons": lambda t, x: (x > 0, x >= 0, x < 0, x <= 0, x == 0, x != 0, x.eq(x), x.logical_not()),
    "nan_to_int": lambda t, x: (x > 0).long(),
}
# Where the gradient is anybody's choice, ours is another: at roots of nothing, at infinity where theirs is NaN.
ROOTS, INFINITIES = [-0.0, -np.inf], [np.inf, -np.inf, 800.0, -800.0]
GRADIENT_DIFFERS = {"pow_half": ROOTS, "gelu": INFINITIES[:2], "gelu_tanh": INFINITIES}


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_edges_as_pytorch(name: str, dtype: str) -> None:
    tolerance = 2e-5 if dtype == "float32" else 1e-10
    different = [str(x) for x in GRADIENT_DIFFERS.get(name, [])]
    for x in EDGES:  # one at a time: an infinity must not hide the others behind its tolerance
        call = UNARY[name]
        if str(float(x)) in different:
            call = lambda t, x: UNARY[name](t, x.detach())  # noqa: E731
        compare_with_torch(call, [np.array([x], dtype)], tolerance=tolerance)


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(set(UNARY) - ODD))
def test_second_derivatives_as_pytorch(name: str) -> None:
    x = np.abs(SMOOTH) + 0.1 if "pow_half" in name or "log" in name else SMOOTH
    compare_with_torch(UNARY[name], [x], second=True)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float32"])
@pytest.mark.parametrize("number", [3, -2, 2.5])
def test_division_and_remainder(dtype: str, number: Any) -> None:
    if dtype == "uint8" and number < 0:
        return  # wraps around in PyTorch, NumPy refuses it
    x = np.array([7, 6, 1, 0]).astype(dtype)
    for call in (
        lambda t, x: (x // number).detach(),
        lambda t, x: x % number,
        lambda t, x: t.div(x, number, rounding_mode="trunc").detach(),
        lambda t, x: t.div(x, number, rounding_mode="floor").detach(),
        lambda t, x: x / number,
    ):
        compare_with_torch(call, [x])


@pytest.mark.oracle
@pytest.mark.parametrize(
    "call, x",
    [
        (lambda t, x: x.clamp(), SMOOTH),
        (lambda t, x: x - x, SMOOTH > 0),
        (lambda t, x: x + "text", SMOOTH),
        (lambda t, x: x + None, SMOOTH),
        (lambda t, x: t.where(x > 0, x, t.zeros(5)), SMOOTH),
        (lambda t, x: x.masked_fill(x, 0), SMOOTH),
        (lambda t, x: t.div(x, 2, rounding_mode="up"), SMOOTH),
        (lambda t, x: x @ 2, SMOOTH),
        (lambda t, x: t.nn.functional.gelu(x, approximate="erf"), SMOOTH),
        (lambda t, x: t.ones(2, dtype=t.int64).requires_grad_(), SMOOTH),
    ],
)
def test_errors_are_pytorchs(call: Any, x: Any) -> None:
    assert_same_error(call, [x])


def test_by_hand() -> None:
    x = tinytorch.tensor([0.0, 4.0], requires_grad=True)
    x.sqrt().sum().backward()
    assert x.grad.tolist() == [np.inf, 0.25]
    a = tinytorch.tensor([1.0, 2.0], requires_grad=True)
    b = tinytorch.tensor([1.0, 1.0], requires_grad=True)
    tinytorch.maximum(a, b).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([0.5, 1], [0.5, 0])
    assert (tinytorch.tensor([-7, 7]) // 2).tolist() == [-4, 3]
    assert (tinytorch.tensor([-7, 7]) % 3).tolist() == [2, 1]


def test_a_nan_on_the_side_not_chosen_stays_there() -> None:
    x = tinytorch.tensor([-1.0, 4.0], requires_grad=True)
    tinytorch.where(x > 0, x.sqrt(), tinytorch.zeros(2)).sum().backward()
    assert np.isnan(x.grad.tolist()[0]), "0 * NaN in sqrt's own backward: as in PyTorch"
    y = tinytorch.tensor([np.nan, 4.0], requires_grad=True)
    tinytorch.where(tinytorch.tensor([False, True]), y, tinytorch.zeros(2)).sum().backward()
    assert y.grad.tolist() == [0, 1]


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["int64", "uint8", "float16", "float32"])
def test_clamp_keeps_or_promotes_the_dtype(dtype: str) -> None:
    for bound in (1, 1.5):
        compare_with_torch(
            lambda t, x, b=bound: (x.clamp(b), x.clamp(0, b), x.clamp(max=b)), [np.arange(4).astype(dtype)]
        )


def test_remainder_has_gradients() -> None:
    a = tinytorch.tensor(np.array([5.3, -5.3, 0.2]), requires_grad=True)
    b = tinytorch.tensor(np.array([2.0, 1.5, -0.7]), requires_grad=True)
    assert gradcheck(lambda a, b: a % b, (a, b))


# ---------------------------------------------------------------------- what is chosen, where it is NaN or infinite

CHOICES: dict[str, Any] = {
    "abs": lambda t, x: x.abs(),
    "relu": lambda t, x: x.relu(),
    "sign": lambda t, x: x.sign(),
    "round": lambda t, x: x.round(),
    "div_floor": lambda t, x: t.div(x, x + 0.5, rounding_mode="floor"),
    "maximum": lambda t, x: t.maximum(x, x[[1, 0, 2, 3, 5, 4, 6]] * 1),
    "minimum": lambda t, x: t.minimum(x, x[[1, 0, 2, 3, 5, 4, 6]] * 1),
    "clamp": lambda t, x: x.clamp(-1, 1),
    "clamp_min": lambda t, x: x.clamp(min=1.0),
    "clamp_tensors": lambda t, x: x.clamp(x[[1, 0, 2, 3, 5, 4, 6]] * 1, x + 1),
    "where": lambda t, x: t.where(x > 0, x, 2 * x),
    "masked_fill": lambda t, x: x.masked_fill(x > 0, 0.0),
    "remainder": lambda t, x: x % 2,
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CHOICES)
def test_gradients_are_chosen_not_multiplied(name: str) -> None:
    """0 stays 0 also where the cotangent is infinite or NaN, and where elements are NaN."""
    import torch

    for values in ([np.nan, 1.0, -1.0, 2.0, 0.0, np.nan, -3.0], [2.0, 1.0, -1.0, 2.0, 0.0, -0.0, np.inf]):
        for number in (3.0, np.inf, -np.inf, np.nan):
            x = tinytorch.tensor(values, requires_grad=True)
            z = torch.tensor(values, requires_grad=True)
            CHOICES[name](tinytorch, x).backward(tinytorch.full((7,), number))
            CHOICES[name](torch, z).backward(torch.full((7,), number))
            np.testing.assert_array_equal(x.grad.numpy(), z.grad.numpy(), err_msg=f"{values}, {number}")


def test_gradients_at_nan() -> None:
    nan = np.nan
    for call, expected in (
        (lambda x: x.abs(), [0.0, 1.0, -1.0]),
        (lambda x: tinytorch.maximum(x, tinytorch.tensor([0.0, nan, 0.0])), [1.0, 1.0, 0.0]),
        (lambda x: tinytorch.minimum(x, tinytorch.tensor([0.0, nan, 0.0])), [1.0, 1.0, 1.0]),
        (lambda x: x.clamp(0.0, 3.0), [0.0, 1.0, 0.0]),
        (lambda x: x.max(), [1.0, 0.0, 0.0]),
        (lambda x: tinytorch.cat([x, x]).min(), [1.0, 0.0, 0.0]),
        (lambda x: x.clamp(tinytorch.zeros(3), tinytorch.ones(3)), [0.0, 0.0, 0.0]),
    ):
        x = tinytorch.tensor([nan, 2.0, -1.0], requires_grad=True)
        call(x).sum().backward()
        assert x.grad.tolist() == expected
    assert tinytorch.sign(tinytorch.tensor([nan, -nan, 2.0, -0.0])).tolist() == [0, 0, 1, 0]
    bounds = tinytorch.tensor([nan, 0.0])
    assert np.isnan(tinytorch.tensor([1.0, nan]).clamp(bounds, bounds + 1).numpy()).all()


# ---------------------------------------------------------------------- rounding, and what a division leaves

STEPS: dict[str, Any] = {
    "sign": lambda x: x.sign(),
    "floor": lambda x: x.floor(),
    "ceil": lambda x: x.ceil(),
    "trunc": lambda x: x.trunc(),
    "round": lambda x: x.round(decimals=1),
    "div_floor": lambda x: tinytorch.div(x, 2.0, rounding_mode="floor"),
    "div_trunc": lambda x: tinytorch.div(5.0, x, rounding_mode="trunc"),
    "floor_divide": lambda x: x // x,
    "div_": lambda x: (x * 1).div_(2.0, rounding_mode="floor"),
    "round_": lambda x: (x * 1).round_(),
    "//=": lambda x: (x * 1).__ifloordiv__(2.0),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_recorded_with_a_gradient_of_zeros(name: str) -> None:
    x = tinytorch.tensor([-2.3, 3.7], requires_grad=True)
    for cotangent in (1.0, np.inf):
        x.grad = None
        y = STEPS[name](x)
        assert y.requires_grad and y.grad_fn is not None
        y.backward(tinytorch.full((2,), cotangent))
        assert x.grad.tolist() == [0.0, 0.0]


def test_rounding_by_hand() -> None:
    x = tinytorch.tensor([-2.5, -0.5, 0.5, 1.5, 2.4])
    assert x.round().tolist() == [-2, -0.0, 0, 2, 2]
    assert x.floor().tolist() == [-3, -1, 0, 1, 2]
    assert x.ceil().tolist() == [-2, -0.0, 1, 2, 3]
    assert x.trunc().tolist() == tinytorch.fix(x).tolist() == [-2, -0.0, 0, 1, 2]
    assert tinytorch.round(tinytorch.tensor([1234.5678], dtype=tinytorch.float64), decimals=2).tolist() == [1234.57]
    assert tinytorch.round(tinytorch.tensor([1250.0, 1350.0]), decimals=-2).tolist() == [1200, 1400]
    integers = tinytorch.tensor([3, -2])
    for whole in (integers.floor(), integers.ceil(), integers.trunc(), integers.round()):
        assert whole.dtype == tinytorch.int64 and whole.tolist() == [3, -2] and whole is not integers
    assert tinytorch.sign(tinytorch.tensor([True, False])).tolist() == [True, False]


def test_remainder_is_exact() -> None:
    """Also where a float cannot hold the quotient, and at infinities and zeros: C's fmod, with the divisor's sign."""
    inf, nan = np.inf, np.nan

    def left(a: Any, b: Any) -> Any:
        return (tinytorch.from_numpy(np.array(a)) % tinytorch.from_numpy(np.array(b))).tolist()

    assert left([1e16, 1e20, -1e16], [7.0, 113.0, 7.0]) == [4, 60, 3]
    assert left([5.0, -5.0, 5.0, -5.0], [3.0, 3.0, -3.0, -3.0]) == [2, 1, -1, -2]
    assert left([1.0, -1.0, 0.0, 1.0], [inf, inf, -inf, -inf]) == [1, inf, 0, -inf]
    np.testing.assert_array_equal(left([inf, 1.0, nan, 1.0], [2.0, 0.0, 1.0, nan]), [nan] * 4)
    assert np.signbit(left([-6.0, 6.0], [3.0, -3.0])).tolist() == [True, False]
    quotient = tinytorch.from_numpy(np.array([5.3, -7.0, 7.0, 1e16])) // tinytorch.from_numpy(np.array([0.1, 2, -2, 7]))
    assert quotient.tolist() == [52, -4, -4, 1428571428571428]
    large = tinytorch.tensor([2**62 + 1, -(2**62) - 1])
    assert tinytorch.div(large, 3, rounding_mode="trunc").tolist() == [(2**62 + 1) // 3, -((2**62 + 1) // 3)]
    assert (large // 3).tolist() == [(2**62 + 1) // 3, (-(2**62) - 1) // 3]
    assert (large % 3).tolist() == [(2**62 + 1) % 3, (-(2**62) - 1) % 3]
    for call in (lambda x: x // 0, lambda x: x % 0, lambda x: tinytorch.div(x, 0, rounding_mode="trunc")):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            call(large)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_division_that_rounds_has_pytorchs_bits(dtype: str) -> None:
    """Of a thousand quotients, the special ones, and those of a number."""
    import torch

    rng = np.random.default_rng(0)
    special = np.array([0.0, -0.0, 1.0, -1.0, 3.0, 0.1, -0.1, 0.3, 5.3, 113.0, np.inf, -np.inf, np.nan])
    wide = [rng.standard_normal(1000) * 10.0 ** rng.integers(-3, 4, 1000) for _ in range(2)]
    a, b = np.repeat(special, len(special)), np.tile(special, len(special))
    a, b = (np.concatenate(pair).astype(np.float32) for pair in ((a, wide[0]), (b, wide[1])))
    ours = [tinytorch.tensor(x).to(getattr(tinytorch, dtype)) for x in (a, b)]
    theirs = [torch.from_numpy(x).to(getattr(torch, dtype)) for x in (a, b)]
    for name, call in {
        "%": lambda t, a, b: a % b,
        "floor": lambda t, a, b: t.div(a, b, rounding_mode="floor"),
        "trunc": lambda t, a, b: t.div(a, b, rounding_mode="trunc"),
        "//": lambda t, a, b: a // b,
        "floor of a number": lambda t, a, b: a // 0.1,
        "trunc of a number": lambda t, a, b: t.div(a, 0.3, rounding_mode="trunc"),
        "round": lambda t, a, b: t.round(a, decimals=2),
        "round tens": lambda t, a, b: t.round(a, decimals=-1),
    }.items():
        y, z = call(tinytorch, *ours).float().numpy(), call(torch, *theirs).float().numpy()
        np.testing.assert_array_equal(y, z, err_msg=name)
        np.testing.assert_array_equal(np.signbit(y[y == 0]), np.signbit(z[z == 0]), err_msg=name)


# ---------------------------------------------------------------------- of integers and truth values


def test_of_integers_by_hand() -> None:
    x = tinytorch.tensor([[-2, 0], [3, 1]])
    assert tinytorch.relu(x).tolist() == [[0, 0], [3, 1]] and tinytorch.relu(x).dtype == tinytorch.int64
    assert x.abs().tolist() == [[2, 0], [3, 1]] and (-x).tolist() == [[2, 0], [-3, -1]]
    assert x.clamp(0, 2).tolist() == [[0, 0], [2, 1]] and x.clamp(tinytorch.tensor([1, 1])).tolist() == [[1, 1], [3, 1]]
    assert tinytorch.maximum(x, -x).tolist() == [[2, 0], [3, 1]]
    assert (x**2).tolist() == [[4, 0], [9, 1]] and x.square().dtype == tinytorch.int64
    assert (tinytorch.tensor([-1, 1, 2, 0]) ** tinytorch.tensor([-3, -3, -1, -1])).tolist() == [-1, 1, 0, 0]
    assert (2 ** tinytorch.tensor([3, -1])).tolist() == [8, 0]
    assert tinytorch.where(x > 0, 1, 2).tolist() == [[2, 2], [1, 1]]
    assert tinytorch.where(x > 0, 1.5, 2).dtype == tinytorch.float32
    assert [y.tolist() for y in tinytorch.where(x > 0)] == [[1, 1], [0, 1]]
    assert tinytorch.add(2, 3).tolist() == 5 and tinytorch.div(1, 4).item() == 0.25


def test_comparisons_are_in_the_common_dtype() -> None:
    """Of int64 and float32 in float32, in which 2^24 + 1 is 2^24: as every operation of both, and as PyTorch."""
    assert (tinytorch.tensor([2**24 + 1]) == tinytorch.tensor([2.0**24])).tolist() == [True]
    assert (tinytorch.tensor([2**24 + 1]) == tinytorch.tensor([2.0**24]).double()).tolist() == [False]
    assert tinytorch.eq(tinytorch.tensor([1, 2]), 2).tolist() == [False, True]
    assert tinytorch.logical_and(tinytorch.tensor([1.0, 0.0]), tinytorch.tensor([2, 3])).tolist() == [True, False]
    with pytest.raises(TypeError):
        tinytorch.tensor([1.0]).eq("a")
    assert (tinytorch.tensor([1.0]) == "a") is False
