"""Optimizers whose state, groups and parameters are edited between steps, against PyTorch's."""

from __future__ import annotations

import collections
import copy
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.oracle

SHAPES = [(3, 4), (4,), (), (2, 3, 2)]
KINDS: dict[str, Callable[..., Any]] = {
    "sgd": lambda optim, p, lr: optim.SGD(p, lr=lr, weight_decay=0.1),
    "momentum": lambda optim, p, lr: optim.SGD(p, lr=lr, momentum=0.9, dampening=0.3),
    "nesterov": lambda optim, p, lr: optim.SGD(p, lr=lr, momentum=0.8, nesterov=True, weight_decay=0.1),
    "adam": lambda optim, p, lr: optim.Adam(p, lr=lr, weight_decay=0.1),
    "adamw": lambda optim, p, lr: optim.AdamW(p, lr=lr, betas=(0.8, 0.95), weight_decay=0.1),
    "amsgrad": lambda optim, p, lr: optim.AdamW(p, lr=lr, betas=(0.8, 0.6), amsgrad=True),
}


class Side:
    """One library's parameters and optimizer. Both sides draw the same numbers."""

    def __init__(self, library: str, kind: str) -> None:
        self.library = importlib.import_module(library)
        self.kind = kind
        self.rng = np.random.default_rng(0)
        self.parameters = [self.new_parameter(shape) for shape in SHAPES]
        first, second = self.parameters[:2], self.parameters[2:]
        self.optimizer = self.make([{"params": first}, {"params": second, "lr": 0.02}])

    def make(self, groups: Any, lr: Any = 0.1) -> Any:
        return KINDS[self.kind](self.library.optim, groups, lr)

    def tensor(self, array: Any) -> Any:
        return self.library.tensor(np.asarray(array, np.float64))

    def drawn(self, shape: Any) -> Any:
        return self.tensor(self.rng.normal(size=tuple(shape)))

    def new_parameter(self, shape: Any) -> Any:
        return self.library.nn.Parameter(self.drawn(shape))

    def step(self, number: int) -> None:
        for i, p in enumerate(self.parameters):
            grad = self.drawn(p.shape)
            if number % 3 == 1 and p.ndim == 2:
                grad = self.drawn(tuple(p.shape)[::-1]).transpose(0, 1)
            p.grad = None if (number + i) % 5 == 0 else grad
        self.optimizer.step()

    def entries(self, number: int) -> dict[str, Any]:
        """The state of one of the parameters."""
        return self.optimizer.state[self.parameters[number % len(self.parameters)]]  # type: ignore[no-any-return]

    def entry(self, number: int) -> tuple[Any, str]:
        """One of the tensors in a state."""
        entries = self.entries(number)
        names = [name for name in sorted(entries) if name != "step" and entries[name] is not None]
        return entries, names[number % len(names)] if names else ""

    # Each action takes a number that chooses.

    def replace_moment(self, number: int) -> None:
        entries, name = self.entry(number)
        if name:
            entries[name] = self.drawn(entries[name].shape) ** 2 if number % 2 else entries[name] * 0

    def write_moment(self, number: int) -> None:
        entries, name = self.entry(number)
        if name:
            entries[name].mul_(0.5) if number % 2 else entries[name].zero_()

    def data_of_moment(self, number: int) -> None:
        entries, name = self.entry(number)
        if name:
            entries[name].data = self.drawn(entries[name].shape) ** 2

    def layout_of_moment(self, number: int) -> None:
        entries, name = self.entry(number)
        if name and entries[name].ndim == 2:
            entries[name] = (self.drawn(tuple(entries[name].shape)[::-1]) ** 2).transpose(0, 1)

    def empty_state(self, number: int) -> None:
        self.optimizer.state[self.parameters[number % len(self.parameters)]] = {}

    def delete_state(self, number: int) -> None:
        self.optimizer.state.pop(self.parameters[number % len(self.parameters)], None)

    def clear_state(self, number: int) -> None:
        if number % 2:
            self.optimizer.state.clear()
        else:
            self.optimizer.state = collections.defaultdict(dict)

    def replace_count(self, number: int) -> None:
        entries = self.entries(number)
        if "step" in entries:
            entries["step"] = self.library.tensor(float(number))

    def write_count(self, number: int) -> None:
        entries = self.entries(number)
        if "step" in entries:
            entries["step"].fill_(number) if number % 2 else entries["step"].add_(3)

    def lose_buffer(self, number: int) -> None:
        entries = self.entries(number)
        if "momentum_buffer" in entries:
            if number % 2:
                entries["momentum_buffer"] = None
            else:
                del entries["momentum_buffer"]

    def change_group(self, number: int) -> None:
        group = self.optimizer.param_groups[number % len(self.optimizer.param_groups)]
        group["lr"] = [0.03, self.library.tensor(np.array(0.07))][number % 2]
        group["weight_decay"] = 0.01 * number
        if "betas" in group:
            group["betas"] = [(0.5, 0.7), [0.9, 0.99]][number % 2]
            group["eps"] = 1e-3 * number
        else:
            group["momentum"] = 0.5 if number % 3 or group["nesterov"] else 0.0

    def maximize(self, number: int) -> None:
        group = self.optimizer.param_groups[number % len(self.optimizer.param_groups)]
        group["maximize"] = not group["maximize"]

    def replace_group(self, number: int) -> None:
        groups = self.optimizer.param_groups
        groups[number % len(groups)] = {**groups[number % len(groups)], "lr": 0.2}

    def regroup(self, number: int) -> None:
        """The same parameters in the same order, but the groups part elsewhere."""
        groups = self.optimizer.param_groups
        everything = [p for group in groups for p in group["params"]]
        cut = 1 + number % (len(everything) - 1)
        groups[0]["params"], groups[1]["params"] = everything[:cut], everything[cut:]
        del groups[2:]

    def replace_parameter(self, number: int) -> None:
        group = self.optimizer.param_groups[number % len(self.optimizer.param_groups)]
        i = number % len(group["params"])
        old, new = group["params"][i], self.new_parameter(group["params"][i].shape)
        group["params"][i] = new
        self.parameters = [new if p is old else p for p in self.parameters]
        if number % 2:  # its state goes on, as when points are cloned in Gaussian splatting
            self.optimizer.state[new] = self.optimizer.state.pop(old, {})
        else:
            self.optimizer.state.pop(old, None)

    def remove_parameter(self, number: int) -> None:
        group = self.optimizer.param_groups[number % len(self.optimizer.param_groups)]
        if len(group["params"]) > 1:
            gone = group["params"].pop()
            self.optimizer.state.pop(gone, None)
            self.parameters = [p for p in self.parameters if p is not gone]

    def add_parameter(self, number: int) -> None:
        new = self.new_parameter((2, 2))
        self.parameters.append(new)
        if number % 2:
            self.optimizer.add_param_group({"params": [new], "lr": 0.05})
        else:
            self.optimizer.param_groups[0]["params"].append(new)

    def data_of_parameter(self, number: int) -> None:
        p = self.parameters[number % len(self.parameters)]
        p.data = self.drawn(tuple(p.shape)[::-1]).transpose(0, 1) if p.ndim == 2 and number % 2 else self.drawn(p.shape)

    def freeze(self, number: int) -> None:
        p = self.parameters[number % len(self.parameters)]
        p.requires_grad_(not p.requires_grad)

    def save_and_load(self, number: int) -> None:
        state = copy.deepcopy(self.optimizer.state_dict())
        if number % 3 == 0:
            state["state"].pop(next(iter(state["state"]), None), None)
        self.optimizer = self.make([{"params": group["params"]} for group in self.optimizer.param_groups])
        self.optimizer.load_state_dict(state)

    def load_into_itself(self, number: int) -> None:
        self.optimizer.load_state_dict(self.optimizer.state_dict())

    def facts(self) -> Any:
        """Every parameter, and the dictionary of the optimizer."""
        state = self.optimizer.state_dict()
        return [p.detach().numpy() for p in self.parameters], _plain(state)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.numpy() if hasattr(value, "numpy") else value


