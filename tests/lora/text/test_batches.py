from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest

from lora.text.batches import Batches
from lora.text.data import Example
from tinytorch.training.batches import IGNORED, Batch

rng = np.random.default_rng(0)
# The first input of each is its number, so that it can be found again.
EXAMPLES = [
    Example(np.array([100 + i, *rng.integers(1, 50, n)]), np.array([IGNORED, *rng.integers(1, 50, n)]))
    for i, n in enumerate(rng.integers(1, 20, 37))
]


def all_numbers(batches: Iterable[Batch]) -> list[int]:
    return [id - 100 for batch in batches for id in batch[0].numpy().reshape(-1) if id >= 100]


def epoch(batches: Batches, number: int) -> list[Batch]:
    found = [next(batches) for _ in batches.order(number)]
    assert batches.epoch == number
    return found


@pytest.mark.parametrize("row_length", [None, 32])
def test_an_epoch_has_every_example_once_in_an_order_of_its_own(row_length: int | None) -> None:
    batches = Batches(EXAMPLES, 4, 7, row_length)
    orders = [all_numbers(epoch(batches, i)) for i in range(3)]
    for order in orders:
        assert Counter(order) == Counter(range(37))
    assert orders[0] != orders[1] != orders[2]
    assert all_numbers(Batches(EXAMPLES, 4, 7, row_length).one_epoch()) == orders[0]
    assert all_numbers(Batches(EXAMPLES, 4, 8, row_length).one_epoch()) != orders[0]


def test_rows_are_filled_up_with_what_is_not_learned() -> None:
    for inputs, targets in Batches(EXAMPLES, 4, 7).one_epoch():
        assert inputs.shape == targets.shape
        assert inputs.numpy().dtype == targets.numpy().dtype == np.int64
        for row, row_targets in zip(inputs.numpy(), targets.numpy(), strict=True):
            example = EXAMPLES[row[0] - 100]
            n = len(example.inputs)
            assert row.tolist() == [*example.inputs.tolist(), *[0] * (len(row) - n)]
            assert row_targets.tolist() == [*example.targets.tolist(), *[IGNORED] * (len(row) - n)]


def test_batches_are_of_similar_length() -> None:
    filled = sum(batch[0].numel() for batch in Batches(EXAMPLES, 4, 7).one_epoch())
    needed = sum(len(example.inputs) for example in EXAMPLES)
    assert needed < filled < 1.15 * needed
    assert max(len(batch[0]) for batch in Batches(EXAMPLES, 4, 7).one_epoch()) == 4


def test_packed_rows_hold_several_examples() -> None:
    for inputs, targets, texts in Batches(EXAMPLES, 4, 7, 32).one_epoch():
        assert inputs.shape == targets.shape == texts.shape
        assert inputs.shape[1] <= 32
        for row, row_targets, places in zip(inputs.numpy(), targets.numpy(), texts.numpy(), strict=True):
            for number in range(1, places.max() + 1):
                example = EXAMPLES[row[places == number][0] - 100]
                assert row[places == number].tolist() == example.inputs.tolist()
                assert row_targets[places == number].tolist() == example.targets.tolist()
            assert not row[places == 0].any()
            assert (row_targets[places == 0] == IGNORED).all()
    packed = sum(len(batch[0]) for batch in Batches(EXAMPLES, 4, 7, 32).one_epoch())
    assert packed < 0.5 * len(EXAMPLES)


@pytest.mark.parametrize("row_length", [None, 32])
def test_a_place_in_the_data_is_two_numbers(row_length: int | None) -> None:
    batches = Batches(EXAMPLES, 4, 7, row_length)
    for _ in range(14):
        next(batches)
    again = Batches(EXAMPLES, 4, 7, row_length)
    again.go_to(batches.epoch, batches.index)
    for _ in range(10):
        for a, b in zip(next(batches), next(again), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert batches.epoch > 0
