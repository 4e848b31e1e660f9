"""A trace sees what runs, as it runs: it changes no bit, and each gradient is where it belongs."""

from __future__ import annotations

import contextlib
import gc
import math
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tests.autograd.test_nesting import PROGRAMS
from tests.autograd.test_nesting import run as run_program
from tests.ops import checks
from tests.test_random_graphs_oracle import Graph
from tinytorch import nn, study
from tinytorch.compiled.arrays import NotTraceable
from tinytorch.engine.mode import mode
from tinytorch.engine.runner import EAGER
from tinytorch.nn import functional as F
from tinytorch.profiler import profile
from tinytorch.study.recording import Opening
from tinytorch.utils.checkpoint import checkpoint

OPERATIONS = [cls for cls in checks.operations() if vars(cls).get("examples")]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    """Each test leaves no runner behind."""
    yield
    assert mode.run is EAGER


def head(q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    masked = scores.masked_fill(torch.tensor(~np.tri(len(q), dtype=np.bool_)), -np.inf)
    p = masked.softmax(-1)
    return p @ v


def vectors(*shape: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [torch.tensor(rng.standard_normal(shape), dtype=torch.float32, requires_grad=True) for _ in range(3)]


def traced_head() -> tuple[Any, list[Any]]:
    q, k, v = vectors(4, 3)
    with study.trace() as t:
        y = head(q, k, v)
        loss = y.square().sum()
    t.backward(loss)
    return t, [q, k, v]


# ---------------------------------------------------------------------- bits


def bits(example: Any, around: Any) -> tuple[list[bytes], list[bytes], Any]:
    inputs = checks.tensors(example.arrays(np.float32))
    with around as t:
        outputs = checks.listed(example.call(torch, *inputs))
        seeds = checks.cotangents(outputs)
        grads = checks.gradients(outputs, inputs, seeds) if checks.has_gradient(example.cls) else []
    return [y.array.tobytes() for y in outputs], [g.tobytes() for g in grads], t


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_every_operation_keeps_its_bits(cls: Any) -> None:
    seen: set[Any] = set()
    for example in checks.examples_of(cls):
        assert bits(example, contextlib.nullcontext())[:2] == bits(example, study.trace(unfold=False))[:2]
        *found, t = bits(example, study.trace())
        assert tuple(found) == bits(example, Opening())[:2]
        seen |= {step.operation for step in t.all_steps}
        for step in t:
            assert step.operation.composite is None or not issubclass(step.operation, checks.FusedFunction)
    assert cls in seen or cls.__name__ in {"Create", "Write", "ReluBackward", "EmbeddingBackward", "SoftmaxBackward"}


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_the_gradients_that_it_holds_are_those_of_the_walk(cls: Any) -> None:
    for example in checks.examples_of(cls):
        inputs = checks.tensors(example.arrays(np.float32))
        with study.trace(unfold=False) as t:
            outputs = checks.listed(example.call(torch, *inputs))
        outputs = [y for y in outputs if y.requires_grad]
        if not outputs:
            continue
        seeds = [torch.from_numpy(c) for c in checks.cotangents(outputs)]
        t.forget_gradients()
        with t.at_work():
            torch.autograd.backward(outputs, seeds)
        for x in inputs:
            if x.grad is not None and t.recording.tensors.known(x) is not None:
                value = t[x]
                assert value.grad.array.tobytes() == x.grad.array.tobytes(), value
                assert len(value.summands) == len([u for u in value.uses if u[0].outgoing[u[1]] is not None])


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_keep_their_bits(seed: int) -> None:
    graph = Graph(seed, 12, smooth=bool(seed % 2))

    def run(around: Any) -> list[bytes]:
        with around:
            return [r.array.tobytes() for r in graph.ours(torch.float32)]

    assert run(contextlib.nullcontext()) == run(study.trace(unfold=False))
    assert run(Opening()) == run(study.trace())


# ---------------------------------------------------------------------- what it holds


def test_steps_values_and_gradients_of_a_head() -> None:
    t, (q, k, v) = traced_head()
    titles = [step.title for step in t]
    assert titles == ["transpose", "matmul", "div", "where", "softmax", "matmul", "pow", "sum"]
    assert [step.title for step in reversed(t)] == titles[::-1]
    assert [step.title for step in t.backward_steps()] == titles[::-1]
    assert next(t.backward_steps()).outputs[0].name == "loss"
    for x, name in ((q, "q"), (k, "k"), (v, "v")):
        assert t[name].grad.tolist() == x.grad.tolist() and t[x] is t[name]
        assert t[name].value.tolist() == x.tolist()
    softmax = t["p"].step
    assert softmax is t.steps[4] and softmax.line.source == "p = masked.softmax(-1)"
    assert softmax.line.file == __file__ and softmax.line.function == "head"
    assert softmax.formula == "y_i = e^(x_i) / sum_k e^(x_k); 0 where every x_k is -inf"
    assert softmax.derivation.startswith("dy_i/dx_j = y_i ([i = j] - y_j), so\ndL/dx_j = sum_i g_i")
    assert [value.name for value in softmax.inputs] == ["masked"]
    assert softmax.incoming[0].tolist() == t["p"].grad.tolist()
    assert softmax.outgoing[0].tolist() == t["masked"].grad.tolist()
    assert [s.step.name for s in t["p"].summands] == ["matmul_2"]
    assert t["loss"].grad.item() == 1 and t["loss"].gradient.given
    assert "8 steps" in repr(t) and "softmax(masked)" in repr(t["p"])


def test_a_fan_out_has_summands() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        y = x * 3
        loss = (y * x + y.exp() + y).sum()
    t.backward(loss)
    assert sorted(s.step.title for s in t["y"].summands) == ["add", "exp", "mul"]
    total = sum(s.array.astype(np.float64) for s in t["y"].summands)
    np.testing.assert_allclose(t["y"].grad.array, total, rtol=1e-6)
    assert sorted((s.step.name, s.place) for s in t["x"].summands) == [("mul_1", 0), ("mul_2", 1)]


def test_names() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    w = torch.tensor([0.5, 1.5])
    with study.trace() as t:
        p = x.exp()
        p = p * w
        study.named("ours", p + 1).sum()
        y = (p - 1) * 2
    assert [value.name for value in t.values if value.kind != "constant"] == [
        "x", "p", "w", "p_2", "ours", "sum_1", "sub_1", "y"
    ]  # fmt: skip
    t.name(total="sum_1", minus=y)
    assert t["total"].step.title == "sum" and t["minus"] is t["mul_2"] is t["y"]
    late = y
    assert t["late"] is t[late]
    assert "p_2" in t and "q" not in t
    with pytest.raises(LookupError, match="the trace holds no 'pp'; it holds p"):
        t["pp"]
    with pytest.raises(LookupError, match="has not seen this Tensor"):
        t[torch.ones(2)]
    assert study.named("outside", x) is x


def test_parameters_have_their_path() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))
    x = torch.ones(2, 3)
    with study.trace(model) as t:
        model(x)
    assert {"0.weight", "0.bias", "2.weight", "2.bias"} <= {value.name for value in t.values}
    with study.trace() as t:
        model(x)
    assert t["model.2.weight"] is t["2.weight"]
    with pytest.raises(TypeError, match="takes a Module"):
        study.trace(x)  # type: ignore[arg-type]


