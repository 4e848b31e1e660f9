"""The backward walk: depth, order, memory."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import weakref
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch import nn
from tinytorch.engine.function import Function
from tinytorch.engine.graph import LINKS, Links, accumulator, leading, topological_order, uses_of
from tinytorch.engine.mode import mode
from tinytorch.random import default_generator
from tinytorch.warmup import operations

DEEP = 100_000


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compiling holds memory, and for a while what it was called with: not while these tests look."""
    x = torch.ones(DEEP, requires_grad=True)
    (x.exp() * x).sum().backward()
    _step(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8)), torch.ones(3, 4))[0].backward()


@pytest.fixture
def no_collector() -> Any:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_chain_of_100_000_operations(no_collector: None) -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = x
    for _ in range(DEEP):
        y = y + x
    last = weakref.ref(y)
    y.backward(torch.tensor([1.0, 10.0], dtype=torch.float64))
    assert x.grad is not None and x.grad.tolist() == [DEEP + 1.0, 10.0 * (DEEP + 1)]
    del y
    assert last() is None


FORMS = """
import gc
import threading

import tinytorch as torch

DEEP = 30_000
x = torch.ones(2, requires_grad=True)


def saving():
    y = x
    for _ in range(DEEP):
        y = y * 1.0  # saves its input, unlike an addition
    return y


def second_input():
    y = x
    for _ in range(DEEP):
        y = x + y
    return y


def ladder():
    y = x
    for _ in range(DEEP // 3):
        y = y * 0.5 + y * 0.5
    return y


def beside_a_longer_chain():
    # Each node of one chain leads to a node of another, which is always deeper by the same.
    y, other = x, x
    for _ in range(DEEP // 2):
        other = other * 1.0
        y = y + other
    return y


def in_place_and_views():
    y = x * 1.0
    for _ in range(DEEP // 3):
        y = y.reshape(1, 2).reshape(2)
        y = y * 1.0
        y.mul_(1.0)
    return y


def several_outputs():
    y = x
    for _ in range(DEEP // 3):
        first, second = y.split(1)
        y = torch.cat([second * 1.0, first])
    return y


def views_of_views():
    y = x * 1.0
    for _ in range(DEEP // 2):
        y = y.reshape(1, 2).reshape(2)
    y[0] = 2.0
    return y


def writes_through_views():
    y = x * 1.0
    view = y[:1]
    for i in range(DEEP // 10):
        y[i % 2] += x[0]
        y[i % 2] = y[1 - i % 2] * 1.0
    return y, view * 1.0


def leaves_whose_gradients_have_histories():
    y = x
    for _ in range(DEEP // 3):
        leaf = torch.ones(2, requires_grad=True)
        leaf.grad, y = y, leaf * 1.0
    return y


def hooks_of_saved_tensors():
    with torch.autograd.graph.saved_tensors_hooks(lambda t: [t], lambda t: t[0]):
        return saving()


def walked():
    y = saving()
    y.backward(torch.ones(2), retain_graph=True)
    return y


def recorded_twice():
    y = x
    for _ in range(DEEP // 10):
        y = y * x
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


def checkpointed():
    y = x
    for _ in range(DEEP // 10):
        y = torch.utils.checkpoint.checkpoint(lambda y: (y * x).exp() * 0.1, y)
    return y


def collected():
    holder = [saving()]
    holder.append(holder)
    del holder
    gc.collect()  # which drops the graph, as a part of a cycle


failed = []


def run(form):
    try:
        form()
    except BaseException as error:
        failed.append(error)


forms = [
    saving, second_input, ladder, beside_a_longer_chain, in_place_and_views, several_outputs, views_of_views,
    writes_through_views, leaves_whose_gradients_have_histories, hooks_of_saved_tensors, walked, recorded_twice,
    checkpointed, collected,
]
for form in forms:  # compiles, on a stack that is large enough
    deep, DEEP = DEEP, 100
    run(form)
    DEEP = deep
for form in forms:
    print(form.__name__, flush=True)
    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=run, args=(form,))
    thread.start()
    thread.join()
assert not failed, failed
print("done")
"""


