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


@pytest.mark.parametrize("kind", [nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.ELU])
def test_an_activation_in_place(kind: Any) -> None:
    """The same numbers and gradient, in the memory of the input."""
    x = tinytorch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    expected = kind()(x)
    hidden = x * 1
    y = kind(inplace=True)(hidden)
    assert y is hidden and y.tolist() == expected.tolist() and "inplace=True" in repr(kind(inplace=True))
    (gradient,) = tinytorch.autograd.grad(expected.sum(), x)
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == gradient.tolist()


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


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0), (2, 0), (2, 0, 4)])
def test_batch_norm_of_nothing(shape: tuple[int, ...]) -> None:
    layer = nn.BatchNorm1d(shape[1])
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


def test_activations_by_default() -> None:
    """Values worked out by hand, of the modules as they are made without arguments."""
    x = np.array([-2.0, 0.0, 0.5, 30.0])
    sigmoid = 1 / (1 + np.exp(-x))
    phi = np.array([0.02275013194817921, 0.5, 0.6914624612740131, 1.0])  # of the normal distribution
    expected = {
        nn.ReLU: np.maximum(x, 0),
        nn.LeakyReLU: np.array([-0.02, 0.0, 0.5, 30.0]),
        nn.GELU: x * phi,
        nn.SiLU: x * sigmoid,
        nn.Sigmoid: sigmoid,
        nn.Tanh: np.tanh(x),
        nn.Softplus: np.log1p(np.exp(x)),
        nn.Identity: x,
    }
    for kind, values in expected.items():
        np.testing.assert_allclose(kind()(tinytorch.tensor(x)).numpy(), values, 1e-12, 1e-15, err_msg=kind.__name__)
    softplus = nn.Softplus(beta=2.0, threshold=1.0)(tinytorch.tensor([-1.0, 0.25, 0.75]))
    np.testing.assert_allclose(softplus.numpy(), [np.log1p(np.exp(-2)) / 2, np.log1p(np.exp(0.5)) / 2, 0.75], 1e-6)
    assert nn.Softplus()(tinytorch.tensor(np.array([20.5]))).item() == 20.5
    below = nn.Softplus()(tinytorch.tensor(np.array([19.5]))).item()
    assert below == 19.5 + np.log1p(np.exp(-19.5)) != 19.5
    np.testing.assert_allclose(nn.LeakyReLU(0.5)(tinytorch.tensor(x)).numpy(), [-1.0, 0.0, 0.5, 30.0])
    tanh = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    np.testing.assert_allclose(nn.GELU("tanh")(tinytorch.tensor(x)).numpy(), x * (1 + tanh) / 2, 1e-12, 1e-15)
    rows = np.array([[1.0, 2.0], [3.0, 5.0]])
    for dim in (0, 1, -1):
        total = np.exp(rows).sum(dim, keepdims=True)
        np.testing.assert_allclose(nn.Softmax(dim)(tinytorch.tensor(rows)).numpy(), np.exp(rows) / total, 1e-12)
        np.testing.assert_allclose(nn.LogSoftmax(dim)(tinytorch.tensor(rows)).numpy(), rows - np.log(total), 1e-12)
    assert nn.Dropout().p == 0.5 and not nn.Dropout().inplace


def test_dropout_in_place() -> None:
    x = tinytorch.ones(50)
    assert nn.Dropout(0.5)(x) is not x and (x.numpy() == 1).all()
    assert nn.Dropout(0.5, inplace=True)(x) is x and set(x.numpy()) == {0.0, 2.0}


def test_flatten() -> None:
    x = tinytorch.zeros(2, 3, 4, 5)
    shapes = {(): (2, 60), (0,): (120,), (2,): (2, 3, 20), (0, 1): (6, 4, 5), (1, -2): (2, 12, 5)}
    for arguments, shape in shapes.items():
        assert tuple(nn.Flatten(*arguments)(x).shape) == shape


