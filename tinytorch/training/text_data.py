"""One long text as a run's data: random windows of its tokens, all of one shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import tinytorch
from tinytorch import Tensor

from .batches import Batches, split
from .settings import TrainSettings


class TextData:
    """The first 90% of the tokens (N,) to train on, the last 10% to validate on. UserError if they are too few."""

    def __init__(self, config: TrainSettings, tokens: np.ndarray, block_size: int) -> None:
        self.config, self.block_size = config, block_size
        self.tokens = dict(zip(("train", "val"), split(tokens), strict=True))
        self.generator = tinytorch.Generator().manual_seed(config.seed)  # for the batches to train on
        self.batches = self._batches("train", "first 90%, to train on", self.generator)
        self._batches("val", "last 10%, to validate", self.generator)  # fails here, at once, if it is too short

    def evaluation_batches(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """The same config.eval_iters batches every time; the generator of the training batches is not touched."""
        generator = tinytorch.Generator().manual_seed(self.config.seed + 1)
        batches = self._batches(split, split, generator)
        return (next(batches) for _ in range(self.config.eval_iters))

    def position(self) -> dict[str, np.ndarray]:
        return {"generator.batches": self.generator.get_state().numpy()}

    def set_position(self, tensors: dict[str, np.ndarray]) -> None:
        self.generator.set_state(tinytorch.tensor(tensors["generator.batches"]))

    def _batches(self, split: str, part: str, generator: tinytorch.Generator) -> Batches:
        source = f"{self.config.data} ({part})"
        return Batches(self.tokens[split], self.config.batch_size, self.block_size, generator, source)