def test_what_is_inside() -> None:
    q, k, v = vectors(4, 3)
    with study.trace() as t:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        p = y.softmax(-1)
        loss = (p * p).sum()
    t.backward(loss)
    assert t["attention_1"].inside["p"] is t["attention_1.p"]
    assert [s.title for s in t["attention_1"].inside.steps] == [
        "transpose", "matmul", "mul", "where", "softmax", "matmul"
    ]  # fmt: skip
    inside = t["p"].inside
    assert inside["e"].step.title == "exp" and inside["p"].value.shape == (4, 3)
    np.testing.assert_allclose(inside["y"].grad.array, t["y"].grad.array, atol=1e-6)
    with pytest.raises(LookupError, match="elementary"):
        t["loss"].inside  # noqa: B018
    with pytest.raises(LookupError, match="q is an input"):
        t["q"].inside  # noqa: B018
    with study.trace(unfold=False) as whole:
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert "attention" in [step.title for step in whole]
    assert whole["attention_1"].inside["p"].value.tolist() == t["attention_1.p"].value.tolist()


def test_a_later_write_changes_nothing_that_is_shown() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        y = x * 2
        before = y
        y.mul_(3)
        z = y + 1
        z[0] = 5.0
        loss = z.sum()
    t.backward(loss)
    assert t["mul_1"].value.tolist() == [2, 4] and t["mul_2"].value.tolist() == [6, 12]
    assert t[y] is t[before] is t["mul_2"]
    assert t["add_1"].value.tolist() == [7, 13] and t[z].value.tolist() == [5, 13]
    assert t[z].step.title == "overwrite" and t[z].step.line.source == "z[0] = 5.0"
    assert t["add_1"].grad.tolist() == [0, 1] and t["x"].grad.tolist() == [0, 6]
    with torch.no_grad():
        x.zero_()
    assert t["x"].value.tolist() == [1, 2]


