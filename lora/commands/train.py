"""Fine-tune a model: train an adapter beside its frozen weights."""

from __future__ import annotations

import shlex

from lora.adapters.adapter_files import load_adapter, save_adapter
from lora.adapters.attached import add_adapter, lora_layers
from lora.commands.example_data import ExampleData
from lora.commands.info import count_parameters
from lora.commands.loading import check_fit
from lora.commands.rule import show_samples
from lora.commands.tune_config import TuneConfig
from lora.model.default_model import default_model
from lora.model.llama import Llama
from lora.model.packing import packed_hidden_states
from lora.model.training_record import CHAT, SEED, VAL_DATA
from tinytorch import Tensor, set_float32_matmul_precision
from tinytorch.cli.command_line import INTERRUPTED
from tinytorch.cli.output import run_console
from tinytorch.training.folders import locked
from tinytorch.training.run import Run
from tinytorch.training.trainer import train


def tune(config: TuneConfig) -> int:
    """Run the command and return its exit code."""
    console = run_console()
    with locked(config.out):
        run = TuneRun.open(config)
        for warning in run.data.warnings:
            console.print(f"warning: {warning}", soft_wrap=True, markup=False)
        shown = config.val_data or config.data
        if run.iteration == 0:
            show_samples(run.model, run.data.tokenizer, shown, run.data.held_out, console)
        if train(run, console).interrupted:
            return INTERRUPTED
        load_adapter(run.model, config.out / "best", "best")
        show_samples(run.model, run.data.tokenizer, shown, run.data.held_out, console)
    return 0


class TuneRun(Run[TuneConfig]):
    """A run that trains an adapter on the examples in a file."""

    config_class = TuneConfig
    data: ExampleData
    model: Llama

    def __init__(self, config: TuneConfig) -> None:
        data = ExampleData(config)
        super().__init__(config, data.text, data)

    def build_model(self) -> Llama:
        config = self.config
        set_float32_matmul_precision(config.precision)
        model = add_adapter(Llama.from_pretrained(config.model, "auto"), config.lora_config())
        check_fit(self.data.tokenizer, model.config.vocab_size, config.model)
        model.model.gradient_checkpointing = config.checkpointing
        return model

    def loss(self, inputs: Tensor, targets: Tensor, texts: Tensor | None = None) -> Tensor:
        if texts is not None:
            return self.model.loss_of(packed_hidden_states(self.model, inputs, texts), targets)
        return self.model.loss_of(self.model.hidden_states(inputs), targets)  # no token sees its row's padding

    def weights(self) -> dict[str, Tensor]:
        return trained_weights(self.model)

    def save(self, name: str) -> None:
        how = {
            "program": "python -m lora train",
            CHAT: self.data.chat,
            SEED: self.config.seed,
            VAL_DATA: self.config.val_data or None,
        }
        save_adapter(self.model, self.config.out / name, training=how)
        if name == "last":
            super().save(name)

    def describe(self) -> str:
        trained = sum(p.numel() for p in self.weights().values())
        total = trained + count_parameters(self.model.config)
        train, val = (self.data.examples[split] for split in ("train", "val"))
        return (
            f"adapter of rank {self.config.rank} on {len(lora_layers(self.model))} layers: {trained:,} of {total:,} "
            f"parameters are trained ({100 * trained / total:.2g}%); {self.config.data}: {len(train)} examples to "
            f"train on, {len(val)} to validate; every {self.config.eval_interval} steps "
            f"{len(self.data.evaluated('train'))} and {len(self.data.evaluated('val'))} of them are evaluated; "
            f"writing to {self.config.out}"
        )

    def next_command(self) -> str:
        options = [] if self.config.model == default_model() else ["--model", str(self.config.model)]
        adapter = ["--adapter", str(self.config.out / "best")]
        return f"let it write: {shlex.join(['python', '-m', 'lora', 'generate', *options, *adapter])} --prompt ..."


def trained_weights(model: Llama) -> dict[str, Tensor]:
    """The parameters that are not frozen, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
