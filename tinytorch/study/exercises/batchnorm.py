"""BatchNorm's backward, in one line

Forward: y_nc = w_c z_nc with z_nc = (x_nc - mean_c) / sqrt(var_c + 1e-5),
where mean_c and var_c are over the N rows of the batch, and var_c = sum_n
(x_nc - mean_c)^2 / (N - 1), as in the lecture. Backward gets x (N, C), w (C)
and g = dL/dy (N, C), and returns dx (N, C). It takes many lines, one for each
step of the forward; simplified on paper it is one.
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...ops.normalization import batch_norm
from ...ops.reduction import Var
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    rows, width = sizes(rng, 2)
    x, g = rng.standard_normal((2, rows, width)) * 1.5
    w = rng.standard_normal(width)
    inverse = 1 / np.sqrt(x.var(0, ddof=1) + 1e-5)
    z = (x - x.mean(0)) * inverse
    last = z * (g * z).sum(0)
    paths = {
        "through z itself": w * inverse * g,
        "through the mean": -w * inverse * g.mean(0),
        "through the variance": -w * inverse * last / (rows - 1),
    }
    over_rows = g.mean(1, keepdims=True) + z * (g * z).sum(1, keepdims=True) / (rows - 1)
    other = {
        "it is the backward for a variance with 1/N, not with 1/(N - 1)": w * inverse * (g - g.mean(0) - last / rows),
        "w is left out": inverse * (g - g.mean(0) - last / (rows - 1)),
        "the factor 1/sqrt(var + eps) is left out": w * (g - g.mean(0) - last / (rows - 1)),
        "g stands beside the two sums without its factor N": (
            w * inverse / rows * (g - g.sum(0) - rows / (rows - 1) * last)
        ),
        "the sums are over the row, not over the batch": w * inverse * (g - over_rows),
    }
    known = {"dx": Candidates({"1/N": 1 / rows}, paths, alternatives=other)}
    return gradients(
        lambda x, w: w * (x - x.mean(0)) / (x.var(0) + 1e-5).sqrt(), {"x": x, "w": w}, g, known, frozen=["w"]
    )


EXERCISE = Exercise(question, "x goes into y by itself, through the mean and through the variance", [Var, batch_norm])
