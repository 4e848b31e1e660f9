"""The causal mask

Forward: m_ij = s_ij where j <= i, else -inf; p = softmax(m) of each row.
Backward gets s (T, T) and g = dL/dp (T, T), and returns ds (T, T). g has
numbers where p is masked, too.
"""

from __future__ import annotations

import math

import numpy as np

import tinytorch as torch

from ...mistakes import Array, Candidates
from ...ops.elementwise import Where
from ...ops.softmax import Softmax
from ..practice.exercise import Exercise, Question, gradients, sizes
from .softmax import softmax


def question(rng: np.random.Generator) -> Question:
    (length,) = sizes(rng, 1)
    s, g = rng.standard_normal((2, length, length))
    hidden = np.triu(np.ones((length, length), bool), 1)

    def backward(p: Array) -> Array:
        return np.asarray(p * (g - (g * p).sum(-1, keepdims=True)))

    p = softmax(np.where(hidden, -np.inf, s))
    full, late = softmax(s), np.where(hidden, 0, softmax(s))
    zero = softmax(np.where(hidden, 0, s))
    past = np.tril(np.ones((length, length), bool), -1)
    upper, strict = softmax(np.where(past, -np.inf, s)), softmax(np.where(past, s, -1e300))
    other = {
        "the mask is left out, in p and in the gradient": backward(full),
        "the mask is left out of p: it comes after the softmax": np.where(hidden, 0, backward(full)),
        "p is set to 0 after the softmax: its rows do not add up to 1": backward(late),
        "the masked scores are 0, and should be -inf": np.where(hidden, 0, backward(zero)),
        "the mask hides the past, and should hide what comes after": backward(upper),
        "the mask hides the position itself, too": backward(strict),
        "the sum in softmax's backward is left out": p * g,
    }
    known = {"ds": Candidates(mask=hidden, alternatives=other)}
    mask = torch.tensor(hidden)
    return gradients(lambda s: s.masked_fill(mask, -math.inf).softmax(-1), {"s": s}, g, known)


EXERCISE = Exercise(question, "what is p where the mask hides, and so the gradient?", [Softmax, Where])
