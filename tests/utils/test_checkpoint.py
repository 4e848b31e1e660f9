"""A checkpoint changes what a graph keeps, and nothing else."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import Tensor, nn
from tinytorch.nn import functional as F
from tinytorch.utils.checkpoint import CheckpointError, checkpoint

Runs = Callable[..., Any]


def plain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


class Block(nn.Module):
    """Something of all that a transformer's block is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], dropout_p=0.3, is_causal=True)[:, 0]
        return x + F.dropout(F.gelu(self.out(y)), 0.2)


def make(blocks: int = 3) -> nn.ModuleList:
    tinytorch.manual_seed(0)
    return nn.ModuleList([Block() for _ in range(blocks)])


def run(run_block: Runs, blocks: nn.ModuleList, x: Tensor) -> Tensor:
    for block in blocks:
        x = run_block(block, x)
    return (x * x).mean()


@pytest.mark.parametrize("input_needs_grad", [True, False])
def test_gradients_and_random_numbers_are_the_same_to_the_bit(input_needs_grad: bool) -> None:
    results = []
    for run_block in (plain, checkpoint):
        blocks = make()
        x = tinytorch.randn(2, 5, 8, requires_grad=input_needs_grad)
        loss = run(run_block, blocks, x)
        loss.backward()
        gradients = [p.grad.numpy().tobytes() for p in blocks.parameters()]
        gradients += [x.grad.numpy().tobytes()] if input_needs_grad else []
        results.append((loss.item(), gradients, tinytorch.rand(1).item()))
    assert results[0] == results[1]


def test_one_inside_another() -> None:
    def two(run_block: Runs) -> Runs:
        return lambda block, x: run_block(lambda x: F.silu(run_block(block, run_block(block, x))), x)

    results = []
    for run_block in (plain, checkpoint):
        blocks = make()
        run(two(run_block), blocks, tinytorch.randn(2, 5, 8)).backward()
        results.append([p.grad.numpy().tobytes() for p in blocks.parameters()])
    assert results[0] == results[1]


def test_second_derivatives() -> None:
    x = tinytorch.randn(3, dtype=tinytorch.float64, requires_grad=True)
    w = tinytorch.randn(3, dtype=tinytorch.float64, requires_grad=True)
    results = []
    for run_block in (plain, checkpoint):
        y = run_block(lambda x: F.gelu(x * w).exp() * w, x * x).sum()
        first = tinytorch.autograd.grad(y, (x, w), create_graph=True)
        results.append([g.numpy() for g in tinytorch.autograd.grad(sum((g * g).sum() for g in first), (x, w))])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    assert tinytorch.autograd.gradgradcheck(lambda x, w: checkpoint(lambda x: (x * w).tanh() * w, x), (x, w))


def test_several_arguments_and_results_and_keywords() -> None:
    a, b = tinytorch.randn(2, 3, requires_grad=True), tinytorch.randn(2, 3, requires_grad=True)

    def function(a: Tensor, number: int, pair: tuple[Tensor, int], *, c: Tensor) -> tuple[Tensor, Tensor]:
        return (a * pair[0]).exp() * number, (c * a).sin()

    def gradients(run_block: Runs) -> list[np.ndarray]:
        first, second = run_block(function, a, 3, (b, 1), c=a * 2)
        return [g.numpy() for g in tinytorch.autograd.grad(first.sum() + (second * second).sum(), (a, b))]

    for x, y in zip(gradients(plain), gradients(checkpoint), strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_graph_can_be_walked_twice_if_it_was_retained() -> None:
    x = tinytorch.randn(4, requires_grad=True)
    y = checkpoint(lambda x: (x.exp() * x).sum(), x)
    y.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * first)
    with pytest.raises(RuntimeError, match="already freed what it saved"):
        y.backward()


def test_nothing_is_kept_and_everything_comes_back() -> None:
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(tinytorch.is_grad_enabled())
        y = x.exp()
        arrays.append(weakref.ref(y.array))
        return y * y

    arrays: list[Any] = []
    x = tinytorch.randn(4, requires_grad=True)
    gc.disable()
    try:
        loss = checkpoint(function, x).sum()
        assert arrays[0]() is None
        loss.backward()
        assert calls == [True, True]
        node = weakref.ref(loss.grad_fn)
        del loss
        assert node() is None  # no cycle holds the graph
    finally:
        gc.enable()


def test_it_takes_less_memory() -> None:
    def peak(run_block: Runs) -> int:
        x = tinytorch.ones(1 << 16, requires_grad=True)

        def block(x: Tensor) -> Tensor:
            for _ in range(8):
                x = (x * 0.5).exp() * 0.5
            return x

        block(x).sum().backward()
        tracemalloc.start()
        y = x
        for _ in range(8):
            y = run_block(block, y)
        y.sum().backward()
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(checkpoint) < 0.5 * peak(plain)


def test_without_recording_it_is_a_call() -> None:
    x = tinytorch.randn(4, requires_grad=True)
    with tinytorch.no_grad():
        assert not checkpoint(lambda x: x * 2, x).requires_grad


def test_study_mode_is_that_of_the_first_run() -> None:
    x = tinytorch.randn(2, 3, requires_grad=True)
    with tinytorch.unfold():
        y = checkpoint(lambda x: F.softmax(x, -1) * x, x).sum()
    y.backward()
    (expected,) = tinytorch.autograd.grad((F.softmax(x, -1) * x).sum(), x)
    np.testing.assert_allclose(x.grad.numpy(), expected.numpy(), atol=1e-6)


