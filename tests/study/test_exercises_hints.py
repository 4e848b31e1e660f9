"""Of every exercise: a right answer passes, and mistakes that students make get the hint that names them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.study.exercises import ORDER, find, verify
from tinytorch.study.practice.judging import problems
from tinytorch.study.practice.student import call

# ruff: noqa: E731, E741 (answers of one line, in the names of the exercises)


def softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def back(p: Any, g: Any, axis: int = -1) -> Any:
    """softmax's"""
    return p * (g - (g * p).sum(axis, keepdims=True))


# ------------------------------------------------------------ the first five

ADD = lambda a, b, g: (g, 2 * g)
ADD_WRONG = [
    (lambda a, b, g: (g, g), "the derivative is left out: it is g as it came"),
    (lambda a, b, g: (-g, 2 * g), "the sign is wrong everywhere"),
    (lambda a, b, g: (g, g / 2), "it is divided by 2 = 2 in place of multiplied"),
    (lambda a, b, g: (2 * g, 2 * g), "it is db, in the place of da"),
    (lambda a, b, g: (np.ones_like(g), 2 * g), "the gradient that comes in, g, is left out"),
]
MUL = lambda a, b, g: (g * b, g * a)
MUL_WRONG = [
    (lambda a, b, g: (g * a, g * b), "the factor is the input itself"),
    (lambda a, b, g: (b, a), "the gradient that comes in, g, is left out"),
    (lambda a, b, g: (g, g), "the derivative is left out"),
    (lambda a, b, g: (g * b, -g * a), "the sign is wrong everywhere"),
    (lambda a, b, g: (g * b, 0 * a), "it is 0 everywhere"),
    (lambda a, b, g: (2 * g * b, g * a), "every number is 2 times what it should be"),
]
MATMUL = lambda a, b, g: (g @ b.T, a.T @ g)
MATMUL_WRONG = [
    (lambda a, b, g: (g @ b, a.T @ g), "b is not transposed"),
    (lambda a, b, g: (g @ b.T, a @ g), "a is not transposed"),
    (lambda a, b, g: (b @ g.T, a.T @ g), "it is transposed"),
    (lambda a, b, g: (b.T @ g, a.T @ g), "the factors stand in the wrong order"),
    (lambda a, b, g: (a.T @ g, g @ b.T), "it is db, in the place of da"),
    (lambda a, b, g: (g.T @ b.T, a.T @ g), "g is transposed"),
    (lambda a, b, g: (g @ b.T, a.T @ g.T), "g is transposed"),
    (lambda a, b, g: (np.ones_like(g) @ b.T, a.T @ g), "the gradient that comes in, g, is left out"),
]
BROADCAST = lambda x, b, g: (g * b, (g * x).sum(0))
BROADCAST_WRONG = [
    (lambda x, b, g: (g * b, g * x), "the sum over dimension 0 is missing"),
    (lambda x, b, g: (g * b, (g * x).mean(0)), "it is the mean over dimension 0"),
    (lambda x, b, g: (g * x, (g * x).sum(0)), "the factor is x itself, and should be b"),
    (lambda x, b, g: (g * b, g.sum(0)), "the factor x is left out"),
    (lambda x, b, g: (g * b, (g * x)[0]), "it is the slice 0 of dimension 0 alone"),
    (lambda x, b, g: (g, (g * x).sum(0)), "the derivative is left out"),
]
EXP = lambda x, g: g * np.exp(x / 2) / 2
EXP_WRONG = [
    (lambda x, g: g * np.exp(x / 2), "the factor 1/2 = 0.5 is missing"),
    (lambda x, g: np.exp(x / 2) / 2, "the gradient that comes in, g, is left out"),
    (lambda x, g: g * np.exp(x) / 2, "the exponent is x"),
    (lambda x, g: g * (x / 2) * np.exp(x / 2 - 1) / 2, "it is the derivative of a power"),
    (lambda x, g: -EXP(x, g), "the sign is wrong everywhere"),
]

# ------------------------------------------------------------ softmax and what follows it

