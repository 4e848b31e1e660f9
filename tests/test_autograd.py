"""backward, grad, hooks, accumulation and custom functions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch import Tensor, nn
from tinytorch.autograd import Function
from tinytorch.engine import function


def leaf(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def values(tensor: Any) -> Any:
    assert tensor is not None
    return tensor.tolist()


# ---------------------------------------------------------------------- graphs


def test_shared_inputs_diamonds_and_unused_branches() -> None:
    x = leaf(2.0, -3.0)
    unused = x.exp()
    a, b = x * x, x * 5
    y = a * b + a + x
    y.backward(torch.tensor([1.0, 10.0], dtype=torch.float64))
    # y = 5 x^3 + x^2 + x
    assert values(x.grad) == [15 * 4 + 4 + 1, 10 * (15 * 9 - 6 + 1)]
    assert unused.grad_fn is not None


def test_unused_outputs_of_an_operation_count_as_zero() -> None:
    x = leaf(1.0, 2.0, 3.0, 4.0)
    _, middle, _ = x.split([1, 2, 1])
    (middle * torch.tensor([5.0, 7.0], dtype=torch.float64)).sum().backward()
    assert values(x.grad) == [0.0, 5.0, 7.0, 0.0]


def test_gradients_accumulate_until_they_are_dropped() -> None:
    x = leaf(1.0, 2.0)
    for times in (1, 2, 3):
        (x * torch.tensor([3.0, 5.0], dtype=torch.float64)).sum().backward()
        assert values(x.grad) == [3.0 * times, 5.0 * times]
    before = x.grad
    (x * 2).sum().backward()
    assert x.grad is before  # in place, as PyTorch
    x.grad = None
    (x * 2).sum().backward()
    assert values(x.grad) == [2.0, 2.0]


def test_several_outputs_each_with_its_gradient() -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    torch.autograd.backward([x * y, (x * 2).sum()], [torch.tensor([1.0, 10.0], dtype=torch.float64), None])
    assert values(x.grad) == [3.0 + 2, 40.0 + 2] and values(y.grad) == [1.0, 20.0]


def test_grad_changes_no_grad_attribute_and_takes_any_iterable() -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    gx, gy = torch.autograd.grad((x * y * y).sum(), (t for t in (x, y)))
    assert values(gx) == [9.0, 16.0] and values(gy) == [6.0, 16.0]
    assert x.grad is None and y.grad is None


def test_grad_with_respect_to_intermediates_and_outputs() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * 3
    gx, gy, gz = torch.autograd.grad(z, [x, y, z])
    assert (gx.item(), gy.item(), gz.item()) == (12.0, 3.0, 1.0)


def test_unused_inputs() -> None:
    x, other = leaf(1.0), leaf(1.0)
    y = x * 2
    with pytest.raises(RuntimeError, match="not used in the graph"):
        torch.autograd.grad(y, [x, other], retain_graph=True)
    assert torch.autograd.grad(y, [x, other], allow_unused=True, retain_graph=True)[1] is None
    assert values(torch.autograd.grad(y, [x, other], materialize_grads=True)[1]) == [0.0]
    with pytest.raises(ValueError, match="allow_unused"):
        torch.autograd.grad(y, [x], allow_unused=False, materialize_grads=True)


def test_allow_unused_may_be_said_out_loud() -> None:
    x = leaf(1.0)
    assert values(torch.autograd.grad(x * 2, x, allow_unused=False)[0]) == [2.0]


def test_only_inputs_changes_nothing() -> None:
    """Old programs, for the penalty of a Wasserstein GAN, pass it."""
    x = leaf(1.0)
    assert values(torch.autograd.grad(x * 2, x, only_inputs=True)[0]) == [2.0]
    with pytest.warns(FutureWarning, match="only_inputs is ignored"):
        assert values(torch.autograd.grad(x * 2, x, only_inputs=False)[0]) == [2.0]
    assert x.grad is None


def test_inputs_that_are_results_retain_their_gradient_and_it_counts_once() -> None:
    x = leaf(1.0, 2.0)
    y, z = x * 3, x * 5
    y.retain_grad()
    (y * z).sum().backward(inputs=[y, z], retain_graph=True)
    assert values(y.grad) == [5.0, 10.0] and values(z.grad) == [3.0, 6.0] and x.grad is None and z.retains_grad
    (y + z).sum().backward()
    assert values(y.grad) == [6.0, 11.0] and values(z.grad) == [4.0, 7.0] and values(x.grad) == [8.0, 8.0]


def test_inputs_limits_what_is_accumulated() -> None:
    x, y, seed = leaf(1.0, 2.0), leaf(3.0, 4.0), torch.ones(2, dtype=torch.float64)
    middle = x * y
    torch.autograd.backward(middle * 2, seed, inputs=[x, middle, x], retain_graph=True)
    assert values(x.grad) == [6.0, 8.0] and values(middle.grad) == [2.0, 2.0] and y.grad is None
    torch.autograd.backward(middle * 2, seed, inputs=x)
    assert values(x.grad) == [12.0, 16.0]


@pytest.mark.parametrize(
    ("run", "error", "message"),
    (
        (lambda: torch.ones(1).backward(), RuntimeError, "does not require grad"),
        (lambda: leaf(1.0, 2.0).backward(), RuntimeError, "only for scalar outputs"),
        (lambda: leaf(1.0, 2.0).backward(torch.ones(3)), RuntimeError, r"\(3,\).*\(2,\)"),
        (lambda: torch.autograd.grad(leaf(1.0), torch.ones(1)), RuntimeError, "does not require grad"),
        (lambda: leaf(1.0).backward(inputs=[]), RuntimeError, "cannot be empty"),
        (lambda: leaf(1.0).backward(inputs=[torch.ones(1)]), RuntimeError, "does not require grad"),
        (lambda: torch.autograd.backward([leaf(1.0)], [None, None]), RuntimeError, "1 outputs but 2 gradients"),
        (lambda: torch.ones(1).retain_grad(), RuntimeError, "retain_grad"),
        (lambda: torch.ones(1).register_hook(print), RuntimeError, "hook"),
        (lambda: torch.tensor([1], requires_grad=True), RuntimeError, "floating point"),
        (lambda: torch.ones(1, dtype=torch.bool).requires_grad_(), RuntimeError, "floating point"),
        (lambda: (leaf(1.0) * 2).requires_grad_(False), RuntimeError, "leaf"),
        (lambda: setattr(leaf(1.0), "grad", torch.ones(2, dtype=torch.float64)), RuntimeError, r"\(2,\)"),
        (lambda: setattr(leaf(1.0), "grad", torch.ones(1)), RuntimeError, "float32"),
        (lambda: setattr(leaf(1.0), "grad", 1.0), TypeError, "float"),
    ),
)
def test_errors(run: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run()


def test_the_graph_is_freed_unless_retained() -> None:
    x = leaf(3.0)
    y = (x * x).exp()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match=r"ExpBackward0.*retain_graph=True"):
        y.backward()
    z = x * x
    torch.autograd.grad(z, x, create_graph=True)  # retains by default
    torch.autograd.grad(z, x)
    with pytest.raises(RuntimeError, match="retain_graph"):
        torch.autograd.grad(z, x)


# ---------------------------------------------------------------------- memory of gradients


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize(
    "build",
    (
        lambda a, b: a + b,
        lambda a, b: a.view_as(a) + b.reshape(2, 1).reshape(2),
        lambda a, b: torch.stack([a, b]).sum(0),
        lambda a, b: torch.cat([a, b]).reshape(2, 2)[0] + a.flip(0),
        lambda a, b: (a.expand(3, 2) * 1.0).sum(0) + b.expand(3, 2).mean(0),
        lambda a, b: a.clone() + b.to(torch.float64),
        lambda a, b: torch.where(torch.tensor([True, True]), a, b),
    ),
)
def test_leaf_gradients_share_memory_with_nothing(build: Any, inputs: bool, create_graph: bool) -> None:
    a, b, seed = leaf(1.0, 2.0), leaf(3.0, 4.0), torch.tensor([5.0, 7.0], dtype=torch.float64)
    seen: list[Tensor] = []
    middle = a * 1
    middle.register_hook(seen.append)
    middle.retain_grad()
    y = build(a, b) + middle
    y.retain_grad()
    torch.autograd.backward(y, seed, create_graph=create_graph, inputs=[a, b] if inputs else None)
    tensors = [t for t in (a.grad, b.grad, y.grad, middle.grad) if t is not None] + seen + [seed, a, b]
    for i, first in enumerate(tensors):
        for second in tensors[i + 1 :]:
            assert not (first.array is second.array and (first is a.grad or first is b.grad))
            if any(first is g or second is g for g in (a.grad, b.grad, y.grad, middle.grad)):
                assert not np.shares_memory(first.array, second.array)
    for t in (a.grad, b.grad):
        assert t is not None and t.array.flags.writeable and t.is_contiguous()


# ---------------------------------------------------------------------- hooks and retain_grad


def test_hooks_run_in_order_replace_and_can_be_removed() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    calls: list[Any] = []
    y.register_hook(lambda g: calls.append(("first", values(g))))
    handle = y.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: calls.append(("last", values(g))))
    x.register_hook(lambda g: calls.append(("leaf", values(g))))
    (y * 1).sum().backward(retain_graph=True)
    assert calls == [("first", [1.0, 1.0]), ("last", [2.0, 2.0]), ("leaf", [6.0, 6.0])]
    handle.remove()
    handle.remove()
    calls.clear()
    (y * 1).sum().backward()
    assert calls == [("first", [1.0, 1.0]), ("last", [1.0, 1.0]), ("leaf", [3.0, 3.0])]
    assert values(x.grad) == [9.0, 9.0]


def test_removing_one_of_two_registrations_of_one_function() -> None:
    x = leaf(1.0)

    def double(grad: Tensor) -> Tensor:
        return grad * 2

    first, _ = x.register_hook(double), x.register_hook(double)
    first.remove()
    first.remove()
    x.sum().backward()
    assert values(x.grad) == [2.0]


def test_hook_sees_the_complete_gradient_once() -> None:
    x = leaf(2.0)
    seen: list[Any] = []
    y = x * x
    y.register_hook(lambda g: seen.append(g.item()))
    (y * 3 + y * y).backward()
    assert seen == [3 + 2 * 4.0]


def test_hooks_on_outputs_of_an_operation_with_several() -> None:
    x = leaf(1.0, 2.0, 3.0)
    first, second = x.split([1, 2])
    first.register_hook(lambda g: g * 10)
    second.register_hook(lambda g: g * 100)
    torch.cat([first * 2, second * 3]).sum().backward()
    assert values(x.grad) == [20.0, 300.0, 300.0]


@pytest.mark.parametrize(
    ("hook", "error"),
    (
        (lambda g: torch.ones(5, dtype=torch.float64), RuntimeError),
        (lambda g: g.float(), RuntimeError),
        (lambda g: g.sum(), RuntimeError),
        (lambda g: 1.0, TypeError),
        (lambda g: g.array, TypeError),
        (lambda g: (g,), TypeError),
    ),
)
def test_hooks_must_return_a_gradient_of_the_same_shape_and_dtype(hook: Any, error: type[Exception]) -> None:
    x = leaf(1.0, 2.0)
    x.register_hook(hook)
    with pytest.raises(error):
        x.sum().backward()


def test_hooks_of_unused_outputs_are_given_none_and_must_return_none() -> None:
    x = leaf(1.0, 2.0, 3.0)
    first, second = x.split([1, 2])
    seen: list[Any] = []
    second.register_hook(seen.append)
    first.sum().backward(retain_graph=True)
    assert seen == [None] and values(x.grad) == [1.0, 0.0, 0.0]
    second.register_hook(lambda g: torch.ones(2, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="has none"):
        first.sum().backward()


def test_hooks_that_come_and_go_while_hooks_run_count_from_the_next_walk_on() -> None:
    x = leaf(1.0)
    calls: list[str] = []
    first = x.register_hook(lambda g: [handle.remove() for handle in (first, second)] and calls.append("first"))
    second = x.register_hook(lambda g: calls.append("second"))
    x.register_hook(lambda g: x.register_hook(lambda g: calls.append("new")) and None)
    y = x * 2
    y.backward(retain_graph=True)
    assert calls == ["first", "second"]
    y.backward()
    assert calls == ["first", "second", "new"]


def test_a_hook_may_walk_another_graph_or_its_own() -> None:
    x, w = leaf(3.0), leaf(5.0)
    y = x * x
    z = y * 2
    depth = [0]

    def hook(grad: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        depth[0] += 1
        with torch.enable_grad():
            (w * w).backward()
        if depth[0] < 3:
            z.backward(retain_graph=True)
        return grad * 10

    y.register_hook(hook)
    z.backward(retain_graph=True)
    assert depth == [3] and values(x.grad) == [3 * 2 * 10 * 6.0] and values(w.grad) == [30.0]
    assert torch.is_grad_enabled()


def test_hook_that_raises_leaves_recording_as_it_was() -> None:
    x = leaf(1.0)

    def fail(grad: Tensor) -> None:
        raise KeyError

    x.register_hook(fail)
    with pytest.raises(KeyError):
        (x * 2).backward()
    assert torch.is_grad_enabled()


def test_retain_grad() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    assert not y.retains_grad
    y.retain_grad()
    y.retain_grad()
    assert y.retains_grad and not y.is_leaf
    z = (y * torch.tensor([5.0, 7.0], dtype=torch.float64)).sum()
    z.backward(retain_graph=True)
    assert values(y.grad) == [5.0, 7.0]
    z.backward()
    assert values(y.grad) == [10.0, 14.0]
    x.retain_grad()  # does nothing on a leaf
    assert not x.retains_grad


def test_retained_gradients_are_those_after_all_hooks_and_add_up_in_new_tensors() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.register_hook(lambda g: g * 2)
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    y.sum().backward(retain_graph=True)
    first = y.grad
    assert values(first) == [10.0, 10.0] and values(x.grad) == [30.0, 30.0]
    torch.autograd.grad(y.sum(), x)
    assert values(y.grad) == [20.0, 20.0] and values(first) == [10.0, 10.0]


def test_grad_gives_what_is_there_after_hooks_only_where_the_walk_ends() -> None:
    a = leaf(1.0, 2.0)
    y = a * 3
    y.register_hook(lambda g: g * 2)
    z = y.sum()
    for inputs, expected in (
        ([y], [[2.0] * 2]),
        ([y, a], [[1.0] * 2, [6.0] * 2]),
        ([a, y], [[6.0] * 2, [1.0] * 2]),
        ([z, y], [1.0, [2.0] * 2]),
    ):
        assert [values(g) for g in torch.autograd.grad(z, inputs, retain_graph=True)] == expected


def test_the_hooks_of_a_lone_root_run_though_it_leads_nowhere() -> None:
    x, w = leaf(1.0), leaf(2.0)
    y = x * 2
    y.retain_grad()
    assert torch.autograd.grad(y, w, allow_unused=True) == (None,)
    assert values(y.grad) == [1.0]
    first, second = leaf(1.0, 2.0).split(1)
    seen: list[Any] = []
    first.register_hook(lambda g: seen.append(("first", g)))
    second.register_hook(lambda g: seen.append(("second", values(g))))
    second.backward(inputs=[w])
    assert seen == [("first", None), ("second", [1.0])] and w.grad is None


def test_retain_grad_follows_an_in_place_operation_and_hooks_do_not() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(values(g)))
    y.mul_(3)
    (y * torch.tensor([5.0, 7.0], dtype=torch.float64)).sum().backward()
    assert values(y.grad) == [5.0, 7.0] and seen == [[15.0, 21.0]] and values(x.grad) == [30.0, 42.0]


def test_what_was_saved_of_a_leaf_is_what_its_data_are_at_backward() -> None:
    x = leaf(2.0)
    y = x * x
    x.data = torch.tensor([5.0], dtype=torch.float64)
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    assert values(g) == [10.0] and values(torch.autograd.grad(g, x)[0]) == [2.0]


def test_requires_grad_turned_off_after_the_forward() -> None:
    x, y = leaf(1.0), leaf(2.0)
    z = x * y
    x.requires_grad_(False)
    z.backward()
    assert x.grad is None and values(y.grad) == [1.0]


# ---------------------------------------------------------------------- higher orders


def test_second_derivative_of_a_chain() -> None:
    x = leaf(0.3, -0.7)
    y = (x.tanh() * x.exp()).sum()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    weights = torch.tensor([2.0, -3.0], dtype=torch.float64)
    (h,) = torch.autograd.grad((g * weights).sum(), x)
    t, e = np.tanh(x.detach().numpy()), np.exp(x.detach().numpy())
    expected = (t * e + 2 * (1 - t * t) * e - 2 * t * (1 - t * t) * e) * weights.numpy()
    np.testing.assert_allclose(h.numpy(), expected)


@pytest.mark.parametrize("f", ["exp", "sqrt", "tanh", "sigmoid", "rsqrt", "expm1"])
def test_second_derivative_of_a_number_of_no_dimensions(f: str) -> None:
    """NumPy returns scalars, not arrays, here: the saved output must keep its place in the graph all the same."""
    results = []
    for shape in ((), (1,)):
        x = torch.full(shape, 0.7, dtype=torch.float64, requires_grad=True)
        (g,) = torch.autograd.grad(getattr(x, f)().sum(), x, create_graph=True)
        (h,) = torch.autograd.grad((g * g).sum(), x)
        results.append(h.item())
    assert results[0] == results[1] != 0


def test_a_detached_copy_is_a_constant_in_every_order() -> None:
    x = leaf(1.0, 2.0)
    (g,) = torch.autograd.grad((x * x.detach() * x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    assert values(g) == [2.0, 8.0] and values(h) == [2.0, 4.0]
    for constant in (torch.from_numpy(x.detach().numpy()), Tensor(x), Tensor(x.detach().numpy())):
        (g,) = torch.autograd.grad((x * constant).sum(), x, create_graph=True)
        assert not g.requires_grad


def test_backward_with_create_graph_then_backward_again() -> None:
    x = leaf(2.0)
    (x * x * x).backward(create_graph=True)
    assert x.grad is not None and x.grad.requires_grad
    first, x.grad = x.grad, None
    first.backward()
    assert values(x.grad) == [12.0]


def _fused(f: str, x: Any, y: Any) -> Any:
    functional: Any = nn.functional
    if f == "attention":
        q = x.reshape(1, 1, 3, 4)
        return functional.scaled_dot_product_attention(q, q, y.reshape(1, 1, 3, 4), is_causal=True)
    if f == "attention of one tensor":
        q = x.reshape(1, 1, 3, 4)
        return functional.scaled_dot_product_attention(q, q, q)
    if f == "layer_norm":
        return functional.layer_norm(x, (4,), y[0], x[1])
    if f == "rms_norm":
        return functional.rms_norm(x, (4,), x[0] * y[0])
    if f == "cross_entropy":
        return functional.cross_entropy(x * y, torch.tensor([0, 3, 1]), label_smoothing=0.1)
    if f == "linear":
        return functional.linear(x, x, y[:, 0])
    return getattr(functional, f)(x, dim=-1) if "softmax" in f else getattr(functional, f)(x * y)


FUSED = ["attention", "attention of one tensor", "layer_norm", "rms_norm", "cross_entropy", "linear", "softmax"]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("f", [*FUSED, "log_softmax", "gelu", "silu"])
def test_second_derivatives_through_fused_operations(f: str, transposed: bool, frozen: bool) -> None:
    """x is shared between arguments, one argument depends on another, and one input may be frozen."""
    rng = np.random.default_rng(0)
    data, other, weights = rng.standard_normal((3, 3, 4))
    results = []
    for switch in (torch.enable_grad(), torch.unfold()):
        x = torch.tensor(np.asfortranarray(data)) if not transposed else torch.from_numpy(data.T.copy().T)
        x.requires_grad_()
        y = torch.tensor(other, requires_grad=not frozen)
        w = torch.tensor(weights)
        with switch:
            z = _fused(f, x, y)
            seed = torch.tensor(np.random.default_rng(1).standard_normal(tuple(z.shape)))
            seed.requires_grad_()
            (g,) = torch.autograd.grad(z, x, seed, create_graph=True)
            total = (g * g * w).sum()
            total.backward()
        assert x.grad is not None and seed.grad is not None
        results.append((z, g, x.grad, seed.grad, None if y.grad is None else y.grad))
    for fused, unfolded in zip(*results, strict=True):
        assert (fused is None) == (unfolded is None)
        if fused is not None:
            np.testing.assert_allclose(fused.detach().numpy(), unfolded.detach().numpy(), rtol=1e-8, atol=1e-10)


def test_gradients_keep_the_dtype_of_their_tensor() -> None:
    x = torch.ones(2, requires_grad=True)
    half = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    y = x.double() * 2 + half
    assert y.dtype == torch.float64
    y.sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.float32
    assert half.grad is not None and half.grad.dtype == torch.bfloat16


# ---------------------------------------------------------------------- functions of the user's own


class Cube(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, grad_output: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad_output * 3 * x * x


class ScaleAndSplit(Function):
    """Other arguments, several outputs, None gradients, an output without gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float, weight: Any, label: str) -> Any:
        assert label == "label" and not (x * 1).requires_grad
        ctx.factor = factor
        ctx.needs = ctx.needs_input_grad
        ctx.save_for_backward(x, weight, None)
        index = (x > 0).long()
        rounded = x * 0
        ctx.mark_non_differentiable(rounded)
        return x * factor, x * weight, index, rounded

    @staticmethod
    def backward(ctx: Any, grad_a: Any, grad_b: Any, grad_index: Any, grad_rounded: Any) -> Any:
        x, weight, nothing = ctx.saved_tensors
        assert nothing is None and ctx.needs == (True, False, weight.requires_grad, False)
        dweight = grad_b * x if ctx.needs_input_grad[2] else None
        return grad_a * ctx.factor + grad_b * weight, None, dweight, None


