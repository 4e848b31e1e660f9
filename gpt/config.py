"""Settings of a model and of a training run. The command line is made from these classes (tyro)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from programs.errors import UserError


@dataclass(frozen=True)
class GPTConfig:
    """Shape of a model. Every stage reads the same settings; what a stage has no use for, it ignores."""

    vocab_size: Annotated[int, tyro.conf.Suppress] = 65
    """V, number of different characters; the trainer takes it from the text."""

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
    """Biases in the Linear and LayerNorm layers (production model only; the stages follow the lecture)."""

    tied_head: bool = True
    """Share one matrix between the token embedding and the output head (production model only)."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            _check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: it must be at least 1")
        _check(0.0 <= self.dropout < 1.0, f"dropout is {self.dropout}: it must be in [0, 1)")
        _check(
            self.n_embd % self.n_head == 0,
            f"n_embd ({self.n_embd}) is not a multiple of n_head ({self.n_head}): change one of them",
        )


@dataclass(frozen=True)
class TrainConfig:
    """Train a model on a text.

    Writes to the folder OUT:
    - last.json, best.json: settings, vocabulary, place in the run; each names its .safetensors file of weights
    - metrics.jsonl: a line for each step and each evaluation
    - loss.png: the loss curves, in nats a character

    Ctrl-C saves and stops (exit code 130). With --resume, last.json goes on as if it had never stopped, to the bit.
    """

    preset: str = "nano-cpu"
    """Settings to start from; add --help to see them.
    Of nanoGPT: nano-cpu, nano-gpu.
    The lecture's stages: bigram, one-head, four-heads, feed-forward, blocks, layer-norm, scaled."""

    data: str = "pydoc"
    """Text to learn: pydoc (ships with Python), shakespeare (downloaded once), or a text file's path.
    The first 90% trains, the last 10% validates."""

    out: Path = Path("runs/nano-cpu")
    """Folder of the run: checkpoints, metrics.jsonl, loss.png."""

    resume: bool = False
    """Go on from OUT's last checkpoint, with its settings; options given now change those settings."""

    seed: int = 1337
    """Seed of the weights, of the batches and of dropout."""

    architecture: Annotated[str, tyro.conf.Suppress] = "gpt"
    """Which class of model; the preset decides."""

    model: Annotated[GPTConfig, tyro.conf.arg(name="")] = field(default_factory=GPTConfig)
    """Shape of the model."""

    batch_size: int = 12
    """Sequences B in a batch; a batch holds B x T characters."""

    grad_accum: int = 1
    """Batches whose gradients are averaged before a step."""

    max_iters: int = 2000
    """Optimizer steps; the cosine schedule ends here."""

    learning_rate: float = 1e-3
    """Learning rate after warm-up."""

    min_lr: float = 1e-4
    """Learning rate at the end of the cosine; equal to learning-rate for a constant one."""

    warmup_iters: int = 100
    """Steps of linear warm-up."""

    beta1: float = 0.9
    """AdamW's decay of the mean of gradients."""

    beta2: float = 0.99
    """AdamW's decay of the mean of squared gradients."""

    weight_decay: float = 0.1
    """AdamW's weight decay, on parameters of two or more dimensions."""

    grad_clip: float = 1.0
    """Largest norm of the gradient of all parameters together; 0 for no clipping."""

    eval_interval: int = 250
    """Steps between evaluations; each one also writes the checkpoints."""

    eval_iters: int = 40
    """Batches of each split in an evaluation; the same ones every time."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "grad_accum", "eval_interval", "eval_iters"):
            _check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("max_iters", "warmup_iters", "weight_decay", "grad_clip", "min_lr", "seed"):
            _check(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}: it must not be negative")
        _check(self.learning_rate > 0, f"learning_rate is {self.learning_rate}: it must be positive")
        _check(
            self.min_lr <= self.learning_rate,
            f"min_lr ({self.min_lr}) is above learning_rate ({self.learning_rate}): lower it",
        )
        for name in ("beta1", "beta2"):
            _check(0.0 <= getattr(self, name) < 1.0, f"{name} is {getattr(self, name)}: it must be in [0, 1)")

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "out": str(self.out)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> TrainConfig:
        return TrainConfig(**{**values, "model": GPTConfig(**values["model"]), "out": Path(values["out"])})


def _check(good: bool, message: str) -> None:
    if not good:
        raise UserError(message)