def test_a_deep_graph_is_freed_without_recursion_also_on_a_small_stack() -> None:
    result = subprocess.run([sys.executable, "-c", FORMS], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0 and result.stdout.endswith("done\n"), f"{result.stdout[-200:]}{result.stderr}"


def _longest(node: Any, known: dict[Any, int]) -> int:
    """Links from a node down, by the longest way, to where a chain is cut."""
    for below in topological_order([node])[0]:
        links = [known[edge[0]] + 1 for edge in below.edges if edge is not None and edge[0] in known]
        known[below] = 0 if isinstance(below.edges, Links) else max(links, default=0)
    return max(known.values())


def test_no_way_down_a_graph_is_long_without_a_cut() -> None:
    x = torch.ones(2, requires_grad=True)
    chain = beside = x
    for i in range(1000):
        beside = beside * 1.0
        chain = chain + (beside if i % 3 else chain)
    assert LINKS // 2 <= _longest(chain.grad_fn, {}) < LINKS
    chain.backward(torch.ones(2))
    assert _longest(chain.grad_fn, {}) < LINKS


def _nodes_held(thing: Any, seen: set[int]) -> list[Any]:
    """The nodes that can be reached from a value through containers, Tensors and functions."""
    if isinstance(thing, Function):
        return [thing]
    holders = (tuple, list, dict, torch.Tensor, types.FunctionType, types.CellType)
    if id(thing) in seen or not isinstance(thing, holders):
        return []
    seen.add(id(thing))
    parts = [] if isinstance(thing, types.FunctionType) and thing.__closure__ is None else gc.get_referents(thing)
    if isinstance(thing, types.FunctionType):
        parts = list(thing.__closure__ or ())
    return [node for part in parts for node in _nodes_held(part, seen)]


@pytest.mark.parametrize("cls", operations(), ids=lambda cls: cls.__name__)
def test_nodes_are_held_by_edges_alone(cls: Any) -> None:
    """Else what `Links` hold would be dropped from inside all the same."""
    for call, *shapes in cls.examples:
        inputs = [torch.ones(*shape, dtype=torch.float64, requires_grad=True) * 0.5 for shape in shapes]
        result = call(torch, *inputs)
        outputs = result if isinstance(result, tuple) else (result,)
        for node in topological_order([output.grad_fn for output in outputs if output.grad_fn is not None]):
            if isinstance(node, Function):
                rest = {name: value for name, value in vars(node).items() if name != "edges"}
                assert _nodes_held(rest, set()) == []


def test_a_ladder_of_diamonds_is_walked_once_a_node() -> None:
    """Two paths at each of 200 steps: as many paths as 2**200."""
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    y = x
    for _ in range(200):
        y = y * 0.5 + y * 0.5
    nodes, uses = topological_order([y.grad_fn])
    assert len(nodes) == 200 * 3 and list(uses.values()) == [2]
    y.backward()
    assert x.grad is not None and x.grad.item() == 1.0


def _step(model: Any, x: Any) -> tuple[Any, list[weakref.ref[Any]]]:
    hidden = model[0](x)
    activation = nn.functional.gelu(hidden)
    normal = nn.functional.layer_norm(activation, (8,))
    probabilities = model[1](normal).softmax(-1)
    loss = (probabilities * probabilities).sum()
    return loss, [weakref.ref(t.array) for t in (hidden, activation, normal, probabilities, loss)]


@pytest.mark.parametrize("ending", ["dropped", "backward", "retained", "grad", "second order"])
def test_dropping_the_loss_frees_the_graph_with_the_collector_off(ending: str, no_collector: None) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8))
    x = torch.randn(3, 4)
    loss, arrays = _step(model, x)
    node = weakref.ref(loss.grad_fn)
    parameters = list(model.parameters())
    if ending in ("backward", "retained"):
        loss.backward(retain_graph=ending == "retained")
    elif ending == "grad":
        torch.autograd.grad(loss, parameters)
    elif ending == "second order":
        grads = torch.autograd.grad(loss, parameters, create_graph=True)
        sum([(g * g).sum() for g in grads]).backward()
        del grads
    del loss
    assert node() is None
    assert [a() is None for a in arrays] == [True] * len(arrays)
    model.zero_grad()


def test_an_in_place_operation_on_what_it_saved_makes_no_cycle(no_collector: None) -> None:
    x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    y = x * 1
    y.mul_(w)
    y.pow_(2)
    array = weakref.ref(y.array)
    del y
    assert array() is None


def test_hooks_and_retained_gradients_make_no_cycle(no_collector: None) -> None:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 2)
    y.sum().backward()
    array = weakref.ref(y.array)
    del y
    assert array() is None


