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


def _samples(name: str, dtype: str) -> list[Any]:
    """PyTorch's own samples of arguments for an optimizer."""
    torch = importlib.import_module("torch")
    common = importlib.import_module("torch.testing._internal.common_optimizers")
    (info,) = [info for info in common.optim_db if info.optim_cls.__name__ == name]
    samples: list[Any] = info.optim_inputs_func(device="cpu", dtype=getattr(torch, dtype))
    assert len(samples) >= 5
    return samples


def _converted(value: Any, known: dict[int, Any] | None = None) -> Any:
    """PyTorch's Tensors as ours, the same where it was the same."""
    known = {} if known is None else known
    if isinstance(value, (list, tuple)):
        return type(value)([_converted(item, known) for item in value])
    if isinstance(value, dict):
        return {key: _converted(item, known) for key, item in value.items()}
    if type(value).__module__.partition(".")[0] == "torch":
        return known.setdefault(id(value), nn.Parameter(tinytorch.tensor(value.detach().numpy())))
    return value


@pytest.mark.parametrize("implementation", [{}, {"foreach": True}, {"fused": True}], ids=["plain", "foreach", "fused"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_samples(torch: Any, name: str, dtype: str, implementation: dict[str, Any]) -> None:
    """Five steps of each. In 16 bits PyTorch rounds after each operation, here only what is stored is."""
    rng = np.random.default_rng(9)
    for sample in _samples(name, dtype):
        options = {**sample.kwargs, **implementation}
        if "foreach" in implementation and name != "SGD" and isinstance(options.get("lr"), torch.Tensor):
            continue
        values = [torch.tensor(rng.normal(size=shape)).to(getattr(torch, dtype)) for shape in SHAPES]
        theirs = [torch.nn.Parameter(value) for value in values]
        ours = [nn.Parameter(tinytorch.tensor(v.double().numpy()).to(getattr(tinytorch, dtype))) for v in values]
        mine = getattr(optim, name)(ours, **_converted(options))
        # PyTorch's fused SGD of 16 bits is wrong by several roundings in its first step already.
        other = getattr(torch.optim, name)(theirs, **(options if "16" not in dtype else sample.kwargs))
        for step in range(5):
            for a, b in zip(ours, theirs, strict=True):
                b.grad = torch.tensor(rng.normal(size=tuple(b.shape))).to(b.dtype)
                a.grad = tinytorch.tensor(b.grad.double().numpy()).to(a.dtype)
            mine.step(), other.step()
            tolerance = {"float64": 1e-12, "float32": 2e-6, "bfloat16": 2e-2, "float16": 3e-3}[dtype]
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                what = f"{sample.desc}, step {step}, parameter {i}"
                a, b = (value.detach().double().numpy() for value in (a, b))
                np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=what)
        for p, entries in mine.state.items():
            assert {key: value.dtype for key, value in entries.items() if key != "step"} == {
                key: p.dtype for key in other.state[theirs[[q is p for q in ours].index(True)]] if key != "step"
            }
        if dtype == "float64" and not isinstance(options.get("lr"), torch.Tensor):
            assert repr(mine) == repr(other)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_error_inputs(torch: Any, name: str) -> None:
    """What PyTorch's samples say is refused, with its class and words. Where one group has a parameter twice it only
    warns that this will be an error: here it is one."""
    common = importlib.import_module("torch.testing._internal.common_optimizers")
    (info,) = [info for info in common.optim_db if info.optim_cls.__name__ == name]
    samples = info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
    assert len(samples) >= 7
    for sample in samples:
        given = sample.optimizer_error_input
        params = [nn.Parameter(tinytorch.ones(2))] if given.params is None else _converted(given.params)
        error, words = sample.error_type, sample.error_regex
        if error is UserWarning:
            assert "duplicate parameters" in words
            error, words = ValueError, "appear twice"
        with pytest.raises(error, match=words):
            getattr(optim, name)(params, **_converted(given.kwargs))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize(
    "options",
    [{"fused": True, "foreach": True}, {"fused": True, "differentiable": True}, {"lr": "tensor", "weight_decay": 0.1}],
    ids=str,
)
def test_settings_that_exclude_each_other(torch: Any, name: str, options: dict[str, Any]) -> None:
    for module, library in ((optim, tinytorch), (torch.optim, torch)):
        given = {**options, "lr": library.tensor([0.1])} if "lr" in options else options
        p = library.nn.Parameter(library.ones(2))
        if "fused" not in options:
            getattr(module, name)([p], **given)
            continue
        with pytest.raises(RuntimeError, match="`fused`"):
            getattr(module, name)([p], **given)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_named_parameters(torch: Any, name: str) -> None:
    """Names stand in the dictionary, and go through loading as in PyTorch."""

    def run(library: Any) -> list[Any]:
        def make(named: bool) -> Any:
            model = library.nn.Linear(2, 3)
            return getattr(library.optim, name)(model.named_parameters() if named else model.parameters(), lr=0.1)

        optimizer = make(True)
        found = [optimizer.state_dict()["param_groups"]]
        optimizer.add_param_group({"params": [("more", library.ones(1))], "lr": 0.5})
        found.append(optimizer.state_dict()["param_groups"])
        for saved, loaded in ((True, False), (False, True), (True, True)):
            source, target = make(saved), make(loaded)
            if saved:
                source.param_groups[0]["param_names"] = ["a", "b"]
            target.load_state_dict(source.state_dict())
            found.append(target.state_dict()["param_groups"])
        found.append([tuple(p.shape) for p in optimizer.param_groups[0]["params"]])
        return found

    assert run(tinytorch) == run(torch)


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