def test_custom_function_and_its_second_derivative() -> None:
    x = leaf(2.0, -1.0)
    y = Cube.apply(x)
    assert y.grad_fn.name() == "CubeBackward" and values(y) == [8.0, -1.0]
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    assert values(g) == [12.0, 3.0] and values(h) == [12.0, -6.0]
    assert not Cube.apply(x.detach()).requires_grad
    with torch.no_grad():
        assert not Cube.apply(x).requires_grad


@pytest.mark.parametrize("frozen", [False, True])
def test_custom_function_with_other_arguments_and_several_outputs(frozen: bool) -> None:
    x = leaf(2.0, -1.0)
    weight = torch.tensor([5.0, 7.0], dtype=torch.float64, requires_grad=not frozen)
    a, b, index, rounded = ScaleAndSplit.apply(x, 3.0, weight, "label")
    assert index.tolist() == [1, 0] and not index.requires_grad and not rounded.requires_grad
    assert a.requires_grad and b.requires_grad and a.grad_fn is b.grad_fn
    (a * 2).sum().backward(retain_graph=True)  # b is unused: its gradient is zeros
    assert values(x.grad) == [6.0, 6.0]
    x.grad = None
    (a * 2 + b * rounded.exp()).sum().backward()
    assert values(x.grad) == [11.0, 13.0]
    assert weight.grad is None if frozen else True


