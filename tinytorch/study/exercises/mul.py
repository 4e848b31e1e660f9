"""A product, element by element

Forward: y_i = a_i b_i. Backward gets a, b and g = dL/dy, all of one shape, and
returns da, db.
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...ops.arithmetic import Mul
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    a, b, g = rng.standard_normal((3, *sizes(rng, 2)))
    own = "the factor is the input itself, and should be the other one"
    known = {"da": Candidates(alternatives={own: g * a}), "db": Candidates(alternatives={own: g * b})}
    return gradients(lambda a, b: a * b, {"a": a, "b": b}, g, known)


EXERCISE = Exercise(question, "what is the derivative of a_i b_i by a_i, and by b_i? g comes on top of it", [Mul])
