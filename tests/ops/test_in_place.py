"""In-place operations: values, histories, versions, leaves and views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops.checks import assert_same_error, compare_with_torch
from tinytorch.autograd import gradcheck, gradgradcheck

X = np.random.default_rng(0).standard_normal((3, 4))


def changed(change: Any) -> Any:
    """A call that changes a copy of its input in place and goes on computing with it."""

    def call(t: Any, x: Any) -> Any:
        y = x * 2
        result = change(t, y)
        assert result is None or result is y
        return y * 3, y

    return call


CALLS: dict[str, Any] = {
    "add_": lambda t, y: y.add_(1.5),
    "add_alpha": lambda t, y: y.add_(y.detach() + 1, alpha=0.5),
    "sub_": lambda t, y: y.sub_(t.ones(4, dtype=y.dtype)),
    "mul_": lambda t, y: y.mul_(3),
    "div_": lambda t, y: y.div_(2),
    "pow_": lambda t, y: y.pow_(2),
    "neg_": lambda t, y: y.neg_(),
    "abs_": lambda t, y: y.abs_(),
    "exp_": lambda t, y: y.exp_(),
    "relu_": lambda t, y: y.relu_(),
    "tanh_": lambda t, y: y.tanh_(),
    "sigmoid_": lambda t, y: y.sigmoid_(),
    "clamp_": lambda t, y: y.clamp_(-0.5, 0.5),
    "clamp_tensor": lambda t, y: y.clamp_(y.detach() - 0.5, t.zeros(4, dtype=y.dtype)),
    "sign_": lambda t, y: y.sign_(),
    "floor_": lambda t, y: y.floor_(),
    "ceil_": lambda t, y: y.ceil_(),
    "trunc_": lambda t, y: y.trunc_(),
    "round_": lambda t, y: y.round_(decimals=1),
    "remainder_": lambda t, y: y.remainder_(0.7),
    "div_rounding": lambda t, y: y.div_(0.3, rounding_mode="floor"),
    "%=": lambda t, y: y.__imod__(0.7),
    "masked_fill_": lambda t, y: y.masked_fill_(y > 0, 7.0),
    "tril_": lambda t, y: y.tril_(),
    "zero_": lambda t, y: y.zero_(),
    "fill_": lambda t, y: y.fill_(2.0),
    "copy_": lambda t, y: y.copy_(t.ones(4)),
    "scatter_add_": lambda t, y: y.scatter_add_(0, t.tensor([[0, 0, 1, 2]]), t.ones(1, 4, dtype=y.dtype)),
    "scatter_": lambda t, y: y.scatter_(0, t.tensor([[0, 2, 1, 0]]), y[:1] * 3),
    "index_add_": lambda t, y: y.index_add_(1, t.tensor([0, 3, 0, 1]), y.exp(), alpha=2),
    "index_fill_": lambda t, y: y.index_fill_(0, t.tensor([-1, 1]), 3.0),
    "lerp_": lambda t, y: y.lerp_(y.exp(), 0.7),
    "lerp_tensor": lambda t, y: y.lerp_(y.exp(), y.sigmoid()),
    "cumsum_": lambda t, y: y.cumsum_(1),
    "cumprod_": lambda t, y: y.cumprod_(0),
    "clamp_min_": lambda t, y: y.clamp_min_(0.1),
    "clamp_max_": lambda t, y: y.clamp_max_(0.1),
    "setitem": lambda t, y: y.__setitem__((slice(1),), 5.0),
    "setitem_mask": lambda t, y: y.__setitem__(y > 0, 5.0),
    "setitem_self": lambda t, y: y.__setitem__(0, y[1] * 2),
    "setitem_integer_and_array": lambda t, y: y.__setitem__((0, t.tensor([1, 3])), y[1, :2] * 2),
    "detach_": lambda t, y: y.detach_(),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CALLS)
def test_as_pytorch(name: str) -> None:
    if name in ("zero_", "fill_", "copy_", "detach_"):
        # Overwritten whole by something without history: here it has none any more, in PyTorch a gradient of zeros.
        with tinytorch.no_grad():
            y = tinytorch.from_numpy(X.copy())
            CALLS[name](tinytorch, y)
        import torch

        z = torch.from_numpy(X.copy())
        CALLS[name](torch, z)
        np.testing.assert_array_equal(y.numpy(), z.numpy())
        return
    compare_with_torch(changed(CALLS[name]), [X], second=True)


@pytest.mark.parametrize("operator", ["+=", "-=", "*=", "/=", "**="])
def test_operators_write_into_the_same_memory(operator: str) -> None:
    y = tinytorch.from_numpy(X.copy())
    alias, array, expected = y, y.array, X.copy()
    names = {"y": y, "e": expected}
    exec(f"y {operator} 2\ne {operator} 2", names)
    assert names["y"] is alias and y.array is array
    np.testing.assert_allclose(y.numpy(), names["e"])
    assert y._version == 1


def test_integers_are_written_into_integers_of_any_size() -> None:
    """Also from signed into unsigned, as in PyTorch: only what is of a higher kind is refused."""
    n = tinytorch.tensor([1, 2, 3], dtype=tinytorch.uint8)
    n += tinytorch.tensor([1, 1, 1])
    assert n.cumsum_(0).tolist() == [2, 5, 9] and n.dtype == tinytorch.uint8
    for value in (tinytorch.ones(3), tinytorch.ones(3, dtype=tinytorch.bfloat16)):
        with pytest.raises(RuntimeError, match="can't be cast to the desired output type uint8"):
            n.add_(value)
    with pytest.raises(RuntimeError, match="result type int64 can't be cast to the desired output type bool"):
        (n > 0).add_(tinytorch.tensor([1, 1, 1]))


def test_a_saved_input_that_changed_is_noticed() -> None:
    x = tinytorch.tensor(X, requires_grad=True)
    a, b = x * 1, x * 2
    y = a * b
    a.add_(1.0)
    with pytest.raises(RuntimeError, match=r"MulBackward0.*float64 \(3, 4\).*version 1, expected version 0.*clone"):
        y.backward(tinytorch.from_numpy(X))


def test_a_saved_output_that_changed_is_noticed() -> None:
    x = tinytorch.tensor(X, requires_grad=True)
    y = x.exp()
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"output 0 of ExpBackward0.*was modified by an in-place operation"):
        y.backward(tinytorch.from_numpy(X))


def test_an_in_place_operation_keeps_its_own_input() -> None:
    """y *= w needs the old y for w's gradient: it is set aside, with its history, for derivatives of any order."""
    x, w = (tinytorch.tensor(X + i, requires_grad=True) for i in range(2))

    def call(x: Any, w: Any) -> Any:
        y = x * 1
        y *= w
        y **= 2
        y /= w.exp()
        y.mul_(y)
        return y

    assert gradcheck(call, (x, w))
    assert gradgradcheck(call, (x, w))


