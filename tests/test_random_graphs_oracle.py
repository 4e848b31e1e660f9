"""Random graphs of 1 to 30 operations: values and all gradients as PyTorch's, in float64 and in two bytes, as written
and compiled. RANDOM_GRAPHS in the environment asks for more than CI does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops.checks import array_of, listed

GRAPHS = int(os.environ.get("RANDOM_GRAPHS", "40"))  # for each length and dtype
LENGTHS = (1, 3, 8, 15, 30)

# (how many operands, what it does to them in either library, given a random number for its choices). Each keeps numbers
# near 1 and shapes (3, 4), or makes shapes that the next one can be broadcast with.
SMOOTH: dict[str, tuple[int, Callable[..., Any]]] = {
    "add": (2, lambda t, k, a, b: a + b),
    "sub": (2, lambda t, k, a, b: a - 0.5 * b),
    "mul": (2, lambda t, k, a, b: a * b),
    "div": (2, lambda t, k, a, b: a / (b * b + 1)),
    "pow": (1, lambda t, k, a: (a * a + 0.5) ** (0.5, 1.5, -1.0)[k % 3]),
    "neg": (1, lambda t, k, a: -a),
    "exp": (1, lambda t, k, a: t.exp(-a * a)),
    "log": (1, lambda t, k, a: t.log(a * a + 1)),
    "sqrt": (1, lambda t, k, a: t.sqrt(a * a + 1)),
    "sin": (1, lambda t, k, a: t.sin(a) + t.cos(a)),
    "tanh": (1, lambda t, k, a: t.tanh(a)),
    "sigmoid": (1, lambda t, k, a: t.sigmoid(a)),
    "gelu": (1, lambda t, k, a: t.nn.functional.gelu(a, approximate=("none", "tanh")[k % 2])),
    "silu": (1, lambda t, k, a: t.nn.functional.silu(a)),
    "softplus": (1, lambda t, k, a: t.nn.functional.softplus(a)),
    "softmax": (1, lambda t, k, a: t.softmax(a, k % 2)),
    "log_softmax": (1, lambda t, k, a: t.nn.functional.log_softmax(a, k % 2)),
    "logsumexp": (1, lambda t, k, a: t.logsumexp(a, k % 2, keepdim=True)),
    "layer_norm": (1, lambda t, k, a: t.nn.functional.layer_norm(a, a.shape[-1:], eps=0.5)),
    "mean": (1, lambda t, k, a: a.mean(k % 2, keepdim=True) + a),
    "sum": (1, lambda t, k, a: a.sum() / 4 + a),
    "var": (1, lambda t, k, a: a * 0.5 + a.var(correction=0)),
    "cumsum": (1, lambda t, k, a: a.cumsum(k % 2) / 3),
    "matmul": (2, lambda t, k, a, b: a @ b.mT @ a / 6),
    "linear": (2, lambda t, k, a, b: t.nn.functional.linear(a, b.mT @ b / 4)),
    "transposed": (1, lambda t, k, a: (a.T.contiguous().T, a.T.clone().mT)[k % 2]),
    "reshaped": (1, lambda t, k, a: a.reshape(-1).reshape(a.shape)),
    "views": (1, lambda t, k, a: t.cat([a[1:], a[:1]])),
    "columns": (1, lambda t, k, a: t.stack([a[:, j] for j in range(a.shape[1])], 1)),
    "rows": (1, lambda t, k, a: a[t.tensor([k % 3, 0, 2])]),
    "split": (1, lambda t, k, a: t.cat(a.split(2, 1)[::-1], 1)),
    "expanded": (1, lambda t, k, a: a[:1].expand(3, 4) * 0.5 + a),
    "flipped": (1, lambda t, k, a: (a.flip(k % 2), a.roll(1, k % 2))[k % 2]),
    "masked": (1, lambda t, k, a: a.masked_fill(t.tensor([True, False, False, k % 2 == 0]), 0.25)),
    "gather": (1, lambda t, k, a: a.gather(1, t.tensor([[0, 0, 3, 1]] * 3))),
    "detached": (2, lambda t, k, a, b: a * 0.5 + b.detach()),
    "written": (2, lambda t, k, a, b: _written(a, b)),
}
KINKED: dict[str, tuple[int, Callable[..., Any]]] = {
    "relu": (1, lambda t, k, a: t.relu(a)),
    "abs": (1, lambda t, k, a: a.abs()),
    "maximum": (2, lambda t, k, a, b: t.maximum(a, b)),
    "clamp": (1, lambda t, k, a: a.clamp(-0.6, 0.7)),
    "amax": (1, lambda t, k, a: a.amax(k % 2, keepdim=True) - a),
    "sort": (1, lambda t, k, a: a.sort(k % 2)[0]),
    "where": (2, lambda t, k, a, b: t.where(a > 0, a, b)),
}


def _written(a: Any, b: Any) -> Any:
    y = a.clone()
    y[0] = b[2]
    y.mul_(0.75)
    return y


class Graph:
    """A program over two leaves (3, 4): each step takes results of earlier ones; what nobody uses is a result."""

    def __init__(self, seed: int, length: int, smooth: bool) -> None:
        rng = np.random.default_rng([seed, length, smooth])
        known = SMOOTH if smooth else {**SMOOTH, **KINKED}
        self.steps: list[tuple[str, Callable[..., Any], int, list[int]]] = []
        for number in range(length):
            name = str(rng.choice(list(known)))
            count, call = known[name]
            recent = rng.integers(max(0, number - 3), number + 2, count)  # a chain with branches that meet again
            self.steps.append((name, call, int(rng.integers(6)), recent.tolist()))
        used = {place for *_, places in self.steps for place in places}
        self.ends = [place for place in range(length + 2) if place not in used]
        self.leaves = [rng.standard_normal((3, 4)) for _ in range(2)]
        self.cotangents = [rng.standard_normal((3, 4)) for _ in self.ends]

    def outputs(self, t: Any, leaves: list[Any], after: Callable[[Any], Any] = lambda y: y) -> list[Any]:
        """What nobody uses; `after` is done to what each step gives."""
        results = list(leaves)
        for _, call, k, places in self.steps:
            results.append(after(t.broadcast_to(call(t, k, *[results[place] for place in places]), (3, 4))))
        return [results[i] for i in self.ends]

    def run(self, t: Any, leaves: list[Any], cotangents: list[Any], after: Callable[[Any], Any] = lambda y: y) -> Any:
        """Outputs, then the gradients of the leaves."""
        found = zip(self.outputs(t, leaves, after), cotangents, strict=True)
        pairs = [(y, c) for y, c in found if y.requires_grad]
        outputs, seeds = [y for y, _ in pairs], [c for _, c in pairs]
        return [*outputs, *listed(t.autograd.grad(outputs, leaves, seeds, materialize_grads=True))]

    def ours(self, dtype: Any) -> list[Any]:
        leaves = [tinytorch.tensor(a, dtype=dtype).requires_grad_() for a in self.leaves]
        return self.run(tinytorch, leaves, [tinytorch.tensor(c, dtype=dtype) for c in self.cotangents])

    def compiled(self, dtype: Any) -> list[Any]:
        """From the second call on, which does what the first one recorded, with other numbers in between."""
        own = [tinytorch.tensor(a, dtype=dtype) for a in (*self.leaves, *self.cotangents)]

        def function(*xs: Any) -> list[Any]:
            return self.run(tinytorch, [x.clone().requires_grad_() for x in xs[:2]], list(xs[2:]))

        call = tinytorch.compile(function)
        for xs in (own, [x * 0.5 for x in own]):
            call(*xs)
        return [y.detach() for y in call(*own)]

    def theirs(self, dtype: Any, rounded: Any = None) -> list[Any]:
        """PyTorch's; where `rounded`, with inputs, cotangents and what each step gives rounded to that dtype."""
        import torch

        def tensor(a: Any) -> Any:
            return torch.tensor(a).to(rounded or dtype).to(dtype)

        after = (lambda y: y) if rounded is None else (lambda y: y + (y.to(rounded).to(dtype) - y).detach())
        leaves = [tensor(a).requires_grad_() for a in self.leaves]
        return self.run(torch, leaves, [tensor(c) for c in self.cotangents], after)

    def __repr__(self) -> str:
        return " ".join(f"{name}{tuple(places)}" for name, _, _, places in self.steps)