def test_custom_function_that_returns_its_input_or_a_view() -> None:
    class Identity(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 10

    class Reshaped(Identity):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.reshape(2, 1)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad.reshape(2) * 10

    for operation in (Identity, Reshaped):
        x = leaf(1.0, 2.0)
        y = operation.apply(x)
        assert y is not x and x.is_leaf
        (y * 3).sum().backward()
        assert values(x.grad) == [30.0, 30.0]
        with pytest.raises(RuntimeError, match="a view of a leaf Tensor that requires grad"):
            y.mul_(2)
        assert values(x) == [1.0, 2.0]


def test_custom_function_with_wrong_gradients() -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x + y

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad

    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="WrongBackward returned 1 gradients for 2 inputs"):
        Wrong.apply(x, x).sum().backward()

    class Misshapen(Cube):
        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return torch.ones(3)

    with pytest.raises(RuntimeError, match=r"MisshapenBackward returned a gradient of shape \(3,\).*\(2,\)"):
        Misshapen.apply(x).sum().backward()


def function_of(forward: Any, backward: Any = None) -> Any:
    body = {"forward": staticmethod(forward)} | ({} if backward is None else {"backward": staticmethod(backward)})
    return type("Mine", (Function,), body)


@pytest.mark.parametrize(
    ("gradients", "message"),
    (
        (lambda g: 1.0, "Mine.*float.*expected a Tensor or None"),
        (lambda g: (1.0, None, None), "Mine.*float as gradient 0"),
        (lambda g: (g, None, "a"), "Mine.*str as gradient 2"),
        (lambda g: (g.numpy(), None, None), "Mine.*ndarray as gradient 0"),
        (lambda g: [g, None, g], "Mine.*list"),
        (lambda g: (g, g, None), "gradient for argument 1, which is not a Tensor"),
        (lambda g: (g, torch.zeros(5), None), "gradient for argument 1, which is not a Tensor"),
        (lambda g: (g, None), "returned 2 gradients for 3 inputs"),
        (lambda g: (g, None, g, g), "returned 4 gradients for 3 inputs"),
        (lambda g: None, "returned 1 gradients for 3 inputs"),
        (lambda g: (g.sum(), None, None), r"shape \(\) for an input of shape \(2,\)"),
    ),
)
def test_what_backward_must_not_return(gradients: Any, message: str) -> None:
    mine = function_of(lambda ctx, x, n, y: x * n + y, lambda ctx, g: gradients(g))
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=message):
        mine.apply(x, 5, torch.ones(2, dtype=torch.float64)).sum().backward()
    assert x.grad is None


