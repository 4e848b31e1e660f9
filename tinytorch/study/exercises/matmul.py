"""A matrix product

Forward: y_ij = sum_k a_ik b_kj, that is y = a @ b. Backward gets a, b and g =
dL/dy, and returns da, db. Mostly the shapes allow nothing but the right
answer. Here they do not help: all of them are (N, N).
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...ops.linalg import Matmul
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    (size,) = sizes(rng, 1)
    a, b, g = rng.standard_normal((3, size, size))
    order, turned = "the factors stand in the wrong order", "g is transposed, and should be as it came"
    known = {
        "da": Candidates(
            alternatives={"b is not transposed": g @ b, order: b.T @ g, "it is a, not b": g @ a.T, turned: g.T @ b.T}
        ),
        "db": Candidates(
            alternatives={"a is not transposed": a @ g, order: g @ a.T, "it is b, not a": b.T @ g, turned: a.T @ g.T}
        ),
    }
    return gradients(lambda a, b: a @ b, {"a": a, "b": b}, g, known)


EXERCISE = Exercise(question, "write it with indices: which y_ij does a_ik go into, and with which factor?", [Matmul])
