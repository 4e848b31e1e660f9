"""Text from a model, token by token: how the next one is drawn, and the cache that makes it cost one position.

B batch, T time, C channels, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import tinytorch
import tinytorch.nn as nn
from gpt.config import GPTConfig
from tinytorch import Tensor
from tinytorch.cli.errors import UserError
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
    """Texts of a batch as they grow, and the logits of what comes next. Computes the whole context for each token."""

    def __init__(self, logits: Callable[[Tensor], Tensor], block_size: int) -> None:
        self._logits, self._block_size = logits, block_size
        self._text: list[Tensor] = []  # at least the last block_size tokens, in pieces

    def next_logits(self, idx: Tensor) -> Tensor:
        """Append idx (B, T) to the texts, and return the logits (B, V) of the token after it."""
        self._text = [tinytorch.cat([*self._text, idx], dim=1)[:, -self._block_size :]]
        return self._logits(self._text[0])[:, -1]

    def close(self) -> None:
        """The texts are finished."""


class GenerationMixin:
    """`generate` and `stream`, for a class that says what its `writer` is."""

    def writer(self, batch_size: int) -> Writer:
        """What computes the logits for a batch of texts as they grow. Close it when they are finished."""
        raise NotImplementedError

    def stream(
        self, idx: Tensor, max_new_tokens: int, sampling: Sampling, generator: tinytorch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Yield the next tokens of idx (B, T), each (B, 1), as they are drawn."""
        writer = self.writer(idx.shape[0])
        try:
            for _ in range(max_new_tokens):
                with tinytorch.no_grad():
                    idx = sampling.choose(writer.next_logits(idx), generator)
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


class KVCache(NamedTuple):
    """The keys and values of one attention layer, and where those of the new tokens go."""

    kv: Tensor  # (B, block_size, 2C): keys and values side by side, as the layer's product makes them
    positions: Tensor  # (T,), of the new tokens
    mask: Tensor  # (T, block_size), True at a position's own and before

    def extend(self, kv: Tensor) -> Tensor:
        """Put the new tokens' keys and values (B, T, 2C) in their places, and return those of all positions."""
        self.kv[:, self.positions] = kv
        return self.kv


class CachingModel(Protocol):
    """What `CachedWriter` needs of a model."""

    config: GPTConfig
    lm_head: nn.Linear

    def logits(self, idx: Tensor, kvs: Sequence[Tensor] | None = None, positions: Tensor | None = None) -> Tensor:
        """(B, T) to (B, T, V); with the layers' keys and values, the T tokens come after those already in there."""


_SPARE: weakref.WeakKeyDictionary[CachingModel, CachedWriter] = weakref.WeakKeyDictionary()


class CachedWriter(Writer):
    """Computes each position once and keeps its keys and values; both ways of computing are compiled.

    Past block_size the window moves, every position with it, and all are computed anew.
    """

    def __init__(self, model: CachingModel, batch_size: int) -> None:
        config, dtype = model.config, model.lm_head.weight.dtype
        super().__init__(tinytorch.compile(self._whole_window), config.block_size)
        self._model = weakref.ref(model)  # which _SPARE must not keep alive
        self._batch_size, self._dtype, self._length = batch_size, dtype, 0
        shape = (batch_size, config.block_size, 2 * config.n_embd)
        self._kvs = [tinytorch.zeros(shape, dtype=dtype) for _ in range(config.n_layer)]
        self._new_tokens = tinytorch.compile(self._last_logits)

    @classmethod
    def of(cls, model: CachingModel, batch_size: int) -> CachedWriter:
        """The model's last one that was closed, whose functions are compiled already, or a new one."""
        spare = _SPARE.pop(model, None)
        if spare is None or (spare._batch_size, spare._dtype) != (batch_size, model.lm_head.weight.dtype):
            return cls(model, batch_size)
        return spare

    def next_logits(self, idx: Tensor) -> Tensor:
        start, self._length = self._length, self._length + idx.shape[1]
        if self._block_size < self._length:
            return super().next_logits(idx)
        self._text.append(idx)
        return self._new_tokens(idx, tinytorch.arange(start, self._length))

    def close(self) -> None:
        self._text, self._length = [], 0
        _SPARE[self.model()] = self

    def model(self) -> CachingModel:
        model = self._model()
        assert model is not None  # whoever generates holds it
        return model

    def _last_logits(self, idx: Tensor, positions: Tensor) -> Tensor:
        return self.model().logits(idx, self._kvs, positions)[:, -1]

    def _whole_window(self, idx: Tensor) -> Tensor:
        return self.model().logits(idx)