SOFTMAX = lambda x, g: back(softmax(x), g)
SOFTMAX_WRONG = [
    (lambda x, g: softmax(x) * g, "the path through the denominators of the row is left out"),
    (lambda x, g: back(softmax(x), g) / softmax(x), "the factor p in front is left out"),
    (lambda x, g: back(softmax(x), g, 0), "the sum runs down the columns, not along the rows"),
    (lambda x, g: back(softmax(x, 0), g, 0), "the softmax runs down the columns, not along the rows"),
    (lambda x, g: softmax(x) * (1 - softmax(x)) * g, "the diagonal alone"),
    (lambda x, g: -SOFTMAX(x, g), "the sign is wrong everywhere"),
    (lambda x, g: 0 * x, "it is 0 everywhere"),
    (lambda x, g: softmax(x) * (g - (g * softmax(x)).sum()), "the sum is over everything, not over each row"),
    (lambda x, g: softmax(x) * (g - (g * softmax(x)).mean(-1, keepdims=True)), "it is the mean over the row"),
    (lambda x, g: back(x, g), "x stands where p should"),
    (lambda x, g: softmax(x) * (g - (g * softmax(x) ** 2).sum(-1, keepdims=True)), "p in the sum is there twice"),
    (lambda x, g: softmax(x) * back(softmax(x), g), "p in front is there twice"),
    (lambda x, g: softmax(x) * (g + (g * softmax(x)).sum(-1, keepdims=True)), "has the wrong sign"),
]
LOG_SOFTMAX = lambda x, g: g - softmax(x) * g.sum(-1, keepdims=True)
LOG_SOFTMAX_WRONG = [
    (lambda x, g: g - softmax(x) * g, "the sum over the row is left out"),
    (lambda x, g: -softmax(x) * g.sum(-1, keepdims=True), "the path through x_ij itself is left out"),
    (lambda x, g: g, "the derivative is left out"),
    (SOFTMAX, "it is the backward of softmax"),
    (lambda x, g: g + softmax(x) * g.sum(-1, keepdims=True), "through the logarithm of the sum has the wrong sign"),
    (lambda x, g: g - softmax(x) * g.sum(0), "the sum runs down the columns, not along the rows"),
    (lambda x, g: g - g.sum(-1, keepdims=True), "p in front of the sum is left out"),
    (lambda x, g: g - np.log(softmax(x)) * g.sum(-1, keepdims=True), "it is log p in front of the sum"),
]


def cross_entropy(x: Any, target: Any, g: Any) -> Any:
    p = softmax(x)
    p[np.arange(len(x)), target] -= 1
    return g * p / len(x)


CROSS_ENTROPY = cross_entropy
CROSS_ENTROPY_WRONG = [
    (lambda x, t, g: cross_entropy(x, t, g) * len(x), "the factor 1/N = "),
    (lambda x, t, g: g * softmax(x) / len(x), "the 1 at the target is not subtracted"),
    (lambda x, t, g: cross_entropy(x, t, 1.0), "the gradient that comes in, g, is left out"),
    (lambda x, t, g: -cross_entropy(x, t, g), "the sign is wrong everywhere"),
    (lambda x, t, g: cross_entropy(x, t, g) / x.shape[1], "the number of all elements, not of rows"),
    (lambda x, t, g: -g * np.eye(x.shape[1])[t] / len(x), "p is left out"),
    (lambda x, t, g: g * (softmax(x) - 1) / len(x), "1 is subtracted everywhere"),
    (lambda x, t, g: g * (np.log(softmax(x)) - np.eye(x.shape[1])[t]) / len(x), "it is log p, and should be p"),
    (lambda x, t, g: cross_entropy(x, (t + 1) % x.shape[1], g), "the target is off by one"),
]

erf = np.vectorize(math.erf)
cdf = lambda x: (1 + erf(x / math.sqrt(2))) / 2
pdf = lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
GELU = lambda x, g: g * (cdf(x) + x * pdf(x))
GELU_WRONG = [
    (lambda x, g: g * cdf(x), "the path through F(x) is left out"),
    (lambda x, g: g * x * pdf(x), "the path through the factor x is left out"),
    (lambda x, g: g * (cdf(x) + pdf(x)), "the factor x before the density is left out"),
    (lambda x, g: g * (cdf(x) + x * pdf(x) * math.sqrt(2 * math.pi)), "1/sqrt(2 pi) is left out"),
    (lambda x, g: cdf(x) + x * pdf(x), "the gradient that comes in, g, is left out"),
    (lambda x, g: g * x * cdf(x), "it is y, not the derivative"),
]