def test_what_cannot_be_right_is_an_error() -> None:
    x = tinytorch.randn(4, requires_grad=True)
    with pytest.raises(ValueError, match="use_reentrant"):
        checkpoint(lambda x: x, x, use_reentrant=True)
    times = iter([1, 2])
    y = checkpoint(lambda x: x.exp() if next(times) == 1 else x.exp().exp(), x)
    with pytest.raises(CheckpointError, match="saved 1 arrays at first and 2 when it ran again"):
        y.sum().backward()
    changed = x * 1
    y = checkpoint(lambda x: x.exp(), changed)
    with tinytorch.no_grad():
        changed.add_(1)
    with pytest.raises(RuntimeError, match=r"argument of a checkpoint, float32 \(4,\), was modified"):
        y.sum().backward()
    weight = tinytorch.randn(4, requires_grad=True)
    y = checkpoint(lambda x: x * weight, x)
    with tinytorch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="was modified by an in-place operation"):
        y.sum().backward()


def test_arguments_in_lists_and_dictionaries_are_dropped_by_a_checkpoint_outside() -> None:
    def inner(pair: list[Any], *, named: dict[str, Any]) -> Tensor:
        return (pair[0] * named["w"][0]).exp() * pair[1]

    def outer(run_block: Runs, arrays: list[Any], x: Tensor, w: Tensor) -> Tensor:
        made = x * 2
        arrays.append(weakref.ref(made.array))
        return run_block(inner, [made, 3], named={"w": (w,)}).tanh()

    results = []
    for run_block in (plain, checkpoint):
        arrays: list[Any] = []
        x, w = tinytorch.ones(4, requires_grad=True), tinytorch.ones(4, requires_grad=True)
        y = run_block(outer, run_block, arrays, x * 0.1, w * 1)
        assert (arrays[0]() is None) == (run_block is checkpoint)
        y.sum().backward()
        results.append([x.grad.tolist(), w.grad.tolist()])  # type: ignore[union-attr]
    assert results[0] == results[1]
    changed = x * 1
    y = checkpoint(lambda parts: parts[0].exp(), [changed])
    with tinytorch.no_grad():
        changed.add_(1)
    with pytest.raises(RuntimeError, match="argument of a checkpoint"):
        y.sum().backward()


@pytest.mark.parametrize("where", ["inside", "outside", "in one of two", "in backward alone"])
def test_unfolding_and_checkpoints(where: str) -> None:
    """What ran unfolded runs unfolded again, and only that."""
    seen: list[list[str]] = []

    def names(y: Tensor) -> Tensor:
        seen.append([node.name() for node, _ in y.grad_fn.next_functions if node is not None])
        return y

    def function(x: Tensor) -> Tensor:
        if where == "inside":
            with tinytorch.unfold():
                return names(F.gelu(x * x) * 1)
        return names(F.gelu(x * x) * 1)

    def both(x: Tensor) -> Tensor:
        with tinytorch.unfold():
            y = checkpoint(function, x)
        return y + checkpoint(function, x)

    runs: dict[str, Callable[[Tensor], Tensor]] = {
        "outside": lambda x: tinytorch.unfold(lambda: checkpoint(function, x))(),
        "in one of two": both,
    }
    x = tinytorch.tensor([0.5, -1.0], dtype=tinytorch.float64, requires_grad=True)
    y = runs.get(where, lambda x: checkpoint(function, x))(x).sum()
    first = seen.copy()
    if where == "in backward alone":
        with tinytorch.unfold():
            (g,) = tinytorch.autograd.grad(y, x, create_graph=True)
    else:
        (g,) = tinytorch.autograd.grad(y, x, create_graph=True)
    assert sorted(seen) == sorted(2 * first)
    assert (["GeluBackward0"] in first) == (where in ("in one of two", "in backward alone"))
    assert (len(set(map(str, first))) == 2) == (where == "in one of two")
    w = tinytorch.tensor([0.5, -1.0], dtype=tinytorch.float64, requires_grad=True)
    (h,) = tinytorch.autograd.grad(F.gelu(w * w).sum() * (2 if where == "in one of two" else 1), w, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), h.detach().numpy(), rtol=1e-12)
    (g2,), (h2,) = tinytorch.autograd.grad(g.sum(), x), tinytorch.autograd.grad(h.sum(), w)
    np.testing.assert_allclose(g2.numpy(), h2.numpy(), rtol=1e-10)


def test_what_is_written_in_a_checkpoint_after_it_was_saved_is_refused() -> None:
    """PyTorch's computes a wrong gradient there."""
    x = tinytorch.ones(3, requires_grad=True)

    def function(x: Tensor) -> Tensor:
        y = x * 2
        z = y * y
        y.add_(1)
        return z

    for run_block in (plain, checkpoint):
        with pytest.raises(RuntimeError, match="modified by an in-place operation"):
            run_block(function, x).sum().backward()


@pytest.mark.oracle("torch")
def test_as_in_torch() -> None:
    import torch
    from torch.utils.checkpoint import checkpoint as torch_checkpoint

    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    gradients = []
    for t, run_block in ((torch, torch_checkpoint), (tinytorch, checkpoint)):
        x, w = t.tensor(values, requires_grad=True), t.tensor(values[::-1].copy(), requires_grad=True)
        frozen = x.detach()
        y = run_block(lambda a, t=t, w=w: t.nn.functional.gelu(a * w).exp(), frozen, use_reentrant=False)
        y = run_block(lambda a, x=x: a * x.sin(), y, use_reentrant=False)
        y.sum().backward()
        gradients.append((x.grad.numpy(), w.grad.numpy()))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
