"""What layers do that needs no oracle: dropout, shapes, errors."""

from __future__ import annotations

from typing import Any

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


def test_batch_norm_averages_without_momentum() -> None:
    """momentum None: running statistics are the plain mean of those of all batches."""
    rng = np.random.default_rng(0)
    batches = rng.normal(2.0, 3.0, (4, 6, 3))
    layer = nn.BatchNorm1d(3, momentum=None).double()
    for count, batch in enumerate(batches, 1):
        layer(tinytorch.tensor(batch))
        np.testing.assert_allclose(layer.running_mean.numpy(), batches[:count].mean((0, 1)), 1e-12)
        np.testing.assert_allclose(layer.running_var.numpy(), batches[:count].var(1, ddof=1).mean(0), 1e-12)
        assert layer.num_batches_tracked.item() == count
    layer.eval()
    layer(tinytorch.tensor(batches[0]))
    assert layer.num_batches_tracked.item() == 4
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0 and (layer.running_var.numpy() == 1).all()
    assert not layer.running_mean.numpy().any()


@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0, 0.0])
def test_batch_norm_moves_by_momentum(momentum: float) -> None:
    rng = np.random.default_rng(1)
    layer = nn.BatchNorm1d(2, momentum=momentum).double()
    mean, var = np.zeros(2), np.ones(2)
    for batch in rng.normal(2.0, 3.0, (3, 5, 2, 4)):
        layer(tinytorch.tensor(batch))
        mean += momentum * (batch.mean((0, 2)) - mean)
        var += momentum * (batch.var((0, 2), ddof=1) - var)
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, 1e-12)
        np.testing.assert_allclose(layer.running_var.numpy(), var, 1e-12)


def test_batch_norm_in_training_and_evaluation() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(2.0, 3.0, (6, 3))
    weight, bias = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 3.0])
    statistics = {"running_mean": np.array([1.0, 2.0, 3.0]), "running_var": np.array([4.0, 9.0, 0.25])}

    def layer(**options: Any) -> Any:
        made = nn.BatchNorm1d(3, eps=0.5, **options).double()
        own = statistics if options.get("track_running_stats", True) else {}
        made.load_state_dict({"weight": weight, "bias": bias, **own})
        return made

    of_batch = (x - x.mean(0)) / np.sqrt(x.var(0) + 0.5) * weight + bias
    of_running = (x - [1, 2, 3]) / np.sqrt([4.5, 9.5, 0.75]) * weight + bias
    np.testing.assert_allclose(layer()(tinytorch.tensor(x)).detach().numpy(), of_batch, 1e-12)
    np.testing.assert_allclose(layer().eval()(tinytorch.tensor(x)).detach().numpy(), of_running, 1e-12)
    plain = layer(track_running_stats=False)
    assert plain.running_mean is plain.running_var is plain.num_batches_tracked is None
    assert list(plain.state_dict()) == ["weight", "bias"]
    for made in (plain, plain.eval()):
        np.testing.assert_allclose(made(tinytorch.tensor(x)).detach().numpy(), of_batch, 1e-12)
    frozen = layer()
    frozen.track_running_stats = False  # later: statistics are kept, not moved
    np.testing.assert_allclose(frozen(tinytorch.tensor(x)).detach().numpy(), of_batch, 1e-12)
    np.testing.assert_allclose(frozen.eval()(tinytorch.tensor(x)).detach().numpy(), of_running, 1e-12)
    assert frozen.num_batches_tracked.item() == 0 and (frozen.running_mean.numpy() == [1, 2, 3]).all()


@pytest.mark.parametrize("eps", [0.0, -1e-5])
def test_batch_norm_wants_a_positive_eps(eps: float) -> None:
    layer = nn.BatchNorm1d(3, eps=eps)
    with pytest.raises(ValueError, match=f"batch_norm eps must be positive during training, but got {eps}"):
        layer(tinytorch.ones(2, 3))
    if eps:
        with pytest.raises(ValueError, match=f"batch_norm eps must be non-negative, but got {eps}"):
            layer.eval()(tinytorch.ones(2, 3))
    else:
        np.testing.assert_array_equal(layer.eval()(tinytorch.ones(2, 3)).detach().numpy(), np.ones((2, 3)))


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)])
def test_batch_norm_of_nothing(shape: tuple[int, ...]) -> None:
    layer = nn.BatchNorm1d(3)
    y = layer(tinytorch.ones(*shape, requires_grad=True))
    assert tuple(y.shape) == shape and layer.num_batches_tracked.item() == 1
    y.sum().backward()
    assert not layer.weight.grad.numpy().any() and not layer.running_mean.numpy().any()
    assert (layer.running_var.numpy() == 1).all()


def test_targets_that_losses_ignore_by_default() -> None:
    """-100, as everywhere: padding that is marked with it counts for nothing."""
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.2, 0.3, 0.5]]))
    for loss in (nn.CrossEntropyLoss(), nn.NLLLoss()):
        assert loss.ignore_index == -100
        value = loss(tinytorch.tensor(logits), tinytorch.tensor([0, -100, 2])).item()
        assert value == pytest.approx(-(np.log(0.5) + np.log(0.5)) / 2)


def test_linear_maps_and_says_so() -> None:
    layer = nn.Linear(2, 3)
    with tinytorch.no_grad():
        layer.weight.copy_(tinytorch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]]))
        layer.bias.copy_(tinytorch.tensor([10.0, 20.0, 30.0]))
    x = tinytorch.tensor([[1.0, 2.0]])
    np.testing.assert_allclose(layer(x).detach().numpy(), [[15.0, 18.0, 34.0]], 1e-6)
    assert repr(layer) == "Linear(in_features=2, out_features=3, bias=True)"
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(in_features=2, out_features=3, bias=False)"
    assert nn.Linear(2, 3, bias=False).bias is None
