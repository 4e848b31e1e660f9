"""Finite differences beside every gradient: what is right passes, what is wrong is found, what cannot be is said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tests.ops import checks
from tests.study.test_trace import head, traced_head, vectors
from tests.study.test_why import DIFFERENTIABLE, traced
from tests.test_random_graphs_oracle import Graph
from tinytorch import nn, study
from tinytorch.nn import functional as F


class Wrong(torch.autograd.Function):
    """y = x^2"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    # dy/dx = 2 x, but someone forgot the 2
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * x


def test_a_head() -> None:
    t, _ = traced_head()
    found = t.check()
    assert found.ok and found.failed == []
    assert {row.name: row.status for row in found.rows} == dict.fromkeys(
        ["q", "k", "k.mT", "matmul_1", "scores", "masked", "p", "v", "y", "pow_1", "loss"], "ok"
    )
    assert "ok     scores" in found.text and "11 ok" in found.text and "monospace" in found._repr_html_()


@pytest.mark.parametrize("unfold", [True, False])
@pytest.mark.parametrize("cls", DIFFERENTIABLE, ids=lambda cls: cls.__name__)
def test_every_operation(cls: Any, unfold: bool) -> None:
    for example in checks.examples_of(cls):
        t = traced(example, np.float64, unfold)
        if t.walked:
            found = t.check(most=8)
            assert found.ok and not [row for row in found.rows if row.status == "cannot"], found
            assert any(row.checked for row in found.rows)


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs(seed: int) -> None:
    graph = Graph(seed, 8, smooth=bool(seed % 2))
    leaves = [torch.tensor(a, dtype=torch.float64).requires_grad_() for a in graph.leaves]
    with study.trace() as t:
        outputs = graph.outputs(torch, leaves)
        pairs = [(y, torch.tensor(c)) for y, c in zip(outputs, graph.cotangents, strict=True) if y.requires_grad]
    with t.at_work():
        torch.autograd.backward([y for y, _ in pairs], [c for _, c in pairs])
    assert t.check(most=6).ok, t.check(most=6)


def test_a_wrong_backward_is_found_where_it_is() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with study.trace() as t:
        a = x * 2
        b = Wrong.apply(a)
        loss = b.sin().sum()
    t.backward(loss)
    found = t.check()
    assert not found.ok and [row.name for row in found.failed] == ["x", "a"]
    worst = found.failed[1]
    assert worst.difference == pytest.approx(2 * worst.gradient, rel=1e-3) and worst.off > 0.1
    assert {row.name: row.status for row in found.rows}["b"] == "ok" and "wrong  a" in found.text


def test_dropout_keeps_its_mask() -> None:
    q, k, v = [x.reshape(1, 1, 4, 3) for x in vectors(4, 3)]
    for unfold in (True, False):
        torch.manual_seed(1)
        with study.trace(unfold=unfold) as t:
            y = F.dropout(F.scaled_dot_product_attention(q, k, v, dropout_p=0.4), 0.3)
            loss = y.square().sum()
        t.backward(loss, retain_graph=True)
        found = t.check()
        assert found.ok and not [row for row in found.rows if row.status != "ok"], found


def test_writes_views_and_what_was_detached() -> None:
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with study.trace() as t:
        buffer = torch.zeros(2, 3)
        older = buffer[1]
        buffer[1] += w * 10
        older.mul_(0.5)
        y = (buffer * w.detach()).exp() * 1e-6
        y.add_(w)
        loss = y.sum()
    t.backward(loss)
    found = t.check()
    assert found.ok and {row.status for row in found.rows} == {"ok"}, found


def test_a_kink_is_not_a_mistake() -> None:
    x = torch.tensor([0.0, 1.0, -1.0], requires_grad=True)
    with study.trace() as t:
        y = x.relu()
        loss = (y * 3).sum()
    t.backward(loss)
    row = t.check().rows[0]
    assert (row.name, row.status, row.checked) == ("x", "kink", 2) and "at [0] the slopes on the two sides" in row.note


def test_it_says_where_it_cannot() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    early = x * 2
    with study.trace() as t:
        y = x * 3
        loss = y.exp().sum() + early.sum()
    with pytest.raises(RuntimeError, match=r"t.backward\(loss\)"):
        t.check()
    y.register_hook(lambda g: g * 10)
    t.backward(loss)
    status = {row.name: (row.status, row.note) for row in t.check().rows}
    assert status["x"][0] == "cannot" and "a hook has changed the gradient of y" in status["y"][1]
    assert status["exp_1"][0] == "ok"
    with study.trace() as t:
        loss = (x * 0).log().sum()
    t.backward(loss)
    assert "the loss is -inf" in t.check().text


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_coarse_dtypes(dtype: Any) -> None:
    q, k, v = [x.detach().to(dtype).requires_grad_() for x in vectors(4, 3)]
    with study.trace() as t:
        loss = head(q, k, v).square().mean()
    t.backward(loss)
    assert t.check().ok, t.check()