def test_what_backward_may_return() -> None:
    for gradients in (
        lambda g: (g * 5, None, None),
        lambda g: (g * 5, None, g),
        lambda g: (g * 5, None, torch.zeros(7)),  # for a constant, which nobody looks at
        lambda g: (g * 5, None, None, None, None),
        lambda g: ((g * 5).float(), None, None),
        lambda g: (g.reshape(1, 2) * 5, None, None),
    ):
        mine = function_of(lambda ctx, x, n, y: x * n + y, lambda ctx, g, gradients=gradients: gradients(g))
        x = leaf(1.0, 2.0)
        (mine.apply(x, 5, torch.ones(2, dtype=torch.float64)) * x.detach()).sum().backward()
        assert values(x.grad) == [5.0, 10.0]
        assert x.grad is not None and x.grad.dtype == torch.float64


def test_functions_of_which_a_part_is_missing() -> None:
    half = function_of(lambda ctx, x: x * 2)
    assert values(half.apply(leaf(1.0).detach())) == [2.0]
    y = half.apply(leaf(1.0))
    with pytest.raises(NotImplementedError, match="Mine has no backward"):
        y.sum().backward()
    with pytest.raises(NotImplementedError, match="Other has no forward"):
        type("Other", (Function,), {}).apply(leaf(1.0))