def test_losses_and_reductions() -> None:
    a, b = np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[0.0, 1.0], [1.0, 0.25]])
    bce = np.log1p(np.exp(a)) - a * b
    logits = a - np.log(np.exp(a).sum(1, keepdims=True))
    picked = -logits[[0, 1], [1, 0]]
    classes = np.array([1, 0])
    cases = [(nn.MSELoss, (a - b) ** 2, b), (nn.BCEWithLogitsLoss, bce, b), (nn.CrossEntropyLoss, picked, classes)]
    for kind, values, target in cases:
        given = tinytorch.tensor(a), tinytorch.tensor(target)
        assert kind()(*given).item() == pytest.approx(values.mean()) and kind().reduction == "mean"
        assert kind(reduction="sum")(*given).item() == pytest.approx(values.sum())
        np.testing.assert_allclose(kind(reduction="none")(*given).numpy(), values, 1e-12)
    target = tinytorch.tensor(classes)
    assert nn.NLLLoss()(tinytorch.tensor(logits), target).item() == pytest.approx(picked.mean())
    assert nn.NLLLoss(ignore_index=1)(tinytorch.tensor(logits), target).item() == pytest.approx(picked[1])
    smooth = nn.CrossEntropyLoss(label_smoothing=0.25)(tinytorch.tensor(a), target).item()
    assert smooth == pytest.approx((0.75 * picked - 0.25 * logits.mean(1)).mean())
    weight = tinytorch.tensor(np.array([2.0, 0.5]))
    weighted = nn.CrossEntropyLoss(weight)
    expected = (0.5 * picked[0] + 2 * picked[1]) / 2.5
    assert weighted(tinytorch.tensor(a), target).item() == pytest.approx(expected)
    assert list(weighted.state_dict()) == ["weight"] and weighted.float().weight.dtype == np.float32
    positive = nn.BCEWithLogitsLoss(pos_weight=tinytorch.tensor(np.array([3.0, 1.0])))
    expected = np.log1p(np.exp(a)) * (1 - b) + np.array([3.0, 1.0]) * b * np.log1p(np.exp(-a))
    assert positive(tinytorch.tensor(a), tinytorch.tensor(b)).item() == pytest.approx(expected.mean())
    assert list(positive.state_dict()) == ["pos_weight"]
    elementwise = nn.BCEWithLogitsLoss(tinytorch.tensor(np.array([2.0, 0.5])))
    assert elementwise(tinytorch.tensor(a), tinytorch.tensor(b)).item() == pytest.approx((bce * [2.0, 0.5]).mean())


def test_norms_and_their_members() -> None:
    x = np.array([[1.0, 2.0, 6.0], [-1.0, 0.0, 4.0]])
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    weight, bias = np.array([1.0, 2.0, -1.0]), np.array([0.5, 0.0, 1.0])
    norm = nn.LayerNorm(3, eps=0.5).double()
    norm.load_state_dict({"weight": weight, "bias": bias})
    expected = (x - mean) / np.sqrt(var + 0.5) * weight + bias
    np.testing.assert_allclose(norm(tinytorch.tensor(x)).detach().numpy(), expected, 1e-12)
    tiny = nn.LayerNorm([3]).double()(tinytorch.tensor(x * 1e-2)).detach().numpy()
    np.testing.assert_allclose(tiny, (x - mean) * 1e-2 / np.sqrt(var * 1e-4 + 1e-5), 1e-12)
    rms = nn.RMSNorm(3, eps=0.5).double()
    rms.load_state_dict({"weight": weight})
    expected = x / np.sqrt((x**2).mean(1, keepdims=True) + 0.5) * weight
    np.testing.assert_allclose(rms(tinytorch.tensor(x)).detach().numpy(), expected, 1e-12)
    both = nn.LayerNorm((2, 3), eps=0.5, elementwise_affine=False).double()
    np.testing.assert_allclose(both(tinytorch.tensor(x)).numpy(), (x - x.mean()) / np.sqrt(x.var() + 0.5), 1e-12)
    members = {
        nn.LayerNorm(3): ["weight", "bias"],
        nn.LayerNorm(3, bias=False): ["weight"],
        nn.LayerNorm(3, elementwise_affine=False): [],
        nn.LayerNorm(3, elementwise_affine=False, bias=True): [],
        nn.RMSNorm(3): ["weight"],
        nn.RMSNorm(3, elementwise_affine=False): [],
        nn.BatchNorm1d(3): ["weight", "bias"],
        nn.BatchNorm1d(3, bias=False): ["weight"],
        nn.BatchNorm1d(3, affine=False): [],
        nn.BatchNorm1d(3, affine=False, bias=True): [],
    }
    assert repr(nn.BatchNorm1d(3, momentum=None, affine=False, track_running_stats=False)) == (
        "BatchNorm1d(3, eps=1e-05, momentum=None, affine=False, bias=False, track_running_stats=False)"
    )
    assert repr(nn.BatchNorm1d(2)).endswith("momentum=0.1, affine=True, bias=True, track_running_stats=True)")
    for module, names in members.items():
        assert [name for name, _ in module.named_parameters()] == names, repr(module)
        module.reset_parameters()
        assert all((p.detach().numpy() == (name == "weight")).all() for name, p in module.named_parameters())


