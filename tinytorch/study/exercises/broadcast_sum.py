"""The sum over what was broadcast

Forward: y_ij = x_ij b_j, where b (J) is broadcast over the rows of x (I, J).
Backward gets x, b and g = dL/dy (I, J), and returns dx (I, J), db (J). Each
b_j goes into a whole column of y.
"""

from __future__ import annotations

import numpy as np

from ...engine.walk import _fit
from ...mistakes import Candidates
from ...ops.arithmetic import Mul
from ...ops.broadcasting import Expand
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    rows, columns = sizes(rng, 2)
    x, g = rng.standard_normal((2, rows, columns))
    b = rng.standard_normal(columns)
    known = {
        "dx": Candidates(alternatives={"the factor is x itself, and should be b": g * x}),
        "db": Candidates(unsummed=g * x, alternatives={"the factor x is left out": g.sum(0)}),
    }
    return gradients(lambda x, b: x * b, {"x": x, "b": b}, g, known)


EXERCISE = Exercise(question, "the gradient of b has the shape of b: which y_ij does b_j go into?", [Expand, Mul, _fit])
