"""What each example of each operation computes, in a few lines of NumPy or plain Python.

Written from what PyTorch's documentation says, not from our forwards. `test_values.py` compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np

erf = np.vectorize(math.erf, otypes=[np.float64])


def softmax(x: Any, axis: int) -> Any:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def attention(q: Any, k: Any, v: Any, *, mask: Any = None, causal: bool = False, scale: Any = None) -> Any:
    """One head and one query at a time; heads of q take turns at those of k and v. A boolean mask forbids by False."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h, i in np.ndindex(q.shape[:-1]):
        kv = h * k.shape[1] // q.shape[1]
        scores = [scale * (q[b, h, i] * k[b, kv, j]).sum() for j in range(k.shape[2])]
        for j in range(k.shape[2]):
            if causal and j > i:
                scores[j] = -math.inf
            if mask is not None:
                scores[j] += mask[i, j] if mask.dtype.kind == "f" else 0 if mask[i, j] else -math.inf
        weights = [math.exp(s) for s in scores]
        y[b, h, i] = sum(w * v[b, kv, j] for j, w in enumerate(weights)) / sum(weights)
    return y


MASK = np.array([[1, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]], bool)


def cross_entropy(x: Any, target: Any, *, ignored: int = -100, smoothing: float = 0.0) -> list[float]:
    """The loss of each row (N, C), None where the target is ignored."""
    losses: list[Any] = []
    for row, t in zip(x, target, strict=True):
        minus_log = [math.log(sum(math.exp(s) for s in row)) - s for s in row]
        mixed = (1 - smoothing) * minus_log[t if t >= 0 else 0] + smoothing * sum(minus_log) / len(row)
        losses.append(None if t == ignored else mixed)
    return losses


def mean_of_kept(losses: list[Any]) -> Any:
    kept = [loss for loss in losses if loss is not None]
    return np.asarray(sum(kept) / len(kept))


def soft_cross_entropy(x: Any, p: Any, w: Any = 1, *, smoothing: float = 0.0) -> Any:
    """The loss of each place, with the classes along dimension 1."""
    if not x.shape[1]:
        return np.zeros(x.shape[:1] + x.shape[2:])
    mixed = (1 - smoothing) * p + smoothing / x.shape[1]
    return -(w * mixed * np.log(softmax(x, 1))).sum(1)


def mean_of_rows(x: Any, losses: Any) -> Any:
    return losses.sum() / len(x) if x.size else np.asarray(np.nan)


def normalized(x: Any, axes: tuple[int, ...], eps: float, centre: bool = True) -> Any:
    centred = x - x.mean(axes, keepdims=True) if centre else x
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + eps)


def rotated(x: Any, batch: int) -> Any:
    """Rope of x (B, T, H, D) with the example's tables, pair by pair."""
    half = x.shape[3] // 2
    y = np.zeros_like(x)
    for b, t, h, i in np.ndindex(*x.shape[:3], half):
        place = t * half + i + (b * x.shape[1] * half if batch > 1 else 0)
        cos = place / 4 - 1
        pair = complex(x[b, t, h, i], x[b, t, h, half + i]) * complex(cos, 2 - cos)
        y[b, t, h, i], y[b, t, h, half + i] = pair.real, pair.imag
    return y


def stored_weight(dtype: Any) -> Any:
    return np.array([[math.sin(1 + 4 * o + i) for i in range(4)] for o in range(5)]).astype(dtype).astype(float)


def int8_weight() -> Any:
    """sin of 0, 1, 2, ... as whole multiples of the row's largest / 127, in float32."""
    rows = []
    for row in np.sin(np.arange(20)).astype(np.float32).reshape(5, 4):
        scale = float(np.float32(float(max(abs(row))) / 127))
        rows.append([scale * round(float(w) / scale) for w in row])
    return np.array(rows)


# Dettmers et al. 2023, appendix E
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]  # fmt: skip


