"""Functions in float32 are checked, roughly, and a warning says so; refused is only where nothing could be told."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
import tinytorch.nn.functional as F
from tinytorch.autograd import GradcheckError, KinkError, gradcheck, gradgradcheck
from tinytorch.gradcheck import GradcheckInputError, KinkWarning, gradcheck_numpy

modes = pytest.mark.parametrize("fast_mode", [False, True], ids=["slow", "fast"])


def tensor(*shape: int, dtype: Any = torch.float32, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape)).to(dtype).requires_grad_()


class Off(torch.autograd.Function):
    """x^2, whose backward is wrong by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float) -> Any:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * ctx.factor * ctx.saved_tensors[0] * g, None


RIGHT: dict[str, Any] = {
    "softmax": lambda x: x.softmax(-1),
    "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "product": lambda x: x @ x.T,
    "gelu": F.gelu,
    "large sum": lambda x: (1000 * x).exp().log().sum(),
    "several": lambda x: (x.exp(), (x * x).sum()),
}


@modes
@pytest.mark.filterwarnings("error::tinytorch.gradcheck.KinkWarning")  # nothing here has a kink
@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass_with_a_warning(name: str, fast_mode: bool) -> None:
    x = tensor(3, 4) if name != "large sum" else torch.tensor([0.01, 0.02]).requires_grad_()
    with pytest.warns(UserWarning, match=r"input 0 is float32, which is not double precision.* eps=0\.005, atol="):
        assert gradcheck(RIGHT[name], x, fast_mode=fast_mode)
    if name != "large sum":
        with pytest.warns(UserWarning, match="gradgradcheck: input 0 is float32"):
            assert gradgradcheck(RIGHT[name], x, fast_mode=fast_mode)


@modes
@pytest.mark.parametrize("factor", [1.1, 0.9, -1, 2])
def test_wrong_gradients_are_found(factor: float, fast_mode: bool) -> None:
    with pytest.warns(UserWarning), pytest.raises(GradcheckError, match=r"backward is wrong.*\n(.*\n)*.*eps=0\.005"):
        gradcheck(lambda x: Off.apply(x, factor), tensor(3), fast_mode=fast_mode)
    with pytest.warns(UserWarning):
        assert gradcheck(lambda x: Off.apply(x, 1), tensor(3), fast_mode=fast_mode)


def test_float16_is_checked_for_what_it_can_tell() -> None:
    with pytest.warns(UserWarning, match="input 0 is float16"):
        assert gradcheck(lambda x: x.sigmoid(), tensor(4, dtype=torch.float16))
    with pytest.warns(UserWarning), pytest.raises(GradcheckError, match="backward is wrong"):
        gradcheck(lambda x: Off.apply(x, 2), tensor(4, dtype=torch.float16))


def test_a_kink_is_one_in_float32_too() -> None:
    with pytest.warns(UserWarning), pytest.raises(KinkError, match="has a kink"):
        gradcheck(torch.relu, torch.tensor([1.0, 0.0]).requires_grad_())
    with pytest.warns(UserWarning), pytest.warns(KinkWarning, match="at a kink or a tie"):
        assert gradcheck(torch.abs, torch.tensor([1.0, 0.0]).requires_grad_())


def test_refused_where_rounding_hides_every_derivative() -> None:
    for raise_exception in (True, False):
        with pytest.warns(UserWarning), pytest.raises(GradcheckInputError, match=r"nothing can be told of input 0"):
            gradcheck(lambda x: x * x + 1e7, tensor(3), raise_exception=raise_exception)


def test_a_larger_step_that_was_asked_for_is_taken() -> None:
    with pytest.warns(UserWarning, match=r"eps=0\.01, atol=0\.1, rtol=0\.2"):
        gradcheck(torch.tanh, tensor(3), eps=1e-2, atol=0.1, rtol=0.2)


def test_the_warning_is_at_the_callers_line_and_float64_gets_none() -> None:
    with pytest.warns(UserWarning) as caught:
        gradcheck(torch.tanh, tensor(3))
        gradcheck_numpy(np.tanh, lambda x, g: g / np.cosh(x) ** 2, np.ones(2, np.float32))
        torch.testing.assert_gradients(torch.tanh, tensor(3))
    assert [w.filename for w in caught] == [__file__] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gradcheck(torch.tanh, tensor(3, dtype=torch.float64))


@pytest.mark.oracle
def test_pytorch_warns_of_the_same() -> None:
    import torch as pytorch

    x = pytorch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match="is not a double precision"):
        pytorch.autograd.gradcheck(pytorch.tanh, x, eps=5e-3, atol=1e-2)