def test_results_that_are_no_tensors_are_handed_through() -> None:
    seen: list[Any] = []

    def backward(ctx: Any, *grads: Any) -> Any:
        seen.extend(None if g is None else values(g) for g in grads)
        return grads[1] * 2 + grads[3] * 3

    mine = function_of(lambda ctx, x: ("text", x * 2, None, x * 3, 5), backward)
    x = leaf(1.0, 2.0)
    text, a, nothing, b, number = mine.apply(x)
    assert (text, nothing, number) == ("text", None, 5)
    (a + b * 10).sum().backward()
    assert seen == [None, [1.0, 1.0], None, [10.0, 10.0], None] and values(x.grad) == [32.0, 32.0]
    listed = function_of(lambda ctx, x: [x * 2], backward).apply(x)
    assert type(listed) is list and not listed[0].requires_grad


@pytest.mark.parametrize("at", ["argument", "result", "constant"])
@pytest.mark.parametrize(
    "saved",
    [lambda x: x, lambda x: x.reshape(-1), lambda x: x.view(2, 1), lambda x: x.view(2, 1).T, lambda x: x.detach()],
)
def test_custom_function_finds_changes_of_views_that_it_saved(saved: Any, at: str) -> None:
    constant = torch.tensor([3.0, 4.0], dtype=torch.float64)

    def forward(ctx: Any, x: Any) -> Any:
        y = x * constant
        ctx.save_for_backward(saved({"argument": x, "result": y, "constant": constant}[at]))
        return y

    mine = function_of(forward, lambda ctx, g: g * ctx.saved_tensors[0].reshape(-1))
    x = leaf(1.0, 2.0) * 1
    y = mine.apply(x)
    y.sum().backward(retain_graph=True)
    {"argument": x, "result": y, "constant": constant}[at].detach().add_(1)
    with pytest.raises(RuntimeError, match=r"MineBackward.*version 1, expected version 0"):
        y.sum().backward()


