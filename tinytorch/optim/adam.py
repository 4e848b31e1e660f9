"""Adam and AdamW, which update all parameters of a kind in one launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import is_
from typing import Any

import numpy as np

from ..engine.mode import mode
from ..engine.runner import untraced
from ..kernels.launch import aligned_zeros
from ..kernels.optim import ArrayList, adam_coefficients, adamw
from ..ops.common import Array
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_distinct, check_outside, check_shape

Group = dict[str, Any]
Member = tuple[Tensor, Group]  # a parameter and its group
State = dict[Any, dict[str, Any]]

_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")  # the last one with amsgrad
_KERNEL_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014), with weight decay as an L2 penalty in the gradient.

    g_t = grad + weight_decay * p
    m_t = beta1 * m + (1 - beta1) * g_t,  v_t = beta2 * v + (1 - beta2) * g_t^2
    p  -= lr * m_t / (1 - beta1^t) / (sqrt(v_t / (1 - beta2^t)) + eps)

    With amsgrad the root uses the largest v so far (Reddi et al. 2018); maximize flips the gradient's sign;
    decoupled_weight_decay makes it AdamW. foreach and fused, which choose an implementation in PyTorch, change
    nothing; capturable and differentiable are refused.

    State: "step" (float32, no dimensions), and "exp_avg" m, "exp_avg_sq" v and, with amsgrad,
    "max_exp_avg_sq", like the parameter. For 16-bit parameters the state has 16 bits too, and a step
    computes in float32. Each parameter counts its own steps, those at which it had a gradient. State that
    is replaced or written to between steps is used by the next step; if it is empty, the parameter starts
    afresh. A state that has only some of these entries raises KeyError.
    """

    _shaped_entries = _MOMENTS
    # What the batches were made from: the groups, the settings that decide on each one's batch, and the parameters.
    _batches: Sequence[_Batch] = ()
    _groups: Sequence[Group] = ()
    _kinds: Sequence[Any] = ()
    _params: Sequence[Tensor] = ()

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if foreach and isinstance(lr, Tensor):
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        defaults = {
            "lr": lr,
            "betas": _numbers(betas, foreach),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: Group) -> None:
        super()._check_group(group)
        if not group["eps"] >= 0.0:
            raise ValueError(f"Invalid epsilon value: {group['eps']}")
        beta1, beta2 = group["betas"]
        for i, beta in enumerate((beta1, beta2)):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")

    def __getstate__(self) -> dict[str, Any]:
        # Batches refer to memory by its address, which is different in a copy.
        return {name: value for name, value in vars(self).items() if name not in _OF_BATCHES}

    @untraced
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. Returns what `closure` returns (see Optimizer.step)."""
        loss = None if closure is None else self._evaluate(closure)
        params = [[p for p in group["params"] if p._grad is not None] for group in self.param_groups]
        kinds = [
            (len(own), group["maximize"], group["amsgrad"])
            for own, group in zip(params, self.param_groups, strict=True)
        ]
        if not self._is_current(params, kinds):
            self._gather(params, kinds)
        for batch in self._batches:
            batch.step()
        return loss

    def _is_current(self, params: list[list[Tensor]], kinds: list[Any]) -> bool:
        """Whether the batches match these parameters and groups, and the memory of both and of their state."""
        return (
            kinds == self._kinds
            and all(map(is_, self.param_groups, self._groups))
            and all(map(is_, chain.from_iterable(params), self._params))
            and all(batch.is_current(self.state) for batch in self._batches)
        )

    def _gather(self, params: list[list[Tensor]], kinds: list[Any]) -> None:
        """Sort the parameters that have gradients into batches of one dtype and kind of step."""
        self._batches, self._kinds = (), ()  # so that nothing counts as current if something raises
        self._params = list(chain.from_iterable(params))
        check_distinct(self._params)
        self._check_writable(self._params)
        members: dict[Any, list[Member]] = {}
        for own, group, (_, maximize, amsgrad) in zip(params, self.param_groups, kinds, strict=True):
            for param in own:
                members.setdefault((param.array.dtype, maximize, amsgrad), []).append((param, group))
        self._batches = [
            _Batch(batch, self.state, maximize, amsgrad) for (_, maximize, amsgrad), batch in members.items()
        ]
        self._groups, self._kinds = list(self.param_groups), kinds


_OF_BATCHES = ("_batches", "_groups", "_kinds", "_params")


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr * weight_decay (Loshchilov and Hutter 2017)."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As Optimizer.load_state_dict; a state saved by Adam continues as AdamW."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


def _numbers(betas: Any, foreach: bool | None) -> tuple[float, ...]:
    """The betas' current values, as they may be Tensors."""
    tensors = [isinstance(beta, Tensor) for beta in betas]
    if any(tensors) and not all(tensors):
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if tensors[i] and foreach:
            raise ValueError(f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True")
        if tensors[i] and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element, got shape {tuple(beta.shape)}")
    return tuple(beta.item() if isinstance(beta, Tensor) else beta for beta in betas)


class _Batch:
    """The parameters of one dtype and kind of step that have gradients, with their state, as the kernel takes them.

    A step reads the gradients, the groups' hyperparameters and the step counts, and checks that arrays are
    where they were: batches are rebuilt when a parameter joins, leaves or changes its memory or group, or
    when an entry of the state is replaced.
    """

    def __init__(self, members: list[Member], state: State, maximize: bool, amsgrad: bool) -> None:
        self.params = [param for param, _ in members]
        self.groups = [group for _, group in members]
        self.sign = -1.0 if maximize else 1.0
        self.names = _MOMENTS if amsgrad else _MOMENTS[:2]
        states = [state.setdefault(param, {}) for param in self.params]
        for param, values in zip(self.params, states, strict=True):
            _prepare(param, values, self.names)
        # All step counts are in one array, of which the state has views.
        self.steps = np.array([values["step"].item() for values in states], np.float32)
        for i, values in enumerate(states):
            values["step"].array = self.steps[i, ...]
        self._share_rows()
        moments = [[values[name].array for values in states] for name in self.names]
        self.arrays: list[list[Any]] = [[param.array for param in self.params], *moments]
        self.counts: list[Any] = [values["step"].array for values in states]
        self.fused = self.arrays[0][0].dtype in _KERNEL_DTYPES and not amsgrad
        if self.fused:
            # The kernel needs C order. Memory in any other order is copied there and back at every step.
            self.lists = [
                ArrayList([a if a.flags.carray else np.array(a, order="C") for a in arrays])
                for arrays in self.arrays
            ]
            used = chain.from_iterable(a.arrays for a in self.lists)
            self.copied = [
                (copy, a) for copy, a in zip(used, chain.from_iterable(self.arrays), strict=True) if copy is not a
            ]

    def is_current(self, state: State) -> bool:
        """Whether the parameters and their state still have the same arrays."""
        params = self.params
        # Written out because every step checks every parameter: it takes half the time of a loop over names.
        arrays = zip(params, self.arrays[0], self.counts, self.arrays[1], self.arrays[2], strict=True)
        try:
            for param, value, count, exp_avg, exp_avg_sq in arrays:
                entries = state[param]
                if not (
                    param.array is value
                    and entries["step"].array is count
                    and entries["exp_avg"].array is exp_avg
                    and entries["exp_avg_sq"].array is exp_avg_sq
                ):
                    return False
            return len(self.names) == 2 or all(
                state[param]["max_exp_avg_sq"].array is array
                for param, array in zip(params, self.arrays[3], strict=True)
            )
        except (KeyError, AttributeError):  # an entry is gone, or is not a Tensor
            return False

    def _share_rows(self) -> None:
        """Find which parameters share a row of coefficients: those of one group with the same number of steps."""
        rows: dict[tuple[int, float], int] = {}
        keys = [(id(group), step) for group, step in zip(self.groups, self.steps.tolist(), strict=True)]
        self.row_of = np.array([rows.setdefault(key, len(rows)) for key in keys])
        self.firsts = [keys.index(key) for key in rows]  # a parameter of each row
        self.counted = self.steps.tobytes()

    def _coefficients(self) -> Any:
        """The coefficients of the next step for each parameter, (parameters, 7)."""
        if self.steps.tobytes() != self.counted:  # someone wrote to a step count
            self._share_rows()
        rows = []
        for i in self.firsts:
            group = self.groups[i]
            lr, decay, eps = float(group["lr"]), float(group["weight_decay"]), float(group["eps"])
            beta1, beta2 = map(float, group["betas"])
            step = int(self.steps[i]) + 1
            rows.append(adam_coefficients(step, lr, beta1, beta2, eps, decay, group["decoupled_weight_decay"]))
        return np.array(rows)[self.row_of]

    def step(self) -> None:
        """Update every parameter once."""
        coefficients = self._coefficients()
        gradients: list[Any] = [param._grad.array for param in self.params]
        if self.fused:
            for copy, array in self.copied:
                copy[...] = array
            try:
                where = ArrayList.of(gradients)
            except ValueError:  # not all in C order and aligned
                where = ArrayList([np.require(gradient, None, ("C", "A")) for gradient in gradients])
            values, exp_avgs, exp_avg_sqs = self.lists
            adamw(values, where, exp_avgs, exp_avg_sqs, coefficients, self.sign)
            for copy, array in self.copied:
                array[...] = copy
        else:
            for row, gradient, *arrays in zip(coefficients.tolist(), gradients, *self.arrays, strict=True):
                mode.quietly(_update, row, self.sign * gradient, *arrays)
        self.steps += 1
        self.counted = self.steps.tobytes()
        for param in self.params:
            param._counter[0] += 1


def _prepare(param: Tensor, state: dict[str, Any], names: tuple[str, ...]) -> None:
    """Check a step's operands; create the state at a parameter's first step, or convert it to the parameter's dtype."""
    array, gradient = param.array, param._grad.array
    if not param.is_floating_point():
        raise TypeError(f"Adam and AdamW train floating-point parameters, not {array.dtype}")
    if (gradient.shape, gradient.dtype) != (array.shape, array.dtype):
        raise RuntimeError(
            f"the gradient of a parameter is {gradient.dtype} {gradient.shape}, the parameter {array.dtype} "
            f"{array.shape}: zero_grad() after its memory was replaced"
        )
    if not state:
        state["step"] = 0.0
        state.update({name: Tensor(aligned_zeros(array.shape, array.dtype)) for name in names})
    for name in ("step", *names):
        if name not in state:
            raise KeyError(
                f"the state of a parameter of shape {array.shape} has no '{name}', only {list(state)}: "
                "set it, or let the optimizer begin anew with state[parameter] = {}"
            )
    if not isinstance(state["step"], Tensor):
        state["step"] = Tensor(np.array(state["step"], np.float32))
    for name in names:
        check_shape(state[name], f"{name} of a parameter", param, RuntimeError)
        check_outside(state[name].array, name)
        if state[name].array.dtype != array.dtype:
            state[name] = Tensor(state[name].array.astype(array.dtype))


def _update(
    row: list[float], gradient: Array, value: Array, exp_avg: Array, exp_avg_sq: Array, *max_exp_avg_sq: Array
) -> None:
    """The kernel's step for one parameter, in NumPy: for amsgrad, and for 16-bit dtypes, computed in float32."""
    keep, penalty, one_minus_beta1, beta2, step_size, root, eps = row
    real = np.result_type(value.dtype, np.float32)
    p, g, m, v = (array.astype(real) for array in (value, gradient, exp_avg, exp_avg_sq))
    g += penalty * p
    m += one_minus_beta1 * (g - m)
    v *= beta2
    v += (1.0 - beta2) * g * g
    exp_avg[...], exp_avg_sq[...] = m, v
    for largest in max_exp_avg_sq:
        v = np.maximum(largest, v, dtype=real)
        largest[...] = v
    value[...] = keep * p - step_size * m / (np.sqrt(v) * root + eps)
