"""Calls of every public kernel, for tests that hold for all of them. Not a test itself."""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import tinytorch.kernels
from tinytorch.kernels import (
    activation,
    arithmetic,
    embedding,
    loss,
    normalization,
    optim,
    rope,
    softmax,
)
from tinytorch.kernels.attention import attention
from tinytorch.kernels.gemm import gemm
from tinytorch.kernels.stored import stored

Array = npt.NDArray[Any]

# Of the modules above, what computes nothing with floating-point numbers.
NO_ARITHMETIC = {
    arithmetic.column_grain,
    attention.dropout_mask,
    gemm.get_matmul_backend,
    gemm.plain_matmul,
    gemm.set_matmul_backend,
    normalization.plain_layer_norm,
    optim.adam_coefficients,
    optim.zero,
    stored.get_float32_matmul_precision,
    stored.set_float32_matmul_precision,
    stored.stored_floats,
}


class Call(NamedTuple):
    """`function`, and how it is called: `run(*arrays)` gives its results, among them whatever it changes."""

    function: Callable[..., Any]
    arrays: tuple[Array, ...]
    run: Callable[..., Any]


def public_kernels() -> set[Callable[..., Any]]:
    """The functions of tinytorch.kernels that launch a kernel, found in the modules."""
    found = set()
    for info in pkgutil.walk_packages(tinytorch.kernels.__path__, "tinytorch.kernels."):
        module = import_module(info.name)
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                found.add(value)
    modules = {call.function.__module__ for call in calls(np.float32, 2, 3)}
    return {function for function in found if function.__module__ in modules} - NO_ARITHMETIC


def results_of(call: Call, arrays: tuple[Array, ...] | None = None) -> list[Array]:
    """The arrays that a call gives, or changes, in order; of copies of its own arrays unless others are given."""
    results = call.run(*(arrays or [array.copy("K") for array in call.arrays]))
    results = results if isinstance(results, (tuple, list)) else (results,)
    return [np.asarray(result) for result in results if result is not None]


def digest(results: list[Array]) -> str:
    """Of the results' shapes, dtypes and bits."""
    total = hashlib.sha256()
    for result in results:
        total.update(f"{result.shape} {result.dtype}".encode() + np.ascontiguousarray(result).tobytes())
    return total.hexdigest()[:16]


