"""Attention in tiles

The keys come in tiles, and no row of scores is ever whole. What is kept of the
tiles so far, for each of T queries: m (T), the largest score; l (T), the sum
of e^(s - m); y (T, D), the sum of e^(s - m) times the rows of v. update(m, l,
y, s, v) gets these, the scores s (T, S) of the next tile and its v (S, D), and
returns the new m, l, y. After the last tile, y / l is attention's result.
Scores may be so large that e^s overflows. Before the first tile m is -inf, l
and y are 0.
"""

from __future__ import annotations

import numpy as np

import tinytorch as torch

from ...kernels.attention.forward import _softmax_step, plain_attention
from ...mistakes import Candidates
from ..practice.exercise import Exercise, Question, sizes


def question(rng: np.random.Generator) -> Question:
    queries, keys, width, before = sizes(rng, 4)
    old_s, s = rng.standard_normal((queries, before)), rng.standard_normal((queries, keys))
    old_s[::2] += 1  # the maximum is in the old tiles of some rows, and in the new one of others
    s[1::2] += 1
    old_v, v = rng.standard_normal((before, width)), rng.standard_normal((keys, width))
    shift = rng.choice([0.0, 900.0], size=(queries, 1))  # e^900 is infinite
    shift[0], shift[1] = 0, 900
    old_s, s = old_s + shift, s + shift
    m = old_s.max(1)
    e = np.exp(old_s - m[:, None])
    l, y = e.sum(1), e @ old_v  # noqa: E741
    whole = torch.tensor(np.concatenate([old_s, s], 1))
    top = whole.max(1, keepdim=True).values
    weights = (whole - top).exp()
    values = torch.tensor(np.concatenate([old_v, v]))
    answers = {"m": top.squeeze(1).numpy(), "l": weights.sum(1).numpy(), "y": (weights @ values).numpy()}
    new_m = answers["m"]
    shrink, own, late = np.exp(m - new_m), s.max(1), np.exp(s - new_m[:, None])
    by_old, by_own = np.exp(s - m[:, None]), np.exp(s - own[:, None])
    old = "what was kept is not rescaled by e^(old m - new m)"
    inverse = "what was kept is rescaled by e^(new m - old m), the inverse"
    stale = "the tile's exponentials are taken with the old m"
    alone = "the tile's exponentials are taken with the maximum of the tile alone"
    lost = "what was kept is left out"
    mean = "the new y is divided by l: that comes after the last tile"
    known_l = {
        old: l + late.sum(1),
        inverse: l / shrink + late.sum(1),
        stale: l * shrink + by_old.sum(1),
        alone: l * shrink + by_own.sum(1),
        lost: late.sum(1),
        "nothing is rescaled: it is the old sum and that of the tile with the old m": l + by_old.sum(1),
    }
    known_y = {
        old: y + late @ v,
        inverse: y / shrink[:, None] + late @ v,
        stale: y * shrink[:, None] + by_old @ v,
        alone: y * shrink[:, None] + by_own @ v,
        lost: late @ v,
        mean: answers["y"] / answers["l"][:, None],
        "nothing is rescaled: it is the old sum and that of the tile with the old m": y + by_old @ v,
    }
    known_m = {"it is the maximum of the tile alone": own, "it is the old m": m}
    candidates = {
        name: Candidates(alternatives=known) for name, known in (("m", known_m), ("l", known_l), ("y", known_y))
    }
    return Question({"m": m, "l": l, "y": y, "s": s, "v": v}, answers, candidates)


EXERCISE = Exercise(
    question,
    "all three are sums of e^(s - m) with one and the same m: when m changes, what was kept must follow",
    [plain_attention, _softmax_step],
    function="update",
)
