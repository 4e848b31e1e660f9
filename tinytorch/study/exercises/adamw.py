"""A step of AdamW

step(p, g, m, v, t) makes step number t = 1, 2, ... of AdamW on a parameter p
with the gradient g, and returns the new p, m, v. m is the running mean of g
(beta1 = 0.9), v that of g^2 (beta2 = 0.999). Before they are used, both are
divided by 1 - beta^t; what is returned as m and v is not. p first shrinks by
the factor 1 - lr 0.1, the weight decay, then moves by -lr m / (sqrt(v) + eps),
with lr = 0.1 and eps = 0.001. Nothing is changed in place.
"""

from __future__ import annotations

import numpy as np

import tinytorch as torch

from ...kernels.optim import adam_coefficients
from ...mistakes import Array, Candidates
from ...optim import AdamW
from ...optim.adam import _update
from ..practice.exercise import Exercise, Question, sizes

LR, BETA1, BETA2, EPS, DECAY = 0.1, 0.9, 0.999, 1e-3, 0.1


def question(rng: np.random.Generator) -> Question:
    shape = sizes(rng, 2)
    p, g, m = rng.standard_normal((3, *shape))
    v, t = rng.random(shape) + 0.1, int(rng.integers(2, 6))
    parameter = torch.tensor(p, requires_grad=True)
    parameter.grad = torch.tensor(g)
    optimizer = AdamW([parameter], LR, (BETA1, BETA2), EPS, DECAY)
    state = {"step": torch.tensor(t - 1.0), "exp_avg": torch.tensor(m), "exp_avg_sq": torch.tensor(v)}
    optimizer.state[parameter] = state
    optimizer.step()
    new = [parameter.detach(), state["exp_avg"], state["exp_avg_sq"]]
    answers = {name: x.numpy() for name, x in zip("pmv", new, strict=True)}
    new_m, new_v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g
    by_m, by_v = 1 - BETA1**t, 1 - BETA2**t

    def moved(m: Array, v: Array, keep: float = 1 - LR * DECAY) -> Array:
        return np.asarray(keep * p - LR * m / (np.sqrt(v) + EPS))

    coupled = g + DECAY * p
    m_coupled, v_coupled = BETA1 * m + (1 - BETA1) * coupled, BETA2 * v + (1 - BETA2) * coupled**2
    right_m, right_v = new_m / by_m, new_v / by_v
    adam = "the weight decay is in the gradient: that is Adam's, not AdamW's"
    known_p = {
        "m and v are not divided by 1 - beta^t": moved(new_m, new_v),
        "m is not divided by 1 - beta1^t": moved(new_m, right_v),
        "v is not divided by 1 - beta2^t": moved(right_m, new_v),
        "the exponent of beta is one too small: t begins at 1": moved(
            new_m / (1 - BETA1 ** (t - 1)), new_v / (1 - BETA2 ** (t - 1))
        ),
        "the weight decay is left out": moved(right_m, right_v, 1.0),
        adam: moved(m_coupled / by_m, v_coupled / by_v, 1),
        "the decay is not multiplied with lr": moved(right_m, right_v, 1 - DECAY),
        "the old m and v are used, and should be the new ones": moved(m / by_m, v / by_v),
        "eps is inside of the root": (1 - LR * DECAY) * p - LR * right_m / np.sqrt(right_v + EPS),
        "the root of v is left out": (1 - LR * DECAY) * p - LR * right_m / (right_v + EPS),
        "it moves uphill: the sign of the step is wrong": moved(-right_m, right_v),
    }
    known_m = {
        "the weights beta1 and 1 - beta1 are in each other's place": (1 - BETA1) * m + BETA1 * g,
        "the factor 1 - beta1 is left out": BETA1 * m + g,
        "it is divided by 1 - beta1^t, and should be kept as it is": right_m,
        adam: m_coupled,
    }
    known_v = {
        "the weights beta2 and 1 - beta2 are in each other's place": (1 - BETA2) * v + BETA2 * g * g,
        "the factor 1 - beta2 is left out": BETA2 * v + g * g,
        "g is not squared": BETA2 * v + (1 - BETA2) * g,
        "it is divided by 1 - beta2^t, and should be kept as it is": right_v,
        adam: v_coupled,
    }
    candidates = {
        name: Candidates(alternatives=known) for name, known in (("p", known_p), ("m", known_m), ("v", known_v))
    }
    return Question({"p": p, "g": g, "m": m, "v": v, "t": t}, answers, candidates)


EXERCISE = Exercise(
    question,
    "go through the sentences one by one: running means, their division, decay, step",
    [AdamW, adam_coefficients, _update],
    function="step",
)