def calls(dtype: Any, rows: int, columns: int) -> Iterator[Call]:
    """Each public kernel on matrices (rows, columns), in all of its forms."""
    rng = np.random.default_rng(rows * 1000 + columns)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    x, grad, y = normal(rows, columns), normal(rows, columns), np.abs(normal(rows, columns))
    weight, bias, ones = normal(columns), normal(columns), np.abs(normal(rows)) + 0.5
    index = rng.integers(0, rows, rows + 3)

    def elementwise() -> Iterator[Call]:
        f = activation
        for unary in (f.relu, f.gelu, f.silu, f.sigmoid, f.erf):
            yield Call(unary, (x,), unary)
        for binary in (f.relu_backward, f.gelu_backward, f.silu_backward, f.swiglu):
            yield Call(binary, (grad, x), binary)
        yield Call(f.gelu, (x,), lambda x: f.gelu(x, True))
        yield Call(f.gelu_backward, (grad, x), lambda g, x: f.gelu_backward(g, x, True))
        yield Call(f.leaky_relu, (x,), lambda x: f.leaky_relu(x, 0.1))
        yield Call(f.leaky_relu_backward, (grad, x), lambda g, x: f.leaky_relu_backward(g, x, 0.1))
        yield Call(f.swiglu_backward, (grad, x, y), f.swiglu_backward)

    def sums() -> Iterator[Call]:
        f = arithmetic
        yield Call(f.column_sums, (x,), f.column_sums)
        yield Call(f.row_sums, (x,), f.row_sums)
        yield Call(f.total, (x,), lambda x: [f.total(x, axes) for axes in (None, (0,), (1,))])
        yield Call(f.add, (x, grad), f.add)
        yield Call(f.add, (x, grad), lambda a, b: f.add(a, b, out=a))

    def rows_at_indices() -> Iterator[Call]:
        f, source = embedding, normal(rows + 3, columns)
        within = rng.integers(0, columns, (rows, 5))
        yield Call(f.take_rows, (x, index), f.take_rows)
        yield Call(f.index_add, (x, index, source), lambda out, i, s: (f.index_add(out, i, s), out))
        yield Call(f.add_within_rows, (x, within, normal(rows, 5)), lambda o, i, s: (f.add_within_rows(o, i, s), o))
        yield Call(f.embedding_backward, (source, index), lambda g, i: f.embedding_backward(g, i, rows))

    def distributions() -> Iterator[Call]:
        f = softmax
        for unary in (f.softmax, f.log_softmax):
            yield Call(unary, (x,), unary)
        yield Call(f.softmax_backward, (grad, y), f.softmax_backward)
        yield Call(f.log_softmax_backward, (grad, -y), f.log_softmax_backward)

    def losses() -> Iterator[Call]:
        f, target = loss, rng.integers(0, columns, rows)
        lse, divisor, g = normal(rows).astype(np.float64), np.full((), rows, dtype), normal(rows)
        for smoothing in (0.0, 0.1):

            def forward(x: Array, t: Array, smoothing: float = smoothing) -> Any:
                return f.cross_entropy(x, t, label_smoothing=smoothing)

            def backward(*arrays: Array, smoothing: float = smoothing) -> Any:
                return f.cross_entropy_backward(*arrays, label_smoothing=smoothing)

            yield Call(f.cross_entropy, (x, target), forward)
            yield Call(f.cross_entropy_backward, (g, divisor, x, lse, target), backward)

    def norms() -> Iterator[Call]:
        f = normalization
        yield Call(f.layer_norm, (x, weight, bias), lambda x, w, b: f.layer_norm(x, w, b, 1e-5))
        yield Call(f.rms_norm, (x, weight), lambda x, w: f.rms_norm(x, w, 1e-5))
        yield Call(f.layer_norm_backward, (grad, x, weight, normal(rows), ones), f.layer_norm_backward)
        yield Call(f.rms_norm_backward, (grad, x, weight, ones), f.rms_norm_backward)

    def optimizers() -> Iterator[Call]:
        f = optim
        shapes = [(rows, columns), (columns,), (3,)]
        groups = [[normal(*s) for s in shapes], [normal(*s) for s in shapes], [normal(*s) for s in shapes]]
        groups.append([np.abs(normal(*s)) for s in shapes])
        coefficients = np.array([f.adam_coefficients(3, 0.01, 0.9, 0.99, 1e-8, 0.1, True)] * len(shapes))

        def adamw(coefficients: Array, *arrays: Array) -> Any:
            lists = [f.ArrayList(arrays[i : i + 3]) for i in range(0, 12, 3)]
            f.adamw(*lists, coefficients, 0.7)
            return arrays

        def scale(*arrays: Array) -> Any:
            f.scale(f.ArrayList(arrays), 0.3)
            return arrays

        yield Call(f.adamw, (coefficients, *[array for group in groups for array in group]), adamw)
        yield Call(f.grad_norm, tuple(groups[0]), lambda *arrays: f.grad_norm(f.ArrayList(arrays)))
        yield Call(f.scale, tuple(groups[0]), scale)

    def rotations() -> Iterator[Call]:
        half = (columns + 1) // 2
        angles = normal(rows, half)
        arrays = (normal(rows, 2, 2 * half), np.cos(angles), np.sin(angles))
        for back in (False, True):
            yield Call(rope.rotate, arrays, lambda x, c, s, back=back: rope.rotate(x, c, s, back))

    def products() -> Iterator[Call]:
        f = gemm.matmul
        others = columns // 2 + 1
        for a in (x, normal(columns, rows).T):
            for b in (normal(columns, others), normal(others, columns).T):
                yield Call(f, (a, b), f)
                yield Call(f, (a, b, normal(others)), lambda a, b, bias: f(a, b, bias=bias))
                yield Call(f, (a, b, normal(rows, others)), lambda a, b, c: f(a, b, c, accumulate=True))

    def attentions() -> Iterator[Call]:
        f = attention
        for positions in {min(rows, 4), rows + 4}:
            q, k, v = normal(1, 4, positions, columns), normal(1, 2, rows + 7, columns), normal(1, 2, rows + 7, columns)
            out, stats = map(np.ascontiguousarray, f.attention(q, k, v))
            g, mask = normal(*out.shape), normal(positions, rows + 7)
            for options in ({}, {"causal": True}, {"mask": True}, {"dropout": 0.1, "seed": 3}):

                def forward(q: Array, k: Array, v: Array, mask: Array, options: Any = options) -> Any:
                    return f.attention(q, k, v, **{**options, "mask": mask if "mask" in options else None})

                def backward(*arrays: Array, options: Any = options) -> Any:
                    *arguments, mask = arrays
                    return f.attention_backward(*arguments, **{**options, "mask": mask if "mask" in options else None})

                yield Call(f.attention, (q, k, v, mask), forward)
                yield Call(f.attention_backward, (g, q, k, v, out, stats, mask), backward)

    def stored_products() -> Iterator[Call]:
        f, groups = stored, -(-columns // 64)
        halves = rng.integers(0, 1 << 14, (rows, columns), np.uint16) + np.uint16(0x3000)
        codes = rng.integers(-127, 128, (rows, columns), np.int8)
        pairs = rng.integers(0, 256, (rows, 32 * groups), np.uint8)
        small = rng.integers(-127, 128, (rows, groups), np.int8)
        scales = np.abs(rng.standard_normal(rows * groups)).astype(np.float32)

        def weight(codes: Array, scale_codes: Array, scales: Array) -> stored.Stored:
            if codes.dtype == np.uint8:
                return stored.Stored(codes, columns, scale_codes, scales[: -(-rows * groups // 256)], 0.5, groups, 6)
            return stored.Stored(codes, columns, scales=scales, groups=groups, shift=6)

        for kind in (halves, halves.view(np.int16), codes, pairs):
            for batch in (2, 13):
                arrays = (kind, small, scales, normal(batch, columns), normal(rows))
                yield Call(f.linear, arrays, lambda c, d, s, x, b: f.linear(x, weight(c, d, s), b))
            arrays = (kind, small, scales, normal(3, rows))
            yield Call(f.linear_backward, arrays, lambda c, d, s, g: f.linear_backward(g, weight(c, d, s)))

    for group in (
        elementwise, sums, rows_at_indices, distributions, losses, norms, optimizers, rotations, products, attentions,
        stored_products,
    ):  # fmt: skip
        yield from group()