def layernorm(x: Any, w: Any, b: Any, g: Any, mean: Any = np.mean, paths: str = "zmv", weight: bool = True) -> Any:
    inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    z = (x - x.mean(-1, keepdims=True)) * inverse
    dz = g * w if weight else g
    dx = 0 * x
    if "z" in paths:
        dx = dx + dz
    if "m" in paths:
        dx = dx - mean(dz, -1, keepdims=True)
    if "v" in paths:
        dx = dx - z * mean(dz * z, -1, keepdims=True)
    return dx * inverse, (g * z).sum(0), g.sum(0)


def replaced(right: Callable[..., Any], **parts: Callable[..., Any]) -> Any:
    """The right answer, but for some of its arrays (by number: _0, _1)."""

    def answer(*arguments: Any) -> Any:
        arrays = list(right(*arguments))
        for place, part in parts.items():
            arrays[int(place[1:])] = part(*arguments)
        return tuple(arrays)

    return answer


def less_one(x: Any, axis: int, keepdims: bool) -> Any:
    return x.sum(axis, keepdims=keepdims) / (x.shape[axis] - 1)


def layernorm_dx_of_x(x: Any, w: Any, b: Any, g: Any) -> Any:
    a = g * w
    dz = a - a.mean(-1, keepdims=True) - x * (a * x).mean(-1, keepdims=True)
    return dz / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


LAYERNORM = layernorm
LAYERNORM_WRONG = [
    (lambda *a: layernorm(*a, paths="zm"), "the path through the variance is left out"),
    (lambda *a: layernorm(*a, paths="zv"), "the path through the mean is left out"),
    (lambda *a: layernorm(*a, paths="z"), "the paths through the mean and through the variance are left out"),
    (lambda *a: layernorm(*a, weight=False), "w is left out"),
    (lambda *a: layernorm(*a, mean=np.sum), "the means over the row are sums"),
    (lambda *a: layernorm(*a, mean=less_one), "the sums are divided by C - 1"),
    (replaced(layernorm, _0=lambda *a: layernorm_dx_of_x(*a)), "x stands where the normalised z should"),
    (replaced(layernorm, _0=lambda *a: layernorm(*a)[0] / np.sqrt(a[0].var(-1, keepdims=True) + 1e-5)), "there twice"),
    (replaced(layernorm, _1=lambda x, w, b, g: (g * x).sum(0)), "the factor is x, not the normalised z"),
    (replaced(layernorm, _2=lambda x, w, b, g: g.mean(0)), "it is the mean over dimension 0"),
    (replaced(layernorm, _2=lambda x, w, b, g: g), "the sum over dimension 0 is missing"),
]


def embedding(w: Any, index: Any, g: Any) -> Any:
    dw = np.zeros_like(w)
    np.add.at(dw, index, g)
    return dw


def lost(w: Any, index: Any, g: Any) -> Any:
    dw = np.zeros_like(w)
    dw[index] += g
    return dw


EMBEDDING = embedding
EMBEDDING_WRONG = [
    (lost, "only the last gradient counts"),
    (lambda w, i, g: lost(w, i[::-1], g[::-1]), "only the first gradient counts"),
    (lambda w, i, g: embedding(w, i, np.ones_like(g)), "the gradient that comes in, g, is left out"),
    (lambda w, i, g: embedding(w, i, g / np.bincount(i)[i][:, None]), "it is the mean over the places of a row"),
    (lambda w, i, g: embedding(w, i, -g), "the sign is wrong everywhere"),
    (lambda w, i, g: embedding(w, i, g * w[i]), "it is multiplied with the rows themselves"),
]

# ------------------------------------------------------------ attention


def attention(q: Any, k: Any, v: Any, g: Any, forward: bool = True, backward: bool = True, inner: Any = back) -> Any:
    scale = 1 / math.sqrt(q.shape[1])
    p = softmax(q @ k.T * (scale if forward else 1))
    ds = inner(p, g @ v.T) * (scale if backward else 1)
    return ds @ k, ds.T @ q, p.T @ g


