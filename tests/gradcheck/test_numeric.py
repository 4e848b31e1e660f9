"""Numeric derivatives by themselves, functions of NumPy arrays, and the accuracy of extrapolation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch.autograd import GradcheckError, KinkError, gradcheck
from tinytorch.gradcheck import GradcheckInputError, gradcheck_numpy, numeric_gradient, numeric_jacobian

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2))


# ---------------------------------------------------------------------- numeric_jacobian


def test_the_jacobian_of_a_product() -> None:
    expected = np.einsum("ik,lj->ijkl", np.eye(3), W)
    found = numeric_jacobian(lambda x: x @ W, X)
    assert isinstance(found, np.ndarray) and found.shape == (3, 2, 3, 4)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    of_tensor = numeric_jacobian(lambda x: x @ torch.from_numpy(W), torch.from_numpy(X))
    assert torch.is_tensor(of_tensor) and not of_tensor.requires_grad
    np.testing.assert_array_equal(of_tensor.numpy(), found)


def test_a_tuple_of_inputs_and_what_is_no_floating_array() -> None:
    before = X.copy(), W.copy()
    found = numeric_jacobian(lambda x, n, w: n * (x @ w).sum(), (X, 3, W))
    assert found[1] is None
    np.testing.assert_allclose(found[0], 3 * np.tile(W.sum(1), (3, 1)), atol=1e-7)
    np.testing.assert_allclose(found[2], 3 * np.tile(X.sum(0)[:, None], (1, 2)), atol=1e-7)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(W, before[1])


def test_strided_empty_and_zero_dimensional_arrays() -> None:
    np.testing.assert_allclose(numeric_jacobian(lambda x: x[0, 1] ** 2, X.T[::2]), 2 * X.T[::2] * [[0, 1, 0], [0] * 3],
                               atol=1e-8)  # fmt: skip
    assert numeric_jacobian(lambda x: x * 2, np.zeros((0, 2))).shape == (0, 2, 0, 2)
    assert numeric_jacobian(np.exp, np.array(1.0)) == pytest.approx(np.e, rel=1e-9)


def test_the_gradient_has_the_inputs_shape() -> None:
    np.testing.assert_allclose(numeric_gradient(lambda x: np.exp(x).sum(), X), np.exp(X), rtol=1e-7)
    found = numeric_gradient(lambda x: x.exp().sum(), torch.from_numpy(X))
    np.testing.assert_allclose(found.numpy(), np.exp(X), rtol=1e-7)
    np.testing.assert_allclose(numeric_gradient(lambda x: (x[:1, :1]) ** 2, X)[0, 0], 2 * X[0, 0], rtol=1e-7)
    with pytest.raises(GradcheckInputError, match=r"func returns shape \(3, 4\), .*numeric_jacobian"):
        numeric_gradient(np.exp, X)


def test_what_has_no_numeric_jacobian() -> None:
    with pytest.raises(GradcheckInputError, match="none of the 1 inputs is a floating Tensor or array"):
        numeric_gradient(sum, [1.0, 2.0])
    with pytest.raises(GradcheckInputError, match="must return one Tensor or array, not tuple"):
        numeric_jacobian(lambda x: (x, x), X)
    with pytest.raises(GradcheckInputError, match="input 0 is float32, too coarse"):
        numeric_jacobian(np.exp, X.astype(np.float32))


FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "sin": (np.sin, np.cos),
    "exp": (np.exp, np.exp),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "steep": (lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x)),
    "near a pole": (lambda x: 1 / (x - 1.01), lambda x: -1 / (x - 1.01) ** 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_extrapolation_is_some_thousand_times_as_accurate(name: str) -> None:
    f, df = FUNCTIONS[name]
    x = np.linspace(0.2, 1.0, 7)
    exact = df(x)
    plain = np.abs(np.diag(numeric_jacobian(f, x)) / exact - 1).max()
    extrapolated = np.abs(np.diag(numeric_jacobian(f, x, richardson=True)) / exact - 1).max()
    assert extrapolated < 1e-11 < 1e-3 * plain + 1e-11 and extrapolated < plain / 20


class Slightly(torch.autograd.Function):
    """sin, off by a relative 1e-10."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[0].cos() * (1 + 1e-10)


@pytest.mark.parametrize("fast_mode", [False, True], ids=["slow", "fast"])
def test_gradcheck_extrapolates_where_the_tolerances_ask_for_it(fast_mode: bool) -> None:
    x = torch.linspace(0.2, 1.0, 5, dtype=torch.float64).requires_grad_()
    assert gradcheck(torch.sin, x, atol=1e-11, rtol=1e-11, fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match="from differences, extrapolated"):
        gradcheck(Slightly.apply, x, atol=1e-11, rtol=1e-11, fast_mode=fast_mode)
    assert gradcheck(Slightly.apply, x, fast_mode=fast_mode)


