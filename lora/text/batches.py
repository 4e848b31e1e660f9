"""Batches of examples: of similar length, or packed several to a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

import tinytorch
from lora.text.data import Example
from tinytorch import Tensor
from tinytorch.training.batches import IGNORED, Batch

Rows = list[list[Example]]  # the rows of a batch, each of one or more examples


class Batches:
    """An endless iterator over batches. Each epoch contains every example once, in its own order.

    A batch is inputs and targets, each (B, T) int64, padded on the right with 0 and IGNORED. Examples are shuffled and
    sorted by length before they are cut into batches, so that there is little padding, and then the batches are
    shuffled. With `row_length`, a row holds as many examples as fit into that many tokens instead, and a batch has a
    third part: for each token the number (B, T) of its example.

    The order depends only on the seed and the epoch: `epoch` and `index` are the position in the data.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int, row_length: int | None = None) -> None:
        self.examples, self.batch_size, self.seed, self.row_length = examples, batch_size, seed, row_length
        self.epoch, self.index = 0, 0
        self._order = self.order(0)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        if self.index == len(self._order):
            self.go_to(self.epoch + 1, 0)
        self.index += 1
        return self._batch(self._order[self.index - 1])

    def __len__(self) -> int:
        """The number of batches in this epoch."""
        return len(self._order)

    def go_to(self, epoch: int, index: int) -> None:
        """Continue with the batch at this position."""
        if epoch != self.epoch:
            self._order = self.order(epoch)
        self.epoch, self.index = epoch, index

    def one_epoch(self) -> Iterator[Batch]:
        """The batches of the first epoch."""
        return map(self._batch, self.order(0))

    def order(self, epoch: int) -> list[Rows]:
        """The batches of an epoch."""
        generator = tinytorch.Generator().manual_seed((self.seed << 32) + epoch)

        def shuffled(count: int) -> list[int]:
            return tinytorch.randperm(count, generator=generator).tolist()

        examples = [self.examples[i] for i in shuffled(len(self.examples))]
        if self.row_length is None:
            rows = [[example] for example in sorted(examples, key=lambda example: len(example.inputs))]
        else:
            rows = _packed(examples, self.row_length)
        batches = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        return [batches[i] for i in shuffled(len(batches))]

    def _batch(self, rows: Rows) -> Batch:
        inputs = _filled([[example.inputs for example in row] for row in rows], 0)
        targets = _filled([[example.targets for example in row] for row in rows], IGNORED)
        if self.row_length is None:
            return inputs, targets
        numbers = [[np.full(len(example.inputs), i) for i, example in enumerate(row, start=1)] for row in rows]
        return inputs, targets, _filled(numbers, 0)


def _packed(examples: Sequence[Example], row_length: int) -> Rows:
    """Fill rows with one example after another, beginning a new row when the next does not fit."""
    rows: Rows = []
    room = 0
    for example in examples:
        if len(example.inputs) > room:
            rows.append([])
            room = row_length
        rows[-1].append(example)
        room -= len(example.inputs)
    return rows


def _filled(rows: list[list[np.ndarray]], value: int) -> Tensor:
    """Rows of arrays, joined and padded to the longest, (B, T) int64."""
    joined = [np.concatenate(row) for row in rows]
    out = np.full((len(rows), max(map(len, joined))), value, np.int64)
    for line, values in zip(out, joined, strict=True):
        line[: len(values)] = values
    return Tensor(out)