def test_custom_function_keeps_copies_whatever_happens_to_their_origin() -> None:
    mine = function_of(
        lambda ctx, x: ctx.save_for_backward(x.clone()) or x * x, lambda ctx, g: g * 2 * ctx.saved_tensors[0]
    )
    root = leaf(1.0, 2.0)
    x = root * 1
    y = mine.apply(x)
    x.mul_(100)
    y.sum().backward()
    assert values(root.grad) == [2.0, 4.0]


@pytest.mark.parametrize("other", [torch.ones(3, dtype=torch.float64), torch.ones(2), torch.ones(1, 2)])
def test_what_an_unpack_hook_returns_must_fit(other: Tensor) -> None:
    """PyTorch goes on, and fails later or not at all."""
    for use in (lambda x: x.exp(), nn.functional.gelu):
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: other):
            y = use(leaf(1.0, 2.0))
        with pytest.raises(RuntimeError, match=r"unpack hook of saved tensors returned .* for float64 \(2,\)"):
            y.sum().backward()


def test_fused_operations_pack_what_they_save() -> None:
    x, calls = leaf(1.0, 2.0), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: calls.append(x.tolist()) or x.clone(), lambda x: x):
        y = nn.functional.layer_norm(nn.functional.gelu(x), (2,))
    assert calls[0] == [1.0, 2.0] and len(calls) > 1
    w = leaf(1.0, 2.0)
    z = nn.functional.layer_norm(nn.functional.gelu(w), (2,))
    for create_graph in (False, True):
        seed = torch.tensor([1.0, 3.0], dtype=torch.float64)
        (g,) = torch.autograd.grad(y, x, seed, retain_graph=True, create_graph=create_graph)
        (h,) = torch.autograd.grad(z, w, seed, retain_graph=True, create_graph=create_graph)
        assert g.tolist() == h.tolist() and g.requires_grad == create_graph
    (second,), (expected,) = torch.autograd.grad((g * g).sum(), x), torch.autograd.grad((h * h).sum(), w)
    assert second.tolist() == expected.tolist()


