"""assert_gradients, in somebody's own suite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch.gradcheck import GradcheckError, GradcheckInputError
from tinytorch.testing import assert_gradients


class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return ctx.saved_tensors[0] * g


class Once(Half):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * ctx.saved_tensors[0].detach() * g


X = torch.tensor(np.linspace(0.5, 1.0, 4), requires_grad=True)


@pytest.mark.parametrize("fast_mode", [False, True], ids=["slow", "fast"])
def test_it_asserts(fast_mode: bool) -> None:
    assert_gradients(lambda x: x.softmax(0), X, second=True, fast_mode=fast_mode)
    assert_gradients(torch.nn.Linear(4, 2).double(), X, second=True, fast_mode=fast_mode)
    with pytest.raises(AssertionError, match="gradcheck: backward is wrong for input 0") as caught:
        assert_gradients(Half.apply, X, fast_mode=fast_mode)
    cause = caught.value.__cause__
    assert isinstance(cause, GradcheckError) and cause.input == 0 and str(cause) == str(caught.value)
    assert_gradients(Half.apply, X, atol=10, fast_mode=fast_mode)
    assert_gradients(Once.apply, X, fast_mode=fast_mode)
    with pytest.raises(AssertionError, match="gradgradcheck: backward is wrong"):
        assert_gradients(Once.apply, X, second=True, fast_mode=fast_mode)


def test_misuse_is_no_failed_assertion() -> None:
    with pytest.raises(GradcheckInputError, match="none of the 1 inputs requires grad"):
        assert_gradients(torch.sin, X.detach())


def test_pytest_shows_the_line_of_the_test(tmp_path: Path) -> None:
    path = tmp_path / "test_mine.py"
    path.write_text(
        "import tinytorch as torch\n"
        "def test_mine():\n"
        "    x = torch.zeros(2, dtype=torch.float64).requires_grad_()\n"
        "    torch.testing.assert_gradients(torch.relu, x)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path(torch.__file__).parents[1])}
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment).stdout
    assert "AssertionError: gradcheck: the function has a kink" in shown
    assert ">       torch.testing.assert_gradients" in shown or ">   torch.testing.assert_gradients" in shown
    assert "def assert_gradients" not in shown.split("The above exception was the direct cause")[-1]
