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
ODD = {"sqrt", "rsqrt", "log", "reciprocal"}

UNARY: dict[str, Any] = {
    "neg": lambda t, x: -x,
    "abs": lambda t, x: abs(x),
    "exp": lambda t, x: x.exp(),
    "expm1": lambda t, x: t.expm1(x),
    "log": lambda t, x: t.log(x),
    "log1p": lambda t, x: t.log1p(x),
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
    "pow_2": lambda t, x: x**2,
    "pow_3": lambda t, x: x**3,
    "pow_half": lambda t, x: x**0.5,
    "pow_0": lambda t, x: x**0,
    "pow_minus_1": lambda t, x: x**-1,
    "rpow": lambda t, x: 2**x,
    "rdiv": lambda t, x: 1 / x,
    "floor_divide": lambda t, x: (x // 0.75).detach(),
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
# Where the gradient is anybody's choice, ours is another: at NaN, at roots of nothing, at infinity where theirs is NaN.
NAN, ROOTS, INFINITIES = [np.nan], [-0.0, -np.inf], [np.inf, -np.inf, 800.0, -800.0]
GRADIENT_DIFFERS = {
    "abs": NAN, "relu": NAN, "maximum_ties": NAN, "minimum": NAN, "clamp_tensor": NAN, "pow_half": ROOTS,
    "gelu": INFINITIES[:2], "gelu_tanh": INFINITIES,
}  # fmt: skip


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