def nf4_weight() -> Any:
    """sin of 0, 1, 2, ... as the nearest of 16 numbers, times the row's largest, which is itself kept in 8 bits."""
    rows = np.sin(np.arange(20)).astype(np.float32).reshape(5, 4)
    largest = abs(rows).max(1)
    offset = np.float32(largest.mean(dtype=np.float64))
    step = abs(largest - offset).max() / np.float32(127)
    scales = [np.float32(float(offset) + float(step) * round(float((s - offset) / step))) for s in largest]
    nearest = [[min(NF4, key=lambda v: abs(v - w / s)) for w in row] for row, s in zip(rows, scales, strict=True)]
    return np.array(nearest) * np.array(scales, float)[:, None]


def bits(a: Any, b: Any, combine: Callable[[int, int], int]) -> Any:
    """Of the whole parts of numbers, bit by bit, in eight bits of which the first stands for -128."""

    def of_two(i: int, j: int) -> int:
        found = sum(combine(i >> k & 1, j >> k & 1) << k for k in range(8))
        return found - 256 if found > 127 else found

    return np.vectorize(of_two, otypes=[np.int64])(np.trunc(a).astype(np.int64), np.trunc(b).astype(np.int64))


def edges_between(low: Any, high: Any, bins: int) -> Any:
    return np.array([low + (high - low) * b / bins for b in range(bins)] + [high])


def edges_over(x: Any, bins: int) -> Any:
    return edges_between(x.min(), x.max(), bins) if x.size else edges_between(0, 1, bins)


def counted(x: Any, edges: Any, weight: Any = None) -> Any:
    """The elements, or their weights, from each edge to below the next, and to the last edge itself."""
    weight = np.ones_like(x) if weight is None else weight
    bins = list(pairwise(edges))
    y = np.zeros(len(bins))
    for b, (low, high) in enumerate(bins):
        for xi, wi in zip(x.flat, weight.flat, strict=True):
            y[b] += wi * (low <= xi < high or (xi == high and b == len(bins) - 1))
    return y


def density_of(x: Any, edges: Any) -> Any:
    hist = counted(x, edges)
    return hist / hist.sum() / np.diff(edges)


def scattered(rows: int, index: Any, x: Any) -> Any:
    y = np.zeros((rows, x.shape[-1]))
    for place, row in zip(np.ravel(index), x.reshape(-1, x.shape[-1]), strict=True):
        y[place] += row
    return y


def scatter_added(x: Any, index: Any, src: Any) -> Any:
    y = x.copy()
    for i, j in np.ndindex(np.shape(index)):
        y[index[i][j], j] += src[i, j]
    return y


def triangle(x: Any, keep: Callable[[int, int], bool]) -> Any:
    y = np.zeros_like(x)
    for *front, i, j in np.ndindex(x.shape):
        if keep(i, j):
            y[(*front, i, j)] = x[(*front, i, j)]
    return y


def assigned(x: Any, v: Any) -> Any:
    return np.stack([v[0], x[1], v[1]])


def with_places(x: Any, values: dict[tuple[int, ...], Any]) -> Any:
    y = x.copy()
    for place, value in values.items():
        y[place] = value
    return y


def folded(x: Any) -> Any:
    """Each of three windows of three added where it was taken, two further than the one before."""
    y = np.zeros((2, 7))
    for window in range(3):
        y[:, 2 * window : 2 * window + 3] += x[:, window]
    return y


def elementwise(function: Callable[[float], float]) -> Callable[[Any], Any]:
    return np.vectorize(function, otypes=[np.float64])


def padded(x: Any) -> Any:
    """One row before taken away, two after added; one column after added; all with threes."""
    y = np.full((x.shape[0] + 1, x.shape[1] + 1), 3.0)
    y[: len(x) - 1, : x.shape[1]] = x[1:]
    return y


def running_sum(rows: Any) -> Any:
    y = np.zeros_like(rows)
    for i in range(len(rows)):
        y[i] = rows[i] + (y[i - 1] if i else 0)
    return y


def softmax_gradient(g: Any, x: Any) -> Any:
    """From the whole Jacobian of each row: dy_i/dx_j = y_i ([i = j] - y_j)."""
    rows = [(np.diag(y) - np.outer(y, y)) @ row for y, row in zip(softmax(x, 1), g, strict=True)]
    return np.array(rows).reshape(x.shape)


