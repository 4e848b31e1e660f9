"""Initialisers: the distribution that each promises, the generator, the errors."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn
from tinytorch.nn import init


def _filled(function: Any, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Any:
    """What an initialiser makes of a parameter: it must fill it in place and return it."""
    parameter = nn.Parameter(tinytorch.zeros(*shape))
    assert function(parameter, *args, **kwargs) is parameter
    assert parameter.requires_grad and parameter.is_leaf and parameter.dtype == np.float32
    return parameter.detach().numpy().astype(np.float64)


def _assert_uniform(values: Any, low: float, high: float) -> None:
    assert values.min() >= low and values.max() <= high
    uniform = np.sort((values.ravel() - low) / (high - low))
    _assert_kolmogorov_smirnov(uniform)


def _assert_normal(values: Any, mean: float, std: float) -> None:
    distribution = NormalDist(mean, std)
    _assert_kolmogorov_smirnov(np.sort([distribution.cdf(float(v)) for v in values.ravel()]))


def _assert_kolmogorov_smirnov(uniform: Any) -> None:
    """The distance of the empirical distribution from U(0, 1); 2.2 / sqrt(n) is exceeded once in 8000."""
    n = len(uniform)
    distance = max(np.abs(np.arange(1, n + 1) / n - uniform).max(), np.abs(np.arange(n) / n - uniform).max())
    assert distance < 2.2 / math.sqrt(n)


@pytest.fixture(autouse=True)
def _seed() -> None:
    tinytorch.manual_seed(11)


def test_uniform_and_normal() -> None:
    _assert_uniform(_filled(init.uniform_, (50, 40), -2.0, 3.0), -2.0, 3.0)
    _assert_normal(_filled(init.normal_, (50, 40), 1.0, 0.02), 1.0, 0.02)


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"), [(0.0, 1.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0), (1.0, 2.0, 2.0, 9.0)]
)
def test_truncated_normal(mean: float, std: float, a: float, b: float) -> None:
    assert a <= _filled(init.trunc_normal_, (), mean, std, a, b) <= b
    values = _filled(init.trunc_normal_, (50, 40), mean, std, a, b)
    assert values.min() >= a and values.max() <= b
    normal = NormalDist(mean, std)
    low, high = normal.cdf(a), normal.cdf(b)
    _assert_kolmogorov_smirnov(np.sort([(normal.cdf(float(v)) - low) / (high - low) for v in values.ravel()]))


def test_truncated_normal_refuses_an_empty_tail() -> None:
    with pytest.raises(ValueError, match=r"\[5.0, 6.0\] holds only .* choose a and b nearer to the mean"):
        init.trunc_normal_(tinytorch.zeros(2), a=5.0, b=6.0)


def test_constants() -> None:
    assert (_filled(init.zeros_, (2, 3)) == 0).all()
    assert (_filled(init.ones_, (2, 3)) == 1).all()
    assert (_filled(init.constant_, (2, 3), 0.5) == 0.5).all()
    np.testing.assert_array_equal(_filled(init.eye_, (2, 3)), np.eye(2, 3))


def test_scaled_initialisers() -> None:
    fan_in, fan_out = 60, 30
    shape = (fan_out, fan_in)
    bound = 2.0 * math.sqrt(6 / (fan_in + fan_out))
    _assert_uniform(_filled(init.xavier_uniform_, shape, gain=2.0), -bound, bound)
    _assert_normal(_filled(init.xavier_normal_, shape, gain=2.0), 0.0, bound / math.sqrt(3))
    bound = math.sqrt(6 / fan_in)
    _assert_uniform(_filled(init.kaiming_uniform_, shape, nonlinearity="relu"), -bound, bound)
    _assert_normal(_filled(init.kaiming_normal_, shape, a=0.5, mode="fan_out"), 0.0, math.sqrt(2 / 1.25 / fan_out))


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (4, 3, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = _filled(init.orthogonal_, shape, gain=3.0).reshape(shape[0], -1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    np.testing.assert_allclose(matrix @ matrix.T, 9 * np.eye(len(matrix)), atol=1e-5)


def test_generator_decides_and_the_default_one_is_left_alone() -> None:
    for function in (init.uniform_, init.normal_, init.trunc_normal_, init.xavier_uniform_, init.xavier_normal_,
                     init.kaiming_uniform_, init.kaiming_normal_, init.orthogonal_):  # fmt: skip
        tinytorch.manual_seed(1)
        expected = tinytorch.rand(3).numpy()
        tinytorch.manual_seed(1)
        results = []
        for _ in range(2):
            generator = tinytorch.Generator()
            generator.manual_seed(5)
            results.append(_filled(function, (4, 5), generator=generator))
        np.testing.assert_array_equal(*results)
        np.testing.assert_array_equal(tinytorch.rand(3).numpy(), expected)
        assert not np.array_equal(_filled(function, (4, 5)), results[0])


def test_gains_and_errors() -> None:
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("leaky_relu", 0.5) == math.sqrt(2 / 1.25)
    assert init.calculate_gain("linear") == init.calculate_gain("sigmoid") == 1
    with pytest.raises(ValueError, match="Unsupported nonlinearity swish"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match="Mode both not supported"):
        init.kaiming_normal_(tinytorch.zeros(2, 2), mode="both")
    with pytest.raises(ValueError, match=r"fewer than 2 dimensions, got shape \(3,\)"):
        init.xavier_normal_(tinytorch.zeros(3))
    with pytest.raises(ValueError, match="Only tensors with 2 dimensions"):
        init.eye_(tinytorch.zeros(3))
    with pytest.raises(ValueError, match="Only tensors with 2 or more dimensions"):
        init.orthogonal_(tinytorch.zeros(3))


def test_layers_start_as_in_pytorch() -> None:
    layer = nn.Linear(64, 50)
    _assert_uniform(layer.weight.detach().numpy(), -1 / 8, 1 / 8)
    _assert_uniform(nn.Linear(64, 2000).bias.detach().numpy(), -1 / 8, 1 / 8)
    table = nn.Embedding(60, 40, padding_idx=3).weight.detach().numpy()
    assert not table[3].any()
    _assert_normal(np.delete(table, 3, 0), 0.0, 1.0)
    for norm in (nn.LayerNorm(3), nn.RMSNorm(3), nn.BatchNorm1d(3)):
        assert (norm.weight.detach().numpy() == 1).all()
    assert not nn.LayerNorm(3).bias.detach().numpy().any()
    stats = nn.BatchNorm1d(3)
    assert (stats.running_var.numpy() == 1).all() and not stats.running_mean.numpy().any()
    assert nn.Linear(2, 2, dtype=tinytorch.float64).weight.dtype == np.float64
