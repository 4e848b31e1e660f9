"""Clipping and flattening, without an oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinytorch
from tinytorch import nn
from tinytorch.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters


def _with_gradient(values: list[float]) -> nn.Parameter:
    parameter = nn.Parameter(tinytorch.zeros(len(values)))
    parameter.grad = tinytorch.tensor(values)
    return parameter


def test_clip_grad_norm() -> None:
    a, b, none = _with_gradient([3.0, 0.0]), _with_gradient([4.0]), nn.Parameter(tinytorch.zeros(2))
    total = clip_grad_norm_([a, b, none], 1.0)
    assert isinstance(total, tinytorch.Tensor) and total.item() == 5.0
    np.testing.assert_allclose(a.grad.numpy(), [0.6, 0.0], 1e-5)
    np.testing.assert_allclose(b.grad.numpy(), [0.8], 1e-5)
    assert none.grad is None
    assert clip_grad_norm_(iter([a, b]), 2.0).item() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(b.grad.numpy(), [0.8], 1e-5)
    assert clip_grad_norm_(b, 0.4).item() == pytest.approx(0.8, rel=1e-5)
    for order in (2.0, 1.0, math.inf):
        assert clip_grad_norm_([], 1.0, order).item() == 0.0


def test_clip_grad_norm_of_a_gradient_that_is_not_contiguous() -> None:
    parameter = nn.Parameter(tinytorch.zeros(3, 2))
    parameter.grad = tinytorch.tensor(np.arange(6.0, dtype=np.float32).reshape(2, 3)).transpose(0, 1)
    total = clip_grad_norm_([parameter], 1.0).item()
    assert total == pytest.approx(math.sqrt(55))
    np.testing.assert_allclose(parameter.grad.numpy(), np.arange(6.0).reshape(2, 3).T / math.sqrt(55), 1e-5)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_norm_that_is_not_finite(norm_type: float) -> None:
    parameter = _with_gradient([math.nan, 1.0])
    other = _with_gradient([1.0])
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        clip_grad_norm_([other, parameter], 1.0, norm_type, error_if_nonfinite=True)
    assert math.isnan(clip_grad_norm_([other, parameter], 1.0, norm_type).item())


def test_clip_grad_value() -> None:
    parameter = _with_gradient([3.0, -5.0, 0.1])
    clip_grad_value_(parameter, 0.5)
    np.testing.assert_array_equal(parameter.grad.numpy(), np.float32([0.5, -0.5, 0.1]))


def test_vector_round_trip() -> None:
    model = nn.Linear(2, 3)
    vector = parameters_to_vector(model.parameters())
    assert vector.shape == (9,)
    np.testing.assert_array_equal(vector.detach().numpy()[:6], model.weight.detach().numpy().ravel())
    vector_to_parameters(tinytorch.arange(9.0), model.parameters())
    np.testing.assert_array_equal(model.bias.detach().numpy(), [6, 7, 8])
    np.testing.assert_array_equal(model.weight.detach().numpy(), [[0, 1], [2, 3], [4, 5]])
    cotangent = tinytorch.randn(9)
    parameters_to_vector(model.parameters()).backward(cotangent)
    np.testing.assert_array_equal(model.bias.grad.numpy(), cotangent.numpy()[6:])
    with pytest.raises(ValueError, match="7 elements for parameters that have 9"):
        vector_to_parameters(tinytorch.zeros(7), model.parameters())


def test_norms_by_hand() -> None:
    """Of every order, of several gradients together; an empty one counts for nothing."""
    norms = {1.0: 0.6, 2.0: math.sqrt(0.14), 3.0: (0.001 + 0.008 + 0.027) ** (1 / 3), math.inf: 0.3}
    for norm_type, expected in norms.items():
        gradients = [_with_gradient([0.1, -0.2]), _with_gradient([]), _with_gradient([-0.3])]
        assert clip_grad_norm_(gradients, 0.1, norm_type).item() == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(gradients[0].grad.numpy(), np.array([0.1, -0.2]) * 0.1 / expected, 1e-4)
        np.testing.assert_allclose(gradients[2].grad.numpy(), np.array([-0.3]) * 0.1 / expected, 1e-4)


def test_gradients_within_the_norm_stay_to_the_bit() -> None:
    for max_norm in (5.1, 7.0, 1e6, math.inf):
        parameter = _with_gradient([3.0, 4.0])
        version = parameter.grad._version
        clip_grad_norm_(parameter, max_norm)
        assert parameter.grad.tolist() == [3.0, 4.0] and parameter.grad._version == version
    clip_grad_norm_(parameter, 4.9)
    assert parameter.grad.tolist() != [3.0, 4.0] and parameter.grad._version > version


@pytest.mark.parametrize("dtype", [tinytorch.float16, tinytorch.bfloat16])
def test_clipping_16_bits(dtype: object) -> None:
    """Alone and beside other dtypes; the norm is computed wider: a square of 300 is beyond float16."""
    half, single = nn.Parameter(tinytorch.zeros(2, dtype=dtype)), _with_gradient([400.0])
    half.grad = tinytorch.tensor([300.0, 0.0]).to(dtype)
    assert clip_grad_norm_([half, single], 250.0).item() == pytest.approx(500.0)
    assert half.grad.dtype == dtype and single.grad.dtype == np.float32
    np.testing.assert_allclose(half.grad.float().numpy(), [150.0, 0.0], 1e-2)
    np.testing.assert_allclose(single.grad.numpy(), [200.0], 1e-5)
    half.grad = tinytorch.tensor([300.0, 0.0]).to(dtype)
    assert clip_grad_norm_(half, 1e9).item() == pytest.approx(300.0, rel=1e-2)
