"""The kernels, one by one: P1 (matmul), P5 (attention) and P6 (kernels over rows or elements)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.timing import OURS, Case

SECTION = "kernels"
MATMULS = [(768, 128, 384), (768, 128, 512), (768, 512, 128), (1024, 1024, 1024), (2048, 2048, 2048)]
ATTENTIONS = [(12, 4, 64, 32), (8, 6, 256, 64), (1, 32, 2048, 64)]
ROWS = [(768, 128), (2048, 768)]

Call = Callable[[], object]


def cases(quick: bool) -> list[Case]:
    """Every kernel; `quick` leaves out the large shapes."""
    found = [
        _matmul(dtype, shape, layout)
        for dtype in ("float32", "float64")
        for shape in (MATMULS[:3] if quick else MATMULS)
        for layout in ("NN", "NT", "TN")
    ]
    found += [_attention(*shape) for shape in (ATTENTIONS[:2] if quick else ATTENTIONS)]
    for rows, columns in ROWS[:1] if quick else ROWS:
        found += [_operation(name, *_OPERATIONS[name], rows, columns) for name in _OPERATIONS]
        found += [_cross_entropy(rows, columns), _embedding(rows, columns), _adamw(rows * columns)]
    return found


def _random(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _matmul(dtype: str, shape: tuple[int, int, int], layout: str) -> Case:
    m, k, n = shape

    def operands() -> tuple[Any, Any]:
        a = _random(*((k, m) if layout[0] == "T" else (m, k))).astype(dtype)
        b = _random(*((n, k) if layout[1] == "T" else (k, n))).astype(dtype)
        return (a.T if layout[0] == "T" else a), (b.T if layout[1] == "T" else b)

    def ours() -> Call:
        from tinytorch.kernels.gemm.gemm import matmul

        (a, b), out = operands(), np.empty((m, n), dtype)
        return lambda: matmul(a, b, out)

    def numpy() -> Call:
        (a, b), out = operands(), np.empty((m, n), dtype)
        return lambda: np.matmul(a, b, out=out)

    def torch() -> Call:
        import torch

        (a, b), out = (torch.from_numpy(x) for x in operands()), torch.empty((m, n), dtype=getattr(torch, dtype))
        return lambda: torch.mm(a, b, out=out)

    def jax() -> Call:
        import jax

        jax.config.update("jax_enable_x64", True)
        a, b = (jax.numpy.asarray(x) for x in operands())
        product = jax.jit(jax.numpy.matmul)
        return lambda: product(a, b).block_until_ready()

    traffic = np.dtype(dtype).itemsize * (m * k + k * n + m * n)
    name = f"matmul {dtype} ({m},{k})x({k},{n}) {layout}"
    sides = {OURS: ours, "numpy": numpy, "torch": torch, "jax": jax}
    return Case(SECTION, name, sides, "P1", flops=2.0 * m * k * n, bytes=traffic)


def both_sides(make: Callable[[Any], Call]) -> dict[str, Callable[[], Call]]:
    """The same code for tinytorch and PyTorch: make(library)."""
    return {name: lambda name=name: make(importlib.import_module(name)) for name in (OURS, "torch")}


def _attention(B: int, H: int, T: int, D: int) -> Case:
    def make(t: Any) -> Call:
        q, k, v = (t.tensor(_random(B, H, T, D), requires_grad=True) for _ in range(3))
        g = t.tensor(_random(B, H, T, D))

        def step() -> None:
            t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).backward(g)
            q.grad = k.grad = v.grad = None

        return step

    # Half of the T x T scores: two products forward, five backward, of 2 D operations each.
    work = 7 * B * H * T * T / 2 * 2 * D
    name = f"attention causal B{B} H{H} T{T} D{D}, forward and backward"
    return Case(SECTION, name, both_sides(make), "P5", flops=work, bytes=4.0 * 12 * B * H * T * D)


# The function of (library, x, weight, bias), and the number of operations per element, forward and backward
# together, with an exp, tanh or erf counted as one.
_OPERATIONS: dict[str, tuple[int, Callable[[Any, Any, Any, Any], Any]]] = {
    "softmax": (9, lambda t, x, w, b: t.softmax(x, -1)),
    "log_softmax": (9, lambda t, x, w, b: t.log_softmax(x, -1)),
    "layer_norm": (21, lambda t, x, w, b: t.nn.functional.layer_norm(x, tuple(w.shape), w, b)),
    "rms_norm": (14, lambda t, x, w, b: t.nn.functional.rms_norm(x, tuple(w.shape), w, 1e-5)),
    "gelu (erf)": (13, lambda t, x, w, b: t.nn.functional.gelu(x)),
    "gelu (tanh)": (20, lambda t, x, w, b: t.nn.functional.gelu(x, approximate="tanh")),
    "silu": (10, lambda t, x, w, b: t.nn.functional.silu(x)),
}


def _operation(name: str, count: int, operation: Any, rows: int, columns: int) -> Case:
    def make(t: Any) -> Call:
        x, g = t.tensor(_random(rows, columns), requires_grad=True), t.tensor(_random(rows, columns))
        w, b = t.ones(columns, requires_grad=True), t.zeros(columns, requires_grad=True)

        def step() -> None:
            operation(t, x, w, b).backward(g)
            x.grad = w.grad = b.grad = None

        return step

    # x and y forward; x or y, g and dx backward
    title = f"{name} ({rows},{columns}), forward and backward"
    return Case(SECTION, title, both_sides(make), "P6", flops=count * rows * columns, bytes=5.0 * 4 * rows * columns)


def _cross_entropy(rows: int, columns: int) -> Case:
    def make(t: Any) -> Call:
        x = t.tensor(_random(rows, columns), requires_grad=True)
        target = t.tensor(np.random.default_rng(0).integers(0, columns, rows))

        def step() -> None:
            t.nn.functional.cross_entropy(x, target).backward()
            x.grad = None

        return step

    title = f"cross_entropy ({rows},{columns}), forward and backward"
    return Case(SECTION, title, both_sides(make), "P6", flops=8 * rows * columns, bytes=3.0 * 4 * rows * columns)


def _embedding(rows: int, columns: int) -> Case:
    def make(t: Any) -> Call:
        weight = t.ones(512, columns, requires_grad=True)
        ids, g = t.tensor(np.random.default_rng(0).integers(0, 512, rows)), t.tensor(_random(rows, columns))

        def step() -> None:
            t.nn.functional.embedding(ids, weight).backward(g)
            weight.grad = None

        return step

    title = f"embedding ({rows},{columns}) of 512, forward and backward"
    return Case(SECTION, title, both_sides(make), "P6", flops=rows * columns, bytes=4.0 * 4 * rows * columns)


def _adamw(size: int) -> Case:
    def make(t: Any) -> Call:
        parameters = [t.nn.Parameter(t.tensor(_random(size // 8))) for _ in range(8)]
        for p in parameters:
            p.grad = t.tensor(_random(size // 8))
        extra = {"fused": True} if t.__name__ == "torch" else {}
        step: Call = t.optim.AdamW(parameters, lr=1e-3, **extra).step
        return step

    # reads the parameter, its gradient and two moments, and writes all but the gradient
    return Case(SECTION, f"AdamW of 8 x {size // 8}", both_sides(make), "P6", flops=14 * size, bytes=7.0 * 4 * size)
