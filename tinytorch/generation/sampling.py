"""How the next token is drawn from a model's logits.

The settings mean what they mean in transformers, and are applied in its order: repetition penalty, temperature,
top-k, top-p, min-p. B batch, T time, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinytorch

from ..cli.errors import UserError

Logits = NDArray[np.floating[Any]]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits."""

    temperature: float = 1.0
    """Divides the logits: below 1 it makes likely tokens likelier still, above 1 less so."""

    top_k: int | None = None
    """Draw from the k likeliest tokens only; 0 or None for all, as in transformers."""

    top_p: float | None = None
    """Draw from the fewest tokens whose probabilities add up to at least this, in (0, 1]; None for all."""

    min_p: float | None = None
    """Draw from the tokens at least this times as likely as the likeliest, in [0, 1]; None for all."""

    repetition_penalty: float = 1.0
    """Above 1, tokens that are already in the text become less likely."""

    greedy: bool = False
    """Take the likeliest token; temperature, top-k, top-p and min-p then have no effect."""

    def __post_init__(self) -> None:
        _check(self.temperature > 0, "temperature", self.temperature, "positive (--greedy is its limit at 0)")
        _check(self.top_k is None or self.top_k >= 0, "top_k", self.top_k, "at least 0")
        _check(self.top_p is None or 0.0 < self.top_p <= 1.0, "top_p", self.top_p, "in (0, 1]")
        _check(self.min_p is None or 0.0 <= self.min_p <= 1.0, "min_p", self.min_p, "in [0, 1]")
        _check(self.repetition_penalty > 0, "repetition_penalty", self.repetition_penalty, "positive")

    def choose(
        self,
        logits: Logits,
        ids: Ids,
        mask: Ids | None = None,
        generator: tinytorch.Generator | None = None,
        likeliest_first: bool = False,
    ) -> Ids:
        """Draw one token for each row, (B,), from the logits (B, V) that follow ids (B, T); where mask (B, T) is 0, ids
        are padding.

        The generator's numbers are mapped to tokens in the order of the vocabulary or, with likeliest_first, from the
        likeliest to the least likely: the same distribution, but different draws.
        """
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
        if not likeliest_first:
            return _draw(logits, generator)[:, 0]
        order = np.argsort(-logits, axis=-1, kind="stable")
        ranks = _draw(np.take_along_axis(logits, order, axis=-1), generator)
        return np.take_along_axis(order, ranks, axis=-1)[:, 0]


def _draw(logits: Logits, generator: tinytorch.Generator | None) -> Ids:
    """Draw one column of each row of logits (B, V), (B, 1)."""
    return tinytorch.multinomial(tinytorch.tensor(_softmax(logits)), 1, generator=generator).numpy()


def _check(good: bool, name: str, value: float | None, rule: str) -> None:
    if not good:
        raise UserError(f"{name} is {value}: it must be {rule}")


# Each takes logits (B, V) and returns new ones, with -inf for the tokens that it rules out ----------


def repetition_penalty(logits: Logits, ids: Ids, mask: Ids | None, penalty: float) -> Logits:
    """Divide the positive logits of tokens in ids (B, T) by `penalty`, and multiply negative ones (arXiv:1909.05858).

    Padding is ignored (transformers penalises the padding token too).
    """
    out = logits.copy()
    for row, tokens, kept in zip(out, ids, np.ones_like(ids) if mask is None else mask, strict=True):
        there = np.unique(tokens[kept != 0])
        row[there] = np.where(row[there] > 0, row[there] / np.float32(penalty), row[there] * np.float32(penalty))
    return out


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the k largest, and any that equal the k-th."""
    k = min(k, logits.shape[-1])
    smallest = np.partition(logits, -k, axis=-1)[:, -k, None]
    return np.where(logits < smallest, -np.inf, logits)


def top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest tokens whose probabilities add up to p, at least one: nucleus sampling (arXiv:1904.09751)."""
    order = np.argsort(logits, axis=-1, kind="stable")  # the least likely first
    below = np.cumsum(_softmax(np.take_along_axis(logits, order, axis=-1)), axis=-1)
    out = below <= 1.0 - p  # together, the tokens left out have a probability of at most 1 - p
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
