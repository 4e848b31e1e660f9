"""Settings of any training run. tyro builds a command line from them and from those that its program adds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..cli.errors import UserError

Settings = TypeVar("Settings", bound="TrainSettings")


@dataclass(frozen=True)
class TrainSettings:
    """The settings that every training run has."""

    data: str = "pydoc"
    """Text to learn: pydoc (ships with Python), pydoc-prose (a part of it that is easier to learn), shakespeare
    (downloaded once), or a text file's path.
    The first 90% trains, the last 10% validates."""

    out: Path = Path("runs/train")
    """Folder of the run: checkpoints, metrics.jsonl, loss.png."""

    resume: bool = False
    """Continue from OUT's last checkpoint, with its settings; options given now override them."""

    seed: int = 1337
    """Seed of the weights, the batches and dropout."""

    batch_size: int = 12
    """Sequences B in a batch; a batch holds B x T tokens."""

    grad_accum: int = 1
    """Batches whose gradients are averaged for each step."""

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
    """Largest norm of the gradient of all parameters together; larger ones are scaled down. 0 for no clipping."""

    eval_interval: int = 250
    """Steps between evaluations; each one also writes the checkpoints."""

    save_every: int = 0
    """Steps between additional saves of the last checkpoint: the most that a crash can cost. 0 for none."""

    eval_iters: int = 40
    """Batches of each split in an evaluation; the same ones every time."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "grad_accum", "eval_interval", "eval_iters"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("max_iters", "warmup_iters", "weight_decay", "grad_clip", "min_lr", "seed", "save_every"):
            check(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}: it must not be negative")
        check(self.learning_rate > 0, f"learning_rate is {self.learning_rate}: it must be positive")
        check(
            self.min_lr <= self.learning_rate,
            f"min_lr ({self.min_lr}) is above learning_rate ({self.learning_rate}): lower it",
        )
        for name in ("beta1", "beta2"):
            check(0.0 <= getattr(self, name) < 1.0, f"{name} is {getattr(self, name)}: it must be in [0, 1)")

    def fixed(self) -> dict[str, Any]:
        """The settings, by name, that a run cannot change once it has begun."""
        return {"seed": self.seed}

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "out": str(self.out)}

    @classmethod
    def from_json(cls: type[Settings], values: dict[str, Any]) -> Settings:
        values = {**values, "out": Path(values["out"])}
        check_types(cls, values)
        return cls(**values)


def check_types(settings: type[Any], values: dict[str, Any]) -> None:
    """Raise UserError if a value from a file has another type than its setting's default."""
    for field in dataclasses.fields(settings):
        factory: Any = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        if field.name not in values or default is None or default is dataclasses.MISSING:
            continue
        value = values[field.name]
        if type(default) is float:
            good = type(value) in (int, float) and abs(value) <= 1e300
        else:
            good = isinstance(value, type(default)) and isinstance(value, bool) is isinstance(default, bool)
        check(good, f"{field.name} is {value!r}: it must be of type {type(default).__name__}")


def check(good: bool, message: str) -> None:
    """Raise UserError with this message unless `good`."""
    if not good:
        raise UserError(message)
