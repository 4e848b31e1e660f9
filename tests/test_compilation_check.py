"""`compile(check=True)`: compiled and as written is compared, and the first operation that differs is found."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tests.test_compilation_state as worlds
import tinytorch as torch
from tinytorch import nn
from tinytorch.compiled import steps
from tinytorch.compiled.arrays import NotTraceable, plain
from tinytorch.engine.function import Function
from tinytorch.nn import functional as F

# They append to lists of their own in Python: twice in the first call, as it is made twice.
APPENDS = {"hooks_of_a_parameter"}


@pytest.mark.parametrize("make", worlds.SAME, ids=lambda make: make.__name__)
def test_finds_nothing_where_there_is_nothing(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves all as one call of the function leaves it."""
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compile(function, check=True))
    checked = worlds.history(make, compiled=True)
    if make.__name__ not in APPENDS:
        assert str(checked) == str(worlds.history(make, compiled=False))


@pytest.mark.parametrize(("make", "match"), worlds.REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_refuses_what_is_refused(make: Any, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compile(function, check=True))
    with pytest.raises(NotTraceable, match=match):
        worlds.history(make, compiled=True)


def training(check: bool | None) -> Any:
    """Losses and parameters of a few steps with dropout, running statistics, clipping, AdamW and a schedule."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5**k)

    def step(x: Any, targets: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        return loss

    function = step if check is None else torch.compile(check=check)(step)
    losses = [function(torch.randn(4, 3), torch.tensor([0, 1, 1, k % 2])).item() for k in range(4)]
    return losses, [t.tolist() for t in net.state_dict().values()], optimizer.param_groups[0]["lr"]


def test_a_training_step_is_made_once() -> None:
    assert training(True) == training(False) == training(None)


class _Baked(Function):
    """y = x times its largest element, as a number: while it is traced, that of the first call."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * np.float32(plain(x).max())

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


class _BakedBackward(Function):
    """y = x, with such a number in its backward"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return x.copy()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * float(plain(ctx._saved[0][0]).max())


def test_an_operation_that_differs_is_named() -> None:
    compiled = torch.compile(lambda x: (_Baked.apply(x * 2) + 1).sum(), check=True)
    assert compiled(torch.tensor([1.0, 3.0])).item() == 50
    with pytest.raises(
        RuntimeError,
        match=r"<lambda> differs from what it is as written: result\[0\], float32 \(\), by up to 24 in 1 of 1 elements"
        r". The first difference is at operation 2 of 4, in what _Baked gives: \[0\], float32 \(2,\), by up to 16 in 2",
    ):
        compiled(torch.tensor([3.0, 1.5]) * 0 + torch.tensor([2.0, 4.0]))


def test_a_backward_that_differs_is_named_and_the_state_is_as_written() -> None:
    w = nn.Parameter(torch.ones(2))

    def step(x: Any) -> None:
        w.grad = None
        (_BakedBackward.apply(w * x) * x).sum().backward()

    compiled = torch.compile(step, check=True)
    compiled(torch.tensor([1.0, 2.0]))
    with pytest.raises(RuntimeError, match=r"Parameter\.grad, float32 \(2,\).*in what _BakedBackwardBackward0 gives"):
        compiled(torch.tensor([1.0, 3.0]))
    assert w.grad is not None and w.grad.tolist() == [3.0, 27.0]


def test_a_gradient_that_is_added_up_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    w = nn.Parameter(torch.ones(2))

    def step(x: Any) -> None:
        w.grad = None
        (w * x).sum().backward()

    accumulate, times = steps.accumulate, itertools.count()

    def twice(leaf: Any, array: Any, apart: bool) -> None:
        accumulate(leaf, array if next(times) == 0 else 2 * array, apart)  # not yet while it is traced

    monkeypatch.setattr(steps, "accumulate", twice)
    compiled = torch.compile(step, check=True)
    compiled(torch.ones(2))
    with pytest.raises(RuntimeError, match=r"in what AccumulateGrad gives: \[0\], float32 \(2,\), by"):
        compiled(torch.ones(2))


def test_what_comes_after_a_hook_is_named_too() -> None:
    w = nn.Parameter(torch.ones(2))
    w.register_hook(lambda gradient: gradient * 2)

    def step(x: Any) -> Any:
        w.grad = None
        (w * x).sum().backward()
        return _Baked.apply(x * 1)

    compiled = torch.compile(step, check=True)
    compiled(torch.tensor([1.0, 2.0]))
    with pytest.raises(RuntimeError, match=r"in what _Baked gives"):
        compiled(torch.tensor([1.0, 3.0]))


def test_a_planted_fault_in_a_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that does nothing in the runs: what comes after it finds the numbers of the trace."""
    compiled = torch.compile(lambda x, y: (torch.cat([x, y]) * 2).sum(), check=True)
    from tinytorch.compiled import program

    record = program.Program.record

    def faulty(self: Any, *args: Any) -> Any:
        result = record(self, *args)
        places = [i for i, (function, _) in enumerate(self.steps) if function is np.concatenate]
        self.steps[places[0]] = (lambda *_: None), ()
        return result

    monkeypatch.setattr(program.Program, "record", faulty)
    compiled(torch.ones(2), torch.ones(2))
    with pytest.raises(RuntimeError, match=r"operation 1 of 3, in what Cat gives: \[0\], float32 \(4,\), by"):
        compiled(torch.ones(2), torch.full((2,), 2.0))


def test_a_step_that_raises_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinytorch.compiled import program

    record = program.Program.record

    def faulty(self: Any, *args: Any) -> Any:
        result = record(self, *args)
        self.steps[-1] = (lambda *_: 1 / 0), ()
        return result

    monkeypatch.setattr(program.Program, "record", faulty)
    compiled = torch.compile(lambda x: (x * 2).sum(), check=True)
    compiled(torch.ones(2))
    with pytest.raises(RuntimeError, match=r"it raises Zero.*it does not raise\. Operation 2 of 2 raises Zero"):
        compiled(torch.ones(2))


def test_what_python_chooses_otherwise_is_found() -> None:
    factors = [2.0]
    compiled = torch.compile(lambda x: torch.tanh(x * factors[0]), check=True)
    compiled(torch.ones(2))
    factors[0] = 3.0
    with pytest.raises(RuntimeError, match=r"operation 1 of 2, in what Mul is given: \[1\], float32 \(\), by up to 1"):
        compiled(torch.ones(2))
    chosen = [True]
    other = torch.compile(lambda x: x.exp() if chosen[0] else x.sin().sum(), check=True)
    other(torch.ones(2))
    chosen[0] = False
    with pytest.raises(RuntimeError, match=r"Operation 1 of 1 is another: .*Exp is given, as written what Sin is"):
        other(torch.ones(2))
    longer = torch.compile(lambda x: x.exp() if chosen[0] else x.exp().exp(), check=True)
    longer(torch.ones(2))
    chosen[0] = True
    with pytest.raises(RuntimeError, match="As written it has 1 operations, compiled 2"):
        longer(torch.ones(2))


def test_state_that_differs_is_found() -> None:
    """Which no operation has to do with: a number in an optimizer, a list, a count."""
    w = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([w], lr=0.1)
    calls = [0]

    def step(x: Any) -> None:
        calls[0] += 1
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.param_groups[0]["lr"] = 0.1 * (calls[0] > 2)
        optimizer.step()

    compiled = torch.compile(step, check=True)
    compiled(torch.ones(2))
    with pytest.raises(RuntimeError, match=r"SGD\.step gives: .*\['lr'\] is 0\.0, as written 0\.1"):
        compiled(torch.ones(2))


def test_an_error_that_differs_is_found() -> None:
    raises = [False]

    def function(x: Any) -> Any:
        if raises[0]:
            raise KeyError("only now")
        return x * 2

    compiled = torch.compile(function, check=True)
    compiled(torch.ones(2))
    raises[0] = True
    with pytest.raises(RuntimeError, match="it does not raise, as written it raises KeyError"):
        compiled(torch.ones(2))


def test_not_a_number_is_the_same_and_a_sign_of_zero_is_not() -> None:
    signs = [1.0]
    compiled = torch.compile(lambda x: (x.log(), x * 0 * signs[0]), check=True)
    compiled(torch.tensor([-1.0, 1.0]))
    compiled(torch.tensor([-2.0, 0.0]))
    signs[0] = -1.0
    with pytest.raises(RuntimeError, match=r"result\[1\], float32 \(2,\), by up to 0 in 2 of 2"):
        compiled(torch.tensor([1.0, 1.0]))
