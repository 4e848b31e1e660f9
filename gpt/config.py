"""Settings of a model and of a training run. tyro builds the command line from these classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from tinytorch.training.settings import TrainSettings, check, check_types


@dataclass(frozen=True)
class GPTConfig:
    """Shape of a model. Every stage takes the same settings and ignores those it has no use for."""

    vocab_size: Annotated[int, tyro.conf.Suppress] = 65
    """Vocabulary size V, the number of different characters; the trainer takes it from the text."""

    block_size: int = 64
    """Context length T, in characters: how far back the model sees."""

    n_layer: int = 4
    """Number of blocks L."""

    n_head: int = 4
    """Attention heads H in a block; must divide n-embd."""

    n_embd: int = 128
    """Channels C of the residual stream."""

    dropout: float = 0.0
    """Probability of dropping an activation while training, from 0 up to (not including) 1."""

    bias: bool = False
    """Use biases in the Linear and LayerNorm layers (production model only; the stages follow the lecture)."""

    tied_head: bool = True
    """Share one matrix between the token embedding and the output head (production model only)."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: it must be at least 1")
        check(0.0 <= self.dropout < 1.0, f"dropout is {self.dropout}: it must be in [0, 1)")
        check(
            self.n_embd % self.n_head == 0,
            f"n_embd ({self.n_embd}) is not a multiple of n_head ({self.n_head}): change one of them",
        )


@dataclass(frozen=True)
class TrainConfig(TrainSettings):
    """Train a model on a text.

    Writes to the folder OUT:
    - last.json, best.json: settings, vocabulary, progress; each names the .safetensors file with its weights
    - metrics.jsonl: one line for each step and each evaluation
    - loss.png: the loss curves, in nats per character

    Ctrl-C, SIGTERM and SIGHUP save the run and stop it (exit code 130). With --resume it continues from last.json,
    to the same bits as if it had never stopped.
    """

    out: Path = Path("runs/nano-cpu")
    """Folder of the run: checkpoints, metrics.jsonl, loss.png."""

    preset: str = "nano-cpu"
    """Settings to start from; add --help to see them.
    From nanoGPT: nano-cpu, nano-gpu; demo is nano-cpu with a text and a learning rate for one minute.
    The lecture's stages: bigram, one-head, four-heads, feed-forward, blocks, layer-norm, scaled."""

    architecture: Annotated[str, tyro.conf.Suppress] = "gpt"
    """The class of the model, which the preset decides."""

    model: Annotated[GPTConfig, tyro.conf.arg(name="")] = field(default_factory=GPTConfig)
    """Shape of the model."""

    def fixed(self) -> dict[str, Any]:
        names = ("block_size", "n_layer", "n_head", "n_embd", "bias", "tied_head")
        return {"preset": self.preset, "seed": self.seed, **{name: getattr(self.model, name) for name in names}}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        check_types(GPTConfig, values["model"])
        return super().from_json({**values, "model": GPTConfig(**values["model"])})