def test_views_and_detached_values() -> None:
    buffer, w = torch.zeros(2, 3), torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with study.trace() as t:
        older = buffer[1]
        buffer[1] += w * 10
        loss = (older * older.detach()).sum()
    t.backward(loss)
    assert t[older].value.tolist() == [10, 20, 30] and t[older].grad.tolist() == [10, 20, 30]
    detached = next(value for value in t.values if value.detached_from is not None and value.gradient is None)
    assert detached.detached_from is t[older]
    assert t["w"].grad.tolist() == [100, 200, 300]


def test_given_gradients_hooks_and_several_walks() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        y = x * 2
        z = y.exp()
    y.register_hook(lambda g: g * 10)
    t.backward(z, torch.tensor([1.0, 0.5]), retain_graph=True)
    assert t["z"].grad.tolist() == [1, 0.5] and t["z"].gradient.given
    assert t["y"].gradient.changed_by_hooks and not t["x"].gradient.changed_by_hooks
    first = t["x"].grad.tolist()
    assert first == x.grad.tolist()
    t.backward("z", torch.tensor([1.0, 0.5]))
    assert t["x"].grad.tolist() == first and x.grad.tolist() == [2 * g for g in first]
    assert len(t["x"].summands) == 1


def test_a_walk_of_the_users_within_the_block() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        loss = (x * x).sum()
        loss.backward()
        (2 * x).sum().backward()
    assert t["loss"].grad is None and t["sum_2"].gradient.given  # gradients are those of the last walk alone
    assert t.check().ok
    assert [step.title for step in t] == ["mul", "sum", "mul", "sum"]
    assert t["x"].grad.tolist() == [2, 2] and x.grad.tolist() == [4, 6]


