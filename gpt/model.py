"""The production model: GPT-2's architecture (Radford et al., 2019) with nanoGPT's parameter names.

What the stages spell out, in its fast form: one product for queries, keys and values, one fused attention.
B batch, T time, C channels, H heads, D = C/H head size, V vocabulary.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import tinytorch
import tinytorch.nn as nn
from gpt.config import GPTConfig
from gpt.language_model import LanguageModel, Writer
from tinytorch import Tensor
from tinytorch.nn import functional as F


class KeysValues:
    """The keys and values of the positions seen so far, of one attention layer, side by side as its product makes
    them: (B, block_size, 2C). With them a new token costs one position, not all of them anew."""

    def __init__(self, batch_size: int, config: GPTConfig, like: Tensor) -> None:
        self.kept = tinytorch.zeros(batch_size, config.block_size, 2 * config.n_embd, dtype=like.dtype)

    def extend(self, kv: Tensor, positions: Tensor) -> Tensor:
        """Put the keys and values (B, T, 2C) of the positions (T,) in their places; all, also those to come."""
        self.kept[:, positions] = kv
        return self.kept


class Places(NamedTuple):
    """Where the tokens are that are read after others, and what each may look at."""

    positions: Tensor  # (T,)
    mask: Tensor  # (T, block_size), True at a position's own and before


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)  # q, k, v of all heads
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, seen: KeysValues | None = None, places: Places | None = None) -> Tensor:
        B, T, C = x.shape
        qkv, mask = self.c_attn(x), None
        if seen is None or places is None:
            parts = qkv.split(C, dim=2)
        else:
            parts = qkv[..., :C], *seen.extend(qkv[..., C:], places.positions).split(C, dim=2)
            mask = places.mask
        q, k, v = (part.view(B, -1, self.n_head, C // self.n_head).transpose(1, 2) for part in parts)  # (B, H, T, D)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None)
        y = y.transpose(1, 2).contiguous().view(B, T, C)  # heads side by side
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x))))  # (B, T, C) -> (B, T, 4C) -> (B, T, C)


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, seen: KeysValues | None = None, places: Places | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), seen, places)
        return x + self.mlp(self.ln_2(x))


class GPT(LanguageModel):
    """Ids (B, T) to logits (B, T, V), T at most `config.block_size` (ValueError beyond)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "drop": nn.Dropout(config.dropout),
                "h": nn.ModuleList([Block(config) for _ in range(config.n_layer)]),
                "ln_f": nn.LayerNorm(config.n_embd, bias=config.bias),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tied_head:
            self.transformer["wte"].weight = self.lm_head.weight
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # The residual stream is a sum of 2L projections: scaled so, its variance does not grow with depth (GPT-2).
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, mean=0.0, std=0.02 / math.sqrt(2 * self.config.n_layer))

    def logits(
        self, idx: Tensor, seen: Sequence[KeysValues | None] | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """(B, T) to (B, T, V). With what is `seen`, the T tokens are at these positions (T,), after the others."""
        T = idx.shape[1]
        if self.config.block_size < T:
            raise ValueError(f"{T} tokens do not fit in a context of {self.config.block_size}: crop idx")
        layers = self.transformer
        places = None
        if positions is None:
            positions = tinytorch.arange(T)
        else:
            places = Places(positions, tinytorch.arange(self.config.block_size) <= positions.unsqueeze(1))
        x = layers["drop"](layers["wte"](idx) + layers["wpe"](positions))  # (B, T, C) + (T, C)
        for block, cache in zip(layers["h"], seen or [None] * len(layers["h"]), strict=True):
            x = block(x, cache, places)
        return self.lm_head(layers["ln_f"](x))

    def writer(self, batch_size: int) -> Writer:
        """As of LanguageModel. The last one that is done is used again: its programs are compiled."""
        spare = _SPARE.pop(self, None)
        fits = spare is not None and spare.batch_size == batch_size and spare.dtype == self.lm_head.weight.dtype
        return spare if spare is not None and fits else CachedWriter(self, batch_size)


_SPARE: weakref.WeakKeyDictionary[GPT, CachedWriter] = weakref.WeakKeyDictionary()


class CachedWriter(Writer):
    """Reads a position once, keeps its keys and values, and has both ways of reading compiled.

    Past block_size the window moves, every position with it, and all are computed anew.
    """

    def __init__(self, model: GPT, batch_size: int) -> None:
        super().__init__(tinytorch.compile(self._moved), model.config.block_size)
        self._model = weakref.ref(model)  # which _SPARE must not keep alive
        self.batch_size, self.dtype = batch_size, model.lm_head.weight.dtype
        self._seen = [KeysValues(batch_size, model.config, model.lm_head.weight) for _ in range(model.config.n_layer)]
        self._length = 0
        self._next_logits = tinytorch.compile(self._next)

    def read(self, idx: Tensor) -> Tensor:
        start, self._length = self._length, self._length + idx.shape[1]
        if self._block_size < self._length:
            return super().read(idx)
        self._text.append(idx)
        return self._next_logits(idx, tinytorch.arange(start, self._length))

    def close(self) -> None:
        self._text, self._length = [], 0
        _SPARE[self.model()] = self

    def model(self) -> GPT:
        model = self._model()
        assert model is not None  # whoever writes holds it
        return model

    def _next(self, idx: Tensor, positions: Tensor) -> Tensor:
        return self.model().logits(idx, self._seen, positions)[:, -1]

    def _moved(self, idx: Tensor) -> Tensor:
        return self.model().logits(idx)
