"""The exponential, after a scale

Forward: y_i = e^(x_i / 2). Backward gets x and g = dL/dy, of one shape, and
returns dx.
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...ops.elementwise import Exp
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    x, g = rng.standard_normal((2, *sizes(rng, 2)))
    other = {
        "the exponent is x, and should be x / 2": g * np.exp(x) / 2,
        "it is the derivative of a power, x e^(x - 1): in e^x, x is the exponent": g * x / 2 * np.exp(x / 2 - 1) / 2,
        "g is in the exponent, too": np.exp(g * x / 2) / 2,
    }
    known = {"dx": Candidates({"1/2": 0.5}, alternatives=other)}
    return gradients(lambda x: (x / 2).exp(), {"x": x}, g, known)


EXERCISE = Exercise(question, "e^u is its own derivative, by u. What is u here, and its derivative by x?", [Exp])
