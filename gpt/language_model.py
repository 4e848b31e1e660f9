"""What every model here can do, whatever computes its logits: a loss, and new text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tinytorch
import tinytorch.nn as nn
from gpt.config import GPTConfig
from programs.errors import UserError
from tinytorch import Tensor
from tinytorch.nn import functional as F


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits."""

    temperature: float = 1.0
    """Divides the logits: below 1 the likely characters become likelier, above 1 less so."""

    top_k: int | None = None
    """Draw among the k likeliest characters only; None for all."""

    top_p: float | None = None
    """Draw among the fewest characters whose probabilities add up to at least this, in (0, 1]; None for all."""

    greedy: bool = False
    """Take the likeliest character; temperature, top-k and top-p then have no effect."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature}: it must be positive (--greedy is its limit at 0)")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k is {self.top_k}: it must be at least 1")
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top_p is {self.top_p}: it must be in (0, 1]")

    def choose(self, logits: Tensor, generator: tinytorch.Generator | None = None) -> Tensor:
        """Draw one token a row: logits (B, V) to ids (B, 1) int64.

        top_p is the nucleus of Holtzman et al., 2020 (arXiv:1904.09751), taken after top_k.
        """
        if self.greedy:
            return logits.argmax(dim=-1, keepdim=True)
        k = min(self.top_k or logits.shape[-1], logits.shape[-1])
        values, ids = tinytorch.topk(logits, k, dim=-1)  # (B, k), the likeliest first
        probabilities = F.softmax(values / self.temperature, dim=-1)
        if self.top_p is not None:
            before = probabilities.cumsum(dim=-1) - probabilities  # mass of the likelier ones: 0 for the first
            probabilities = probabilities.masked_fill(before >= self.top_p, 0.0)
        drawn = tinytorch.multinomial(probabilities, 1, generator=generator)  # (B, 1), a rank
        return ids.gather(-1, drawn)


class Writer:
    """Reads a batch of texts as they grow, and gives the logits of what comes next."""

    def __init__(self, logits: Callable[[Tensor], Tensor], block_size: int) -> None:
        self._logits, self._block_size = logits, block_size
        self._text: list[Tensor] = []  # at least the last block_size tokens, in pieces

    def read(self, idx: Tensor) -> Tensor:
        """Logits (B, V) after idx (B, T) has been added to the text."""
        self._text.append(idx)
        return self._logits(self._window())[:, -1]

    def _window(self) -> Tensor:
        """The last block_size tokens, or as many as there are."""
        self._text = [tinytorch.cat(self._text, dim=1)[:, -self._block_size :]]
        return self._text[0]

    def close(self) -> None:
        """The text is finished."""


class LanguageModel(nn.Module):
    """A model of the next token: subclasses give `logits(idx)`, from ids (B, T) to (B, T, V)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config

    def logits(self, idx: Tensor) -> Tensor:
        raise NotImplementedError

    def writer(self, batch_size: int) -> Writer:
        """What reads a batch of texts as they grow. Close it when they are finished."""
        return Writer(self.logits, self.config.block_size)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Ids and targets (B, T) int64 to logits (B, T, V) and the mean cross-entropy in nats, if targets."""
        logits = self.logits(idx)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def num_parameters(self) -> int:
        """Numbers in all parameters; a shared matrix counts once."""
        return sum(p.numel() for p in self.parameters())

    def stream(
        self, idx: Tensor, max_new_tokens: int, sampling: Sampling, generator: tinytorch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Yield the next tokens of idx (B, T), each (B, 1), as they are drawn."""
        writer = self.writer(idx.shape[0])
        try:
            for _ in range(max_new_tokens):
                with tinytorch.no_grad():
                    idx = sampling.choose(writer.read(idx), generator)
                yield idx
        finally:
            writer.close()

    def generate(
        self,
        idx: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        greedy: bool = False,
        generator: tinytorch.Generator | None = None,
    ) -> Tensor:
        """Continue ids (B, T) to (B, T + max_new_tokens); only the last block_size of them are looked at."""
        sampling = Sampling(temperature, top_k, top_p, greedy)
        return tinytorch.cat([idx, *self.stream(idx, max_new_tokens, sampling, generator)], dim=1)