def log_softmax_gradient(g: Any, x: Any) -> Any:
    """From the whole Jacobian of each row: dy_i/dx_j = [i = j] - p_j."""
    rows = [(np.eye(len(p)) - p[:, None]) @ row for p, row in zip(softmax(x, 1), g, strict=True)]
    return np.array(rows).reshape(x.shape)


def running_product(rows: Any) -> Any:
    y = np.zeros_like(rows)
    for i in range(len(rows)):
        y[i] = rows[i] * (y[i - 1] if i else 1)
    return y


def occurrences(x: Any) -> tuple[Any, Any, Any]:
    values = sorted(set(np.rint(np.ravel(x)).tolist()))
    places = np.array([values.index(v) for v in np.rint(np.ravel(x)).tolist()], np.int64).reshape(x.shape)
    return np.array(values), places, np.array([int((places == i).sum()) for i in range(len(values))], np.int64)


# For each operation, by name: what each of its examples computes, in order, on arrays in float64.
REFERENCES: dict[str, tuple[Callable[..., Any], ...]] = {
    # activation
    "Elu": (lambda x: np.where(x > 0, x, (np.exp(x) - 1) / 2),),
    "Erf": (erf,),
    "Gelu": (
        lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    ),
    "LeakyRelu": (lambda x: np.where(x > 0, x, x / 10),),
    "Relu": (lambda x: np.where(x > 0, x, 0),),
    "ReluBackward": (lambda g: (g * np.array([1, 0, 0, 1])).sum(0, keepdims=True),),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)),),
    "Silu": (lambda x: x / (1 + np.exp(-x)),),
    "Softplus": (lambda x: np.log(1 + np.exp(2 * x)) / 2,),
    "Swiglu": (lambda gate, up: gate / (1 + np.exp(-gate)) * up,),
    "Tanh": (lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),),
    # arithmetic
    "Abs": (lambda x: np.where(x < 0, -x, x),),
    "Add": (lambda a, b: a + b, lambda a, b: a + 2.5 * b),
    "Div": (lambda a, b: a / (abs(b) + 0.5), lambda a: 2 / (abs(a) + 1)),
    "Mul": (lambda a, b: a * b, lambda a: 2 * a**2),
    "Neg": (lambda x: 0 - x,),
    "Pow": (lambda a: a * a, lambda a: a * a * a, lambda a, b: np.exp(b * np.log(abs(a) + 0.5)), np.exp2),
    "Sub": (lambda a, b: a - b, lambda a: 1.5 - a),
    # attention
    "Attention": (
        lambda q, k, v: attention(q, k, v, causal=True),
        lambda q, k, v: attention(q, k, v, scale=0.7),
        lambda q, k, v: attention(q, k, v, causal=True),
        lambda q, k, v: attention(q, k, v, mask=MASK),
        lambda q, m: attention(q[None], q[None], q[None], mask=m)[0],
        lambda q, k, v: attention(*(np.broadcast_to(a, (2, 2, *a.shape[-2:])) for a in (q, k, v))),
    ),
    # elementwise
    "Clamp": (
        lambda x: np.where(x < -0.5, -0.5, np.where(x > 0.5, 0.5, x)),
        lambda x: np.where(x < 0.1, 0.1, x),
        lambda x, low, high: np.minimum(np.maximum(x, low - 0.5), high + 0.5),
        lambda x, high: np.where(x > high, high, x),
    ),
    "Clone": (lambda x: x,),
    "Cos": (lambda x: np.sin(x + math.pi / 2),),
    "Exp": (lambda x: math.e**x,),
    "Expm1": (lambda x: math.e**x - 1,),
    "Log": (lambda x: np.log2(abs(x) + 0.5) / math.log2(math.e),),
    "Log1p": (lambda x: np.log(1 + abs(x)),),
    "Log2": (lambda x: np.log(abs(x) + 0.5) / math.log(2),),
    "Log10": (lambda x: np.log(abs(x) + 0.5) / math.log(10),),
    "LogAddExp": (lambda a, b: np.log(np.exp(a) + np.exp(b)),),
    "Maximum": (lambda a, b: np.where(a > b, a, b),),
    "Minimum": (lambda a, b: np.where(a < b, a, b),),
    "Rsqrt": (lambda x: (abs(x) + 0.5) ** -0.5,),
    "Sin": (lambda x: np.cos(x - math.pi / 2),),
    "Sqrt": (lambda x: (abs(x) + 0.5) ** 0.5,),
    "To": (lambda x: x + x,),
    "Create": (lambda x: np.ones_like(x),),
    "Overwrite": (
        lambda x, v: np.where(np.arange(x.size).reshape(x.shape) % 2 == 0, x * v, x),
        lambda x, v: np.broadcast_to(v, x.shape),
    ),
    "Write": (lambda x: x + x,),
    "Where": (
        lambda a, b: np.stack([a[:, 0], b[:, 0], a[:, 2], b[:, 0]], 1),
        lambda a: np.stack([a[:, 0], 0 * a[:, 1] - 1.5, a[:, 2], 0 * a[:, 3] - 1.5], 1),
        lambda x, v: np.stack([0 * x[:, 0] + v, x[:, 1], 0 * x[:, 2] + v, x[:, 3]], 1),
    ),
    # comparison
    "BitwiseAnd": (lambda a, b: bits(8 * a, 8 * b, lambda i, j: i * j), lambda a: a > 0),
    "BitwiseNot": (lambda x: -1 - np.trunc(x).astype(np.int64), lambda x: x <= 0),
    "BitwiseOr": (lambda a, b: bits(8 * a, 8 * b, max),),
    "BitwiseXor": (lambda a, b: bits(8 * a, 8 * b, lambda i, j: abs(i - j)),),
    "IsClose": (lambda a, b: abs(a - b) <= 0.25 + 0.5 * abs(b),),
    "Equal": (lambda a, b: abs(np.rint(a) - np.rint(b)) < 0.5, lambda a: (a > 0.5) & (a < 1.5)),
    "Greater": (lambda a, b: np.signbit(b - a), lambda a: np.signbit(0.5 - a)),
    "GreaterEqual": (lambda a, b: np.rint(a) - np.rint(b) > -0.5, lambda a: a >= -0.5),
    "IsFinite": (lambda x: abs(x) > 0.5,),
    "IsInf": (lambda x: abs(x) <= 0.5,),
    "IsNan": (lambda x: x < 0.5,),
    "Less": (lambda a, b: np.signbit(a - b), lambda a: np.signbit(a - 0.5)),
    "LessEqual": (lambda a, b: np.rint(a) - np.rint(b) < 0.5, lambda a: a <= 0.5),
    "LogicalAnd": (lambda a, b: (abs(a) > 0.5) & (b > 0),),
    "LogicalNot": (lambda x: abs(x) <= 0.5,),
    "LogicalOr": (lambda a, b: (abs(a) > 0.5) | (b > 0),),
    "LogicalXor": (lambda a, b: (abs(a) > 0.5) != (b > 0),),
    "NotEqual": (lambda a, b: abs(np.rint(a) - np.rint(b)) > 0.5, lambda a: (a <= 0.5) | (a >= 1.5)),
    # indexing
    "ArgSort": (
        lambda x: np.array([sorted(range(len(r)), key=list(r).__getitem__) for r in x], np.int64).reshape(x.shape),
        lambda x: np.array([sorted(range(len(x)), key=list(-c).__getitem__) for c in x.T], int).reshape(x.T.shape).T,
    ),
    "BinEdges": (
        lambda x: edges_over(x, 5),
        lambda x: np.array([-1, -0.5, 0, 0.5, 1]),
        lambda x: np.array([-0.5, 0, 0.5] if x.size else [0, 0.5, 1]),
    ),
    "Histogram": (
        lambda x: counted(x, edges_over(x, 5)),
        lambda x: density_of(x, edges_over(x, 100)),
        lambda x, w: counted(x, [-1, -1 / 3, 1 / 3, 1], w),
        lambda x: density_of(x, np.array([-1, 0, 0.5])),
    ),
    "Embedding": (lambda w: np.stack([w[[0, 2]], w[[2, 1]]]),),
    "EmbeddingBackward": (lambda x: scattered(3, [0, 2, 1, 2, 1, 2], x) * [[1], [0], [1]],),
    "Gather": (
        lambda x: np.array([[x[0, 0], x[0, 0]], [x[1, 2], x[1, 1]]]),
        lambda x: np.array([x.sum()] * 2),
        lambda x: np.array([[x[0, 0]], [x[1, 3]], [x[2, 2]]]),
    ),
    "Index": (
        lambda x: np.array([x[0, 1], x[2, 1], x[0, 1]]),
        lambda x: np.stack([x[:, 0], x[:, 2], x[:, 0]], 1),
        lambda x: np.stack([x[0], x[2]]),
        lambda x: np.stack([x[0, :, 0], x[0, :, 1], x[0, :, 1]], 1),
        lambda x: np.stack([x[1, :, 3], x[0, :, 3]])[:, None],
    ),
    "IndexSelect": (lambda x: np.stack([x[:, 3], x[:, 0], x[:, 0]], 1), lambda x: x.sum()),
    "IndexAssign": (
        assigned,
        lambda x, v: with_places(x, {(0, 0, 1): v[0], (0, 0, 3): v[1]}) if x.shape[1] else x,
        lambda x, v: np.concatenate([v[0], x[1:]]),
        lambda x, v: with_places(x, {(0, 1): v, (2, 3): v}),
    ),
    "NonZero": (
        lambda x: np.array([p for p in np.ndindex(x.shape) if abs(x[p]) > 0.5], np.int64).reshape(-1, x.ndim),
        lambda x: tuple(np.array([p for p in np.ndindex(x.shape) if x[p] > 0], np.int64).reshape(-1, 2).T),
    ),
    "OneHot": (
        lambda x: np.stack([x <= 0, x > 0, x != x], -1).astype(np.int64),
        lambda x: np.array([[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 1, 0]]]),
    ),
    "Put": (lambda x: np.concatenate([0 * x[:1] + 2, x[1:]]),),
    "Repeated": (lambda x: np.array([0, 0, 1, 1, 1]),),
    "Scatter": (lambda x: scattered(3, [0, 2, 0], x), lambda x: np.concatenate([0 * x, x])),
    "ScatterAdd": (lambda x, s: scatter_added(x, [[0, 0, 1], [2, 0, 1]], s), lambda x, s: x.sum() + np.ravel(s)[0]),
    "Slice": (
        lambda x: np.stack([x[1:3, :, 0], x[1:3, :, 2], x[1:3, :, 4]], -1)[:, None],
        lambda x: x.reshape(12)[6],
    ),
    # joining
    "Cat": (lambda a, b: np.hstack([a, b]), lambda a, b: np.dstack([a, b, a])),
    "Flip": (lambda x: x[::-1, :, ::-1], lambda x: x[:, ::-1]),
    "Pad": (lambda x: np.hstack([np.zeros((len(x), 1)), x, np.zeros((len(x), 2))]), padded),
    "Roll": (
        lambda x: np.concatenate([np.ravel(x)[-2:], np.ravel(x)[:-2]]).reshape(x.shape),
        lambda x: np.block([[x[-1:, 2:], x[-1:, :2]], [x[:-1, 2:], x[:-1, :2]]]),
    ),
    "Split": (
        lambda x: (x[:, 0:2], x[:, 2:4], x[:, 4:5]),
        lambda x: x[:, 1:4],
        lambda x: (x[0:3], x[3:6], x[6:7]),
        lambda x: x,
    ),
    "Unbind": (lambda x: tuple(row for row in x), lambda x: tuple(x.T)),
    "Unsplit": (lambda a, b: np.vstack([a, b]),),
    "Tril": (lambda x: triangle(x, lambda i, j: j <= i), lambda x: triangle(x, lambda i, j: j < i)),
    "Triu": (lambda x: triangle(x, lambda i, j: j > i),),
    # linalg
    "Linear": (
        lambda x, w, b: np.einsum("bni,oi->bno", x, w) + b,
        lambda x, w: np.einsum("ni,oi->no", x, w),
        lambda x, b: x @ stored_weight(ml_dtypes.bfloat16)[:, : x.shape[-1]].T + b,
        lambda x: x @ stored_weight(np.float16)[:, : x.shape[-1]].T,
    ),
    "Matmul": (
        lambda a, b: np.einsum("mk,kn->mn", a, b),
        lambda a, b: np.einsum("bmk,bkn->bmn", a, b),
        lambda a, b: np.einsum("bmk,ckn->bcmn", a[:, 0], b),
        lambda a, b: np.einsum("k,bkn->bn", a, b),
        lambda a, b: np.einsum("bmk,k->bm", a, b),
        lambda a, b: np.einsum("bmk,nk->bmn", a, b),
        lambda a, b: np.zeros((a.shape[0], b.shape[1])),
    ),
    # loss
    "CrossEntropy": (
        lambda x: mean_of_kept(cross_entropy(x, [1, 0, 3])),
        lambda x: mean_of_kept(cross_entropy(x, [1, -100, 3], smoothing=0.2)),
        lambda x: np.array([loss or 0 for loss in cross_entropy(x, [1, 0, 3], ignored=0)]),
        lambda x: np.asarray(sum(cross_entropy(x.transpose(0, 2, 1).reshape(4, 4), [1, 0, 3, 3]))),
    ),
    "BinaryCrossEntropy": (
        lambda x, y: (np.log(1 + np.exp(-x)) + np.exp(-y) * np.log(1 + np.exp(x))) / (1 + np.exp(-y)),
    ),
    "Huber": (
        lambda x, y: np.where(abs(x - y) < 0.5, (x - y) ** 2 / 2, abs(x - y) / 2 - 1 / 8),
        lambda x, y: np.where(abs(x - y) < 0.5, (x - y) ** 2, abs(x - y) - 1 / 4),
    ),
    # low_rank
    "LowRankLinear": (
        lambda x, a, b, c: x @ (np.arange(20).reshape(5, 4)[:, : x.shape[-1]] / 8 - 1 + b @ a / 2).T + c,
        lambda x, a, b: x @ (np.arange(20).reshape(5, 4)[:, : x.shape[-1]] / 8 - 1 + b @ a / 2).T,
    ),
    # normalization
    "LayerNorm": (
        lambda x, w, b: normalized(x, (2,), 1e-5) * w + b,
        lambda x, w: normalized(x, (1, 2), 1e-5) * w,
        lambda x: normalized(x, (1,), 0.1),
    ),
    "RMSNorm": (
        lambda x, w: normalized(x, (2,), 1e-5, centre=False) * w,
        lambda x: normalized(x, (1, 2), 1e-5, centre=False),
    ),
    # extremes
    "ArgMax": (
        lambda x: np.array(np.ravel(x).tolist().index(max(np.ravel(x).tolist()))),
        lambda x: np.array([[row.index(max(row))] for row in x.tolist()], np.int64).reshape(-1, 1),
    ),
    "ArgMin": (
        lambda x: np.array(np.ravel(x).tolist().index(min(np.ravel(x).tolist()))),
        lambda x: np.array([column.index(min(column)) for column in x.T.tolist()], np.int64),
    ),
    # reduction
    "AllTrue": (lambda x: np.array(x.max(initial=0) < 2), lambda x: x.max(0, initial=0) < 0.5),
    "AnyTrue": (lambda x: np.array(x.max(initial=0) > 1), lambda x: x.max(1, initial=0, keepdims=True) > 0.5),
    "Amax": (lambda x: np.sort(x, 1)[:, -1], lambda x: np.sort(x, None)[-1]),
    "Amin": (lambda x: np.sort(x, None)[:1, None], lambda x: np.sort(x, None)[0]),
    "BinCount": (lambda x: np.array([(x <= 0).sum(), (x > 0).sum(), 0]),),
    "CumProd": (
        lambda x: running_product(x.T).T,
        running_product,
        lambda x: running_product(np.where(x > 0, x, 0).T).T,
    ),
    "SearchSorted": (
        lambda a, v: (np.ravel(a) < np.asarray(v)[..., None]).sum(-1),
        lambda a, v: (np.ravel(a) <= np.asarray(v)[..., None]).sum(-1),
    ),
    "Unique": (occurrences,),
    "CumSum": (lambda x: running_sum(x.T).T, running_sum),
    "LogSumExp": (lambda x: np.log(np.exp(x).sum(1)), lambda x: np.log(np.exp(x).sum())[None, None]),
    "Max": (lambda x: np.sort(x, None)[-1],),
    "Mean": (lambda x: x.sum() / x.size, lambda x: x.sum(2)[..., None] / x.shape[2]),
    "Min": (lambda x: np.sort(x, None)[0],),
    "Prod": (
        lambda x: np.array([math.prod(row) for row in x.tolist()]),
        lambda x: math.prod(np.ravel(x).tolist()),
        lambda x: np.zeros((x.shape[0], 1)),
    ),
    "Std": (lambda x: np.std(x, ddof=1), lambda x: np.std(x, 0)),
    "Sum": (
        lambda x: math.fsum(np.ravel(x)),
        lambda x: np.einsum("abc->b", x)[None, :, None],
        lambda x: np.zeros(x.shape[0]),
    ),
    "Var": (lambda x: np.var(x, ddof=1), lambda x: np.var(x, 1)[:, None]),
    # rope
    "Rope": (lambda x: rotated(x, 1), lambda x: rotated(x, 2)),
    # rounding
    "Ceil": (elementwise(math.ceil),),
    "Floor": (elementwise(math.floor),),
    "FloorDivide": (lambda a, b: elementwise(math.floor)(a / b), lambda a: elementwise(math.floor)(a / 0.3)),
    "Remainder": (
        lambda a, b: a - b * elementwise(math.floor)(a / b),
        lambda a: a + 0.7 * elementwise(math.floor)(a / -0.7),
        lambda a: np.full(3, 5.25) - (abs(a) + 0.5) * elementwise(math.floor)(5.25 / (abs(a) + 0.5)),
    ),
    "Round": (
        elementwise(round),
        lambda x: elementwise(round)(100 * x) / 100,
        lambda x: elementwise(round)(10 * x) * 10,
    ),
    "Flat": (lambda x: 0 * x,),
    "Sign": (elementwise(lambda x: (x > 0) - (x < 0)),),
    "Trunc": (elementwise(int),),
    "TruncDivide": (lambda a, b: elementwise(int)(a / b),),
    # shape
    "Alias": (lambda x: x,),
    "Expand": (lambda x: np.array([[[row[0]] * 4 for row in x]] * 2), lambda x: np.array([[x] * 3] * 2)),
    "Fold": (folded,),
    "Permute": (
        lambda x: np.einsum("abc->cab", x),
        lambda x: np.einsum("abc->bca", x),
        lambda x: np.einsum("abc->bca", x),
    ),
    "Reshape": (
        lambda x: np.array(np.ravel(x).tolist()).reshape(2, x.size // 2),
        lambda x: np.ravel(x, order="F"),
        lambda x: x,
    ),
    "View": (lambda x: np.array(np.ravel(x).tolist()).reshape(3, 2, x.size // 6), lambda x: x[..., None]),
    "ViewBits": (lambda x: x.astype(np.float32).view(np.int32),),
    "SumToSize": (lambda x: np.array([[x[:, i].sum()] for i in range(3)]),),
    "Transpose": (lambda x: np.einsum("abc->cba", x), lambda x: np.einsum("abc->acb", x)),
    "Unfold": (
        lambda x: np.stack([x[:, 0:3], x[:, 2:5], x[:, 4:7]], 1),
        lambda x: np.stack([np.stack([x[i], x[i + 1]], 1) for i in range(len(x) - 1)]),
        lambda x: np.stack([x[:, 0:2], x[:, 3:5]], 1),
        lambda x: x.sum().reshape(1),
    ),
    # soft_loss
    "SoftCrossEntropy": (
        lambda x, p: mean_of_rows(x, soft_cross_entropy(x, p)),
        lambda x, p, w: mean_of_rows(x, soft_cross_entropy(x, p, w, smoothing=0.3)),
        lambda x, p, w: soft_cross_entropy(x, p, w[:, None]),
        lambda x, p: soft_cross_entropy(x[None], p[None], smoothing=0.1)[0],
    ),
    # softmax
    "LogSoftmax": (lambda x: np.log(softmax(x, 1)), lambda x: np.log(softmax(x, 0))),
    "LogSoftmaxBackward": (log_softmax_gradient,),
    "Softmax": (lambda x: softmax(x, 1), lambda x: softmax(x, 0)),
    "SoftmaxBackward": (softmax_gradient,),
    # quantization
    "QuantizedProduct": (
        lambda x, b: x @ int8_weight()[:, : x.shape[-1]].T + b,
        lambda x: x @ nf4_weight()[:, : x.shape[-1]].T,
    ),
}

# Where what an example computes of numbers, arrays without dimensions, is another thing: a dimension there has size 1.
OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "AllTrue-1": lambda x: np.array(x < 0.5),
    "ArgMin-1": lambda x: np.array(0),
    "ArgSort-1": lambda x: np.zeros((), np.int64),
    "CumProd-0": lambda x: x,
    "CumProd-1": lambda x: x,
    "CumProd-2": lambda x: np.where(x > 0, x, 0),
    "BinEdges-0": lambda x: edges_between(x - 0.5, x + 0.5, 5),
    "CumSum-1": lambda x: x,
    "Cat-1": lambda a, b: np.array([a, b, a]),
    "Histogram-0": lambda x: np.array([0.0, 0, 1, 0, 0]),
    "Histogram-1": lambda x: density_of(x, edges_between(x - 0.5, x + 0.5, 100)),
    "Expand-0": lambda x: np.array([[[x] * 4] * 3] * 2),
    "LogSoftmax-0": lambda x: 0 * x,
    "LogSoftmax-1": lambda x: 0 * x,
    "Mean-1": lambda x: x,
    "NonZero-0": lambda x: np.zeros((int(abs(x) > 0.5), 0), np.int64),
    "NonZero-1": lambda x: (np.zeros(int(x > 0), np.int64),),
    "Permute-1": lambda x: x,
    "Prod-2": lambda x: np.zeros(1),
    "Scatter-0": lambda x: np.array([[2 * x] * 4, [0] * 4, [x] * 4]),
    "Softmax-0": lambda x: 0 * x + 1,
    "Softmax-1": lambda x: 0 * x + 1,
    "Std-1": lambda x: 0 * x,
    "Transpose-0": lambda x: x,
    "Where-0": lambda a, b: np.array([a, b, a, b]),
    "Where-1": lambda a: np.array([a, -1.5, a, -1.5]),
    "Where-2": lambda x, v: np.array([v, x, v, x]),
}

# The dtype of what operations, or single examples of theirs, make of integers; "same" is the dtype of the inputs.
OF_INTEGERS = {
    "same": "Abs Add-0 Alias Amax Amin Cat Ceil Clamp-3 Clone Embedding Expand Flip Floor Gather Index IndexAssign "
    "Linear-0 Linear-1 Matmul Max Maximum Min Minimum Mul Neg Pad Permute Pow-0 Relu Reshape Roll Round-0 Scatter-0 "
    "ScatterAdd-0 Sign Split Sub-0 Transpose Tril Triu Trunc Unfold-0 Unfold-1 Unfold-2 Where",
    "int64": "CumProd CumSum Gather-1 Prod-0 Prod-1 Sum Unfold-3",
    "float32": "Clamp Cos Div Erf Exp Expm1 Log Log1p Log10 Log2 LogSumExp Pow-1 Pow-2 Pow-3 Prod-2 Rsqrt Sigmoid Sin "
    "Sqrt Sub-1 Tanh Where-1",
    "float64": "To",
    "": "ScatterAdd-1",
}
OF_BOOLS = {
    "same": "Add-0 Alias Amax Amin Cat Clone Embedding Expand Flip Gather Index IndexAssign Maximum Minimum Mul-0 Pad "
    "Permute Reshape Roll Scatter-0 ScatterAdd Sign Split Transpose Tril Triu Unfold-0 Unfold-1 Unfold-2 Where",
    "int64": "CumProd-0 CumProd-1 CumSum Gather-1 Mul-1 Pow-0 Prod-0 Prod-1 Sum SumToSize",
    "float32": "Clamp-0 Clamp-1 Cos Erf Exp Expm1 LogSumExp Pow-1 Pow-3 Prod-2 Sigmoid Sin Tanh Where-1",
    "float64": "To",
    "": "ScatterAdd-1",
}
