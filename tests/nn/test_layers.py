"""What layers do that needs no oracle: dropout, shapes, errors."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tinytorch import nn
from tinytorch.nn import functional as F


def test_dropout_zeroes_a_share_and_scales_the_rest() -> None:
    tinytorch.manual_seed(3)
    x = tinytorch.full((200, 100), 2.0, requires_grad=True)
    dropout = nn.Dropout(0.25)
    y = dropout(x)
    values = y.detach().numpy()
    assert set(np.unique(values)) == {np.float32(0), np.float32(2 / 0.75)}
    assert abs((values == 0).mean() - 0.25) < 0.02
    cotangent = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    y.backward(tinytorch.tensor(cotangent))
    np.testing.assert_allclose(x.grad.numpy(), cotangent * values / 2, 1e-6)
    assert not np.array_equal(dropout(x).detach().numpy(), values)
    tinytorch.manual_seed(3)
    np.testing.assert_array_equal(dropout(x).detach().numpy(), values)
    np.testing.assert_array_equal(dropout.eval()(x).detach().numpy(), x.detach().numpy())
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
            nn.Dropout(p)


def test_embedding() -> None:
    with pytest.raises(ValueError, match="padding_idx 5 must be within num_embeddings 3"):
        nn.Embedding(3, 4, padding_idx=5)
    table = tinytorch.randn(4, 2)
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad
    np.testing.assert_array_equal(layer(tinytorch.tensor([2, 2])).numpy(), table.numpy()[[2, 2]])
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    with pytest.raises(ValueError, match="2-dimensional"):
        nn.Embedding.from_pretrained(tinytorch.zeros(3))
    with pytest.raises(IndexError):
        layer(tinytorch.tensor([4]))


def test_batch_norm_refuses_what_it_cannot_do() -> None:
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match=r"expected 2D or 3D input, .* got shape \(2, 3, 4, 5\)"):
        layer(tinytorch.ones(2, 3, 4, 5))
    with pytest.raises(ValueError, match="more than 1 value per channel when training"):
        layer(tinytorch.ones(1, 3))
    layer.eval()(tinytorch.ones(1, 3))


def test_batch_norm_without_momentum_keeps_the_mean_of_all_batches() -> None:
    batches = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    layer = nn.BatchNorm1d(2, momentum=None)
    for count, batch in enumerate(batches, start=1):
        layer(tinytorch.tensor(batch))
        np.testing.assert_allclose(layer.running_mean.numpy(), batches[:count].mean((0, 1)), rtol=1e-5, atol=1e-6)
        means_of_variances = batches[:count].var(1, ddof=1).mean(0)
        np.testing.assert_allclose(layer.running_var.numpy(), means_of_variances, rtol=1e-5)


def test_batch_norm_statistics_stay_out_of_the_graph() -> None:
    layer = nn.BatchNorm1d(3)
    layer(tinytorch.randn(5, 3, requires_grad=True))
    assert not layer.running_mean.requires_grad
    assert layer.num_batches_tracked.item() == 1
    assert set(layer.state_dict()) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def test_linear_names_shapes_that_do_not_fit() -> None:
    with pytest.raises(RuntimeError, match=r"5.*3|3.*5"):
        nn.Linear(5, 2)(tinytorch.ones(4, 3))


def test_functional_and_modules_agree() -> None:
    x = tinytorch.randn(3, 4)
    for module, function in (
        (nn.ReLU(), F.relu),
        (nn.SiLU(), F.silu),
        (nn.Sigmoid(), F.sigmoid),
        (nn.Tanh(), F.tanh),
        (nn.GELU("tanh"), lambda x: F.gelu(x, approximate="tanh")),
        (nn.Softmax(-1), lambda x: F.softmax(x, dim=-1)),
    ):
        np.testing.assert_array_equal(module(x).numpy(), function(x).numpy())
