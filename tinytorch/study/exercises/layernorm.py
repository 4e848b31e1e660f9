"""Layer normalisation

Forward: y_ij = w_j z_ij + b_j with z_ij = (x_ij - mean_i) / sqrt(var_i +
1e-5), where mean_i and var_i = mean_j of (x_ij - mean_i)^2 are of row i.
Backward gets x (N, C), w (C), b (C) and g = dL/dy (N, C), and returns dx (N,
C), dw (C), db (C). x_ij goes into y by itself, through the mean and through
the variance.
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...nn.functional import layer_norm
from ...ops.normalization import LayerNorm
from ..practice.exercise import Exercise, Question, gradients, sizes

EPS = 1e-5


def question(rng: np.random.Generator) -> Question:
    rows, width = sizes(rng, 2)
    x, g = rng.standard_normal((2, rows, width)) * 1.5
    w, b = rng.standard_normal((2, width))
    inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + EPS)
    z = (x - x.mean(-1, keepdims=True)) * inverse
    a = g * w
    paths = {
        "through z_ij itself": inverse * a,
        "through the mean": -inverse * a.mean(-1, keepdims=True),
        "through the variance": -inverse * z * (a * z).mean(-1, keepdims=True),
    }
    unweighted = inverse * (g - g.mean(-1, keepdims=True) - z * (g * z).mean(-1, keepdims=True))
    summed = inverse * (a - a.sum(-1, keepdims=True) - z * (a * z).sum(-1, keepdims=True))
    less = inverse * a + (paths["through the mean"] + paths["through the variance"]) * width / (width - 1)
    other = {
        "w is left out": unweighted,
        "the factor 1/sqrt(var + eps) is left out": sum(paths.values()) / inverse,
        "the means over the row are sums: 1/C is left out": summed,
        "the sums are divided by C - 1, and the variance here is with C": less,
        "x stands where the normalised z should": inverse
        * (a - a.mean(-1, keepdims=True) - x * (a * x).mean(-1, keepdims=True)),
        "the factor 1/sqrt(var + eps) is there twice": sum(paths.values()) * inverse,
        "the two means run down the columns, not along the rows": inverse * (a - a.mean(0) - z * (a * z).mean(0)),
    }
    known = {
        "dx": Candidates(summands=paths, alternatives=other),
        "dw": Candidates(unsummed=g * z, alternatives={"the factor is x, not the normalised z": (g * x).sum(0)}),
        "db": Candidates(unsummed=g),
    }
    return gradients(lambda x, w, b: layer_norm(x, (width,), w, b, EPS), {"x": x, "w": w, "b": b}, g, known)


EXERCISE = Exercise(question, "begin with dz = g w. Then x_ij goes into z by three paths", [LayerNorm])
