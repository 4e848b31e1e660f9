"""Schedules against PyTorch's: whatever is done to rates, optimizers and schedulers, both sides hold the same."""

from __future__ import annotations

import copy
import importlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch

pytestmark = pytest.mark.oracle


class Decay:
    """A function that is an object: its attributes belong to the scheduler's state."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: int) -> float:
        return self.rate**step


KINDS: dict[str, Callable[..., Any]] = {
    "cosine": lambda module, o, **more: module.CosineAnnealingLR(o, 7, **more),
    "cosine_floor": lambda module, o, **more: module.CosineAnnealingLR(o, T_max=4, eta_min=0.01, **more),
    "steps": lambda module, o, **more: module.StepLR(o, 3, **more),
    "milestones": lambda module, o, **more: module.MultiStepLR(o, [2, 3, 3, 6], gamma=0.5, **more),
    "exponential": lambda module, o, **more: module.ExponentialLR(o, 0.9, **more),
    "lambda": lambda module, o, **more: module.LambdaLR(o, lambda step: 1 / (1 + step), **more),
    "lambdas": lambda module, o, **more: module.LambdaLR(o, [Decay(0.9), lambda step: 1 + step], **more),
}


class Side:
    """One library's optimizer and schedulers."""

    def __init__(self, library: str, tensor: bool) -> None:
        self.library = importlib.import_module(library)
        self.schedulers: list[tuple[str, Any]] = []
        self.tensor = tensor
        self.optimizer = self.new_optimizer()

    def new_optimizer(self) -> Any:
        parameters = [self.library.zeros(2, requires_grad=True) for _ in range(2)]
        rates: list[Any] = [0.3, 0.7]
        if self.tensor:
            rates[0] = self.library.tensor(np.array(0.3))
        groups = [{"params": [p], "lr": rate} for p, rate in zip(parameters, rates, strict=True)]
        return self.library.optim.SGD(groups, lr=0.1)

    def make(self, kind: str, **more: Any) -> Any:
        return KINDS[kind](self.library.optim.lr_scheduler, self.optimizer, **more)

    def do(self, action: str, number: int, kind: str) -> None:
        if action == "train":
            self.optimizer.step()
            for _, scheduler in self.schedulers:
                scheduler.step()
        elif action == "new":
            self.schedulers.append((kind, self.make(kind)))
        elif action == "replace":
            self.schedulers = [(kind, self.make(kind))]
        elif action == "by hand":
            group = self.optimizer.param_groups[number % 2]
            group["lr"] = group["lr"] * 0.1 * (1 + number)
        elif action == "step alone" and self.schedulers:
            self.schedulers[number % len(self.schedulers)][1].step()
        elif action == "epoch" and self.schedulers:
            self.schedulers[number % len(self.schedulers)][1].step(number)
        elif action == "rewind" and self.schedulers:
            scheduler = self.schedulers[0][1]
            state = copy.deepcopy(scheduler.state_dict())
            scheduler.step()
            scheduler.load_state_dict(state)
        elif action in ("resume: optimizer first", "resume: schedulers first"):
            self.resume(action == "resume: optimizer first")
        elif action == "resume by last_epoch" and self.schedulers:
            kind, scheduler = self.schedulers[0]
            state = copy.deepcopy(self.optimizer.state_dict())
            self.optimizer = self.new_optimizer()
            self.optimizer.load_state_dict(state)
            self.schedulers = [(kind, self.make(kind, last_epoch=scheduler.last_epoch - 1))]

    def resume(self, optimizer_first: bool) -> None:
        state = copy.deepcopy(self.optimizer.state_dict())
        states = [copy.deepcopy(scheduler.state_dict()) for _, scheduler in self.schedulers]
        self.optimizer = self.new_optimizer()
        if optimizer_first:
            self.optimizer.load_state_dict(state)
        self.schedulers = [(kind, self.make(kind)) for kind, _ in self.schedulers]
        if not optimizer_first:
            self.optimizer.load_state_dict(state)
        for (_, scheduler), scheduler_state in zip(self.schedulers, states, strict=True):
            scheduler.load_state_dict(scheduler_state)

    def facts(self) -> list[Any]:
        """Rates of the optimizer, and all that the schedulers hold."""
        facts: list[Any] = [[group["lr"], group.get("initial_lr")] for group in self.optimizer.param_groups]
        for _, scheduler in self.schedulers:
            facts += [scheduler.get_last_lr(), dict(sorted(scheduler.state_dict().items()))]
        return _numbers(facts)  # type: ignore[no-any-return]


