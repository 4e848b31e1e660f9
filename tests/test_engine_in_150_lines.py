"""The engine that docs/engine_in_150_lines.md builds up is as short as it says, and computes what tinytorch does."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from bench.engine_size import code_lines

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "engine_in_150_lines.md").read_text("utf-8")
BLOCKS = [block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S) if ">>>" not in block]

Array = np.ndarray[Any, Any]


def named(statement: ast.stmt) -> str:
    """What a statement defines. What defines no name of its own (an attribute, an import) is named by its text."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
        return statement.name
    return ast.unparse(statement)


def assembled() -> str:
    """The last definition of each name, in the order of the page."""
    source = "".join(BLOCKS)
    last: dict[str, str] = {}
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        decorators = statement.decorator_list if isinstance(statement, (ast.ClassDef, ast.FunctionDef)) else []
        first = min([statement.lineno, *[decorator.lineno for decorator in decorators]])
        last.pop(named(statement), None)
        last[named(statement)] = "\n".join(lines[first - 1 : statement.end_lineno])
    return "\n".join(last.values()) + "\n"


@pytest.fixture(scope="module", params=["pasted", "assembled"])
def small(request: pytest.FixtureRequest) -> types.ModuleType:
    """The finished engine: all blocks one after another, as the page says, or the last definitions alone."""
    module = types.ModuleType("engine_in_150_lines")
    source = assembled() if request.param == "assembled" else "".join(BLOCKS)
    exec(compile(source, module.__name__, "exec"), module.__dict__)
    return module


def test_the_last_definitions_are_as_many_lines_as_the_page_says() -> None:
    said = re.search(r"last definition of each name: (\d+) lines of code", PAGE)
    count = len(code_lines(assembled()))
    assert said is not None and int(said[1]) == count <= 150


def test_there_are_ten_steps_and_each_says_what_the_real_engine_does() -> None:
    steps = re.split(r"^## \d+\. ", PAGE, flags=re.M)[1:]
    assert len(steps) == 10
    for text in steps:
        assert "same(" in text or "real_losses" in text
        assert "**The real engine**" in text


def test_files_and_names_of_the_real_engine_exist() -> None:
    paths = re.findall(r"`(tinytorch/[\w/]+(?:\.py|/))`", PAGE)
    assert len(set(paths)) > 10
    for path in paths:
        assert (ROOT / path).exists(), path
    places = re.findall(r"`([\w.]+)`,? in\s+`(tinytorch/[\w/]+\.py)`", PAGE)
    assert len(places) > 5
    for name, path in places:
        assert re.search(rf"^ *(def |class |){name.split('.')[-1]}\b", (ROOT / path).read_text("utf-8"), re.M), name


def test_the_real_engine_is_as_long_as_the_readme_says() -> None:
    said = re.search(r"It is \[(\d+) lines\]", PAGE)
    assert said is not None
    assert re.search(rf"^\| `tinytorch/engine/`.* \| {said[1]} \|$", (ROOT / "README.md").read_text("utf-8"), re.M)


# (how many operands, what it does to them in either engine, given a random number for its choices). All sizes are 1
# or 4, so that any two operands can be broadcast; numbers stay near 1.
OPERATIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "add": (2, lambda k, a, b: a + b),
    "add a number": (1, lambda k, a: (a + 0.5, 0.5 + a)[k % 2]),
    "mul": (2, lambda k, a, b: a * b),
    "mul by a number": (1, lambda k, a: (a * 0.5, -1.5 * a)[k % 2]),
    "sub": (2, lambda k, a, b: a - b),
    "tanh": (1, lambda k, a: a.tanh()),
    "sum": (1, lambda k, a: a.sum(*((), (0,), (-1,), (-1, True))[k % 4]) * 0.25),
    "matmul": (2, lambda k, a, b: (a @ b) * 0.5),
    "twice the same": (1, lambda k, a: (a * a, a + a)[k % 2]),
}
SHAPES = ((4, 4), (1, 4), (4, 1), (1, 1), (4,), (1,), (), (4, 4, 4))


