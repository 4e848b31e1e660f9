"""Schedulers: errors and state."""

from __future__ import annotations

import json

import pytest

import tinytorch
from tinytorch import nn, optim
from tinytorch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, WarmupCosineLR


def _optimizer() -> optim.SGD:
    return optim.SGD([nn.Parameter(tinytorch.zeros(1))], lr=0.5)


def test_errors() -> None:
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        CosineAnnealingLR(3, 10)
    with pytest.raises(ValueError, match="Expected 1 lr_lambdas, but got 2"):
        LambdaLR(_optimizer(), [abs, abs])
    with pytest.raises(KeyError, match=r"'initial_lr' is not specified in param_groups\[0\]"):
        CosineAnnealingLR(_optimizer(), 10, last_epoch=3)
    with pytest.raises(ValueError, match="0 <= warmup_steps < decay_steps, got 10 and 10"):
        WarmupCosineLR(_optimizer(), 10, 10)
    with pytest.raises(NotImplementedError, match="LRScheduler does not define get_lr"):
        LRScheduler(_optimizer())


def test_warmup_cosine_by_hand() -> None:
    optimizer = _optimizer()
    scheduler = WarmupCosineLR(optimizer, warmup_steps=4, decay_steps=8, min_lr=0.1)
    rates = []
    for _ in range(11):
        rates += scheduler.get_last_lr()
        assert optimizer.param_groups[0]["lr"] == rates[-1]
        scheduler.step()
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[6] == pytest.approx(0.3)
    assert rates[8:] == pytest.approx([0.1, 0.1, 0.1])


@pytest.mark.parametrize("make", [lambda o: CosineAnnealingLR(o, 7), lambda o: LambdaLR(o, lambda step: 0.9**step)])
def test_resume_from_json(make: object) -> None:
    """Optimizer and scheduler saved in the middle go on as if nothing had happened."""
    optimizer = _optimizer()
    scheduler = make(optimizer)
    for _ in range(3):
        scheduler.step()
    saved = json.loads(json.dumps([optimizer.state_dict(), scheduler.state_dict()]))
    other = _optimizer()
    resumed = make(other)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert resumed.last_epoch == 3 and other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    for _ in range(3):
        scheduler.step(), resumed.step()
        assert resumed.get_last_lr() == scheduler.get_last_lr()
        assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