def test_the_row_for_padding_learns_nothing() -> None:
    layer = nn.Embedding(4, 2, padding_idx=1)
    layer(tinytorch.tensor([[1, 2], [2, 0]])).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), [[1, 1], [0, 0], [2, 2], [0, 0]])
    given = nn.Embedding.from_pretrained(tinytorch.ones(4, 2), freeze=False, padding_idx=0)
    given(tinytorch.tensor([0, 3])).sum().backward()
    assert (given.weight.detach().numpy() == 1).all()  # also the row for padding, unlike that of a new one
    np.testing.assert_array_equal(given.weight.grad.numpy(), [[0, 0], [0, 0], [0, 0], [1, 1]])
    with pytest.raises(ValueError, match="padding_idx -5 must be within num_embeddings 4"):
        nn.Embedding(4, 2, padding_idx=-5)
    assert nn.Embedding(4, 2, padding_idx=-4).padding_idx == 0 and nn.Embedding(4, 2, padding_idx=3).padding_idx == 3


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def test_losses_ignore_what_they_are_told_to() -> None:
    """-100 unless another target is named; the mean is over the rows that count."""
    scores = np.random.default_rng(0).normal(size=(4, 3))
    x, target = tinytorch.tensor(scores), tinytorch.tensor([2, -100, 0, 1])
    rows, classes = np.array([0, 2, 3]), np.array([2, 0, 1])
    by_row = -log_softmax(scores)
    np.testing.assert_allclose(nn.CrossEntropyLoss()(x, target).item(), by_row[rows, classes].mean(), 1e-6)
    np.testing.assert_allclose(nn.NLLLoss()(x, target).item(), -scores[rows, classes].mean(), 1e-6)
    other = tinytorch.tensor([2, 1, 0, 1])
    for reduction, expected in (("mean", by_row[[0, 2], [2, 0]].mean()), ("sum", by_row[[0, 2], [2, 0]].sum())):
        loss = nn.CrossEntropyLoss(ignore_index=1, reduction=reduction)
        np.testing.assert_allclose(loss(x, other).item(), expected, 1e-6)
        loss = nn.NLLLoss(ignore_index=1, reduction=reduction)
        np.testing.assert_allclose(loss(tinytorch.tensor(-by_row), other).item(), expected, 1e-6)
    for loss in (nn.CrossEntropyLoss(), nn.NLLLoss()):
        with pytest.raises(IndexError, match=r"target\[1\] is -1"):
            loss(x, tinytorch.tensor([2, -1, 0, 1]))


def test_cross_entropy_loss_of_probabilities() -> None:
    rng = np.random.default_rng(0)
    scores, p = rng.normal(size=(4, 3)), rng.random((4, 3))
    weight = np.array([0.5, 2.0, 1.0])
    terms = -p * log_softmax(scores)
    x, q, w = (tinytorch.tensor(a) for a in (scores, p, weight))
    np.testing.assert_allclose(nn.CrossEntropyLoss()(x, q).item(), terms.sum() / 4, 1e-6)
    np.testing.assert_allclose(nn.CrossEntropyLoss(w, reduction="none")(x, q).numpy(), terms @ weight, 1e-6)
    smooth = -(0.7 * p + 0.1) * log_softmax(scores)
    np.testing.assert_allclose(nn.CrossEntropyLoss(label_smoothing=0.3)(x, q).item(), smooth.sum() / 4, 1e-6)
    with pytest.raises(RuntimeError, match="ignore_index"):
        nn.CrossEntropyLoss(ignore_index=1)(x, q)


def test_float_functions_refuse_integers() -> None:
    """In place of results that are cut to integers."""
    x = tinytorch.tensor([[1, 2, 3]])
    modules = (
        nn.GELU(), nn.SiLU(), nn.Softplus(), nn.LeakyReLU(), nn.Softmax(-1), nn.LogSoftmax(-1), nn.Dropout(0.5),
        nn.LayerNorm(3, elementwise_affine=False), nn.RMSNorm(3, elementwise_affine=False),
    )  # fmt: skip
    for module in modules:
        for integers in (x, x > 1):
            with pytest.raises(RuntimeError, match=r"not implemented for .*: convert the input with .float\(\)"):
                module(integers)
    assert nn.ReLU()(x).dtype == tinytorch.int64
    assert nn.Sigmoid()(x).dtype == nn.Tanh()(x).dtype == tinytorch.float32
    assert nn.Dropout(0.5).eval()(x) is x


def test_attention_masks_of_integers_are_refused() -> None:
    """They would be added to the scores, so that padding is attended to."""
    q = tinytorch.randn(1, 1, 3, 4)
    for dtype in (tinytorch.int64, tinytorch.int32, tinytorch.uint8):
        with pytest.raises(RuntimeError, match=rf"attn_mask must be bool, .* not {dtype} \(of ones and zeros: .bool"):
            F.scaled_dot_product_attention(q, q, q, tinytorch.tensor([[1, 1, 0]], dtype=dtype))
    masked = F.scaled_dot_product_attention(q, q, q, tinytorch.tensor([[1, 1, 0]]).bool())
    shorter = F.scaled_dot_product_attention(q, q[:, :, :2], q[:, :, :2])
    np.testing.assert_allclose(masked.numpy(), shorter.numpy(), 1e-5, 1e-6)


def test_dropout_of_float64_divides_in_float64() -> None:
    x = tinytorch.rand(200, dtype=tinytorch.float64) + 0.5
    y = nn.functional.dropout(x, 0.3)
    kept = y.numpy() != 0
    assert 100 < kept.sum() < 180
    np.testing.assert_allclose(y.numpy()[kept], x.numpy()[kept] / 0.7, rtol=1e-15)
