"""Cross-entropy of scores and classes

Forward: L = -(1/N) sum_n ln p_nt with t = target_n and p = softmax(x), of each
row. Backward gets x (N, C), target (N), which are integers, and g, the
gradient of this mean (an array without dimensions), and returns dx (N, C).
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...nn.functional import cross_entropy
from ...ops.loss import CrossEntropy
from ..practice.exercise import Exercise, Question, gradients, sizes
from .softmax import softmax


def question(rng: np.random.Generator) -> Question:
    rows, classes = sizes(rng, 2)
    x, g = rng.standard_normal((rows, classes)), np.asarray(1.5 + rng.random())
    target = rng.integers(classes, size=rows)
    p, hot = softmax(x), np.eye(classes)[target]
    other = {
        "the 1 at the target is not subtracted: it is p / N": g * p / rows,
        "p is left out: only the targets have a gradient here": -g * hot / rows,
        "1 is subtracted everywhere, not at the target alone": g * (p - 1) / rows,
        "it is log p, and should be p": g * (np.log(p) - hot) / rows,
        "the target is off by one": g * (p - np.roll(hot, 1, -1)) / rows,
        "p is replaced by 1 at the target, not lessened by 1": g * np.where(hot == 1, -1, p) / rows,
        "only the targets' scores get a gradient": g * (p - hot) * hot / rows,
        "it is divided by the number of all elements, not of rows": g * (p - hot) / x.size,
        "the softmax runs down the columns, not along the rows": g * (softmax(x, 0) - hot) / rows,
        "the probabilities are missing: it is x, not softmax(x)": g * (x - hot) / rows,
    }
    known = {"dx": Candidates({"1/N": 1 / rows}, alternatives=other)}
    return gradients(cross_entropy, {"x": x, "target": target}, g, known)


EXERCISE = Exercise(question, "of softmax, logarithm and mean together there is little left", [CrossEntropy])
