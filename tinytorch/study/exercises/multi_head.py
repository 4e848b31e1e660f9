"""Heads, by reshape

Forward: x (B, T, C) becomes heads (B, H, T, D) with C = H D: head h of
position t is the numbers h D to h D + D of x_bt. In NumPy y = x.reshape(B, T,
H, D).transpose(0, 2, 1, 3). Backward gets x and g = dL/dy (B, H, T, D), and
returns dx (B, T, C). No number is computed here: all of it is where they
belong.
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...ops.shape import Reshape, Transpose
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    batch, length, heads, size = sizes(rng, 4)
    x = rng.standard_normal((batch, length, heads * size))
    g = rng.standard_normal((batch, heads, length, size))
    other = {
        "it is reshaped without being transposed back: positions are mixed": g.reshape(x.shape),
        "heads and numbers of a head are in each other's place": g.transpose(0, 2, 3, 1).reshape(x.shape),
        "positions and batch are in each other's place": g.transpose(2, 0, 1, 3).reshape(x.shape),
        "it is transposed to (B, D, T, H), not to (B, T, H, D)": g.transpose(0, 3, 2, 1).reshape(x.shape),
    }
    known = {"dx": Candidates(alternatives=other)}
    return gradients(lambda x: x.reshape(batch, length, heads, size).transpose(1, 2), {"x": x}, g, known)


EXERCISE = Exercise(question, "undo the two steps in the opposite order", [Transpose, Reshape])
