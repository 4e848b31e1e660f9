"""The loop, on a model that counts: after n it is all for n + 1."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tinytorch.generation.sampling import Ids, Sampling
from tinytorch.generation.stream import joined, stream

GREEDY = Sampling(greedy=True)


def counting(ids: Ids, mask: Ids | None) -> tinytorch.Tensor:
    assert not tinytorch.is_grad_enabled()
    assert mask is None or mask.shape == ids.shape
    return tinytorch.tensor(np.eye(50, dtype=np.float32)[ids[:, -1] + 1])


def test_tokens_follow_one_another() -> None:
    ids = np.array([[1, 2], [7, 7]])
    assert joined(ids, stream(counting, ids, 3, GREEDY)).tolist() == [[1, 2, 3, 4, 5], [7, 7, 8, 9, 10]]
    assert joined(ids, stream(counting, ids, 0, GREEDY)).tolist() == ids.tolist()


def test_rows_end_and_are_padded() -> None:
    ids, mask = np.array([[0, 2], [7, 7]]), np.array([[0, 1], [1, 1]])
    steps = stream(counting, ids, 9, GREEDY, mask, eos_token_ids=[4, 11], pad_token_id=30)
    assert joined(ids, steps).tolist() == [[0, 2, 3, 4, 30, 30], [7, 7, 8, 9, 10, 11]]


def test_padding_goes_to_the_left() -> None:
    with pytest.raises(ValueError, match="pad on the left"):
        next(stream(counting, np.array([[1, 0]]), 1, GREEDY, np.array([[1, 0]])))


def test_what_is_there_is_penalised_and_padding_is_not() -> None:
    ids, mask = np.array([[3, 2], [1, 2]]), np.array([[0, 1], [1, 1]])
    flat = tinytorch.tensor(np.array([[0.0, 2.0, 2.0, 2.5]] * 2, dtype=np.float32))
    sampling = Sampling(greedy=True, repetition_penalty=2.0)
    steps = stream(lambda ids, mask: flat, ids, 3, sampling, mask)
    assert [step.tolist() for step in steps] == [[3, 3], [1, 3], [3, 3]]