def test_second_derivatives() -> None:
    x = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    with study.trace() as t:
        (g,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
        curvature = g.sum()
    t.backward(curvature)
    assert t["x"].grad.tolist() == pytest.approx([3.0, -6.0]) and x.grad.tolist() == t["x"].grad.tolist()
    assert t["g"].grad.tolist() == [1, 1]


@pytest.mark.parametrize("unfold", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_checkpoints(unfold: bool, inside: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4))
    x = torch.ones(2, 3)
    x[0] = -0.5

    def run(around: Any) -> list[bytes]:
        model.zero_grad()
        with around:
            loss = checkpoint(lambda z: F.dropout(model(z), 0.5), x).square().sum()
            if inside:
                loss.backward()
        if not inside:
            if isinstance(around, study.Trace):
                around.backward(loss)
            else:
                loss.backward()
        return [p.grad.array.tobytes() for p in model.parameters()]

    for seed in range(2):
        torch.manual_seed(seed)
        plain = run(Opening() if unfold else contextlib.nullcontext())
        torch.manual_seed(seed)
        t = study.trace(model, unfold=unfold)
        assert run(t) == plain
        assert t["0.weight"].grad.array.tobytes() == model[0].weight.grad.array.tobytes()


def test_among_other_runners() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with profile() as outer, torch.autograd.set_detect_anomaly(True), study.trace() as t, profile() as inner:
        loss = F.gelu(x).sum()
        loss.backward()
    assert [step.title for step in t][-1] == "sum" and "gelu" not in [step.title for step in t]
    assert "Gelu" in {e.name for e in inner.events()} and "Gelu" not in {e.name for e in outer.events()}
    with study.trace() as t, torch.unfold():
        x.softmax(-1)
    assert "softmax" not in [step.title for step in t]
    with torch.unfold(), study.trace() as t:
        x.softmax(-1)
    assert t.all_steps[-1].title == "softmax" and t.all_steps[-1].unfolded
    with study.trace() as t, study.trace() as inner_trace:
        y = x * 2
    assert t[y].value.tolist() == inner_trace[y].value.tolist()


def test_a_function_of_the_users() -> None:
    class Doubled(torch.autograd.Function):
        """y = 2 x"""

        @staticmethod
        def forward(ctx: Any, x: Any, factor: float) -> Any:
            ctx.factor = factor
            return x * factor

        # dy/dx = 2
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.factor, None

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        y = Doubled.apply(x, 2.0)
        loss = y.sum()
    t.backward(loss)
    assert [step.title for step in t] == ["doubled", "sum"] and t["y"].step.formula == "y = 2 x"
    assert t["y"].step.derivation == "dy/dx = 2" and t["y"].grad.tolist() == [1, 1] and t["x"].grad.tolist() == [2, 2]


def test_not_inside_of_a_compiled_function() -> None:
    @torch.compile
    def inside(x: Any) -> Any:
        with study.trace():
            return x * 2

    with pytest.raises(NotTraceable, match="inside a compiled function"):
        inside(torch.ones(2))

    @torch.compile
    def traced(x: Any) -> Any:
        return x * 2

    with study.trace() as t:
        traced(torch.ones(2))
    assert [step.title for step in t] == ["mul"]


def test_its_limit_and_its_memory() -> None:
    x = torch.ones(100)
    too_large = pytest.raises(study.TraceTooLarge, match=r"more than 0\.\d+ MiB: trace a smaller input")
    with too_large, study.trace(limit=900):
        x * 2 + 1
    with study.trace() as t:
        x * 2
    assert t.memory == 804
    with pytest.raises(RuntimeError, match="at work already"), t, t:
        pass


def test_it_holds_no_graph() -> None:
    x = torch.ones(3, requires_grad=True)
    with study.trace() as t:
        y = x.exp()
    tensor, node = weakref.ref(y), weakref.ref(y.grad_fn)
    t.backward(y, torch.ones(3))
    del y
    gc.collect()
    assert tensor() is None and node() is None
    with pytest.raises(RuntimeError, match="nothing holds the Tensor y"):
        t.backward("y", torch.ones(3))


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_every_operation_says_what_it_is_and_why_its_backward_is_right(cls: Any) -> None:
    assert study.formula_of(cls)
    derivation = study.derivation_of(cls)
    assert bool(derivation) is checks.has_gradient(cls)
    assert "#" not in derivation and "staticmethod" not in derivation


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_programs_of_all_kinds_keep_their_bits(program: Any) -> None:
    """Checkpoints in each other, second derivatives, compiled functions, users' functions, under other runners too."""
    plain, _ = run_program(program, ())
    with Opening():
        opened, _ = run_program(program, ())
    for order in ((), ("profile",), ("anomaly",)):
        with study.trace(unfold=False) as t:
            assert run_program(program, order)[0] == plain
        assert t.walked and t.table().rows and t.svg()
        with study.trace() as t:
            assert run_program(program, order)[0] == opened
        assert t.walked and all(step.name for step in t)
    with profile(), torch.autograd.set_detect_anomaly(True), study.trace(unfold=False):
        assert run_program(program, ())[0] == plain


def test_an_exception_leaves_nothing_behind() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    t = study.trace()
    with pytest.raises(RuntimeError, match="shape"), t:
        y = x * 2
        y + torch.ones(3)
    assert mode.run is EAGER and [step.title for step in t] == ["mul"]
    t.backward(y.sum(), retain_graph=True)
    assert t["y"].grad.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="must be the last sizes"), study.trace() as t:
        F.layer_norm(x, (3,))
    with pytest.raises(ZeroDivisionError), study.trace() as t:
        y = F.gelu(x)
        y.register_hook(lambda g: 1 / 0)
        y.sum().backward()
    assert mode.run is EAGER and mode.grad
    assert t.recording._open is None and t.recording._backward is None


def test_a_gradient_of_the_wrong_shape_is_the_walks_to_refuse() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.detach() * 2 + 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return torch.ones(3)

    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="returned a gradient of shape"), study.trace() as t:
        (Wrong.apply(x) + x).sum().backward()
    assert t.table().rows and t.svg() and t.dot()


def test_comparisons_of_views_that_backward_would_refuse() -> None:
    """What needs no history asks for none."""
    x = torch.ones(2, 2, requires_grad=True) * 1
    with torch.no_grad():
        view = x[0]
    x.mul_(2)
    with study.trace():
        assert (view > 1).all()


def test_no_variable_is_kept_alive() -> None:
    def forward(x: Any) -> Any:
        hidden = x * 2
        references.append(weakref.ref(hidden))
        return hidden + 1

    references: list[Any] = []
    with study.trace() as t:
        y = forward(torch.ones(3))
        big = torch.zeros(10)
        references.append(weakref.ref(big))
        y.sum()
        del big
    gc.collect()
    assert [reference() for reference in references] == [None, None] and t["hidden"].value.tolist() == [2, 2, 2]


def test_one_thread_alone() -> None:
    with study.trace() as t:
        thread = threading.Thread(target=lambda: torch.ones(2) * 2)
        thread.start()
        thread.join()
    assert not list(t)


def test_what_is_no_tensor_has_no_name_in_a_trace() -> None:
    with study.trace() as t, pytest.raises(TypeError, match=r"named\('h', ...\) takes a Tensor, not ndarray"):
        study.named("h", np.ones(2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="by its name or its Tensor, not by ndarray"):
        t.name(q=np.ones(2))
