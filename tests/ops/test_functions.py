"""What functions made of several operations compute, against NumPy; PyTorch, where it is installed, says the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops import checks
from tests.ops.checks import TOLERANCE, assert_close
from tests.ops.references import cross_entropy, mean_of_kept

X = np.arange(24.0).reshape(2, 3, 4)
A = np.array([-2.5, -1.0, 0.0, 0.5, 3.0])
B = np.array([2.0, -1.0, 4.0, 0.5, -0.25])
N = np.array([7, -7, 3, 0])
M = np.array([[3, 1, 2], [0, 5, 4]])
Call = Callable[..., Any]
TRUTH = np.array([[True, True, False, False], [True, False, True, False]])
# (call of tinytorch and arrays, the arrays, what it gives)
FUNCTIONS: dict[str, tuple[Call, list[Any], Any]] = {
    # arithmetic
    "add": (lambda t, a, b: t.add(a, b, alpha=3), [A, B], A + 3 * B),
    "sub": (lambda t, a, b: a.sub(b, alpha=0.5), [A, B], A - B / 2),
    "subtract, multiply, divide": (
        lambda t, a, b: t.stack([a.subtract(b), a.multiply(b), a.divide(b), a.true_divide(b)]),
        [A, B],
        np.stack([A - B, A * B, A / B, A / B]),
    ),
    "reflected": (
        lambda t, b: t.stack([1 + b, 1 - b, 3 * b, 1 / b, 2**b]),
        [B],
        np.stack([1 + B, 1 - B, 3 * B, 1 / B, np.exp2(B)]),
    ),
    "integers divided": (lambda t, n: n / 2, [N], np.array([3.5, -3.5, 1.5, 0.0], np.float32)),
    "div, trunc": (lambda t, n: t.div(n, 2, rounding_mode="trunc"), [N], np.array([3, -3, 1, 0])),
    "div, floor": (lambda t, n: t.div(n, 2, rounding_mode="floor"), [N], np.array([3, -4, 1, 0])),
    "//": (lambda t, n: n // -2, [N], np.array([-4, 3, -2, 0])),
    "reflected //": (lambda t, n: 7 // n, [N[:3]], np.array([1, -1, 2])),
    "%": (lambda t, n: n % 3, [N], np.array([1, 2, 0, 0])),
    "% of a negative number": (lambda t, n: n % -3, [N], np.array([-2, -1, 0, 0])),
    "reflected %": (lambda t, n: 5 % n, [N[:3]], np.array([5, -2, 2])),
    "% of floats": (lambda t, a: a % 2, [A], np.array([1.5, 1.0, 0.0, 0.5, 1.0])),
    "pow of integers": (lambda t, n: n**3, [N], np.array([343, -343, 27, 0])),
    "square": (lambda t, a: t.square(a), [A], A * A),
    "reciprocal": (lambda t, b: b.reciprocal(), [B], 1 / B),
    "negative": (lambda t, a: t.negative(a), [A], 0 - A),
    "abs": (lambda t, n: abs(n), [N], np.array([7, 7, 3, 0])),
    "sign": (lambda t, a: a.sign(), [A], np.array([-1.0, -1, 0, 1, 1])),
    # elementwise
    "maximum": (lambda t, a, b: a.maximum(b), [A, B], np.array([2.0, -1.0, 4.0, 0.5, 3.0])),
    "minimum": (lambda t, a, b: a.minimum(b), [A, B], np.array([-2.5, -1.0, 0.0, 0.5, -0.25])),
    "clamp, max": (lambda t, a: t.clamp(a, max=0.25), [A], np.array([-2.5, -1.0, 0.0, 0.25, 0.25])),
    "clamp, the wrong way": (lambda t, a: a.clamp(2, 1), [A], np.ones(5)),
    "clamp by tensors": (lambda t, a, b: a.clip(min=b, max=b + 1), [A, B], np.array([2.0, -1.0, 4.0, 0.5, 0.75])),
    "clamp of integers": (lambda t, n: n.clamp(-1, 5), [N], np.array([5, -1, 3, 0])),
    "where, numbers": (lambda t, a: t.where(a > 0, a, 7.0), [A], np.array([7.0, 7, 7, 0.5, 3])),
    "masked_fill": (lambda t, a: a.masked_fill(a < 0, 9), [A], np.array([9.0, 9, 0, 0.5, 3])),
    "masked_fill by a tensor": (lambda t, a: a.masked_fill(a < 0, t.tensor(9)), [A], np.array([9.0, 9, 0, 0.5, 3])),
    "isnan, isinf, isfinite": (
        lambda t, a: t.stack([a.isnan(), a.isinf(), a.isfinite()]),
        [np.array([1.0, np.nan, np.inf, -np.inf])],
        np.array([[0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]], bool),
    ),
    "comparisons": (
        lambda t, a, b: t.stack([a == b, a != b, a < b, a <= b, a > b, a >= b]),
        [np.array([1.0, 2, 3]), np.array([2.0, 2, 2])],
        np.array([[0, 1, 0], [1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]], bool),
    ),
    "comparisons by name": (
        lambda t, a, b: t.stack([a.eq(b), a.ne(b), a.lt(b), a.le(b), a.gt(b), a.ge(b)]),
        [np.array([1.0, 2, 3]), np.array([2.0, 2, 2])],
        np.array([[0, 1, 0], [1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]], bool),
    ),
    "logical": (
        lambda t, a, b: t.stack([a.logical_and(b), a.logical_or(b), a.logical_xor(b), a.logical_not()]),
        [np.array([0, 0, 2, 3]), np.array([0, 1, 0, 4])],
        np.array([[0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]], bool),
    ),
    "bits": (
        lambda t, a, b: t.stack([a & b, a | b, a ^ b, ~a]),
        [np.array([12, 10]), np.array([10, 6])],
        np.array([[8, 2], [14, 14], [6, 12], [-13, -11]]),
    ),
    "leaky_relu, as it is": (lambda t, a: t.nn.functional.leaky_relu(a), [A], np.where(A > 0, A, A / 100)),
    "softplus, as it is": (lambda t, a: t.nn.functional.softplus(a), [A], np.log(1 + np.exp(A))),
    "softplus above its threshold": (
        lambda t, a: t.nn.functional.softplus(a, threshold=1.0),
        [A],
        np.where(A > 1, A, np.log(1 + np.exp(A))),
    ),
    "logsigmoid of much": (
        lambda t, a: t.nn.functional.logsigmoid(a),
        [np.array([-1000.0, 0, 1000])],
        np.array([-1000, -math.log(2), 0]),
    ),
    "elu": (
        lambda t, a: t.nn.functional.elu(a, alpha=2.0),
        [np.array([-1000.0, -1, 0, 1000])],
        np.array([-2, 2 / math.e - 2, 0, 1000]),
    ),
    "lerp": (lambda t, a, b: t.lerp(a, b, 0.25), [np.array([0.0, 4]), np.array([8.0, 0])], np.array([2.0, 3])),
    "lerp, all the way": (
        lambda t, a, b: t.stack([t.lerp(a, b, 1.0), t.lerp(a, b, t.tensor([0.0, 1]))]),
        [np.array([1e20, 1e20], np.float32), np.array([1.0, 2], np.float32)],
        np.array([[1.0, 2], [1e20, 2]], np.float32),
    ),
    "isclose": (
        lambda t, a, b: t.isclose(a, b, equal_nan=True),
        [np.array([1.0, 1, np.nan, np.inf]), np.array([1 + 1e-6, 1.1, np.nan, np.inf])],
        np.array([True, False, True, True]),
    ),
    "addmm": (
        lambda t, x: t.addmm(t.tensor(np.nan, dtype=t.float64), x, x.mT, beta=0, alpha=2),
        [np.array([[1.0, 2], [0, 1]])],
        np.array([[10.0, 4], [4, 2]]),
    ),
    "diag and trace": (
        lambda t, m: t.cat([t.diag(m, 1), t.diag(m), m[:, :2].trace().reshape(1), t.diag(m[0], -1).reshape(-1)]),
        [M],
        np.array([M[0, 1], M[1, 2], M[0, 0], M[1, 1], M[0, 0] + M[1, 1], *np.diag(M[0], -1).ravel()]),
    ),
    "hstack and vstack": (
        lambda t, a: t.vstack([t.hstack([a, a]), t.hstack([a[:1], a, a[:1]])]),
        [np.array([1.0, 2])],
        np.array([[1.0, 2, 1, 2], [1, 1, 2, 1]]),
    ),
    "norms": (
        lambda t, a: t.stack([a.norm(), a.norm(1), a.norm(3), a.norm(math.inf), a.norm(-math.inf), a.norm(0)]),
        [np.array([0.0, 3, -4])],
        np.array([5, 7, 91 ** (1 / 3), 4, 0, 2]),
    ),
    "norms along": (lambda t, x: x.norm(dim=1, keepdim=True), [np.array([[3.0, 4], [0, 0]])], np.array([[5.0], [0]])),
    "normalize": (
        lambda t, x: t.nn.functional.normalize(x),
        [np.array([[3.0, 4], [0, 0]])],
        np.array([[0.6, 0.8], [0, 0]]),
    ),
    "cosine_similarity": (
        lambda t, x, y: t.cosine_similarity(x, y),
        [np.array([[3.0, 4], [0, 0], [1, 0]]), np.array([[4.0, 3]])],
        np.array([0.96, 0, 0.8]),
    ),
    "scatter": (
        lambda t, m: m.scatter(1, t.tensor([[2], [0]]), m[:, 1:]),
        [np.array([[1, 2, 3], [4, 5, 6]])],
        np.array([[1, 2, 2], [5, 5, 6]]),
    ),
    "scatter a number": (
        lambda t, m: m.scatter_(1, t.tensor([[2, 0], [1, 1]]), 9),
        [np.array([[1, 2, 3], [4, 5, 6]])],
        np.array([[9, 2, 9], [4, 9, 6]]),
    ),
    "index_add": (
        lambda t, x: x.index_add(0, t.tensor([1, 1]), x, alpha=2),
        [np.array([[1.0, 2], [3, 4]])],
        np.array([[1.0, 2], [3 + 2 + 6, 4 + 4 + 8]]),
    ),
    "index_fill": (
        lambda t, m: m.index_fill_(1, t.tensor([0, 2, 0]), 7),
        [np.array([[1, 2, 3], [4, 5, 6]])],
        np.array([[7, 2, 7], [7, 5, 7]]),
    ),
    "index_fill from the end": (
        lambda t, n: n.index_fill(0, t.tensor([-1, 0]), 7),
        [np.array([1, 2, 3])],
        np.array([7, 2, 7]),
    ),
    "bincount": (
        lambda t, n: t.bincount(n, t.tensor([0.5, 1, 2, 4])),
        [np.array([3, 0, 3, 1])],
        np.array([1, 4, 0, 2.5], np.float32),
    ),
    "unique": (lambda t, n: t.stack(n.unique(return_counts=True)), [np.array([3, 1, 3])], np.array([[1, 3], [1, 2]])),
    "unique, with NaN, of bfloat16": (
        lambda t, a: a.to(t.bfloat16).unique().double(),
        [np.array([np.nan, 1.0, np.nan, -np.inf, 1.0])],
        np.array([-np.inf, 1, np.nan, np.nan]),
    ),
    "sort and topk, with NaN, of bfloat16": (
        lambda t, a: t.stack([a.to(t.bfloat16).sort().values, a.to(t.bfloat16).topk(4).values]).double(),
        [np.array([3, np.nan, 1, -np.inf])],
        np.array([[-np.inf, 1, 3, np.nan], [np.nan, 3, 1, -np.inf]]),
    ),
    "searchsorted, with NaN, of bfloat16": (
        lambda t, a, v: t.searchsorted(a.to(t.bfloat16), v.to(t.bfloat16)),
        [np.array([1.0, 3, 5]), np.array([np.nan, 4])],
        np.array([3, 2]),
    ),
    "searchsorted": (
        lambda t, a: t.stack([t.searchsorted(a, a), t.searchsorted(a, a, right=True), t.bucketize(a + 0.5, a)]),
        [np.array([1.0, 3, 3, 5])],
        np.array([[0, 1, 1, 3], [1, 3, 3, 4], [1, 3, 3, 4]]),
    ),
    "searchsorted of rows": (
        lambda t, m: t.searchsorted(m, t.tensor([[2], [6]])),
        [np.array([[1, 2, 3], [4, 5, 6]])],
        np.array([[1], [2]]),
    ),
    "count_nonzero": (lambda t, m: m.count_nonzero(0), [np.array([[1, 0, 3], [4, 0, 0]])], np.array([2, 0, 1])),
    "cumprod with zeros": (lambda t, m: m.cumprod(0), [np.array([2, 3, 0, 4])], np.array([2, 6, 0, 0])),
    "binary_cross_entropy": (
        lambda t, a, b: t.nn.functional.binary_cross_entropy(a, b, reduction="none"),
        [np.array([0.0, 1, 0.25]), np.array([1.0, 1, 0.5])],
        np.array([100, 0, -(math.log(0.25) + math.log(0.75)) / 2]),
    ),
    "smooth_l1_loss": (
        lambda t, a: t.nn.functional.smooth_l1_loss(a, 0 * a, reduction="none", beta=2.0),
        [np.array([-1.0, 0, 3])],
        np.array([0.25, 0, 2]),
    ),
    "huber_loss": (
        lambda t, a: t.nn.functional.huber_loss(a, 0 * a, "none", delta=2.0),
        [np.array([-1.0, 0, 3])],
        np.array([0.5, 0, 4]),
    ),
    "kl_div": (
        lambda t, p, q: t.nn.functional.kl_div(p.log(), q, reduction="batchmean"),
        [np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([[0.0, 1], [0.25, 0.75]])],
        np.array(math.log(2) / 2),
    ),
    "relu of integers": (lambda t, n: t.relu(n), [N], np.array([7, 0, 3, 0])),
    # reductions
    "sum into float64": (lambda t, x: x.sum(1, dtype=t.float64), [X.astype(np.float32)], X[:, 0] + X[:, 1] + X[:, 2]),
    "mean, dtype": (lambda t, n: n.mean(dtype=t.float32), [N], np.array(0.75, np.float32)),
    "prod, kept": (lambda t, x: x.prod(-1, keepdim=True), [X[0]], np.array([[0.0], [840], [7920]])),
    "var and std": (
        lambda t, a: t.stack([a.var(), a.var(unbiased=False), a.std(correction=2), a.std(0, False)]),
        [A],
        np.array([np.var(A, ddof=1), np.var(A), np.std(A, ddof=2), np.std(A)]),
    ),
    "max": (lambda t, m: m.max(), [M], np.array(5)),
    "max along": (lambda t, m: t.stack(m.max(1)), [M], np.array([[3, 5], [0, 1]])),
    "min along, kept": (lambda t, m: t.cat(m.min(0, keepdim=True)), [M], np.array([[0, 1, 2], [1, 0, 0]])),
    "max of two": (lambda t, m: t.max(m, m.flip(0)), [M], np.array([[3, 5, 4], [3, 5, 4]])),
    "argmax": (lambda t, m: m.argmax(), [M], np.array(4)),
    "argmin along": (lambda t, m: m.argmin(1), [M], np.array([1, 0])),
    "argmax along, kept": (lambda t, m: m.argmax(-1, keepdim=True), [M], np.array([[0], [1]])),
    "argmax, all kept": (lambda t, m: m.argmax(keepdim=True), [M], np.array([[4]])),
    "any and all": (lambda t, x: t.stack([x.any(0), x.all(0)]), [TRUTH], np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)),
    "any and all, kept": (
        lambda t, x: t.cat([x.any(1, keepdim=True), x.all(1, keepdim=True)], 1),
        [TRUTH],
        np.array([[1, 0], [1, 0]], bool),
    ),
    "any and all of all": (lambda t, x: t.stack([x.any(), x.all()]), [TRUTH], np.array([True, False])),
    "cumsum, dtype": (lambda t, m: m.cumsum(1, dtype=t.float32), [M], np.array([[3, 4, 6], [0, 5, 9]], np.float32)),
    "logsumexp of much": (
        lambda t, a: a.logsumexp(0),
        [np.array([1000.0, 1000.0, -1000.0])],
        np.array(1000 + math.log(2)),
    ),
    "logsumexp of nothing": (lambda t, a: a.logsumexp(0), [np.array([-np.inf, -np.inf])], np.array(-np.inf)),
    # shapes
    "view": (lambda t, x: x.view(3, -1), [X], np.arange(24.0).reshape(3, 8)),
    "view_as": (lambda t, x, y: x.view_as(y), [X, np.zeros((4, 6))], np.arange(24.0).reshape(4, 6)),
    "flatten": (lambda t, x: x.flatten(1), [X], np.arange(24.0).reshape(2, 12)),
    "flatten in front": (lambda t, x: x.flatten(0, 1), [X], np.arange(24.0).reshape(6, 4)),
    "unflatten": (lambda t, x: x.unflatten(-1, (2, -1)), [X], np.arange(24.0).reshape(2, 3, 2, 2)),
    "squeeze": (lambda t, x: x[:1, :, None].squeeze(), [X], X[0]),
    "squeeze one": (lambda t, x: x[:1, None].squeeze(0), [X], X[0][None]),
    "squeeze what is not 1": (lambda t, x: x.squeeze(1), [X], X),
    "unsqueeze": (lambda t, x: x.unsqueeze(-1).unsqueeze(0), [X], np.arange(24.0).reshape(1, 2, 3, 4, 1)),
    "t": (lambda t, x: x[0].t(), [X], np.array([[0.0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]])),
    "t of a vector": (lambda t, a: a.t(), [A], A),
    "T": (lambda t, x: x.T, [X], np.einsum("abc->cba", X)),
    "movedim back": (lambda t, x: x.movedim(-1, 0), [X], np.einsum("abc->cab", X)),
    "expand, kept": (lambda t, x: x[:, :1].expand(2, 3, -1), [X], np.stack([X[:, 0]] * 3, 1)),
    "expand_as": (lambda t, x: x[0].expand_as(x), [X], np.stack([X[0]] * 2)),
    "sum_to_size": (lambda t, x: x.sum_to_size(3, 1), [X], np.array([[60.0], [92], [124]])),
    "contiguous": (lambda t, x: x.mT.contiguous().view(-1)[:4], [X], np.array([0.0, 4, 8, 1])),
    # joined and taken apart
    "stack": (lambda t, a, b: t.stack([a, b], 1), [A, B], np.array([A, B]).T),
    "cat of dtypes": (lambda t, a, n: t.cat([a, n]), [A, N], np.array([*A, 7, -7, 3, 0])),
    "split": (lambda t, a: t.split(a, [1, 0, 4])[2], [A], A[1:]),
    "split evenly": (lambda t, x: x.split(3, -1)[1], [X], X[..., 3:]),
    "chunk": (lambda t, a: a.chunk(2)[1], [A], A[3:]),
    "unbind": (lambda t, x: t.unbind(x, 1)[2], [X], X[:, 2]),
    "tril above": (lambda t, m: m.tril(1), [M], np.array([[3, 1, 0], [0, 5, 4]])),
    "triu below": (lambda t, m: m.triu(-1), [M], M),
    "triu of several": (lambda t, x: x[:, :2, :2].triu(), [X], np.array([[[0.0, 1], [0, 5]], [[12, 13], [0, 17]]])),
    "repeat": (lambda t, m: m.repeat(2, 1, 2), [M], np.array([[[3, 1, 2] * 2, [0, 5, 4] * 2]] * 2)),
    "tile": (lambda t, m: m.tile(2), [M], np.array([[3, 1, 2] * 2, [0, 5, 4] * 2])),
    "flip one": (lambda t, m: m.flip(1), [M], np.array([[2, 1, 3], [4, 5, 0]])),
    "roll along": (lambda t, m: m.roll(1, 1), [M], np.array([[2, 3, 1], [4, 0, 5]])),
    "roll flat": (lambda t, m: m.roll(-1), [M], np.array([[1, 2, 0], [5, 4, 3]])),
    "pad and crop": (
        lambda t, m: t.nn.functional.pad(m, (-1, 1, 1, 0), value=9),
        [M],
        np.array([[9, 9, 9], [1, 2, 9], [5, 4, 9]]),
    ),
    "meshgrid": (
        lambda t, a, n: t.stack(t.meshgrid(a, n.double(), indexing="ij")),
        [A[:2], N[:3]],
        np.array([[[-2.5] * 3, [-1.0] * 3], [[7, -7, 3]] * 2]),
    ),
    "meshgrid, xy": (
        lambda t, a, n: t.stack(t.meshgrid(a, n.double(), indexing="xy")),
        [A[:2], N[:3]],
        np.array([[[-2.5, -1]] * 3, [[7.0] * 2, [-7] * 2, [3] * 2]]),
    ),
    # indexing
    "an int and a slice": (lambda t, x: x[1, ..., 1::2], [X], X[1][:, [1, 3]]),
    "None and a negative int": (lambda t, x: x[:, -1, None], [X], X[:, 2:3]),
    "a list": (lambda t, m: m[:, [2, 0]], [M], np.array([[2, 3], [4, 0]])),
    "two index tensors": (lambda t, m: m[t.tensor([0, 1, 1]), t.tensor([2, 0, -1])], [M], np.array([2, 0, 4])),
    "a mask": (lambda t, m: m[m > 2], [M], np.array([3, 5, 4])),
    "a mask of rows": (lambda t, m: m[t.tensor([False, True])], [M], M[1:]),
    "gather along 0": (lambda t, m: m.gather(0, t.tensor([[1, 0, 1]])), [M], np.array([[0, 1, 4]])),
    "scatter_add of integers": (
        lambda t, m: m.scatter_add(1, t.tensor([[0, 0, 2]]), t.tensor([[10, 20, 30]])),
        [M],
        np.array([[33, 1, 32], [0, 5, 4]]),
    ),
    "index_select": (lambda t, m: m.index_select(1, t.tensor([2, 2, 0])), [M], M[:, [2, 2, 0]]),
    "index_put": (
        lambda t, m: m.index_put((t.tensor([0, 1]), t.tensor([0, 2])), t.tensor([8, 9])),
        [M],
        np.array([[8, 1, 2], [0, 5, 9]]),
    ),
    "index_put, added": (
        lambda t, m: m.index_put((t.tensor([1, 1]), t.tensor([0, 0])), t.tensor([8, 9]), accumulate=True),
        [M],
        np.array([[3, 1, 2], [17, 5, 4]]),
    ),
    "masked_select": (lambda t, m: m.masked_select(t.tensor([True, False, True])), [M], np.array([3, 2, 0, 4])),
    "embedding": (lambda t, x: t.nn.functional.embedding(t.tensor([[2, 0]]), x, padding_idx=0), [X[0]], X[0][[[2, 0]]]),
    "one_hot": (lambda t, n: t.nn.functional.one_hot(n), [np.array([1, 0, 2])], np.eye(3, dtype=np.int64)[[1, 0, 2]]),
    "one_hot of more": (
        lambda t, n: t.nn.functional.one_hot(n, 4),
        [np.array([1, 0])],
        np.array([[0, 1, 0, 0], [1, 0, 0, 0]]),
    ),
    "topk": (lambda t, m: t.stack(m.topk(2)), [M], np.array([[[3, 2], [5, 4]], [[0, 2], [1, 2]]])),
    "topk of the smallest along 0": (
        lambda t, m: t.stack(m.topk(1, 0, largest=False)),
        [M],
        np.array([[[0, 1, 2]], [[1, 0, 0]]]),
    ),
    "sort": (lambda t, m: t.stack(m.sort()), [M], np.array([[[1, 2, 3], [0, 4, 5]], [[1, 2, 0], [0, 2, 1]]])),
    "sort down along 0": (
        lambda t, m: t.stack(m.sort(0, descending=True)),
        [M],
        np.array([[[3, 5, 4], [0, 1, 2]], [[0, 1, 1], [1, 0, 0]]]),
    ),
    "argsort": (lambda t, m: m.argsort(descending=True), [M], np.array([[0, 2, 1], [1, 2, 0]])),
    "nonzero": (lambda t, m: m.nonzero(), [M - 1], np.array([[0, 0], [0, 2], [1, 0], [1, 1], [1, 2]])),
    "select": (lambda t, m: m.select(1, -1), [M], np.array([2, 4])),
    "take_along_dim": (lambda t, m: m.take_along_dim(t.tensor([[2, 0]]), 1), [M], np.array([[2, 3], [4, 0]])),
    # products
    "mm": (lambda t, x: x[0].mm(x[1].t()), [X], np.einsum("ik,jk->ij", X[0], X[1])),
    "bmm": (lambda t, x: t.bmm(x, x.mT), [X], np.einsum("bik,bjk->bij", X, X)),
    "mv": (lambda t, x, a: x[0].mv(a), [X, A[:4]], np.array([(row * A[:4]).sum() for row in X[0]])),
    "dot": (lambda t, a, b: a.dot(b), [A, B], np.array((A * B).sum())),
    "outer": (lambda t, a, b: a.outer(b), [A, B], A[:, None] * B),
    "matmul of integers": (lambda t, m: m @ m.t(), [M], np.array([[14, 13], [13, 41]])),
    "einsum": (lambda t, x, y: t.einsum("bij,bkj->bki", x, y), [X, X[:, :2]], np.einsum("bij,bkj->bki", X, X[:, :2])),
    "einsum, implied": (lambda t, x: t.einsum("ba", x[0]), [X], X[0].T),
    "einsum of a diagonal": (lambda t, x: t.einsum("ii->i", x[0, :, :3]), [X], np.array([0.0, 5, 10])),
    "einsum with dots": (lambda t, x: t.einsum("...j->...", x), [X], X.sum(-1)),
    "einsum of three": (lambda t, a, b: t.einsum("i,j,i->j", a, b, a), [A, B], (A * A).sum() * B),
    "linear": (
        lambda t, x, w: t.nn.functional.linear(x, w, w[:, 0]),
        [X, X[0, :2]],
        np.einsum("bni,oi->bno", X, X[0, :2]) + np.array([0, 4]),
    ),
    # losses
    "mse_loss": (lambda t, a, b: t.nn.functional.mse_loss(a, b), [A, B], np.array(((A - B) ** 2).sum() / 5)),
    "mse_loss, sum": (
        lambda t, a, b: t.nn.functional.mse_loss(a, b, reduction="sum"),
        [A, B],
        np.array(((A - B) ** 2).sum()),
    ),
    "mse_loss, none": (lambda t, a, b: t.nn.functional.mse_loss(a, b, reduction="none"), [A, B], (A - B) ** 2),
    "l1_loss": (lambda t, a, b: t.nn.functional.l1_loss(a, b), [A, B], np.array(abs(A - B).sum() / 5)),
    "l1_loss, sum": (
        lambda t, a, b: t.nn.functional.l1_loss(a, b, reduction="sum"),
        [A, B],
        np.array(abs(A - B).sum()),
    ),
    "bce": (
        lambda t, a: t.nn.functional.binary_cross_entropy_with_logits(a, t.ones_like(a) / 4),
        [A],
        np.array(-(np.log(1 / (1 + np.exp(-A))) + 3 * np.log(1 / (1 + np.exp(A)))).sum() / 20),
    ),
    "bce, weighted": (
        lambda t, a, w, p: t.nn.functional.binary_cross_entropy_with_logits(
            a, t.ones_like(a) / 4, weight=w, reduction="none", pos_weight=p
        ),
        [A, B, np.array(2.0)],
        -B * (2 * np.log(1 / (1 + np.exp(-A))) + 3 * np.log(1 / (1 + np.exp(A)))) / 4,
    ),
    "nll_loss, weighted": (
        lambda t, x, w: t.nn.functional.nll_loss(x, t.tensor([2, 0, 2]), w),
        [X[0], np.array([1.0, 2.0, 3.0, 4.0])],
        np.array(-(3 * 2 + 1 * 4 + 3 * 10) / 7),
    ),
    # bool with bool: sums and products are or and and
    "bool + bool": (lambda t, a, b: a + b, [TRUTH[0], TRUTH[1]], np.array([True, True, True, False])),
    "bool * bool": (lambda t, a, b: a * b, [TRUTH[0], TRUTH[1]], np.array([True, False, False, False])),
    "bool & bool": (lambda t, a, b: a & b, [TRUTH[0], TRUTH[1]], np.array([True, False, False, False])),
    "bool | bool": (lambda t, a, b: a | b, [TRUTH[0], TRUTH[1]], np.array([True, True, True, False])),
    "bool ^ bool": (lambda t, a, b: a ^ b, [TRUTH[0], TRUTH[1]], np.array([False, True, True, False])),
    "bool / bool": (
        lambda t, a, b: a / b,
        [np.array([True, False]), np.array([True, True])],
        np.array([1, 0], np.float32),
    ),
    "bool + True": (lambda t, a: a + True, [TRUTH[1]], np.array([True] * 4)),
    "bool + 1": (lambda t, a: a + 1, [TRUTH[1]], np.array([2, 1, 2, 1])),
    "bool + 0.5": (lambda t, a: a + 0.5, [TRUTH[1]], np.array([1.5, 0.5, 1.5, 0.5], np.float32)),
    "~bool": (lambda t, a: ~a, [TRUTH[1]], np.array([False, True, False, True])),
    "softmax into float64": (
        lambda t, x: t.softmax(x, 0, dtype=t.float64),
        [np.array([3.0, 3.0], np.float32)],
        np.array([0.5, 0.5]),
    ),
    # along a dimension
    "repeat_interleave": (
        lambda t, x: x.repeat_interleave(2, 1),
        [X],
        np.stack([X[:, 0], X[:, 0], X[:, 1], X[:, 1], X[:, 2], X[:, 2]], 1),
    ),
    "repeat_interleave, last": (
        lambda t, x: x.repeat_interleave(3, -1),
        [X[0, :2, :2]],
        np.array([[0.0, 0, 0, 1, 1, 1], [4, 4, 4, 5, 5, 5]]),
    ),
    "repeat_interleave, flat": (lambda t, x: t.repeat_interleave(x, 2), [X[0, :2, 0]], np.array([0.0, 0, 4, 4])),
    "narrow": (lambda t, x: x.narrow(1, 1, 2), [X], X[:, 1:]),
    "narrow to the end": (lambda t, x: x.narrow(-1, 3, 1), [X], X[..., 3:]),
    "narrow, all of it": (lambda t, x: x.narrow(0, 0, 2), [X], X),
    "narrow to nothing": (lambda t, x: x.narrow(2, 4, 0), [X], np.zeros((2, 3, 0))),
    # of nothing, where what is reduced is something
    "amax beside nothing": (lambda t, x: x.amax(1), [np.zeros((0, 3))], np.zeros(0)),
    "amax beside nothing, kept": (lambda t, x: x.amax(1, keepdim=True), [np.zeros((0, 3))], np.zeros((0, 1))),
    "amin of two beside nothing": (lambda t, x: x.amin((0, 2)), [np.zeros((2, 0, 3))], np.zeros(0)),
    "argmax beside nothing": (lambda t, x: x.argmax(1), [np.zeros((0, 3))], np.zeros(0, np.int64)),
    "argmax beside nothing, kept": (
        lambda t, x: x.argmax(1, keepdim=True),
        [np.zeros((0, 3))],
        np.zeros((0, 1), np.int64),
    ),
    # the ignored target
    "nll_loss": (
        lambda t, x: t.nn.functional.nll_loss(x, t.tensor([2, 0, 2]), ignore_index=0),
        [X[0]],
        np.array(-(2 + 10) / 2),
    ),
    "NLLLoss": (lambda t, x: t.nn.NLLLoss(ignore_index=0)(x, t.tensor([2, 0, 2])), [X[0]], np.array(-(2 + 10) / 2)),
    "NLLLoss as it is": (lambda t, x: t.nn.NLLLoss()(x, t.tensor([-100, 0, 2])), [X[0]], np.array(-(4 + 10) / 2)),
    "CrossEntropyLoss": (
        lambda t, x: t.nn.CrossEntropyLoss(ignore_index=1)(x, t.tensor([1, 0, 3])),
        [X[0]],
        mean_of_kept(cross_entropy(X[0], [1, 0, 3], ignored=1)),
    ),
    "CrossEntropyLoss as it is": (
        lambda t, x: t.nn.CrossEntropyLoss()(x, t.tensor([1, -100, 3])),
        [X[0]],
        mean_of_kept(cross_entropy(X[0], [1, -100, 3])),
    ),
    "cross_entropy, weighted": (
        lambda t, x, w: t.nn.functional.cross_entropy(x, t.tensor([1, 0, 3]), w, ignore_index=0),
        [X[0], np.array([1.0, 2, 3, 4])],
        np.array((2 * cross_entropy(X[0], [1, 0, 3])[0] + 4 * cross_entropy(X[0], [1, 0, 3])[2]) / 6),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    call, arrays, expected = FUNCTIONS[name]
    y = call(tinytorch, *[tinytorch.from_numpy(a.copy()) for a in arrays])
    assert y.dtype == expected.dtype
    assert_close(y.array, expected, name, TOLERANCE.get(str(y.dtype), 0))


@pytest.mark.oracle
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_pytorchs(name: str) -> None:
    import torch

    call, arrays, expected = FUNCTIONS[name]
    z = call(torch, *[torch.from_numpy(a.copy()) for a in arrays])
    assert str(z.dtype) == f"torch.{expected.dtype}"
    assert_close(checks.array_of(z), expected, name, TOLERANCE.get(str(expected.dtype), 0))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda t: t.ones(3).bool() - t.ones(3).bool(), RuntimeError, "bool"),
        (lambda t: t.zeros(0).argmax(), IndexError, "argmax: expected a tensor with elements"),
        (lambda t: t.zeros(2, 0).argmin(), IndexError, "argmin: expected a tensor with elements"),
        (lambda t: t.zeros(2, 0).argmax(1), IndexError, r"argmax: dimension 1 of shape \(2, 0\) must not be empty"),
        (lambda t: t.zeros(2, 0).amax(1), IndexError, "amax: the reduced dimensions"),
        (lambda t: t.zeros(2, 0).amax(), RuntimeError, "has no largest element"),
        (lambda t: t.zeros(2, 0).max(), RuntimeError, "has no largest element"),
        (lambda t: t.arange(3).softmax(0), RuntimeError, "softmax is not implemented for int64"),
        (lambda t: t.arange(3).log_softmax(0), RuntimeError, "log_softmax is not implemented for int64"),
        (lambda t: t.zeros(2, 0).amin((0, 1)), IndexError, "amin: the reduced dimensions"),
        (lambda t: t.zeros(4).narrow(0, 3, 2), RuntimeError, "narrow"),
        (lambda t: t.zeros(4).narrow(0, 5, 0), IndexError, "narrow"),
        (lambda t: t.zeros(4).narrow(0, 0, -1), RuntimeError, "narrow"),
        (lambda t: t.ones(()) @ t.ones(3), RuntimeError, "at least 1D"),
        (lambda t: t.ones(3) @ t.ones(()), RuntimeError, "at least 1D"),
        (lambda t: t.matmul(t.ones(()), t.ones(())), RuntimeError, "at least 1D"),
    ],
)
def test_refused(call: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call(tinytorch)
    assert caught.type is error
