"""The notebooks of docs/notebooks/makemore compute the same with PyTorch, where only their import lines differ.

PyTorch's generator gives other numbers than ours for the same seed, so in both runs ours draws them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import tinytorch
from tests import notebooks

NOTEBOOKS = [path for path in notebooks.NOTEBOOKS if path.parent.name == "makemore"]
STEPS = 25  # of each training: from step to step, a difference in the last bit of float32 grows
TOLERANCE = {"rtol": 1e-3, "atol": 1e-3}

IMPORTS = {
    "import tinytorch as torch\n": "import torch\n",
    "import tinytorch.nn.functional as F": "import torch.nn.functional as F",
}


@pytest.fixture(autouse=True)
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The notebooks' folder, no windows, and random numbers as before."""
    monkeypatch.chdir(NOTEBOOKS[0].parent)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    state = tinytorch.get_rng_state()
    yield
    tinytorch.set_rng_state(state)
    plt.close("all")


def run(path: Path, edited: Callable[[str], str] = str) -> dict[str, Any]:
    """What the notebook's code leaves behind."""
    tinytorch.manual_seed(0)
    return notebooks.run(path, STEPS, edited)


def for_pytorch(source: str) -> str:
    """The code with PyTorch's import lines."""
    for old, new in IMPORTS.items():
        source = source.replace(old, new)
    assert "tinytorch" not in source
    return source


def draw_by_ours(monkeypatch: pytest.MonkeyPatch, torch: Any) -> None:
    """Let PyTorch's functions that draw return what ours draw."""

    def drawing(function: Callable[..., Any]) -> Callable[..., Any]:
        def drawn(*args: Any, requires_grad: bool = False, **params: Any) -> Any:
            args = tuple(tinytorch.tensor(a.detach().numpy()) if isinstance(a, torch.Tensor) else a for a in args)
            return torch.from_numpy(function(*args, **params).numpy()).requires_grad_(requires_grad)

        return drawn

    monkeypatch.setattr(torch, "Generator", tinytorch.Generator)
    monkeypatch.setattr(torch, "manual_seed", tinytorch.manual_seed)
    for name in ("rand", "randn", "randint", "multinomial"):
        monkeypatch.setattr(torch, name, drawing(getattr(tinytorch, name)))


def check_same(ours: Any, theirs: Any, torch: Any, where: str) -> int:
    """AssertionError unless both are the same; the number of values that were compared."""
    if isinstance(ours, tinytorch.Tensor):
        assert isinstance(theirs, torch.Tensor), where
        assert tuple(ours.shape) == tuple(theirs.shape) and f"torch.{ours.dtype}" == str(theirs.dtype), where
        assert (ours.requires_grad, ours.is_leaf) == (theirs.requires_grad, theirs.is_leaf), where
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), **TOLERANCE, err_msg=where)
        if ours.is_leaf or ours.retains_grad:
            check_same(ours.grad, theirs.grad, torch, f"{where}.grad")
        return 1
    if isinstance(ours, (ModuleType, type, tinytorch.Generator)) or inspect.isroutine(ours):
        return 0
    assert type(ours).__name__ == type(theirs).__name__, where
    if isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        return sum(check_same(y, z, torch, f"{where}[{k}]") for k, (y, z) in enumerate(zip(ours, theirs, strict=True)))
    if isinstance(ours, dict):
        assert list(ours) == list(theirs), where
        return sum(check_same(y, theirs[key], torch, f"{where}[{key!r}]") for key, y in ours.items())
    if isinstance(ours, float):
        np.testing.assert_allclose(ours, theirs, **TOLERANCE, err_msg=where)
        return 1
    if ours is None or isinstance(ours, (int, str)):
        assert ours == theirs, where
        return 1
    return check_same(vars(ours), vars(theirs), torch, where)  # a layer that the notebook has defined


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning")  # "%.2f" % PyTorch's
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # PyTorch's has no copy=False
@pytest.mark.oracle
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_computes_the_same_with_pytorch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    ours = run(path)
    with monkeypatch.context() as patch:
        draw_by_ours(patch, torch)
        theirs = run(path, for_pytorch)
    assert sorted(ours) == sorted(theirs)
    compared = {name: check_same(value, theirs[name], torch, name) for name, value in ours.items() if name[0] != "_"}
    assert compared["words"] > 5000 and compared["W" if path.stem == "1-bigrams" else "parameters"]


@pytest.mark.oracle
def test_a_difference_is_found() -> None:
    import torch

    def both(make: Any) -> tuple[Any, Any]:
        return make(tinytorch), make(torch)

    ours, theirs = both(lambda t: [{"loss": 1.0, "weight": t.ones(2, requires_grad=True), "names": ["ann."]}])
    assert check_same(ours, theirs, torch, "x") == 3
    theirs[0]["weight"].grad = torch.ones(2)
    with pytest.raises(AssertionError, match=r"x\[0\]\['weight'\].grad"):
        check_same(ours, theirs, torch, "x")
    ours, theirs = both(lambda t: [t.ones(2), 1.0, 1, "ann.", [1], (1,), {"a": 1}])
    theirs += [torch.ones(1), torch.ones(2).double(), 1.01, 2, "anna.", [2], [1, 1], {"b": 1}]
    for k, y in enumerate(ours):
        for n, z in enumerate(theirs):
            if k != n:
                with pytest.raises(AssertionError):
                    check_same(y, z, torch, "x")
