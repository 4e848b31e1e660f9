"""The settings of a fine-tuning run, and those that suit what is given."""

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
    """Train a low-rank adapter of a model. Without options, the model that ships with the project becomes a parrot.

    Writes to the folder OUT:
    - best, last: the adapter of the lowest validation loss, and the last one; PEFT reads them too
    - last.json: settings and place in the run; it names its .safetensors file of weights and optimizer state
    - metrics.jsonl: a line for each step and each evaluation
    - loss.png: the loss curves, in nats a token that is learned

    Ctrl-C saves and stops (exit code 130), as SIGTERM and SIGHUP do. With --resume, last.json goes on as if
    it had never stopped, to the bit.

    A model that `python -m lora quantize` wrote is trained in the same way: QLoRA.
    """

    model: Path = field(default_factory=default_model)
    """Folder of a checkpoint; its weights stay in memory as they are stored."""

    data: str = "parrot"
    """File of JSON lines, an array of JSON, a table (.csv, .tsv; names of columns on top) or plain text (.txt, .md).
    Records are {"text"}, {"prompt", "completion"}, {"messages"}, {"conversations"} as ShareGPT has them, or
    {"instruction", "input", "output"} as Alpaca has them. The file named parrot ships with the project."""

    val_data: str = ""
    """Another such file, to validate on; by default, a tenth of the examples of --data, drawn by the seed."""

    out: Path = Path("runs/lora")
    """Folder of the run: adapters, checkpoint, metrics.jsonl, loss.png."""

    rank: int = 16
    """Rank r of the adapter."""

    alpha: float = 32.0
    """The adapter's output is multiplied by alpha / r."""

    dropout: float = 0.0
    """How much of the adapter's input is dropped in training."""

    targets: tuple[str, ...] = ("all-linear",)
    """Layers to adapt, by the ends of their names (q_proj v_proj ...); all-linear for all but the head."""

    dora: bool = False
    """Train the lengths of the weights' rows apart from their directions (DoRA)."""

    rslora: bool = False
    """Multiply the adapter's output by alpha / sqrt(r) instead."""

    max_tokens: int = 512
    """Tokens of an example at most, or of the model's context if that is shorter; the rest is cut off."""

    packing: bool = False
    """Fill rows with several examples, each computed as if alone, instead of batches of similar length."""

    checkpointing: bool = False
    """Keep only the inputs of the layers, and compute what is inside again for backward: less memory, more time."""

    precision: Literal["highest", "medium"] = "highest"
    """Of products with the frozen weights: medium rounds what goes in to bfloat16, which takes half the time on a
    processor that multiplies that (AVX512_BF16); on others it changes nothing."""

    batch_size: int = 16
    """Rows B in a batch."""

    max_iters: int = 300
    """Optimizer steps; the cosine schedule ends here: as many as five passes over your examples take unless given, and
    300 over those that ship."""

    learning_rate: float = 2e-4
    """Learning rate after warm-up: 2e-4 unless given, but 5e-3 for the model that ships."""

    min_lr: float = 2e-5
    """Learning rate at the end of the cosine: a tenth of learning-rate unless given, equal to it for a constant one."""

    warmup_iters: int = 20
    """Steps of linear warm-up: a fifth of all, if that is less, unless given."""

    beta2: float = 0.999
    """AdamW's decay of the mean of squared gradients."""

    weight_decay: float = 0.0
    """AdamW's weight decay, on parameters of two or more dimensions."""

    eval_interval: int = 50
    """Steps between evaluations; each one also writes the adapters."""

    eval_iters: int = 40
    """Batches of each split in an evaluation at most."""

    eval_share: float = 0.1
    """Tokens of an evaluation at most, as a share of those that are trained on between two, but at least a batch of
    each split; the same examples every time. Validation gets four fifths of them, training examples the rest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.max_tokens >= 2, f"max_tokens is {self.max_tokens}: it must be at least 2, a token and the next")
        check(self.eval_share > 0, f"eval_share is {self.eval_share}: it must be positive")
        check(len(self.targets) > 0, "targets names no layer: give names, or all-linear")
        self.lora_config()  # says what is wrong with the rest

    def lora_config(self) -> LoraConfig:
        """What the adapter is to be."""
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
        """The settings that the options of a command line change: the rates are those that suit what is given."""
        peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        peek.add_argument("--model", type=Path, default=default_model())
        peek.add_argument("--data", default=cls.data)
        for name, kind in (("learning-rate", float), ("max-iters", int), ("batch-size", int), ("grad-accum", int)):
            peek.add_argument(f"--{name}", f"--{name.replace('-', '_')}", type=kind)
        try:
            given, _ = peek.parse_known_args(arguments)
        except argparse.ArgumentError:  # tyro will meet it too, and say it in its own way
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


PASSES = 5  # over examples of the user's: more of them, and a small model learns them by heart
LEAST_STEPS = 20


def _default_steps(data: str, rows: int) -> int:
    """Optimizer steps that suit a file of examples, in batches of so many rows."""
    path = data_path(data)
    if data == TuneConfig.data or path.suffix.lower() in PLAIN:
        return TuneConfig.max_iters
    try:
        count = sum(1 for _ in records(path))
    except UserError:  # which the run will meet too, and say
        return TuneConfig.max_iters
    return max(LEAST_STEPS, math.ceil(PASSES * count / rows))


# What a run cannot change on the way.
FIXED = (
    "seed", "model", "val_data", "rank", "alpha", "dropout", "targets", "dora", "rslora", "max_tokens", "packing",
    "batch_size",
)  # fmt: skip