def test_next_functions() -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    first, second = (x * w).split(1)
    y = torch.cat([second, leaf(1.0).detach(), x])
    assert y.grad_fn is not None and first.grad_fn is not None
    of_x = y.grad_fn.next_functions[2][0]
    assert y.grad_fn.next_functions == ((second.grad_fn, 1), (None, 0), (of_x, 0))
    nodes = first.grad_fn.next_functions[0][0].next_functions
    assert nodes[0] == (of_x, 0) and [node.variable is t for (node, _), t in zip(nodes, (x, w), strict=True)]
    assert of_x.next_functions == () and of_x.name() == "AccumulateGrad" and repr(of_x) == "<AccumulateGrad>"


def test_errors_of_numpy_become_pytorchs() -> None:
    class Raising(function.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, error: Exception) -> Any:
            raise error

    for error, expected in (
        (np.exceptions.AxisError(3, 2), IndexError),
        (ValueError("no such shape"), RuntimeError),
        (KeyError("as it is"), KeyError),
        (TypeError("as it is"), TypeError),
    ):
        with pytest.raises(Exception, match=r"no such shape|as it is|axis 3") as caught:
            Raising.apply(torch.ones(2, 3), error=error)
        assert type(caught.value) is expected
        assert expected not in (IndexError, RuntimeError) or "Raising: " in str(caught.value)
        assert expected not in (IndexError, RuntimeError) or "float32 (2, 3)" in str(caught.value)


def test_custom_function_finds_changes_of_what_it_saved() -> None:
    x = leaf(1.0, 2.0) * 1
    y = Cube.apply(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match=r"CubeBackward.*float64 \(2,\).*version 1, expected version 0"):
        y.sum().backward()


def test_the_gradient_of_what_is_no_leaf_warns() -> None:
    x = leaf(1.0)
    y, kept = x * 2, x * 3
    kept.retain_grad()
    (y + kept).sum().backward()
    with pytest.warns(UserWarning, match="retain_grad"):
        assert y.grad is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values(kept.grad) == [1.0] and values(x.grad) == [5.0] and x.detach().grad is None


def test_nodes_have_a_class() -> None:
    y = leaf(1.0) * 2
    assert isinstance(y.grad_fn, torch.autograd.graph.Node)
    assert isinstance(y.grad_fn.next_functions[0][0], torch.autograd.graph.Node)
