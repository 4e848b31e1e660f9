"""The kernels, one by one: P1 (matmul), P5 (attention) and P6 (what works on rows or elements)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinytorch
from bench.timing import OURS, Row, measure
from tinytorch.kernels import gemm

SECTION = "kernels"
MATMULS = [
    (768, 128, 384),
    (768, 128, 512),
    (768, 512, 128),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
]
ATTENTIONS = [(12, 4, 64, 32), (8, 6, 256, 64), (1, 32, 2048, 64)]
ROWS = [(768, 128), (2048, 768)]


def run(against: list[str], turns: int, quick: bool) -> Iterator[Row]:
    """Measure every kernel; `quick` leaves out the large shapes."""
    yield from _matmuls(against, turns, quick)
    if "torch" in against:
        yield from _attentions(turns, quick)
        yield from _rowwise(turns, quick)


def _matmuls(against: list[str], turns: int, quick: bool) -> Iterator[Row]:
    generator = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for m, k, n in MATMULS[:3] if quick else MATMULS:
            for layout in ("NN", "NT", "TN"):
                a = generator.standard_normal((k, m) if layout[0] == "T" else (m, k)).astype(dtype)
                b = generator.standard_normal((n, k) if layout[1] == "T" else (k, n)).astype(dtype)
                a, b = (a.T if layout[0] == "T" else a), (b.T if layout[1] == "T" else b)
                out = np.empty((m, n), dtype)
                sides: dict[str, Callable[[], Any]] = {OURS: lambda a=a, b=b, out=out: gemm.matmul(a, b, out)}
                sides["numpy"] = lambda a=a, b=b, out=out: np.matmul(a, b, out=out)
                if "torch" in against:
                    import torch

                    ta, tb, to = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(out)
                    sides["torch"] = lambda a=ta, b=tb, out=to: torch.mm(a, b, out=out)
                if "jax" in against:
                    sides["jax"] = _jax_matmul(a, b)
                name = f"matmul {np.dtype(dtype).name} ({m},{k})x({k},{n}) {layout}"
                work = 2.0 * m * k * n
                yield measure(
                    SECTION, name, sides, turns=turns, target="P1", flops=work, bytes=a.nbytes + b.nbytes + out.nbytes
                )


def _jax_matmul(a: Any, b: Any) -> Callable[[], Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    ja, jb = jax.numpy.asarray(a), jax.numpy.asarray(b)
    product = jax.jit(jax.numpy.matmul)
    return lambda: product(ja, jb).block_until_ready()


def _both(make: Callable[[Any, Any], Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """The same code on tinytorch and on PyTorch: make(library, its constructor from an array)."""
    import torch

    return {
        OURS: make(tinytorch, lambda array, grad=True: tinytorch.tensor(array, requires_grad=grad)),
        "torch": make(torch, lambda array, grad=True: torch.tensor(array, requires_grad=grad)),
    }


def _attentions(turns: int, quick: bool) -> Iterator[Row]:
    generator = np.random.default_rng(0)
    for B, H, T, D in ATTENTIONS[:2] if quick else ATTENTIONS:
        arrays = [generator.standard_normal((B, H, T, D)).astype(np.float32) for _ in range(4)]

        def make(t: Any, tensor: Any, arrays: Any = arrays) -> Callable[[], Any]:
            q, k, v = (tensor(a) for a in arrays[:3])
            g = tensor(arrays[3], False)

            def step() -> None:
                y = t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
                y.backward(g)
                q.grad = k.grad = v.grad = None

            return step

        # Half of the T x T scores: two products forward, five backward, of 2 D operations each.
        work = 7 * B * H * T * T / 2 * 2 * D
        name = f"attention causal B{B} H{H} T{T} D{D}, forward and backward"
        yield measure(SECTION, name, _both(make), turns=turns, target="P5", flops=work)


def _rowwise(turns: int, quick: bool) -> Iterator[Row]:
    for rows, columns in ROWS[:1] if quick else ROWS:
        for name, passes, operation in _OPERATIONS:
            yield _operation(name, passes, operation, rows, columns, turns)
        yield _cross_entropy(rows, columns, turns)
        yield _embedding(rows, columns, turns)
        yield _adamw(rows * columns, turns)


_OPERATIONS: list[tuple[str, int, Callable[[Any, Any, Any, Any], Any]]] = [
    # name, arrays of (rows, columns) that cross to or from memory, the operation of (library, x, weight, bias)
    ("softmax", 5, lambda t, x, w, b: t.softmax(x, -1)),
    ("log_softmax", 5, lambda t, x, w, b: t.log_softmax(x, -1)),
    ("layer_norm", 5, lambda t, x, w, b: t.nn.functional.layer_norm(x, tuple(w.shape), w, b)),
    ("rms_norm", 5, lambda t, x, w, b: t.nn.functional.rms_norm(x, tuple(w.shape), w, 1e-5)),
    ("gelu (erf)", 5, lambda t, x, w, b: t.nn.functional.gelu(x)),
    ("gelu (tanh)", 5, lambda t, x, w, b: t.nn.functional.gelu(x, approximate="tanh")),
    ("silu", 5, lambda t, x, w, b: t.nn.functional.silu(x)),
]


def _operation(name: str, passes: int, operation: Any, rows: int, columns: int, turns: int) -> Row:
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal((rows, columns)).astype(np.float32) for _ in range(2)]

    def make(t: Any, tensor: Any) -> Callable[[], Any]:
        x, g = tensor(arrays[0]), tensor(arrays[1], False)
        w, b = tensor(np.ones(columns, np.float32)), tensor(np.zeros(columns, np.float32))

        def step() -> None:
            operation(t, x, w, b).backward(g)
            x.grad = w.grad = b.grad = None

        return step

    title = f"{name} ({rows},{columns}), forward and backward"
    return measure(SECTION, title, _both(make), turns=turns, target="P6", bytes=passes * arrays[0].nbytes)


def _cross_entropy(rows: int, columns: int, turns: int) -> Row:
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((rows, columns)).astype(np.float32)
    classes = generator.integers(0, columns, rows)

    def make(t: Any, tensor: Any) -> Callable[[], Any]:
        x, target = tensor(logits), t.tensor(classes)

        def step() -> None:
            t.nn.functional.cross_entropy(x, target).backward()
            x.grad = None

        return step

    title = f"cross_entropy ({rows},{columns}), forward and backward"
    return measure(SECTION, title, _both(make), turns=turns, target="P6", bytes=3 * logits.nbytes)


def _embedding(rows: int, columns: int, turns: int) -> Row:
    generator = np.random.default_rng(0)
    index, cotangent = generator.integers(0, 512, rows), generator.standard_normal((rows, columns)).astype(np.float32)

    def make(t: Any, tensor: Any) -> Callable[[], Any]:
        weight, ids = tensor(np.ones((512, columns), np.float32)), t.tensor(index)
        g = tensor(cotangent, False)

        def step() -> None:
            t.nn.functional.embedding(ids, weight).backward(g)
            weight.grad = None

        return step

    title = f"embedding ({rows},{columns}) of 512, forward and backward"
    return measure(SECTION, title, _both(make), turns=turns, target="P6", bytes=4 * cotangent.nbytes)


def _adamw(size: int, turns: int) -> Row:
    generator = np.random.default_rng(0)
    shapes = [(size // 8,) for _ in range(8)]

    def make(t: Any, tensor: Any) -> Callable[[], Any]:
        parameters = [t.nn.Parameter(tensor(generator.standard_normal(s).astype(np.float32), False)) for s in shapes]
        for p in parameters:
            p.grad = tensor(generator.standard_normal(tuple(p.shape)).astype(np.float32), False)
        extra = {} if t is tinytorch else {"fused": True}
        return t.optim.AdamW(parameters, lr=1e-3, **extra).step

    # reads of the parameter, its gradient and two moments, writes of all but the gradient
    return measure(SECTION, f"AdamW of 8 x {size // 8}", _both(make), turns=turns, target="P6", bytes=7 * 4 * size)
