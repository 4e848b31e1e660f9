from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tinytorch.cli.errors import UserError
from tinytorch.training.batches import Batches, split


def batches(tokens: np.ndarray, seed: int = 0, batch_size: int = 16, block_size: int = 5) -> Batches:
    generator = tinytorch.Generator()
    generator.manual_seed(seed)
    return Batches(tokens, batch_size, block_size, generator)


def test_split_is_90_to_10_as_in_nanogpt() -> None:
    train, val = split(np.arange(1_115_394))
    assert (len(train), len(val)) == (1_003_854, 111_540)
    assert (train[-1], val[0]) == (1_003_853, 1_003_854)


def test_targets_are_the_inputs_one_later() -> None:
    tokens = np.arange(100, 200, dtype=np.int32)
    inputs, targets = next(batches(tokens))
    assert inputs.shape == targets.shape == (16, 5)
    assert inputs.dtype == targets.dtype == tinytorch.int64
    windows = inputs.numpy()
    assert np.array_equal(windows, windows[:, :1] + np.arange(5))
    assert np.array_equal(targets.numpy(), windows + 1)


def test_every_window_can_be_drawn_and_no_other() -> None:
    inputs, targets = next(batches(np.arange(8), batch_size=500))
    assert set(inputs[:, 0].tolist()) == {0, 1, 2}
    assert targets.numpy().max() == 7


def test_the_seed_decides() -> None:
    tokens = np.arange(1000)
    first, again, other = (next(batches(tokens, seed))[0].numpy() for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_generator_state_is_the_place_in_the_run() -> None:
    source = batches(np.arange(1000))
    next(source)
    state = source.generator.get_state()
    expected = next(source)[0].numpy()
    source.generator.set_state(state)
    assert np.array_equal(next(source)[0].numpy(), expected)


def test_a_text_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(UserError, match="5 tokens are too few for windows of 5"):
        batches(np.arange(5))
    next(batches(np.arange(6)))
