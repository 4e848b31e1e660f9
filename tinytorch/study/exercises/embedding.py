"""An embedding

Forward: y_n = w_v with v = index_n: rows of a table, some of them several
times. Backward gets w (V, C), index (N), which are integers, and g = dL/dy (N,
C), and returns dw (V, C).
"""

from __future__ import annotations

import numpy as np

from ...mistakes import Candidates
from ...nn.functional import embedding
from ...ops.embedding import Embedding, EmbeddingBackward
from ..practice.exercise import Exercise, Question, gradients, sizes


def question(rng: np.random.Generator) -> Question:
    rows, width, count = sizes(rng, 3)
    w, g = rng.standard_normal((rows, width)), rng.standard_normal((count + 2, width))
    index = rng.integers(rows, size=count + 2)
    index[-1] = index[-2] = index[0]  # at least one of them occurs three times
    last, first = np.zeros((2, rows, width))
    last[index] = g
    first[index[::-1]] = g[::-1]
    mean, times = np.zeros((rows, width)), np.zeros((rows, width))
    np.add.at(mean, index, g / np.bincount(index, minlength=rows)[index, None])
    np.add.at(times, index, g * w[index])
    other = {
        "of a row that occurs several times, only the last gradient counts: dw[index] += g adds just one": last,
        "of a row that occurs several times, only the first gradient counts": first,
        "it is the mean over the places of a row, not the sum": mean,
        "it is multiplied with the rows themselves: y is a copy of them": times,
    }
    known = {"dw": Candidates(alternatives=other)}
    return gradients(lambda w, index: embedding(index, w), {"w": w, "index": index}, g, known)


EXERCISE = Exercise(
    question, "a row that occurs several times goes into several places of y", [Embedding, EmbeddingBackward]
)
