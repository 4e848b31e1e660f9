"""Softmax of each row

Forward: p_ij = e^(x_ij) / sum_k e^(x_ik). Backward gets x (N, C) and g = dL/dp
(N, C), and returns dx (N, C). Each row is by itself. x_ij goes into every p_ik
of its row: it is in the numerator of one, and in the denominator of all.
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Array, Candidates
from ...ops.softmax import Softmax, SoftmaxBackward
from ..practice.exercise import Exercise, Question, gradients, sizes


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def question(rng: np.random.Generator) -> Question:
    x, g = rng.standard_normal((2, *sizes(rng, 2)))
    p, q = softmax(x), softmax(x, 0)
    inner = (g * p).sum(-1, keepdims=True)
    other = {
        "the factor p in front is left out": g - inner,
        "the sum runs down the columns, not along the rows": p * (g - (g * p).sum(0)),
        "the softmax runs down the columns, not along the rows": q * (g - (g * q).sum(0)),
        "the sum is over everything, not over each row": p * (g - (g * p).sum()),
        "it is the mean over the row, and should be the sum": p * (g - (g * p).mean(-1, keepdims=True)),
        "x stands where p should": x * (g - (g * x).sum(-1, keepdims=True)),
        "the factor p in the sum is there twice": p * (g - (g * p * p).sum(-1, keepdims=True)),
        "the factor p in front is there twice": p * p * (g - inner),
        "the sum is of g alone, without the weights p": p * (g - g.sum(-1, keepdims=True)),
        "it is p (1 - p) g, the diagonal alone: x_ij goes into the others of its row, too": p * (1 - p) * g,
    }
    paths = {"through the numerator": p * g, "through the denominators of the row": -p * inner}
    known = {"dx": Candidates(summands=paths, alternatives=other)}
    return gradients(lambda x: x.softmax(-1), {"x": x}, g, known)


EXERCISE = Exercise(
    question, "x_ij goes into every p_ik of its row. What comes back from the others?", [Softmax, SoftmaxBackward]
)
