"""Schedules: their rates, whatever else changes them; resuming; order; errors."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn, optim
from tinytorch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, WarmupCosineLR, warmup_cosine


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


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-3 / 101),
        (99, 1e-3 * 100 / 101),
        (100, 1e-3),
        (575, 1e-4 + 0.5 * (1 + math.cos(math.pi / 4)) * 9e-4),
        (1050, (1e-3 + 1e-4) / 2),
        (2000, 1e-4),
        (99_999, 1e-4),
    ],
)
def test_the_schedule_is_nanogpts(step: int, expected: float) -> None:
    assert warmup_cosine(step, 100, 2000, 1e-3, 1e-4) == pytest.approx(expected, rel=1e-12)


def test_a_run_may_end_within_its_warmup() -> None:
    assert [warmup_cosine(step, 3, 2, 1.0, 0.1) for step in range(4)] == [0.25, 0.5, 0.75, 0.1]
    assert warmup_cosine(0, 0, 0, 1.0, 0.1) == 0.1


def test_warmup_cosine_by_hand() -> None:
    optimizer = _optimizer()
    scheduler = WarmupCosineLR(optimizer, warmup_steps=4, decay_steps=8, min_lr=0.1)
    rates = []
    for _ in range(11):
        rates += scheduler.get_last_lr()
        assert optimizer.param_groups[0]["lr"] == rates[-1]
        optimizer.step(), scheduler.step()
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[6] == pytest.approx(0.3)
    assert rates[8:] == pytest.approx([0.1, 0.1, 0.1])


Cosine = CosineAnnealingLR


def _train(optimizer: Any, *schedules: Any, steps: int = 1) -> float:
    for _ in range(steps):
        optimizer.step()
        for schedule in schedules:
            schedule.step()
    return optimizer.param_groups[0]["lr"]  # type: ignore[no-any-return]


def _cosine(step: int, length: int) -> float:
    return (1 + math.cos(math.pi * step / length)) / 2


SCHEDULES: dict[str, Any] = {
    "cosine": lambda o, **more: CosineAnnealingLR(o, 10, **more),
    "cosine_floor": lambda o, **more: CosineAnnealingLR(o, 6, eta_min=0.05, **more),
    "warmup": lambda o, **more: WarmupCosineLR(o, 4, 9, min_lr=0.05, **more),
    "warmup_none": lambda o, **more: WarmupCosineLR(o, 0, 9, **more),
}
each_schedule = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)


@each_schedule
def test_recursion_is_the_closed_form_where_nobody_interferes(make: Any) -> None:
    optimizer = _optimizer()
    schedule = make(optimizer)
    for step in range(30):
        assert schedule.last_epoch == step
        (expected,) = schedule._get_closed_form_lr()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12, abs=1e-15)
        assert schedule.get_last_lr() == [optimizer.param_groups[0]["lr"]]
        _train(optimizer, schedule)


@each_schedule
@pytest.mark.parametrize("order", ["optimizer first", "schedule first"])
@pytest.mark.parametrize("stop", [0, 1, 3, 4, 7, 8, 9, 12])
def test_resume(make: Any, order: str, stop: int) -> None:
    """The first rate after resuming is the saved one, whatever is made and loaded first; so are the next."""
    optimizer = _optimizer()
    schedule = make(optimizer)
    _train(optimizer, schedule, steps=stop)
    saved = json.loads(json.dumps([optimizer.state_dict(), schedule.state_dict()]))
    other = _optimizer()
    if order == "optimizer first":
        other.load_state_dict(saved[0])
    resumed = make(other)
    if order == "schedule first":
        other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert resumed.last_epoch == stop
    for _ in range(14):
        assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        assert resumed.get_last_lr() == schedule.get_last_lr()
        assert _train(other, resumed) == _train(optimizer, schedule)


@each_schedule
@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_resume_at_a_step(make: Any, stop: int) -> None:
    """`last_epoch` is the step before the one to go on at; the rate of that is the loaded optimizer's."""
    optimizer = _optimizer()
    schedule = make(optimizer)
    _train(optimizer, schedule, steps=stop)
    other = _optimizer()
    other.load_state_dict(optimizer.state_dict())
    resumed = make(other, last_epoch=stop - 1)
    for _ in range(6):
        assert resumed.last_epoch == schedule.last_epoch
        assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        _train(optimizer, schedule), _train(other, resumed)


@each_schedule
def test_loading_again_rewinds_the_schedule_but_not_the_rates(make: Any) -> None:
    """Only the first rate, just set by the constructor, gives way."""
    optimizer = _optimizer()
    schedule = make(optimizer)
    saved = dict(schedule.state_dict())
    rate = _train(optimizer, schedule, steps=3)
    schedule.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == rate and schedule.last_epoch == 0


