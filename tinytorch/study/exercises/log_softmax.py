"""The logarithm of softmax

Forward: y_ij = x_ij - ln sum_k e^(x_ik). Backward gets x (N, C) and g = dL/dy
(N, C), and returns dx (N, C).
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...ops.softmax import LogSoftmax, LogSoftmaxBackward
from ..practice.exercise import Exercise, Question, gradients, sizes
from .softmax import softmax


def question(rng: np.random.Generator) -> Question:
    x, g = rng.standard_normal((2, *sizes(rng, 2)))
    p = softmax(x)
    total = g.sum(-1, keepdims=True)
    other = {
        "the sum over the row is left out, as if x_ij were in one denominator alone": g - p * g,
        "it is the backward of softmax": p * (g - (g * p).sum(-1, keepdims=True)),
        "p in front of the sum is left out": g - total,
        "it is log p in front of the sum, and should be p": g - np.log(p) * total,
        "the sum runs down the columns, not along the rows": g - p * g.sum(0),
        "the sum is weighted by p: that is softmax's": g - p * (g * p).sum(-1, keepdims=True),
        "it is divided by p: the logarithm's derivative is by p, and softmax's still has to follow": g / p,
    }
    paths = {"through x_ij itself": g, "through the logarithm of the sum": -p * total}
    known = {"dx": Candidates(summands=paths, alternatives=other)}
    return gradients(lambda x: x.log_softmax(-1), {"x": x}, g, known)


EXERCISE = Exercise(
    question, "x_ij goes into y_ij, and into the sum below every y_ik of its row", [LogSoftmax, LogSoftmaxBackward]
)
