"""Functions of the user's own, with all that PyTorch's have: each scenario runs in both, with the same outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.autograd import gradcheck, gradgradcheck


def leaf(t: Any, *numbers: float) -> Any:
    return t.tensor(list(numbers), dtype=t.float64, requires_grad=True)


def scaled(t: Any) -> Any:
    """scale * x * y, with a setup_context."""

    class Scaled(t.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(x: Any, y: Any, scale: float = 2.0) -> Any:
            return scale * x * y

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, y, ctx.scale = inputs
            ctx.save_for_backward(x, y)
            ctx.shape = output.shape

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            assert g.shape == ctx.shape and ctx.needs_input_grad[2] is False
            return g * ctx.scale * y, g * ctx.scale * x, None

    return Scaled


def exp_(t: Any) -> Any:
    """exp in place, which saves its result."""

    class Exp(t.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.copy_(x.exp())
            ctx.mark_dirty(x)
            ctx.save_for_backward(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (y,) = ctx.saved_tensors
            return g * y

    return Exp


def two(t: Any, materialize: bool, seen: list[Any]) -> Any:
    """(2 x, 3 x), which notes what its backward gets."""

    class Two(t.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(materialize)
            return 2 * x, 3 * x

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            seen.append([None if a is None else a.tolist() for a in (g, h)])
            return sum(factor * a for factor, a in ((2, g), (3, h)) if a is not None)

    return Two


def once(t: Any) -> Any:
    class Once(t.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        @t.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            assert not t.is_grad_enabled()
            return g * t.from_numpy(3 * x.detach().numpy() ** 2)

    return Once


def dirty(t: Any, returned: Any = lambda x, y: x, marked: Any = lambda x, y: (x,)) -> Any:
    """Adds y to x in place."""

    class Dirty(t.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            x.add_(y)
            ctx.mark_dirty(*marked(x, y))
            return returned(x, y)

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            return 10 * g[0], 100 * g[0]

    return Dirty.apply


def setup_context(t: Any, materialize: bool = True) -> Any:
    x, y = leaf(t, 1, 2), leaf(t, 3, 4)
    z = scaled(t).apply(x, y)
    (gx, gy) = t.autograd.grad(z.sum(), (x, y), create_graph=True)
    (gyx,) = t.autograd.grad(gy.sum(), x)
    return z.tolist(), gx.tolist(), gy.tolist(), gyx.tolist(), z.grad_fn.name()


def by_name(t: Any) -> Any:
    x, y = leaf(t, 1, 2), leaf(t, 3, 4)
    z = scaled(t).apply(scale=5.0, y=y, x=x)
    z.sum().backward()
    return z.tolist(), x.grad.tolist(), y.grad.tolist(), scaled(t).apply(x.detach(), y.detach(), 0.5).tolist()


def in_place(t: Any) -> Any:
    x = leaf(t, 0.5, 1)
    a = x * 2
    version = a._version
    y = exp_(t).apply(a)
    (g,) = t.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = t.autograd.grad(g.sum(), x)
    return y is a, y.tolist(), g.tolist(), h.tolist(), a._version > version, a.grad_fn.name(), a.is_leaf


def in_place_of_a_view(t: Any) -> Any:
    x = leaf(t, 0.5, 1, 2)
    a = x * 1
    view = a[1:]
    result = exp_(t).apply(view)
    (g,) = t.autograd.grad(a.sum(), x, retain_graph=True)
    (h,) = t.autograd.grad((result * 3).sum(), x)
    return result is view, a.tolist(), g.tolist(), h.tolist()


def in_place_without_recording(t: Any) -> Any:
    x = leaf(t, 0.5, 1)
    with t.no_grad():
        same = exp_(t).apply(x) is x
    a = t.zeros(2, dtype=t.float64)
    return same, x.tolist(), x.is_leaf, exp_(t).apply(a) is a, a.tolist(), a.requires_grad


def in_place_of_what_needs_no_gradient(t: Any) -> Any:
    a, y = t.zeros(2, dtype=t.float64), leaf(t, 3, 4)
    result = dirty(t)(a, y)
    result.sum().backward()
    return result is a, a.requires_grad, a.tolist(), y.grad.tolist()


def in_place_beside_another_result(t: Any) -> Any:
    x, y = leaf(t, 1, 2), leaf(t, 3, 4)
    a = x * 1
    result, other = dirty(t, lambda x, y: (x, x * 2))(a, y)
    (result + 0 * other).sum().backward()
    return result is a, result.tolist(), other.tolist(), x.grad.tolist(), y.grad.tolist()


def what_was_saved_before(t: Any) -> Any:
    x, y = leaf(t, 1, 2), leaf(t, 3, 4)
    a = x * 1
    b = a * a
    dirty(t)(a, y)
    b.sum().backward()


def a_leaf(t: Any) -> Any:
    exp_(t).apply(leaf(t, 1))


def a_view_of_a_leaf(t: Any) -> Any:
    exp_(t).apply(leaf(t, 1, 2)[1:])


def not_returned(t: Any) -> Any:
    dirty(t, lambda x, y: x * 2)(leaf(t, 1) * 1, leaf(t, 1))


def gradients_of(t: Any, materialize: bool) -> Any:
    seen: list[Any] = []
    x = leaf(t, 1, 2)
    a, b = two(t, materialize, seen).apply(x)
    a.sum().backward(retain_graph=True)
    b.sum().backward(retain_graph=True)
    (a + b).sum().backward()
    return seen, x.grad.tolist()


def once_forward(t: Any) -> Any:
    x = leaf(t, 1, 2)
    (g,) = t.autograd.grad(once(t).apply(x).sum(), x)
    return g.tolist(), g.requires_grad


def once_twice(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = once(t).apply(x)
    (g,) = t.autograd.grad((y * y).sum(), x, create_graph=True)
    g.sum().backward()


def once_twice_of_a_constant(t: Any) -> Any:
    x = leaf(t, 1, 2)
    (g,) = t.autograd.grad(once(t).apply(x).sum(), x, create_graph=True)
    return g.tolist(), g.requires_grad


def by_name_without_setup_context(t: Any) -> Any:
    x = leaf(t, 1)
    y = exp_(t).apply(x=x * 1)
    y.sum().backward()
    return y.tolist(), x.grad.tolist()


def unknown_keyword(t: Any) -> Any:
    scaled(t).apply(leaf(t, 1), leaf(t, 1), factor=3)


SCENARIOS = {
    call.__name__: call
    for call in (setup_context, by_name, in_place, in_place_of_a_view, in_place_without_recording,
                 in_place_of_what_needs_no_gradient, in_place_beside_another_result, once_forward,
                 once_twice_of_a_constant, by_name_without_setup_context)
} | {f"materialize {value}": (lambda t, value=value: gradients_of(t, value)) for value in (True, False)}  # fmt: skip
REFUSED = {
    call.__name__: call
    for call in (what_was_saved_before, a_leaf, a_view_of_a_leaf, not_returned, once_twice, unknown_keyword)
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", SCENARIOS)
def test_as_in_pytorch(name: str) -> None:
    import torch

    ours, theirs = SCENARIOS[name](tinytorch), SCENARIOS[name](torch)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, list) and a and isinstance(a[0], float):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        else:
            assert a == b


@pytest.mark.oracle
@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_in_pytorch(name: str) -> None:
    import torch

    caught = []
    for t in (tinytorch, torch):
        with pytest.raises((RuntimeError, TypeError)) as error:
            REFUSED[name](t)
        caught.append(error.value)
    assert type(caught[0]) is type(caught[1]), caught
    assert set(str(caught[0]).lower().split()) & set(str(caught[1]).lower().split())


def test_values() -> None:
    """The same, by numbers, where PyTorch is not installed."""
    assert setup_context(tinytorch)[:4] == ([6.0, 16.0], [6.0, 8.0], [2.0, 4.0], [2.0, 2.0])
    assert by_name(tinytorch) == ([15.0, 40.0], [15.0, 20.0], [5.0, 10.0], [1.5, 4.0])
    e, e2 = np.exp(1), np.exp(2)
    same, y, g, h, bumped, name, is_leaf = in_place(tinytorch)
    assert same and bumped and name == "ExpBackward" and not is_leaf
    np.testing.assert_allclose([y, g, h], [[e, e2], [2 * e, 2 * e2], [4 * e, 4 * e2]])
    same, a, g, h = in_place_of_a_view(tinytorch)
    assert same and (g[0], h[0]) == (1, 0)
    np.testing.assert_allclose([a[1:], g[1:], h[1:]], [[e, e2], [e, e2], [3 * e, 3 * e2]])
    assert gradients_of(tinytorch, True)[0][0] == [[1.0, 1.0], [0.0, 0.0]]
    assert gradients_of(tinytorch, False)[0] == [[[1.0, 1.0], None], [None, [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]


@pytest.mark.parametrize(("call", "message"), [
    (a_leaf, "a leaf Tensor that requires grad is being used in an in-place operation"),
    (not_returned, "were not returned as output"),
    (once_twice, "differentiate twice a function that was marked with @once_differentiable"),
    (what_was_saved_before, "modified"),
    (lambda t: dirty(t, marked=lambda x, y: (x * 1,))(leaf(t, 1) * 1, leaf(t, 1)), "mark_dirty is for arguments"),
])  # fmt: skip
def test_what_is_wrong_is_named(call: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        call(tinytorch)


def test_saving_what_is_no_tensor_is_refused() -> None:
    class Saves(tinytorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x, 3)
            return x * 3

    with pytest.raises(TypeError, match="can only save Tensors, but argument 1 is int"):
        Saves.apply(leaf(tinytorch, 1))


def test_nothing_is_saved_before_forward_is_over() -> None:
    seen = []

    class Looks(tinytorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x, None)
            seen.append(ctx.saved_tensors)
            return x * 3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            seen.append([None if t is None else t.tolist() for t in ctx.saved_tensors])
            return 3 * g

    Looks.apply(leaf(tinytorch, 1)).backward()
    assert seen == [(), [[1.0], None]]


def test_arguments_by_name_alone_are_refused() -> None:
    class Named(tinytorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, *, scale: float) -> Any:
            return x * scale

    with pytest.raises(TypeError, match=r"Named\.apply\(\) takes no arguments by name alone, got scale"):
        Named.apply(leaf(tinytorch, 1), scale=2)


def test_they_pass_gradcheck() -> None:
    t = tinytorch
    x, y = leaf(t, 1, 2), leaf(t, 3, 4)
    assert gradcheck(scaled(t).apply, (x, y)) and gradgradcheck(scaled(t).apply, (x, y, 3.0))
    assert gradcheck(lambda x: exp_(t).apply(x * 1), x) and gradgradcheck(lambda x: exp_(t).apply(x * 1), x)
    assert gradcheck(once(t).apply, x)
    for materialize in (True, False):
        assert gradcheck(two(t, materialize, []).apply, x)