def _same_compiled(graph: Graph, dtype: Any, ours: list[Any]) -> None:
    for i, (y, z) in enumerate(zip(ours, graph.compiled(dtype), strict=True)):
        assert y.dtype == z.dtype
        np.testing.assert_array_equal(y.detach().array, z.array, err_msg=f"compiled, result {i} of {graph}")


@pytest.mark.parametrize("length", LENGTHS)
def test_as_written_and_compiled(length: int) -> None:
    """Without PyTorch: the same bits, in every dtype, and gradients that finite differences confirm."""
    for seed in range(GRAPHS):
        for dtype in (tinytorch.float64, tinytorch.float32, tinytorch.bfloat16):
            graph = Graph(seed, length, smooth=False)
            _same_compiled(graph, dtype, graph.ours(dtype))
    for seed in range(max(GRAPHS // 8, 1)):
        graph = Graph(seed, length, smooth=True)
        leaves = tuple([tinytorch.tensor(a).requires_grad_() for a in graph.leaves])
        if "detached" not in repr(graph):  # of which finite differences know nothing

            def outputs(*xs: Any, graph: Graph = graph) -> Any:
                return tuple([y for y in graph.outputs(tinytorch, list(xs)) if y.requires_grad])

            assert tinytorch.autograd.gradcheck(outputs, leaves, rtol=1e-4, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("length", LENGTHS)
def test_as_pytorch_in_float64(length: int) -> None:
    import torch

    for seed in range(GRAPHS):
        graph = Graph(seed, length, smooth=False)
        for i, (y, z) in enumerate(zip(graph.ours(tinytorch.float64), graph.theirs(torch.float64), strict=True)):
            b = array_of(z)
            scale = max(1.0, np.abs(b).max())
            np.testing.assert_allclose(y.detach().numpy(), b, 1e-9, 1e-10 * scale, err_msg=f"result {i} of {graph}")


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("length", LENGTHS)
def test_as_accurate_as_pytorch_in_two_bytes(length: int, name: str) -> None:
    """How far off a result may be follows from the graph: as far as PyTorch's, or as rounding each step makes that of
    float64, and a few units in the last place of its largest element. Where PyTorch's overflows ours may too."""
    import torch

    dtype, theirs = getattr(tinytorch, name), getattr(torch, name)
    unit = float(tinytorch.finfo(dtype).eps)
    for seed in range(GRAPHS):
        graph = Graph(seed, length, smooth=True)
        ours = graph.ours(dtype)
        exact = [array_of(z) for z in graph.theirs(torch.float64, None)]
        others = [graph.theirs(theirs), graph.theirs(torch.float64, theirs)]
        for i, (y, right) in enumerate(zip(ours, exact, strict=True)):
            allowed = max(np.abs(array_of(run[i]).astype(np.float64) - right).max() for run in others)
            if not np.isfinite(allowed):
                continue
            error = np.abs(y.detach().double().numpy() - right).max()
            assert error <= 4 * allowed + 4 * unit * max(1.0, np.abs(right).max()), (
                f"result {i} of {graph} is off by {error:.3g}, PyTorch's or a rounded one by {allowed:.3g}"
            )
