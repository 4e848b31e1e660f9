"""A layer with LoRA

Forward: y = x @ W.T + s (x @ A.T) @ B.T with W frozen. Backward gets x (N, I),
W (O, I), A (R, I), B (O, R), the number s and g = dL/dy (N, O), and returns dx
(N, I), dA (R, I), dB (O, R).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...mistakes import Candidates
from ...ops.low_rank import LowRankLinear, low_rank_linear
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    rows, inner, outer, rank = sizes(rng, 4)
    s = 0.5 + float(rng.random())
    x, W = rng.standard_normal((rows, inner)), rng.standard_normal((outer, inner))
    A, B = rng.standard_normal((rank, inner)), rng.standard_normal((outer, rank))
    g = rng.standard_normal((rows, outer))
    scale = {"s": s}
    paths = {"through the frozen W": g @ W, "through A and B": s * g @ B @ A}
    known = {
        "dx": Candidates(
            summands=paths, alternatives={"the factor s is left out of the path through A and B": g @ W + g @ B @ A}
        ),
        "dA": Candidates(scale, alternatives={"B is left out": s * np.ones((rank, outer)) @ g.T @ x}),
        "dB": Candidates(scale, alternatives={"A is left out": s * g.T @ x @ np.ones((inner, rank))}),
    }

    def forward(x: Any, W: Any, A: Any, B: Any, s: float) -> Any:
        return low_rank_linear(x, W, None, A, B, s)

    return gradients(forward, {"x": x, "W": W, "A": A, "B": B, "s": s}, g, known, frozen=["W"])


EXERCISE = Exercise(
    question, "call h = x @ A.T and go backward through y = s h @ B.T first, then to A; W lets through", [LowRankLinear]
)
