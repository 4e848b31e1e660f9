"""Scaled attention

Forward: s_ij = (1/sqrt(D)) sum_d q_id k_jd, p = softmax(s) of each row, y = p
@ v. Backward gets q (T, D), k (S, D), v (S, E) and g = dL/dy (T, E), and
returns dq (T, D), dk (S, D), dv (S, E). docs/by-hand.md derives each of them.
"""

from __future__ import annotations

import math

import numpy as np

from ...mistakes import Candidates
from ...nn.functional import scaled_dot_product_attention
from ...ops.attention import Attention
from ..practice.exercise import Exercise, Question, gradients, sizes
from .softmax import softmax


def question(rng: np.random.Generator) -> Question:
    queries, keys, inner, width = sizes(rng, 4)
    q, k = rng.standard_normal((queries, inner)), rng.standard_normal((keys, inner))
    v, g = rng.standard_normal((keys, width)), rng.standard_normal((queries, width))
    scale = 1 / math.sqrt(inner)
    p = softmax(q @ k.T * scale)
    dp = g @ v.T
    ds = p * (dp - (dp * p).sum(-1, keepdims=True))
    unsummed = "the sum in softmax's backward is left out"
    skipped = "softmax's backward is left out"
    columns = "the sum in softmax's backward is over the queries, not over the keys"
    by_columns = p * (dp - (dp * p).sum(0))
    scores = {
        "the scores are not scaled in the forward": softmax(q @ k.T),
        "the softmax is over the queries, not over the keys": softmax(q @ k.T * scale, 0),
    }
    dq = {unsummed: p * dp @ k * scale, skipped: dp @ k * scale, columns: by_columns @ k * scale}
    dk = {unsummed: (p * dp).T @ q * scale, skipped: dp.T @ q * scale, columns: by_columns.T @ q * scale}
    dv = {"it is summed with the scores, not with the weights p": (q @ k.T * scale).T @ g}
    for name, other in scores.items():
        wrong = other * (dp - (dp * other).sum(-1, keepdims=True))
        dq[name], dk[name], dv[name] = wrong @ k * scale, wrong.T @ q * scale, other.T @ g
    if queries == keys:
        dk["dL/ds is not transposed"] = ds @ q * scale
    factor = {"1/sqrt(D)": scale}
    known = {
        "dq": Candidates(factor, alternatives=dq),
        "dk": Candidates(factor, alternatives=dk),
        "dv": Candidates(factor, alternatives=dv),
    }
    return gradients(scaled_dot_product_attention, {"q": q, "k": k, "v": v}, g, known)


EXERCISE = Exercise(
    question, "go line by line from the last to the first: y to p and v, p to s, s to q and k", [Attention]
)
