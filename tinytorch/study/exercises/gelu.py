"""GELU

Forward: y = x F(x), where F(x) = (1 + erf(x / sqrt(2))) / 2 is the probability
that a normally distributed number is at most x. Backward gets x and g = dL/dy,
of one shape, and returns dx. NumPy has no erf: np.vectorize(math.erf) is one.
"""

from __future__ import annotations

import math

import numpy as np

from ...mistakes import Candidates
from ...nn.functional import gelu
from ...ops.activation import Gelu
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    x, g = rng.standard_normal((2, *sizes(rng, 2)))
    below = (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    approximate = 0.5 * (1 + np.tanh(u)) + 0.5 * x * (1 - np.tanh(u) ** 2) * slope
    other = {
        "the factor x before the density is left out": g * (below + density),
        "1/sqrt(2 pi) is left out of the density": g * (below + x * density * math.sqrt(2 * math.pi)),
        "the density is e^(-x^2), and should be e^(-x^2/2)": g * (below + x * density * np.exp(-x * x / 2)),
        "it is the derivative of the approximation by tanh": g * approximate,
        "it is y, not the derivative": g * x * below,
    }
    paths = {"through the factor x": g * below, "through F(x)": g * x * density}
    known = {"dx": Candidates(summands=paths, alternatives=other)}
    return gradients(gelu, {"x": x}, g, known)


EXERCISE = Exercise(question, "x F(x) is a product: x is in both of its factors", [Gelu])
