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
    ("mean", "std", "a", "b"),
    [(0.0, 1.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0), (1.0, 2.0, 2.0, 9.0), (0.0, 1.0, 2.3, 9.0)],
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


def test_fans_beyond_two_dimensions() -> None:
    """The dimensions after the second are a kernel, which multiplies both fans."""
    fans = {(4, 3): (3, 4), (4, 3, 5): (15, 20), (40, 30, 5, 2): (300, 400), (2, 3, 1, 1): (3, 2)}
    for shape, (fan_in, fan_out) in fans.items():
        assert init._calculate_fan_in_and_fan_out(tinytorch.zeros(*shape)) == (fan_in, fan_out)
    shape, fan_in, fan_out = (40, 30, 2, 3), 180, 240
    bound = math.sqrt(6 / (fan_in + fan_out))
    _assert_uniform(_filled(init.xavier_uniform_, shape), -bound, bound)
    _assert_normal(_filled(init.xavier_normal_, shape), 0.0, bound / math.sqrt(3))
    _assert_normal(_filled(init.kaiming_normal_, shape, nonlinearity="linear"), 0.0, math.sqrt(1 / fan_in))
    _assert_normal(_filled(init.kaiming_normal_, shape, 0, "fan_out", "relu"), 0.0, math.sqrt(2 / fan_out))
    bound = math.sqrt(3) * (5 / 3) / math.sqrt(fan_out)
    _assert_uniform(_filled(init.kaiming_uniform_, shape, mode="fan_out", nonlinearity="tanh"), -bound, bound)


def test_defaults_of_the_scaled_initialisers() -> None:
    _assert_uniform(_filled(init.uniform_, (40, 50)), 0.0, 1.0)
    _assert_normal(_filled(init.normal_, (40, 50)), 0.0, 1.0)
    bound = math.sqrt(6 / 50)  # leaky_relu of slope 0 is relu
    _assert_uniform(_filled(init.kaiming_uniform_, (40, 50)), -bound, bound)
    _assert_normal(_filled(init.kaiming_normal_, (40, 50)), 0.0, math.sqrt(2 / 50))
    _assert_uniform(_filled(init.kaiming_uniform_, (40, 50), math.sqrt(5)), -1 / math.sqrt(50), 1 / math.sqrt(50))
    _assert_uniform(_filled(init.xavier_uniform_, (40, 50)), -math.sqrt(6 / 90), math.sqrt(6 / 90))


def test_bounds_are_reached() -> None:
    """Not only kept: a bound that is too wide or too narrow by a few hundredths is a mistake in a formula."""
    values = _filled(init.xavier_uniform_, (200, 100))
    bound = math.sqrt(6 / 300)
    assert bound * 0.999 < np.abs(values).max() <= bound * (1 + 1e-6)
    assert np.abs(_filled(init.trunc_normal_, (200, 100))).max() > 1.99


def test_orthogonal_matrices_are_uniform() -> None:
    """Without the signs of R the diagonal of Q is negative as a rule. Uniform, each sign comes half of the time, and
    every element of a row of n has the variance 1 / n."""
    for shape in ((3, 3), (2, 4), (4, 2)):
        matrices = np.stack([_filled(init.orthogonal_, shape) for _ in range(400)])
        assert (np.abs((matrices > 0).mean(0) - 0.5) < 0.13).all()  # 5 standard deviations
        np.testing.assert_allclose((matrices**2).mean(0), 1 / max(shape), atol=0.08)
    gained = _filled(init.orthogonal_, (5, 3), gain=2.0)
    np.testing.assert_allclose(gained.T @ gained, 4 * np.eye(3), atol=1e-5)
    assert _filled(init.orthogonal_, (0, 3)).shape == (0, 3)


@pytest.mark.parametrize("dtype", [tinytorch.float64, tinytorch.float16, tinytorch.bfloat16])
def test_other_dtypes(dtype: Any) -> None:
    for function in (init.uniform_, init.normal_, init.trunc_normal_, init.xavier_uniform_, init.xavier_normal_,
                     init.kaiming_uniform_, init.kaiming_normal_, init.orthogonal_, init.eye_, init.ones_):  # fmt: skip
        parameter = nn.Parameter(tinytorch.zeros(8, 6, dtype=dtype))
        version = parameter._version
        assert function(parameter) is parameter and parameter.dtype == dtype
        assert parameter._version > version and parameter.detach().float().numpy().any()


def test_gains() -> None:
    expected = {
        "linear": 1, "conv1d": 1, "conv2d": 1, "conv3d": 1, "conv_transpose2d": 1, "sigmoid": 1,
        "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75, "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    }  # fmt: skip
    assert {name: init.calculate_gain(name) for name in expected} == expected
    assert init.calculate_gain("leaky_relu", 0.0) == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 2) == math.sqrt(2 / 5)


def test_layers_start_within_their_bounds() -> None:
    """Weights and biases of Linear, of which neither is wider than the other."""
    layer = nn.Linear(100, 300)
    for parameter in layer.parameters():
        largest = np.abs(parameter.detach().numpy()).max()
        assert 0.09 < largest <= 0.1
    assert nn.Linear(0, 3).bias.detach().numpy().tolist() == [0, 0, 0]
    _assert_normal(nn.Embedding(50, 40).weight.detach().numpy(), 0.0, 1.0)
    table = nn.Embedding(5, 4, padding_idx=-2)
    assert table.padding_idx == 3 and table.weight.detach().numpy().any(1).tolist() == [True, True, True, False, True]
    assert not nn.BatchNorm1d(3).bias.detach().numpy().any()


def _assert_spread(values: Any, std: float) -> None:
    """To one part in a hundred, where the Kolmogorov-Smirnov distance sees one in twenty."""
    assert values.std() == pytest.approx(std, rel=0.01) and abs(values.mean()) < 0.01 * std


def test_spreads() -> None:
    shape = (400, 500)
    for function, std in (
        (init.kaiming_normal_, math.sqrt(2 / 500)),
        (init.kaiming_uniform_, math.sqrt(2 / 500)),
        (init.xavier_normal_, math.sqrt(2 / 900)),
        (init.xavier_uniform_, math.sqrt(2 / 900)),
        (init.normal_, 1.0),
        (init.orthogonal_, math.sqrt(1 / 500)),
        (init.trunc_normal_, 0.8796),  # of the normal distribution within two standard deviations
    ):
        _assert_spread(_filled(function, shape), std)
    values = _filled(init.trunc_normal_, shape)
    assert -2 <= values.min() < -1.99 and 1.99 < values.max() <= 2
    _assert_spread(_filled(init.kaiming_normal_, shape, nonlinearity="leaky_relu", a=1.0), math.sqrt(1 / 500))