@each_schedule
def test_rate_changed_by_hand(make: Any) -> None:
    """A tenth of the distance to the floor stays a tenth of it."""
    optimizer, plain = _optimizer(), _optimizer()
    schedule, undisturbed = make(optimizer), make(plain)
    floor = getattr(schedule, "eta_min", None) or getattr(schedule, "min_lr", 0.0)
    _train(optimizer, schedule, steps=5), _train(plain, undisturbed, steps=5)
    group = optimizer.param_groups[0]
    group["lr"] = floor + (group["lr"] - floor) * 0.1
    for _ in range(5 if "T_max" not in vars(schedule) else schedule.T_max - 5):
        expected = _train(plain, undisturbed)
        assert _train(optimizer, schedule) - floor == pytest.approx((expected - floor) * 0.1, abs=1e-15)


def test_rate_changed_by_hand_during_warmup() -> None:
    optimizer = _optimizer()
    schedule = WarmupCosineLR(optimizer, 4, 9)
    _train(optimizer, schedule, steps=2)
    optimizer.param_groups[0]["lr"] *= 0.5
    assert _train(optimizer, schedule) == pytest.approx(0.5 * 0.5 * 4 / 5)
    assert _train(optimizer, schedule) == pytest.approx(0.5 * 0.5)
    assert _train(optimizer, schedule) == pytest.approx(0.5 * 0.5 * _cosine(1, 5))
    assert _train(optimizer, schedule, steps=4) == 0.0
    optimizer.param_groups[0]["lr"] = 0.125  # after its end the schedule leaves rates alone
    assert _train(optimizer, schedule, steps=3) == 0.125


def test_two_schedules_on_one_optimizer_multiply() -> None:
    optimizer = _optimizer()
    first, second = Cosine(optimizer, 10), Cosine(optimizer, 8)
    for step in range(1, 8):
        assert _train(optimizer, first, second) == pytest.approx(0.5 * _cosine(step, 10) * _cosine(step, 8))
        assert first.get_last_lr()[0] == pytest.approx(0.5 * _cosine(step, 10) * _cosine(step - 1, 8))


def test_new_schedule_begins_at_the_present_rate() -> None:
    optimizer = _optimizer()
    _train(optimizer, Cosine(optimizer, 10), steps=4)
    optimizer.param_groups[0]["lr"] = 0.2
    schedule = Cosine(optimizer, 10)
    assert optimizer.param_groups[0]["lr"] == 0.2 and schedule.base_lrs == [0.5]
    assert _train(optimizer, schedule, steps=3) == pytest.approx(0.2 * _cosine(3, 10))
    optimizer.param_groups[0]["lr"] = 0.2
    schedule = WarmupCosineLR(optimizer, 3, 10)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert _train(optimizer, schedule, steps=3) == pytest.approx(0.2)


def test_cosine_goes_up_again_by_what_the_first_rate_says() -> None:
    """At the lowest point there is nothing to multiply."""
    optimizer = _optimizer()
    schedule = Cosine(optimizer, 4, eta_min=0.1)
    assert _train(optimizer, schedule, steps=4) == pytest.approx(0.1)
    for step in range(5, 13):
        assert _train(optimizer, schedule) == pytest.approx(0.1 + 0.4 * _cosine(step, 4))


def test_lambda_sets_rates_whatever_there_is() -> None:
    optimizer = _optimizer()
    schedule = LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.param_groups[0]["lr"] = 77.0
    assert _train(optimizer, schedule) == 0.25


def test_a_certain_step() -> None:
    optimizer = _optimizer()
    schedule = Cosine(optimizer, 10)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 77.0
    with pytest.warns(UserWarning, match="epoch parameter .* is deprecated"):
        schedule.step(3)
    assert schedule.last_epoch == 3 and schedule.get_last_lr() == [pytest.approx(0.5 * _cosine(3, 10))]
    factors = LambdaLR(_optimizer(), lambda step: 0.5**step)
    factors.optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        factors.step(epoch=4)
    assert factors.get_last_lr() == [0.5**5]


