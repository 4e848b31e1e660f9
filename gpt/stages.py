"""From a table of character pairs to a transformer in seven stages, each adding one idea.

After the lecture "Let's build GPT: from scratch, in code, spelled out" (A. Karpathy, 2023) and "Attention is all you
need" (Vaswani et al., 2017, arXiv:1706.03762). Attention is written out here; `gpt/model.py` has the fast form.
B batch, T time, S time of the source, C channels, H heads, D = C/H head size, V vocabulary.
"""

from __future__ import annotations

import tinytorch
import tinytorch.nn as nn
from gpt.config import GPTConfig
from gpt.language_model import LanguageModel
from tinytorch import Tensor
from tinytorch.nn import functional as F


class Bigram(LanguageModel):
    """Stage 1: the next character depends on the last one only. Row i of a (V, V) table holds the logits after i."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.vocab_size)

    def logits(self, idx: Tensor) -> Tensor:
        return self.token_embedding(idx)  # (B, T) -> (B, T, V)


class Head(nn.Module):
    """One attention head: each position asks (query), each offers (key), and those that match contribute (value).

    softmax(q k^T / sqrt(D)) v. Without the division the scores' variance would be D and the softmax close to one-hot.
    causal=True is a decoder: position t sees 0 .. t. causal=False is an encoder: all see all. With `source` (B, S, C)
    the keys and values come from there (cross-attention); its positions do not line up with those of x, so no mask.
    """

    tril: Tensor  # (block_size, block_size), in a causal head only

    def __init__(self, n_embd: int, head_size: int, block_size: int, dropout: float = 0.0, causal: bool = True) -> None:
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.causal = causal
        if causal:
            self.register_buffer("tril", tinytorch.tril(tinytorch.ones(block_size, block_size)), persistent=False)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        if source is None:
            source = x
        elif self.causal:
            raise ValueError("cross-attention with a causal mask: make the attention with causal=False")
        T, S = x.shape[1], source.shape[1]
        q = self.query(x)  # (B, T, D)
        k = self.key(source)  # (B, S, D)
        v = self.value(source)  # (B, S, D)
        weights = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5  # (B, T, D) @ (B, D, S) -> (B, T, S)
        if self.causal:
            weights = weights.masked_fill(self.tril[:T, :S] == 0, float("-inf"))
        weights = self.dropout(F.softmax(weights, dim=-1))  # rows sum to 1
        return weights @ v  # (B, T, S) @ (B, S, D) -> (B, T, D)


class OneHead(LanguageModel):
    """Stage 2: characters attend to those before them. Tokens and positions are embedded, and a body mixes them."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.block_size, config.n_embd)
        self.body = self.make_body(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size)

    def make_body(self, config: GPTConfig) -> nn.Module:
        return Head(config.n_embd, config.n_embd, config.block_size, config.dropout)

    def logits(self, idx: Tensor) -> Tensor:
        T = idx.shape[1]
        x = self.token_embedding(idx) + self.position_embedding(tinytorch.arange(T))  # (B, T, C) + (T, C)
        return self.lm_head(self.body(x))  # (B, T, C) -> (B, T, V)


class MultiHead(nn.Module):
    """H heads of size D side by side, so that one position can look for several things at once."""

    def __init__(self, n_embd: int, n_head: int, block_size: int, dropout: float = 0.0, causal: bool = True) -> None:
        super().__init__()
        head_size = n_embd // n_head
        self.heads = nn.ModuleList([Head(n_embd, head_size, block_size, dropout, causal) for _ in range(n_head)])

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        return tinytorch.cat([head(x, source) for head in self.heads], dim=-1)  # H times (B, T, D) -> (B, T, C)


class FourHeads(OneHead):
    """Stage 3: several heads instead of one, with the same number of parameters."""

    def make_body(self, config: GPTConfig) -> nn.Module:
        return MultiHead(config.n_embd, config.n_head, config.block_size, config.dropout)


class FeedForwardStage(OneHead):
    """Stage 4: after attention, each position computes on its own: C to C, then ReLU."""

    def make_body(self, config: GPTConfig) -> nn.Module:
        return nn.Sequential(
            MultiHead(config.n_embd, config.n_head, config.block_size, config.dropout),
            nn.Linear(config.n_embd, config.n_embd),
            nn.ReLU(),
        )


class ProjectedMultiHead(MultiHead):
    """Heads whose concatenation a Linear layer mixes: the projection back into the residual stream."""

    def __init__(self, n_embd: int, n_head: int, block_size: int, dropout: float = 0.0, causal: bool = True) -> None:
        super().__init__(n_embd, n_head, block_size, dropout, causal)
        self.proj = nn.Linear(n_embd, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        return self.dropout(self.proj(super().forward(x, source)))  # (B, T, C)


class FeedForward(nn.Module):
    """Four times as wide inside, and a projection back into the residual stream."""

    def __init__(self, n_embd: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_embd, 4 * n_embd),
            nn.ReLU(),
            nn.Linear(4 * n_embd, n_embd),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # (B, T, C) -> (B, T, 4C) -> (B, T, C)


class Block(nn.Module):
    """Communication, then computation, each added to its input, so that gradients have a direct path back."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention = ProjectedMultiHead(config.n_embd, config.n_head, config.block_size, config.dropout)
        self.feed_forward = FeedForward(config.n_embd, config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.feed_forward(x)  # (B, T, C)


class Blocks(OneHead):
    """Stage 5: L blocks with residual connections."""

    def make_body(self, config: GPTConfig) -> nn.Module:
        return nn.Sequential(*[Block(config) for _ in range(config.n_layer)])


class PreNormBlock(Block):
    """A block that normalises the inputs of its two parts and leaves the residual stream itself alone."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.ln1(x))
        return x + self.feed_forward(self.ln2(x))  # (B, T, C)


class NormedBlocks(OneHead):
    """Stage 6: LayerNorm before each part of a block and before the output head."""

    def make_body(self, config: GPTConfig) -> nn.Module:
        blocks = [PreNormBlock(config) for _ in range(config.n_layer)]
        return nn.Sequential(*blocks, nn.LayerNorm(config.n_embd))


STAGES = {
    "bigram": Bigram,
    "one-head": OneHead,
    "four-heads": FourHeads,
    "feed-forward": FeedForwardStage,
    "blocks": Blocks,
    "layer-norm": NormedBlocks,
    "scaled": NormedBlocks,  # stage 7: the same class; only the settings grow
}
