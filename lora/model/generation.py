"""New tokens from a model's logits: what changes the distribution, and the loop that draws from it.

The settings mean what they mean in transformers and are applied in its order: repetition penalty, temperature, top-k,
top-p, min-p. B batch, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import tinytorch
from lora.model.cache import Cache
from tinytorch import Tensor
from tinytorch.cli.errors import UserError

if TYPE_CHECKING:
    from lora.model.llama import Llama

Logits = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits."""

    temperature: float = 1.0
    """Divides the logits: below 1 the likely tokens become likelier, above 1 less so."""

    top_k: int | None = None
    """Draw among the k likeliest tokens only; 0 or None for all, as in transformers."""

    top_p: float | None = None
    """Draw among the fewest tokens whose probabilities add up to at least this, in (0, 1]; None for all."""

    min_p: float | None = None
    """Draw among the tokens at least this times as likely as the likeliest, in [0, 1]; None for all."""

    repetition_penalty: float = 1.0
    """Above 1, tokens that are already there become less likely."""

    greedy: bool = False
    """Take the likeliest token; temperature, top-k, top-p and min-p then have no effect."""

    def __post_init__(self) -> None:
        _check(self.temperature > 0, "temperature", self.temperature, "positive (--greedy is its limit at 0)")
        _check(self.top_k is None or self.top_k >= 0, "top_k", self.top_k, "at least 0")
        _check(self.top_p is None or 0.0 < self.top_p <= 1.0, "top_p", self.top_p, "in (0, 1]")
        _check(self.min_p is None or 0.0 <= self.min_p <= 1.0, "min_p", self.min_p, "in [0, 1]")
        _check(self.repetition_penalty > 0, "repetition_penalty", self.repetition_penalty, "positive")

    def choose(
        self, logits: Logits, ids: Ids, mask: NDArray[Any], generator: tinytorch.Generator | None = None
    ) -> Ids:
        """Draw one token a row, (B,), from logits (B, V) after ids (B, T), of which those with mask (B, T) 0 are
        padding."""
        if self.repetition_penalty != 1.0:
            logits = repetition_penalty(logits, ids, mask, self.repetition_penalty)
        if self.greedy:
            return logits.argmax(axis=-1)
        logits = logits / np.float32(self.temperature)
        if self.top_k:
            logits = top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = min_p(logits, self.min_p)
        return tinytorch.multinomial(tinytorch.tensor(_softmax(logits)), 1, generator=generator).numpy()[:, 0]


def _check(good: bool, name: str, value: float | None, rule: str) -> None:
    if not good:
        raise UserError(f"{name} is {value}: it must be {rule}")


# Each takes logits (B, V) and gives new ones, with -inf for the tokens that it rules out ------------


def repetition_penalty(logits: Logits, ids: Ids, mask: NDArray[Any], penalty: float) -> Logits:
    """Divide positive logits of the tokens in ids (B, T) by `penalty`, multiply negative ones (arXiv:1909.05858).

    Padding counts as not there (transformers penalises the padding token too).
    """
    out = logits.copy()
    for row, tokens, kept in zip(out, ids, mask, strict=True):
        there = np.unique(tokens[kept != 0])
        row[there] = np.where(row[there] > 0, row[there] / np.float32(penalty), row[there] * np.float32(penalty))
    return out


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the k largest, and what equals the k-th."""
    k = min(k, logits.shape[-1])
    smallest = np.partition(logits, -k, axis=-1)[:, -k, None]
    return np.where(logits < smallest, -np.inf, logits)


def top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest tokens whose probabilities add up to p: the nucleus of arXiv:1904.09751. At least one stays."""
    order = np.argsort(logits, axis=-1, kind="stable")  # the unlikeliest first
    below = np.cumsum(_softmax(np.take_along_axis(logits, order, axis=-1)), axis=-1)
    out = below <= 1.0 - p  # all that is left out adds up to no more than 1 - p
    out[:, -1] = False
    removed = np.empty_like(out)
    np.put_along_axis(removed, order, out, axis=-1)
    return np.where(removed, -np.inf, logits)


def min_p(logits: Logits, p: float) -> Logits:
    """Keep the tokens at least p times as likely as the likeliest (arXiv:2407.01082)."""
    probabilities = _softmax(logits)
    return np.where(probabilities < p * probabilities.max(axis=-1, keepdims=True), -np.inf, logits)


def _softmax(logits: Logits) -> Logits:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# The loop -------------------------------------------------------------------------------------------


def stream(
    model: Llama,
    input_ids: Tensor,
    max_new_tokens: int,
    sampling: Sampling,
    attention_mask: Tensor | None = None,
    eos_token_ids: Collection[int] = (),
    pad_token_id: int = 0,
    generator: tinytorch.Generator | None = None,
    cache: Cache | None = None,
    is_done: Callable[[Ids], NDArray[np.bool_]] | None = None,
) -> Iterator[Ids]:
    """Yield the next tokens of input_ids (B, T), each (B,), as they are drawn.

    attention_mask (B, T) is 0 for padding, which goes to the left. A row is done after one of eos_token_ids, which is
    still given, and where `is_done`, called with each step's tokens (B,), says so; what follows in that row is
    pad_token_id. The stream ends when all rows are done.

    A `cache` that holds the first positions of input_ids already (`model.make_cache`) saves computing them.
    """
    ids = input_ids.numpy()
    mask = np.ones_like(ids) if attention_mask is None else attention_mask.numpy()
    if not mask[:, -1].all():
        raise ValueError("attention_mask ends in padding: pad on the left, so that a row goes on from its last token")
    ends = np.array(sorted(eos_token_ids), dtype=np.int64)
    done = np.zeros(len(ids), dtype=bool)
    cache = cache or model.make_cache(len(ids), ids.shape[1] + max_new_tokens)
    for _ in range(max_new_tokens):
        logits = model(ids[:, cache.length :], mask, cache, logits_to_keep=1)[:, -1]
        drawn = sampling.choose(logits.numpy().astype(np.float32, copy=False), ids, mask, generator)
        tokens = np.where(done, pad_token_id, drawn)
        yield tokens
        done |= np.isin(tokens, ends)
        if is_done is not None:
            done |= is_done(tokens)
        if done.all():
            return
        ids = np.concatenate([ids, tokens[:, None]], axis=1)
        mask = np.concatenate([mask, np.ones_like(tokens[:, None])], axis=1)


def generate(model: Llama, input_ids: Tensor, max_new_tokens: int, sampling: Sampling, **settings: Any) -> Tensor:
    """Continue input_ids (B, T) to (B, T + N), N at most max_new_tokens; `settings` are those of `stream`."""
    tokens = [step[:, None] for step in stream(model, input_ids, max_new_tokens, sampling, **settings)]
    return tinytorch.tensor(np.concatenate([input_ids.numpy(), *tokens], axis=1))