ATTENTION = attention
ATTENTION_WRONG = [
    (lambda *a: attention(*a, backward=False), "the factor 1/sqrt(D) = "),
    (lambda *a: attention(*a, forward=False), "the scores are not scaled in the forward"),
    (lambda *a: attention(*a, inner=lambda p, g: p * g), "the sum in softmax's backward is left out"),
    (lambda *a: attention(*a, inner=lambda p, g: g), "softmax's backward is left out"),
    (lambda *a: attention(*a, inner=lambda p, g: p * (g - (p * g).sum(0))), "is over the queries, not over the keys"),
    (replaced(attention, _1=lambda *a: attention(*a)[1].T.copy()), "it is transposed"),
    (replaced(attention, _0=lambda *a: -attention(*a)[0]), "the sign is wrong everywhere"),
]
hidden = lambda s: np.triu(np.ones(s.shape, bool), 1)
CAUSAL = lambda s, g: back(softmax(np.where(hidden(s), -np.inf, s)), g)
CAUSAL_WRONG = [
    (lambda s, g: back(softmax(s), g), "the mask is left out, in p and in the gradient"),
    (lambda s, g: np.where(hidden(s), 0, back(softmax(s), g)), "the mask is left out of p"),
    (lambda s, g: np.where(hidden(s), 0, back(softmax(np.where(hidden(s), 0, s)), g)), "the masked scores are 0"),
    (lambda s, g: CAUSAL(s, g) + hidden(s) * g, "right except at the masked entries"),
    (lambda s, g: back(softmax(np.where(hidden(s).T, -np.inf, s)), g), "the mask hides the past"),
    (lambda s, g: np.where(hidden(s), np.nan, CAUSAL(s, g)), "right except at the masked entries"),
]


def heads(x: Any, g: Any, order: tuple[int, ...] = (0, 2, 1, 3)) -> Any:
    return g.transpose(order).reshape(x.shape)


HEADS = heads
HEADS_WRONG = [
    (lambda x, g: g.reshape(x.shape), "it is reshaped without being transposed back"),
    (lambda x, g: heads(x, g, (0, 2, 3, 1)), "heads and numbers of a head are in each other's place"),
    (lambda x, g: heads(x, g, (0, 3, 2, 1)), "it is transposed to (B, D, T, H)"),
    (lambda x, g: -heads(x, g), "the sign is wrong everywhere"),
    (lambda x, g: heads(x, np.ones_like(g)), "the gradient that comes in, g, is left out"),
]


def residual(x: Any, w: Any, g: Any, slope: Any = lambda t: 1 - t * t) -> Any:
    inner = g * slope(np.tanh(x @ w))
    return g + inner @ w.T, x.T @ inner


RESIDUAL = residual
RESIDUAL_WRONG = [
    (replaced(residual, _0=lambda x, w, g: residual(x, w, g)[0] - g), "the path along the residual, past tanh is left"),
    (replaced(residual, _0=lambda x, w, g: g), "the path through tanh(x @ w) is left out"),
    (lambda x, w, g: residual(x, w, g, lambda t: 1 + 0 * t), "the derivative of tanh is left out"),
    (lambda x, w, g: residual(x, w, g, lambda t: 1 - t), "the derivative of tanh is 1 - tanh"),
    (replaced(residual, _0=lambda x, w, g: g + g * (1 - np.tanh(x @ w) ** 2) @ w), "w is not transposed"),
    (replaced(residual, _1=lambda x, w, g: residual(x, w, g)[1].T), "it is transposed"),
]
LORA = lambda x, W, A, B, s, g: (g @ W + s * g @ B @ A, s * (g @ B).T @ x, s * g.T @ (x @ A.T))
LORA_WRONG = [
    (replaced(LORA, _0=lambda x, W, A, B, s, g: g @ W), "the path through A and B is left out"),
    (replaced(LORA, _0=lambda x, W, A, B, s, g: s * g @ B @ A), "the path through the frozen W is left out"),
    (replaced(LORA, _0=lambda x, W, A, B, s, g: g @ W + g @ B @ A), "the factor s is left out of the path"),
    (replaced(LORA, _1=lambda x, W, A, B, s, g: (g @ B).T @ x), "the factor s = "),
    (replaced(LORA, _2=lambda x, W, A, B, s, g: s * (x @ A.T).T @ g), "it is transposed"),
    (replaced(LORA, _2=lambda x, W, A, B, s, g: s * s * g.T @ (x @ A.T)), "is there once too often"),
]

# ------------------------------------------------------------ the last four


