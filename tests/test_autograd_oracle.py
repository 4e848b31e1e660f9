"""The engine does what PyTorch does: programs of a few lines run under both, and give the same or are refused alike.

A program is a function of the module, `t`, and returns anything made of Tensors, numbers and None.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch

pytestmark = pytest.mark.oracle

PROGRAMS: dict[str, Callable[[Any], Any]] = {}


def program(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Both do the same."""
    assert run.__name__ not in PROGRAMS, run.__name__
    PROGRAMS[run.__name__] = run
    return run


def leaf(t: Any, *values: float) -> Any:
    return t.tensor(values, dtype=t.float64, requires_grad=True)


def plain(t: Any, *values: float) -> Any:
    return t.tensor(values, dtype=t.float64)


def seed(t: Any) -> Any:
    return plain(t, 3.0, 5.0)


# ---------------------------------------------------------------------- retain_grad


@program
def retained_and_wanted(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward(inputs=[y])
    return y.grad, x.grad, y.retains_grad


@program
def wanted_results_retain_from_then_on(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    z = (y * y).sum()
    z.backward(inputs=[y], retain_graph=True)
    z.backward()
    return y.grad, y.retains_grad, x.grad


@program
def wanted_results_and_leaves(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * w
    (y * y * w).sum().backward(inputs=[y, x])
    return x.grad, w.grad, y.grad


@program
def wanted_twice(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    (y * y).sum().backward(inputs=[y, x, y, x])
    return y.grad, x.grad


@program
def wanted_root(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.register_hook(lambda g: g * 2)
    y.backward(seed(t), inputs=[y], retain_graph=True)
    first = y.grad.clone()
    y.backward(seed(t), inputs=[x])
    return first, y.grad, x.grad


@program
def wanted_leaf_is_the_root(t: Any) -> Any:
    x = leaf(t, 1, 2)
    x.backward(seed(t), inputs=[x])
    return x.grad


@program
def wanted_node_is_freed(t: Any) -> Any:
    y = leaf(t, 1, 2).exp()
    y.sum().backward(inputs=[y])
    y.sum().backward()


@program
def wanted_and_unreached(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = w * 2
    (x * 3).sum().backward(inputs=[w, y])
    return x.grad, w.grad, y.grad


@program
def wanted_leaf_that_other_wanted_ones_lead_to(t: Any) -> Any:
    x = leaf(t, 1, 2)
    a = x * 2
    b = a.exp()
    (b * a).backward(seed(t), inputs=[a, b])
    return a.grad, b.grad, x.grad


@program
def retained_after_all_hooks(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.register_hook(lambda g: g * 2)
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    y.sum().backward()
    return y.grad, x.grad


@program
def retained_twice(t: Any) -> Any:
    y = leaf(t, 1, 2) * 3
    y.retain_grad()
    y.retain_grad()
    (y * y).sum().backward()
    return y.grad


@program
def retained_gradients_add_up_in_a_new_tensor(t: Any) -> Any:
    y = leaf(t, 1, 2) * 3
    y.retain_grad()
    y.sum().backward(retain_graph=True)
    first = y.grad
    y.sum().backward()
    return first, y.grad, first is y.grad


@program
def retained_with_create_graph(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.retain_grad()
    (y * y * y).sum().backward(create_graph=True)
    (second,) = t.autograd.grad(y.grad.sum(), x)
    return y.grad, second


@program
def retained_of_several_outputs(t: Any) -> Any:
    x = leaf(t, 1, 2, 3)
    a, b = x.split([1, 2])
    b.retain_grad()
    a.retain_grad()
    (a * 2 + (b * b).sum()).sum().backward()
    return a.grad, b.grad, x.grad


@program
def retained_by_grad_too(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.retain_grad()
    found = t.autograd.grad((y * y).sum(), [x])
    return found, y.grad, x.grad


@program
def retained_follows_in_place(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.retain_grad()
    y.mul_(2)
    old = y * y
    y.add_(1)
    (old + y * 5).backward(seed(t)) if False else (y * 5).backward(seed(t))
    return y.grad, x.grad, y.retains_grad


@program
def retained_then_detached_in_place(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    z = (y + 1).sum()
    y.retain_grad()
    y.detach_()
    z.backward()
    return x.grad, y.grad, y.retains_grad


@program
def retained_then_detached_then_a_leaf(t: Any) -> Any:
    y = leaf(t, 1, 2) * 3
    y.retain_grad()
    y.detach_()
    y.requires_grad_()
    (y * y).sum().backward()
    return y.grad, y.retains_grad


@program
def retain_grad_of_a_leaf(t: Any) -> Any:
    x = leaf(t, 1, 2)
    x.retain_grad()
    (x * 2).sum().backward()
    return x.grad, x.retains_grad


@program
def retain_grad_of_a_constant(t: Any) -> Any:
    plain(t, 1).retain_grad()


# ---------------------------------------------------------------------- what grad captures


@program
def captured_after_the_hooks_where_the_walk_ends(t: Any) -> Any:
    a = leaf(t, 1, 2)
    y = a * 3
    y.register_hook(lambda g: g * 2)
    z = y.sum()
    found = [t.autograd.grad(z, inputs, retain_graph=True) for inputs in (y, [y, a], [a, y], [a])]
    y.retain_grad()
    found.append(t.autograd.grad(z, y, retain_graph=True))
    found.append(y.grad.clone())
    found.append(t.autograd.grad(z, [y, a], retain_graph=True))
    return found, y.grad


@program
def captured_at_a_leaf_with_a_hook(t: Any) -> Any:
    a = leaf(t, 1, 2)
    a.register_hook(lambda g: g * 2)
    z = (a * 3).sum()
    found = t.autograd.grad(z, a, retain_graph=True)
    z.backward(inputs=[a])
    return found, a.grad


@program
def captured_between_two_captures(t: Any) -> Any:
    a = leaf(t, 1, 2)
    b = a * 3
    c = b * b
    for v, factor in ((a, 2), (b, 3), (c, 5)):
        v.register_hook(lambda g, factor=factor: g * factor)
    z = c.sum()
    return [
        t.autograd.grad(z, inputs, retain_graph=True)
        for inputs in ([a], [b], [c], [a, b], [b, c], [a, c], [a, b, c], [c, b, a])
    ]


@program
def captured_of_several_outputs(t: Any) -> Any:
    x = leaf(t, 1, 2, 3)
    a, b = x.split([1, 2])
    a.register_hook(lambda g: g * 10)
    b.register_hook(lambda g: g * 100)
    z = a.sum() + (b * b).sum()
    return [t.autograd.grad(z, inputs, retain_graph=True) for inputs in ([a], [b], [a, b], [a, b, x])]


@program
def captured_with_respect_to_itself(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.register_hook(lambda g: g * 2)
    return t.autograd.grad(y, [y], seed(t), retain_graph=True), t.autograd.grad(y, [y, x], seed(t)), t.autograd.grad(
        x, x, seed(t)
    )


@program
def captured_is_what_was_given(t: Any) -> Any:
    x, g = leaf(t, 1, 2), seed(t)
    y = x * 3
    return t.autograd.grad(y, y, g)[0] is g, t.autograd.grad(x, x, g)[0] is g


@program
def captures_share_what_backward_shares(t: Any) -> Any:
    a, b = leaf(t, 1, 2), leaf(t, 3, 4)
    first, second = t.autograd.grad(a + b, [a, b], seed(t))
    return first is second


@program
def unused(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * 2
    return t.autograd.grad(y.sum(), [x, w, w * 1], allow_unused=True)


@program
def unused_refused(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    return t.autograd.grad((x * 2).sum(), [x, w], allow_unused=False)


@program
def unused_refused_by_default(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    return t.autograd.grad((x * 2).sum(), [x, w])


@program
def nothing_unused_and_allow_unused_false(t: Any) -> Any:
    x = leaf(t, 1, 2)
    return t.autograd.grad((x * 2).sum(), [x], allow_unused=False)


@program
def materialized(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    return t.autograd.grad((x * 2).sum(), [x, w], materialize_grads=True)


@program
def materialized_and_allow_unused_false(t: Any) -> Any:
    x = leaf(t, 1, 2)
    return t.autograd.grad((x * 2).sum(), [x], materialize_grads=True, allow_unused=False)


@program
def no_outputs_need(t: Any) -> Any:
    return t.autograd.grad(plain(t, 1).sum(), leaf(t, 1))


@program
def grad_of_what_needs_none(t: Any) -> Any:
    return t.autograd.grad(leaf(t, 1).sum(), plain(t, 1))


# ---------------------------------------------------------------------- hooks


def log(into: list[Any], name: str) -> Callable[[Any], None]:
    return lambda g: into.append((name, g.tolist()))


@program
def hooks_in_order_and_removed(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    y.register_hook(log(calls, "first"))
    handle = y.register_hook(lambda g: g * 2)
    y.register_hook(log(calls, "last"))
    z = (y * y).sum()
    z.backward(retain_graph=True)
    handle.remove()
    handle.remove()
    z.backward()
    return calls, x.grad


@program
def a_hook_removes_itself(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    handles = []

    def hook(g: Any) -> Any:
        calls.append(g.tolist())
        handles[0].remove()
        return g * 2

    handles.append(x.register_hook(hook))
    x.register_hook(log(calls, "next"))
    z = (x * 3).sum()
    z.backward(retain_graph=True)
    z.backward()
    return calls, x.grad


@program
def a_hook_removes_the_next(t: Any) -> Any:
    """What a hook removes still runs in this walk."""
    x, calls = leaf(t, 1, 2), []
    handles = []
    x.register_hook(lambda g: handles[0].remove())
    handles.append(x.register_hook(lambda g: calls.append("removed") or g * 7))
    z = (x * 3).sum()
    z.backward(retain_graph=True)
    z.backward()
    return calls, x.grad


@program
def a_hook_removes_another_tensors(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    handle = x.register_hook(lambda g: g * 7)
    y.register_hook(lambda g: handle.remove())
    y.sum().backward()
    return calls, x.grad


@program
def a_hook_registers_another(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3

    def hook(g: Any) -> None:
        y.register_hook(log(calls, "of y"))
        x.register_hook(log(calls, "of x"))

    handle = y.register_hook(hook)
    z = (y * y).sum()
    z.backward(retain_graph=True)
    handle.remove()
    z.backward()
    return calls, x.grad


@program
def a_hook_retains(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    w = y * 2
    w.register_hook(lambda g: y.retain_grad())
    w.sum().backward()
    return y.grad, x.grad


@program
def a_hook_that_raises(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * w

    def fail(g: Any) -> None:
        raise KeyError("hook")

    handle = y.register_hook(fail)
    z = (y * y).sum()
    with pytest.raises(KeyError, match="hook"):
        z.backward(retain_graph=True)
    before = x.grad, w.grad, y.grad, t.is_grad_enabled()
    handle.remove()
    z.backward()
    return before, x.grad, w.grad


@program
def a_hook_of_a_retained_one_raises(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.retain_grad()

    def fail(g: Any) -> None:
        raise ZeroDivisionError

    handle = y.register_hook(fail)
    with pytest.raises(ZeroDivisionError):
        y.sum().backward(retain_graph=True)
    handle.remove()
    return y.grad, x.grad


@program
def a_backward_that_raises(t: Any) -> Any:
    class Bad(t.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            raise KeyError("backward")

    x = leaf(t, 1, 2)
    y = x.exp()
    z = Bad.apply(y).sum()
    with pytest.raises(KeyError, match="backward"):
        z.backward(create_graph=True)
    return x.grad, t.is_grad_enabled(), t.autograd.grad(y.sum(), x)


@program
def a_hook_that_calls_backward(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * 3

    def hook(g: Any) -> Any:
        assert not t.is_grad_enabled()
        with t.enable_grad():
            (w * w).sum().backward()
        assert not t.is_grad_enabled()
        return g * 2

    y.register_hook(hook)
    (y * y).sum().backward()
    return x.grad, w.grad


@program
def a_hook_that_walks_the_same_graph(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    z = (y * y).sum()
    depth = [0]

    def hook(g: Any) -> Any:
        depth[0] += 1
        if depth[0] == 1:
            z.backward(retain_graph=True)
        return g * 10

    y.register_hook(hook)
    z.backward(retain_graph=True)
    return x.grad, depth


@program
def a_hook_that_frees_the_graph(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x.exp()
    z = (y * y).sum()
    z.register_hook(lambda g: t.autograd.grad(y, x, seed(t)) and None)
    z.backward()


@program
def a_hook_that_takes_second_derivatives(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * x * x
    found = []

    def hook(g: Any) -> None:
        found.append(t.autograd.grad((g * x).sum(), x, retain_graph=True))

    y.register_hook(hook)
    (y * y).sum().backward(create_graph=True)
    return found, x.grad


@program
def hooks_see_create_graph(t: Any) -> Any:
    x, seen = leaf(t, 1, 2), []
    y = x * x
    y.register_hook(lambda g: seen.append((g.requires_grad, t.is_grad_enabled())))
    x.register_hook(lambda g: seen.append((g.requires_grad, t.is_grad_enabled())))
    z = (y * y).sum()
    z.backward(retain_graph=True)
    z.backward(create_graph=True)
    return seen, x.grad


@program
def hooks_replace_by_what_has_a_history(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * x
    y.register_hook(lambda g: g * w)
    (gx,) = t.autograd.grad(y.sum(), x, create_graph=True)
    return gx, t.autograd.grad(gx.sum(), [x, w])


@program
def hooks_replace_by_what_needs_a_gradient_without_create_graph(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    x.register_hook(lambda g: g * w)
    (x * x).sum().backward()
    return x.grad, x.grad.requires_grad


@program
def hooks_of_a_leaf_returning_a_leaf(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    x.register_hook(lambda g: w)
    (x * x).sum().backward()
    x.grad.detach().add_(1)
    return x.grad, w


@program
def hooks_that_write_into_the_gradient(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    y.register_hook(lambda g: g.mul_(2) and None if False else g.mul_(2))
    y.backward(seed(t))
    return x.grad


@program
def a_hook_that_keeps_the_gradient(t: Any) -> Any:
    x, kept = leaf(t, 1, 2), []
    x.register_hook(lambda g: kept.append(g))
    (x * 3).backward(seed(t), retain_graph=True)
    x.grad.mul_(100)
    (x * x).backward(seed(t))
    return kept, x.grad


@program
def hooks_of_unused_outputs(t: Any) -> Any:
    x, calls = leaf(t, 1, 2, 3), []
    a, b = x.split([1, 2])
    b.register_hook(log(calls, "b"))
    (a * 2).sum().backward()
    return calls, x.grad


@program
def hooks_stay_with_the_old_value(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 2
    y.register_hook(log(calls, "old"))
    y.mul_(3)
    y.register_hook(log(calls, "new"))
    (y * seed(t)).sum().backward()
    return calls, x.grad


@program
def hooks_of_a_constant(t: Any) -> Any:
    plain(t, 1).register_hook(print)


@program
def hooks_and_requires_grad_off(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    x.register_hook(log(calls, "x"))
    y = (x * 3).sum()
    x.requires_grad_(False)
    y.backward()
    return calls, x.grad


def _hook_returning(value: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        x = leaf(t, 1, 2)
        x.register_hook(lambda g: value(t, g))
        (x * 3).sum().backward()
        return x.grad

    return run


for name, value in {
    "float32": lambda t, g: g.float(),
    "integers": lambda t, g: g.long(),
    "bool": lambda t, g: g > 0,
    "other_shape": lambda t, g: g.reshape(1, 2),
    "broadcastable": lambda t, g: g.sum(),
    "number": lambda t, g: 3.0,
    "array": lambda t, g: g.numpy(),
    "tuple": lambda t, g: (g,),
    "expanded": lambda t, g: t.ones(1, dtype=t.float64).expand(2),
    "strided": lambda t, g: t.ones(4, dtype=t.float64)[::2],
    "itself": lambda t, g: g,
}.items():
    PROGRAMS[f"a_hook_that_returns_{name}"] = _hook_returning(value)


# ---------------------------------------------------------------------- gradients given


def _given(gradient: Callable[[Any], Any], create_graph: bool = False) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        x = leaf(t, 1, 2)
        y = x * x
        y.retain_grad()
        g = gradient(t)
        y.backward(g, retain_graph=True, create_graph=create_graph)
        y.backward(g, create_graph=create_graph)
        return x.grad, y.grad, g

    return run


for name, gradient in {
    "expanded": lambda t: plain(t, 3).expand(2),
    "strided": lambda t: plain(t, 3, 0, 5, 0)[::2],
    "float32": lambda t: t.ones(2),
    "float16": lambda t: t.ones(2, dtype=t.float16),
    "integers": lambda t: t.tensor([3, 5]),
    "bool": lambda t: t.tensor([True, False]),
    "0-d": lambda t: t.tensor(1.0),
    "one_element": lambda t: t.ones(1),
    "one_row": lambda t: t.ones(1, 2),
    "empty": lambda t: t.ones(0),
    "none": lambda t: None,
    "leaf": lambda t: leaf(t, 3, 5),
    "result": lambda t: leaf(t, 3, 5) * 1,
}.items():
    PROGRAMS[f"given_{name}"] = _given(gradient)
    PROGRAMS[f"given_{name}_with_create_graph"] = _given(gradient, create_graph=True)


@program
def given_for_one_element(t: Any) -> Any:
    x = leaf(t, 2)
    (x * 3).backward()
    (x.sum() * 3).backward()
    return x.grad


@program
def given_one_for_zero_dimensions(t: Any) -> Any:
    leaf(t, 2).sum().backward(t.ones(1, dtype=t.float64))


@program
def given_one_tensor_for_two_outputs(t: Any) -> Any:
    x, w, g = leaf(t, 1, 2), leaf(t, 3, 4), seed(t)
    t.autograd.backward([x + w, x * w, w], [g, g, g])
    return x.grad, w.grad, g


@program
def given_the_same_output_twice(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * x
    t.autograd.backward([y, y, x], [seed(t), plain(t, 7, 11), seed(t)])
    return x.grad


@program
def given_too_few(t: Any) -> Any:
    x = leaf(t, 1, 2)
    t.autograd.backward([x * 1, x * 2], [seed(t)])


@program
def given_none_among_several(t: Any) -> Any:
    x = leaf(t, 1, 2)
    t.autograd.backward([x * 1, (x * 2).sum()], [seed(t), None])
    return x.grad


@program
def given_gradient_is_the_input(t: Any) -> Any:
    x = leaf(t, 1, 2)
    (x * x).backward(x)
    return x.grad


@program
def given_gradient_is_the_gradient(t: Any) -> Any:
    x = leaf(t, 1, 2)
    (x * x).backward(seed(t))
    (x + 1).backward(x.grad)
    return x.grad


@program
def given_gradient_shares_memory_with_the_leaf(t: Any) -> Any:
    x = leaf(t, 1, 2)
    (x + 1).backward(x.detach())
    x.grad.add_(100)
    return x, x.grad


# ---------------------------------------------------------------------- graphs


def _again(first: dict[str, Any], second: dict[str, Any], use: str) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        x = leaf(t, 1, 2)
        z = (x.exp() * x).sum()
        found = []
        for options in (first, second):
            if use == "grad":
                found.append(t.autograd.grad(z, x, **options))
            else:
                z.backward(**options)
                found.append(x.grad.clone())
        return found, found[-1][0].requires_grad

    return run


_OPTIONS: list[dict[str, Any]] = [
    {"retain_graph": r, "create_graph": c} for r in (None, False, True) for c in (False, True)
]
for first in _OPTIONS:
    for second in _OPTIONS[:3]:
        for use in ("grad", "backward"):
            PROGRAMS[f"{use} {first} {second}"] = _again(first, second, use)


@program
def freed_in_part(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    shared = x.exp()
    a, b = (shared * w).sum(), (shared + w).sum()
    a.backward()
    b.backward()


@program
def freed_in_a_part_that_is_not_needed(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    z = (x.exp() + w.exp()).sum()
    first = t.autograd.grad(z, x)
    return first, t.autograd.grad(z, w)


@program
def freed_additions_can_be_walked_again(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    return x.grad


@program
def gradients_with_and_without_history(t: Any) -> Any:
    x = leaf(t, 1, 2)
    (x * x * x).sum().backward(create_graph=True)
    first = x.grad
    (x * x).sum().backward()
    return first is x.grad, x.grad


@program
def a_gradient_gets_a_history(t: Any) -> Any:
    x = leaf(t, 1, 2)
    (x * x).sum().backward()
    first = x.grad
    (x * x * x).sum().backward(create_graph=True)
    return first, first is x.grad, t.autograd.grad(x.grad.sum(), x)


@program
def the_gradient_stays_the_same_tensor(t: Any) -> Any:
    x = leaf(t, 1, 2)
    (x * x).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    return first is x.grad, first


@program
def a_gradient_of_the_users(t: Any) -> Any:
    x, mine = leaf(t, 1, 2), plain(t, 10, 20)
    x.grad = mine
    (x * x).sum().backward()
    return mine, x.grad is mine


@program
def leaf_turned_off_and_on(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = (x * x).sum()
    x.requires_grad_(False)
    z = x * 2
    x.requires_grad_(True)
    y.backward()
    return x.grad, z.requires_grad


@program
def leaf_moved_into_the_graph(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * 2
    x.requires_grad_(False)
    x.mul_(w)
    y.sum().backward()
    return x.grad


@program
def leaf_moved_into_the_graph_and_not_reached(t: Any) -> Any:
    x, v = leaf(t, 1, 2), leaf(t, 5, 6)
    y = x * v
    x.requires_grad_(False)
    x = x + 0
    return t.autograd.grad(y.sum(), v)


@program
def detached_in_place(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 2
    z = (y + y).sum()
    y.detach_()
    z.backward()
    return x.grad, y.requires_grad, y.is_leaf


@program
def a_leaf_detached_in_place(t: Any) -> Any:
    x = leaf(t, 1, 2)
    z = (x * x).sum()
    x.detach_()
    z.backward()
    return x.grad, x.requires_grad


@program
def a_detached_tensor_gets_another_history(t: Any) -> Any:
    w, y = leaf(t, 1, 2), plain(t, 0, 0)
    y.add_(w)
    y.detach_()
    y.add_(w * 2)
    y.sum().backward()
    return w.grad


# ---------------------------------------------------------------------- saved tensors that change


def _changed(use: Callable[[Any, Any], Any], change: Callable[[Any, Any], Any], create_graph: bool) -> Any:
    def run(t: Any) -> Any:
        x = leaf(t, 1, 2)
        y = x * 1
        z = use(t, y)
        change(t, y)
        (g,) = t.autograd.grad(z.sum(), x, create_graph=create_graph)
        return g

    return run


for use_name, use in {
    "add": lambda t, y: y + 1,
    "mul": lambda t, y: y * y,
    "exp": lambda t, y: y.exp(),
    "view_saved": lambda t, y: y.view(2, 1) * y,
    "row_saved": lambda t, y: y[0] * y[1],
    "transposed": lambda t, y: y.reshape(1, 2) @ y.reshape(2, 1),
}.items():
    for change_name, change in {
        "add_": lambda t, y: y.add_(1),
        "add_ of 0": lambda t, y: y.add_(0),
        "no_grad": lambda t, y: _under(t.no_grad(), lambda: y.mul_(2)),
        "setitem": lambda t, y: y.__setitem__(0, 5.0),
        "data": lambda t, y: y.data.mul_(2),
        "data view": lambda t, y: y.data[:1].mul_(2),
        "detach": lambda t, y: y.detach().mul_(2),
        "detach view": lambda t, y: y.detach()[1:].mul_(2),
        "no_grad view": lambda t, y: _under(t.no_grad(), lambda: y[1:].mul_(2)),
        "zero_": lambda t, y: y.zero_(),
    }.items():
        for create_graph in (False, True):
            PROGRAMS[f"{use_name} then {change_name}, {create_graph=}"] = _changed(use, change, create_graph)


def _under(context: Any, run: Callable[[], Any]) -> Any:
    with context:
        return run()


@program
def a_saved_output_of_data(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x.exp()
    y.data.mul_(2)
    return t.autograd.grad(y.sum(), x)


# ---------------------------------------------------------------------- data


@program
def data_has_a_version_of_its_own(t: Any) -> Any:
    x = leaf(t, 1, 2)
    a, b = x.data, x.data
    a.mul_(2)
    view = a[1:]
    view.mul_(2)
    return x, x._version, a._version, b._version, view._version, a.requires_grad


@program
def data_of_what_was_changed(t: Any) -> Any:
    x = plain(t, 1, 2)
    x.add_(1)
    return x._version, x.data._version, x.detach()._version


@program
def data_clamped_between_forward_and_backward(t: Any) -> Any:
    w = leaf(t, 1)
    y = (w * w).sum()
    w.data.clamp_(max=0.5)
    y.backward()
    return w.grad


@program
def data_changed_by_an_operator(t: Any) -> Any:
    w = leaf(t, 1, 2)
    y = (w * w).sum()
    w.data -= 0.5
    y.backward()
    return w, w.grad, w._version


@program
def data_replaced(t: Any) -> Any:
    w = leaf(t, 1, 2)
    y = (w * w * w).sum()
    w.data = plain(t, 5, 6)
    return w, w.requires_grad, w._version, t.autograd.grad(y, w)


@program
def data_replaced_and_second_derivatives(t: Any) -> Any:
    w = leaf(t, 1, 2)
    y = (w * w * w).sum()
    w.data = plain(t, 5, 6)
    (g,) = t.autograd.grad(y, w, create_graph=True)
    return g, t.autograd.grad(g.sum(), w)


@program
def data_replaced_by_another_shape(t: Any) -> Any:
    w = leaf(t, 1, 2)
    y = (w * w).sum()
    w.data = plain(t, 5, 6, 7)
    y.backward()


@program
def data_replaced_after_an_in_place_change(t: Any) -> Any:
    w = leaf(t, 1, 2)
    y = (w * w).sum()
    with t.no_grad():
        w.add_(1)
    w.data = plain(t, 5, 6)
    y.backward()


@program
def data_replaced_then_changed(t: Any) -> Any:
    w = leaf(t, 1, 2)
    y = (w * w).sum()
    w.data = plain(t, 5, 6)
    with t.no_grad():
        w.add_(1)
    y.backward()


@program
def data_that_is_replaced_shares_memory_but_no_version(t: Any) -> Any:
    w, source = leaf(t, 1, 2), plain(t, 0, 0)
    source.add_(1)
    w.data = source
    source.add_(1)
    return w, w._version, source._version


@program
def data_between_steps(t: Any) -> Any:
    w = leaf(t, 1, 2)
    for _ in range(3):
        (w * w).sum().backward()
        w.data = w.data - 0.1 * w.grad
        w.grad = None
    return w, w.requires_grad, w.is_leaf


def _assigned(dtype: str, requires_grad: bool, value: Any = None) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        w = t.tensor([1.0, 2.0], dtype=t.float64, requires_grad=requires_grad)
        w.data = t.tensor([3, 4]).to(getattr(t, dtype)) if value is None else value
        return w, w.requires_grad, str(w.dtype).removeprefix("torch.")

    return run


for dtype in ("int64", "int32", "uint8", "bool", "float32", "float16", "bfloat16", "float64"):
    for requires_grad in (False, True):
        PROGRAMS[f"data of {dtype}, {requires_grad=}"] = _assigned(dtype, requires_grad)
PROGRAMS["data of a list"] = _assigned("", True, [3.0, 4.0])
PROGRAMS["data of a number"] = _assigned("", False, 3.0)
PROGRAMS["data of an array"] = _assigned("", False, np.ones(2))


@program
def data_of_a_result(t: Any) -> Any:
    y = leaf(t, 1, 2) * 3
    y.data = t.tensor([1, 2])


# ---------------------------------------------------------------------- views under no_grad, and of leaves


def _ungraded_view(t: Any, base: Any) -> Any:
    with t.no_grad():
        return base[:1]


_WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "mul_": lambda t, v: v.mul_(2),
    "zero_": lambda t, v: v.zero_(),
    "fill_": lambda t, v: v.fill_(3.0),
    "copy_": lambda t, v: v.copy_(plain(t, 7)),
    "setitem": lambda t, v: v.__setitem__(0, 7.0),
    "setitem all": lambda t, v: v.__setitem__(..., 7.0),
    "iadd": lambda t, v: v.__iadd__(1),
    "masked_fill_": lambda t, v: v.masked_fill_(v > 0, 7.0),
    "normal_": lambda t, v: v.normal_(),
    "write of a leaf": lambda t, v: v.copy_(leaf(t, 7)),
    "setitem of a leaf": lambda t, v: v.__setitem__(0, leaf(t, 7)[0]),
}
_BASES: dict[str, Callable[[Any], Any]] = {
    "leaf": lambda t: leaf(t, 1, 2),
    "result": lambda t: leaf(t, 1, 2) * 1,
    "constant": lambda t: plain(t, 1, 2),
}


def _written_view(write: Callable[[Any, Any], Any], base: Callable[[Any], Any], view: Callable[[Any, Any], Any]) -> Any:
    def run(t: Any) -> Any:
        b = base(t)
        v = view(t, b)
        write(t, v)
        return b, b.requires_grad

    return run


def _leaf_after_its_view(t: Any, base: Any) -> Any:
    v = base[:1]
    if base.is_leaf:
        base.requires_grad_()
    return v


_VIEWS: dict[str, Callable[[Any, Any], Any]] = {
    "view under no_grad": _ungraded_view,
    "view of a view under no_grad": lambda t, b: _ungraded_view(t, b).view(1),
    "view under no_grad of a view": lambda t, b: _ungraded_view(t, b.view(2)),
    "view before its base was a leaf": _leaf_after_its_view,
    "view": lambda t, b: b[:1],
    "split": lambda t, b: b.split(1)[0],
    "unbind": lambda t, b: b.view(1, 2).unbind(0)[0][:1],
    "detached view": lambda t, b: b.detach()[:1],
    "view detached": lambda t, b: b[:1].detach(),
    "view of data": lambda t, b: b.data[:1],
}
for write_name, write in _WRITES.items():
    for base_name, base in _BASES.items():
        for view_name, view in _VIEWS.items():
            name = f"{write_name} into a {view_name} of a {base_name}"
            if "normal_" not in write_name:
                PROGRAMS[name] = _written_view(write, base, view)


@program
def written_under_no_grad_throughout(t: Any) -> Any:
    x = leaf(t, 1, 2)
    b = x * 1
    with t.no_grad():
        b[:1].mul_(5)
    (b * 3).sum().backward()
    return b, x.grad


@program
def a_view_that_is_a_leaf(t: Any) -> Any:
    b = plain(t, 1, 2)
    v = b[:1].requires_grad_()
    b.mul_(3)
    (v * v).sum().backward()
    return v, v.grad, b.requires_grad


@program
def a_view_that_is_a_leaf_and_changed_after_use(t: Any) -> Any:
    b = plain(t, 1, 2)
    v = b[:1].requires_grad_()
    y = (v * v).sum()
    b.mul_(3)
    y.backward()


@program
def views_cannot_be_detached_in_place(t: Any) -> Any:
    plain(t, 1, 2)[:1].detach_()


@program
def recorded_views_cannot_be_detached_in_place(t: Any) -> Any:
    leaf(t, 1, 2)[:1].detach_()


@program
def a_base_detached_in_place(t: Any) -> Any:
    x = leaf(t, 1, 2)
    b = x * 3
    v = b[:1]
    b.detach_()
    v.sum().backward()
    return x.grad, b.requires_grad


@program
def base_changed_then_an_older_view_used(t: Any) -> Any:
    x = leaf(t, 1, 2)
    b = x * 1
    v = b[:1]
    b.mul_(3)
    (v * v).sum().backward()
    return x.grad


@program
def base_changed_then_an_older_view_retains(t: Any) -> Any:
    x = leaf(t, 1, 2)
    b = x * 1
    v = b[:1]
    z = (v + 1).sum()
    b.mul_(3)
    v.retain_grad()
    z.backward()
    return v.grad, x.grad


@program
def base_changed_then_an_older_view_in_a_function_of_the_users(t: Any) -> Any:
    x = leaf(t, 1, 2)
    b = x * 1
    v = b[:1]
    b.mul_(3)
    _double(t).apply(v).sum().backward()
    return x.grad


def _double(t: Any) -> Any:
    class Double(t.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    return Double


# ---------------------------------------------------------------------- whole overwrites, and other dtypes


for name, overwrite in {
    "zero_": lambda t, y: y.zero_(),
    "fill_": lambda t, y: y.fill_(2.0),
    "copy_": lambda t, y: y.copy_(plain(t, 3, 4)),
    "copy_ of a leaf": lambda t, y: y.copy_(leaf(t, 3, 4)),
    "copy_ of itself": lambda t, y: y.copy_(y),
    "setitem": lambda t, y: y.__setitem__(slice(None), 1.0),
    "masked_fill_": lambda t, y: y.masked_fill_(t.tensor([True, True]), 3.0),
    "mul_ by 0": lambda t, y: y.mul_(0),
}.items():

    def _overwritten(t: Any, overwrite: Any = overwrite) -> Any:
        x = leaf(t, 1, 2)
        y = x * 1
        overwrite(t, y)
        y.backward(seed(t))
        return y, y.requires_grad, x.grad

    PROGRAMS[f"overwritten by {name}"] = _overwritten

for name, fill in {
    "normal_": lambda y: y.normal_(),
    "uniform_": lambda y: y.uniform_(),
    "bernoulli_": lambda y: y.bernoulli_(),
}.items():

    def _filled(t: Any, fill: Any = fill) -> Any:
        x = leaf(t, 1, 2)
        y = x * 1
        fill(y)
        y.backward(seed(t))
        return y.requires_grad, x.grad

    PROGRAMS[f"filled by {name}"] = _filled


def _mixed(ours: str, other: str) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        x = t.tensor([1.0, 2.0], dtype=getattr(t, ours), requires_grad=True)
        w = t.tensor([3.0, 4.0], dtype=getattr(t, other), requires_grad=True)
        y, seen = x * 1, []
        y.mul_(w)
        y.retain_grad()
        y.register_hook(lambda g: seen.append(str(g.dtype).removeprefix("torch.")))
        (found,) = t.autograd.grad(y.sum(), y, retain_graph=True)
        y.sum().backward()
        return y, found, y.grad, x.grad, w.grad, seen

    return run


for ours in ("float64", "float32", "float16", "bfloat16"):
    for other in ("float64", "float32", "float16", "bfloat16"):
        PROGRAMS[f"{ours} times {other} in place"] = _mixed(ours, other)


# ---------------------------------------------------------------------- zero_grad and copies


def _parameter(t: Any) -> Any:
    return t.nn.Parameter(plain(t, 1, 2))


def _zeroed(prepare: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        results = []
        for by in ("optimizer", "module"):
            w = _parameter(t)
            prepare(t, w)
            gradient = w.grad
            module = t.nn.Module()
            module.w = w
            owner = t.optim.SGD([w], lr=0.1) if by == "optimizer" else module
            owner.zero_grad(set_to_none=False)
            results += [w.grad is gradient, gradient, w.grad.requires_grad if w.grad is not None else None]
            if gradient is not None:
                results.append(w.grad.is_leaf)
            (w * w).sum().backward()
            results.append(w.grad)
            owner.zero_grad()
            results.append(w.grad)
        return results

    return run


PROGRAMS["zero_grad after backward"] = _zeroed(lambda t, w: (w * w).sum().backward())
PROGRAMS["zero_grad after create_graph"] = _zeroed(lambda t, w: (w * w).sum().backward(create_graph=True))
PROGRAMS["zero_grad of a gradient that is a leaf"] = _zeroed(lambda t, w: setattr(w, "grad", leaf(t, 3, 4)))
PROGRAMS["zero_grad of the user's gradient"] = _zeroed(lambda t, w: setattr(w, "grad", plain(t, 3, 4)))
PROGRAMS["zero_grad of a view"] = _zeroed(lambda t, w: setattr(w, "grad", plain(t, 3, 4, 5)[1:]))
PROGRAMS["zero_grad of nothing"] = _zeroed(lambda t, w: None)


@program
def zero_grad_of_a_gradient_bucket(t: Any) -> Any:
    bucket = plain(t, 1, 2, 3, 4)
    v, w = _parameter(t), _parameter(t)
    v.grad, w.grad = bucket[:2], bucket[2:]
    t.optim.SGD([v, w], lr=0.1).zero_grad(set_to_none=False)
    return bucket


def _write(t: Any, tensor: Any, value: float) -> None:
    with t.no_grad():
        tensor.fill_(value)


@program
def deepcopy_of_a_base_and_its_view(t: Any) -> Any:
    b = plain(t, 1, 2, 3)
    v = b[1:]
    for originals in ([b, v], [v, b], {"v": v, "b": b, "w": b[:2]}):
        copies = copy.deepcopy(originals)
        first = copies[0] if isinstance(copies, list) else copies["v"]
        first.fill_(7)
        yield copies
    yield b, v


@program
def deepcopy_of_a_leaf_and_what_shares_its_memory(t: Any) -> Any:
    w = leaf(t, 1, 2, 3)
    copies = copy.deepcopy([w, w.detach(), w.data, w.detach()[1:], w.detach().view(3, 1)])
    _write(t, copies[3], 7)
    return copies, [c.requires_grad for c in copies], w


@program
def deepcopy_of_a_transposed_view(t: Any) -> Any:
    b = t.arange(6.0).reshape(2, 3)
    first, second = copy.deepcopy([b.t(), b])
    second.add_(10)
    return first, first.stride(), second.stride()


@program
def deepcopy_of_an_expanded_one(t: Any) -> Any:
    made = copy.deepcopy(plain(t, 1).expand(3))
    return made, made.stride(), made.add_(1)


@program
def deepcopy_of_one_view_alone(t: Any) -> Any:
    b = plain(t, 1, 2, 3, 4)
    v = copy.deepcopy(b[::2])
    v.fill_(9)
    return v, v.stride(), b


@program
def deepcopy_of_a_leaf_and_its_gradient(t: Any) -> Any:
    w = leaf(t, 1, 2)
    (w * w).sum().backward()
    twin, gradient, part = copy.deepcopy([w, w.grad, w.grad[:1]])
    part.fill_(9)
    return twin.grad is gradient, twin.grad, w.grad


@program
def deepcopy_of_a_parameter(t: Any) -> Any:
    w = _parameter(t)
    (w * w).sum().backward()
    w.mark = [1]
    twin, same = copy.deepcopy([w, w])
    return twin is same, type(twin).__name__, twin, twin.grad, twin.requires_grad, hasattr(twin, "mark"), w.grad


@program
def deepcopy_of_frozen_and_transposed_parameters(t: Any) -> Any:
    w = t.nn.Parameter(t.arange(6.0).reshape(2, 3).t(), requires_grad=False)
    twin = copy.deepcopy(w)
    return twin, twin.requires_grad, twin.stride()


@program
def deepcopy_of_a_module_whose_buffers_overlap(t: Any) -> Any:
    m = t.nn.Module()
    m.register_buffer("a", plain(t, 1, 2, 3))
    m.register_buffer("b", m.a[1:])
    twin = copy.deepcopy(m)
    twin.a.fill_(5)
    return twin.b, m.b


@program
def deepcopy_keeps_attributes(t: Any) -> Any:
    x = plain(t, 1)
    x.mark = [1]
    y = copy.deepcopy(x)
    return y.mark, y.mark is x.mark


@program
def deepcopy_of_a_result(t: Any) -> Any:
    copy.deepcopy(leaf(t, 1) * 2)


@program
def deepcopy_of_a_leaf_whose_gradient_has_a_history(t: Any) -> Any:
    w = leaf(t, 1, 2)
    (w * w).sum().backward(create_graph=True)
    copy.deepcopy(w)


@program
def deepcopy_of_nothing_and_one(t: Any) -> Any:
    return copy.deepcopy([t.zeros(0), t.tensor(3.0), t.zeros(2, 0, 3), t.tensor(True), t.ones(3, dtype=t.bfloat16)])


@program
def shallow_copies(t: Any) -> Any:
    w = leaf(t, 1, 2)
    w.mark = [1]
    (w * w).sum().backward()
    twin = copy.copy(w)
    _write(t, twin, 7)
    (g, h) = t.autograd.grad((w * twin).sum(), [w, twin], create_graph=True)
    second = t.autograd.grad(g.sum(), [w, twin], allow_unused=True)
    return w, w._version, twin.requires_grad, twin.grad, twin.mark is w.mark, twin.is_leaf, g, h, second


@program
def shallow_copy_of_a_result(t: Any) -> Any:
    y = copy.copy(leaf(t, 1, 2) * 3)
    (y * y).sum().backward()
    return y.is_leaf, y.grad


# ---------------------------------------------------------------------- functions of the user's own


def _function(t: Any, forward: Callable[..., Any], backward: Callable[..., Any] | None) -> Any:
    body = {"forward": staticmethod(forward)} | ({} if backward is None else {"backward": staticmethod(backward)})
    return type("Mine", (t.autograd.Function,), body)


def _returning(gradients: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Of three arguments, a leaf, a number and a constant."""

    def run(t: Any) -> Any:
        x = leaf(t, 1, 2)
        mine = _function(t, lambda ctx, x, n, y: x * n + y, lambda ctx, g: gradients(t, g))
        (mine.apply(x, 5, plain(t, 1, 1)) * seed(t)).sum().backward()
        return x.grad

    return run


for name, gradients in {
    "right": lambda t, g: (g * 5, None, None),
    "for a constant too": lambda t, g: (g * 5, None, g),
    "of another shape for a constant": lambda t, g: (g * 5, None, t.zeros(7)),
    "number": lambda t, g: (1.0, None, None),
    "number alone": lambda t, g: 1.0,
    "text": lambda t, g: ("a", None, None),
    "array": lambda t, g: (g.numpy(), None, None),
    "for what is no tensor": lambda t, g: (g, g, None),
    "number for what is no tensor": lambda t, g: (g, 0.0, None),
    "too few": lambda t, g: (g, None),
    "one": lambda t, g: g,
    "too many": lambda t, g: (g, None, g, g),
    "None at the end": lambda t, g: (g, None, g, None, None),
    "list": lambda t, g: [g, None, g],
    "None": lambda t, g: None,
    "Nones": lambda t, g: (None, None, None),
    "nothing": lambda t, g: (),
    "integers": lambda t, g: (g.long(), None, None),
    "bool": lambda t, g: (g > 3, None, None),
    "float32": lambda t, g: (g.float(), None, None),
    "other shape": lambda t, g: (t.ones(3), None, None),
    "0-d": lambda t, g: (g.sum(), None, None),
    "more dimensions": lambda t, g: (g.expand(4, 2), None, None),
    "one more dimension of 1": lambda t, g: (g.reshape(1, 2), None, None),
    "column": lambda t, g: (g.reshape(2, 1), None, None),
}.items():
    PROGRAMS[f"backward returns {name}"] = _returning(gradients)


def _forward_returning(result: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        x, seen = leaf(t, 1, 2), []

        def backward(ctx: Any, *grads: Any) -> Any:
            seen.extend(None if g is None else (str(g.dtype).removeprefix("torch."), g.tolist()) for g in grads)
            return sum(g.sum() for g in grads if g is not None and g.shape != () and g.is_floating_point()).expand(2)

        results = _function(t, lambda ctx, x: result(t, x), backward).apply(x)
        listed = results if isinstance(results, (tuple, list)) else [results]
        about = [(r.requires_grad, r.is_leaf, r.output_nr) if hasattr(r, "is_leaf") else r for r in listed]
        (listed[0] * 3).sum().backward()
        return type(results).__name__, about, seen, x.grad

    return run


for name, result in {
    "tensor": lambda t, x: x * 2,
    "tuple of one": lambda t, x: (x * 2,),
    "two": lambda t, x: (x * 2, x * 3),
    "tensor and number": lambda t, x: (x * 2, 5),
    "tensor and None": lambda t, x: (x * 2, None),
    "integers too": lambda t, x: (x * 2, (x * 2).long()),
    "bool too": lambda t, x: (x * 2, x > 1),
    "the input": lambda t, x: x,
    "the input twice": lambda t, x: (x, x),
    "the same twice": lambda t, x: (lambda y: (y, y))(x * 2),
    "list": lambda t, x: [x * 2, x * 3],
    "None": lambda t, x: None,
    "number": lambda t, x: 3.0,
    "detached input": lambda t, x: x.detach(),
    "view": lambda t, x: x.view(2),
    "float16": lambda t, x: (x * 2).half(),
}.items():
    PROGRAMS[f"forward returns {name}"] = _forward_returning(result)


@program
def function_without_backward(t: Any) -> Any:
    mine = _function(t, lambda ctx, x: x * 2, None)
    assert mine.apply(plain(t, 3)).tolist() == [6.0]
    mine.apply(leaf(t, 3)).sum().backward()


@program
def function_without_forward(t: Any) -> Any:
    type("Mine", (t.autograd.Function,), {}).apply(leaf(t, 1))


@program
def non_differentiable_outputs(t: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        a, b = x * 2, x * 3
        ctx.mark_non_differentiable(b)
        return a, b

    x = leaf(t, 1, 2)
    a, b = _function(t, forward, lambda ctx, g, h: g * 2 + h * 100).apply(x)
    (a * b).sum().backward()
    return a.requires_grad, b.requires_grad, b.is_leaf, x.grad


def _saving(
    saved: Callable[[Any, Any], Any], change: Callable[[Any, Any, Any], Any], at: str = "input"
) -> Callable[[Any], Any]:
    """Saves something made of the input or the output; then something changes."""

    def run(t: Any) -> Any:
        kept: list[Any] = []

        def forward(ctx: Any, x: Any) -> Any:
            y = x * x
            kept.append(saved(t, x if at == "input" else y))
            ctx.save_for_backward(kept[0])
            return y

        def backward(ctx: Any, g: Any) -> Any:
            (s,) = ctx.saved_tensors
            return g * s.reshape(-1) * 2

        leaf_ = leaf(t, 1, 2)
        x = leaf_ * 1
        y = _function(t, forward, backward).apply(x)
        change(t, x if at == "input" else y, kept[0])
        (g,) = t.autograd.grad(y.sum(), leaf_)
        return g

    return run


for saved_name, saved in {
    "itself": lambda t, x: x,
    "view": lambda t, x: x.reshape(-1),
    "other view": lambda t, x: x.view(2, 1),
    "view of a view": lambda t, x: x.view(2, 1).transpose(0, 1),
    "detached": lambda t, x: x.detach(),
    "copy": lambda t, x: x.clone(),
    "copy by arithmetic": lambda t, x: x * 1,
}.items():
    for change_name, write in {
        "not at all": lambda t, x, s: None,
        "in place": lambda t, x, s: x.add_(1),
        "under no_grad": lambda t, x, s: _write(t, x, 5),
        "through detach": lambda t, x, s: x.detach().add_(1),
        "through data": lambda t, x, s: x.data.add_(1),
        "in what was saved": lambda t, x, s: _write(t, s.detach(), 5),
    }.items():
        for at in ("input", "output"):
            PROGRAMS[f"saved {saved_name} of the {at}, changed {change_name}"] = _saving(saved, write, at)


@program
def saving_what_is_no_argument(t: Any) -> Any:
    w, x = plain(t, 3, 4), leaf(t, 1, 2)

    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(w)
        return x * w

    y = _function(t, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(x)
    w.add_(1)
    y.sum().backward()


@program
def saved_tensors_in_second_derivatives(t: Any) -> Any:
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        y = x * w
        ctx.save_for_backward(x, w, y)
        return y

    def backward(ctx: Any, g: Any) -> Any:
        x, w, y = ctx.saved_tensors
        return g * y / x, g * y / w

    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = _function(t, forward, backward).apply(x, w)
    gx, gw = t.autograd.grad(y.sum(), [x, w], create_graph=True)
    return gx, gw, t.autograd.grad((gx * gw).sum(), [x, w])


# ---------------------------------------------------------------------- writes through views that are recorded


@program
def rows_of_a_buffer_added_to(t: Any) -> Any:
    x, buf = leaf(t, 1, 2), t.zeros(3, 2, dtype=t.float64)
    for i in range(3):
        buf[i] += x * (i + 1)
    buf[1] *= x
    buf[0] -= 1
    buf[2] /= x
    buf[2, 0] **= 2
    (buf * t.arange(6.0, dtype=t.float64).reshape(3, 2)).sum().backward()
    return buf, x.grad, buf.is_leaf


@program
def rows_of_an_embedding_gradient(t: Any) -> Any:
    emb = t.arange(12.0, dtype=t.float64).reshape(2, 3, 2).requires_grad_()
    table = t.zeros(4, 2, dtype=t.float64)
    ids = [[1, 3, 1], [0, 1, 3]]
    for k in range(2):
        for j in range(3):
            table[ids[k][j]] += emb[k, j] * emb[k, j]
    (table * table).sum().backward()
    return table, emb.grad


@program
def a_row_taken_and_then_written(t: Any) -> Any:
    x, buf = leaf(t, 1, 2), t.zeros(3, 2, dtype=t.float64)
    row = buf[1]
    row.copy_(x * x)
    return buf, row.requires_grad, row.is_leaf, t.autograd.grad((buf.sum(0) * row).sum(), x)


@program
def an_older_view_of_what_got_a_history(t: Any) -> Any:
    x, buf = leaf(t, 1, 2), t.zeros(3, 2, dtype=t.float64)
    column, row, both = buf[:, 1], buf[1], buf[1:]
    before = row * 2
    buf[1] = x
    about = [(v.requires_grad, v.is_leaf) for v in (column, row, both, before)]
    return about, t.autograd.grad((column * 3).sum() + (row * row).sum() + both.sum(), x)


@program
def an_older_view_keeps_what_was_computed_from_it(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    view = y[:1]
    before = view * 5
    y.mul_(x)
    return t.autograd.grad(before.sum(), x, retain_graph=True), t.autograd.grad((view * 5).sum(), x)


@program
def each_view_through_each(t: Any) -> Any:
    """A chain of three, written at each link, all of them used."""
    x = leaf(t, 1, 2, 3, 4, 5, 6)
    y = (x * 1).reshape(2, 3).clone()
    a = y.transpose(0, 1)
    b = a[1:]
    c = b[..., 1]
    d = b.unsqueeze(0).squeeze(0)[:, :1]
    c.mul_(2)
    a.add_(a * a)
    d.copy_(c.reshape(2, 1))
    b[0] = y[1, :2] * 3
    total = sum((v * v).sum() * (i + 1) for i, v in enumerate((y, a, b, c, d)))
    return [v.detach().clone() for v in (y, a, b, c, d)], t.autograd.grad(total, x)


for name, base in {
    "result": lambda t, x: x * 1,
    "transposed result": lambda t, x: (x * 1).t().contiguous().t(),
    "buffer": lambda t, x: t.zeros(2, 3, dtype=t.float64),
    "permuted buffer": lambda t, x: t.zeros(3, 2, dtype=t.float64).t(),
    "strided buffer": lambda t, x: t.zeros(2, 6, dtype=t.float64)[:, ::2],
    "strided array": lambda t, x: t.from_numpy(np.zeros((2, 6))[:, ::2]),
    "transposed array": lambda t, x: t.from_numpy(np.zeros((3, 2)).T),
    "permuted array": lambda t, x: t.from_numpy(np.zeros((3, 1, 2)).transpose(1, 2, 0))[0],
}.items():
    for view_name, view in {
        "row": lambda t, y: y[1],
        "column": lambda t, y: y[:, 2],
        "element": lambda t, y: y[1, 2],
        "step": lambda t, y: y[:, ::2],
        "transposed": lambda t, y: y.t()[1:],
        "none": lambda t, y: y[:, None, 1:],
        "diagonal by flat": lambda t, y: y.view(-1)[::4],
        "unflattened": lambda t, y: y.unflatten(1, (3, 1))[:, 1],
        "narrow": lambda t, y: y.narrow(1, 1, 2),
        "select": lambda t, y: y.select(0, -1),
        "permuted": lambda t, y: y.permute(1, 0).movedim(0, 1)[0],
        "view as": lambda t, y: y.view_as(y)[..., 0],
        "expanded": lambda t, y: y[:, None].expand(2, 1, 3)[:, 0, :2],
        "empty": lambda t, y: y[:, 3:],
        "all": lambda t, y: y[...],
        "split": lambda t, y: y.split(1)[1],
        "unbind": lambda t, y: y.unbind(1)[1],
    }.items():
        for write_name, write in {
            "mul_": lambda t, v, x: v.mul_(x.sum()),
            "copy_": lambda t, v, x: v.copy_((x * x).sum()),
            "copy_ of a number": lambda t, v, x: v.copy_(t.tensor(2.0)),
            "fill_": lambda t, v, x: v.fill_(3.0),
            "set": lambda t, v, x: v.__setitem__(..., x.sum() * 2),
        }.items():

            def run(t: Any, base: Any = base, view: Any = view, write: Any = write) -> Any:
                x = t.arange(1.0, 7.0, dtype=t.float64).reshape(2, 3).requires_grad_()
                y = base(t, x)
                older, v = view(t, y), view(t, y)
                write(t, v, x)
                y = y * t.arange(1.0, 7.0, dtype=t.float64).reshape(2, 3)
                out = (y * y).sum() + (older * 5).sum() + (v * v).sum()
                if not out.requires_grad:
                    return out
                (g,) = t.autograd.grad(out, x, create_graph=True, allow_unused=True)
                if g is None or not g.requires_grad:
                    return y, v, g
                return y, v, g, t.autograd.grad((g * g).sum(), x, allow_unused=True)

            PROGRAMS[f"{write_name} through a {view_name} of a {name}"] = run


@program
def written_in_half(t: Any) -> Any:
    x = t.tensor([1.0, 2.0], dtype=t.float16, requires_grad=True)
    buf = t.zeros(3, 2, dtype=t.float16)
    buf[1] = x * 2
    buf[1:] *= 3
    buf[0].copy_(x.double())
    (buf * t.arange(6, dtype=t.float16).reshape(3, 2)).sum().backward()
    return buf, x.grad


@program
def written_across_dtypes(t: Any) -> Any:
    x, w = t.tensor([1.0, 2.0], requires_grad=True), leaf(t, 3, 4)
    buf = t.zeros(2, 2, dtype=t.float64)
    buf[0] = x
    buf[1].add_(w).mul_(x)
    buf.sum().backward()
    return buf, x.grad, w.grad


@program
def written_to_integers(t: Any) -> Any:
    x, buf = leaf(t, 1.5, 2.5), t.zeros(2, dtype=t.int64)
    buf[0] = x[0].detach()
    return buf, buf.requires_grad


@program
def written_to_integers_with_a_history(t: Any) -> Any:
    x, buf = leaf(t, 1.5, 2.5), t.zeros(2, dtype=t.int64)
    buf[:1].copy_(x[:1])
    return buf, buf.requires_grad, buf[:1].is_leaf


@program
def hooks_on_views_and_bases_that_are_written(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    v = y[:1]
    y.register_hook(lambda g: calls.append(("y", g.tolist())))
    for tensor in (y, v):
        tensor.retain_grad()
    v.mul_(5)
    for name, tensor in (("y after", y), ("v after", v)):
        tensor.register_hook(lambda g, name=name: calls.append((name, g.tolist())))
    (y * y).sum().backward()
    return sorted(map(str, calls)), y.grad, v.grad, x.grad


@program
def a_retaining_view_of_what_changed(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    v, w = y[:1], y[:1]
    v.retain_grad()
    w.retain_grad()
    y.mul_(2)
    (v * 7).sum().backward()
    return v.grad, w.grad, v.retains_grad, x.grad


@program
def gradients_of_views_after_writes(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    v = y[:1]
    y.mul_(x)
    return t.autograd.grad((v * v).sum(), [v, y, x], allow_unused=True)


@program
def a_backward_with_views_as_inputs(t: Any) -> Any:
    x, buf = leaf(t, 1, 2), plain(t, 0, 0, 0)
    row = buf[:2]
    row.copy_(x)
    (row * row).sum().backward(inputs=[row, x])
    return row.grad, x.grad, row.retains_grad, buf.grad


@program
def second_derivatives_through_writes(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    buf = t.zeros(3, 2, dtype=t.float64)
    buf[0] = x * w
    buf[1] = buf[0] * x
    buf[:, 0] *= w[0]
    (buf * buf).sum().backward(create_graph=True)
    return x.grad, w.grad, t.autograd.grad((x.grad * w.grad).sum(), [x, w])


@program
def walked_twice_through_writes(t: Any) -> Any:
    x, buf = leaf(t, 1, 2), t.zeros(2, 2, dtype=t.float64)
    buf[0] = x
    buf[1] += buf[0] * 2
    out = buf.sum()
    out.backward(retain_graph=True)
    out.backward()
    return x.grad


@program
def written_under_no_grad_then_used(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    v = y[:1]
    node = v.grad_fn
    with t.no_grad():
        y.mul_(10)
        inside = v.requires_grad
    return inside, v.grad_fn is node, v, t.autograd.grad((v * 7).sum(), x)


@program
def hooks_of_a_view_written_under_no_grad(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    v = y[:1]
    v.register_hook(lambda g: calls.append(g.tolist()))
    v.retain_grad()
    with t.no_grad():
        y.mul_(10)
    (v * 7).sum().backward()
    return calls, v.grad, x.grad


@program
def a_view_from_before_its_base_required_a_gradient(t: Any) -> Any:
    base = plain(t, 1, 2)
    v = base[:1]
    with t.no_grad():
        base.add_(1)
    base.requires_grad_()
    about = v.requires_grad, v.is_leaf
    (v * 3).sum().backward()
    return about, base.grad


@program
def views_written_after_data_was_replaced(t: Any) -> Any:
    x, buf = leaf(t, 1, 2), plain(t, 0, 0, 0)
    buf.data = plain(t, 5, 6, 7)
    v = buf[1:]
    v.copy_(x)
    (buf * buf).sum().backward()
    return buf, x.grad


@program
def a_view_of_detached_memory_written(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    d = y.detach()
    v = y[:1]
    d[0] = 100
    d[1:].mul_(2)
    return y, v, t.autograd.grad((v * 2).sum() + y.sum(), x)


@program
def a_detached_view_gets_its_own_history(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * 3
    d = y.detach()
    d[:1] = w[1:]
    return y, d.requires_grad, t.autograd.grad(y.sum(), x), t.autograd.grad(d.sum(), w)


@program
def a_base_detached_under_its_views(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * 3
    v = y[:1]
    y.detach_()
    y.mul_(w)
    (v * 2).sum().backward()
    return y, x.grad, w.grad


@program
def a_view_of_a_detached_leaf_is_written(t: Any) -> Any:
    x = leaf(t, 1, 2)
    v = x[:1]
    x.detach_()
    v.mul_(2)


@program
def a_buffer_that_is_replaced_as_a_whole(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * 3
    v = y[:1]
    y.copy_(w)
    (v * 2).sum().backward()
    return y, x.grad, w.grad


@program
def a_view_written_with_its_base(t: Any) -> Any:
    x = leaf(t, 1, 2, 3)
    y = x * 3
    y[:2].copy_(y[1:].clone())
    y[1:].mul_(y[:2].clone())
    return y, t.autograd.grad(y.sum(), x)


@program
def saved_by_the_write_and_changed_again(t: Any) -> Any:
    x, buf = leaf(t, 1, 2), plain(t, 1, 1, 1)
    buf[:2].mul_(x)
    buf[:2].mul_(x)
    buf[1:].mul_(buf[:2].detach().clone())
    return buf, t.autograd.grad(buf.sum(), x)


@program
def saved_of_a_view_and_then_changed(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    z = (y[:1] * y[1:]).sum()
    y[0] = 7
    z.backward()


@program
def saved_of_a_base_and_then_changed_through_a_view(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 3
    z = (y * y).sum()
    y[0].mul_(2)
    z.backward()


def _checkpointed(t: Any, run: Callable[..., Any], *args: Any) -> Any:
    if t is tinytorch:
        from tinytorch.utils.checkpoint import checkpoint
    else:
        from torch.utils.checkpoint import checkpoint
    return checkpoint(run, *args, use_reentrant=False)


@program
def writes_through_views_checkpointed(t: Any) -> Any:
    def run(x: Any, w: Any) -> Any:
        buf = t.zeros(3, 2, dtype=t.float64)
        row = buf[1]
        for i in range(3):
            buf[i] += x * w * i
        buf[0] = (row.clone() * buf[2].clone()).exp()
        row.mul_(w)
        return buf * buf

    x, w = leaf(t, 0.1, 0.2), leaf(t, 0.3, 0.4)
    y = _checkpointed(t, run, x, w)
    y.sum().backward()
    return y, x.grad, w.grad


@program
def an_argument_written_in_a_checkpoint(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = _checkpointed(t, lambda a: (a * 1).mul_(a).mul_(2), x * 3)
    y.sum().backward()
    return y, x.grad


@program
def results_of_a_checkpoint_written(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = _checkpointed(t, lambda a: a * 3, x)
    y[0] = 7
    y[1:].mul_(x[1:])
    y.sum().backward()
    return y, x.grad


@program
def an_element_of_no_dimensions(t: Any) -> Any:
    x, y = leaf(t, 3), t.zeros((), dtype=t.float64)
    y[...] = x[0] * 2
    v = y.view(1)
    v.mul_(x)
    y += 1
    return y, v, t.autograd.grad(v.sum() + y, x)


@program
def views_of_nothing(t: Any) -> Any:
    x, y = leaf(t, 1, 2), t.zeros(0, 2, dtype=t.float64)
    y[:0] = x
    y[:, 0].mul_(2)
    return y.requires_grad, t.autograd.grad(y.sum(), x)


@program
def booleans_and_integers_through_views(t: Any) -> Any:
    flags, numbers = t.tensor([True, False]), t.tensor([1, 2, 3])
    flags[:1] = False
    numbers[1:] += numbers[:2].clone()
    numbers[0] *= 5
    return flags, numbers, numbers.requires_grad


@program
def a_broadcast_value_written(t: Any) -> Any:
    x, buf = leaf(t, 1, 2), t.zeros(3, 2, dtype=t.float64)
    buf[...] = x
    buf[1:] = x.reshape(1, 1, 2)
    buf[:, 0] = x[1]
    return buf, t.autograd.grad((buf * buf).sum(), x)


@program
def a_value_that_does_not_fit_is_written(t: Any) -> Any:
    t.zeros(3, 2, dtype=t.float64)[1:] = leaf(t, 1, 2, 3)


for name, key in {
    "an index array": lambda t: t.tensor([0, 2]),
    "a list": lambda t: [0, 2],
    "a mask": lambda t: t.tensor([True, False, True]),
    "an integer and an array": lambda t: (t.tensor([0, 2]), 1),
    "a slice and an array": lambda t: (slice(None), t.tensor([1, 0])),
    "a tensor without dimensions": lambda t: t.tensor(1),
    "nothing": lambda t: None,
    "ellipsis and integer": lambda t: (..., 1),
    "negative": lambda t: -1,
}.items():

    def run(t: Any, key: Any = key) -> Any:
        x = t.arange(6.0, dtype=t.float64).reshape(3, 2).requires_grad_()
        buf, y = t.ones(3, 2, dtype=t.float64), x * 2
        older = buf[1]
        buf[key(t)] = y[key(t)] * 3
        y[key(t)] += 5
        y[key(t)] *= x[key(t)]
        return buf, y, t.autograd.grad((buf * y).sum() + older.sum(), x)

    PROGRAMS[f"written at {name}"] = run


# ---------------------------------------------------------------------- nodes and their hooks


@program
def a_node_called(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = x * w
    plain_, recorded = y.grad_fn(plain(t, 5, 6)), (y * y).grad_fn(leaf(t, 5, 6))
    return plain_, recorded, x.grad


@program
def a_node_called_leaves_broadcasting_to_the_walk(t: Any) -> Any:
    x, w = leaf(t, 1, 2), t.ones(3, 1, dtype=t.float64, requires_grad=True)
    return (x + w).grad_fn(t.ones(3, 2, dtype=t.float64)), (plain(t, 3) * x).grad_fn(plain(t, 1, 1))


@program
def a_node_called_with_too_many(t: Any) -> Any:
    leaf(t, 1, 2).exp().grad_fn(plain(t, 1, 2), plain(t, 3, 4))


@program
def a_node_called_under_no_grad(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x.exp()
    with t.no_grad():
        return y.grad_fn(plain(t, 5, 6))


@program
def a_node_called_leaves_the_graph_alone(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x.exp()
    y.register_hook(lambda g: g * 100)
    y.grad_fn.register_hook(lambda gi, go: (gi[0] * 100,))
    y.grad_fn.register_prehook(lambda go: (go[0] * 100,))
    first, second = y.grad_fn(plain(t, 1, 1)), y.grad_fn(plain(t, 1, 1))
    y.sum().backward()
    return first, second, x.grad


@program
def a_leafs_node_called(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    x.register_post_accumulate_grad_hook(lambda x: calls.append(x.grad.tolist()))
    x.register_hook(lambda g: calls.append("hook"))
    node = (x * 2).grad_fn.next_functions[0][0]
    node(plain(t, 5, 6))
    node(plain(t, 5, 6))
    return x.grad, calls


@program
def next_functions_down_to_leaves(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    y = (x * w).exp() + x
    (of_exp, _), (of_x, number) = y.grad_fn.next_functions
    (of_product, _), = of_exp.next_functions
    (same, _), (of_w, _) = of_product.next_functions
    name = of_w.name().removeprefix("torch::autograd::")
    return of_x.variable is x, same is of_x, of_w.variable is w, of_x.next_functions, number, name


@program
def next_functions_of_what_needs_no_gradient(t: Any) -> Any:
    return (leaf(t, 1) * plain(t, 2)).grad_fn.next_functions[1], (leaf(t, 1) * 2).grad_fn.next_functions[1]


def _logged(into: list[Any], name: str, result: Callable[[Any], Any] = lambda g: None) -> Callable[..., Any]:
    def hook(*args: Any) -> Any:
        into.append((name, [[None if g is None else g.tolist() for g in a] if isinstance(a, tuple) else a.tolist()
                            for a in args]))  # fmt: skip
        return result(args[0])

    return hook


@program
def order_of_all_hooks_of_a_node(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    y.grad_fn.register_hook(_logged(calls, "post", lambda g: tuple(None if a is None else a * 7 for a in g)))
    y.grad_fn.register_hook(_logged(calls, "post 2"))
    y.grad_fn.register_prehook(_logged(calls, "pre", lambda g: (g[0] * 5,)))
    y.grad_fn.register_prehook(_logged(calls, "pre 2"))
    y.retain_grad()
    y.register_hook(_logged(calls, "tensor", lambda g: g * 2))
    y.register_hook(_logged(calls, "tensor 2"))
    (y * y).sum().backward()
    return calls, y.grad, x.grad


@program
def order_of_all_hooks_of_a_leaf(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3 + x
    node = y.grad_fn.next_functions[1][0]
    node.register_hook(_logged(calls, "post"))
    node.register_prehook(_logged(calls, "pre", lambda g: (g[0] * 5,)))
    x.register_post_accumulate_grad_hook(_logged(calls, "accumulated", lambda x: None))
    x.register_hook(_logged(calls, "tensor", lambda g: g * 2))
    y.sum().backward()
    return calls, x.grad


@program
def hooks_of_a_node_where_the_walk_ends(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    y.grad_fn.register_hook(_logged(calls, "post"))
    y.grad_fn.register_prehook(_logged(calls, "pre", lambda g: (g[0] * 5,)))
    y.register_hook(_logged(calls, "tensor", lambda g: g * 2))
    z = (y * y).sum()
    first = t.autograd.grad(z, y, retain_graph=True)
    calls.append("then both")
    second = t.autograd.grad(z, [x, y], retain_graph=True)
    calls.append("then backward")
    z.backward(inputs=[y])
    return calls, first, second, y.grad, x.grad


@program
def hooks_of_a_leafs_node_and_grad(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = (x * 3).sum()
    node = y.grad_fn.next_functions[0][0].next_functions[0][0]
    node.register_hook(_logged(calls, "post"))
    node.register_prehook(_logged(calls, "pre", lambda g: (g[0] * 5,)))
    x.register_post_accumulate_grad_hook(_logged(calls, "accumulated", lambda x: None))
    x.register_hook(_logged(calls, "tensor", lambda g: g * 2))
    (g,) = t.autograd.grad(y, x, retain_graph=True)
    calls.append("then backward")
    y.backward(inputs=[x])
    return calls, g, x.grad


@program
def hooks_of_nodes_removed(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    handles = [y.grad_fn.register_hook(_logged(calls, "post")), y.grad_fn.register_prehook(_logged(calls, "pre"))]
    handles.append(x.register_post_accumulate_grad_hook(_logged(calls, "accumulated", lambda x: None)))
    z = y.sum()
    z.backward(retain_graph=True)
    for handle in handles:
        handle.remove()
        handle.remove()
    z.backward()
    return calls, x.grad


@program
def one_function_registered_twice_and_one_removed(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    post, pre = _logged(calls, "post"), _logged(calls, "pre")
    accumulated = _logged(calls, "accumulated", lambda x: None)
    handles = [y.grad_fn.register_hook(post), y.grad_fn.register_hook(post)]
    handles += [y.grad_fn.register_prehook(pre), y.grad_fn.register_prehook(pre)]
    handles += [x.register_post_accumulate_grad_hook(accumulated), x.register_post_accumulate_grad_hook(accumulated)]
    for handle in handles[::2]:
        handle.remove()
    y.sum().backward()
    return calls


@program
def a_nodes_hook_removes_itself(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    y = x * 3
    handle = y.grad_fn.register_hook(lambda gi, go: (calls.append("once"), handle.remove())[2:] or None)
    z = y.sum()
    z.backward(retain_graph=True)
    z.backward()
    return calls


def _node_hook_returning(kind: str, value: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        x, w = leaf(t, 1, 2), leaf(t, 3, 4)
        y = x * w
        if kind == "post":
            y.grad_fn.register_hook(lambda gi, go: value(t, gi))
        else:
            y.grad_fn.register_prehook(lambda go: value(t, go))
        y.sum().backward()
        return x.grad, w.grad

    return run


for name, value in {
    "nothing": lambda t, g: None,
    "as they are": lambda t, g: g,
    "one": lambda t, g: g[0],
    "Nones": lambda t, g: (None,) * len(g),
    "another shape": lambda t, g: tuple(a.reshape(1, 2) for a in g),
    "another dtype": lambda t, g: tuple(a.float() for a in g),
    "a list": lambda t, g: list(g),
    "too few": lambda t, g: g[1:],
    "too many": lambda t, g: (*g, g[0]),
    "numbers": lambda t, g: tuple(1.0 for _ in g),
    "text": lambda t, g: "no",
    "others": lambda t, g: tuple(a * 2 for a in g),
}.items():
    for kind in ("post", "pre"):
        PROGRAMS[f"{kind} hook of a node returns {name}"] = _node_hook_returning(kind, value)


@program
def hooks_of_nodes_and_create_graph(t: Any) -> Any:
    x, seen = leaf(t, 1, 2), []
    y = x * x
    y.grad_fn.register_hook(lambda gi, go: seen.append((gi[0].requires_grad, t.is_grad_enabled())))
    y.grad_fn.register_prehook(lambda go: (go[0] * x,))
    z = (y * y).sum()
    (g,) = t.autograd.grad(z, x, create_graph=True)
    seen.append("then plainly")
    (h,) = t.autograd.grad(z, x, retain_graph=True)
    return g, h, t.autograd.grad(g.sum(), x), seen


@program
def hooks_of_nodes_that_raise(t: Any) -> Any:
    x, w, outcomes = leaf(t, 1, 2), leaf(t, 3, 4), []

    def fail(*args: Any) -> Any:
        raise KeyError("hook")

    y = x * w
    for register in (y.grad_fn.register_hook, y.grad_fn.register_prehook):
        handle = register(fail)
        try:
            y.sum().backward(retain_graph=True)
        except KeyError as error:
            outcomes.append((str(error), t.is_grad_enabled(), x.grad))
        handle.remove()
    y.sum().backward()
    return outcomes, x.grad, w.grad


@program
def a_hook_after_accumulation_that_raises(t: Any) -> Any:
    x, outcomes = leaf(t, 1, 2), []

    def fail(x: Any) -> Any:
        raise KeyError("hook")

    handle = x.register_post_accumulate_grad_hook(fail)
    y = (x * 3).sum()
    try:
        y.backward(retain_graph=True)
    except KeyError as error:
        outcomes.append((str(error), t.is_grad_enabled(), x.grad.clone()))
    handle.remove()
    y.backward()
    return outcomes, x.grad


@program
def hooks_after_accumulation_of_others_than_leaves(t: Any) -> Any:
    (leaf(t, 1) * 2).register_post_accumulate_grad_hook(lambda x: None)


@program
def hooks_after_accumulation_of_constants(t: Any) -> Any:
    plain(t, 1).register_post_accumulate_grad_hook(lambda x: None)


@program
def hooks_after_accumulation_free_the_gradient(t: Any) -> Any:
    x, w, seen = leaf(t, 1, 2), leaf(t, 3, 4), []

    def step(p: Any) -> None:
        seen.append((p is x, p.grad.tolist(), t.is_grad_enabled()))
        with t.no_grad():
            p.sub_(p.grad, alpha=1) if False else p.sub_(p.grad * 0.5)
        p.grad = None

    for p in (x, w):
        p.register_post_accumulate_grad_hook(step)
    ((x * 2 + w) + x).sum().backward()
    return sorted(map(str, seen)), x, w, x.grad, w.grad


@program
def hooks_after_accumulation_see_each_backward_once(t: Any) -> Any:
    x, seen = leaf(t, 1, 2), []
    x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.tolist()))
    for _ in range(2):
        (x * 2 + x * x * 3).sum().backward()
    t.autograd.grad((x * 2).sum(), x)
    (x * 2).sum().backward(inputs=[x])
    x.backward(plain(t, 1, 1))
    return seen


@program
def a_leaf_freed_before_backward(t: Any) -> Any:
    seen: list[Any] = []

    def make() -> Any:
        x = leaf(t, 1, 2)
        x.register_hook(lambda g: seen.append(g.tolist()))
        x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.tolist()))
        return x * 3

    y = make()
    node = y.grad_fn.next_functions[0][0]
    y.sum().backward()
    return seen, node.variable.grad


# ---------------------------------------------------------------------- hooks of saved tensors


def _hooks_of(t: Any, calls: list[Any], name: str = "") -> Any:
    def pack(x: Any) -> Any:
        calls.append((f"pack{name}", x.tolist(), t.is_grad_enabled()))
        return x.detach().clone()

    def unpack(x: Any) -> Any:
        calls.append((f"unpack{name}", x.tolist()))
        return x

    return t.autograd.graph.saved_tensors_hooks(pack, unpack)


@program
def saved_tensors_are_packed(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    with _hooks_of(t, calls):
        y = (x * 2).exp()
    z = y.tanh()
    calls.append("backward")
    z.sum().backward()
    return [call for call in calls if call[1:2] != ([2.0, 2.0],)][:2] and x.grad, "backward" in calls


@program
def packed_and_unpacked_in_order(t: Any) -> Any:
    x, w, calls = leaf(t, 1, 2), leaf(t, 3, 4), []
    with _hooks_of(t, calls):
        y = (x * w).exp()
    calls.append("backward")
    y.sum().backward(retain_graph=True)
    calls.append("again")
    y.sum().backward()
    return sorted(map(str, calls)), x.grad, w.grad


@program
def hooks_of_saved_tensors_nested(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    with _hooks_of(t, calls, " outer"):
        y = x.exp()
        with _hooks_of(t, calls, " inner"):
            y = y.exp()
        y = y.tanh()
    y.sum().backward()
    return calls, x.grad


@program
def hooks_of_saved_tensors_and_second_derivatives(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    with t.autograd.graph.saved_tensors_hooks(lambda x: x * 1, lambda x: x * 1):
        y = (x * w).exp() * x + t.nn.functional.gelu(x * w) + (x * w).softmax(0)
    g = t.autograd.grad(y.sum(), [x, w], create_graph=True)
    return g, t.autograd.grad((g[0] * g[1]).sum(), [x, w])


@program
def hooks_of_saved_tensors_change_values(t: Any) -> Any:
    x, w = leaf(t, 1, 2), plain(t, 3, 4)
    with t.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x * 10):
        y = x * w
    y.sum().backward()
    return x.grad


@program
def hooks_of_saved_tensors_are_not_called_where_nothing_is_saved(t: Any) -> Any:
    x, calls = leaf(t, 1, 2), []
    with _hooks_of(t, calls):
        x + 1
        plain(t, 1).exp()
        with t.no_grad():
            x.exp()
        x.reshape(1, 2).sum()
    return calls


@program
def a_copy_that_was_packed_does_not_mind_changes(t: Any) -> Any:
    x = leaf(t, 1, 2)
    y = x * 1
    with t.autograd.graph.saved_tensors_hooks(lambda x: x.clone(), lambda x: x):
        z = y * y
    y.add_(10)
    z.sum().backward()
    return x.grad


@program
def in_place_operations_with_hooks_of_saved_tensors(t: Any) -> Any:
    x, w = leaf(t, 1, 2), leaf(t, 3, 4)
    with t.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        y = x * 1
        y.mul_(w)
        y.pow_(3)
        z = y[:1].mul_(w[1:])
    (y * w).sum().backward()
    return x.grad, w.grad, z


@program
def a_pack_hook_that_writes(t: Any) -> Any:
    with t.autograd.graph.saved_tensors_hooks(lambda x: x.mul_(2), lambda x: x):
        (leaf(t, 1, 2) * 1).exp()


@program
def an_unpack_hook_that_returns_no_tensor(t: Any) -> Any:
    with t.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: 5):
        y = leaf(t, 1, 2).exp()
    y.sum().backward()


@program
def a_pack_hook_that_raises(t: Any) -> Any:
    def fail(x: Any) -> Any:
        raise KeyError("pack")

    x, outcomes, calls = leaf(t, 1, 2), [], []
    with _hooks_of(t, calls):
        try:
            with t.autograd.graph.saved_tensors_hooks(fail, lambda x: x):
                x.exp()
        except KeyError as error:
            outcomes.append((str(error), t.is_grad_enabled()))
        x.exp()
    y = x.exp()
    y.sum().backward()
    return outcomes, calls, x.grad


@program
def an_unpack_hook_that_raises(t: Any) -> Any:
    x, outcomes, failing = leaf(t, 1, 2), [], [True]

    def unpack(x: Any) -> Any:
        if failing.pop():
            raise KeyError("unpack")
        failing.append(False)
        return x

    with t.autograd.graph.saved_tensors_hooks(lambda x: x, unpack):
        y = x.exp()
    failing.append(True)
    try:
        y.sum().backward(retain_graph=True)
    except KeyError as error:
        outcomes.append((str(error), t.is_grad_enabled(), x.grad))
    failing.insert(0, False)
    y.sum().backward()
    return outcomes, x.grad


@program
def hooks_of_saved_tensors_of_a_function_of_the_users(t: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x, x * 2)
        return x * x

    def backward(ctx: Any, g: Any) -> Any:
        x, twice = ctx.saved_tensors
        return g * x + g * twice / 2

    x, calls = leaf(t, 1, 2), []
    with _hooks_of(t, calls):
        y = _function(t, forward, backward).apply(x)
    y.sum().backward()
    return calls, x.grad


# ---------------------------------------------------------------------- the comparison


def _plainly(value: Any) -> Any:
    """Nested lists of numbers, shapes and names, the same from both."""
    if hasattr(value, "requires_grad"):
        values = value.detach().double().tolist()
        return ["tensor", str(value.dtype).removeprefix("torch."), tuple(value.shape), value.requires_grad, values]
    if isinstance(value, dict):
        return {key: _plainly(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) or hasattr(value, "__next__"):
        return [_plainly(item) for item in value]
    return value


def _outcome(run: Callable[[Any], Any], t: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _plainly(run(t))
        except Exception as error:
            return error


@contextlib.contextmanager
def _grad_mode_restored() -> Any:
    import torch

    yield
    assert tinytorch.is_grad_enabled() and torch.is_grad_enabled()


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    import torch

    with _grad_mode_restored():
        ours, theirs = _outcome(PROGRAMS[name], tinytorch), _outcome(PROGRAMS[name], torch)
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), f"{ours!r}, PyTorch: {theirs!r}"
        assert len(str(ours)) > 10 or str(ours) == str(theirs)
    else:
        if isinstance(ours, Exception):
            raise AssertionError(f"PyTorch: {theirs}") from ours
        assert _rounded(ours) == _rounded(theirs)


def _rounded(value: Any) -> Any:
    """Floats of results to ten digits: sums and products of small numbers, but exp of them too."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
