"""bench.profile: the steps of what is compiled, the operations of what is not."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

import tinytorch
from bench import profile
from bench.timing import OURS, Case
from tinytorch.compiled import program


def shown(call: Any) -> str:
    console = Console(file=io.StringIO(), width=110)
    profile.show(Case("train", "a step", {OURS: lambda: call}, units=2), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_steps_of_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_TIMED", 4)
    x, untimed = tinytorch.ones(3), program.run_steps
    compiled = tinytorch.compile(lambda x: (x.exp() + x).exp())
    table = shown(lambda: compiled(x))
    (exp,) = [line for line in table.splitlines() if "exp" in line]
    assert exp.split("│")[2].strip() == "1.0"  # of each of the two units
    assert "Python around them" in table and "a step" in table and program.run_steps is untimed


def test_operations_of_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_TIMED", 4)
    x = tinytorch.ones(3)
    table = shown(lambda: x.exp().exp())
    (exp,) = [line for line in table.splitlines() if line.startswith("Exp")]
    assert "  8  " in exp and "a step: 8 times" in table
