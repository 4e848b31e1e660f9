"""What why() states is so: each local derivative is gradcheck's, and the terms add up to the gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch as torch
from lora.adapters.layers import LowRank
from tests.ops import checks
from tests.study.test_trace import traced_head, vectors
from tests.test_random_graphs_oracle import Graph
from tinytorch import nn, study
from tinytorch.gradcheck.point import Point, unit
from tinytorch.gradcheck.tolerances import Tolerances
from tinytorch.nn import functional as F
from tinytorch.ops.arithmetic import Mul
from tinytorch.ops.linalg import Matmul
from tinytorch.study import local, why
from tinytorch.study.factors import other_factor

DIFFERENTIABLE = [cls for cls in checks.operations() if vars(cls).get("examples") and checks.has_gradient(cls)]

FLAT = {"Ceil", "Floor", "FloorDivide", "Sign", "Trunc", "TruncDivide"}


def traced(example: Any, dtype: Any, unfold: bool) -> Any:
    """A trace of an example, walked from all of its outputs."""
    inputs = checks.tensors(example.arrays(dtype))
    with study.trace(unfold=unfold) as t:
        outputs = checks.listed(example.call(torch, *inputs))
    outputs = [y for y in outputs if y.requires_grad]
    seeds = [torch.from_numpy(c) for c in checks.cotangents(outputs)]
    t.forget_gradients()
    if outputs:
        with t.at_work():
            torch.autograd.backward(outputs, seeds)
    return t


def some_places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    places = list(np.ndindex(shape))
    count = 12 if len(places) < 20 else 4
    return places[:: max(1, len(places) // count)]


def named(value: Any, index: tuple[int, ...]) -> str:
    return f"{value.name}[{','.join(map(str, index))}]"


def assert_explained(t: Any, tolerance: float) -> int:
    """The terms of some elements of each gradient add up to it. How many terms there were."""
    terms = 0
    for value in t.values:
        if value.gradient is None or value.gradient.total is None or value.gradient.given:
            continue
        scale = max(1.0, float(np.abs(value.gradient.total).max(initial=0)))
        for index in some_places(value.shape):
            found = t.why(named(value, index))
            assert found.number == float(value.gradient.total[index])
            assert found.total == pytest.approx(found.number, rel=tolerance, abs=tolerance * scale), found
            terms += len(found.terms)
            assert found.text.startswith(f"{found.name} = ")
    return terms


@pytest.mark.parametrize("cls", DIFFERENTIABLE, ids=lambda cls: cls.__name__)
def test_every_local_derivative_is_a_column_of_gradchecks_jacobian(cls: Any) -> None:
    checked = 0
    for example in checks.examples_of(cls):
        t = traced(example, np.float64, unfold=False)
        for step in [step for step in t if step.recorded and step.operation is cls]:
            again = local.Again(step)
            places = [i for i, x in enumerate(again.inputs) if x is not None and x.requires_grad]

            def call(*xs: Any, step: Any = step, again: Any = again, places: Any = places) -> Any:
                inputs = list(again.inputs)
                for place, x in zip(places, xs, strict=True):
                    inputs[place] = x
                return local.apply(step, inputs)

            leaves = tuple(torch.from_numpy(again.inputs[place].array.copy()).requires_grad_() for place in places)
            point = Point("study", call, leaves, Tolerances(1e-6, 0, 0, 0))
            starts = np.cumsum([0, *[y.numel() for y in point.outputs]])
            for place, leaf in zip(places, leaves, strict=True):
                for index in some_places(leaf.shape):
                    flat = int(np.ravel_multi_index(index, leaf.shape)) if index else 0
                    expected = point.slope(leaf, unit(flat, leaf.numel()))
                    stated = np.zeros_like(expected)
                    for (number, at), slope in again.column(place, index).items():
                        output = point.outputs[point.numbers.index(number)]
                        stated[starts[point.numbers.index(number)] + np.ravel_multi_index(at, output.shape)
                               if at else starts[point.numbers.index(number)]] = slope  # fmt: skip
                    expected[np.abs(expected) > 1e4] = 0  # a jump: the gradient of relu, where relu is at its kink
                    np.testing.assert_allclose(stated, expected, rtol=1e-5, atol=1e-6, err_msg=str(step))
                    checked += 1
    assert checked or cls.__name__ == "To"  # which does nothing in float64


@pytest.mark.parametrize("unfold", [True, False])
@pytest.mark.parametrize("cls", DIFFERENTIABLE, ids=lambda cls: cls.__name__)
def test_the_terms_add_up_to_every_gradient(cls: Any, unfold: bool) -> None:
    terms = 0
    for example in checks.examples_of(cls):
        terms += assert_explained(traced(example, np.float64, unfold), 1e-9)
        assert_explained(traced(example, np.float32, unfold), 2e-5)
    assert bool(terms) is (cls.__name__ not in FLAT)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from((1, 3, 8)), st.booleans())
def test_the_terms_of_random_graphs_add_up(seed: int, length: int, smooth: bool) -> None:
    graph = Graph(seed, length, smooth)
    leaves = [torch.tensor(a, dtype=torch.float64).requires_grad_() for a in graph.leaves]
    with study.trace() as t:
        outputs = graph.outputs(torch, leaves)
    pairs = [(y, torch.tensor(c)) for y, c in zip(outputs, graph.cotangents, strict=True) if y.requires_grad]
    with t.at_work():
        torch.autograd.backward([y for y, _ in pairs], [c for _, c in pairs])
    assert assert_explained(t, 1e-8)


def test_many_outputs_are_narrowed_down_to_those_that_depend() -> None:
    x = torch.tensor(np.random.default_rng(0).standard_normal((20, 20)), requires_grad=True)
    with study.trace() as t:
        loss = x.softmax(-1).square().sum()
    t.backward(loss)
    found = t.why("x[3,4]")
    assert len(found.terms) == 20 and all("softmax_1[3," in term.names[0] for term in found.terms)
    assert found.total == pytest.approx(found.number)
    assert "and 8 smaller ones, together" in found.text and "sum of 20 terms" in found.text


def test_too_many_terms_are_refused() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    with study.trace() as t:
        loss = (x * torch.ones(5000)).sum()
    t.backward(loss)
    with pytest.raises(RuntimeError, match="5000 elements of what mul_1 makes may depend on this one: why"):
        t.why("x")


def test_one_score_of_a_head() -> None:
    t, _ = traced_head()
    found = t.why("masked[2,1]")
    p, g = t["p"].value.array[2].astype(float), t["p"].grad.array[2].astype(float)
    assert [term.names for term in found.terms] == [
        (f"dL/dp[2,{k}]", f"dp[2,{k}]/dmasked[2,1]") for k in range(3)
    ]  # fmt: skip
    for k, term in enumerate(found.terms):
        assert term.factors == pytest.approx((g[k], p[k] * ((k == 1) - p[1])), rel=1e-5)
    assert found.total == pytest.approx(t["masked"].grad.array[2, 1], rel=1e-5)
    assert "| dy_i/dx_j = y_i ([i = j] - y_j), so" in found.text and "through p = softmax(masked)" in found.text
    assert str(found) == repr(found) == found.text
    for spelled in ("dmasked[2, 1]", "dL/dmasked[2,1]", " masked[-2,1] "):
        assert t.why(spelled).terms == found.terms


@pytest.mark.parametrize("cls", [Matmul, Mul], ids=lambda cls: cls.__name__)
def test_the_derivative_of_a_product_is_called_after_its_other_factor(cls: Any) -> None:
    named_ones = 0
    for example in checks.examples_of(cls):
        t = traced(example, np.float64, unfold=True)
        for step in [step for step in t if step.operation is cls and step.recorded]:
            again = local.Again(step)
            for place, value in enumerate(step.inputs):
                for index in some_places(value.shape) if value.gradient is not None else ():
                    for (_, at), slope in again.column(place, index).items():
                        other, where = other_factor(step, place, index, at)
                        assert other.array[where] == pytest.approx(slope, rel=1e-12)
                        named_ones += 1
    assert named_ones
    t, _ = traced_head()
    assert [term.known_as for term in t.why("q[1,0]").terms] == [f"k[{n},0]" for n in range(4)]
    assert "x -" in t.why("q[1,0]").text and "(k[0,0]) = " in t.why("q[1,0]").text
    assert t.why("p[1,0]").terms[2].known_as == "v[0,2]"


def test_a_masked_score() -> None:
    t, _ = traced_head()
    found = t.why("scores[0,1]")
    assert found.terms == [] and found.number == found.total == 0
    assert "No term: input_1 is True at [0,1], so masked[0,1] is taken from -inf" in " ".join(found.text.split())
    assert "p[0,1] is exactly 0" in t.why("masked[0,1]").text


def test_a_fan_out_has_a_section_for_each_use() -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    with study.trace() as t:
        loss = (x * x + x.exp()).sum()
    t.backward(loss)
    found = t.why("x[1]")
    assert sorted((s.step.title, s.place) for s in found.sections) == [("exp", 0), ("mul", 0), ("mul", 1)]
    assert found.total == pytest.approx(4 + math.e**2) and "in all" in found.text


def test_depth() -> None:
    t, _ = traced_head()
    found = t.why("q[2,0]", depth=3)
    for term in found.terms:
        assert term.deeper is not None and term.deeper.total == pytest.approx(term.factors[0], abs=1e-6)
        for inner in term.deeper.terms:
            assert inner.deeper is not None and inner.deeper.total == pytest.approx(inner.factors[0], abs=1e-6)
    assert found.text.count("| dy/da = 1/b") == 1  # each formula once
    with pytest.raises(ValueError, match="depth must be from 1 to 20, got"):
        t.why("q[2,0]", depth=0)


def test_views_without_a_name_are_gone_through() -> None:
    t, _ = traced_head()
    found = t.why("k[1,2]")
    (term,) = found.terms
    assert term.names[0] == "dL/dk.mT[2,1]" and term.deeper is not None and len(term.deeper.terms) == 4
    assert all(inner.deeper is None for inner in term.deeper.terms)
    assert found.text.count("(q[") == 4


def test_values() -> None:
    t, _ = traced_head()
    loss = t.why("loss")
    assert loss.total == pytest.approx(t["loss"].value.item()) and len(loss.terms) == 12
    y = t.why("y[2,1]", forward=True)
    assert [term.names for term in y.terms] == [(f"p[2,{k}]", f"v[{k},1]") for k in range(4)]
    assert y.total == pytest.approx(y.number, rel=1e-6)
    p = t.why("p[2,1]", forward=True, depth=2)
    assert [term.names for term in p.terms] == [(f"masked[2,{k}]",) for k in range(3)] and p.total == p.number
    assert p.terms[0].deeper is not None and p.terms[0].deeper.terms[0].names[0] == "scores[2,0]"
    assert "v is an input" in t.why("v[0,0]", forward=True).text
    assert t.why("p[2,1]", forward=True).sections[0].is_sum is False


def test_what_has_no_gradient() -> None:
    q, k, v = vectors(4, 3)
    with study.trace() as t:
        unused = q * 2
        constant = torch.ones(2) * 3
        loss = (k * v).sum()
    with pytest.raises(RuntimeError, match=r"t.backward\(loss\), or why\('k\[0,0\]', forward=True\)"):
        t.why("k[0,0]")
    t.backward(loss)
    assert "no step uses it" in t.why("unused[0,0]").text and t[unused].grad is None
    assert "it does not require a gradient" in t.why("constant[0]").text and t[constant].grad is None
    assert "no step that leads to L uses it" in t.why("q[0,0]").text
    for bad in ("k", "k[0]", "k[4,0]", "k[0,0,0]"):
        with pytest.raises(IndexError, match=r"names no one element of k, whose shape is \(4, 3\): as 'k\[3,2\]'"):
            t.why(bad)
    with pytest.raises(LookupError, match="holds no 'nothing'"):
        t.why("nothing[0]")


def test_lora_at_its_start() -> None:
    """B is 0: so is A's gradient, since all that comes to it goes through B; B's own is not."""
    layer = LowRank({"lora_A": (2, 4), "lora_B": (3, 2)}, 0.5, 0.0, torch.float32)
    with torch.no_grad():
        layer.lora_A.copy_(torch.arange(8).reshape(2, 4) / 8)
    x = torch.arange(8.0).reshape(2, 4)
    with study.trace(layer) as t:
        loss = (layer(x) - 1).square().sum()
    t.backward(loss)
    a = t.why("lora_A[1,2]", depth=3)
    assert a.number == 0 and t["lora_A"].grad.array.any() == 0 and t["lora_B"].grad.array.all()
    assert t.why("lora_B[0,1]").number != 0
    deepest = [term for one in a.terms for two in one.deeper.terms for term in two.deeper.terms]
    assert deepest and a.total == 0
    scaled = t.why("mul_1[0,1]")
    assert [term.known_as for term in scaled.terms] == ["lora_B[0,1]", "lora_B[1,1]", "lora_B[2,1]"]
    assert all(term.factors[0] != 0 and term.factors[1] == 0 for term in scaled.terms)


def test_hooks_are_said() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        y = x * 2
        loss = y.exp().sum()
    y.register_hook(lambda g: g * 10)
    t.backward(loss)
    assert "A hook has changed it" in t.why("y[0]").text


def test_hostile_names_are_text() -> None:
    x = torch.tensor([1.0], requires_grad=True)
    with study.trace() as t:
        y = study.named("<script>alert(1)</script>\x1b[31m", x * 2)
        loss = y.sum()
    t.backward(loss)
    shown = t.why("x[0]")._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "monospace" in shown
    assert "\x1b" not in t.why("x[0]").text and "\\x1b[31m" in t.why("x[0]").text
    assert t["<script>alert(1)</script>\x1b[31m"] is t[y]


def test_a_step_that_the_trace_has_not_seen() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    with study.trace() as t:
        loss = y.exp().sum()
        other = (x * 3).sum()
    t.backward(loss + other)
    assert "MulBackward0, a step that the trace has not seen, sent" in t.why("x[0]").text
    assert isinstance(why.why(t, "y[0]"), study.Explanation)


def test_a_block_of_the_users() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2))
    x, target = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    with study.trace(model) as t:
        loss = F.cross_entropy(model(x), target)
    t.backward(loss)
    assert assert_explained(t, 1e-4) > 100


def test_a_value_is_made_of_what_needs_no_gradient_too() -> None:
    x, w = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(3, 2, requires_grad=True)
    with study.trace() as t:
        y = x @ w
        z = x[0] * w[:, 0]
    found = t.why("y[0,1]", forward=True)
    assert [term.names for term in found.terms] == [(f"x[0,{i}]", f"w[{i},1]") for i in range(3)]
    assert found.total == y.array[0, 1]
    (term,) = t.why("z[2]", forward=True).terms
    assert term.names == ("slice_1[2]", "w[2,0]") and term.product == z.array[2] == 3


@pytest.mark.parametrize("what", ["x[0]", "x[0,1,0]", "x[0,2]", "x[:,0]", "x[0,:]", "x[a,0]", "x[0.5,0]", "x", "dx[]"])
def test_what_is_no_one_element(what: str) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    with study.trace() as t:
        loss = x.sum()
    t.backward(loss)
    with pytest.raises(IndexError, match=r"names no one element of x, whose shape is \(2, 2\): as 'x\[1,1\]'"):
        t.why(what)
    with pytest.raises(IndexError, match=r"'loss\[0\]' names no one element of loss, whose shape is \(\): as 'loss'"):
        t.why("loss[0]")
    with pytest.raises(TypeError, match=r"by its name, as 'scores\[2,1\]', not by Tensor"):
        t.why(x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="by its name or its Tensor, not by int"):
        t[3]  # type: ignore[index]
    with pytest.raises(LookupError, match=r"the trace holds no 'q'; it holds x, loss$"):
        t.why("q[0]")


class Nonlinear(torch.autograd.Function):
    """y = x"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 1

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 0 + 1


