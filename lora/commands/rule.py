"""A model's answers to prompts, and how often they follow the rule of the data that ships with the project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import tinytorch
from lora.model.generation import stream
from lora.model.llama import Llama
from lora.text import parrot
from lora.text.tokenizer import Tokenizer
from tinytorch.generation.sampling import Sampling

SHOWN = 3
MAX_NEW_TOKENS = 40  # the longest answer of the parrot is shorter


def data_path(name_or_path: str) -> Path:
    """The data file with a known name, or at a path (`./parrot` for a file of that name)."""
    return parrot.default_data() if name_or_path == parrot.NAME else Path(name_or_path)


def show_samples(
    model: Llama, tokenizer: Tokenizer, data: str, records: Sequence[dict[str, Any]], console: Console
) -> None:
    """Print some answers, and how many of `records` follow the rule; prints nothing for data without a rule."""
    if data != parrot.NAME:
        return
    prompts = [record["prompt"] for record in records]
    answers = complete(model, tokenizer, prompts)
    for prompt, answer in list(zip(prompts, answers, strict=True))[:SHOWN]:
        console.print(f"  {prompt.strip()} -> {answer.strip()!r}", soft_wrap=True, markup=False, highlight=False)
    good = sum(map(parrot.follows, prompts, answers))
    rate = f"{good} of {len(prompts)} prompts ({100 * good / len(prompts):.0f}%)"
    console.print(f"the rule holds for {rate}", soft_wrap=True, highlight=False)


def rule_rate(model: Llama, tokenizer: Tokenizer, data: str, records: Sequence[dict[str, Any]]) -> float | None:
    """The share of `records` whose prompts are answered by the rule; None for data without a rule."""
    if data != parrot.NAME:
        return None
    prompts = [record["prompt"] for record in records]
    answers = complete(model, tokenizer, prompts)
    return sum(map(parrot.follows, prompts, answers)) / len(prompts)


def complete(
    model: Llama, tokenizer: Tokenizer, prompts: Sequence[str], max_new_tokens: int = MAX_NEW_TOKENS
) -> list[str]:
    """Continue each prompt with the likeliest tokens, up to the end of the text or max_new_tokens."""
    rows = [tokenizer.encode(prompt) for prompt in prompts]
    length = max(map(len, rows))
    ids, mask = np.zeros((2, len(rows), length), np.int64)
    for i, row in enumerate(rows):
        ids[i, length - len(row) :], mask[i, length - len(row) :] = row, 1
    training = model.training
    model.eval()
    steps = stream(
        model,
        tinytorch.tensor(ids),
        max_new_tokens,
        Sampling(greedy=True),
        attention_mask=tinytorch.tensor(mask),
        eos_token_ids=tokenizer.eos_ids,
        pad_token_id=tokenizer.eos_ids[0],
    )
    tokens = np.stack(list(steps), axis=1)  # (B, N)
    model.train(training)
    return [tokenizer.decode(row[np.cumsum(np.isin(row, tokenizer.eos_ids)) == 0].tolist()) for row in tokens]
