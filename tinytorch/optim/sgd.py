"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.mode import mode
from ..engine.runner import untraced
from ..ops.common import Array
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_outside, check_shape


class SGD(Optimizer):
    """Stochastic gradient descent (Sutskever et al. 2013 for momentum and Nesterov's form of it).

    g_t = grad + weight_decay * p
    b_1 = g_1,  b_t = momentum * b_{t-1} + (1 - dampening) * g_t
    p  -= lr * (g_t + momentum * b_t  if nesterov,  else b_t)

    maximize flips the gradient's sign. foreach and fused, which choose an implementation in PyTorch, change
    nothing; differentiable is refused.

    State: "momentum_buffer", with the parameter's shape and dtype, if momentum is not zero; if it is missing
    or None the next step counts as the first. Steps for 16-bit parameters compute in float32.
    """

    _shaped_entries = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
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
        """Update every parameter that has a gradient. Returns what `closure` returns (see Optimizer.step)."""
        loss = None if closure is None else self._evaluate(closure)
        self._check_writable([param for param in self._all_params() if param._grad is not None])
        for group in self.param_groups:
            mode.quietly(self._step_group, group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        lr, momentum, dampening = float(group["lr"]), float(group["momentum"]), float(group["dampening"])
        decay, nesterov = float(group["weight_decay"]), group["nesterov"]
        for param in group["params"]:
            if param._grad is None:
                continue
            value = param.array
            grad: Array = param._grad.array
            check_shape(grad, "the gradient of a parameter", param, RuntimeError)
            half = value.itemsize < 4
            if half:
                grad = grad.astype(np.float32)
            if group["maximize"]:
                grad = -grad
            if decay:
                grad = grad + decay * (value.astype(np.float32) if half else value)
            if momentum:
                moving = self._move_buffer(param, grad, momentum, dampening)
                grad = grad + momentum * moving if nesterov else moving
            value -= lr * grad
            param._counter[0] += 1

    def _move_buffer(self, param: Tensor, grad: Array, momentum: float, dampening: float) -> Array:
        """Update the momentum buffer with the gradient. Returns its new value, in the gradient's dtype."""
        state, dtype = self.state[param], param.array.dtype
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = Tensor(np.array(grad, dtype))
            return grad
        if state["momentum_buffer"].dtype != dtype:
            state["momentum_buffer"] = Tensor(state["momentum_buffer"].array.astype(dtype))
        buffer: Array = state["momentum_buffer"].array
        check_shape(buffer, "momentum_buffer of a parameter", param, RuntimeError)
        check_outside(buffer, "momentum_buffer")
        moving = buffer.astype(grad.dtype, copy=False)
        moving *= momentum
        moving += (1 - dampening) * grad if dampening else grad
        if moving is not buffer:
            buffer[...] = moving
        return moving