def test_large_values_are_sampled() -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh())
    with study.trace(model) as t:
        loss = model(torch.randn(4, 20)).square().mean()
    t.backward(loss)
    rows = {row.name: row for row in t.check(most=10).rows}
    assert rows["0.weight"].checked == 10 and "10 of 600" in t.check(most=10).text


class WrongNan(torch.autograd.Function):
    """y = x"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 1

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * torch.tensor([math.nan, 1.0])


def test_a_gradient_of_nan_is_not_right() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        loss = WrongNan.apply(x).sum()
    t.backward(loss)
    (row,) = t.check().failed
    assert row.name == "x" and row.index == (0,) and math.isnan(row.gradient) and row.difference == pytest.approx(1)


def test_where_the_loss_ends() -> None:
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    with study.trace() as t:
        loss = x.sqrt().sum()
    t.backward(loss)
    row = t.check().rows[0]
    assert row.status == "kink" and row.note.startswith("at [0] the loss is not finite on one side")
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        t.check(most=0)


def test_what_a_hook_changes_a_little_is_no_mistake_of_backward() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        y = x * 2
        y.register_hook(lambda g: g * 1.005)
        loss = (y * y).sum()
    t.backward(loss)
    assert {row.name: row.status for row in t.check().rows}["x"] == "cannot"


def test_a_leaf_that_was_written_to_is_another_value() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        first = (w + x).sum()
        with torch.no_grad():
            w.mul_(2)
        loss = (w * x).square().sum()
    t.backward(loss)
    before, after = t["w"], t["w_2"]
    assert before.grad is None and after.grad.tolist() == w.grad.tolist() == [12, 64]
    assert t.check().ok and t.check().rows
    t.backward(first + 0)
    assert before.grad.tolist() == [1, 1] and after.grad is None


def test_a_module_made_in_the_trace() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    with study.trace() as t:
        norm = nn.BatchNorm1d(2)
        loss = (norm(x) ** 3).sum()
    t.backward(loss)
    assert t.check().ok and t["norm.weight"].grad.tolist() == norm.weight.grad.tolist()


def test_two_walks_in_the_block() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        y = x * 2
        a, b = y.sum(), y.square().sum()
        a.backward(retain_graph=True)
        b.backward()
    assert t.check().ok and t["x"].grad.tolist() == [8, 16] and t["a"].grad is None
    with study.trace() as t:
        y = x * 2
        a, b = y.sum(), y.square().sum()
        torch.autograd.backward([a, b])
    assert t.check().ok and t["x"].grad.tolist() == [10, 18] and t["a"].grad.item() == 1


def test_rounding_where_terms_cancel_is_no_mistake() -> None:
    x = torch.ones(3, requires_grad=True)
    with study.trace() as t:
        for _ in range(20):
            x = (x * 2).softmax(-1)
        loss = x.square().sum()
    t.backward(loss)
    assert t.check().ok
    x = torch.ones(2, 3, requires_grad=True)
    with study.trace() as t:
        loss = F.layer_norm(x * 1.1, (3,)).sum() * 100
    t.backward(loss)
    assert t.check().ok


def test_writes_that_are_not_counted() -> None:
    """A step of gradient descent as in old tutorials, and NumPy's own."""
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        first = (w * w).sum()
        first.backward()
        w.data -= 0.1 * w.grad
        w.grad = None
        loss = (w**3).sum()
    t.backward(loss)
    assert t.check().ok and t["w_2"].grad.tolist() == w.grad.tolist() and t["w"].grad is None
    assert t["w"].value.tolist() == [1, 2]
    x, y = torch.ones(2), torch.ones(2, requires_grad=True)
    with study.trace() as t:
        z = x * y
        x.numpy()[0] = 5
        loss = (z + x * y).sum()
    t.backward(loss)
    assert t["y"].grad.tolist() == [10, 2]  # as in PyTorch: z's backward finds the 5, which is a mistake of the user's
    assert [row.name for row in t.check().failed] == ["y"]
    assert t.why("y[0]").total == 6 and "numbers that it needs were changed" in t.why("y[0]").note.replace("\n", " ")
    assert t["x_2"].value.tolist() == [5, 1] and t["x"].value.tolist() == [1, 1]
