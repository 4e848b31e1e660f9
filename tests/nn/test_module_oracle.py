"""Module's bookkeeping against PyTorch's: whatever is assigned, registered, deleted and edited, both list the same."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.oracle

NAMES = ["a", "b", "c", "layer"]


class Side:
    """One library's module, and tensors and modules that are used again and again, so that some are shared."""

    def __init__(self, library: str) -> None:
        self.library = importlib.import_module(library)
        nn = self.library.nn
        self.root = nn.Module()
        self.root.inner = nn.Module()
        self.root.inner.layer = nn.Linear(2, 2)
        self.parameters = [nn.Parameter(self.tensor(i)) for i in range(3)]
        self.tensors = [self.tensor(10 + i) for i in range(2)]
        self.layers = [nn.Linear(2, 1), nn.BatchNorm1d(2), nn.Module()]
        self.layers[2].x = self.parameters[0]
        for layer in (self.root.inner.layer, self.layers[0]):
            for parameter in layer.parameters():
                nn.init.constant_(parameter, 0.5)

    def tensor(self, number: int) -> Any:
        return self.library.tensor(np.full((2,), number, np.float32))

    def value(self, kind: int) -> Any:
        pool = [*self.parameters, *self.tensors, *self.layers, None, 3]
        return pool[kind % len(pool)]

    def where(self, inner: bool) -> Any:
        below = getattr(self.root, "inner", None)
        return below if inner and isinstance(below, self.library.nn.Module) else self.root

    def do(self, action: str, name: str, kind: int, inner: bool) -> str:
        """The name of the exception, or nothing."""
        owner, value = self.where(inner), self.value(kind)
        try:
            if action == "assign":
                setattr(owner, name, value)
            elif action == "delete":
                delattr(owner, name)
            elif action == "parameter":
                owner.register_parameter(name, value)
            elif action == "buffer":
                if isinstance(value, self.library.nn.Parameter):  # PyTorch's conversions would record it
                    value = value.detach()
                owner.register_buffer(name, value, persistent=kind % 2 == 0)
            elif action == "module":
                owner.add_module(name, value)
            elif action == "double":
                owner.double()
            elif action == "half":
                owner.to(self.library.float16)
            elif action == "float":
                owner.float()
            elif action == "freeze":
                owner.requires_grad_(kind % 2 == 0)
            elif action == "eval":
                owner.train(kind % 3 == 0)
            elif action == "copy":
                self.root = copy.deepcopy(self.root)
            elif action == "load":
                # With an error PyTorch loads the rest; here it loads nothing. So without errors.
                strict, assign = kind % 2 == 0, kind % 5 == 0
                state = {
                    key: self.library.tensor(np.full(tuple(value.shape), kind, np.float32))
                    for key, value in owner.state_dict().items()
                    if (strict or name not in key) and not (assign and "num_batches" in key)
                }
                keys = owner.load_state_dict(state, strict=strict, assign=assign)
                return str([*sorted(keys.missing_keys), *sorted(keys.unexpected_keys)])
        except Exception as error:
            return type(error).__name__
        return ""

    def facts(self) -> Any:
        """All that lists say."""
        root, found = self.root, {}
        for recurse in (True, False):
            for once in (True, False):
                which = f"{recurse} {once}"
                found[f"parameters {which}"] = [
                    (key, p.detach().numpy().tolist(), str(p.dtype).rpartition(".")[2], p.requires_grad)
                    for key, p in root.named_parameters("root", recurse=recurse, remove_duplicate=once)
                ]
                found[f"buffers {which}"] = [
                    (key, b.detach().numpy().tolist(), str(b.dtype).rpartition(".")[2])
                    for key, b in root.named_buffers("root", recurse=recurse, remove_duplicate=once)
                ]
            found[f"parameters() {recurse}"] = len(list(root.parameters(recurse=recurse)))
            found[f"buffers() {recurse}"] = len(list(root.buffers(recurse)))
        for once in (True, False):
            found[f"modules {once}"] = [
                (key, type(m).__name__, m.training) for key, m in root.named_modules(prefix="x", remove_duplicate=once)
            ]
            found[f"modules() {once}"] = [type(m).__name__ for m in root.modules(remove_duplicate=once)]
        found["children"] = [key for key, _ in root.named_children()]
        found["children()"] = [type(m).__name__ for m in root.children()]
        found["state"] = {key: value.numpy().tolist() for key, value in root.state_dict(prefix="p.").items()}
        found["variables"] = [(key, value.requires_grad) for key, value in root.state_dict(keep_vars=True).items()]
        found["attributes"] = [
            type(getattr(owner, name, "missing")).__name__ for owner in (root, self.where(True)) for name in NAMES
        ]
        order: list[str] = []
        root.apply(lambda module: order.append(type(module).__name__))
        found["apply"] = order
        return found


ACTIONS = [
    "assign", "assign", "assign", "delete", "parameter", "buffer", "buffer", "module", "double", "half", "float",
    "freeze", "eval", "copy", "load", "load",
]  # fmt: skip
edits = st.tuples(st.sampled_from(ACTIONS), st.sampled_from(NAMES), st.integers(0, 29), st.booleans())
scripts = st.lists(edits, min_size=3, max_size=15)


@settings(max_examples=100)
@given(scripts)
def test_scripts_of_edits(script: list[tuple[str, str, int, bool]]) -> None:
    ours, theirs = Side("tinytorch"), Side("torch")
    done = []
    for edit in script:
        done.append(edit)
        errors = ours.do(*edit), theirs.do(*edit)
        assert errors[0] == errors[1], done
        mine, other = ours.facts(), theirs.facts()
        for key, value in other.items():
            assert mine[key] == value, (key, done)
