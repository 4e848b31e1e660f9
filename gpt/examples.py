"""What a language model learns from: every prefix of a text, with the character that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro

import tinytorch
from gpt.tokenizer import CharTokenizer
from tinytorch.cli.errors import UserError
from tinytorch.training.batches import Batches


@dataclass(frozen=True)
class ExamplesConfig:
    """Print the training examples in a text: one context and its target per line, as token ids and as text.

    The whole text comes first, as one sequence, then a batch of random windows of it, as in training.
    """

    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The text, at least two characters long; its characters are the vocabulary."""

    batch_size: int = 4
    """Sequences B in the batch."""

    block_size: int = 8
    """Context length T in the batch, in characters; a shorter text shortens it."""

    seed: int = 1337
    """Seed of the random windows."""

    def __post_init__(self) -> None:
        if len(self.text) < 2:
            raise UserError(f"the text {self.text!r} has no character followed by another: give at least two")
        for name in ("batch_size", "block_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")


def examples(config: ExamplesConfig) -> Iterator[str]:
    """The lines to print."""
    tokenizer = CharTokenizer.from_text(config.text)
    ids = tokenizer.encode(config.text)
    yield f"vocabulary: {tokenizer.vocab_size} characters {tokenizer.vocabulary!r}"
    yield f"sequence: {len(ids)} characters, {len(ids) - 1} examples"
    yield from _pairs(ids[:-1], ids[1:], tokenizer)

    generator = tinytorch.Generator()
    generator.manual_seed(config.seed)
    block_size = min(config.block_size, len(ids) - 1)
    inputs, targets = next(Batches(np.array(ids), config.batch_size, block_size, generator))
    B, T = inputs.shape
    yield f"batch: inputs and targets of shape ({B}, {T}), {B * T} examples"
    for b in range(B):
        yield f"row {b}: {tokenizer.decode(inputs[b].tolist())!r}"
        yield from _pairs(inputs[b].tolist(), targets[b].tolist(), tokenizer)


def _pairs(inputs: list[int], targets: list[int], tokenizer: CharTokenizer) -> Iterator[str]:
    for t, target in enumerate(targets):
        context = inputs[: t + 1]
        yield f"  {context} -> {target}   {tokenizer.decode(context)!r} -> {tokenizer.decode([target])!r}"
