"""What a compiled function does to what is outside of it: arguments, gradients, captured Tensors, hooks, generators.

Each case is a world that is made twice: its function is called as it is written in one, compiled in the other. After
every call the results and what can be seen of the world must be the same, or the compiled call says what it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch import nn
from tinytorch.compiled.arrays import NotTraceable
from tinytorch.engine.runner import untraced

# A function, the arguments of its k-th call, and what to look at after that, given the arguments and the result.
World = tuple[Callable[..., Any], Callable[[int], Any], Callable[[Any, Any], Any]]
SAME: list[Callable[[], World]] = []
REFUSED: list[tuple[Callable[[], World], str]] = []


def refused(match: str) -> Callable[[Any], Any]:
    """A world whose compiled function says what it cannot do, in these words."""

    def register(make: Callable[[], World]) -> Callable[[], World]:
        REFUSED.append((make, match))
        return make

    return register


def same(make: Callable[[], World]) -> Callable[[], World]:
    """A world in which compiled and as written are the same."""
    SAME.append(make)
    return make


def values(thing: Any) -> Any:
    """A structure with lists of numbers in place of Tensors."""
    if isinstance(thing, torch.Tensor):
        return thing.detach().tolist()
    if isinstance(thing, dict):
        return {key: values(item) for key, item in thing.items()}
    return [values(item) for item in thing] if isinstance(thing, (list, tuple)) else thing


def history(make: Callable[[], World], compiled: bool) -> list[Any]:
    torch.manual_seed(0)
    function, arguments, look = make()
    if compiled:
        function = torch.compile(function)
    seen: list[Any] = []
    for k in range(4):
        args = arguments(k)
        try:
            result = function(*args)
        except NotTraceable:
            raise
        except Exception as error:
            seen.append((type(error), values(look(args, None)), values(args)))
        else:
            seen.append((values(result), values(look(args, result)), values(args)))
    return seen


def nothing(args: Any, result: Any) -> None:
    """The results and arguments are all there is to see."""


def three(k: int) -> Any:
    """An argument of three elements, others at each call."""
    return (torch.tensor([1.0, 2.0, -3.0]) * (k + 1),)


def parameter(*numbers: float) -> Any:
    return nn.Parameter(torch.tensor(list(numbers) or [1.0, -1.0, 2.0]))


# ---------------------------------------------------------------------- arguments that alias


def pairs(k: int) -> Any:
    x, y = torch.ones(2), torch.full((2,), 5.0)
    return [(x, x), (x, y), (y, x), (x, x)][k]


@same
def the_same_tensor_twice() -> World:
    return (lambda a, b: a * 10 + b), pairs, nothing


@same
def the_same_tensor_twice_in_a_list() -> World:
    return (lambda pair: pair[0] * 10 + pair[1]), lambda k: (list(pairs(k)),), nothing


@same
def the_same_tensor_twice_in_dictionaries() -> World:
    return (lambda a, b: a["x"] * 10 + b["y"]), lambda k: ({"x": pairs(k)[0]}, {"y": pairs(k)[1]}), nothing


@same
def the_same_tensor_twice_written_to() -> World:
    def write(a: Any, b: Any) -> Any:
        a.add_(1)
        return b * 2

    return write, pairs, lambda args, _: [x._version for x in args]


@same
def views_of_one_another_written_to() -> World:
    def write(a: Any, b: Any) -> Any:
        a.mul_(2)
        b.add_(1)
        return a.sum() + b.sum()

    def views(k: int) -> Any:
        x = torch.arange(6.0).reshape(2, 3)
        return [(x, x.view(-1)), (x, x[0]), (x[:, 0], x[:, 1]), (x.T, x)][k]

    return write, views, nothing


@same
def overlapping_windows_written_to() -> World:
    text = torch.arange(20.0)

    def write(x: Any, y: Any) -> Any:
        x.add_(y)
        return y * 1

    return write, lambda k: (text[2 * k : 2 * k + 4], text[2 * k + 1 : 2 * k + 5]), lambda *_: (text, text._version)


@same
def arguments_that_share_an_array() -> World:
    def write(a: Any, b: Any) -> Any:
        a.add_(1)
        return b * 2

    def two(k: int) -> Any:
        array = np.arange(3, dtype=np.float32)
        return torch.from_numpy(array), torch.from_numpy(array[::-1] if k % 2 else array)

    return write, two, lambda args, _: [x._version for x in args]


@same
def two_dtypes_of_one_memory() -> World:
    def write(a: Any, b: Any) -> Any:
        a.mul_(2)
        return b + 0

    def two(k: int) -> Any:
        x = torch.arange(3.0) + k
        return x, x.view(torch.int32)

    return write, two, nothing


@same
def layouts_of_arguments() -> World:
    """Sums in another order have other bits."""

    def read(x: Any) -> Any:
        return x.sum(), x.sum(0), x * 2, x.reshape(-1), x.is_contiguous()

    def layouts(k: int) -> Any:
        x = torch.randn(40, 50)
        return ([x, x.T, x[::2, ::3], x[:, :1].expand(40, 30)][k],)

    return read, layouts, lambda _, result: result[4]


@same
def an_argument_that_reads_only_parts_of_a_captured_one() -> World:
    data = torch.arange(10.0)
    return (lambda x: x + data.mean()), lambda k: (data[k : k + 3],), nothing


# ---------------------------------------------------------------------- arguments that are written to


@same
def in_place_operations_on_an_argument() -> World:
    return (lambda x: x.add_(1)), three, lambda args, result: (result is args[0], args[0]._version)


@same
def assignments_to_parts_of_arguments() -> World:
    def write(x: Any, y: Any) -> None:
        x[0] = 1
        y.copy_(x * 2)
        x[1:].mul_(3)

    return write, lambda k: (*three(k), torch.zeros(3)), lambda args, _: [x._version for x in args]


@same
def a_hidden_state_that_is_passed_in() -> World:
    state = {"h": torch.zeros(3), "c": torch.ones(3)}

    def step(x: Any, state: Any) -> Any:
        state["h"].copy_(torch.tanh(state["h"] + x))
        state["c"] += state["h"]
        return state["h"] * 1

    return step, lambda k: (*three(k), state), nothing


@same
def an_optimizer_of_ones_own_on_its_arguments() -> World:
    weights, moments = [torch.ones(3), torch.ones(2, 2)], [torch.zeros(3), torch.zeros(2, 2)]

    def update(weights: Any, moments: Any, x: Any) -> Any:
        for w, m in zip(weights, moments, strict=True):
            leaf = w.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(((leaf * x.sum()) ** 2).sum(), leaf)
            m.mul_(0.9).add_(gradient)
            w.sub_(0.01 * m)

    return update, lambda k: (weights, moments, *three(k)), lambda *_: [x._version for x in (*weights, *moments)]


@same
def what_numpy_writes_into_an_argument() -> World:
    def write(x: Any) -> Any:
        x.numpy()[0] = 7
        np.multiply(x.numpy(), 2, out=x.numpy())
        np.clip(x.numpy(), -5, 5, x.numpy())
        return x.sum()

    return write, three, lambda args, _: args[0]._version


@same
def initialising_an_argument() -> World:
    def write(x: Any) -> Any:
        return nn.init.normal_(x) * 2

    return write, three, nothing


@same
def an_argument_that_cannot_be_written_to() -> World:
    def write(x: Any) -> Any:
        x.add_(1)
        return x.sum()

    def some_expanded(k: int) -> Any:
        return (torch.ones(1, 3).expand(2, 3) if k in (1, 2) else torch.ones(2, 3),)

    return write, some_expanded, nothing


@same
def an_earlier_graph_notices_that_its_argument_was_written_to() -> World:
    w, losses = parameter(), []

    def arguments(k: int) -> Any:
        (x,) = three(k)
        losses.append((w * x).sum())
        return (x,)

    def look(args: Any, result: Any) -> Any:
        with pytest.raises(RuntimeError, match="modified by an in-place operation"):
            losses[-1].backward()

    return (lambda x: x.mul_(2)), arguments, look


@refused("changed a list or dictionary")
def a_dictionary_that_is_given_something_else() -> World:
    state = {"h": torch.zeros(3)}

    def step(x: Any, state: Any) -> Any:
        state["h"] = torch.tanh(state["h"] + x)
        return state["h"]

    return step, lambda k: (*three(k), state), nothing


@refused("changed a list or dictionary")
def a_list_that_grows() -> World:
    return (lambda x, seen: seen[0].append(x * 2)), lambda k: (*three(k), ([],)), nothing


@refused("an argument.* require grad or")
def an_argument_that_is_made_a_leaf() -> World:
    def gradient(x: Any) -> Any:
        x.requires_grad_()
        (x * x).sum().backward()
        return x.grad

    return gradient, three, nothing


@refused("an argument.* require grad or")
def an_argument_that_gets_a_history() -> World:
    w = parameter()
    return (lambda x: x.mul_(w).sum()), three, nothing


@refused("assigns .data")
def an_argument_whose_data_are_replaced() -> World:
    def replace(x: Any) -> Any:
        x.data = x * 2
        return x

    return replace, three, nothing


@refused("reads .grad of an argument")
def an_argument_whose_gradient_is_read() -> World:
    def arguments(k: int) -> Any:
        (x,) = three(k)
        x.grad = x * 2
        return (x,)

    return (lambda x: x.grad * 1), arguments, nothing


# ---------------------------------------------------------------------- arguments that alias what is outside


@refused("shares memory")
def an_argument_that_is_a_captured_tensor() -> World:
    kept = torch.zeros(3)

    def write(x: Any) -> Any:
        kept.add_(1)
        return x * 1

    return write, lambda k: (kept,), nothing


@refused("shares memory")
def an_argument_that_views_a_captured_tensor() -> World:
    kept = torch.zeros(3)

    def write(x: Any) -> Any:
        x.add_(1)
        return kept * 1

    return write, lambda k: (kept[:2],), nothing


@refused("shares memory")
def an_argument_that_views_a_parameter() -> World:
    w = parameter()
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
        return x * 1

    return step, lambda k: (w.detach()[:2],), nothing


@refused("shares memory")
def an_argument_that_is_a_gradient() -> World:
    w = parameter()
    w.grad = torch.ones(3)

    def step(g: Any) -> Any:
        (w * 2).sum().backward()
        return g * 1

    return step, lambda k: (w.grad[1:],), nothing


@refused("shares memory")
def an_argument_that_aliases_only_in_a_later_call() -> World:
    kept = torch.zeros(3)

    def write(x: Any) -> Any:
        kept.add_(1)
        return x * 1

    return write, lambda k: (kept if k == 2 else torch.ones(3),), nothing


@refused("shares memory")
def an_argument_that_is_a_gradient_only_in_a_later_call() -> World:
    w = parameter()

    def step(g: Any) -> Any:
        (w * 2).sum().backward()
        return g * 1

    return step, lambda k: (w.grad if k == 2 else torch.ones(3),), nothing


# ---------------------------------------------------------------------- results


@same
def an_argument_that_is_returned() -> World:
    return (lambda x: (x, [x])), three, lambda args, result: (result[0] is args[0], result[1][0] is args[0])


@same
def a_captured_tensor_that_is_returned() -> World:
    kept = torch.ones(3)

    def look(args: Any, result: Any) -> Any:
        result.add_(1)
        return result is kept, kept

    return (lambda: kept), lambda k: (), look


@same
def one_result_twice_and_its_views() -> World:
    def results(x: Any) -> Any:
        y = x * 2
        return {"twice": (y, y), "views": [y[0], y.view(-1), y.T], "copy": y.clone()}

    def look(args: Any, result: Any) -> Any:
        result["views"][0].add_(1)
        result["twice"][0].T.mul_(3)
        return result["twice"][0] is result["twice"][1], result, result["twice"][0]._version

    return results, lambda k: (torch.ones(2, 2) * k,), look


@same
def parts_of_one_result() -> World:
    def results(x: Any) -> Any:
        return (*(x * 2).split(2), *(x * 3).expand(2, 3))

    def look(args: Any, result: Any) -> Any:
        result[0].add_(1)
        return result

    return results, three, look


@same
def a_result_that_is_expanded() -> World:
    def look(args: Any, result: Any) -> Any:
        with pytest.raises(RuntimeError, match="read-only, or it is expanded"):
            result.add_(1)
        return result.stride()

    return (lambda x: (x * 2).expand(2, 3)), three, look


@same
def views_of_an_argument() -> World:
    def look(args: Any, result: Any) -> Any:
        result[0].add_(1)
        return result, args, args[0]._version, result[1]._version

    return (lambda x: (x[0], x.view(-1)[1:], x.T)), lambda k: (torch.ones(2, 2) * k,), look


@same
def views_of_a_captured_tensor() -> World:
    kept = torch.zeros(2, 2)

    def look(args: Any, result: Any) -> Any:
        result[0].add_(1)
        return result, kept, kept._version, result[2]._version

    return (lambda: (kept[0], kept.view(-1), kept.T, kept.detach())), lambda k: (), look


@refused("does not lie in C order")
def a_view_of_an_argument_in_another_order() -> World:
    return (lambda x: x[0]), lambda k: (torch.ones(2, 3).T,), nothing


@refused("kept outside of it")
def an_array() -> World:
    return (lambda x: (x * 2).numpy()), three, nothing


@same
def a_gradient_that_is_returned() -> World:
    w, kept = parameter(), []

    def step(x: Any) -> Any:
        w.grad = None
        (w * x).sum().backward()
        return w.grad, w.grad[0]

    def look(args: Any, result: Any) -> Any:
        kept.append(result[0])
        result[1].add_(1)
        return kept, result[0] is w.grad, w.grad

    return step, three, look


@same
def a_leaf_that_was_made_inside() -> World:
    def leaf(x: Any) -> Any:
        y = x.clone().requires_grad_()
        (y * y).sum().backward()
        z = y * 2
        z.retain_grad()
        z.sum().backward()
        return y, z, x.detach().requires_grad_()

    def look(args: Any, result: Any) -> Any:
        return [t.grad for t in result], result[0].requires_grad, result[2].requires_grad, result[0].is_leaf

    return leaf, three, look


# ---------------------------------------------------------------------- gradients


@same
def assigned_gradients_that_share_memory() -> World:
    w, v = parameter(), parameter()

    def step(x: Any) -> None:
        y = x * 2
        w.grad, v.grad = y, y.detach()

    def look(args: Any, result: Any) -> Any:
        w.grad.add_(1)
        return w.grad, v.grad

    return step, three, look


@same
def cotangents_from_outside() -> World:
    w, cotangent = parameter(), torch.ones(3)

    def arguments(k: int) -> Any:
        w.grad = None
        cotangent.data = torch.full((3,), k + 1.0)
        return three(k)

    return (lambda x: (w * x).backward(cotangent)), arguments, lambda args, result: w.grad


@same
def gradients_that_share_memory() -> World:
    w, v, u = parameter(), parameter(), parameter()
    w.grad = torch.ones(w.shape)
    v.grad, u.grad = w.grad.detach(), w.grad.view(w.shape)

    def step(x: Any) -> Any:
        w.grad.add_(x)
        v.grad.mul_(2)
        u.grad.sub_(1)
        return w.grad * 1

    return step, three, lambda args, result: (result, w.grad, v.grad, u.grad)


@same
def gradients_that_the_caller_keeps() -> World:
    w, kept = parameter(), []

    def arguments(k: int) -> Any:
        w.grad = None
        return three(k)

    def look(args: Any, result: Any) -> Any:
        kept.append(w.grad)
        return kept, len({id(g) for g in kept}), len({g.data_ptr() for g in kept})

    return (lambda x: (w * x).sum().backward()), arguments, look


@same
def gradients_that_the_caller_keeps_of_a_step_with_its_own_zero_grad() -> World:
    w, kept = parameter(), []
    optimizer = torch.optim.AdamW([w], lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        (w * x).sum().backward()
        nn.utils.clip_grad_norm_([w], 0.5)
        optimizer.step()

    def look(args: Any, result: Any) -> Any:
        kept.append(w.grad)
        return kept, w

    return step, three, look


@same
def gradients_are_added_to_the_one_that_is_there() -> World:
    w = parameter()
    there = w.grad = torch.ones(3)

    def step(x: Any) -> None:
        (w * x).sum().backward()
        (w * w * x).sum().backward()

    return step, three, lambda *_: (there, w.grad is there, there._version)


@same
def a_gradient_that_is_read_only() -> World:
    w = parameter()
    there = w.grad = torch.ones(1).expand(3)
    return (lambda x: (w * x).sum().backward()), three, lambda *_: (there, w.grad is there, w.grad)


@same
def a_gradient_in_another_order() -> World:
    w = nn.Parameter(torch.ones(2, 3))
    w.grad = torch.ones(3, 2).T
    return (lambda x: (w * x).sum().backward()), three, lambda *_: (w.grad, w.grad.stride())


@same
def dropping_the_gradient_inside() -> World:
    w = parameter()

    def step(x: Any) -> None:
        w.grad = None
        (w * x).sum().backward()

    return step, three, lambda *_: w.grad


@same
def zeroing_the_gradient_inside() -> World:
    w = parameter()
    there = w.grad = torch.ones(3)

    def step(x: Any) -> None:
        w.grad.zero_()
        (w * x).sum().backward()

    return step, three, lambda *_: (w.grad, w.grad is there, there._version)


@same
def zeroing_the_gradient_where_there_is_one() -> World:
    w = parameter()

    def arguments(k: int) -> Any:
        if k == 2:
            w.grad = None
        return three(k)

    def step(x: Any) -> None:
        if w.grad is not None:
            w.grad.zero_()
        (w * x).sum().backward()

    return step, arguments, lambda *_: w.grad


@same
def zero_grad_that_keeps_the_tensor() -> World:
    w = parameter()
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad(set_to_none=False)
        (w * x).sum().backward()
        return w.grad * 1

    return step, three, lambda *_: w.grad


@same
def what_is_done_to_a_gradient_inside() -> World:
    w, v = parameter(), parameter()

    def step(x: Any) -> Any:
        w.grad = None
        (w * x).sum().backward()
        gradient = w.grad
        w.grad.mul_(2)
        v.grad = w.grad
        gradient[1:].add_(1)
        (w * x).sum().backward()
        (v * v).sum().backward()
        return gradient * 1, gradient.sum()

    return step, three, lambda *_: (w.grad, v.grad is w.grad, w.grad._version)


@same
def clipping_is_seen_by_who_holds_the_gradient() -> World:
    w = parameter()

    def step(x: Any) -> Any:
        w.grad = None
        (w * x).sum().backward()
        gradient = w.grad
        before = gradient * 1
        nn.utils.clip_grad_norm_([w], 0.5)
        return before, gradient * 1

    return step, three, lambda *_: w.grad


@same
def a_gradient_made_inside() -> World:
    w = parameter()

    def step(x: Any) -> Any:
        flat = torch.cat([x, x]) * 2
        w.grad = flat[:3]
        flat.add_(1)
        (w * x).sum().backward()
        return flat[3:] * 1, flat[:3] * 1

    return step, three, lambda *_: w.grad


@same
def gradients_that_are_arguments() -> World:
    w = parameter()
    optimizer = torch.optim.SGD([w], lr=1.0)

    def step(g: Any) -> Any:
        w.grad = g
        nn.utils.clip_grad_norm_([w], 0.5)
        optimizer.step()
        return g * 1

    return step, three, lambda args, _: (w, w.grad is args[0], args[0]._version)


@same
def a_gradient_from_outside() -> World:
    w, there = parameter(), torch.zeros(3)

    def step(x: Any) -> None:
        there.fill_(1)
        w.grad = there
        (w * x).sum().backward()

    return step, three, lambda *_: (w.grad is there, there)


@same
def the_gradient_of_chosen_leaves() -> World:
    w, v = parameter(), parameter()
    return (lambda x: (w * v * x).sum().backward(inputs=[w])), three, lambda *_: (w.grad, v.grad)


@same
def a_gradient_penalty() -> World:
    w = parameter()

    def step(x: Any) -> None:
        w.grad = None
        (gradient,) = torch.autograd.grad((w**3 * x).sum(), w, create_graph=True)
        ((gradient**2).sum() + (w * x).sum()).backward()

    return step, three, lambda *_: w.grad


@refused("create_graph=True")
def gradients_that_have_a_history() -> World:
    w = parameter()

    def step(x: Any) -> None:
        w.grad = None
        (w**3 * x).sum().backward(create_graph=True)
        (w.grad**2).sum().backward()

    return step, three, nothing


@same
def retained_gradients() -> World:
    w = parameter()

    def step(x: Any) -> Any:
        y = w * x
        y.retain_grad()
        (y * y).sum().backward()
        return y.grad, y

    return step, three, lambda _, result: (w.grad, result[1].grad)


# ---------------------------------------------------------------------- captured Tensors


@same
def running_statistics() -> World:
    norm = nn.BatchNorm1d(3)
    buffers = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
    return norm, lambda k: (torch.randn(4, 3),), lambda *_: (buffers, [b._version for b in buffers])


@same
def a_cache_that_is_filled() -> World:
    cache = torch.zeros(4, 3)

    def step(x: Any, place: Any) -> Any:
        cache[place] = x
        return cache.sum(0)

    return step, lambda k: (*three(k), torch.tensor([k])), lambda *_: (cache, cache._version)


@same
def an_earlier_graph_notices_what_was_written() -> World:
    w, kept, losses = parameter(), torch.ones(3), []

    def step(x: Any) -> None:
        with torch.no_grad():
            kept.view(-1).mul_(x)

    def arguments(k: int) -> Any:
        losses.append((w * kept).sum())
        return three(k)

    def look(args: Any, result: Any) -> Any:
        with pytest.raises(RuntimeError, match="modified by an in-place operation"):
            losses[-1].backward()
        return kept._version

    return step, arguments, look


@same
def an_earlier_graph_notices_an_optimizers_step() -> World:
    w, losses = parameter(), []
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x: Any) -> None:
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    def arguments(k: int) -> Any:
        losses.append((w * w).sum())
        return three(k)

    def look(args: Any, result: Any) -> Any:
        with pytest.raises(RuntimeError, match="modified by an in-place operation"):
            losses[-1].backward()
        return w._version

    return step, arguments, look


@same
def freezing_and_unfreezing_inside() -> World:
    w, v = parameter(), parameter()

    def step(x: Any) -> None:
        w.requires_grad_(False)
        (w * v * x).sum().backward()
        w.requires_grad_(True)
        (w * v * x).sum().backward()

    return step, three, lambda *_: (w.grad, v.grad, w.requires_grad)


@same
def frozen_inside_and_left_so() -> World:
    w, v = parameter(), parameter()

    def step(x: Any) -> None:
        w.requires_grad_(False)
        (w * v * x).sum().backward()

    def arguments(k: int) -> Any:
        if k != 2:
            w.requires_grad_(True)
        return three(k)

    return step, arguments, lambda *_: (w.grad, v.grad, w.requires_grad)


@same
def what_requires_grad_chooses() -> World:
    w = parameter()

    def arguments(k: int) -> Any:
        w.requires_grad_(k % 2 == 0)
        return three(k)

    return (lambda x: x * 2 if w.requires_grad else x * 3), arguments, nothing


@same
def evaluation_inside() -> World:
    drop = nn.Dropout(0.5)

    def step(x: Any) -> Any:
        drop.eval()
        y = drop(x)
        drop.train()
        return y * 1, drop(x)

    return step, three, lambda *_: drop.training


@same
def evaluation_inside_and_left_so() -> World:
    drop = nn.Dropout(0.5)

    def step(x: Any) -> Any:
        y = drop(x)
        drop.eval()
        return y

    def arguments(k: int) -> Any:
        drop.train(k != 2)
        return three(k)

    return step, arguments, lambda *_: drop.training


@same
def what_a_function_that_is_called_hands_back() -> World:
    kept = torch.zeros(3)

    def step(x: Any) -> Any:
        nn.init.constant_(kept, 2.0).add_(x)
        own = torch.zeros(3)
        nn.init.normal_(own).add_(x)
        return kept * 1, own

    return step, three, lambda *_: kept


@same
def data_that_are_written_to() -> World:
    w = parameter()

    def step(x: Any) -> None:
        w.grad = None
        (w * x).sum().backward()
        w.data.sub_(0.1 * w.grad)
        w.detach()[0] = 1

    return step, three, lambda *_: w


@refused("assigns .data")
def data_that_are_replaced() -> World:
    w = parameter()

    def step(x: Any) -> None:
        w.data = w.data - 0.1 * x

    return step, three, nothing


@refused("has a history|writes what has a history")
def a_captured_tensor_that_gets_a_history() -> World:
    w, kept = parameter(), torch.zeros(3)

    def step(x: Any) -> Any:
        kept.copy_(w * x)
        return kept.sum()

    return step, three, nothing


@refused("kept outside of it")
def an_attribute_that_is_given_a_new_tensor() -> World:
    cell = nn.Module()
    cell.register_buffer("h", torch.zeros(3))

    def step(x: Any) -> Any:
        cell.h = torch.tanh(cell.h + x)
        return cell.h

    return step, three, nothing


@refused("array_equal gives bool")
def a_choice_by_the_values_of_captured_tensors() -> World:
    kept = torch.ones(3)
    return (lambda x: x if torch.equal(kept, torch.ones(3)) else -x), three, nothing


@refused("registers a hook")
def a_hook_of_a_module_that_is_registered_inside() -> World:
    layer = nn.Linear(3, 2)

    def step(x: Any) -> Any:
        layer.register_forward_hook(lambda module, args, output: output * 2)
        return layer(x)

    return step, three, nothing


@same
def a_function_of_the_users_own() -> World:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 3 * x * x

    w = parameter()

    def step(x: Any) -> Any:
        (gradient,) = torch.autograd.grad((Cube.apply(w) * x).sum(), w, create_graph=True)
        (gradient * x).sum().backward()
        with torch.no_grad():
            w.mul_(1.1)
        return Cube.apply(x), gradient

    return step, three, lambda *_: (w, w.grad)


@same
def arrays_of_numpy_that_are_there_before() -> World:
    kept = np.zeros(3, np.float32)

    def step(x: Any) -> Any:
        torch.from_numpy(kept).add_(x)
        torch.as_tensor(kept[1:]).mul_(2)
        return torch.from_numpy(kept) * 1

    return step, three, lambda *_: kept.tolist()


@same
def tensors_of_numbers_that_are_written_to() -> World:
    def step(x: Any) -> Any:
        own = torch.Tensor([0.0, 1.0, 2.0]).add_(x)
        new = torch.tensor(np.ones(3, np.float32)).requires_grad_()
        given = torch.from_numpy(np.ones(3, np.float32)).requires_grad_()
        (new * given * x).sum().backward()
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        zeros = torch.autograd.grad((leaves[0] * 2).sum(), leaves, materialize_grads=True)[1]
        return own, new.grad, given.grad, zeros.add_(x)

    return step, three, nothing


@same
def a_hook_that_writes_into_the_gradient_that_backward_starts_from() -> World:
    def step(x: Any) -> Any:
        y = x.sum().detach().requires_grad_()
        z = y.view(())
        z.register_hook(lambda g: g.add_(1).sum())
        z.backward()
        return y.grad

    return step, three, nothing


@same
def a_tensor_that_is_a_leaf_only_inside() -> World:
    kept = torch.ones(3)

    def step(x: Any) -> Any:
        kept.requires_grad_(True)
        (kept * x).sum().backward()
        gradient = kept.grad * 1
        kept.requires_grad_(False)
        kept.grad = None
        return gradient

    return step, three, lambda *_: (kept.requires_grad, kept.grad)


MADE_OF_ARRAYS: dict[str, Callable[[Any], Any]] = {
    "written": lambda x: torch.Tensor(np.zeros(3, np.float32)).add_(x) * 1,
    "an array written": lambda x: torch.from_numpy(np.zeros(3, np.float32)).add_(x) * 1,
    "a view written": lambda x: torch.from_numpy(np.zeros((2, 3), np.float32)[1:]).add_(x) * 1,
    "a leaf": lambda x: (torch.Tensor(np.ones(3, np.float32)).requires_grad_() * x).sum().backward(),
}


@pytest.mark.parametrize("name", MADE_OF_ARRAYS)
def test_what_is_made_inside_of_an_array_and_changes_is_refused(name: str) -> None:
    """The array would be the same at each call, with what the last one left in it."""
    with pytest.raises(NotTraceable, match=r"makes a .*float32 \(.*3.*\), of a NumPy array"):
        torch.compile(MADE_OF_ARRAYS[name])(torch.ones(3))


# ---------------------------------------------------------------------- hooks


@same
def hooks_of_a_parameter() -> World:
    w, seen = parameter(), []
    w.register_hook(lambda g: seen.append(g))
    w.register_hook(lambda g: g * 2)
    w.register_hook(lambda g: seen.append(g.sum().item()))
    return (lambda x: (w * x).sum().backward()), three, lambda *_: (w.grad, seen)


@same
def a_hook_that_writes_into_the_gradient() -> World:
    w = parameter()

    def halve(g: Any) -> None:
        with torch.no_grad():
            g.mul_(0.5)

    w.register_hook(halve)
    return (lambda x: (w * x).sum().backward()), three, lambda *_: w.grad


@same
def hooks_that_come_and_go() -> World:
    w, handles = parameter(), []

    def arguments(k: int) -> Any:
        if k == 1:
            handles.append(w.register_hook(lambda g: g * 3))
        if k == 3:
            handles[0].remove()
        return three(k)

    return (lambda x: (w * x).sum().backward()), arguments, lambda *_: w.grad


@same
def hooks_of_a_module_that_come_and_go() -> World:
    layer, handles = nn.Linear(3, 2), []

    def arguments(k: int) -> Any:
        if k == 1:
            handles.append(layer.register_forward_hook(lambda module, args, output: output * 2))
        if k == 3:
            handles[0].remove()
        return three(k)

    return (lambda x: layer(x)), arguments, nothing


@refused("registers a hook")
def a_hook_that_is_registered_inside() -> World:
    w = parameter()

    def step(x: Any) -> None:
        w.register_hook(lambda g: g * 2)
        (w * x).sum().backward()

    return step, three, nothing


@refused("registers a hook")
def a_second_hook_that_is_registered_inside() -> World:
    w = parameter()
    w.register_hook(lambda g: g * 3)

    def step(x: Any) -> None:
        (w * x).sum().backward()
        w.register_hook(lambda g: g * 2)

    return step, three, nothing


@refused("hook of a Tensor from outside cannot be differentiated")
def a_hook_that_would_be_differentiated() -> World:
    w = parameter()
    w.register_hook(lambda g: g * 2)
    return (lambda x: torch.autograd.grad((w**3 * x).sum(), w, create_graph=True)[0].sum()), three, nothing


# ---------------------------------------------------------------------- errors


@same
def an_error_at_the_first_call() -> World:
    w = parameter()

    def step(x: Any) -> Any:
        x.add_(1)
        (w * x).sum().backward()
        raise KeyError("mine")

    return step, three, lambda *_: w.grad


@same
def an_error_at_a_later_call() -> World:
    w, kept = parameter(), torch.zeros(3)

    def step(x: Any, index: Any) -> Any:
        x.add_(1)
        kept.add_(x)
        (w * x).sum().backward()
        return x[index] * w.detach()[index]

    def arguments(k: int) -> Any:
        return *three(k), torch.tensor([0, [1, 5, 2, -4][k]])

    return step, arguments, lambda *_: (w.grad, kept)


LOOKUPS: dict[str, Callable[[Any, Any], Any]] = {
    "index": lambda x, i: x[i],
    "assign": lambda x, i: x.clone().index_put((i,), x[:2]),
    "gather": lambda x, i: x.gather(0, i),
    "scatter_add": lambda x, i: x.scatter_add(0, i, x),
    "take_along_dim": lambda x, i: x.take_along_dim(i, 0),
    "embedding": lambda x, i: nn.functional.embedding(i, x.unsqueeze(1)),
    "one_hot": lambda x, i: nn.functional.one_hot(i, 3),
    "cross_entropy": lambda x, i: nn.functional.cross_entropy(torch.stack([x, x]), i),
    "bernoulli": lambda x, i: torch.bernoulli(i / 3),
    "multinomial": lambda x, i: torch.multinomial(4 - i.float(), 1),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_indices_that_are_out_of_range_only_later(name: str) -> None:
    """With the same class of error; the call after it is right again."""

    def world() -> World:
        return LOOKUPS[name], lambda k: (torch.arange(3.0), torch.tensor([0, [1, 7, 2, 0][k]])), nothing

    assert history(world, compiled=True) == history(world, compiled=False)
    assert isinstance(history(world, compiled=False)[1][0], type)


@refused("must be its arguments")
def a_closure_that_uses_an_argument() -> World:
    w = parameter()
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x: Any) -> Any:
        def closure() -> Any:
            loss = (w * x).sum()
            loss.backward()
            return loss

        return optimizer.step(closure)

    return step, three, nothing


@refused("returns a number")
def a_number_from_a_function_that_is_called() -> World:
    return (lambda x: x * torch.Generator().seed()), three, nothing


# ---------------------------------------------------------------------- random numbers, numbers


@same
def a_seed_inside() -> World:
    def step(x: Any) -> Any:
        first = torch.randn(3)
        torch.manual_seed(3)
        return first, torch.randn(3) + x

    return step, three, nothing


@same
def a_place_in_the_stream_that_is_returned_to() -> World:
    def step(x: Any) -> Any:
        place = torch.get_rng_state()
        first = torch.randn(3)
        torch.set_rng_state(place)
        return first, torch.randn(3) + x

    return step, three, nothing


@same
def a_generator_of_ones_own() -> World:
    generator = torch.Generator().manual_seed(5)
    return (lambda x: x + torch.rand(3, generator=generator)), three, lambda *_: generator.get_state()


@same
def zeros_of_both_signs_and_nan() -> World:
    return (lambda x, zero: x / zero), lambda k: (*three(k), [0.0, -0.0, float("nan"), -0.0][k]), lambda _, r: str(r)


# ----------------------------------------------------------------------


@pytest.mark.parametrize("make", SAME, ids=lambda make: make.__name__)
def test_as_written(make: Callable[[], World]) -> None:
    assert str(history(make, compiled=True)) == str(history(make, compiled=False))  # as text, so that NaN equals NaN


@pytest.mark.parametrize(("make", "match"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_refused(make: Callable[[], World], match: str) -> None:
    with pytest.raises(NotTraceable, match=match):
        history(make, compiled=True)
    torch.ones(3).sum().item()  # nothing is being traced any more


def test_a_call_from_within_is_made_as_it_is_written() -> None:
    """By a hook, which is called while the program runs, whose memory is in use then."""
    w, seen = parameter(), []

    def function(x: Any) -> Any:
        y = (x * 2).exp()
        if x.shape == (3,):
            (w * y).sum().backward()
        return y.sum()

    compiled = torch.compile(function)
    w.register_hook(lambda g: seen.append(compiled(torch.full((2,), len(seen) * 1.0)).item()))
    for k in range(3):
        assert compiled(torch.full((3,), k * 0.5)).item() == function(torch.full((3,), k * 0.5)).item()
    assert seen[::2] == [(torch.full((2,), k * 2.0) * 2).exp().sum().item() for k in range(3)]


def test_a_call_from_within_does_not_work_in_the_memory_of_the_call_around_it() -> None:
    inside = [False]

    def function(x: Any) -> Any:
        y = (x * 2).exp()
        call_again(y)
        return y.sum()

    compiled = torch.compile(function)

    @untraced
    def call_again(y: Any) -> None:
        if not inside[0]:
            inside[0] = True
            compiled(torch.full((3,), 7.0))
            inside[0] = False

    for k in range(4):
        x = torch.full((3,), k * 0.5)
        assert compiled(x).item() == (x * 2).exp().sum().item()


def test_a_call_that_changes_an_argument_in_a_later_run_is_refused() -> None:
    w, x, change = parameter(), torch.ones(3), [0.0]
    compiled = torch.compile(lambda x: ((w * x).sum().backward(), x * 2)[1])
    w.register_hook(lambda gradient: (x.add_(change[0]), None)[1] if change[0] else None)
    for _ in range(2):
        assert compiled(x).tolist() == [2, 2, 2]
    change[0] = 1.0
    with pytest.raises(NotTraceable, match="shares memory with a Tensor from outside"):
        compiled(x)


def test_a_gradient_that_is_written_to_may_not_be_an_argument_too() -> None:
    w = parameter()
    w.grad = torch.zeros(w.shape)

    @torch.compile
    def step(x: Any) -> Any:
        assert w.grad is not None
        w.grad.add_(1)
        return x * 1

    assert step(torch.full((3,), 5.0)).tolist() == [5, 5, 5]
    with pytest.raises(NotTraceable, match="shares memory with a Tensor from outside, or its gradient"):
        step(w.grad.detach())
    assert w.grad.tolist() == [1, 1, 1] and step(torch.full((3,), 6.0)).tolist() == [6, 6, 6]


def test_a_call_may_hand_back_what_it_is_given() -> None:
    handed_back = untraced(lambda tensor: tensor)

    def function(x: Any) -> Any:
        y = x * 2
        z = handed_back(y)
        z.add_(1)
        assert z is y
        return y

    compiled = torch.compile(function)
    for k in range(3):
        assert compiled(torch.full((2,), float(k))).tolist() == [2 * k + 1] * 2


def test_what_is_refused_leaves_no_history_outside() -> None:
    w, kept = parameter(), torch.zeros(3)
    with pytest.raises(NotTraceable, match="history"):
        torch.compile(lambda x: kept.copy_(w * x))(torch.ones(3))
    assert not kept.requires_grad and kept.grad_fn is None
    assert (kept * 2).tolist() == [2, -2, 4]
