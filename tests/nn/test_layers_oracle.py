"""Every layer and loss against PyTorch's: same weights, same output, same gradients, same repr."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn

pytestmark = pytest.mark.oracle

TOLERANCE = {"float64": 1e-11, "float32": 3e-5}

# (constructor, shape of the input or function that draws the inputs)
LAYERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "linear": (lambda nn: nn.Linear(5, 3), (4, 5)),
    "linear_3d": (lambda nn: nn.Linear(5, 3), (2, 4, 5)),
    "linear_1d": (lambda nn: nn.Linear(5, 3), (5,)),
    "linear_no_bias": (lambda nn: nn.Linear(5, 3, bias=False), (2, 4, 5)),
    "layer_norm": (lambda nn: nn.LayerNorm(6), (2, 3, 6)),
    "layer_norm_2d": (lambda nn: nn.LayerNorm((3, 6), eps=1e-3), (2, 3, 6)),
    "layer_norm_no_bias": (lambda nn: nn.LayerNorm(6, bias=False), (4, 6)),
    "layer_norm_plain": (lambda nn: nn.LayerNorm([6], elementwise_affine=False), (4, 6)),
    "rms_norm": (lambda nn: nn.RMSNorm(6), (2, 3, 6)),
    "rms_norm_eps": (lambda nn: nn.RMSNorm((3, 6), eps=1e-5), (2, 3, 6)),
    "rms_norm_plain": (lambda nn: nn.RMSNorm(6, elementwise_affine=False), (4, 6)),
    "batch_norm": (lambda nn: nn.BatchNorm1d(4), (5, 4)),
    "batch_norm_3d": (lambda nn: nn.BatchNorm1d(4, eps=1e-3, momentum=0.3), (5, 4, 3)),
    "batch_norm_average": (lambda nn: nn.BatchNorm1d(4, momentum=None), (5, 4)),
    "batch_norm_plain": (lambda nn: nn.BatchNorm1d(4, affine=False), (5, 4)),
    "batch_norm_no_stats": (lambda nn: nn.BatchNorm1d(4, track_running_stats=False), (5, 4)),
    "relu": (lambda nn: nn.ReLU(), (3, 7)),
    "leaky_relu": (lambda nn: nn.LeakyReLU(0.2), (3, 7)),
    "gelu": (lambda nn: nn.GELU(), (3, 7)),
    "gelu_tanh": (lambda nn: nn.GELU(approximate="tanh"), (3, 7)),
    "silu": (lambda nn: nn.SiLU(), (3, 7)),
    "sigmoid": (lambda nn: nn.Sigmoid(), (3, 7)),
    "tanh": (lambda nn: nn.Tanh(), (3, 7)),
    "softplus": (lambda nn: nn.Softplus(beta=2.0, threshold=1.5), (3, 7)),
    "softmax": (lambda nn: nn.Softmax(dim=-1), (3, 7)),
    "log_softmax": (lambda nn: nn.LogSoftmax(dim=0), (3, 7)),
    "identity": (lambda nn: nn.Identity(), (3, 7)),
    "flatten": (lambda nn: nn.Flatten(), (3, 7, 2)),
    "flatten_some": (lambda nn: nn.Flatten(0, 1), (3, 7, 2)),
    "dropout_off": (lambda nn: nn.Dropout(0.0), (3, 7)),
    "dropout_all": (lambda nn: nn.Dropout(1.0), (3, 7)),
    "sequential": (
        lambda nn: nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.LayerNorm(8), nn.Dropout(0.0), nn.Linear(8, 2)),
        (4, 5),
    ),
}


@pytest.fixture
def torch() -> Any:
    return importlib.import_module("torch")


def _randomize(module: Any, torch: Any, rng: np.random.Generator) -> None:
    """Values that no initialisation gives, so that a swapped weight and bias shows."""
    for tensor in module.parameters():
        tensor.data = torch.from_numpy(rng.normal(1.0, 0.5, tuple(tensor.shape)))


def _compare(ours: Any, theirs: Any, dtype: str, what: str) -> None:
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), what
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), TOLERANCE[dtype], TOLERANCE[dtype], err_msg=what
    )


def _pair(torch: Any, build: Callable[[Any], Any], dtype: str, rng: np.random.Generator) -> tuple[Any, Any]:
    theirs = build(torch.nn).double()
    _randomize(theirs, torch, rng)
    theirs = theirs.to(getattr(torch, dtype))
    ours = build(nn).to(getattr(tinytorch, dtype))
    result = ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    assert repr(result) == "<All keys matched successfully>"
    return ours, theirs


def _check_step(torch: Any, ours: Any, theirs: Any, inputs: list[Any], dtype: str, rng: np.random.Generator) -> None:
    """One forward and backward with a random cotangent on both sides."""
    our_inputs = [tinytorch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    their_inputs = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    our_output, their_output = ours(*our_inputs), theirs(*their_inputs)
    _compare(our_output, their_output, dtype, "output")
    cotangent = np.asarray(rng.normal(size=tuple(their_output.shape)), dtype)
    our_output.backward(tinytorch.tensor(cotangent))
    their_output.backward(torch.tensor(cotangent))
    for i, (mine, other) in enumerate(zip(our_inputs, their_inputs, strict=True)):
        assert (mine.grad is None) == (other.grad is None)
        if other.grad is not None:
            _compare(mine.grad, other.grad, dtype, f"gradient of input {i}")
    named = dict(theirs.named_parameters())
    assert list(dict(ours.named_parameters())) == list(named)
    for name, parameter in ours.named_parameters():
        _compare(parameter.grad, named[name].grad, dtype, f"gradient of {name}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LAYERS)
def test_layer(torch: Any, name: str, dtype: str) -> None:
    rng = np.random.default_rng(sum(map(ord, name)))
    build, shape = LAYERS[name]
    ours, theirs = _pair(torch, build, dtype, rng)
    assert repr(ours) == repr(theirs)
    for _ in range(2):  # twice: running statistics have moved, gradients add up
        _check_step(torch, ours, theirs, [rng.normal(size=shape).astype(dtype)], dtype, rng)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, buffer in ours.named_buffers():
        _compare(buffer, theirs.get_buffer(key), dtype, key)
    ours.eval(), theirs.eval()
    _check_step(torch, ours, theirs, [rng.normal(size=shape).astype(dtype)], dtype, rng)


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding(torch: Any, padding_idx: int | None) -> None:
    rng = np.random.default_rng(1)
    ours, theirs = _pair(torch, lambda nn: nn.Embedding(7, 4, padding_idx=padding_idx), "float64", rng)
    assert repr(ours) == repr(theirs)
    indices = rng.integers(0, 7, (3, 9))
    _check_step(torch, ours, theirs, [indices], "float64", rng)
    if padding_idx is not None:
        assert not ours.weight.grad.numpy()[padding_idx].any()


def _classes(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    target = rng.integers(0, 5, (shape[0], *shape[2:]))
    target.flat[1] = 3
    return target


def _per_class(nn: Any) -> Any:
    return importlib.import_module(nn.__name__.partition(".")[0]).tensor([0.5, 2.0, 0.0, 1.5, 1.0])


LOSSES: dict[str, tuple[Callable[[Any], Any], str, tuple[int, ...]]] = {
    "cross_entropy": (lambda nn: nn.CrossEntropyLoss(), "classes", (6, 5)),
    "cross_entropy_ignored": (lambda nn: nn.CrossEntropyLoss(ignore_index=3), "classes", (6, 5)),
    "cross_entropy_smooth": (lambda nn: nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=3), "classes", (6, 5)),
    "cross_entropy_sum": (lambda nn: nn.CrossEntropyLoss(reduction="sum", ignore_index=3), "classes", (6, 5)),
    "cross_entropy_none": (lambda nn: nn.CrossEntropyLoss(reduction="none", ignore_index=3), "classes", (6, 5)),
    "cross_entropy_3d": (lambda nn: nn.CrossEntropyLoss(), "classes", (4, 5, 3)),
    "cross_entropy_weighted": (
        lambda nn: nn.CrossEntropyLoss(weight=_per_class(nn), ignore_index=3, label_smoothing=0.2),
        "classes",
        (6, 5),
    ),
    "nll_weighted": (lambda nn: nn.NLLLoss(weight=_per_class(nn)), "classes", (6, 5)),
    "bce_weighted": (
        lambda nn: nn.BCEWithLogitsLoss(weight=_per_class(nn), pos_weight=_per_class(nn)),
        "probabilities",
        (4, 5),
    ),
    "nll": (lambda nn: nn.NLLLoss(), "classes", (6, 5)),
    "nll_ignored": (lambda nn: nn.NLLLoss(ignore_index=3, reduction="sum"), "classes", (6, 5)),
    "nll_none": (lambda nn: nn.NLLLoss(reduction="none"), "classes", (6, 5)),
    "mse": (lambda nn: nn.MSELoss(), "values", (4, 3)),
    "mse_sum": (lambda nn: nn.MSELoss(reduction="sum"), "values", (4, 3)),
    "mse_none": (lambda nn: nn.MSELoss(reduction="none"), "values", (4, 3)),
    "bce": (lambda nn: nn.BCEWithLogitsLoss(), "probabilities", (4, 3)),
    "bce_sum": (lambda nn: nn.BCEWithLogitsLoss(reduction="sum"), "probabilities", (4, 3)),
    "bce_none": (lambda nn: nn.BCEWithLogitsLoss(reduction="none"), "probabilities", (4, 3)),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LOSSES)
def test_loss(torch: Any, name: str, dtype: str) -> None:
    rng = np.random.default_rng(sum(map(ord, name)))
    build, kind, shape = LOSSES[name]
    assert repr(build(nn)) == repr(build(torch.nn))
    input = rng.normal(size=shape).astype(dtype)
    if kind == "classes":
        target = _classes(shape, rng)
    else:
        target = (rng.normal(size=shape) if kind == "values" else rng.random(shape)).astype(dtype)
    ours, theirs = build(nn).to(getattr(tinytorch, dtype)), build(torch.nn).to(getattr(torch, dtype))
    _check_step(torch, ours, theirs, [input, target], dtype, rng)


def test_repr_of_a_model(torch: Any) -> None:
    def build(nn: Any) -> Any:
        block = lambda: nn.ModuleDict({"norm": nn.LayerNorm(4), "mlp": nn.Sequential(nn.Linear(4, 8), nn.SiLU())})  # noqa: E731
        return nn.ModuleDict(
            {
                "blocks": nn.ModuleList([block(), block(), nn.ReLU(), block()]),
                "embed": nn.Embedding(3, 4),
                "empty": nn.ModuleList(),
                "drop": nn.Dropout(0.2),
                "norm": nn.BatchNorm1d(3),
                "loss": nn.CrossEntropyLoss(),
            }
        )

    assert repr(build(nn)) == repr(build(torch.nn))


def test_state_dict_round_trip(torch: Any) -> None:
    """Ours to PyTorch and back: the names, shapes and values stay."""
    build = lambda nn: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Linear(4, 2)))  # noqa: E731
    ours, theirs, again = build(nn), build(torch.nn), build(nn)
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    theirs.load_state_dict({name: torch.from_numpy(tensor.numpy().copy()) for name, tensor in state.items()})
    again.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    for name, tensor in again.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), state[name].numpy())


@pytest.mark.parametrize("position", [0, 1])
def test_full_backward_hook(torch: Any, position: int) -> None:
    """The gradients that a hook sees, and those that flow on when it changes them."""
    rng = np.random.default_rng(3)
    ours, theirs = _pair(torch, lambda nn: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), "float64", rng)
    x = rng.normal(size=(5, 3))
    seen: dict[str, list[Any]] = {"ours": [], "theirs": []}

    def hook(side: str) -> Callable[[Any, Any, Any], Any]:
        def record(module: Any, grad_input: Any, grad_output: Any) -> Any:
            seen[side].append((grad_input, grad_output))
            return tuple(None if grad is None else grad * 2 for grad in grad_input)

        return record

    for side, model in (("ours", ours), ("theirs", theirs)):
        model[position].register_full_backward_hook(hook(side))
    _check_step(torch, ours, theirs, [x], "float64", rng)
    for mine, other in zip(seen["ours"][0], seen["theirs"][0], strict=True):
        for a, b in zip(mine, other, strict=True):
            _compare(a, b, "float64", "hook")
