"""The forms in which users write operations, each run with both libraries: the same value and dtype, or both refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops.checks import array_of, assert_close, listed

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore::UserWarning")]

ARITHMETIC = """
t.add(2, 3) | t.add(2, 3.5) | t.sub(2, 3) | t.mul(2, 3) | t.div(2, 3) | t.add(True, True) | t.floor_divide(7, 2)
t.div(7, 3, rounding_mode="floor") | t.div(-7, 3, rounding_mode="trunc") | t.add(2, f) | t.sub(2, f) | t.div(2, f)
t.sub(5, f, alpha=2) | t.add(f, 2, alpha=3) | t.add(f, i, alpha=1.5) | t.add(i, f, alpha=2) | t.add(i, 2, alpha=1.5)
t.sub(i, i, alpha=0.5) | t.add(i, i, alpha=3) | t.add(b, True, alpha=2) | b - 1 | 1 - b | b - b | b - f | f - b
f - True | i - True | b - b0 | f - b0 | s - b0 | b - 1.5 | 2.5 - b | b + 1 | b * 2 | b + b | -b | abs(b) | t.abs(u)
b / b | b / 2 | b // 2 | b // b | b % b | b % 2 | t.div(b, b, rounding_mode="trunc") | t.square(b) | t.square(i)
i // 0 | i % 0 | i // t.tensor(0) | t.div(i, 0, rounding_mode="trunc") | t.div(i, i, rounding_mode="floor") | i / 0
t.div(t.tensor([2**62 + 1, -(2**62) - 1]), 3, rounding_mode="trunc") | t.tensor([2**62 + 1, -(2**62) - 1]) // 3
f % 0 | f // 0 | f % inf | f % -inf | f // inf | f // -inf | f % nan | t.tensor([inf, -inf, nan]) % 2
t.tensor([-6.0, 6.0, -0.0, 0.0]) % 3 | t.tensor([-6.0, 6.0, -0.0, 0.0]) % -3 | t.tensor([5.25]) // 0.75 | 7 % i.abs()
i ** -1 | t.pow(i, t.tensor(-1)) | t.pow(i, t.tensor([-1, 2, 0])) | 2 ** i | u ** i | i ** 2 | i ** 0.5 | b ** 2
t.tensor([-1, 1, 2, -2, 0]) ** t.tensor([-3, -3, -3, -1, -1]) | b ** b | t.pow(f, t.tensor([2, 3, 0])) | t.pow(2, u)
t.maximum(f, 2) | t.minimum(2, f) | t.maximum(f, i) | t.minimum(b, b) | t.maximum(f, s) | t.maximum(f, v[:2])
"""

ROUNDING = """
t.sign(b) | t.sign(u) | t.sign(i) | t.sign(t.tensor([nan, 1.0, -0.0, 0.0, inf, -inf])) | f.sign() | t.floor(i)
t.floor(b) | t.ceil(u) | t.ceil(b) | t.trunc(b) | t.trunc(i) | t.round(b) | t.round(i) | t.round(i, decimals=1)
t.round(t.tensor([0.5, 1.5, 2.5, -0.5, -1.5, nan, inf])) | t.floor(t.tensor([-0.5, nan, -inf, 2.0])) | t.fix(f)
t.ceil(t.tensor([-0.5, nan, -inf, 2.5])) | t.trunc(t.tensor([-0.5, 0.5, -inf, nan])) | f.floor() | f.ceil()
f.trunc() | t.round(t.tensor([0.125, 2.675, 1234.5678]), decimals=2)
t.round(t.tensor([1250.0, 1350.0]), decimals=-2) | f.round() | f.round(decimals=1)
t.round(t.tensor([3.0e38]), decimals=3) | t.round(f, 1) | f.clone().floor_() | f.clone().round_() | f.clone().ceil_()
f.clone().trunc_() | f.clone().sign_() | f.clone().floor_divide_(2) | f.clone().remainder_(1.5)
f.clone().div_(2, rounding_mode="floor") | i.clone().div_(2, rounding_mode="trunc") | i.clone().div_(2)
"""

CHOOSING = """
f.where(b, 2) | f.where(b, v[:2]) | i.where(b, 2.5) | f.where(b, f.double()) | f.equal(f) | f.equal(i) | f.allclose(f)
f.allclose(f + 1) | f.fix() | f.where(i, f)
t.where(b, 1, 2) | t.where(b, 1.5, 2) | t.where(b, 1, True) | t.where(b, True, False) | t.where(b, f, 2) | t.where(f)
t.where(b, i, 2.5) | t.where(b, 2, f) | t.where(b) | t.where(b, f) | t.where(u, f, f) | t.where(b0) | t.where(i, f, f)
t.where(b, f, v.double()) | t.where(b, i, b) | t.where(b[0], f, s) | t.where(b, v[:2], f) | t.where(z) | f.nonzero()
f.nonzero(as_tuple=True) | t.nonzero(s) | t.nonzero(t.tensor(0.0)) | t.nonzero(s, as_tuple=True)
t.nonzero(t.tensor(0.0), as_tuple=True) | t.nonzero(f, as_tuple=False) | f.nonzero(True) | t.nonzero(z, as_tuple=True)
f.masked_fill(b, 1) | f.masked_fill(b, t.tensor(1)) | f.masked_fill(b, t.tensor([1.0])) | f.masked_fill(b, s)
f.masked_fill(b, t.tensor([[1.0]])) | i.masked_fill(b, 1.5) | i.masked_fill(b, t.tensor(1.5)) | b.masked_fill(b, 2)
u.masked_fill(b, 300) | i.masked_fill(b, True) | i.masked_fill(b, nan) | f.masked_fill(u, 1) | f.masked_fill(i, 1)
f.masked_fill(b[:, :2], 1) | v.masked_fill(b, 0) | f.masked_fill(b, None) | f.masked_fill(b, t.tensor(1.0).double())
t.zeros(2).fill_(t.tensor([1.0])) | t.zeros(2, dtype=t.int64).fill_(1.5) | t.zeros(2).fill_(t.tensor(2))
t.masked_select(f, u) | t.masked_select(f, i) | t.masked_select(f, b) | t.masked_select(f, b[0])
t.masked_select(v, b) | t.masked_select(f, b0) | t.masked_select(s, b0) | t.masked_select(s, b)
t.masked_select(f, b[:, :2]) | t.clamp(f, v) | t.clamp(f, max=v) | t.clamp(f, t.tensor(0.0), t.tensor(2.0))
t.clamp(i, t.tensor(0.5)) | t.clamp(b, 0, 1) | t.clamp(i, t.tensor(0)) | t.clamp(i, 0.5, 2) | t.clamp(b, False)
t.clamp(f, nan) | t.clamp(u, 0, 300) | t.clamp(v, f)
t.clamp(f, t.tensor([nan, 0.0, 0.0]), t.tensor([1.0, nan, 1.0])) | t.clamp(t.tensor([nan, 1.0]), 0, 1) | f.clip(0, 1)
t.clamp(f, True, 2) | t.clamp(i, min=t.tensor(0), max=t.tensor(1.5)) | t.clamp(f, 2, 1) | t.clamp(f, v, -v)
t.clamp(f)
"""

MOVING = """
t.flip(f, [0]) | t.flip(f, (0, 1)) | t.flip(f, dims=[0]) | t.flip(f, dims=(0, -1)) | f.flip(0) | f.flip(0, 1)
f.flip() | f.flip([0, 1]) | f.flip(dims=[0]) | f.flip([]) | t.flip(f, []) | t.flip(f, [0, 0]) | t.flip(s, [])
t.flip(s, [0]) | t.flip(s, [1]) | f.flip(2) | f.movedim((0, 1), (1, 0)) | f.movedim([0], [1]) | t.movedim(f, (0,), 1)
t.movedim(f, 0, 1) | t.movedim(f, 0, (1,)) | t.movedim(f, (0, 0), (0, 1)) | t.movedim(f, source=0, destination=1)
t.movedim(s, 0, 0) | t.movedim(s, (), ()) | t.movedim(f, 0, 2) | t.movedim(f, (0, 1), (1,))
t.movedim(x, (0, -1), (1, 0)) | x.movedim(2, 0) | t.movedim(x, (0, 1, 2), (2, 0, 1)) | t.roll(f, 1) | t.roll(f, ())
t.roll(f, (), ()) | t.roll(f, 1, 0) | t.roll(s, 1) | t.roll(f, (1,), (0,)) | t.roll(f, (1, 2), 0) | t.roll(f, (1, 2))
t.roll(f, (1,)) | t.roll(f, 1, (0, 1)) | f.roll(1, -1) | t.roll(f, (1, 1), (0, 0)) | t.roll(f, shifts=1, dims=1)
t.roll(f, 1, 2) | t.roll(f, 1.5) | f.roll(()) | t.roll(f, 1, ()) | t.roll(f, True) | f.narrow(0, 0, 1)
f.narrow(0, -1, 1) | f.narrow(0, 2, 0) | f.narrow(0, 3, 0) | f.narrow(0, -3, 0) | f.narrow(0, -2, 2)
f.narrow(1, 1, 2) | f.narrow(1, 0, 3) | f.narrow(1, 0, 4) | f.narrow(0, 0, -1) | f.narrow(0, True, 1)
f.narrow(0, t.tensor(1), 1) | f.narrow(0, t.tensor([1]), 1) | f.narrow(0, t.tensor(True), 1) | f.narrow(0, 1, 2)
f.narrow(0, t.tensor(1.0), 1) | f.narrow(0, -1, 2) | f.narrow(0, 0, True) | f.narrow(2, 0, 1) | s.narrow(0, 0, 1)
f.repeat_interleave(t.tensor([1, 2]), 0) | f.repeat_interleave(t.tensor([1, 2, 0]), dim=1) | f.repeat_interleave(2)
f.repeat_interleave(t.tensor([2]), 0) | f.repeat_interleave(t.tensor(2), 0) | f.repeat_interleave(2, 1)
f.repeat_interleave(t.tensor([1, 2, 0, 1, 0, 2])) | f.repeat_interleave(2, output_size=12) | f.repeat_interleave(0, 0)
f.repeat_interleave(2, output_size=11) | f.repeat_interleave(t.tensor([1, 2]), 0, output_size=3)
t.repeat_interleave(s, 2) | f.repeat_interleave(t.tensor([1, 2]), 0, output_size=4)
f.repeat_interleave(t.tensor([1, -2]), 0) | f.repeat_interleave(-1, 0) | f.repeat_interleave(t.tensor([1, 2, 3]), 0)
f.repeat_interleave(t.tensor([1.0, 2.0]), 0) | f.repeat_interleave(t.tensor([1, 2], dtype=t.int32), 0)
f.repeat_interleave(t.tensor([[1, 2]]), 0) | f.repeat_interleave(1.5) | t.repeat_interleave(t.tensor([2, 0, 1]))
t.repeat_interleave(f, repeats=2, dim=1) | t.repeat_interleave(t.tensor([2, 0, 1]), output_size=3)
t.repeat_interleave(s, 2, 0) | f.repeat_interleave([1, 2], 0) | t.meshgrid(v, v, indexing="bad")
t.meshgrid(v, v[:2], indexing="ij") | t.meshgrid(v, v[:2], indexing="xy") | t.meshgrid([v, v[:2]], indexing="xy")
t.meshgrid(v, t.tensor([1, 2])) | t.meshgrid(v, s) | t.meshgrid(f, v) | t.meshgrid() | t.meshgrid([])
t.meshgrid(v, v[:2]) | t.meshgrid(v, indexing="xy") | t.meshgrid(v, v[:2], v[:1], indexing="xy")
t.meshgrid(s, s, indexing="xy") | v.unfold(0, 2, 1) | f.unfold(1, 2, 1) | f.unfold(0, 2, 1) | f.unfold(-1, 3, 2)
f.unfold(1, 4, 1) | f.unfold(1, 0, 1) | f.unfold(1, 0, 2) | f.unfold(1, 2, 0) | f.unfold(1, -1, 1) | s.unfold(0, 1, 1)
s.unfold(0, 0, 1) | s.unfold(0, 2, 1) | f.unfold(2, 1, 1) | f.unfold(dimension=1, size=2, step=2) | x.unfold(1, 2, 1)
t.unflatten(v, 0, (3, 1)) | f.expand(2, -1) | f.expand(-1, 2, 3) | f.repeat(2, -1) | f.tile(2) | f.swapaxes(0, 1)
"""

PICKING = """
t.take_along_dim(f, t.tensor([0, 5])) | t.take_along_dim(f, t.tensor([[0, 5]])) | t.take_along_dim(f, t.tensor(1))
t.take_along_dim(f, t.tensor([0, -1])) | t.take_along_dim(f, t.tensor([[0], [-1]]), 1)
f.take_along_dim(t.tensor([[0]])) | t.take_along_dim(f, t.tensor([[0], [2]]), dim=1)
t.take_along_dim(f, t.tensor([0]), 1) | f.take_along_dim(t.tensor([[0]]), 1)
t.take_along_dim(f, t.tensor([[0.0]]), 1) | t.take_along_dim(f, t.tensor([[0], [1], [0]]), 1)
t.take_along_dim(s, t.tensor(0)) | f.take_along_dim(f.argsort(1), 1) | s.gather(0, t.tensor([0]))
s.gather(0, t.tensor(0)) | s.gather(0, t.tensor([0, 0])) | s.gather(0, t.tensor(1)) | v.gather(0, t.tensor(1))
v.gather(0, t.tensor([1, 1])) | v.gather(0, t.tensor([-1])) | v.gather(0, t.tensor([1], dtype=t.int32))
f.gather(dim=1, index=t.tensor([[0]])) | v.gather(0, t.zeros(2, 0, dtype=t.int64))
f.gather(0, t.zeros(0, dtype=t.int64)) | f.gather(0, t.zeros(5, 0, dtype=t.int64)) | v.gather(0, b[0])
v.gather(1, i[0]) | s.index_select(0, t.tensor([0])) | s.index_select(0, t.tensor(0))
s.index_select(0, t.tensor([0, 0])) | v.index_select(0, b[0]) | s.index_select(0, t.tensor([1]))
v.index_select(0, t.tensor(1)) | v.index_select(0, t.tensor([1], dtype=t.int32)) | v.index_select(0, t.tensor([1.0]))
v.index_select(0, t.tensor([-1])) | f.index_select(1, t.tensor([2, 0, 2])) | s.scatter_add(0, t.tensor([0]), v[:1])
s.scatter_add(0, t.tensor(0), s) | v.scatter_add(0, t.tensor(0), s) | v.scatter_add(0, t.tensor([0]), t.tensor([1]))
v.scatter_add(0, t.tensor([0]), v.double()) | v.scatter_add(0, i[0], v)
v.scatter_add(0, t.zeros(0, dtype=t.int64), t.zeros(2, 3)) | f.scatter_add(1, t.tensor([[0, 0]]), f)
f.sort(stable=True) | f.sort(dim=0, descending=True, stable=True) | f.sort(0, True) | f.sort(0, True, True)
t.sort(b) | t.sort(f, stable=True, dim=0) | t.sort(f, 0, True) | t.argsort(f, stable=True)
t.argsort(f, 0, True, True) | t.argsort(f, dim=0, descending=True, stable=True) | f.argsort(0) | f.argsort(0, True)
f.argsort(stable=True) | f.sort(stable=None) | t.topk(f, 1, 0) | t.topk(f, -1) | t.topk(f, 4) | t.topk(s, 1)
t.topk(f, k=2, dim=1, largest=False) | f.index_put((t.tensor([0]),), v)
f.index_put((t.tensor([0]),), t.tensor([1, 2, 3])) | f.index_put((t.tensor([0]),), v.double())
f.index_put([t.tensor([0])], v) | f.index_put((t.tensor(0), t.tensor([0, 1])), v[:2]) | f.index_put((t.tensor(0),), v)
f.index_put((b,), s) | f.index_put((t.tensor([0, 0]),), s, accumulate=True) | f.index_put((t.tensor([5]),), v)
f.index_put((t.tensor([0.0]),), v) | f.index_put((0,), v) | f.index_put((slice(0, 1),), v) | f.index_put((), v)
f.index_put(t.tensor([0]), v) | t.index_put(f, (t.tensor([0]),), v) | f.select(0, -3) | f.select(0, t.tensor(1))
f.select(2, 0) | t.select(f, 0, 1) | F.embedding(t.tensor([0, 1]), v)
F.embedding(t.tensor([0, 1]), t.zeros(2, 2, 2)) | F.embedding(t.tensor([0, 1]), s) | F.embedding(t.tensor([0, 1]), f)
F.embedding(t.tensor([0, 1]), i) | F.embedding(t.tensor([0, 1], dtype=t.int32), f) | F.embedding(t.tensor([True]), f)
F.embedding(t.tensor([-1]), f) | F.embedding(t.tensor([0.0]), f) | x[0, :, t.tensor([0, 1])]
x[t.tensor(1), :, t.tensor([0, 1])] | x[..., 0, t.tensor([1, 1])] | x[t.tensor([0, 1]), None, 0] | x[u[:, 0] > 0]
x[t.tensor([1, 0], dtype=t.uint8)] | x[t.tensor(1, dtype=t.uint8)] | x[t.tensor(1, dtype=t.int16)]
x[t.tensor([1], dtype=t.int16)] | x[np.array([1, 0], np.int8)] | x[range(2)] | x[:, range(0, 3, 2)] | x[np.int64(1)]
x[True] | x[False] | x[True, 0] | x[0, True] | x[..., True] | x[b0] | x[b0, 0] | x[[]] | x[()] | x[[], []] | x[::-1]
x[::0] | x[1.0] | x[0, 0, 0, 0] | x[z] | x[t.tensor(1):] | x[: t.tensor(1)] | x[np.int64(0) : np.int64(1)] | x[0.5:]
x[None, ..., None] | x[b] | x[b, 0] | x[0, b[0]] | x[t.tensor([0, 1]), b[0]] | x[t.tensor([0, 1]), b[1]]
x[(0, 1), (0, 1)] | x[:, (0, 1)] | x[{0}]
"""

PADDING = """
F.pad(f, (1, 2), "reflect") | F.pad(f, (3, 0), "reflect") | F.pad(f, (2, 0), "reflect")
F.pad(f, (1, 2), "replicate") | F.pad(f, (5, 2), "replicate") | F.pad(f, (1, 2), "circular")
F.pad(f, (3, 3), "circular") | F.pad(f, (4, 0), "circular") | F.pad(v, (1, 1), "reflect")
F.pad(v, (1, 1), "circular") | F.pad(v, (1, 1), "replicate") | F.pad(f, (1, 1, 1, 1), "reflect")
F.pad(x, (1, 1, 1, 1), "reflect") | F.pad(x[None], (1, 1, 1, 1), "reflect") | F.pad(x, (1, 2, 2, 0), "circular")
F.pad(x[None], (1, 1, 1, 1), "circular") | F.pad(x[None, None], (1, 2, 1, 1, 1, 0), "replicate")
F.pad(x, (1, 1), "reflect") | F.pad(x[None, None], (1, 1, 1, 1), "reflect") | F.pad(x[None], (1, 1), "reflect")
F.pad(x[None], (1, 1, 1, 1, 1, 1), "circular") | F.pad(f, (-1, 1), "reflect") | F.pad(f, (-1, 2), "reflect")
F.pad(f, (-1, -1), "reflect") | F.pad(f, (-1, 1), "replicate") | F.pad(f, (-1, 1), "circular")
F.pad(f, (-2, 2), "circular") | F.pad(f, (2, -1), "circular") | F.pad(f, (-3, 3), "replicate")
F.pad(f, (-4, 2), "replicate") | F.pad(f, (-2, -2), "replicate") | F.pad(f, (1, 1), "reflect", 3.0)
F.pad(f, (1, 1), "bad") | F.pad(f, (1, 1), "replicate", value=0.0) | F.pad(f, (1,), "reflect")
F.pad(f, (), "reflect") | F.pad(f, ()) | F.pad(b, (1, 1)) | F.pad(f, (1, 1), "constant", True)
F.pad(i, (1, 1), value=1.5) | F.pad(i, (1, 1), "reflect") | F.pad(b, (1, 1), "circular") | F.pad(b, (1, 1), value=1)
F.pad(f, [1, 1, 1, 1, 1, 1]) | F.pad(f, (-4, 0)) | F.pad(f, (1.5, 1)) | F.pad(f, pad=[1, 1, 2, 0], value=-1.0)
F.pad(t.zeros(1, 0), (1, 1), "reflect") | F.pad(t.zeros(0, 3), (1, 1), "reflect")
F.pad(t.zeros(0, 2, 3), (1, 1), "reflect") | F.pad(t.zeros(0, 2, 3), (1, 1), "circular")
F.pad(t.zeros(2, 0), (1, 1), "circular") | F.pad(t.zeros(2, 0), (1, 1), "replicate")
"""

OF_INTEGERS = """
F.gelu(i) | F.gelu(b) | F.silu(i) | F.silu(b) | F.softplus(i) | F.softplus(b) | F.leaky_relu(i) | F.leaky_relu(b)
F.relu(i) | F.relu(b) | F.relu(u) | t.relu(b) | F.sigmoid(i) | F.tanh(b) | t.softmax(i, 1) | F.softmax(i, 1)
F.log_softmax(i, 1) | F.softmax(i, 1, dtype=t.float32) | t.softmax(b, 1) | t.logsumexp(i, 1) | t.logsumexp(b, 1)
F.dropout(i, 0.5) | F.dropout(i, 0.5, training=False) | F.dropout(i, 0.0) | F.dropout(b, 0.5) | F.linear(i, i)
F.linear(b, b) | F.linear(u, u) | t.matmul(b, b.mT) | t.matmul(u, u.mT) | i @ i.mT
t.dot(t.tensor([1, 2]), t.tensor([3, 4])) | t.dot(b[0], b[0]) | t.outer(i[0], v) | t.bmm(i[None], i[None].mT)
t.einsum("ij,kj->ik", i, i) | t.einsum("ij,kj->ik", i, f) | t.einsum("ij,ij->ij", i, f) | t.einsum("i,j->ij", i[0], v)
t.erf(i) | t.exp(u) | t.reciprocal(i) | t.sqrt(u) | t.mean(i) | t.var(i) | t.std(b) | t.cumsum(b, 0) | t.clamp(i, 0)
t.tril(b) | F.cross_entropy(i, t.tensor([0, 1])) | F.cross_entropy(i, f.softmax(1)) | t.log(b) | t.rsqrt(i)
F.scaled_dot_product_attention(i, i, i)
"""

ATTENTION = """
sdpa(f, f, f, t.tensor([[1, 0], [1, 1]])) | sdpa(f, f, f, t.tensor([[1, 0], [1, 1]], dtype=t.uint8))
sdpa(f, f, f, t.tensor(1.0)) | sdpa(f, f, f, t.tensor([[1, 0], [1, 1]], dtype=t.int32)) | sdpa(f, f, f, mask.double())
sdpa(f, f, f, mask.half()) | sdpa(f.double(), f.double(), f.double(), mask)
sdpa(f.double(), f.double(), f.double(), mask.half()) | sdpa(f, f, f, t.tensor([[True, False], [True, True]]))
sdpa(f, f, f, t.tensor(True)) | sdpa(f, f, f, t.tensor([True, False])) | sdpa(f, f, f, t.tensor([[[True, False]]]))
sdpa(f, f, f.half()) | sdpa(f[None], f, f) | sdpa(f, f[None], f[None]) | sdpa(f[None], f[None, None], f[None])
sdpa(x, x[:1], x) | sdpa(x[:1], x, x[:1]) | sdpa(x[:, None], x[None], x[None])
sdpa(x[None], x[None, :1], x[None, :1]) | sdpa(x[None], x[None], x[None, :1]) | sdpa(x, t.zeros(3, 3, 4), x)
sdpa(x[None], x[:, None], x[:, None]) | sdpa(x[:, None], x[None], x[None], t.zeros(2, 1, 1, 3))
sdpa(x[:, None, None], x[None, None], x[:, None, None], (x[..., :3] > 5)[:, None])
sdpa(x[None, None], x[None, None], x[:, None, None])
sdpa(x[None].expand(3, 2, 3, 4), x[None, :1], x[None, :1], enable_gqa=True)
sdpa(x[None], x[None, :1], x[None], enable_gqa=True) | sdpa(x, x[..., :3], x) | sdpa(v, v, v)
"""

LOSSES = """
ce(f, f.softmax(1)) | ce(f, f.softmax(1), reduction="sum") | ce(f, f.softmax(1), reduction="none")
ce(f, f.softmax(1), label_smoothing=0.3) | ce(f, f.softmax(1), weight=v)
ce(f, f.softmax(1), weight=v, label_smoothing=0.3) | ce(f, f.softmax(1), weight=v[:2])
ce(f, f, weight=v, label_smoothing=1.0, reduction="sum") | ce(f, f.softmax(1), ignore_index=0)
ce(f, f.softmax(1), ignore_index=-1) | ce(f, f.softmax(1), ignore_index=5) | ce(f, f.softmax(1).double())
ce(f.double(), f.softmax(1)) | ce(v, v.softmax(0)) | ce(f, b) | ce(x, x.softmax(1))
ce(x, x.softmax(1), reduction="none") | ce(x, x, v, label_smoothing=0.2) | ce(f.half(), f.softmax(1).half())
ce(x[None], x[None], t.ones(2), reduction="none") | ce(t.zeros(0, 3), t.zeros(0, 3))
ce(t.zeros(2, 0), t.zeros(2, 0)) | ce(i, f) | ce(t.zeros(0, 3), t.zeros(0, 3), reduction="sum")
ce(t.zeros(2, 3, 0), t.zeros(2, 3, 0)) | ce(f, f.softmax(1), weight=f[:1])
"""

COMPARING = """
t.isnan(f) | t.isinf(i) | t.isfinite(b) | t.logical_not(i) | t.logical_and(f, b) | t.logical_or(f, 1)
t.bitwise_and(i, 3) | t.bitwise_and(i, b) | t.bitwise_and(b, True) | t.bitwise_and(b, 1) | t.bitwise_and(2, i)
t.bitwise_or(b, b) | t.bitwise_or(u, i) | t.bitwise_or(f, 1) | t.bitwise_or(i, 1.5) | t.bitwise_xor(u, 300)
t.bitwise_xor(i, i) | t.bitwise_xor(b, f) | t.bitwise_not(i) | t.bitwise_not(b) | t.bitwise_not(u) | t.bitwise_not(f)
i & 3 | ~i | ~b | ~f | b ^ b | 1 & i | i & f | f ^ 1 | b & b.long() | b.bitwise_and(b) | i.bitwise_not()
t.logical_xor(i, b) | t.eq(f, 1) | t.eq(f, f) | t.ne(f, i) | t.lt(f, 2) | t.ge(f, f) | t.le(f, v) | t.gt(f, v[:2])
f.eq("a") | f < "a" | f == "a" | t.tensor([16777217]) == t.tensor([16777216.0])
t.tensor([16777217]) > t.tensor([16777216.0]).double() | f == nan | u == 300 | t.tensor([16777217]) == 16777216.0
t.tensor([0.1]) == 0.1 | b == 1 | b > 0.5 | f.half() == 1.0005 | t.clone(f)
"""

TABLES = {
    "arithmetic": ARITHMETIC, "rounding": ROUNDING, "choosing": CHOOSING, "moving": MOVING, "picking": PICKING,
    "padding": PADDING, "of integers": OF_INTEGERS, "attention": ATTENTION, "losses": LOSSES, "comparing": COMPARING,
}  # fmt: skip

UNLIKE = {
    "t.movedim(f, (0,), 1)": "taken here: it has one meaning",
    "t.movedim(f, 0, (1,))": "taken here: it has one meaning",
    "t.repeat_interleave(s, 2, 0)": "taken here, as of one element: so are gather and index_select there",
    "sdpa(x[None], x[None, :1], x[None], enable_gqa=True)": "refused here, as in its documentation: Hkv is one number",
}


def expressions() -> list[tuple[str, str]]:
    rows = [(kind, row) for kind, table in TABLES.items() for row in table.strip().splitlines()]
    return [(kind, expression.strip()) for kind, row in rows for expression in row.split(" | ")]


def names(t: Any, functional: Any) -> dict[str, Any]:
    return {
        "t": t, "F": functional, "np": np, "nan": np.nan, "inf": np.inf,
        "f": t.tensor([[1.5, -2.0, 3.0], [0.0, 4.0, -5.0]]), "i": t.tensor([[1, -2, 3], [0, 4, -5]]),
        "b": t.tensor([[True, False, True], [False, True, True]]), "u": t.tensor([[1, 2, 3], [0, 4, 5]], dtype=t.uint8),
        "x": t.arange(24.0).reshape(2, 3, 4) / 8 - 1, "v": t.tensor([1.0, 2.0, 3.0]), "s": t.tensor(2.5),
        "z": t.tensor(1), "b0": t.tensor(True), "mask": t.tensor([[1.0, 0.0], [1.0, 1.0]]),
        "sdpa": functional.scaled_dot_product_attention, "ce": functional.cross_entropy,
    }  # fmt: skip


def outcome(expression: str, t: Any, functional: Any) -> Any:
    try:
        return listed(eval(expression, names(t, functional)))
    except Exception as error:
        return error


@pytest.mark.parametrize("kind, expression", expressions())
def test_as_pytorch(kind: str, expression: str) -> None:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        theirs = outcome(expression, torch, torch.nn.functional)
    ours = outcome(expression, tinytorch, tinytorch.nn.functional)
    if expression in UNLIKE:
        assert isinstance(ours, Exception) != isinstance(theirs, Exception), "alike now: take it out of UNLIKE"
        return
    if isinstance(theirs, Exception):
        # What PyTorch has not implemented for a dtype is an error of its own, which `except RuntimeError` catches.
        expected = RuntimeError if isinstance(theirs, NotImplementedError) else type(theirs)
        assert isinstance(ours, expected) and len(str(ours)) > 10, f"{ours!r}; PyTorch: {theirs!r}"
        return
    assert not isinstance(ours, Exception), f"{ours!r}; PyTorch: {theirs}"
    for y, z in zip(ours, theirs, strict=True):
        if not isinstance(z, torch.Tensor):
            assert y == z
            continue
        assert f"torch.{y.dtype}" == str(z.dtype)
        tolerance = {"float16": 1e-3}.get(str(y.dtype), 1e-6)
        actual, expected = y.detach().numpy(), array_of(z)
        assert_close(actual, expected, expression, tolerance)
        if kind in ("arithmetic", "rounding") and y.is_floating_point():  # where zeros have signs that matter
            np.testing.assert_array_equal(np.signbit(actual[expected == 0]), np.signbit(expected[expected == 0]))
