"""From text to batches: B random windows of T tokens, and the same windows one token later."""

from __future__ import annotations

import numpy as np

import tinytorch
from tinytorch import Tensor

from ..cli.errors import UserError

Batch = tuple[Tensor, ...]  # inputs (B, T), targets (B, T), and whatever else the run's loss takes
IGNORED = -100  # a target that does not count towards the loss


def split(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first 90% of `tokens` (N,), to train on, and the rest, to validate on. Both are views."""
    n = int(0.9 * len(tokens))
    return tokens[:n], tokens[n:]


class Batches:
    """An endless iterator over pairs of inputs and targets, each (B, T) int64: `targets[b, t]` follows `inputs[b, t]`.

    The windows depend only on the generator, so its state is the position in the run.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        batch_size: int,
        block_size: int,
        generator: tinytorch.Generator,
        source: str = "the text",
    ) -> None:
        if len(tokens) <= block_size:
            raise UserError(
                f"{source}: {len(tokens)} tokens are too few for windows of {block_size} and a target: "
                "give a longer text or a smaller block size"
            )
        self.tokens = tokens
        self.batch_size = batch_size
        self.block_size = block_size
        self.generator = generator

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        starts = tinytorch.randint(
            len(self.tokens) - self.block_size, (self.batch_size, 1), generator=self.generator
        ).numpy()
        window = self.tokens[starts + np.arange(self.block_size + 1)].astype(np.int64)  # (B, T+1)
        return tinytorch.tensor(window[:, :-1]), tinytorch.tensor(window[:, 1:])  # (B, T), (B, T)
