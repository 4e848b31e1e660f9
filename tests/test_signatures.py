"""Every method of a Tensor is seen where people look: by help() and inspect, and by mypy in their own code."""

from __future__ import annotations

import inspect
import pydoc
import re
from pathlib import Path
from typing import Any

import pytest

import tinytorch as torch

METHODS = [name for name in dir(torch.Tensor) if not name.startswith("_") and callable(getattr(torch.Tensor, name))]


def test_the_search_finds_methods() -> None:
    assert {"exp", "add_", "backward", "reshape", "softmax", "register_hook"} <= set(METHODS) and len(METHODS) > 150


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_signature_and_says_what_it_does(name: str) -> None:
    method = getattr(torch.Tensor, name)
    assert method.__doc__, name
    kinds = [(p.kind, p.name) for p in inspect.signature(method).parameters.values()]
    assert kinds[0][0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = {p for kind, p in kinds if kind is inspect.Parameter.VAR_POSITIONAL}
    assert named <= {"shape", "dims", "size", "repeats"} or name == "to", f"{name} takes anything: {named}"


@pytest.mark.oracle("torch")
def test_what_is_a_method_in_pytorch_is_one_here() -> None:
    import torch as pytorch

    functions = [name for name in dir(torch) if inspect.isfunction(getattr(torch, name)) and not name.startswith("_")]
    assert len(functions) > 100
    assert [name for name in functions if hasattr(pytorch.Tensor, name) and not hasattr(torch.Tensor, name)] == []


def test_an_in_place_method_takes_what_its_function_takes() -> None:
    for name in METHODS:
        function = getattr(torch.Tensor, name[:-1], None) if name.endswith("_") else None
        if function is not None and name not in ("requires_grad_", "detach_", "bernoulli_"):
            assert inspect.signature(getattr(torch.Tensor, name)) == inspect.signature(function), name


def test_help_shows_signatures() -> None:
    text = " ".join(pydoc.render_doc(torch.Tensor, renderer=pydoc.plaintext).replace("|", " ").split())
    assert re.search(r"\bsoftmax\( ?input: 'Tensor', dim: 'int None' = None", text)  # later Pythons break lines
    assert re.search(r"\bclamp_\( ?input: 'Tensor', min: .*?= None, max: ", text)


CODE = """
import tinytorch as torch

x = torch.ones(3)
reveal_type(x.exp())
reveal_type(x.add_(1))
reveal_type(x + x)
reveal_type(x.sum(0))
reveal_type(x.T)
reveal_type(x.grad)
reveal_type(x.requires_grad_())
reveal_type(x.split(1))
x.exq()
x.exp(1, 2, 3)
x.softmax(dim="last")
"""


@pytest.mark.slow  # mypy reads the whole package
def test_mypy_sees_methods_and_their_signatures(tmp_path: Path) -> None:
    api: Any = pytest.importorskip("mypy.api")
    path = tmp_path / "user.py"
    path.write_text(CODE)
    out, _, _ = api.run(["--strict", "--no-incremental", str(path)])
    tensor = '"tinytorch.tensor.Tensor"'
    revealed = [line.split("Revealed type is ")[1] for line in out.splitlines() if "Revealed" in line]
    assert revealed == [
        tensor, tensor, tensor, tensor, tensor, '"tinytorch.tensor.Tensor | None"', tensor,
        '"tuple[tinytorch.tensor.Tensor, ...]"',
    ]  # fmt: skip
    errors = [line for line in out.splitlines() if ": error:" in line and str(path) in line]
    assert [line.split(":")[1] for line in errors] == ["13", "14", "15"], out