def test_it_says_where_the_terms_are_not_the_gradient() -> None:
    x = torch.tensor([0.0, 2.0], requires_grad=True)
    with study.trace() as t:
        loss = (Nonlinear.apply(x) * 3).sum()
    t.backward(loss)
    assert t.why("x[0]").note.startswith("The gradient is not this sum: backward does not compute the derivative of")
    with study.trace() as t:
        loss = x.abs().sqrt().sum()
    t.backward(loss)
    assert t.why("x[0]").note.endswith("0 x infinity is nan.") and not t.why("x[1]").note


def test_an_infinite_number_has_terms_of_its_own_alone() -> None:
    x = torch.tensor([1.0, math.inf, 2.0], requires_grad=True)
    with study.trace() as t:
        loss = (x * x).sum()
    t.backward(loss)
    found = t.why("x[1]")
    assert [term.product for term in found.terms] == [math.inf, math.inf] and found.total == math.inf and not found.note
    assert t.why("x[2]").total == 4


def test_a_depth_that_nobody_reads_is_refused() -> None:
    x = torch.ones(2, requires_grad=True)
    with study.trace() as t:
        y = x * 2
        loss = y.sum()
    t.backward(loss)
    with pytest.raises(ValueError, match="depth must be from 1 to 20, got 400"):
        t.why("x[0]", depth=400)
