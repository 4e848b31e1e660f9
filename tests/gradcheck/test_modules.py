"""A whole Module in one call, with its parameters under their own names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch import nn
from tinytorch.autograd import GradcheckError, gradcheck, gradgradcheck

modes = pytest.mark.parametrize("fast_mode", [False, True], ids=["slow", "fast"])


def tensor(*shape: int) -> Any:
    return torch.tensor(np.random.default_rng(0).standard_normal(shape))


class Careless(torch.autograd.Function):
    """x W^T, whose backward has W's gradient wrong."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        ctx.save_for_backward(x, w)
        return x @ w.T

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w = ctx.saved_tensors
        return g @ w, 3 * (g.T @ x)


class Layer(nn.Linear):
    def forward(self, x: Any) -> Any:
        return Careless.apply(x, self.weight) + self.bias


@modes
@pytest.mark.parametrize("requires_grad", [False, True])
def test_parameters_are_checked_by_name(requires_grad: bool, fast_mode: bool) -> None:
    x = tensor(2, 3).requires_grad_(requires_grad)
    right = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    assert gradcheck(right, x, fast_mode=fast_mode) and gradgradcheck(right, x, fast_mode=fast_mode)
    wrong = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Layer(4, 2)).double()
    with pytest.raises(GradcheckError, match=r"backward is wrong for 2\.weight \(float64 \(2, 4\)\)") as caught:
        gradcheck(wrong, x, fast_mode=fast_mode)
    error = caught.value
    assert (error.input, error.name) == (None, "2.weight") and error.index is not None
    assert f"d 2.weight{list(error.index)}" in str(error)
    for p in wrong.parameters():
        assert p.grad is None


def test_parameters_that_are_frozen_or_given_are_not_checked_twice() -> None:
    layer = Layer(4, 2).double()
    layer.weight.requires_grad_(False)
    assert gradcheck(layer, tensor(3, 4))
    layer.weight.requires_grad_()
    with pytest.raises(GradcheckError, match="backward is wrong for input 1"):
        gradcheck(lambda x, w: layer(x), (tensor(3, 4), layer.weight))


def test_running_statistics_are_as_before() -> None:
    layer = nn.BatchNorm1d(3).double()
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    assert gradcheck(layer, tensor(4, 3).requires_grad_())
    assert gradgradcheck(layer, tensor(4, 3).requires_grad_(), atol=1e-4)
    for name, buffer in layer.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_float32_modules_are_checked_with_a_warning() -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=r"0\.weight is float32|input 0 is float32"):
        assert gradcheck(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), tensor(2, 3).float())


def test_a_module_in_training_with_dropout_is_random() -> None:
    with pytest.raises(GradcheckError, match=r"not deterministic: .*dropout"):
        gradcheck(nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.5)).double(), tensor(2, 3))
