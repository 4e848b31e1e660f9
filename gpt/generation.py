"""Generate text token by token: sampling, and the KV cache by which each new token costs one position.

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
from programs.errors import UserError
from tinytorch import Tensor
from tinytorch.nn import functional as F


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits."""

    temperature: float = 1.0
    """Divides the logits: below 1 it makes likely characters likelier still, above 1 less so."""

    top_k: int | None = None
    """Draw from the k likeliest characters only; None for all."""

    top_p: float | None = None
    """Draw from the fewest characters whose probabilities add up to at least this, in (0, 1]; None for all."""

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
        """Draw one token for each row: logits (B, V) to ids (B, 1) int64.

        top_p is nucleus sampling (Holtzman et al., 2020, arXiv:1904.09751), applied after top_k.
        """
        if self.greedy:
            return logits.argmax(dim=-1, keepdim=True)
        k = min(self.top_k or logits.shape[-1], logits.shape[-1])
        values, ids = tinytorch.topk(logits, k, dim=-1)  # (B, k), the likeliest first
        probabilities = F.softmax(values / self.temperature, dim=-1)
        if self.top_p is not None:
            before = probabilities.cumsum(dim=-1) - probabilities  # mass of all likelier tokens: 0 for the first
            probabilities = probabilities.masked_fill(before >= self.top_p, 0.0)
        drawn = tinytorch.multinomial(probabilities, 1, generator=generator)  # (B, 1), ranks
        return ids.gather(-1, drawn)


class Writer:
    """The texts of a batch as they grow, and the next token's logits. Recomputes the whole context for each token."""

    def __init__(self, logits: Callable[[Tensor], Tensor], block_size: int) -> None:
        self._logits, self._block_size = logits, block_size
        self._text: list[Tensor] = []  # pieces that together hold at least the last block_size tokens

    def next_logits(self, idx: Tensor) -> Tensor:
        """Append idx (B, T) to the texts and return the logits (B, V) of the token that follows."""
        self._text = [tinytorch.cat([*self._text, idx], dim=1)[:, -self._block_size :]]
        return self._logits(self._text[0])[:, -1]

    def close(self) -> None:
        """Say that the texts are finished."""


class GenerationMixin:
    """`generate` and `stream`, for a class that defines `writer`."""

    def writer(self, batch_size: int) -> Writer:
        """The object that computes the logits of a batch of growing texts. Close it when they are finished."""
        raise NotImplementedError

    def stream(
        self, idx: Tensor, max_new_tokens: int, sampling: Sampling, generator: tinytorch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Yield the tokens that follow idx (B, T), each (B, 1), as they are drawn."""
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
        """Extend ids (B, T) to (B, T + max_new_tokens); the model sees only the last block_size of them."""
        sampling = Sampling(temperature, top_k, top_p, greedy)
        return tinytorch.cat([idx, *self.stream(idx, max_new_tokens, sampling, generator)], dim=1)


class KVCache(NamedTuple):
    """The keys and values of one attention layer, and the places where the new tokens' go."""

    kv: Tensor  # (B, block_size, 2C): keys and values side by side, as c_attn computes them
    positions: Tensor  # (T,): those of the new tokens
    mask: Tensor  # (T, block_size), True at a position itself and those before it

    def extend(self, kv: Tensor) -> Tensor:
        """Store the new tokens' keys and values (B, T, 2C), and return those of all positions."""
        self.kv[:, self.positions] = kv
        return self.kv


class CachingModel(Protocol):
    """What `CachedWriter` needs from a model."""

    config: GPTConfig
    lm_head: nn.Linear

    def logits(self, idx: Tensor, kvs: Sequence[Tensor] | None = None, positions: Tensor | None = None) -> Tensor:
        """(B, T) to (B, T, V); given the layers' keys and values, the T tokens follow those that are cached there."""


_SPARE: weakref.WeakKeyDictionary[CachingModel, CachedWriter] = weakref.WeakKeyDictionary()


class CachedWriter(Writer):
    """Computes each position once and caches its keys and values; both ways of computing are compiled.

    Beyond block_size the window slides, which changes every position, so all of them are computed again.
    """

    def __init__(self, model: CachingModel, batch_size: int) -> None:
        config, dtype = model.config, model.lm_head.weight.dtype
        super().__init__(tinytorch.compile(self._whole_window), config.block_size)
        self._model = weakref.ref(model)  # weak, so that _SPARE does not keep the model alive
        self._batch_size, self._dtype, self._length = batch_size, dtype, 0
        shape = (batch_size, config.block_size, 2 * config.n_embd)
        self._kvs = [tinytorch.zeros(shape, dtype=dtype) for _ in range(config.n_layer)]
        self._new_tokens = tinytorch.compile(self._last_logits)

    @classmethod
    def of(cls, model: CachingModel, batch_size: int) -> CachedWriter:
        """The model's last closed writer, whose functions are already compiled, or a new one."""
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
        assert model is not None  # whoever generates holds a reference to it
        return model

    def _last_logits(self, idx: Tensor, positions: Tensor) -> Tensor:
        return self.model().logits(idx, self._kvs, positions)[:, -1]

    def _whole_window(self, idx: Tensor) -> Tensor:
        return self.model().logits(idx)
