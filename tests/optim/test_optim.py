"""Optimizers: errors, groups, state, memory layouts, versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn, optim

MAKERS: dict[str, Any] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "sgd_momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1),
    "adamw": lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.1),
}
each_optimizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def _parameter(value: Any, grad: Any = None) -> nn.Parameter:
    parameter = nn.Parameter(tinytorch.tensor(np.asarray(value)))
    if grad is not None:
        parameter.grad = tinytorch.tensor(np.asarray(grad))
    return parameter


def test_what_cannot_be_optimized() -> None:
    p, q = _parameter([1.0]), _parameter([1.0])
    with pytest.raises(TypeError, match="should be an iterable of Tensors or dicts"):
        optim.SGD(p)
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([])
    with pytest.raises(TypeError, match="one of the params is int"):
        optim.SGD([3])
    with pytest.raises(TypeError, match="use a list, not a set"):
        optim.SGD([{"params": {p}}])
    with pytest.raises(ValueError, match=r"can't optimize a non-leaf Tensor \(shape \(1,\)\)"):
        optim.SGD([p * 2])
    with pytest.raises(ValueError, match="more than one"):
        optim.SGD([{"params": [p]}, {"params": [q, p]}])
    with pytest.raises(ValueError, match="appear twice"):
        optim.SGD([p, p])
    with pytest.raises(TypeError, match="must be a dict"):
        optim.SGD([p]).add_param_group([q])
    with pytest.raises(ValueError, match="Some param names are missing"):
        optim.SGD([("p", p), q])
    with pytest.raises(ValueError, match="cannot add param group with names to the optimizer"):
        optim.SGD([p]).add_param_group({"params": [("q", q)]})
    with pytest.raises(ValueError, match="cannot add param group without names to the optimizer"):
        optim.SGD([("p", p)]).add_param_group({"params": [q]})
    kept = p * 2
    kept.retain_grad()
    optim.SGD([kept])


@each_optimizer
def test_what_there_is_no_step_for(make: Any) -> None:
    p = _parameter([1.0])
    kind = type(make([p]))
    for setting in ({"fused": True}, {"foreach": True}, {"fused": False, "foreach": False}):
        kind([p], **setting)
    with pytest.raises(RuntimeError, match="differentiable=True is not supported: steps are not recorded"):
        kind([p], differentiable=True)
    with pytest.raises(RuntimeError, match="capturable=True is for steps in a CUDA graph"):
        kind([{"params": [p], "capturable": True}])
    with pytest.raises(RuntimeError, match="`fused` does not support `differentiable`"):
        kind([p], fused=True, differentiable=True)
    with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together"):
        kind([p], fused=True, foreach=True)
    optimizer = make([p])
    saved = optimizer.state_dict()
    saved["param_groups"][0]["differentiable"] = True
    with pytest.raises(RuntimeError, match="differentiable"):
        optimizer.load_state_dict(saved)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.SGD(p, lr=-1.0), "Invalid learning rate: -1.0"),
        (lambda p: optim.SGD(p, momentum=-1), "Invalid momentum value: -1"),
        (lambda p: optim.SGD(p, weight_decay=-1), "Invalid weight_decay value: -1"),
        (lambda p: optim.SGD(p, nesterov=True), "Nesterov momentum requires a momentum and zero dampening"),
        (lambda p: optim.Adam(p, lr=float("nan")), "Invalid learning rate: nan"),
        (lambda p: optim.Adam(p, betas=(1.0, 0.9)), "Invalid beta parameter at index 0: 1.0"),
        (lambda p: optim.AdamW(p, betas=(0.9, -1)), "Invalid beta parameter at index 1: -1"),
        (lambda p: optim.AdamW(p, eps=-1e-8), "Invalid epsilon value: -1e-08"),
        (lambda p: optim.AdamW([{"params": p, "lr": -3}]), "Invalid learning rate: -3"),
        (lambda p: optim.AdamW(p, betas=(0.9, 1.0)), "Invalid beta parameter at index 1: 1.0"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), "momentum and zero dampening"),
        (lambda p: optim.SGD(p, lr=tinytorch.ones(2)), r"Tensor lr must be 1-element, got shape \(2,\)"),
        (lambda p: optim.Adam(p, lr=tinytorch.tensor(-1.0)), "Invalid learning rate"),
        (lambda p: optim.Adam(p, lr=tinytorch.tensor(0.1), foreach=True), "lr as a Tensor is not supported"),
        (lambda p: optim.Adam(p, betas=(tinytorch.tensor(0.9), 0.9)), "either both floats or both Tensors"),
        (lambda p: optim.Adam(p, betas=(tinytorch.ones(2), tinytorch.ones(1))), r"Tensor betas\[0\] must be 1-element"),
        (lambda p: optim.Adam(p, betas=[tinytorch.tensor(0.9)] * 2, foreach=True), r"betas\[0\] as a Tensor is not"),
        (lambda p: optim.Adam(p, betas=(0.9, 0.9, 0.9)), "too many values"),
    ],
)
def test_hyperparameters_are_checked(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make([_parameter([1.0])])


def test_groups_and_repr() -> None:
    a, b = _parameter([1.0]), _parameter([1.0])
    optimizer = optim.SGD([{"params": a, "lr": 0.5}], lr=0.1, momentum=0.9)
    optimizer.add_param_group({"params": [b]})
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]
    assert optimizer.param_groups[0]["params"][0] is a
    assert repr(optimizer).startswith(
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n    foreach: None\n    fused: None\n"
        "    lr: 0.5\n    maximize: False\n    momentum: 0.9\n"
    )
    assert "Parameter Group 1" in repr(optimizer)


@each_optimizer
def test_step_changes_in_place_and_counts_a_version(make: Any) -> None:
    p, unused = _parameter([[1.0, -2.0]], [[0.5, 0.25]]), _parameter([1.0])
    array, before = p.detach().numpy(), p.detach().numpy().copy()
    version, version_unused = p._version, unused._version
    optimizer = make([p, unused])
    optimizer.step()
    assert p.detach().numpy() is array or np.shares_memory(p.detach().numpy(), array)
    assert (np.sign(before - array) == 1).all()
    assert p._version > version and unused._version == version_unused
    assert unused.item() == 1.0 and unused not in optimizer.state


@each_optimizer
def test_step_between_forward_and_backward_is_an_error(make: Any) -> None:
    p = _parameter([1.0, 2.0], [1.0, 1.0])
    y = (p * p).square()
    make([p]).step()
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward(tinytorch.ones(2, dtype=y.dtype))


@each_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_do_not_matter(make: Any, dtype: Any) -> None:
    """Transposed, sliced, reversed and expanded memory gives the bits that contiguous memory gives."""
    rng = np.random.default_rng(0)
    value, grads = rng.normal(size=(6, 4)).astype(dtype), rng.normal(size=(3, 6, 4)).astype(dtype)
    grads[:, :, 1:] = grads[:, :, :1]

    def run(layout: Any, grad_layout: Any) -> Any:
        p = nn.Parameter(tinytorch.from_numpy(layout(value)))
        optimizer = make([p, _parameter(np.ones(1, dtype), np.ones(1, dtype))])
        for grad in grads:
            p.grad = tinytorch.from_numpy(grad_layout(grad))
            optimizer.step()
        return p.detach().numpy()

    def transposed(x: Any) -> Any:
        return np.ascontiguousarray(x.T).T

    def sliced(x: Any) -> Any:
        wide = np.zeros((6, 8), x.dtype)
        wide[:, ::2] = x
        return wide[:, ::2]

    def reversed_(x: Any) -> Any:
        return np.ascontiguousarray(x[::-1])[::-1]

    def expanded(x: Any) -> Any:
        return np.broadcast_to(x[:, :1], x.shape).copy()[:, :]

    expected = run(np.copy, np.copy)
    assert not np.array_equal(expected, value)
    for layout in (transposed, sliced, reversed_):
        np.testing.assert_array_equal(run(layout, np.copy), expected)
        np.testing.assert_array_equal(run(np.copy, layout), expected)
        np.testing.assert_array_equal(run(layout, transposed), expected)
    np.testing.assert_array_equal(run(np.copy, expanded), expected)


@each_optimizer
def test_gradients_come_and_go(make: Any) -> None:
    """A parameter that skips steps moves as one that never saw them."""
    rng = np.random.default_rng(1)
    grads = rng.normal(size=(6, 3))
    alone, mixed, other = _parameter(np.ones(3)), _parameter(np.ones(3)), _parameter(np.ones(2))
    first, second = make([alone]), make([other, mixed])
    for step, grad in enumerate(grads):
        second.zero_grad()
        other.grad = tinytorch.tensor(rng.normal(size=2)) if step != 3 else None
        if step % 2:
            alone.grad, mixed.grad = tinytorch.tensor(grad), tinytorch.tensor(grad)
            first.step()
        second.step()
    np.testing.assert_array_equal(alone.detach().numpy(), mixed.detach().numpy())


@each_optimizer
def test_step_without_any_gradient(make: Any) -> None:
    p = _parameter([1.0])
    optimizer = make([p])
    optimizer.step()
    assert p.item() == 1.0 and not optimizer.state


@each_optimizer
def test_state_survives_a_round_trip(make: Any) -> None:
    rng = np.random.default_rng(2)
    value, grads = rng.normal(size=(4, 3)), rng.normal(size=(8, 4, 3))

    def run(interrupt: bool) -> Any:
        p = _parameter(value)
        optimizer = make([p])
        for step, grad in enumerate(grads):
            p.grad = tinytorch.tensor(grad)
            optimizer.step()
            if interrupt and step == 3:
                state = optimizer.state_dict()
                p = _parameter(p.detach().numpy().copy())
                optimizer = make([p])
                optimizer.load_state_dict(state)
                for values in state["state"].values():  # copies were taken: what happens to these is no matter
                    for tensor in values.values():
                        tensor.fill_(0)
        return p.detach().numpy()

    np.testing.assert_array_equal(run(True), run(False))


def test_load_state_dict_refuses_what_does_not_fit() -> None:
    p = _parameter([1.0, 2.0], [1.0, 1.0])
    optimizer = optim.AdamW([p])
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state["state"]) == [0] and state["param_groups"][0]["params"] == [0]
    assert set(state["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    with pytest.raises(ValueError, match="different number of parameter groups: 0, not 1"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    with pytest.raises(ValueError, match="group 0 has 2 parameters, not 1"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]})
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0], "lr": -1}]})
    wrong = {0: {**state["state"][0], "exp_avg": tinytorch.zeros(3)}}
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0 has shape \(3,\), the parameter \(2,\)"):
        optimizer.load_state_dict({"state": wrong, "param_groups": state["param_groups"]})
    assert optimizer.state[p]["step"].item() == 1


def test_closure_and_zero_grad() -> None:
    p = _parameter([3.0])
    optimizer = optim.SGD([p], lr=0.25)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with tinytorch.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert p.item() == 1.5
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.item() == 0.0
    optimizer.zero_grad()
    assert p.grad is None


def test_storage_that_is_replaced_between_steps() -> None:
    """`parameter.data = ...` and moving a model to float64 are seen by the next step."""
    model = nn.Linear(3, 2)
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    for dtype in (tinytorch.float32, tinytorch.float64, tinytorch.float32):
        model.to(dtype)
        before = model.weight.detach().numpy().copy()
        model(tinytorch.ones(1, 3, dtype=dtype)).square().mean().backward()
        optimizer.step()
        assert model.weight.dtype == dtype
        assert (model.weight.detach().numpy() != before).all()
    model.weight.data = tinytorch.zeros(2, 3)
    optimizer.step()
    assert 0 < np.abs(model.weight.detach().numpy()).max() < 1


def test_own_optimizer() -> None:
    """A subclass in PyTorch's idiom: its own step over param_groups."""

    class Sign(optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        @tinytorch.no_grad()
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(p.grad.sign(), alpha=-group["lr"])

    p = _parameter([1.0], [-4.0])
    Sign([p], 0.5).step()
    assert p.item() == 1.5


def test_state_that_is_cleared_starts_again() -> None:
    value, grad = [1.0, 2.0], [0.5, -3.0]
    fresh, cleared = _parameter(value, grad), _parameter(value, grad)
    optimizer = optim.AdamW([cleared], lr=0.1)
    optimizer.step()
    optimizer.state.clear()
    cleared.data = tinytorch.tensor(np.asarray(value))
    optimizer.step()
    optim.AdamW([fresh], lr=0.1).step()
    assert optimizer.state[cleared]["step"].item() == 1
    np.testing.assert_array_equal(cleared.detach().numpy(), fresh.detach().numpy())


@each_optimizer
def test_memory_that_cannot_be_trained(make: Any) -> None:
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    p = nn.Parameter(tinytorch.from_numpy(array))
    p.grad = tinytorch.ones(3)
    with pytest.raises(RuntimeError, match=r"value of parameter 0, float32 \(3,\), cannot be written"):
        make([p]).step()


@each_optimizer
def test_integers_are_not_trained(make: Any) -> None:
    p = tinytorch.tensor([1, 2])
    p.grad = tinytorch.tensor([1, 1])
    with pytest.raises(TypeError, match="int64"):
        make([p]).step()
    assert p.tolist() == [1, 2]


@each_optimizer
@pytest.mark.parametrize(("before", "after"), [((2,), (5,)), ((1,), (5,)), ((2, 3), (3, 2)), ((4,), (2, 2))], ids=str)
def test_gradient_of_another_shape_is_refused(make: Any, before: Any, after: Any) -> None:
    """Swapping the memory below a gradient must not let a step read past its end, nor spread or reorder it."""
    p = _parameter(np.ones(before), np.ones(before))
    optimizer = make([p])
    optimizer.step()
    p.data = tinytorch.zeros(*after, dtype=tinytorch.float64)
    with pytest.raises(RuntimeError, match="the gradient of a parameter"):
        optimizer.step()
    assert not p.detach().numpy().any()


def test_sgd_of_float64_rounds_nothing_to_float32() -> None:
    p = nn.Parameter(tinytorch.zeros(2, dtype=tinytorch.float64))
    p.grad = tinytorch.tensor([1.0 + 2.0**-40, 3.0**-20], dtype=tinytorch.float64)
    optim.SGD([p], lr=0.5).step()
    assert p.tolist() == [-0.5 - 2.0**-41, -0.5 * 3.0**-20]


def test_a_parameter_among_groups_is_refused() -> None:
    p, q = nn.Parameter(tinytorch.zeros(2)), nn.Parameter(tinytorch.zeros(2))
    with pytest.raises(TypeError, match="param_group must be a dict"):
        optim.SGD([{"params": [p]}, q], lr=0.1)
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        optim.SGD([p, {"params": [q]}], lr=0.1)
