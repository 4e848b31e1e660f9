"""A residual: two paths

Forward: y = x + tanh(x @ w). Backward gets x (N, C), w (C, C) and g = dL/dy
(N, C), and returns dx (N, C), dw (C, C).
"""

from __future__ import annotations

import numpy as np

from ...engine.walk import walk
from ...mistakes import Candidates
from ...ops.activation import Tanh
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    rows, width = sizes(rng, 2)
    x, g = rng.standard_normal((2, rows, width))
    w = rng.standard_normal((width, width)) / 2
    t = np.tanh(x @ w)
    inner = g * (1 - t * t)
    linear = "the derivative of tanh is left out"
    paths = {"along the residual, past tanh": g, "through tanh(x @ w)": inner @ w.T}
    other = {
        linear: g + g @ w.T,
        "w is not transposed": g + inner @ w,
        "the derivative of tanh is taken at x, and should be at x @ w": g + (g * (1 - np.tanh(x) ** 2)) @ w.T,
        "the derivative of tanh is 1 - tanh, and should be 1 - tanh^2": g + (g * (1 - t)) @ w.T,
    }
    known = {
        "dx": Candidates(summands=paths, alternatives=other),
        "dw": Candidates(
            alternatives={
                linear: x.T @ g,
                "the derivative of tanh is 1 - tanh, and should be 1 - tanh^2": x.T @ (g * (1 - t)),
                "it is summed with tanh(x @ w), and should be with x": t.T @ inner,
            }
        ),
    }
    return gradients(lambda x, w: x + (x @ w).tanh(), {"x": x, "w": w}, g, known)


EXERCISE = Exercise(question, "two paths lead from x to y: what comes back along them is added", [Tanh, walk])