def adamw(p: Any, g: Any, m: Any, v: Any, t: int, by: str = "mv", decay: float = 0.01, l2: float = 0.0) -> Any:
    g = g + l2 * p
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    used_m = m / (1 - 0.9**t) if "m" in by else m
    used_v = v / (1 - 0.999**t) if "v" in by else v
    return p * (1 - decay) - 0.1 * used_m / (np.sqrt(used_v) + 1e-3), m, v


ADAMW = adamw
ADAMW_WRONG = [
    (lambda *a: adamw(*a, by=""), "m and v are not divided by 1 - beta^t"),
    (lambda *a: adamw(*a, by="m"), "v is not divided by 1 - beta2^t"),
    (lambda *a: adamw(*a, decay=0), "the weight decay is left out"),
    (lambda *a: adamw(*a, decay=0, l2=0.1), "the weight decay is in the gradient: that is Adam's"),
    (replaced(adamw, _1=lambda p, g, m, v, t: 0.1 * m + 0.9 * g), "the weights beta1 and 1 - beta1 are in each"),
    (replaced(adamw, _2=lambda p, g, m, v, t: 0.999 * v + 0.001 * g), "g is not squared"),
    (replaced(adamw, _1=lambda p, g, m, v, t: (0.9 * m + 0.1 * g) / (1 - 0.9**t)), "should be kept as it is"),
    (lambda p, g, m, v, t: adamw(p, g, m, v, t - 1), "the exponent of beta is one too small"),
    (lambda *a: (adamw(*a)[0], *adamw(*a)[:0:-1]), "it is v, in the place of m"),
]


def order(inputs_of: Any, root: str) -> list[str]:
    done: list[str] = []
    seen, stack = {root}, [(root, iter(inputs_of[root]))]
    while stack:
        _, rest = stack[-1]
        below = next(rest, None)
        if below is None:
            done.append(stack.pop()[0])
        elif below not in seen:
            seen.add(below)
            stack.append((below, iter(inputs_of[below])))
    return done[::-1]


def as_reached(inputs_of: Any, root: str, last: int) -> list[str]:
    found, waiting = [root], [root]
    while waiting:
        for name in inputs_of[waiting.pop(last)]:
            if name not in found:
                found.append(name)
                waiting.append(name)
    return found


def every_path(inputs_of: Any, root: str) -> list[str]:
    found, waiting = [], [root]
    while waiting and len(found) < 4000:
        found.append(waiting.pop(0))
        waiting += inputs_of[found[-1]]
    return found


ORDERED = order
ORDERED_WRONG = [
    (lambda graph, root: order(graph, root)[::-1], "the order is the reverse"),
    (lambda graph, root: as_reached(graph, root, -1), "nodes are visited as they are reached"),
    (lambda graph, root: as_reached(graph, root, 0), "nodes are visited as they are reached"),
    (every_path, "a node that was reached before is visited again"),
    (lambda graph, root: list(graph), "only those that are reached from the root belong there"),
    (lambda graph, root: [name for name in order(graph, root) if graph[name]], "the nodes without inputs are left out"),
]


def batchnorm(x: Any, w: Any, g: Any, paths: str = "zmv", less: int = 1) -> Any:
    n = len(x)
    inverse = 1 / np.sqrt(x.var(0, ddof=1) + 1e-5)
    z = (x - x.mean(0)) * inverse
    terms = {"z": n * g, "m": -g.sum(0), "v": -n / (n - less) * z * (g * z).sum(0)}
    return w * inverse / n * sum(terms[path] for path in paths)


BATCHNORM = batchnorm
BATCHNORM_WRONG = [
    (lambda *a: batchnorm(*a, paths="zm"), "the path through the variance is left out"),
    (lambda *a: batchnorm(*a, paths="zv"), "the path through the mean is left out"),
    (lambda *a: batchnorm(*a, less=0), "it is the backward for a variance with 1/N"),
    (lambda x, w, g: batchnorm(x, w, g) * len(x), "the factor 1/N = "),
    (lambda x, w, g: batchnorm(x, 1, g), "w is left out"),
    (lambda x, w, g: batchnorm(x, w, g) * np.sqrt(x.var(0, ddof=1) + 1e-5), "1/sqrt(var + eps) is left out"),
]