ACTIONS = [
    name for name, value in vars(Side).items()
    if callable(value) and not name.startswith("_")
    and name not in ("make", "tensor", "drawn", "new_parameter", "entries", "entry", "facts")
]  # fmt: skip
scripts = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9)), min_size=2, max_size=12)


@settings(max_examples=25)
@given(scripts)
@pytest.mark.parametrize("kind", KINDS)
def test_scripts_of_edits(kind: str, script: list[tuple[str, int]]) -> None:
    """After each edit a step or two, so that what an edit changes shows."""
    ours, theirs = Side("tinytorch", kind), Side("torch", kind)
    steps: list[tuple[str, int]] = [("step", 2), ("step", 4)]
    done = []
    for action, number in [*steps, *[part for edit in script for part in (edit, ("step", edit[1]), ("step", 3))]]:
        done.append((action, number))
        for side in (ours, theirs):
            getattr(side, action)(number)
        (mine, my_state), (other, other_state) = ours.facts(), theirs.facts()
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_allclose(a, b, 1e-9, 1e-11, err_msg=str(done))
        assert {i: set(e) for i, e in my_state["state"].items()} == {i: set(e) for i, e in other_state["state"].items()}
        for index, entries in other_state["state"].items():
            for name, value in entries.items():
                if value is None:
                    assert my_state["state"][index][name] is None
                else:
                    np.testing.assert_allclose(my_state["state"][index][name], value, 1e-9, 1e-11, err_msg=str(done))
        assert my_state["param_groups"] == other_state["param_groups"], done