def _numbers(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return value.item() if hasattr(value, "item") else value


def _assert_same(ours: Any, theirs: Any, what: str) -> None:
    if isinstance(theirs, list):
        assert len(ours) == len(theirs), what
        for mine, other in zip(ours, theirs, strict=True):
            _assert_same(mine, other, what)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), what
        for key in theirs:
            _assert_same(ours[key], theirs[key], f"{what}: {key}")
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-11, abs=1e-13), what
    else:
        assert ours == theirs, what


ACTIONS = [
    "train", "train", "train", "new", "replace", "by hand", "step alone", "epoch", "rewind",
    "resume: optimizer first", "resume: schedulers first", "resume by last_epoch",
]  # fmt: skip
scripts = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 11), st.sampled_from(list(KINDS))), min_size=3, max_size=20
)


@settings(max_examples=150)
@given(scripts, st.booleans())
def test_scripts_of_actions(script: list[tuple[str, int, str]], tensor: bool) -> None:
    ours, theirs = Side("tinytorch", tensor), Side("torch", tensor)
    done = []
    for action, number, kind in [("new", 0, script[0][2]), *script]:
        done.append((action, number, kind))
        told: list[list[str]] = []
        for side in (ours, theirs):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                side.do(action, number, kind)
            told.append([str(warning.message).partition(" before ")[0].partition(" was not")[0] for warning in caught])
        assert [text[:30] for text in told[0]] == [text[:30] for text in told[1]], done
        _assert_same(ours.facts(), theirs.facts(), str(done))


@pytest.mark.parametrize("kind", KINDS)
def test_state_crosses_over(kind: str) -> None:
    """A schedule of PyTorch's goes on here, and one of ours there."""
    ours, theirs = Side("tinytorch", False), Side("torch", False)
    for side in (ours, theirs):
        side.do("new", 0, kind)
        for _ in range(3):
            side.do("train", 0, kind)
    states = [copy.deepcopy((s.optimizer.state_dict(), s.schedulers[0][1].state_dict())) for s in (ours, theirs)]
    new_ours, new_theirs = Side("tinytorch", False), Side("torch", False)
    for side, (optimizer_state, scheduler_state) in ((new_ours, states[1]), (new_theirs, states[0])):
        side.do("new", 0, kind)
        side.optimizer.load_state_dict(optimizer_state)
        side.schedulers[0][1].load_state_dict(scheduler_state)
    for _ in range(12):
        for side in (ours, theirs, new_ours, new_theirs):
            side.do("train", 0, kind)
        for side in (ours, new_ours, new_theirs):
            _assert_same(side.facts(), theirs.facts(), kind)


def test_warmup_cosine_is_nanogpts() -> None:
    """As LambdaLR makes it of nanoGPT's function, for as long as nobody else changes the rates."""
    torch = importlib.import_module("torch")

    def nanogpt(step: int) -> float:
        if step < 5:
            return 0.3 * (step + 1) / 6
        if step > 40:
            return 0.03
        return 0.03 + 0.5 * (1.0 + math.cos(math.pi * (step - 5) / 35)) * 0.27

    mine = tinytorch.optim.SGD([tinytorch.zeros(1)], lr=0.3)
    other = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    ours = tinytorch.optim.lr_scheduler.WarmupCosineLR(mine, 5, 40, min_lr=0.03)
    theirs = torch.optim.lr_scheduler.LambdaLR(other, lambda step: nanogpt(step) / 0.3)
    for _ in range(50):
        np.testing.assert_allclose(mine.param_groups[0]["lr"], other.param_groups[0]["lr"], 1e-12)
        assert ours.get_last_lr() == [mine.param_groups[0]["lr"]]
        mine.step(), other.step()
        ours.step(), theirs.step()
