"""The production model: GPT-2's architecture (Radford et al., 2019) with nanoGPT's parameter names.

The fast form of what the stages spell out: one product for queries, keys and values, one fused attention.
B batch, T time, C channels, H heads, D = C/H head size, V vocabulary.
"""

from __future__ import annotations

import math

import tinytorch
import tinytorch.nn as nn
from gpt.config import GPTConfig
from gpt.generation import CachedWriter
from gpt.language_model import LanguageModel
from tinytorch import Tensor
from tinytorch.generation.cache import KVCache
from tinytorch.nn import functional as F


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)  # q, k, v of all heads
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        B, T, C = x.shape
        parts = self.c_attn(x).split(C, dim=2)
        q, k, v = (part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in parts)  # (B, H, T, D)
        mask = None
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
            mask = cache.mask
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
    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache)
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
                "h": nn.ModuleList([Block(config, layer) for layer in range(config.n_layer)]),
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
        # The residual stream sums 2L projections: scaled like this, its variance does not grow with depth (GPT-2).
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, mean=0.0, std=0.02 / math.sqrt(2 * self.config.n_layer))

    def logits(self, idx: Tensor, cache: KVCache | None = None) -> Tensor:
        """(B, T) to (B, T, V); given a cache (from `KVCache.at`), the T tokens are at its positions."""
        T = idx.shape[1]
        if self.config.block_size < T:
            raise ValueError(f"{T} tokens do not fit in a context of {self.config.block_size}: crop idx")
        layers = self.transformer
        positions = tinytorch.arange(T) if cache is None else cache.positions
        x = layers["drop"](layers["wte"](idx) + layers["wpe"](positions))  # (B, T, C) + (T, C)
        for block in layers["h"]:
            x = block(x, cache)
        return self.lm_head(layers["ln_f"](x))

    def writer(self, batch_size: int) -> CachedWriter:
        return CachedWriter.of(self, batch_size)
