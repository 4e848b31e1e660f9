"""A run on one long text: random windows of its tokens."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import tinytorch
from tinytorch import Tensor

from .batches import Batches, split
from .run import Run
from .settings import Settings


class TextRun(Run[Settings]):
    """A program's own run says what it trains: it makes tokens of the text, the model, and the loss.

    All batches have one shape, so that what is done to them is compiled.
    """

    def __init__(self, config: Settings, text: str, tokens: np.ndarray, block_size: int) -> None:
        self.block_size = block_size
        self.train_data, self.val_data = split(tokens)
        self.generator = tinytorch.Generator()  # of the training batches
        self.generator.manual_seed(config.seed)
        splits = {"first 90%, to train on": self.train_data, "last 10%, to validate": self.val_data}
        for name, data in splits.items():  # a text too short fails here, at once
            Batches(data, config.batch_size, block_size, self.generator, f"{config.data} ({name})")
        super().__init__(config, text)
        self.batches = Batches(self.train_data, config.batch_size, block_size, self.generator)
        self._learn, self._judge = tinytorch.compile(super().learn), tinytorch.compile(super().judge)

    def learn(self, share: Tensor, *batch: Tensor) -> Tensor:
        return self._learn(share, *batch)

    def judge(self, *batch: Tensor) -> Tensor:
        return self._judge(*batch)

    def evaluation_batches(self, data: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """The same config.eval_iters batches every time; the training batches' generator is left alone."""
        generator = tinytorch.Generator()
        generator.manual_seed(self.config.seed + 1)
        batches = Batches(data, self.config.batch_size, self.block_size, generator)
        return (next(batches) for _ in range(self.config.eval_iters))

    def position(self) -> dict[str, np.ndarray]:
        return {"generator.batches": self.generator.get_state().numpy()}

    def set_position(self, tensors: dict[str, np.ndarray]) -> None:
        self.generator.set_state(tinytorch.tensor(tensors["generator.batches"]))
