"""How a token is drawn: each setting alone and with others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.cli.errors import UserError
from tinytorch.generation.sampling import Sampling, min_p, repetition_penalty, top_k, top_p

LOGITS = np.log(np.array([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32))
PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.3, 0.15])
DRAWS = 4000
NONE = np.zeros((DRAWS, 0), dtype=np.int64)


def frequencies(sampling: Sampling, likeliest_first: bool) -> np.ndarray:
    """How often each of the five tokens is drawn from PROBABILITIES."""
    generator = tinytorch.Generator()
    generator.manual_seed(0)
    logits = np.tile(np.log(PROBABILITIES), (DRAWS, 1)).astype(np.float32)
    drawn = sampling.choose(logits, NONE, None, generator, likeliest_first)
    assert drawn.shape == (DRAWS,)
    return np.bincount(drawn, minlength=5) / DRAWS


@pytest.mark.parametrize("likeliest_first", [False, True])
@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2),
        ({"temperature": 2.0}, PROBABILITIES**0.5),
        ({"top_k": 2}, [0, 0.4, 0, 0.3, 0]),
        ({"top_k": 1}, [0, 1, 0, 0, 0]),
        ({"top_k": 99}, PROBABILITIES),
        ({"top_p": 0.65}, [0, 0.4, 0, 0.3, 0]),
        ({"top_p": 0.75}, [0, 0.4, 0, 0.3, 0.15]),
        ({"top_p": 0.01}, [0, 1, 0, 0, 0]),
        ({"top_p": 1.0}, PROBABILITIES),
        ({"top_k": 3, "top_p": 0.8}, [0, 0.4, 0, 0.3, 0]),  # of the three, 0.47 + 0.35 make 0.8
        ({"top_k": 4, "min_p": 0.5}, [0, 0.4, 0, 0.3, 0]),
        ({"greedy": True, "temperature": 9.0}, [0, 1, 0, 0, 0]),
    ],
)
def test_frequencies(options: dict[str, Any], weights: Any, likeliest_first: bool) -> None:
    expected = np.asarray(weights) / np.sum(weights)
    got = frequencies(Sampling(**options), likeliest_first)
    np.testing.assert_allclose(got, expected, atol=0.03)
    assert not got[expected == 0].any()


def test_the_likeliest_first_are_other_draws_of_the_same_seed() -> None:
    logits = np.array([[0.0, 3.0, -1.0]], dtype=np.float32)
    uniform = generator(5).numpy_generator.random()
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum()
    for order, likeliest_first in (([0, 1, 2], False), ([1, 0, 2], True)):
        expected = order[int(np.searchsorted(np.cumsum(probabilities[order]), uniform, side="right"))]
        assert Sampling().choose(logits, NONE[:1], None, generator(5), likeliest_first).tolist() == [expected]


def generator(seed: int = 0) -> tinytorch.Generator:
    return tinytorch.Generator().manual_seed(seed)


# What changes the distribution; comparisons with transformers are in test_sampling_oracle.py --------


def kept(logits: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in logits]


def test_top_k_keeps_the_likeliest_and_their_equals() -> None:
    assert kept(top_k(LOGITS, 2)) == [[1, 3], [0, 1, 2, 3]]
    assert kept(top_k(LOGITS, 9)) == [[0, 1, 2, 3]] * 2


def test_top_p_keeps_the_fewest_that_reach_p() -> None:
    assert kept(top_p(LOGITS, 0.65)) == [[1, 3], [1, 2, 3]]
    assert kept(top_p(LOGITS, 0.75))[0] == [1, 2, 3]
    assert kept(top_p(LOGITS, 1e-9))[0] == [1]
    assert kept(top_p(LOGITS, 1.0)) == [[0, 1, 2, 3]] * 2


def test_min_p_is_relative_to_the_likeliest() -> None:
    assert kept(min_p(LOGITS, 0.6)) == [[1, 3], [0, 1, 2, 3]]
    assert kept(min_p(LOGITS, 0.0)) == [[0, 1, 2, 3]] * 2
    assert kept(min_p(LOGITS, 1.0))[0] == [1]


@pytest.mark.parametrize("shift", [-800.0, 0.0, 800.0])
@pytest.mark.filterwarnings("error")
def test_logits_of_any_size_mean_the_same(shift: float) -> None:
    """exp(800) is more than a float32 holds, exp(-800) less."""
    logits = LOGITS + np.float32(shift)
    assert kept(min_p(logits, 0.6)) == [[1, 3], [0, 1, 2, 3]]
    assert kept(top_p(logits, 0.75))[0] == [1, 2, 3]
    assert kept(top_k(logits, 2))[0] == [1, 3]
    none = np.zeros((200, 0), dtype=np.int64)
    rows = np.repeat(logits[:1], 200, axis=0)
    drawn = Sampling(top_k=3, top_p=0.9, min_p=0.6).choose(rows, none, none, generator())
    assert set(drawn.tolist()) == {1, 3}


def test_the_penalty_lowers_what_is_there_whatever_its_sign() -> None:
    logits = np.array([[2.0, -2.0, 3.0, -3.0]], dtype=np.float32)
    ids, mask = np.array([[3, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    assert repetition_penalty(logits, ids, mask, 2.0).tolist() == [[1.0, -4.0, 3.0, -3.0]]  # 3 is padding
    assert logits[0, 0] == 2.0


def test_draws_follow_the_distribution() -> None:
    rows = np.repeat(LOGITS[:1], 20_000, axis=0)
    none = np.zeros((20_000, 0), dtype=np.int64)
    for sampling, expected in [
        (Sampling(), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(top_k=0, top_p=1.0, min_p=0.0), [0.1, 0.4, 0.2, 0.3]),  # what takes nothing away
        (Sampling(temperature=0.5), [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        (Sampling(top_k=3, top_p=0.7), [0, 4 / 7, 0, 3 / 7]),  # top-p of what top-k left: 0.44, 0.33, 0.22
    ]:
        counts = np.bincount(sampling.choose(rows, none, none, generator()), minlength=4)
        np.testing.assert_allclose(counts / len(rows), expected, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, r"temperature is 0.0: it must be positive \(--greedy is its limit at 0\)"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1: it must be at least 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": -0.1}, "min_p is -0.1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sampling(**settings)