def test_neither_bases_nor_nodes_hold_views(no_collector: None) -> None:
    x, base = torch.ones(2, requires_grad=True), torch.zeros(3)
    view = base[:2]
    view.copy_(x)
    older, y = base[1:], base * 2
    base[0] += x[1]
    held = [weakref.ref(view), weakref.ref(older)]
    del view, older
    assert [reference() for reference in held] == [None, None]
    memory = weakref.ref(base)
    del base
    assert memory() is None and torch.autograd.grad(y.sum(), x)[0].tolist() == [2.0, 2.0]


def test_a_row_of_a_large_buffer_costs_its_own_memory_in_backward_alone() -> None:
    """What is recorded of a write keeps no copy of the base."""
    size = 1 << 18
    x, buffer = torch.ones(2, requires_grad=True), torch.zeros(size // 2, 2)
    tracemalloc.start()
    for i in range(10):
        buffer[i] += x
    assert tracemalloc.get_traced_memory()[1] < size
    tracemalloc.stop()
    buffer.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [10.0, 10.0]


class Interrupted(BaseException):
    """As Ctrl-C."""


def _interrupt(*args: Any) -> Any:
    raise Interrupted


def _on_second_call(function: Any) -> Any:
    calls: list[int] = []

    def run(x: Any) -> Any:
        calls.append(1)
        return _interrupt() if len(calls) == 2 else function(x)

    return run


INTERRUPTIONS: dict[str, Any] = {
    "hook of a result": lambda x: _hooked(x * 2, lambda y: y.register_hook(_interrupt)),
    "hook of a node": lambda x: _hooked(x * 2, lambda y: y.grad_fn.register_hook(_interrupt)),
    "prehook of a node": lambda x: _hooked(x * 2, lambda y: y.grad_fn.register_prehook(_interrupt)),
    "after accumulation": lambda x: _hooked(x, lambda x: x.register_post_accumulate_grad_hook(_interrupt)) * 2,
    "pack": lambda x: _packed(x, _interrupt, lambda t: t),
    "unpack": lambda x: _packed(x, lambda t: t, _interrupt),
    "checkpoint": lambda x: torch.utils.checkpoint.checkpoint(_on_second_call(torch.exp), x),
    "checkpoint unfolded": lambda x: torch.unfold(
        lambda: torch.utils.checkpoint.checkpoint(_on_second_call(nn.functional.gelu), x)
    )(),
}


def _hooked(x: Any, register: Any) -> Any:
    register(x)
    return x


def _packed(x: Any, pack: Any, unpack: Any) -> Any:
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return x.exp()


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_what_interrupts_leaves_the_mode_as_it_was(name: str, create_graph: bool) -> None:
    x = torch.ones(2, requires_grad=True)
    run, state = mode.run, default_generator.get_state()
    with pytest.raises(Interrupted):
        INTERRUPTIONS[name](x).sum().backward(create_graph=create_graph)
    assert mode.grad and mode.run is run and mode.packing is None and mode.dropped is None
    assert (default_generator.get_state() == state).all()
    w = torch.ones(2, requires_grad=True)
    nn.functional.gelu(w).sum().backward()
    assert w.grad is not None


def test_activations_are_released_while_backward_goes_on() -> None:
    """The peak of a backward through many layers stays near what the forward holds."""
    size, layers = 100_000, 40
    x = torch.ones(size, requires_grad=True)
    tracemalloc.start()
    try:
        y = x
        for _ in range(layers):
            y = y.exp() * 1e-3
        held = tracemalloc.get_traced_memory()[0]
        loss = y.sum()
        del y
        tracemalloc.reset_peak()
        loss.backward()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    array = size * 4
    assert held > layers * array
    assert peak < held + 6 * array  # a few gradients on the way, not one a layer
    assert after < 4 * array  # the gradient of x, although the loss is still there
    assert loss.grad_fn is not None


def test_saved_arrays_go_as_soon_as_their_node_is_done() -> None:
    x = torch.ones(3, requires_grad=True)
    alive: list[bool] = []
    first = x * 2
    first.register_hook(lambda g: alive.append(saved() is not None))
    second = first.exp()
    third = second.exp()
    saved = weakref.ref(third.array)
    loss = third.sum()
    del second, third
    loss.backward()
    assert alive == [False]


def test_gradients_are_not_added_into_arrays_that_others_hold() -> None:
    x = torch.ones(3, requires_grad=True)
    kept: list[Any] = []
    y = x * 1
    y.register_hook(lambda g: kept.append((g, g.tolist())))
    z = y + y * 2 + y * 3
    seed = torch.tensor([1.0, 2.0, 3.0])
    z.backward(seed)
    (x * 5 + x).backward(seed)
    assert seed.tolist() == [1.0, 2.0, 3.0]
    assert [g.tolist() for g, _ in kept] == [then for _, then in kept] == [[6.0, 12.0, 18.0]]
    assert x.grad is not None and x.grad.tolist() == [12.0, 24.0, 36.0]


def test_a_gradient_is_kept_without_a_copy_where_it_is_nobody_elses() -> None:
    class Own(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x + 0

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            kept.append(g * 2)
            return kept[-1]

    class Shared(Own):
        backward_shares = True

    for operation, copies in ((Own, False), (Shared, True)):
        for looked_at in (False, True):
            kept: list[Any] = []
            x = torch.ones(3, requires_grad=True)
            if looked_at:  # whoever sees a gradient may keep it
                x.register_hook(lambda g: None)
            operation.apply(x).backward(torch.ones(3))
            assert x.grad is not None and x.grad.tolist() == [2.0, 2.0, 2.0]
            assert np.shares_memory(x.grad.array, kept[0].array) == (not copies and not looked_at)


def test_sums_are_written_into_what_is_nobody_elses() -> None:
    """Of many gradients of one tensor no more than one array is made."""
    x = torch.ones(1 << 16, requires_grad=True)
    y = sum([x.exp() for _ in range(8)])
    tracemalloc.start()
    y.backward(torch.ones(1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4.5 * (1 << 18)


def test_order_has_inputs_before_their_users_and_counts_uses_of_leaves() -> None:
    x, y = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    a = x * 2
    b = y.exp()
    c = a * b * x
    order, uses = topological_order([c.grad_fn])
    product = c.grad_fn.next_functions[0][0]
    assert set(order) == {a.grad_fn, b.grad_fn, product, c.grad_fn} and order[-2:] == [product, c.grad_fn]
    assert {node.variable: count for node, count in uses.items()} == {x: 2, y: 1}
    assert leading(order, {accumulator(x)}) == {a.grad_fn, product, c.grad_fn}
    assert leading(order, {b.grad_fn}) == {b.grad_fn, product, c.grad_fn}
    assert leading(order, {accumulator(torch.ones(1, requires_grad=True))}) == set()
    assert uses_of([c.grad_fn]) == {accumulator(x): 1}
    (leaf,), no_uses = topological_order([accumulator(x)])
    assert leaf.variable is x and no_uses == {}


def test_a_leaf_has_one_accumulator_as_long_as_a_graph_holds_it(no_collector: None) -> None:
    x = torch.ones(1, requires_grad=True)
    a, b = x * 2, x.exp()
    node = a.grad_fn.next_functions[0][0]
    assert node is b.grad_fn.next_functions[0][0] is accumulator(x) and node.variable is x
    reference = weakref.ref(node)
    del a, b, node
    assert reference() is None


def test_a_leaf_lives_as_long_as_a_graph_that_leads_to_it(no_collector: None) -> None:
    x = torch.ones(1, requires_grad=True)
    leaf, y = weakref.ref(x), x * 2
    del x
    y.backward()
    assert leaf().grad.item() == 2.0  # type: ignore[union-attr]
    del y
    assert leaf() is None


def test_grad_runs_only_what_leads_to_its_inputs() -> None:
    ran: list[str] = []
    x, y = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    a, b = x * 2, y * 2
    a.register_hook(lambda g: ran.append("a"))
    b.register_hook(lambda g: ran.append("b"))
    torch.autograd.grad(a * b, x)
    assert ran == ["a"]


def test_grad_stops_where_its_inputs_are_and_backward_runs_them() -> None:
    ran: list[str] = []

    class Noting(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, name: str) -> Any:
            ctx.label = name
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            ran.append(ctx.label)
            return grad * 2, None

    x = torch.ones(1, requires_grad=True)
    a = Noting.apply(x, "a")
    b = Noting.apply(a, "b")
    for run, expected in (
        (lambda: torch.autograd.grad(b, a, retain_graph=True), "b"),
        (lambda: torch.autograd.grad(b, b, retain_graph=True), ""),
        (lambda: torch.autograd.grad(b, [x], retain_graph=True), "ba"),
        (lambda: torch.autograd.grad(b, [a, x], retain_graph=True), "ba"),
        (lambda: b.backward(inputs=[a], retain_graph=True), "ba"),
        (lambda: b.backward(inputs=[b], retain_graph=True), "b"),
        (lambda: b.backward(inputs=[x], retain_graph=True), "ba"),
    ):
        run()
        assert "".join(ran) == expected
        ran.clear()
    assert x.grad is not None and x.grad.tolist() == [4.0]


def test_what_is_not_on_the_way_is_neither_run_nor_freed() -> None:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    a, b = x.exp(), y.exp()
    z = (a + b).sum()
    z.backward(inputs=[x])
    with pytest.raises(RuntimeError, match="ExpBackward0 has already freed"):
        torch.autograd.grad(a.sum(), x)
    assert torch.autograd.grad(b.sum(), y)[0].tolist() == b.tolist() and y.grad is None


def test_a_walk_that_raises_leaves_nothing_behind(no_collector: None) -> None:
    x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    y = x * w
    z = y.exp()
    fail = [True]

    def hook(grad: Any) -> None:
        if fail:
            raise KeyError("hook")

    y.register_hook(hook)
    for create_graph in (False, True):
        with pytest.raises(KeyError, match="hook"):
            z.sum().backward(retain_graph=True, create_graph=create_graph)
        assert torch.is_grad_enabled() and x.grad is None and w.grad is None
    fail.clear()
    z.sum().backward()
    assert x.grad is not None and x.grad.tolist() == w.grad.tolist() == z.tolist()  # type: ignore[union-attr]
    array = weakref.ref(z.array)
    del z
    assert array() is None


@pytest.mark.parametrize("retained", [False, True])
def test_threads_that_add_to_one_gradient_take_turns(retained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing lie apart here, so that the others run in between."""

    def slow_add(a: Any, b: Any, out: Any) -> None:
        total = a + b
        time.sleep(0.001)
        out[...] = total

    monkeypatch.setattr(importlib.import_module("tinytorch.engine.tensor"), "add", slow_add)
    monkeypatch.setattr(torch.Tensor, "clone", lambda grad: time.sleep(0.001) or grad * 1)
    x = torch.zeros(3, requires_grad=True)
    y = x * 2
    if retained:
        y.retain_grad()

    def run() -> None:
        for _ in range(5):
            y.backward(torch.ones(3), retain_graph=True)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert x.grad is not None and x.grad.tolist() == [40.0] * 3
    if retained:
        assert y.grad is not None and y.grad.tolist() == [20.0] * 3
    else:
        with pytest.warns(UserWarning, match="not a leaf"):
            assert y.grad is None


def test_threads_may_use_one_view_that_is_older_than_its_base() -> None:
    x = torch.arange(8.0, requires_grad=True)
    y = x * 1
    view, found = y[:4], []
    y.mul_(2)

    def run() -> None:
        for _ in range(20):
            found.append(torch.autograd.grad((view * view).sum(), x, retain_graph=True)[0].tolist())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[0.0, 8.0, 16.0, 24.0, 0.0, 0.0, 0.0, 0.0]] * 80


def test_threads_may_walk_graphs_of_their_own() -> None:
    results: dict[int, list[float]] = {}

    def run(number: int) -> None:
        x = torch.full((4,), float(number), dtype=torch.float64, requires_grad=True)
        for _ in range(30):
            x.grad = None
            (x * x * x).sum().backward()
        assert x.grad is not None
        results[number] = x.grad.tolist()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: [3.0 * i * i] * 4 for i in range(8)}


@pytest.mark.filterwarnings("error")
def test_infinities_and_nan_never_warn() -> None:
    x = torch.tensor([3e38, float("inf"), float("nan"), -float("inf"), 0.0, -1.0], requires_grad=True)
    results = [x + x, x - x, x * x, x / 0, x**3, x.exp(), x.log(), x.sqrt(), x.sum(), x.mean(), x.std(), x.prod()]
    results += [x.cumsum(0), x.softmax(0), x.tanh(), x.sigmoid(), x @ x, x % 2, x // 0, x.bfloat16(), x.half() * 2]
    torch.stack([r.float().sum() for r in results]).sum().backward()
    assert (x > 0).tolist()[:4] == [True, True, False, False]
    assert (x.bfloat16() <= 0).tolist()[2] is False and x.isnan().any() and bool((x == x).sum() == 5)
    assert np.geterr()["over"] == "warn"