def graph(seed: int, leaf: Callable[[Array, bool], Any]) -> tuple[list[Any], list[Any]]:
    """The leaves of a random graph and its results, the last of which is a scalar that depends on all others."""
    random = np.random.default_rng(seed)
    leaves = [leaf(random.standard_normal(shape), random.random() < 0.8) for shape in SHAPES]
    values = list(leaves)
    for _ in range(int(random.integers(1, 25))):
        name = str(random.choice(list(OPERATIONS)))
        count, call = OPERATIONS[name]
        fitting = [v for v in values if len(v.shape) > 1 and v.shape[-2:] == (4, 4)] if name == "matmul" else values
        if name == "sum":
            fitting = [v for v in values if len(v.shape) > 0]
        # Mostly recent ones, so that graphs are deep.
        operands = [fitting[-1 - min(int(random.exponential(4)), len(fitting) - 1)] for _ in range(count)]
        values.append((call(int(random.integers(4)), *operands) * 0.7).tanh() * 1.5)
    total = values[0].sum()
    for value in values[1:]:
        total = total + (value * leaf(random.standard_normal(value.shape), False)).sum()
    return leaves, [*values, total]


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(small: types.ModuleType, seed: int) -> None:
    ours, our_values = graph(seed, lambda array, wants: small.Tensor(array, requires_grad=wants))
    theirs, their_values = graph(
        seed, lambda array, wants: tinytorch.tensor(array, dtype=tinytorch.float64, requires_grad=wants)
    )
    assert len(our_values) == len(their_values)
    for our, their in zip(our_values, their_values, strict=True):
        assert our.requires_grad == their.requires_grad
        assert_same(our.array, their)
    for _ in range(2):  # the second time adds to the first
        our_values[-1].backward()
        their_values[-1].backward(retain_graph=True)
    assert any(leaf.requires_grad for leaf in ours)
    for our, their in zip(ours, theirs, strict=True):
        assert (our.grad is None) == (their.grad is None) == (not our.requires_grad)
        if our.grad is not None:
            assert_same(our.grad, their.grad)


def test_graphs_have_all_operations_and_broadcasting(small: types.ModuleType) -> None:
    used, broadcast = set(), set()
    for seed in range(60):
        _, values = graph(seed, lambda array, wants: small.Tensor(array, requires_grad=wants))
        for node in small.order(values[-1].node):
            if not isinstance(node, small.Tensor):
                used.add(type(node))
                wanted = [b for b in node.inputs if not isinstance(b, small.Tensor) or b.requires_grad]
                if len(node.inputs) == 2 and any(below.shape != node.shape for below in wanted):
                    broadcast.add(type(node))
    assert used == {small.Add, small.Mul, small.Matmul, small.Sum, small.Tanh}
    assert broadcast == {small.Add, small.Mul, small.Matmul}


def test_an_mlp_has_the_same_losses_and_parameters(small: types.ModuleType) -> None:
    random = np.random.default_rng(1)
    initial = [random.standard_normal(shape) * 0.5 for shape in ((3, 8), (8,), (8, 2), (2,))]
    x = random.standard_normal((10, 3))
    target = np.stack([x[:, 0] * x[:, 1], np.abs(x[:, 2])], 1)
    ours = [small.Tensor(array.copy(), requires_grad=True) for array in initial]
    theirs = [tinytorch.tensor(array, dtype=tinytorch.float64, requires_grad=True) for array in initial]
    real_x, real_target = tinytorch.tensor(x), tinytorch.tensor(target)
    losses = []
    for _ in range(20):
        loss = small.squared_error(small.network(real_x, *theirs), real_target)
        losses.append(loss.item())
        loss.backward()
        with tinytorch.no_grad():
            for p in theirs:
                assert p.grad is not None
                p -= p.grad * 0.05
                p.grad = None
    found = [small.step(ours, small.Tensor(x), small.Tensor(target), 0.05) for _ in range(20)]
    np.testing.assert_allclose(found, losses, rtol=1e-12)
    assert found[-1] < found[0] / 2
    for our, their in zip(ours, theirs, strict=True):
        assert_same(our.array, their)


def test_no_grad_records_nothing_and_ends_with_its_block(small: types.ModuleType) -> None:
    x = small.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ZeroDivisionError), small.no_grad():
        assert (x * x).node is None
        raise ZeroDivisionError
    assert (x * x).node is not None


def assert_same(ours: Any, theirs: Any) -> None:
    theirs = theirs.detach().numpy()
    assert np.shape(ours) == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)
