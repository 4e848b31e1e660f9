"""The GPT's training run, and loading the model that a run has saved."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gpt.config import TrainConfig
from gpt.language_model import LanguageModel
from gpt.presets import build_model
from gpt.tokenizer import CharTokenizer
from tinytorch import Tensor
from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import reading
from tinytorch.training import checkpoint
from tinytorch.training import run as training
from tinytorch.training.corpora import load_text
from tinytorch.training.run import RESTORE, model_state, stored_config
from tinytorch.training.text_data import TextData


class Run(training.Run[TrainConfig]):
    """A training run on the characters of a text."""

    config_class = TrainConfig
    unit = "character"
    model: LanguageModel

    def __init__(self, config: TrainConfig) -> None:
        text = load_text(config.data)
        self.tokenizer = CharTokenizer.from_text(text)
        model_config = dataclasses.replace(config.model, vocab_size=self.tokenizer.vocab_size)
        config = dataclasses.replace(config, model=model_config)
        self.tokens = np.array(self.tokenizer.encode(text), dtype=np.int32)
        super().__init__(config, text, TextData(config, self.tokens, model_config.block_size), compiled=True)
        self.name = config.preset
        self.extra_values = {"vocabulary": self.tokenizer.vocabulary}

    def build_model(self) -> LanguageModel:
        return build_model(self.config.architecture, self.config.model)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.model(inputs, targets)[1]

    def describe(self) -> str:
        return (
            f"{self.config.preset}: {self.model.num_parameters():,} parameters; {self.config.data}: "
            f"{len(self.tokens):,} characters, {self.tokenizer.vocab_size} different; "
            f"writing to {self.config.out}"
        )

    def next_command(self) -> str:
        return f"let it write: {shlex.join(['python', '-m', 'gpt', 'sample', '--out', str(self.config.out)])}"


def load_model(folder: Path, name: str) -> tuple[LanguageModel, CharTokenizer]:
    """The model of the checkpoint `name` ("best" or "last") in evaluation mode, and its tokenizer."""
    with reading(folder / f"{name}.json", RESTORE):
        tensors, values = checkpoint.load(folder, name)
        config = stored_config(TrainConfig, folder, values)
        _check_size(config, model_state(tensors))
        tokenizer = CharTokenizer(values["vocabulary"])
        if tokenizer.vocab_size != config.model.vocab_size:
            raise UserError(f"vocab_size is {config.model.vocab_size}, but its vocabulary has another size: {RESTORE}")
        model = build_model(config.architecture, config.model)
        model.load_state_dict(model_state(tensors))
    model.eval()
    return model, tokenizer


def _check_size(config: TrainConfig, weights: Mapping[str, Tensor]) -> None:
    """UserError where settings and weights differ in size, before a model of those settings is built."""
    model, shapes = config.model, {tuple(tensor.shape) for tensor in weights.values()}
    V, T, C = model.vocab_size, model.block_size, model.n_embd
    tables = {(V, V)} if config.architecture == "bigram" else {(V, C), (T, C)}
    # The first stages have no layers, whatever n_layer says.
    if not tables <= shapes or model.n_layer > 100 + len(weights):
        raise UserError(f"its settings describe a model of another size than its weights: {RESTORE}")
