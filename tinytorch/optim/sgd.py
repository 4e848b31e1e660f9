"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..modes import untraced
from ..tensor import Tensor
from .optimizer import Optimizer, Params


class SGD(Optimizer):
    """Stochastic gradient descent (Sutskever et al. 2013 for momentum and Nesterov's form of it).

    g_t = grad + weight_decay * p
    b_1 = g_1,  b_t = momentum * b_{t-1} + (1 - dampening) * g_t
    p  -= lr * (g_t + momentum * b_t  if nesterov,  else b_t)

    State: "momentum_buffer", of the parameter's shape and dtype, where momentum is not zero.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        if not group["momentum"] >= 0.0:
            raise ValueError(f"Invalid momentum value: {group['momentum']}")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    @untraced
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient. Returns what `closure` returns (see Optimizer.step)."""
        loss = self._evaluate(closure)
        self._check_writable([param for param in self._all_params() if param._grad is not None])
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        lr, momentum, dampening = float(group["lr"]), float(group["momentum"]), float(group["dampening"])
        decay, nesterov = float(group["weight_decay"]), group["nesterov"]
        for param in group["params"]:
            if param.grad is None:
                continue
            value: Any = param.array
            grad: Any = param.grad.array
            if decay:
                grad = grad + decay * value
            if momentum:
                state = self.state[param]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = Tensor(np.array(grad, value.dtype))
                else:
                    buffer = state["momentum_buffer"].array
                    buffer *= momentum
                    buffer += (1 - dampening) * grad if dampening else grad
                buffer = state["momentum_buffer"].array
                grad = grad + momentum * buffer if nesterov else buffer
            value -= lr * grad
            param._counter[0] += 1