def test_a_change_through_a_view_is_noticed() -> None:
    x = tinytorch.tensor(X, requires_grad=True)
    with tinytorch.no_grad():
        base = tinytorch.ones(3, 4, dtype=tinytorch.float64)
    y = x * base
    base[0].fill_(5.0)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward(tinytorch.from_numpy(X))


def test_a_change_of_what_was_not_saved_does_no_harm() -> None:
    x = tinytorch.tensor(X, requires_grad=True)
    a = x * 1
    y = a + 3.0
    a.add_(1.0)
    y.backward(tinytorch.from_numpy(X))
    np.testing.assert_array_equal(x.grad.numpy(), X)


def test_setting_elements_of_a_list_of_rows() -> None:
    """The idiom of filling a result step by step."""
    x = tinytorch.tensor(X, requires_grad=True)
    y = tinytorch.zeros(3, 4, dtype=tinytorch.float64)
    for i in range(3):
        y[i] = x[i] * (i + 1)
    y.backward(tinytorch.from_numpy(X))
    np.testing.assert_allclose(x.grad.numpy(), X * np.array([[1], [2], [3]]))


@pytest.mark.oracle
@pytest.mark.parametrize(
    "call",
    [
        lambda t, x: x.requires_grad_().add_(1),
        lambda t, x: x.requires_grad_().__setitem__(0, 1.0),
        lambda t, x: x.requires_grad_().zero_(),
        lambda t, x: x.add_(t.ones(2, 3, 4)),
        lambda t, x: x.add_(t.ones(5)),
        lambda t, x: t.ones(3, dtype=t.int64).add_(0.5),
        lambda t, x: t.ones(3, dtype=t.int64).div_(2),
        lambda t, x: x[:1].expand(3, 4).add_(1),
        lambda t, x: (x.requires_grad_() * 1).numpy(),
        lambda t, x: x.requires_grad_().numpy(),
    ],
)
def test_errors_are_pytorchs(call: Any) -> None:
    assert_same_error(call, [X])


def test_leaves_may_change_under_no_grad() -> None:
    x = tinytorch.tensor(X, requires_grad=True)
    with tinytorch.no_grad():
        x.add_(1.0)
        x -= 0.5
        x[0] = 0.0
    assert x.requires_grad and x.is_leaf and x._version == 3


def test_data_shares_memory_without_history() -> None:
    x = tinytorch.tensor(X, requires_grad=True)
    x.data.mul_(2)
    np.testing.assert_array_equal(x.detach().numpy(), 2 * X)
    x.data = tinytorch.zeros(3, 4, dtype=tinytorch.float64)
    assert x.requires_grad and (x.detach().numpy() == 0).all()
