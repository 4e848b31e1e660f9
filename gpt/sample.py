"""Write text with a trained model, character by character."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

import tinytorch
from gpt.run import load_model
from tinytorch.cli.errors import UserError
from tinytorch.generation.sampling import Sampling


@dataclass(frozen=True)
class SampleConfig:
    """Write text with a trained model, to the terminal as it is drawn. The same seed writes the same text."""

    out: Path = Path("runs/nano-cpu")
    """Folder of the training run whose model to use."""

    checkpoint: Literal["best", "last"] = "best"
    """The model with the lowest validation loss, or the last one."""

    prompt: str = ""
    """Text to continue; empty to begin on a new line. It may use only characters of the training text."""

    max_new_tokens: int = 500
    """How many characters to write."""

    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = field(default_factory=Sampling)
    """How each character is drawn."""

    seed: int = 1337
    """Seed of the random draws."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 0:
            raise UserError(f"max_new_tokens is {self.max_new_tokens}: it must not be negative")


def sample(config: SampleConfig) -> None:
    """Print the prompt and the text that follows it."""
    model, tokenizer = load_model(config.out, config.checkpoint)
    fresh_line = "\n" if "\n" in tokenizer.vocabulary else tokenizer.vocabulary[0]
    idx = tinytorch.tensor([tokenizer.encode(config.prompt or fresh_line)])  # (1, T)
    generator = tinytorch.Generator()
    generator.manual_seed(config.seed)
    sys.stdout.write(config.prompt)
    for token in model.stream(idx, config.max_new_tokens, config.sampling, generator):
        sys.stdout.write(tokenizer.decode([int(token.item())]))
        sys.stdout.flush()
    sys.stdout.write("\n")
