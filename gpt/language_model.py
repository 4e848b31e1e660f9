"""What every model here has, however it computes its logits: a loss, a number of parameters, and generation."""

from __future__ import annotations

import tinytorch.nn as nn
from gpt.config import GPTConfig
from gpt.generation import GenerationMixin, Writer
from tinytorch import Tensor
from tinytorch.nn import functional as F


class LanguageModel(nn.Module, GenerationMixin):
    """A model of the next token: subclasses define `logits(idx)`, from ids (B, T) to (B, T, V)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config

    def logits(self, idx: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Ids and targets (B, T) int64 to logits (B, T, V) and, given targets, the mean cross-entropy in nats."""
        logits = self.logits(idx)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def num_parameters(self) -> int:
        """The number of parameters; a shared matrix counts once."""
        return sum(p.numel() for p in self.parameters())

    def writer(self, batch_size: int) -> Writer:
        return Writer(self.logits, self.config.block_size)
