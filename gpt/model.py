"""The production model: GPT-2's architecture (Radford et al., 2019) with nanoGPT's parameter names.

What the stages spell out, in its fast form: one product for queries, keys and values, one fused attention.
B batch, T time, C channels, H heads, D = C/H head size, V vocabulary.
"""

from __future__ import annotations

import math

import tinytorch
import tinytorch.nn as nn
from gpt.config import GPTConfig
from gpt.language_model import LanguageModel
from tinytorch import Tensor
from tinytorch.nn import functional as F


class KeysValues:
    """The keys and values of the positions seen so far, of one attention layer: (B, H, block_size, D) each, filled up
    to `length`. With them a new token costs one position, not all of them anew."""

    def __init__(self, batch_size: int, config: GPTConfig, like: Tensor) -> None:
        shape = (batch_size, config.n_head, config.block_size, config.n_embd // config.n_head)
        self.keys, self.values = (tinytorch.zeros(shape, dtype=like.dtype) for _ in range(2))
        self.length = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values (B, H, T, D) of the next T positions; all so far (B, H, length, D)."""
        start, self.length = self.length, self.length + k.shape[2]
        self.keys[:, :, start : self.length] = k
        self.values[:, :, start : self.length] = v
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)  # q, k, v of all heads
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, seen: KeysValues | None = None) -> Tensor:
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, H, T, D)
            for part in self.c_attn(x).split(C, dim=2)
        )
        if seen is not None:
            k, v = seen.extend(k, v)
        dropout = self.dropout if self.training else 0.0
        before = k.shape[2] - T  # positions that all the new ones may look at; a single new one looks at everything
        mask = tinytorch.ones(T, T + before).tril(before) == 1 if before and T > 1 else None
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=T > 1 and not before)
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

    def forward(self, x: Tensor, seen: KeysValues | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), seen)
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

    def logits(self, idx: Tensor, seen: list[KeysValues] | None = None) -> Tensor:
        """(B, T) to (B, T, V); the T tokens follow those that are `seen`, if any."""
        start = seen[0].length if seen else 0
        end = start + idx.shape[1]
        if self.config.block_size < end:
            raise ValueError(f"{end} tokens do not fit in a context of {self.config.block_size}: crop idx")
        layers = self.transformer
        x = layers["drop"](layers["wte"](idx) + layers["wpe"](tinytorch.arange(start, end)))  # (B, T, C) + (T, C)
        for i, block in enumerate(layers["h"]):
            x = block(x, seen[i] if seen else None)
        return self.lm_head(layers["ln_f"](x))

    def last_logits(self, idx: Tensor, seen: list[KeysValues]) -> Tensor:
        """As of LanguageModel, at the cost of one position where the others are `seen`.

        Past block_size the window moves, every position with it, and all are computed anew.
        """
        block_size = self.config.block_size
        if idx.shape[1] > block_size:
            return self.logits(idx[:, -block_size:])[:, -1]
        if not seen:
            seen += [KeysValues(idx.shape[0], self.config, self.lm_head.weight) for _ in range(self.config.n_layer)]
        return self.logits(idx[:, seen[0].length :], seen)[:, -1]
