"""Learning rates that change from step to step. Call `scheduler.step()` after `optimizer.step()`."""

from __future__ import annotations

import math
import types
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..engine.runner import untraced
from ..tensor import Tensor
from .optimizer import Optimizer

Rate = float | Tensor


class LRScheduler:
    """Base class: a subclass defines `get_lr`, which returns each group's rate at step `last_epoch`.

    `get_lr` starts from the groups' present rates, so other changes to them, by hand or by another schedule, keep
    their effect. `_get_closed_form_lr`, if a subclass has it, computes them from `base_lrs` alone: the rates that
    the groups had when the first scheduler was made, "initial_lr" in the groups.

    To continue from a checkpoint, load the optimizer's state, make the scheduler, and load its state.
    """

    _get_lr_called_within_step = False
    _is_initial = False  # True during the step that the constructor takes
    _unsaved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{number}] when resuming a scheduler at "
                    f"step {last_epoch}: load the optimizer's state first"
                )
        self.base_lrs: list[Rate] = [_copied(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        if optimizer._opt_called is None:
            optimizer._opt_called = False
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[Rate]:
        """The rate of each parameter group at step `last_epoch`, from its present one. `step` calls it."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr")

    def get_last_lr(self) -> list[Rate]:
        """The rates that were last set."""
        return self._last_lr

    def _present(self) -> list[Rate]:
        """The groups' present rates, with Tensors copied."""
        return [_copied(group["lr"]) for group in self.optimizer.param_groups]

    def _warn_unless_within_step(self) -> None:
        if not self._get_lr_called_within_step:
            message = "get_lr() computes the next rates from the present ones: for those set last use get_last_lr()"
            warnings.warn(message, UserWarning, stacklevel=3)

    @untraced
    def step(self, epoch: int | None = None) -> None:
        """Advance to the next step, or with `epoch` (deprecated) to that one by the closed form, and set its rates.

        Warns if the optimizer has taken no step since the schedule began: the first rate was then never used.
        """
        if self._step_count == 1 and self.optimizer._opt_called is False:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first rate of the schedule is "
                "skipped. Call `optimizer.step()` first",
                UserWarning,
                stacklevel=4,
            )
        self._step_count += 1
        self._get_lr_called_within_step = True
        try:
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                warnings.warn(
                    "The epoch parameter in `scheduler.step()` is deprecated: call step() once for each step",
                    UserWarning,
                    stacklevel=4,
                )
                self.last_epoch = epoch
                rates = getattr(self, "_get_closed_form_lr", self.get_lr)()
        finally:
            self._get_lr_called_within_step = False
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            _set_rate(group, rate)
        self._last_lr = self._present()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer: numbers and lists of them."""
        return {name: value for name, value in vars(self).items() if name not in self._unsaved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a result of `state_dict`. The optimizer's rates are in the optimizer's own state."""
        vars(self).update(state_dict)


def _copied(rate: Rate) -> Rate:
    return rate.clone() if isinstance(rate, Tensor) else rate


def _set_rate(group: dict[str, Any], rate: Rate) -> None:
    """Set a group's rate; if it is a Tensor, write into it."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(float(rate))
    else:
        group["lr"] = rate


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(step): one function, or one for each group.

    Like PyTorch's, it sets rates regardless of the groups' present ones. `state_dict` contains the attributes of those
    functions that are callable objects.
    """

    _unsaved = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        self._warn_unless_within_step()
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        attributes = [
            None if isinstance(factor, types.FunctionType) else dict(getattr(factor, "__dict__", {}))
            for factor in self.lr_lambdas
        ]
        return {**super().state_dict(), "lr_lambdas": attributes}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "lr_lambdas"})
        for factor, attributes in zip(self.lr_lambdas, state_dict.get("lr_lambdas", ()), strict=False):
            if attributes:
                vars(factor).update(attributes)