def test_order_of_steps() -> None:
    """The first rate is skipped where the schedule steps before the optimizer: a warning, once."""
    optimizer = _optimizer()
    optimizer.step()  # before there is a schedule: does not count
    schedule = Cosine(optimizer, 10)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`") as caught:
        schedule.step()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()
        for make in (_optimizer, _own_optimizer):
            optimizer = make()
            schedule, second = Cosine(optimizer, 10), Cosine(optimizer, 10)
            _train(optimizer, schedule, second, steps=2)


def _own_optimizer() -> optim.Optimizer:
    class Still(optim.Optimizer):
        def step(self, closure: Any = None) -> None:
            pass

    return Still([nn.Parameter(tinytorch.zeros(1))], {"lr": 0.5})


def test_order_of_steps_in_a_compiled_function() -> None:
    parameter = nn.Parameter(tinytorch.ones(1))
    optimizer = optim.SGD([parameter], lr=0.5)
    schedule = Cosine(optimizer, 10)

    @tinytorch.compile
    def learn() -> None:
        optimizer.zero_grad()
        (parameter * 2).sum().backward()
        optimizer.step()
        schedule.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(1, 4):
            learn()
            assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * _cosine(step, 10))


def test_asking_for_the_next_rates_by_mistake() -> None:
    for make in (*SCHEDULES.values(), lambda o: LambdaLR(o, abs)):
        schedule = make(_optimizer())
        with pytest.warns(UserWarning, match=r"get_last_lr\(\)") as caught:
            schedule.get_lr()
        assert caught[0].filename == __file__


def test_state() -> None:
    """Numbers and lists, for every attribute but the optimizer; of functions the attributes of objects."""
    schedule = Cosine(_optimizer(), 10)
    assert schedule.state_dict() == {
        "T_max": 10, "eta_min": 0.0, "base_lrs": [0.5], "last_epoch": 0, "_step_count": 1,
        "_is_initial": False, "_get_lr_called_within_step": False, "_last_lr": [0.5],
    }  # fmt: skip
    assert set(WarmupCosineLR(_optimizer(), 2, 3).state_dict()) == {
        "warmup_steps", "decay_steps", "min_lr", "base_lrs", "last_epoch", "_step_count",
        "_is_initial", "_get_lr_called_within_step", "_last_lr",
    }  # fmt: skip

    class Factor:
        def __init__(self, base: float) -> None:
            self.base = base

        def __call__(self, step: int) -> float:
            return self.base**step

    optimizer = optim.SGD([{"params": [nn.Parameter(tinytorch.zeros(1))]} for _ in range(3)], lr=0.5)
    schedule = LambdaLR(optimizer, [Factor(0.5), lambda step: 1.0, abs])
    state = schedule.state_dict()
    assert state["lr_lambdas"] == [{"base": 0.5}, None, {}] and "optimizer" not in state
    other = LambdaLR(optimizer, (Factor(0.1), lambda step: 2.0, abs))
    other.load_state_dict(state)
    assert other.lr_lambdas[0](1) == 0.5 and other.lr_lambdas[1](1) == 2.0 and "lr_lambdas" in state
    del state["lr_lambdas"]
    other.load_state_dict(state)


@each_schedule
def test_rates_that_are_tensors_are_written_into(make: Any) -> None:
    rate = tinytorch.tensor(np.array(0.5))
    optimizer, plain = optim.SGD([nn.Parameter(tinytorch.zeros(1))], lr=rate), _optimizer()
    schedule, other = make(optimizer), make(plain)
    kept = schedule.get_last_lr()[0]
    first = kept.item()
    for _ in range(12):
        _train(optimizer, schedule), _train(plain, other)
        assert optimizer.param_groups[0]["lr"] is rate
        assert rate.item() == pytest.approx(plain.param_groups[0]["lr"], abs=1e-15)
        assert schedule.get_last_lr()[0] is not rate and schedule.get_last_lr()[0].item() == rate.item()
    assert kept.item() == first and schedule.base_lrs[0].item() == 0.5
    assert optimizer.param_groups[0]["initial_lr"].item() == 0.5


def test_groups_have_their_own_rates() -> None:
    parameters = [nn.Parameter(tinytorch.zeros(1)) for _ in range(2)]
    optimizer = optim.SGD([{"params": [parameters[0]]}, {"params": [parameters[1]], "lr": 2.0}], lr=0.5)
    schedule = Cosine(optimizer, 4)
    _train(optimizer, schedule, steps=3)
    assert schedule.get_last_lr() == pytest.approx([0.5 * _cosine(3, 4), 2.0 * _cosine(3, 4)])
    optimizer.add_param_group({"params": [nn.Parameter(tinytorch.zeros(1))]})
    _train(optimizer, schedule)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0, 0.0]  # the new one's too


def test_groups_that_a_schedule_does_not_know() -> None:
    """Where it needs the initial rates, a group that joined later is an error, not one that is passed over."""
    schedules = [LambdaLR(_optimizer(), lambda step: 1.0), Cosine(_optimizer(), 1)]
    _train(schedules[1].optimizer, schedules[1])  # next comes the way up, by what the first rate says
    for schedule in schedules:
        schedule.optimizer.step()
        schedule.optimizer.add_param_group({"params": [nn.Parameter(tinytorch.zeros(1))]})
        with pytest.raises(ValueError, match="shorter"):
            schedule.step()

    class Few(LRScheduler):
        def get_lr(self) -> list[Any]:
            return [0.5]

    optimizer = _optimizer()
    optimizer.add_param_group({"params": [nn.Parameter(tinytorch.zeros(1))]})
    with pytest.raises(ValueError, match="shorter"):
        Few(optimizer)


def test_own_schedule() -> None:
    """A subclass in PyTorch's idiom, with and without a closed form."""

    class Halving(LRScheduler):
        def get_lr(self) -> list[Any]:
            factor = 1.0 if self.last_epoch == 0 else 0.5
            return [group["lr"] * factor for group in self.optimizer.param_groups]

    optimizer = _optimizer()
    schedule = Halving(optimizer)
    assert _train(optimizer, schedule, steps=2) == 0.125
    with pytest.warns(UserWarning, match="deprecated"):
        schedule.step(9)
    assert optimizer.param_groups[0]["lr"] == 0.0625 and schedule.last_epoch == 9
