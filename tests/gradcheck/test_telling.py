"""What gradcheck tells: attributes of its error, hints by trying repairs, notes at kinks."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tests.gradcheck.functions import function, tensor
from tinytorch.autograd import GradcheckError, KinkError, gradcheck, gradgradcheck
from tinytorch.gradcheck import KinkWarning


def of(*values: float) -> Any:
    return torch.tensor(np.array(values), requires_grad=True)


def failure(func: Any, inputs: Any, **options: Any) -> GradcheckError:
    with pytest.raises(GradcheckError) as caught:
        gradcheck(func, inputs, **options)
    return caught.value


# ---------------------------------------------------------------------- attributes


def test_the_error_carries_what_it_knows() -> None:
    wrong = function(lambda x: x * x, lambda g, x: 2 * x * g + 7 * g * (x > 2.5))
    error = failure(lambda n, x: (x.exp(), wrong(x)), (None, of(1.0, 2.0, 3.0)))
    assert isinstance(error, RuntimeError)
    assert (error.input, error.name, error.index) == (1, "input 1", (2,))
    assert (error.output, error.output_index) == (1, (2,))
    assert error.analytic == pytest.approx(13) and error.numeric == pytest.approx(6)
    analytic, numeric = error.analytic_jacobian, error.numeric_jacobian
    assert analytic is not None and numeric is not None
    square = np.diag([2.0, 4.0, 6.0])
    np.testing.assert_allclose(numeric, np.concatenate([np.diag(np.exp([1.0, 2, 3])), square]), atol=1e-6)
    np.testing.assert_allclose(analytic - numeric, [[0] * 3] * 5 + [[0, 0, 7]], atol=1e-6)


def test_in_fast_mode_it_knows_the_element_alone() -> None:
    wrong = function(lambda x: x * x, lambda g, x: 2 * x * g + 7 * g * (x > 2.5))
    error = failure(wrong, of(1.0, 2.0, 3.0), fast_mode=True)
    assert (error.input, error.index) == (0, (2,)) and error.analytic != error.numeric
    assert error.output is None and error.analytic_jacobian is None and error.numeric_jacobian is None


def test_a_kink_has_them_and_a_random_function_has_none() -> None:
    error = failure(torch.relu, of(1.0, 0.0))
    assert isinstance(error, KinkError) and error.index == (1,) and (error.analytic, error.numeric) == (0, 0.5)
    error = failure(lambda x: torch.nn.functional.dropout(x), tensor(9))
    assert error.input is None and error.index is None and error.numeric_jacobian is None


# ---------------------------------------------------------------------- hints


def softmax_backward(g: Any, x: Any) -> Any:
    y = x.softmax(-1)
    return y * (g - (g * y).sum(-1, keepdim=True))


def no_mean(g: Any, x: Any) -> Any:
    """The backward of x - mean(x) over rows, times 2, without the path through the mean."""
    return 2 * (g - g.mean(-1, keepdim=True)) + g.mean(-1, keepdim=True)


HINTS: dict[str, tuple[Any, Any, str]] = {
    "transposed": (lambda x: x.softmax(-1), lambda g, x: softmax_backward(g, x).T, "it is transposed"),
    "no sum": (lambda x: x.softmax(-1), lambda g, x: x.softmax(-1) * g, "a path or a sum is missing"),
    "other sign": (lambda x: x.softmax(-1), lambda g, x: -softmax_backward(g, x), "a sign is wrong"),
    "scale": (lambda x: x.softmax(-1) / 4, softmax_backward, "4 times .* may be 4, where 4 is the size of dimension 0"),
    "mean": (lambda x: x.mean(), lambda g, x: g.expand_as(x), "16 times .* 16 is the number of elements of input 0"),
    "shifted": (lambda x: x.softmax(-1), lambda g, x: softmax_backward(g, x).roll(1, 0), "rows are shifted by one"),
    "no mean": (lambda x: 2 * (x - x.mean(-1, keepdim=True)), no_mean, "same all along dimension 1: .* sum or mean"),
    "two": (lambda x: x.softmax(-1), lambda g, x: -softmax_backward(g, x).T, "the sign is wrong .*transposed"),
}  # fmt: skip


@pytest.mark.parametrize("name", HINTS)
def test_hints(name: str) -> None:
    forward, backward, hint = HINTS[name]
    message = str(failure(function(forward, backward), tensor(4, 4)))
    assert re.search(hint, message.splitlines()[-1]), message


def test_gradients_of_two_inputs_swapped() -> None:
    product = function(lambda a, b: a @ b, lambda g, a, b: (a.T @ g, g @ b.T))
    message = str(failure(product, (tensor(3, 3), tensor(3, 3, seed=1))))
    assert message.endswith("a repair fits: it is the gradient of input 1: two are swapped, or one is there twice.")


@pytest.mark.parametrize(("off", "tolerance"), [(5e-4, 1e-6), (-1e-9, 1e-11)])
def test_a_factor_next_to_one_is_told_by_its_distance(off: float, tolerance: float) -> None:
    """Nor is it put down to rounding where the differences are extrapolated."""
    wrong = function(torch.tanh, lambda g, x: g * (1 - x.tanh() ** 2) * (1 + off))
    message = str(failure(wrong, tensor(5), atol=tolerance, rtol=tolerance))
    assert f"Each of them is 1 {'-' if off < 0 else '+'} {abs(off):.3g} times what it should be" in message
    wrong = function(torch.tanh, lambda g, x: g * (1 - x.tanh() ** 2) * (1 + off * x))
    message = str(failure(wrong, tensor(5), atol=tolerance, rtol=tolerance))
    assert "times what it should be" not in message


def test_no_hint_where_no_repair_fits() -> None:
    message = str(failure(function(torch.sin, lambda g, x: g * torch.cos(x) ** 3), tensor(5)))
    assert message.endswith("Work this one element out by hand, at these inputs, forward and backward.")


# ---------------------------------------------------------------------- notes


TIES: dict[str, tuple[Any, Any, str]] = {
    "max": (lambda x: x.amax(), of(1.0, 2.0, 2.0), r"input 0\[1\] = 2 .*slopes 0 below and 1 above, .* mean, 0\.5"),
    "maximum": (lambda x: torch.maximum(x, 2 * x), of(0.0, 1.0), r"slopes 1 below and 2 above, .* mean, 1\.5"),
    "abs": (lambda x: x.abs(), of(1.0, 0.0), r"input 0\[1\] = 0 .*slopes -1 below and 1 above, .* mean, 0\b"),
}


@pytest.mark.parametrize("name", TIES)
def test_the_mean_of_both_slopes_passes_with_a_note(name: str) -> None:
    func, x, message = TIES[name]
    with pytest.warns(KinkWarning, match=message) as caught:
        assert gradcheck(func, x)
    assert [w.filename for w in caught] == [__file__]


def test_no_note_without_a_kink() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gradcheck(lambda x: 1e4 * x * x, of(1e-3, 2.0))
        assert gradcheck(torch.relu, of(1e-3, -1e-3))
        assert gradgradcheck(lambda x: x.softmax(0), tensor(4))
