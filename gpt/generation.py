"""Generate text character by character: computing the next one's logits, with the KV cache or without it.

B batch, T time, C channels, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

import tinytorch
import tinytorch.nn as nn
from gpt.config import GPTConfig
from tinytorch import Tensor
from tinytorch.generation.cache import KVCache
from tinytorch.generation.sampling import Ids, Sampling
from tinytorch.generation.stream import joined, stream


class Writer:
    """Computes the next token's logits as texts grow. Recomputes the whole context for each token."""

    def __init__(self, logits: Callable[[Tensor], Tensor], block_size: int) -> None:
        self._logits, self._block_size = logits, block_size

    def next_logits(self, ids: Ids, mask: Ids | None = None) -> Tensor:
        """The logits (B, V) of the token that follows ids (B, T)."""
        return self._logits(tinytorch.tensor(ids[:, -self._block_size :]))[:, -1]

    def close(self) -> None:
        """Say that the texts are finished."""


class GenerationMixin:
    """`generate` and `stream`, for a class that defines `writer`."""

    def writer(self, batch_size: int) -> Writer:
        """The object that computes the logits of a batch of growing texts. Close it when they are finished."""
        raise NotImplementedError

    def stream(
        self, idx: Tensor, max_new_tokens: int, sampling: Sampling, generator: tinytorch.Generator | None = None
    ) -> Iterator[Ids]:
        """Yield the tokens that follow idx (B, T), each (B,), as they are drawn."""
        writer = self.writer(idx.shape[0])
        try:
            yield from stream(
                writer.next_logits, idx.numpy(), max_new_tokens, sampling, generator=generator, likeliest_first=True
            )
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
        sampling = Sampling(temperature, top_k, top_p, greedy=greedy)
        return joined(idx.numpy(), self.stream(idx, max_new_tokens, sampling, generator))


class CachingModel(Protocol):
    """What `CachedWriter` needs from a model."""

    config: GPTConfig
    lm_head: nn.Linear

    def logits(self, idx: Tensor, cache: KVCache | None = None) -> Tensor:
        """(B, T) to (B, T, V); given a cache, the T tokens are at its positions."""


_SPARE: weakref.WeakKeyDictionary[CachingModel, CachedWriter] = weakref.WeakKeyDictionary()


class CachedWriter(Writer):
    """Computes each position once and caches its keys and values; both ways of computing are compiled.

    Beyond block_size the window slides, which changes every position, so all of them are computed again.
    """

    def __init__(self, model: CachingModel, batch_size: int) -> None:
        config, self._dtype = model.config, model.lm_head.weight.dtype
        super().__init__(tinytorch.compile(self._whole_window), config.block_size)
        self._model = weakref.ref(model)  # weak, so that _SPARE does not keep the model alive
        shape = batch_size, config.n_head, config.n_embd // config.n_head, config.block_size
        self._cache = KVCache(config.n_layer, *shape, self._dtype)
        self._new_tokens = tinytorch.compile(self._last_logits)

    @classmethod
    def of(cls, model: CachingModel, batch_size: int) -> CachedWriter:
        """The model's last closed writer, whose functions are already compiled, or a new one."""
        spare = _SPARE.pop(model, None)
        if spare is None or (spare._cache.batch, spare._dtype) != (batch_size, model.lm_head.weight.dtype):
            return cls(model, batch_size)
        return spare

    def next_logits(self, ids: Ids, mask: Ids | None = None) -> Tensor:
        seen, self._cache.length = self._cache.length, ids.shape[1]
        if self._block_size < ids.shape[1]:
            return super().next_logits(ids)
        positions = tinytorch.from_numpy(np.arange(seen, ids.shape[1]))
        return self._new_tokens(tinytorch.tensor(ids[:, seen:]), positions)

    def close(self) -> None:
        self._cache.length = 0
        _SPARE[self.model()] = self

    def model(self) -> CachingModel:
        model = self._model()
        assert model is not None  # whoever generates holds a reference to it
        return model

    def _last_logits(self, idx: Tensor, positions: Tensor) -> Tensor:
        return self.model().logits(idx, self._cache.at(positions))[:, -1]

    def _whole_window(self, idx: Tensor) -> Tensor:
        return self.model().logits(idx)
