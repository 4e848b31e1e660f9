"""Optimizer: parameter groups, state, and their dictionaries, in PyTorch's format."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..derivatives import zero_grad
from ..kernels.memory import require_writable
from ..modes import enable_grad
from ..tensor import Tensor

_WRITTEN = ("value", "exp_avg", "exp_avg_sq", "momentum_buffer")  # by a step: the parameter itself, and its moments

Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimizer:
    """Base class of optimizers.

    `param_groups` is a list of dictionaries, each with "params", a list of Tensors, and the
    hyperparameters of that group. `state` maps each parameter to its dictionary of Tensors.
    A subclass passes its defaults here and defines `step`.
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts: "
                "put the Tensor in a list"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        entries: list[Any] = list(params)
        if not entries:
            raise ValueError("optimizer got an empty parameter list")
        groups = entries if isinstance(entries[0], dict) else [{"params": entries}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: {"params": Tensors, hyperparameter: value, ...}; what is not given is the default.

        Raises TypeError for what is not a leaf Tensor in an ordered collection, and ValueError for
        a parameter that is already there.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        params = param_group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError("optimizer parameters need an order that is the same in every run: use a list, not a set")
        params = [params] if isinstance(params, Tensor) else list(params)
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(param).__name__}")
            if not param.is_leaf:
                raise ValueError(f"can't optimize a non-leaf Tensor (shape {tuple(param.shape)})")
        present = {id(param) for group in self.param_groups for param in group["params"]}
        if len({id(param) for param in params} - present) != len(params):
            raise ValueError("some parameters appear twice in one parameter group or in more than one")
        group = {**self.defaults, **param_group, "params": params}
        self._check_group(group)
        self.param_groups.append(group)

    def _check_group(self, group: dict[str, Any]) -> None:
        """Raise ValueError where a hyperparameter makes no sense."""
        for name, label in (("lr", "learning rate"), ("weight_decay", "weight_decay value")):
            if not group.get(name, 0.0) >= 0.0:
                raise ValueError(f"Invalid {label}: {group[name]}")
        for name in ("amsgrad", "maximize"):  # PyTorch's, in a state that was saved there
            if group.get(name):
                raise ValueError(f"{type(self).__name__} has no {name}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every gradient, or fill it with zeros."""
        zero_grad(self._all_params(), set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient. Returns what `closure` returns.

        The closure, called first with recording on, computes the loss and its gradients.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    @staticmethod
    def _evaluate(closure: Callable[[], Any] | None) -> Any:
        if closure is None:
            return None
        with enable_grad():
            return closure()

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {name: Tensor}}, "param_groups": [{..., "params": [index, ...]}]}.

        Parameters are numbered through all groups. Tensors are the optimizer's own, not copies.
        """
        index = {id(param): i for i, param in enumerate(self._all_params())}
        return {
            "state": {index[id(param)]: dict(values) for param, values in self.state.items()},
            "param_groups": [
                {**group, "params": [index[id(param)] for param in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over copies of what `state_dict` gave, in the dtypes of the parameters.

        Raises ValueError, and loads nothing, where groups or shapes do not fit this optimizer's.
        """
        saved_groups = state_dict["param_groups"]
        if len(saved_groups) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(saved_groups)}, not {len(self.param_groups)}"
            )
        indices: list[Any] = []
        groups = []
        for number, (group, saved) in enumerate(zip(self.param_groups, saved_groups, strict=True)):
            if len(saved["params"]) != len(group["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {number} has {len(saved['params'])} parameters, not {len(group['params'])}"
                )
            indices += saved["params"]
            groups.append({**group, **copy.deepcopy(dict(saved)), "params": group["params"]})
            self._check_group(groups[-1])
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for index, param in zip(indices, self._all_params(), strict=True):
            if index in state_dict["state"]:
                state[param] = {
                    name: _fitted(value, name, index, param) for name, value in state_dict["state"][index].items()
                }
        self.state = state
        self.param_groups = groups

    def _check_writable(self, params: Iterable[Tensor]) -> None:
        """RuntimeError where a step would write what it must not: a parameter, or its moments."""
        for param in params:
            state = self.state.get(param)
            if not state and param.array.flags.writeable:
                continue
            for name, tensor in (("value", param), *(state or {}).items()):
                if name in _WRITTEN and not tensor.array.flags.writeable:
                    number = [id(other) for other in self._all_params()].index(id(param))
                    require_writable(tensor.array, f"{type(self).__name__}: {name} of parameter {number}")

    def _all_params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _fitted(value: Any, name: str, index: Any, param: Tensor) -> Any:
    """A copy of a state value: tensors of the parameter's shape in its dtype, others as they are."""
    if not isinstance(value, (Tensor, np.ndarray)):
        return copy.deepcopy(value)
    array = value.array if isinstance(value, Tensor) else value
    if array.ndim == 0:
        return Tensor(array.copy())
    if array.shape != param.array.shape:
        raise ValueError(f"{name} of parameter {index} has shape {array.shape}, the parameter {param.array.shape}")
    return Tensor(array.astype(param.array.dtype, order="C"))