class CosineAnnealingLR(LRScheduler):
    """From the initial rate down to eta_min over T_max steps, and back up over the next T_max.

    lr_t = eta_min + (lr_0 - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov and Hutter 2016, eq. 5),
    each from the previous one: lr_t - eta_min is (1 + cos(pi t / T_max)) / (1 + cos(pi (t - 1) / T_max)) times
    the present rate less eta_min.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        self._warn_unless_within_step()
        step, present = self.last_epoch, self._present()
        if self._is_initial:
            return present
        if self._step_count == 1 and step > 0:
            return self._get_closed_form_lr()
        if (step - 1 - self.T_max) % (2 * self.T_max) == 0:  # up from the lowest point, where the quotient is 0 / 0
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [rate + (base - self.eta_min) * rise for rate, base in zip(present, self.base_lrs, strict=True)]
        quotient = (1 + math.cos(math.pi * step / self.T_max)) / (1 + math.cos(math.pi * (step - 1) / self.T_max))
        return [quotient * (rate - self.eta_min) + self.eta_min for rate in present]

    def _get_closed_form_lr(self) -> list[Rate]:
        factor = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]


class StepLR(LRScheduler):
    """The present rate times gamma after every step_size steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        self._warn_unless_within_step()
        falls = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [rate * self.gamma if falls else rate for rate in self._present()]

    def _get_closed_form_lr(self) -> list[Rate]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """The present rate times gamma at each of the milestones, twice at one that is given twice."""

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        self._warn_unless_within_step()
        factor = self.gamma ** self.milestones[self.last_epoch]
        return [rate * factor if factor != 1 else rate for rate in self._present()]

    def _get_closed_form_lr(self) -> list[Rate]:
        passed = sum(times for step, times in self.milestones.items() if step <= self.last_epoch)
        return [base * self.gamma**passed for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    """The present rate times gamma after every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        self._warn_unless_within_step()
        return [rate if self._is_initial else rate * self.gamma for rate in self._present()]

    def _get_closed_form_lr(self) -> list[Rate]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


def warmup_cosine(step: int, warmup_steps: int, decay_steps: int, lr: Rate, min_lr: float) -> Rate:
    """The learning rate at a step of nanoGPT's schedule: linear warm-up to lr, half a cosine to min_lr, then min_lr.

    lr_t = lr (t + 1) / (warmup_steps + 1)                                        t < warmup_steps
    lr_t = min_lr + (lr - min_lr) (1 + cos(pi r_t)) / 2,
           r_t = (t - warmup_steps) / (decay_steps - warmup_steps)                t < decay_steps
    lr_t = min_lr                                                                 afterwards
    """
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    return min_lr + (lr - min_lr) * _cosine(step, warmup_steps, decay_steps)


def _cosine(step: int, warmup_steps: int, decay_steps: int) -> float:
    """(1 + cos(pi r_t)) / 2: from 1 at warmup_steps to 0 at decay_steps."""
    if step >= decay_steps:
        return 0.0
    return (1 + math.cos(math.pi * ((step - warmup_steps) / (decay_steps - warmup_steps)))) / 2


class WarmupCosineLR(LRScheduler):
    """nanoGPT's schedule, `warmup_cosine`, from the initial learning rate down to min_lr.

    Each rate is computed from the previous one, as in PyTorch's schedules.
    """

    _unsaved = ("optimizer", "_found")
    _found: Sequence[tuple[dict[str, Any], Rate]] = ()  # the groups, with the rates before the first was set

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, decay_steps: int, min_lr: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not 0 <= warmup_steps < decay_steps:
            raise ValueError(f"expected 0 <= warmup_steps < decay_steps, got {warmup_steps} and {decay_steps}")
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.min_lr = min_lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        self._warn_unless_within_step()
        step, present = self.last_epoch, self._present()
        if step == 0:
            self._found = list(zip(self.optimizer.param_groups, present, strict=True))
            return [rate / (self.warmup_steps + 1) for rate in present]
        if self._is_initial or step > self.decay_steps:
            return present
        if step <= self.warmup_steps:
            return [rate * ((step + 1) / step) for rate in present]
        now, before = (_cosine(t, self.warmup_steps, self.decay_steps) for t in (step, step - 1))
        return [now / before * (rate - self.min_lr) + self.min_lr for rate in present]

    def _get_closed_form_lr(self) -> list[Rate]:
        times = self.last_epoch, self.warmup_steps, self.decay_steps
        return [warmup_cosine(*times, base, self.min_lr) for base in self.base_lrs]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As LRScheduler.load_state_dict. If the first rate was just set, the rate before it is restored."""
        if self._step_count == 1:  # as when the optimizer was loaded before the schedule was made
            for group, rate in self._found:
                _set_rate(group, rate)
        super().load_state_dict(state_dict)