@pytest.mark.parametrize("fast_mode", [False, True], ids=["slow", "fast"])
def test_a_kink_that_the_longer_steps_reach_is_no_mistake(fast_mode: bool) -> None:
    for place in (0.0, 1e-5) if fast_mode else (0.0, 1e-5, 1e-4, -1.9e-4):
        x = torch.tensor([place, 1.0], dtype=torch.float64).requires_grad_()
        with pytest.raises(KinkError, match=r"has a kink(.|\n)*or within 0\.0002 of it"):
            gradcheck(torch.relu, x, atol=1e-11, rtol=1e-11, fast_mode=fast_mode)
    x = torch.tensor([0.001, -0.01, 1.0], dtype=torch.float64).requires_grad_()
    assert gradcheck(torch.relu, x, atol=1e-11, rtol=1e-11)


def test_fast_mode_takes_a_large_input_in_a_few_calls() -> None:
    calls = []

    def func(x: Any) -> Any:
        calls.append(1)
        return (x * x).tanh()

    x = torch.from_numpy(np.random.default_rng(0).standard_normal(200_000)).requires_grad_()
    assert gradcheck(func, x, fast_mode=True) and len(calls) < 10


# ---------------------------------------------------------------------- gradcheck_numpy


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_backward(x: Any, g: Any) -> Any:
    y = softmax(x)
    return y * (g - (g * y).sum(-1, keepdims=True))


@pytest.mark.parametrize("fast_mode", [False, True], ids=["slow", "fast"])
def test_functions_of_arrays(fast_mode: bool) -> None:
    assert gradcheck_numpy(softmax, softmax_backward, X, fast_mode=fast_mode)
    assert gradcheck_numpy(lambda x, w: x @ w, lambda x, w, g: (g @ w.T, x.T @ g), (X, W), fast_mode=fast_mode)
    assert gradcheck_numpy(lambda x: (x**2).sum(), lambda x, g: 2 * x * g, X, fast_mode=fast_mode)  # gives a number
    assert gradcheck_numpy(lambda x: (x**2, x.sum()), lambda x, g, h: 2 * x * g + h, X, fast_mode=fast_mode)
    rows = np.array([2, 0, 2])

    def scatter(n: Any, x: Any, rows: Any, g: Any) -> Any:
        found = np.zeros_like(x)
        np.add.at(found, rows, n * g)
        return found

    assert gradcheck_numpy(lambda n, x, rows: n * x[rows], scatter, (3, X, rows), fast_mode=fast_mode)


def test_what_is_wrong_is_named_by_the_place_among_all_inputs() -> None:
    with pytest.raises(GradcheckError, match=r"backward is wrong for input 1 \(float64 \(3, 4\)\)") as caught:
        gradcheck_numpy(lambda n, x: n * x**2, lambda n, x, g: 2 * n * x * np.ones_like(g) * 0.5 * g, (3, X))
    assert caught.value.input == 1 and caught.value.name == "input 1"
    with pytest.raises(GradcheckError, match="a path or a sum is missing"):
        gradcheck_numpy(softmax, lambda x, g: softmax(x) * g, X)
    assert not gradcheck_numpy(softmax, lambda x, g: 0 * x, X, raise_exception=False)


def test_all_ones_would_not_notice_zeros() -> None:
    """The gradient of softmax for a gradient of ones is 0: gradcheck_numpy lets others come in."""
    np.testing.assert_allclose(softmax_backward(X, np.ones_like(X)), 0, atol=1e-15)
    with pytest.raises(GradcheckError, match="Backward gives 0"):
        gradcheck_numpy(softmax, lambda x, g: np.zeros_like(x), X)


def test_a_gradient_of_another_shape_is_an_error_with_a_hint() -> None:
    b = RNG.standard_normal(4)
    with pytest.raises(GradcheckError, match=r"input 1 has shape \(3, 4\): it must be the input's, \(4,\).*"
                                             r"the sum over dimension 0 is missing"):  # fmt: skip
        gradcheck_numpy(lambda x, b: x + b, lambda x, b, g: (g, g), (X, b))
    with pytest.raises(GradcheckError, match="returns 1 gradients for 2 arrays"):
        gradcheck_numpy(lambda x, b: x + b, lambda x, b, g: g, (X, b))
    with pytest.raises(GradcheckError, match=r"must be the input's, \(3, 4\)\. A repair fits: .* to be expanded"):
        gradcheck_numpy(lambda x: x.sum(0), lambda x, g: g, X)
    with pytest.raises(GradcheckInputError, match="none of the 1 inputs is an array of floats: give them as NumPy"):
        gradcheck_numpy(lambda n: n, lambda n, g: g, 3)
    with pytest.raises(GradcheckInputError, match="output 0 of f is bool"):
        gradcheck_numpy(lambda x: x > 0, lambda x, g: g, X)
    with pytest.raises(GradcheckError, match="the gradient of input 0 is complex128"):
        gradcheck_numpy(lambda x: 2 * x, lambda x, g: 2 * g + 1j, X)
    assert gradcheck_numpy(lambda x: 2 * x, lambda x, g: (2 * g).tolist(), X)


def test_writing_into_an_input_is_caught() -> None:
    def careless(x: Any, g: Any) -> Any:
        x *= 2
        return x * g

    before = X.copy()
    with pytest.raises(GradcheckError, match="changed input 0"):
        gradcheck_numpy(lambda x: x**2, careless, X)
    with pytest.raises(GradcheckError, match="the function changed input 0"):
        gradcheck_numpy(lambda x: careless(x, 1), lambda x, g: 4 * x * g, X)
    np.testing.assert_array_equal(X, before)
