"""Evaluate a model on a file of examples."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console

import tinytorch
from lora.commands.loading import load
from lora.commands.rule import data_path, show_samples
from lora.model.default_model import default_model
from lora.model.training_record import SEED, VAL_DATA, recall
from lora.text.batches import Batches
from lora.text.data import load_data, split
from tinytorch.cli.errors import UserError
from tinytorch.training.metrics import perplexity_of
from tinytorch.training.settings import TrainSettings, check
from tinytorch.training.trainer import count_targets


@dataclass(frozen=True)
class EvalConfig:
    """Measure a model's loss and perplexity on a file and, on the parrot's data, how often its rule holds."""

    model: Path = field(default_factory=default_model)
    """Folder of a checkpoint; the default is the model that ships with the project."""

    adapter: Path | None = None
    """Folder of an adapter for that model."""

    data: str = "parrot"
    """File of examples, as for `python -m lora train`."""

    part: Literal["validation", "all"] = "validation"
    """The tenth of the examples that training does not see, or all of them."""

    seed: int | None = None
    """Seed by which that tenth was drawn; by default the one used to train the adapter."""

    max_tokens: int = 512
    """The most tokens in an example, or the model's context if that is shorter; the rest is cut off."""

    batch_size: int = 16
    """Examples B in a batch."""

    def __post_init__(self) -> None:
        check(self.max_tokens >= 2, f"max_tokens is {self.max_tokens}: it must be at least 2, a token and the next")
        check(self.batch_size >= 1, f"batch_size is {self.batch_size}: it must be at least 1")


def _seed(config: EvalConfig) -> int:
    """The seed by which validation examples were drawn. UserError if the adapter was validated on another file."""
    how = recall(config.adapter)
    if how.get(VAL_DATA):
        raise UserError(
            f"{config.adapter} was validated on {how[VAL_DATA]}: give --data {how[VAL_DATA]} --part all, "
            f"or --part all for all of {config.data}"
        )
    if config.seed is not None:
        return config.seed
    seed = how.get(SEED)
    return seed if isinstance(seed, int) else TrainSettings.seed


def evaluate(config: EvalConfig) -> int:
    """Run the command and return its exit code."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    model, tokenizer = load(config.model, adapter=config.adapter)
    length = min(config.max_tokens, model.config.max_position_embeddings)
    data = load_data(data_path(config.data), tokenizer, length)
    for warning in data.warnings:
        console.print(f"warning: {warning}")
    examples, records = data.examples, data.records
    if config.part == "validation":
        seed = _seed(config)
        examples, records = split(examples, seed)[1], split(records, seed)[1]
    total, count, tokens, started = 0.0, 0, 0, time.perf_counter()
    with tinytorch.no_grad():
        for inputs, targets in Batches(examples, config.batch_size, seed=0).one_epoch():
            learned = count_targets((inputs, targets))
            total += model.loss_of(model.hidden_states(inputs), targets).item() * learned
            count += learned
            tokens += inputs.numel()
    loss, seconds = total / count, time.perf_counter() - started
    console.print(
        f"{len(examples)} examples of {config.data}, {count:,} tokens to predict: loss {loss:.4f} nats per token, "
        f"perplexity {perplexity_of(loss):.4g} ({tokens / seconds:,.0f} tokens/s)"
    )
    show_samples(model, tokenizer, config.data, records, console)
    return 0
