"""Fine-tune a model: train an adapter beside its frozen weights."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lora.adapter_config import LoraConfig
from lora.adapter_files import load_adapter, save_adapter
from lora.adapters import add_adapter, lora_layers
from lora.batches import Batches
from lora.config import LlamaConfig
from lora.data import load_data, split
from lora.default_model import default_model
from lora.info import count_parameters
from lora.llama import Llama
from lora.loading import check_fit
from lora.packing import packed_hidden_states
from lora.rule import data_path, show_samples
from lora.tokenizer import Tokenizer
from programs.command_line import INTERRUPTED
from programs.folders import locked
from programs.output import run_console
from programs.run import Batch, Run
from programs.settings import TrainSettings, check
from programs.trainer import IGNORED, train
from tinytorch import Tensor, set_float32_matmul_precision


@dataclass(frozen=True)
class TuneConfig(TrainSettings):
    """Train a low-rank adapter of a model. The defaults teach the model that ships with the project to be a parrot.

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
    """File of JSON lines, each {"text"}, {"prompt", "completion"} or {"messages"}; parrot ships with the project.
    The first nine tenths train, the rest validates."""

    out: Path = Path("runs/lora")
    """Folder of the run: adapters, checkpoint, metrics.jsonl, loss.png."""

    rank: int = 8
    """Rank r of the adapter."""

    alpha: float = 16.0
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
    """Optimizer steps; the cosine schedule ends here."""

    learning_rate: float = 5e-3
    """Learning rate after warm-up. The default suits the model that ships; one of a billion parameters wants 2e-4."""

    min_lr: float = 5e-4
    """Learning rate at the end of the cosine; equal to learning-rate for a constant one."""

    warmup_iters: int = 20
    """Steps of linear warm-up."""

    beta2: float = 0.999
    """AdamW's decay of the mean of squared gradients."""

    weight_decay: float = 0.0
    """AdamW's weight decay, on parameters of two or more dimensions."""

    eval_interval: int = 50
    """Steps between evaluations; each one also writes the adapters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.max_tokens >= 2, f"max_tokens is {self.max_tokens}: it must be at least 2, a token and the next")
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

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TuneConfig:
        return super().from_json({**values, "model": Path(values["model"]), "targets": tuple(values["targets"])})


# What a run cannot change on the way.
FIXED = (
    "seed", "model", "rank", "alpha", "dropout", "targets", "dora", "rslora", "max_tokens", "packing", "batch_size",
)  # fmt: skip


def tune(config: TuneConfig) -> int:
    """Run the command; its exit code."""
    console = run_console()
    with locked(config.out):
        run = TuneRun.open(config)
        for warning in run.data.warnings:
            console.print(f"warning: {warning}", soft_wrap=True, markup=False)
        if run.iteration == 0:
            show_samples(run.model, run.tokenizer, config.data, run.held_out, console)
        if train(run, console).interrupted:
            return INTERRUPTED
        load_adapter(run.model, config.out / "best", "best")
        show_samples(run.model, run.tokenizer, config.data, run.held_out, console)
    return 0


class TuneRun(Run[TuneConfig]):
    """A run that trains an adapter on the examples of a file."""

    config_class = TuneConfig
    model: Llama

    def __init__(self, config: TuneConfig) -> None:
        self.tokenizer = Tokenizer.from_pretrained(config.model)
        context = LlamaConfig.load(config.model).max_position_embeddings
        self.length = min(config.max_tokens, context)  # of an example
        path = data_path(config.data)
        self.data = load_data(path, self.tokenizer, self.length)
        self.train_data, self.val_data = split(self.data.examples)
        self.held_out = self.data.records[len(self.train_data) :]
        super().__init__(config, path.read_text(encoding="utf-8-sig"))
        self.batches: Batches = self._batches(self.train_data, config.seed)

    @classmethod
    def new(cls, config: TuneConfig) -> TuneRun:
        return cls(config)

    def build_model(self) -> Llama:
        set_float32_matmul_precision(self.config.precision)
        model = self.load_base()
        check_fit(self.tokenizer, model.config.vocab_size, self.config.model)
        model.model.gradient_checkpointing = self.config.checkpointing
        return model

    def load_base(self) -> Llama:
        """The model with what is to be trained."""
        return add_adapter(Llama.from_pretrained(self.config.model, "auto"), self.config.lora_config())

    def loss(self, inputs: Tensor, targets: Tensor, texts: Tensor | None = None) -> Tensor:
        if texts is not None:
            return self.model.loss_of(packed_hidden_states(self.model, inputs, texts), targets)
        return self.model.loss_of(self.model.hidden_states(inputs), targets)  # no token sees what fills its row up

    def count_tokens(self, inputs: Tensor, targets: Tensor, texts: Tensor | None = None) -> int:
        if texts is not None:
            return int((texts.array != 0).sum())
        learned = targets.array != IGNORED
        return int((targets.shape[1] - learned[:, ::-1].argmax(axis=1)).sum())

    def evaluation_batches(self, data: Any) -> Iterator[Batch]:
        """The first config.eval_iters batches of an order of their own, or all."""
        return islice(self._batches(data, self.config.seed + 1).one_epoch(), self.config.eval_iters)

    def position(self) -> dict[str, np.ndarray]:
        return {"position": np.array([self.batches.epoch, self.batches.index])}

    def set_position(self, tensors: dict[str, np.ndarray]) -> None:
        self.batches.go_to(*tensors["position"].tolist())

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.weights().items():
            parameter.copy_(weights[name])

    def save(self, name: str) -> None:
        save_adapter(self.model, self.config.out / name)
        if name == "last":
            super().save(name)

    def describe(self) -> str:
        trained = sum(p.numel() for p in self.weights().values())
        total = trained + count_parameters(self.model.config)
        return (
            f"adapter of rank {self.config.rank} on {len(lora_layers(self.model))} layers: {trained:,} of {total:,} "
            f"parameters are trained ({100 * trained / total:.2g}%); {self.config.data}: {len(self.train_data)} "
            f"examples to train on, {len(self.val_data)} to validate; writing to {self.config.out}"
        )

    def next_command(self) -> str:
        options = [] if self.config.model == default_model() else ["--model", str(self.config.model)]
        adapter = ["--adapter", str(self.config.out / "best")]
        return f"let it write: {shlex.join(['python', '-m', 'lora', 'generate', *options, *adapter])} --prompt ..."

    @staticmethod
    def fixed(config: TuneConfig) -> dict[str, Any]:
        return {name: getattr(config, name) for name in FIXED}

    def _batches(self, examples: list[Any], seed: int) -> Batches:
        return Batches(examples, self.config.batch_size, seed, self.length if self.config.packing else None)
