"""Optimizer: parameter groups, state, and their dictionaries, in PyTorch's format."""

from __future__ import annotations

import copy
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..derivatives import zero_grad
from ..grad_mode import enable_grad
from ..kernels.launch import require_writable
from ..ops.common import Array
from ..tensor import Tensor

_WRITTEN = ("value", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")  # by a step: parameter, moments

Params = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


class Optimizer:
    """Base class of optimizers.

    `params` are Tensors, pairs of a name and a Tensor (`model.named_parameters()`), or dictionaries, one
    for each group. `param_groups` is a list of dictionaries, each with "params", a list of Tensors, and
    the hyperparameters of that group; with "param_names" where names were given. `state` maps each
    parameter to its dictionary of Tensors. Both may be edited between steps.
    A subclass passes its defaults here and defines `step`.
    """

    # Entries of a parameter's state that have the parameter's shape.
    _shaped_entries: tuple[str, ...] = ()
    # Whether `step` was called since the first schedule was made; None if there is no schedule.
    _opt_called: bool | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the subclass's `step` record that it was called, for LRScheduler.step."""
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = _noted(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts: "
                "put the Tensor in a list"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        entries: list[Any] = list(params)
        if not entries:
            raise ValueError("optimizer got an empty parameter list")
        groups = entries if isinstance(entries[0], dict) else [{"params": entries}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: {"params": Tensors, hyperparameter: value, ...}; missing ones get the defaults.

        Raises TypeError for anything but Tensors in an ordered collection, and ValueError for one that is
        not a leaf or is already there, or if only some have names.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        given = param_group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError("optimizer parameters need an order that is the same in every run: use a list, not a set")
        entries = [given] if isinstance(given, Tensor) else list(given)
        names = [entry[0] for entry in entries if isinstance(entry, tuple)]
        params = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        if names and len(names) != len(params):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(param).__name__}")
            if not (param.is_leaf or param.retains_grad):
                raise ValueError(f"can't optimize a non-leaf Tensor (shape {tuple(param.shape)})")
        group = {**self.defaults, **param_group, "params": params}
        if names:
            group["param_names"] = names
        check_distinct(params)
        for other in self.param_groups:
            if ("param_names" in group) != ("param_names" in other):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if 'param_names' in group else 'without'} names to the optimizer"
                )
            if {id(param) for param in params} & {id(param) for param in other["params"]}:
                raise ValueError("some parameters appear in more than one parameter group")
        self._check_group(group)
        self.param_groups.append(group)

    def _check_group(self, group: dict[str, Any]) -> None:
        """Raise ValueError for a senseless hyperparameter, RuntimeError for an unsupported kind of step."""
        for name, label in (("lr", "learning rate"), ("weight_decay", "weight_decay value")):
            value = group.get(name, 0.0)
            if isinstance(value, Tensor) and value.numel() != 1:
                raise ValueError(f"Tensor {name} must be 1-element, got shape {tuple(value.shape)}")
            if not value >= 0.0:
                raise ValueError(f"Invalid {label}: {value}")
        # In PyTorch these choose between equivalent implementations. Here there is one, fused over all parameters.
        if group.get("fused") and group.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if group.get("fused") and group.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        if group.get("differentiable"):
            raise RuntimeError("differentiable=True is not supported: steps are not recorded, no gradient flows back")
        if group.get("capturable"):
            raise RuntimeError("capturable=True is for steps in a CUDA graph: there is only the CPU, leave it False")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every gradient, or fill it with zeros."""
        zero_grad(self._all_params(), set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. Returns what `closure` returns.

        The closure, called first with recording on, computes the loss and its gradients.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    @staticmethod
    def _evaluate(closure: Callable[[], Any]) -> Any:
        with enable_grad():
            return closure()

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {name: Tensor}}, "param_groups": [{..., "params": [index, ...]}]}.

        Parameters are numbered across all groups; the state of one that is no longer in any group is
        left out. Tensors are the optimizer's own, not copies.
        """
        index = {id(param): i for i, param in enumerate(self._all_params())}
        state = {}
        for key, values in self.state.items():
            if not isinstance(key, Tensor):
                state[key] = values
            elif id(key) in index:
                state[index[id(key)]] = values
        return {
            "state": state,
            "param_groups": [
                {**group, "params": [index[id(param)] for param in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load copies of a result of `state_dict`, in the parameters' dtypes ("step" in its own).

        Raises ValueError, and loads nothing, if groups or shapes do not fit this optimizer's. Saved names of
        parameters replace the present ones; they do not decide which state belongs to which parameter.
        """
        saved_groups = state_dict["param_groups"]
        if len(saved_groups) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(saved_groups)}, not {len(self.param_groups)}"
            )
        params: dict[Any, Tensor] = {}
        groups = []
        for number, (group, saved) in enumerate(zip(self.param_groups, saved_groups, strict=True)):
            if len(saved["params"]) != len(group["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {number} has {len(saved['params'])} parameters, not {len(group['params'])}"
                )
            params.update(zip(saved["params"], group["params"], strict=True))
            groups.append({**group, **copy.deepcopy(dict(saved)), "params": group["params"]})
            self._check_group(groups[-1])
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for key, values in state_dict["state"].items():
            if key not in params:  # an entry that belongs to no parameter
                state[key] = copy.deepcopy(values)
                continue
            param = params[key]
            for name in self._shaped_entries:
                if values.get(name) is not None:
                    check_shape(values[name], f"{name} of parameter {key}", param, ValueError)
            state[param] = {name: _fitted(value, name, param) for name, value in values.items()}
        self.state = state
        self.param_groups = groups

    def _check_writable(self, params: Iterable[Tensor]) -> None:
        """RuntimeError if a step must not write to a parameter or its moments."""
        for param in params:
            state = self.state.get(param)
            if not state and param.array.flags.writeable:
                continue
            for name, tensor in (("value", param), *(state or {}).items()):
                if name in _WRITTEN and isinstance(tensor, Tensor) and not tensor.array.flags.writeable:
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


def _noted(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def call(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._opt_called is False:
            self._opt_called = True
        return step(self, *args, **kwargs)

    return call


def check_distinct(params: list[Tensor]) -> None:
    """Raise ValueError if a parameter is listed twice, since each step would update it twice."""
    if len({id(param) for param in params}) != len(params):
        raise ValueError("some parameters appear twice: list each of them once")


def check_shape(value: Tensor | Array, what: str, param: Tensor, error: type[Exception]) -> None:
    """Raise `error` unless a Tensor or array, described as `what`, has the parameter's shape."""
    if value.shape != param.array.shape:
        raise error(f"{what} has shape {tuple(value.shape)}, the parameter {param.array.shape}")


def check_outside(array: Array, what: str) -> None:
    """Raise TypeError for an array in the state, described as `what`, that exists only while a function is traced."""
    if type(array) is not np.ndarray:
        raise TypeError(
            f"{what}, shape {array.shape}, was assigned inside of a compiled function: write into the Tensor that is "
            "there (zero_(), copy_()), or assign outside"
        )


def _fitted(value: Any, name: str, param: Tensor) -> Any:
    """A copy of a state value: tensors other than "step" in the parameter's dtype, anything else unchanged."""
    if isinstance(value, Tensor):
        value = value.array
    if isinstance(value, np.ndarray):
        return Tensor(value.copy() if name == "step" else value.astype(param.array.dtype, order="C"))
    if isinstance(value, dict):
        return {key: _fitted(inner, key, param) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_fitted(inner, "", param) for inner in value])
    return copy.deepcopy(value)