def update(m: Any, l: Any, y: Any, s: Any, v: Any, rescaled: str = "ly", by: Any = None) -> Any:
    new = np.maximum(m, s.max(1))
    shrink = np.exp(m - new)
    e = np.exp(s - (new if by is None else by(m, s))[:, None])
    l = (l * shrink if "l" in rescaled else l) + e.sum(1)
    return new, l, (y * shrink[:, None] if "y" in rescaled else y) + e @ v


TILES = update
TILES_WRONG = [
    (lambda *a: update(*a, rescaled="y"), "what was kept is not rescaled"),
    (lambda *a: update(*a, rescaled="l"), "what was kept is not rescaled"),
    (lambda *a: update(*a, by=lambda m, s: m), "the tile's exponentials are taken with the old m"),
    (lambda *a: update(*a, by=lambda m, s: s.max(1)), "taken with the maximum of the tile alone"),
    (replaced(update, _0=lambda m, l, y, s, v: s.max(1)), "it is the maximum of the tile alone"),
    (replaced(update, _2=lambda *a: update(*a)[2] / update(*a)[1][:, None]), "the new y is divided by l"),
]

SOLVED: dict[str, tuple[Any, list[Any]]] = {
    "add": (ADD, ADD_WRONG),
    "mul": (MUL, MUL_WRONG),
    "matmul": (MATMUL, MATMUL_WRONG),
    "broadcast_sum": (BROADCAST, BROADCAST_WRONG),
    "exp": (EXP, EXP_WRONG),
    "softmax": (SOFTMAX, SOFTMAX_WRONG),
    "log_softmax": (LOG_SOFTMAX, LOG_SOFTMAX_WRONG),
    "cross_entropy": (CROSS_ENTROPY, CROSS_ENTROPY_WRONG),
    "gelu": (GELU, GELU_WRONG),
    "layernorm": (LAYERNORM, LAYERNORM_WRONG),
    "embedding": (EMBEDDING, EMBEDDING_WRONG),
    "attention": (ATTENTION, ATTENTION_WRONG),
    "causal_mask": (CAUSAL, CAUSAL_WRONG),
    "multi_head": (HEADS, HEADS_WRONG),
    "residual": (RESIDUAL, RESIDUAL_WRONG),
    "lora_layer": (LORA, LORA_WRONG),
    "adamw": (ADAMW, ADAMW_WRONG),
    "topological_order": (ORDERED, ORDERED_WRONG),
    "batchnorm": (BATCHNORM, BATCHNORM_WRONG),
    "tiled_attention": (TILES, TILES_WRONG),
}


def found(name: str, answer: Any) -> list[Any]:
    exercise = find(name)
    questions = exercise.questions()
    return problems(exercise, questions, [call(answer, question.arguments) for question in questions])


UNLISTED = [
    ("softmax", lambda x, g: softmax(x) * (g - g.mean(-1, keepdims=True))),
    ("softmax", lambda x, g: softmax(x) ** 2 * g),
    ("softmax", lambda x, g: SOFTMAX(g, x)),
    ("gelu", lambda x, g: g * pdf(x)),
    ("matmul", lambda a, b, g: (g * b, a.T @ g)),
    ("attention", lambda *a: tuple(array + 1e-3 for array in attention(*a))),
]


@pytest.mark.parametrize(("name", "answer"), UNLISTED)
def test_a_mistake_that_nobody_thought_of_gets_no_wrong_hint(name: str, answer: Any) -> None:
    told = found(name, answer)
    assert told and {problem.mistake for problem in told} == {"no single mistake that is known gives these numbers"}
    assert {problem.nudge for problem in told} == {find(name).nudge}


def test_every_exercise_is_solved_here() -> None:
    assert list(SOLVED) == list(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_what_an_exercise_knows_of_its_answers_fits_them(name: str) -> None:
    exercise = find(name)
    verify(exercise)
    assert exercise.title and exercise.text and exercise.nudge and exercise.solution


@pytest.mark.parametrize("name", ORDER)
def test_a_right_answer_passes(name: str) -> None:
    assert found(name, SOLVED[name][0]) == []


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, (_, wrong) in SOLVED.items() for number in range(len(wrong))]
)
def test_a_mistake_gets_its_hint(name: str, number: int) -> None:
    answer, hint = SOLVED[name][1][number]
    told = found(name, answer)
    assert any(hint in problem.mistake for problem in told), told
    assert all(problem.nudge and hint not in problem.nudge for problem in told)
