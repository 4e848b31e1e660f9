"""Optimizers, schedulers and clipping against PyTorch's, step by step."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn, optim
from tinytorch.nn.utils import clip_grad_norm_, clip_grad_value_

pytestmark = pytest.mark.oracle

SHAPES = [(3, 5), (5,), (), (1, 1), (64, 40), (2, 3, 4)]


@pytest.fixture
def torch() -> Any:
    return importlib.import_module("torch")


def _parameters(torch: Any, rng: np.random.Generator, dtypes: list[str]) -> tuple[list[Any], list[Any]]:
    ours, theirs = [], []
    for i, shape in enumerate(SHAPES):
        value = np.asarray(rng.normal(size=shape), dtypes[i % len(dtypes)])
        ours.append(nn.Parameter(tinytorch.tensor(value)))
        theirs.append(torch.nn.Parameter(torch.tensor(value)))
    return ours, theirs


def _give_gradients(torch: Any, ours: list[Any], theirs: list[Any], rng: np.random.Generator, step: int) -> None:
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if (step + i) % 5 == 0:  # each parameter goes without a gradient at some steps: step counts differ
            mine.grad = other.grad = None
            continue
        grad = np.asarray(rng.normal(size=mine.shape), mine.dtype)
        mine.grad, other.grad = tinytorch.tensor(grad), torch.tensor(grad)


def _assert_same(ours: list[Any], theirs: list[Any], step: int) -> None:
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        tolerance = 1e-12 if mine.dtype == np.float64 else 2e-6
        np.testing.assert_allclose(
            mine.detach().numpy(), other.detach().numpy(), tolerance, tolerance, err_msg=f"step {step}, parameter {i}"
        )


OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd_decay": ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    "sgd_momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2}),
    "sgd_nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    "adam": ("Adam", {}),
    "adam_decay": ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    "adamw": ("AdamW", {"lr": 0.01}),
    "adamw_betas": ("AdamW", {"lr": 0.03, "betas": (0.9, 0.99), "eps": 1e-3, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("dtypes", [["float64"], ["float32", "float64"]], ids=["float64", "mixed"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps(torch: Any, name: str, dtypes: list[str]) -> None:
    """Two groups, gradients missing at times; after ten steps the state moves to a new optimizer."""
    rng = np.random.default_rng(5)
    kind, options = OPTIMIZERS[name]
    ours, theirs = _parameters(torch, rng, dtypes)

    def make(module: Any, parameters: list[Any]) -> Any:
        groups = [{"params": parameters[:2], "weight_decay": 0.2, "lr": 0.05}, {"params": parameters[2:]}]
        return getattr(module, kind)(groups, **options)

    mine, other = make(optim, ours), make(torch.optim, theirs)
    for step in range(20):
        _give_gradients(torch, ours, theirs, rng, step)
        mine.step(), other.step()
        _assert_same(ours, theirs, step)
        if step == 9:
            state = mine.state_dict()
            mine = make(optim, ours)
            mine.load_state_dict(state)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_dict_is_pytorchs(torch: Any, name: str) -> None:
    """PyTorch continues from our state, and we from PyTorch's."""
    rng = np.random.default_rng(6)
    kind, options = OPTIMIZERS[name]
    ours, theirs = _parameters(torch, rng, ["float64"])
    mine, other = getattr(optim, kind)(ours, **options), getattr(torch.optim, kind)(theirs, **options)
    for step in range(1, 5):
        _give_gradients(torch, ours, theirs, rng, step)
        mine.step(), other.step()

    def convert(state: dict[str, Any], make: Any) -> dict[str, Any]:
        return {
            "state": {
                index: {key: make(value.numpy().copy()) for key, value in values.items()}
                for index, values in state["state"].items()
            },
            "param_groups": state["param_groups"],
        }

    ours_state, theirs_state = mine.state_dict(), other.state_dict()
    assert {k: set(v) for k, v in ours_state["state"].items()} == {k: set(v) for k, v in theirs_state["state"].items()}
    mine, other = getattr(optim, kind)(ours), getattr(torch.optim, kind)(theirs)
    mine.load_state_dict(convert(theirs_state, tinytorch.tensor))
    other.load_state_dict(convert(ours_state, torch.tensor))
    for step in range(5, 9):
        _give_gradients(torch, ours, theirs, rng, step)
        mine.step(), other.step()
        _assert_same(ours, theirs, step)


def _nanogpt(step: int) -> float:
    if step < 5:
        return 0.3 * (step + 1) / 6
    if step > 40:
        return 0.03
    return 0.03 + 0.5 * (1.0 + math.cos(math.pi * (step - 5) / 35)) * 0.27


@pytest.mark.parametrize("name", ["lambda", "lambdas", "cosine", "cosine_floor", "warmup"])
def test_schedulers_over_fifty_steps(torch: Any, name: str) -> None:
    def make(module: Any, optimizer: Any) -> Any:
        scheduler = module.lr_scheduler
        if name == "lambda":
            return scheduler.LambdaLR(optimizer, lambda step: 0.95**step)
        if name == "lambdas":
            return scheduler.LambdaLR(optimizer, [lambda step: 0.95**step, lambda step: 1 / (1 + step)])
        if name == "cosine":
            return scheduler.CosineAnnealingLR(optimizer, T_max=20)
        if name == "cosine_floor":
            return scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.01)
        if module is optim:
            return scheduler.WarmupCosineLR(optimizer, 5, 40, min_lr=0.03)
        return scheduler.LambdaLR(optimizer, lambda step: _nanogpt(step) / 0.3)

    a = nn.Parameter(tinytorch.zeros(2)), nn.Parameter(tinytorch.zeros(2))
    b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    second = 0.3 if name == "warmup" else 0.7
    mine = optim.SGD([{"params": [a[0]]}, {"params": [a[1]], "lr": second}], lr=0.3)
    other = torch.optim.SGD([{"params": [b[0]]}, {"params": [b[1]], "lr": second}], lr=0.3)
    ours, theirs = make(optim, mine), make(torch.optim, other)
    for step in range(50):
        expected = [group["lr"] for group in other.param_groups]
        np.testing.assert_allclose([group["lr"] for group in mine.param_groups], expected, 1e-12, 1e-15)
        assert ours.get_last_lr() == [group["lr"] for group in mine.param_groups]
        other.step()
        ours.step(), theirs.step()
        if step == 25:
            state = ours.state_dict()
            ours = make(optim, mine)
            ours.load_state_dict(state)
            for group, lr in zip(mine.param_groups, ours.get_last_lr(), strict=True):
                group["lr"] = lr


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("dtypes", [["float64"], ["float32"], ["float32", "float64"]])
def test_clip_grad_norm(torch: Any, dtypes: list[str], norm_type: float, max_norm: float) -> None:
    rng = np.random.default_rng(7)
    ours, theirs = _parameters(torch, rng, dtypes)
    _give_gradients(torch, ours, theirs, rng, 1)
    mine = clip_grad_norm_(ours, max_norm, norm_type)
    other = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    tolerance = 1e-12 if dtypes == ["float64"] else 1e-6
    np.testing.assert_allclose(mine.item(), other.item(), tolerance)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), tolerance)


def test_clip_grad_value(torch: Any) -> None:
    rng = np.random.default_rng(8)
    ours, theirs = _parameters(torch, rng, ["float64"])
    _give_gradients(torch, ours, theirs, rng, 1)
    clip_grad_value_(ours, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    for a, b in zip(ours, theirs, strict=True):
        if a.grad is not None:
            np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())
