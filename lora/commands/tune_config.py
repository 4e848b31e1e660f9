"""The settings of a fine-tuning run, and defaults that suit the given model and data."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lora.adapters.adapter_config import LoraConfig
from lora.commands.rule import data_path
from lora.model.default_model import default_model, learning_rate
from lora.text.records import PLAIN, records
from tinytorch.cli.errors import UserError
from tinytorch.training.settings import TrainSettings, check


@dataclass(frozen=True)
class TuneConfig(TrainSettings):
    """Train a low-rank adapter for a model. Without options, the model that ships with the project becomes a parrot.

    Writes to the folder OUT:
    - best, last: the adapter with the lowest validation loss, and the last one; PEFT reads them too
    - last.json: settings and progress; it names the .safetensors file with weights and optimizer state
    - metrics.jsonl: one line for each step and each evaluation
    - loss.png: the loss curves, in nats per learned token

    Ctrl-C, SIGTERM and SIGHUP save the run and stop it (exit code 130). With --resume it continues from last.json,
    to the same bits as if it had never stopped.

    A model that `python -m lora quantize` wrote is trained in the same way: QLoRA.
    """

    model: Path = field(default_factory=default_model)
    """Folder of a checkpoint; its weights stay in memory as they are stored."""

    data: str = "parrot"
    """File of JSON lines, a JSON array, a table (.csv, .tsv; the first line names columns) or plain text (.txt, .md).
    Records are {"text"}, {"prompt", "completion"}, {"messages"}, ShareGPT's {"conversations"}, or
    Alpaca's {"instruction", "input", "output"}. The name parrot stands for the file that ships with the project."""

    val_data: str = ""
    """Another such file, to validate on; by default a tenth of the examples in --data, drawn by the seed."""

    out: Path = Path("runs/lora")
    """Folder of the run: adapters, checkpoint, metrics.jsonl, loss.png."""

    rank: int = 16
    """Rank r of the adapter."""

    alpha: float = 32.0
    """The adapter's output is multiplied by alpha / r."""

    dropout: float = 0.0
    """The probability of dropping an input of the adapter in training."""

    targets: tuple[str, ...] = ("all-linear",)
    """Layers to adapt, by the ends of their names (q_proj v_proj ...); all-linear for all but the head."""

    dora: bool = False
    """Train the lengths of the weights' rows separately from their directions (DoRA)."""

    rslora: bool = False
    """Multiply the adapter's output by alpha / sqrt(r) instead."""

    max_tokens: int = 512
    """The most tokens in an example, or the model's context if that is shorter; the rest is cut off."""

    packing: bool = False
    """Fill rows with several examples, each computed as if alone, instead of batches of similar length."""

    checkpointing: bool = False
    """Keep only the layers' inputs, and recompute the rest for backward: less memory, more time."""

    precision: Literal["highest", "medium"] = "highest"
    """Precision of products with frozen weights. medium rounds their operands to bfloat16, which takes half the time on
    processors that multiply it (AVX512_BF16) and changes nothing on others."""

    batch_size: int = 16
    """Rows B in a batch."""

    max_iters: int = 300
    """Optimizer steps; the cosine schedule ends here. Unless given, as many as five passes over your examples take, or
    300 for those that ship."""

    learning_rate: float = 2e-4
    """Learning rate after warm-up: 2e-4 unless given, but 5e-3 for the model that ships."""

    min_lr: float = 2e-5
    """Learning rate at the end of the cosine: a tenth of learning-rate unless given, equal to it for a constant one."""

    warmup_iters: int = 20
    """Steps of linear warm-up; unless given, at most a fifth of all steps."""

    beta2: float = 0.999
    """AdamW's decay of the mean of squared gradients."""

    weight_decay: float = 0.0
    """AdamW's weight decay, on parameters of two or more dimensions."""

    eval_interval: int = 50
    """Steps between evaluations; each one also writes the adapters."""

    eval_iters: int = 40
    """The most batches of each split in an evaluation."""

    eval_share: float = 0.1
    """The most tokens in an evaluation, as a share of those trained on between two evaluations, but at least one batch
    of each split; the same examples every time. Four fifths of them validate, the rest are training examples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.max_tokens >= 2, f"max_tokens is {self.max_tokens}: it must be at least 2, a token and the next")
        check(self.eval_share > 0, f"eval_share is {self.eval_share}: it must be positive")
        check(len(self.targets) > 0, "targets names no layer: give names, or all-linear")
        self.lora_config()  # which checks the other settings

    def lora_config(self) -> LoraConfig:
        """The adapter's configuration."""
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules="all-linear" if self.targets == ("all-linear",) else list(self.targets),
            use_dora=self.dora,
            use_rslora=self.rslora,
            base_model_name_or_path=str(self.model),
        )

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "model": str(self.model)}

    def fixed(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIXED}

    @classmethod
    def defaults(cls, arguments: Sequence[str]) -> TuneConfig:
        """The defaults that the command line's options override, with learning rates that suit the given model."""
        peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        peek.add_argument("--model", type=Path, default=default_model())
        peek.add_argument("--data", default=cls.data)
        for name, kind in (("learning-rate", float), ("max-iters", int), ("batch-size", int), ("grad-accum", int)):
            peek.add_argument(f"--{name}", f"--{name.replace('-', '_')}", type=kind)
        try:
            given, _ = peek.parse_known_args(arguments)
        except argparse.ArgumentError:  # tyro will hit the same error and report it in its own way
            return cls()
        rate = learning_rate(given.model) if given.learning_rate is None else given.learning_rate
        rows = (given.batch_size or cls.batch_size) * (given.grad_accum or cls.grad_accum)
        steps = _default_steps(given.data, rows) if given.max_iters is None else given.max_iters
        return cls(
            learning_rate=rate,
            min_lr=rate / 10,
            max_iters=max(steps, 0),
            warmup_iters=min(cls.warmup_iters, max(steps, 0) // 5),
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TuneConfig:
        return super().from_json({**values, "model": Path(values["model"]), "targets": tuple(values["targets"])})


PASSES = 5  # over the user's examples: with more, a small model memorises them
LEAST_STEPS = 20


def _default_steps(data: str, rows: int) -> int:
    """Optimizer steps that suit a file of examples, in batches of `rows` rows."""
    path = data_path(data)
    if data == TuneConfig.data or path.suffix.lower() in PLAIN:
        return TuneConfig.max_iters
    try:
        count = sum(1 for _ in records(path))
    except UserError:  # the run will raise and report it again
        return TuneConfig.max_iters
    return max(LEAST_STEPS, math.ceil(PASSES * count / rows))


# Settings that a run cannot change once it has begun.
FIXED = (
    "seed", "model", "val_data", "rank", "alpha", "dropout", "targets", "dora", "rslora", "max_tokens", "packing",
    "batch_size",
)  # fmt: skip
