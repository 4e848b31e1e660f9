"""A sum of two arrays

Forward: y_i = a_i + 2 b_i. Backward gets a, b and g = dL/dy, all of one shape,
and returns da, db: the gradients of the loss L by a and by b. There is one
rule for all of these exercises: an element gets, from every element that it
goes into, the gradient of that element times the derivative of that element by
it, and adds these up.
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...ops.arithmetic import Add
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    a, b, g = rng.standard_normal((3, *sizes(rng, 2)))
    factor = {"db": Candidates(scales={"2": 2})}
    return gradients(lambda a, b: a + 2 * b, {"a": a, "b": b}, g, factor)


EXERCISE = Exercise(question, "what is the derivative of y_i by a_i, and by b_i? Neither depends on a or b", [Add])
