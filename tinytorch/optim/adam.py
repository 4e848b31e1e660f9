"""Adam and AdamW, on all parameters of a dtype in one launch."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import Any

import numpy as np

from ..kernels.memory import zeros
from ..kernels.optim import ArrayList, adam_coefficients, adamw
from ..modes import untraced
from ..tensor import Tensor
from .optimizer import Optimizer, Params

Member = tuple[Tensor, dict[str, Any]]  # a parameter and its group


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014), with weight decay as an L2 penalty in the gradient.

    g_t = grad + weight_decay * p
    m_t = beta1 * m + (1 - beta1) * g_t,  v_t = beta2 * v + (1 - beta2) * g_t^2
    p  -= lr * m_t / (1 - beta1^t) / (sqrt(v_t / (1 - beta2^t)) + eps)

    State: "step" (float32, no dimensions), and "exp_avg" m and "exp_avg_sq" v, like the parameter.
    Parameters are float32 or float64. Each counts its own steps, those at which it had a gradient.
    """

    _decoupled = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self._batches: list[_Batch] = []
        self._memory: list[Any] = []  # of the parameters in the batches, in the order of the groups
        self._gathered: Any = None  # the state that the batches refer to, and its length then
        self._states = 0
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        if not group["eps"] >= 0.0:
            raise ValueError(f"Invalid epsilon value: {group['eps']}")
        for i, beta in enumerate(group["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")

    @untraced
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient. Returns what `closure` returns (see Optimizer.step)."""
        loss = self._evaluate(closure)
        members = [(p, group) for group in self.param_groups for p in group["params"] if p._grad is not None]
        memory = [param.array for param, _ in members]
        if not self._is_current(memory):
            self._gather(members, memory)
        for batch in self._batches:
            batch.step(self._decoupled)
        return loss

    def _is_current(self, memory: list[Any]) -> bool:
        """Whether the batches hold exactly the parameters with this memory, and the present state."""
        return (
            self._gathered is self.state
            and len(self.state) == self._states
            and len(memory) == len(self._memory)
            and all(map(is_, memory, self._memory))
        )

    def _gather(self, members: list[Member], memory: list[Any]) -> None:
        """Put the parameters that have gradients into a batch for each dtype."""
        self._check_writable([param for param, _ in members])
        by_dtype: dict[Any, list[Member]] = {}
        for (param, group), array in zip(members, memory, strict=True):
            by_dtype.setdefault(array.dtype, []).append((param, group))
        self._batches = [_Batch(batch, self.state) for batch in by_dtype.values()]
        self._memory = memory
        self._gathered, self._states = self.state, len(self.state)


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr * weight_decay (Loshchilov and Hutter 2017)."""

    _decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


class _Batch:
    """The parameters of one dtype that have gradients, with their state, as the kernel wants them.

    A step looks at nothing but the gradients and the groups' hyperparameters: batches are made
    again when a parameter joins, leaves or changes its memory, or the state is replaced.
    """

    def __init__(self, members: list[Member], state: dict[Tensor, dict[str, Any]]) -> None:
        self.params = [param for param, _ in members]
        memory: list[Any] = [param.array for param in self.params]
        for param in self.params:
            _prepare(param, state[param])
        # The kernel needs C order. Memory in another order is copied to such a place and back at every step.
        self.values = ArrayList([a if a.flags.carray else np.array(a, order="C") for a in memory])
        self.exp_avgs = ArrayList([state[param]["exp_avg"].array for param in self.params])
        self.exp_avg_sqs = ArrayList([state[param]["exp_avg_sq"].array for param in self.params])
        self.copied = [
            (value, array) for value, array in zip(self.values.arrays, memory, strict=True) if value is not array
        ]
        self._gather_steps(members, state)

    def _gather_steps(self, members: list[Member], state: dict[Tensor, dict[str, Any]]) -> None:
        """Put all step counts in one array, of which the state holds views, and find which parameters
        share a row of coefficients: those of one group that have taken as many steps."""
        states = [state[param] for param in self.params]
        self.steps = np.array([values["step"].item() for values in states], np.float32)
        self.rows: dict[tuple[int, int], tuple[dict[str, Any], int]] = {}
        row_of = []
        for i, ((_, group), values) in enumerate(zip(members, states, strict=True)):
            values["step"] = Tensor(self.steps[i : i + 1].reshape(()))
            key = (id(group), int(self.steps[i]))
            self.rows.setdefault(key, (group, int(self.steps[i])))
            row_of.append(list(self.rows).index(key))
        self.row_of = np.array(row_of)
        self.taken = 0

    def step(self, decoupled: bool) -> None:
        """One step of every parameter."""
        self.taken += 1
        self.steps += 1
        rows = []
        for group, start in self.rows.values():
            beta1, beta2 = group["betas"]
            options = group["lr"], beta1, beta2, group["eps"], group["weight_decay"], decoupled
            rows.append(adam_coefficients(start + self.taken, *options))
        for value, array in self.copied:
            value[...] = array
        gradients: list[Any] = [param._grad.array for param in self.params]  # type: ignore[union-attr]
        gradients = [g if g.flags.carray else np.require(g, None, ("C", "A")) for g in gradients]
        adamw(self.values, ArrayList.of(gradients), self.exp_avgs, self.exp_avg_sqs, np.array(rows)[self.row_of])
        for value, array in self.copied:
            array[...] = value
        for param in self.params:
            param._counter[0] += 1


def _prepare(param: Tensor, state: dict[str, Any]) -> None:
    """Make the state of a parameter's first step, or bring it to the parameter's dtype."""
    array: Any = param.array
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"Adam and AdamW train float32 and float64 parameters, not {array.dtype}")
    if not state:
        state["step"] = Tensor(np.zeros((), np.float32))
        state["exp_avg"] = Tensor(zeros(array.shape, array.dtype))
        state["exp_avg_sq"] = Tensor(zeros(array.shape, array.dtype))
    for name in ("exp_avg", "exp_avg_sq"):
        if state[name].array.dtype != array.dtype:
            state[name] = Tensor(state[name].array.astype(array.dtype))
