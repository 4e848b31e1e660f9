"""Unfolding, anomaly detection and the profiler in each other, in all orders, and around other runners' work."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tests.ops import checks
from tinytorch import nn
from tinytorch.compiled.arrays import NotTraceable
from tinytorch.engine.mode import mode
from tinytorch.engine.runner import EAGER
from tinytorch.nn import functional as F
from tinytorch.profiler import profile
from tinytorch.utils.checkpoint import checkpoint

SWITCHES: dict[str, Callable[[], Any]] = {
    "unfold": torch.unfold,
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "profile": profile,
}
ORDERS = [order for length in (1, 2, 3) for order in itertools.permutations(SWITCHES, length)]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    """Each test leaves no runner behind."""
    assert mode.run is EAGER
    yield
    assert mode.run is EAGER


def model() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.LayerNorm(6), nn.Linear(6, 3))


def loss_of(m: Any, x: Any) -> Any:
    return F.cross_entropy(m(x), torch.tensor([0, 2, 1])) + m(x).softmax(-1).square().sum()


def checkpointed(m: Any, x: Any) -> Any:
    loss = checkpoint(lambda z: F.dropout(loss_of(m, z), 0.5), x)
    loss.backward()


def nested_checkpoints(m: Any, x: Any) -> Any:
    checkpoint(lambda z: loss_of(lambda u: checkpoint(m, u), z * 2), x).backward()


def second_order(m: Any, x: Any) -> Any:
    x.requires_grad_()
    (g,) = torch.autograd.grad(loss_of(m, x), x, create_graph=True)
    g.square().sum().backward()


def second_order_of_a_checkpoint(m: Any, x: Any) -> Any:
    x.requires_grad_()
    (g,) = torch.autograd.grad(checkpoint(lambda z: loss_of(m, z), x), x, create_graph=True)
    g.square().sum().backward()


def compiled(m: Any, x: Any) -> Any:
    @torch.compile
    def step(x: Any) -> Any:
        loss = loss_of(m, x)
        loss.backward()
        return loss

    runner, mode.run = mode.run, EAGER
    try:
        step(x)  # so that there is a program
    finally:
        mode.run = runner
    m.zero_grad()
    step(x)


def compiled_checkpoint(m: Any, x: Any) -> Any:
    torch.compile(lambda x: checkpoint(lambda z: loss_of(m, z), x).backward())(x)


def custom_function(m: Any, x: Any) -> Any:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Any) -> Any:
            ctx.save_for_backward(z)
            return F.gelu(z)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (z,) = ctx.saved_tensors
            return F.gelu(g) * z

    Doubled.apply(loss_of(m, x)).backward()


PROGRAMS = (
    checkpointed, nested_checkpoints, second_order, second_order_of_a_checkpoint, compiled, compiled_checkpoint,
    custom_function,
)  # fmt: skip


def run(program: Callable[[Any, Any], Any], order: tuple[str, ...]) -> tuple[Any, Any]:
    """The bits of the gradients, and the profile if there is one."""
    m, found = model(), None
    x = torch.tensor([[0.5, -1.0, 2.0, 0.25], [1.0, 0.0, -0.5, 1.5], [-2.0, 0.75, 1.25, -0.25]])
    with contextlib.ExitStack() as stack:
        for name in order:
            entered = stack.enter_context(SWITCHES[name]())
            found = entered if name == "profile" else found
        program(m, x)
    grads = [None if t.grad is None else t.grad.numpy().tobytes() for t in (x, *m.parameters())]
    return grads, found


def elementary(prof: Any) -> Counter[str]:
    """The operations that ran as they are, and the backwards; without those that ran as others inside of them."""
    return Counter(event.name for event in prof.events() if not event.operations)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_in_all_orders_gradients_and_counts_are_the_same(program: Any) -> None:
    grads = {unfolded: run(program, ("unfold",) * unfolded)[0] for unfolded in (False, True)}
    profiles = {unfolded: run(program, ("profile",) + ("unfold",) * unfolded)[1] for unfolded in (False, True)}
    for order in ORDERS:
        unfolded = "unfold" in order
        found, prof = run(program, order)
        assert found == grads[unfolded], order
        if prof is not None:
            alone = profiles[unfolded]
            assert elementary(prof) == elementary(alone), order
            for what in ("flops", "saved"):
                assert sum(getattr(e, what) for e in prof.events()) == sum(getattr(e, what) for e in alone.events())
            fused = [e for e in prof.events() if e.name == "LayerNorm"]
            seen = "unfold" not in order or order.index("unfold") < order.index("profile")
            assert bool(fused) is seen, order  # outside of the unfolding, or as an event with its parts inside
            assert all(bool(e.operations) is unfolded for e in fused)


@pytest.mark.parametrize(
    "cls", [cls for cls in checks.operations() if vars(cls).get("examples")], ids=lambda cls: cls.__name__
)
def test_looking_on_changes_no_operation(cls: Any) -> None:
    """Each bit of values and gradients stays, and all that is counted is a number."""

    def bits(example: Any) -> tuple[list[bytes], list[bytes]]:
        inputs = checks.tensors(example.arrays(np.float32))
        outputs = checks.listed(example.call(torch, *inputs))
        seeds = checks.cotangents(outputs)
        grads = checks.gradients(outputs, inputs, seeds) if checks.has_gradient(cls) else []
        return [y.array.tobytes() for y in outputs], [g.tobytes() for g in grads]

    seen: set[str] = set()
    for example in checks.examples_of(cls):
        plain = bits(example)
        with torch.autograd.set_detect_anomaly(True), profile() as prof:
            assert bits(example) == plain
        seen |= {event.name for event in prof.events()}
        assert all(type(event.flops) is int and type(event.saved) is int for event in prof.events())
        assert all(event.flops >= 0 and event.saved >= 0 for event in prof.events())
    assert cls.__name__.lstrip("_") in seen


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_anomalies_are_found_in_all_orders(order: tuple[str, ...]) -> None:
    x = torch.zeros(2, requires_grad=True)
    with contextlib.ExitStack() as stack, pytest.warns(UserWarning) if "anomaly" in order else stack:
        for name in order:
            stack.enter_context(SWITCHES[name]())
        loss = (checkpoint(lambda z: (z - 0).sqrt(), x) * 0).sum()
        if "anomaly" in order:
            with pytest.raises(RuntimeError, match=f"'SqrtBackward0' .* Sqrt, is called in {__file__}.*checkpoint"):
                loss.backward()
        else:
            loss.backward()


def test_a_checkpoint_is_computed_again_as_at_first() -> None:
    """Under what changed operations then, not now; and whoever looks on now sees it."""

    def block(z: Any) -> Any:
        return F.gelu(z).exp()

    for then, now in itertools.product((torch.unfold, contextlib.nullcontext), repeat=2):
        x = torch.tensor([0.5, -1.0], requires_grad=True)
        with then():
            y = checkpoint(block, x)
        before = torch.is_anomaly_enabled()
        with profile() as outer, now(), torch.autograd.set_detect_anomaly(True), profile() as prof:
            y.sum().backward()
        for found in (outer, prof):
            names = Counter(event.name for event in found.events())
            assert names["Exp"] >= 1 and bool(names["Gelu"]) is (then is not torch.unfold)
        assert torch.is_anomaly_enabled() is before
        grad = x.grad
        x.grad = None
        with then():
            block(x).sum().backward()
        assert grad.tolist() == x.grad.tolist()


@pytest.mark.parametrize("name", ["anomaly", "profile"])
def test_looking_on_inside_a_compiled_function_is_refused(name: str) -> None:
    @torch.compile
    def inside(x: Any) -> Any:
        with SWITCHES[name]():
            return x * 2

    with pytest.raises(NotTraceable, match="inside a compiled function would see the first call alone"):
        inside(torch.ones(2))


def test_unfolding_inside_a_compiled_function() -> None:
    @torch.compile
    def inside(x: Any) -> Any:
        with torch.unfold():
            return F.gelu(x)

    x = torch.tensor([0.5, -1.0])
    with torch.unfold():
        expected = F.gelu(x).tolist()
    assert inside(x).tolist() == inside(x).tolist() == expected


def test_switched_off_and_on_inside_of_others() -> None:
    torch.autograd.set_detect_anomaly(True)
    with profile() as prof, torch.unfold():
        torch.autograd.set_detect_anomaly(False)
        F.silu(torch.ones(2))
        with profile() as inner:
            torch.autograd.set_detect_anomaly(True)
            torch.ones(2).sin()
        assert torch.is_anomaly_enabled()
    assert torch.is_anomaly_enabled() and "Silu" not in {event.name for event in prof.events()}
    assert [event.name for event in inner.events()][-1] == "Sin"
    torch.autograd.set_detect_anomaly(False)


def test_one_instance_of_unfold_may_be_entered_again_and_on_several_threads() -> None:
    one, x = torch.unfold(), torch.ones(2, requires_grad=True)

    def fused() -> bool:
        return F.silu(x).grad_fn.name() == "SiluBackward0"

    with one:
        with one:
            assert not fused()
        assert not fused()
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(fused()))
        thread.start()
        thread.join()
        assert seen == [True]
    assert fused()


def test_unfold_of_a_generator_holds_while_it_runs() -> None:
    @torch.unfold
    def steps() -> Any:
        yield F.silu(torch.ones(1, requires_grad=True)).grad_fn.name()
        yield F.silu(torch.ones(1, requires_grad=True)).grad_fn.name()

    running = steps()
    assert next(running) != "SiluBackward0"
    assert F.silu(torch.ones(1, requires_grad=True)).grad_fn.name() == "SiluBackward0"
    assert next(running) != "SiluBackward0"
