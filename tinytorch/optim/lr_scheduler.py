"""Learning rates that change from step to step. Call `scheduler.step()` after `optimizer.step()`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..modes import untraced
from .optimizer import Optimizer


class LRScheduler:
    """Base class: a subclass defines `get_lr`, which gives each group's rate at step `last_epoch`.

    The first rate is set when the scheduler is made. `base_lrs` are the rates that the groups had then.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{number}] when resuming a scheduler at "
                    f"step {last_epoch}: load the optimizer's state first"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each parameter group at step `last_epoch`."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr")

    def get_last_lr(self) -> list[float]:
        """The rates that were set last."""
        return self._last_lr

    @untraced
    def step(self) -> None:
        """Go to the next step and set its rates."""
        self.last_epoch += 1
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions; numbers and lists of them."""
        return {name: value for name, value in vars(self).items() if name not in ("optimizer", "lr_lambdas")}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave. The optimizer's rates are in the optimizer's own state."""
        vars(self).update({name: value for name, value in state_dict.items() if name != "lr_lambdas"})


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(step): one function, or one for each group."""

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

    def get_lr(self) -> list[float]:
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class CosineAnnealingLR(LRScheduler):
    """From the initial rate down to eta_min over T_max steps, and back up over the next T_max.

    lr_t = eta_min + (lr_0 - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov and Hutter 2016, eq. 5).
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]


class WarmupCosineLR(LRScheduler):
    """Linear warm-up to the initial rate, a cosine down to min_lr, then min_lr: nanoGPT's schedule.

    lr_t = lr_0 (t + 1) / (warmup_steps + 1)                                      t < warmup_steps
    lr_t = min_lr + (lr_0 - min_lr) (1 + cos(pi r)) / 2,
           r = (t - warmup_steps) / (decay_steps - warmup_steps)                  t <= decay_steps
    lr_t = min_lr                                                                 afterwards
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, decay_steps: int, min_lr: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not 0 <= warmup_steps < decay_steps:
            raise ValueError(f"expected 0 <= warmup_steps < decay_steps, got {warmup_steps} and {decay_steps}")
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.min_lr = min_lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [self._rate(base) for base in self.base_lrs]

    def _rate(self, base: float) -> float:
        step = self.last_epoch
        if step < self.warmup_steps:
            return base * (step + 1) / (self.warmup_steps + 1)
        progress = min((step - self.warmup_steps) / (self.decay_steps - self.warmup_steps), 1.0)
        return self.min_lr + (base - self.min_lr) * (1 + math.cos(math.pi * progress)) / 2
