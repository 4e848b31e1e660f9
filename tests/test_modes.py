"""Recording switched on and off: context managers, decorators, threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tinytorch as torch
from tinytorch import nn

SWITCHES = (
    (lambda: torch.no_grad(), False),
    (lambda: torch.enable_grad(), True),
    (lambda: torch.inference_mode(), False),
    (lambda: torch.inference_mode(False), True),
    (lambda: torch.inference_mode(mode=True), False),
    (lambda: torch.set_grad_enabled(False), False),
    (lambda: torch.set_grad_enabled(True), True),
)


@pytest.fixture(autouse=True, params=[True, False], ids=["recording", "not recording"])
def before(request: pytest.FixtureRequest) -> Any:
    """Each test runs with recording on and off, and must leave it as it was."""
    with torch.set_grad_enabled(request.param):
        yield request.param
        assert torch.is_grad_enabled() is request.param


@pytest.mark.parametrize(("switch", "value"), SWITCHES)
def test_with_block_sets_and_restores(switch: Any, value: bool, before: bool) -> None:
    with switch():
        assert torch.is_grad_enabled() is value
        assert (torch.ones(2, requires_grad=True) * 2).requires_grad is value
    assert torch.is_grad_enabled() is before


@pytest.mark.parametrize(("switch", "value"), SWITCHES)
def test_restored_after_an_exception(switch: Any, value: bool, before: bool) -> None:
    with pytest.raises(KeyError), switch():
        raise KeyError
    assert torch.is_grad_enabled() is before


@pytest.mark.parametrize(("switch", "value"), SWITCHES)
def test_decorator_applies_to_each_call_and_to_nothing_else(switch: Any, value: bool, before: bool) -> None:
    @switch()
    def state(depth: int, fail: bool = False) -> list[bool]:
        """Its documentation."""
        if fail:
            raise KeyError
        return [torch.is_grad_enabled(), *(state(depth - 1) if depth else [])]

    assert torch.is_grad_enabled() is before
    for _ in range(2):
        assert state(2) == [value] * 3
        assert torch.is_grad_enabled() is before
        with pytest.raises(KeyError):
            state(0, fail=True)
        assert torch.is_grad_enabled() is before
    assert state.__name__ == "state" and state.__doc__ == "Its documentation."


@pytest.mark.parametrize(
    ("switch", "value"), ((torch.no_grad, False), (torch.enable_grad, True), (torch.inference_mode, False))
)
def test_decorator_without_parentheses(switch: Any, value: bool, before: bool) -> None:
    class Model(nn.Module):
        @switch
        def forward(self, x: Any, scale: float = 1.0) -> Any:
            return x * scale, torch.is_grad_enabled()

    y, state = Model()(torch.ones(2, requires_grad=True), scale=3.0)
    assert state is value and y.requires_grad is value and y.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(("switch", "value"), SWITCHES[:4])
def test_nested_and_reentered(switch: Any, value: bool, before: bool) -> None:
    one = switch()
    with one:
        with torch.enable_grad(), one, torch.no_grad():
            assert not torch.is_grad_enabled()
        assert torch.is_grad_enabled() is value
        with one:
            assert torch.is_grad_enabled() is value
        assert torch.is_grad_enabled() is value
    assert torch.is_grad_enabled() is before


def test_set_grad_enabled_is_a_function_too(before: bool) -> None:
    torch.set_grad_enabled(not before)
    assert torch.is_grad_enabled() is not before
    torch.set_grad_enabled(before)


def test_decorated_generator_records_as_its_caller_does_between_steps(before: bool) -> None:
    @torch.no_grad()
    def steps() -> Any:
        sent = yield torch.is_grad_enabled()
        yield sent, torch.is_grad_enabled()
        return "end"

    generator = steps()
    assert next(generator) is False and torch.is_grad_enabled() is before
    assert generator.send(5) == (5, False) and torch.is_grad_enabled() is before
    with pytest.raises(StopIteration, match="end"):
        next(generator)
    assert torch.is_grad_enabled() is before


def test_each_thread_has_its_own_switch(before: bool) -> None:
    seen = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_decorated_function_on_overlapping_threads(before: bool) -> None:
    """The calls begin as A, B and end as A, B, so a stack that both share would swap what they go back to."""
    both_inside, a_left = threading.Barrier(2), threading.Event()
    after: dict[str, bool] = {}

    @torch.no_grad()
    def work(name: str) -> None:
        both_inside.wait(10)
        if name == "b":
            a_left.wait(10)

    def run(name: str, recording: bool) -> None:
        with torch.set_grad_enabled(recording):
            if name == "b":
                b_may_start.wait(10)
            else:
                b_may_start.set()
            work(name)
            after[name] = torch.is_grad_enabled()
            a_left.set()

    for recording in (True, False):
        b_may_start = threading.Event()
        both_inside.reset()
        a_left.clear()
        threads = [threading.Thread(target=run, args=(name, r)) for name, r in (("a", recording), ("b", not recording))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert after == {"a": recording, "b": not recording}


def test_backward_inside_no_grad_and_graph_built_before(before: bool) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.enable_grad():
        loss = (x * x * torch.tensor([3.0, 5.0])).sum()
    with torch.no_grad():
        loss.backward()
    assert x.grad is not None and x.grad.tolist() == [6.0, 20.0] and not x.grad.requires_grad


def test_unfold_runs_the_composite_and_gives_the_same_gradient(before: bool) -> None:
    def names(node: Any) -> set[str]:
        found = {node.name()}
        return found.union(*[names(parent) for parent, _ in filter(None, node.edges)])

    weights = torch.tensor([[0.3, -1.0, 2.0]])
    results = []
    with torch.enable_grad():
        for switch in (torch.enable_grad(), torch.unfold()):
            x = torch.tensor([[0.5, -1.5, 2.5]], requires_grad=True)
            with switch:
                y = nn.functional.gelu(x)
            (y * weights).sum().backward()
            assert x.grad is not None
            results.append((y.tolist(), x.grad.tolist(), names(y.grad_fn)))
    (y1, g1, fused), (y2, g2, unfolded) = results
    assert y1[0] == pytest.approx(y2[0], rel=1e-5) and g1[0] == pytest.approx(g2[0], rel=1e-5)
    assert fused == {"GeluBackward0", "AccumulateGrad"} and "GeluBackward0" not in unfolded and len(unfolded) > 2


def test_unfold_is_left_after_an_exception_and_works_as_decorator() -> None:
    with torch.enable_grad():
        x = torch.ones(2, requires_grad=True)
        with pytest.raises(KeyError), torch.unfold():
            raise KeyError
        assert nn.functional.silu(x).grad_fn.name() == "SiluBackward0"
        assert torch.unfold()(nn.functional.silu)(x).grad_fn.name() != "SiluBackward0"
