"""What a base quantized to 8 or 4 bits costs an adapter: the same training beside each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lora.commands.info import size, stored_tensors
from lora.commands.quantize import quantize_folder
from lora.commands.train import TuneRun
from lora.commands.tune_config import TuneConfig
from lora.model.default_model import default_model, learning_rate
from tinytorch.cli.command_line import INTERRUPTED
from tinytorch.cli.output import run_console
from tinytorch.files import atomic_write
from tinytorch.training import metrics
from tinytorch.training.folders import locked
from tinytorch.training.settings import check
from tinytorch.training.trainer import train

STORED, SCHEMES = "as stored", ("int8", "nf4")


@dataclass(frozen=True)
class QLoraConfig:
    """Train the same adapter beside the weights as they are stored, in 8 bits (int8) and in 4 (NF4), and compare.

    Writes to the folder OUT: the quantized models, a run beside each (see `python -m lora train`), qlora.json with what
    came out, and qlora.png with the losses. Ctrl-C saves and stops (exit code 130); --resume continues the runs.
    """

    model: Path = field(default_factory=default_model)
    """Folder of a checkpoint that is not quantized; the default is the model that ships with the project."""

    data: str = "parrot"
    """File of examples, as for `python -m lora train`."""

    out: Path = Path("runs/qlora")
    """Folder of the models, the runs and the comparison."""

    resume: bool = False
    """Continue the runs in OUT."""

    rank: int = 16
    """Rank r of the adapters; alpha is twice the rank."""

    max_iters: int = 200
    """Optimizer steps of each run."""

    learning_rate: float | None = None
    """Learning rate after warm-up: 2e-4 unless given, but 5e-3 for the model that ships."""

    batch_size: int = 16
    """Rows B in a batch."""

    seed: int = 1337
    """Seed of every run."""

    def __post_init__(self) -> None:
        check(self.resume or not self.out.exists(), f"{self.out} exists: continue with --resume, or give another --out")
        self.run(STORED)

    def base(self, name: str) -> Path:
        """The folder of the model that has this name in the comparison."""
        return self.model if name == STORED else self.out / name

    def run(self, name: str) -> TuneConfig:
        """The settings of that model's run."""
        rate = learning_rate(self.model) if self.learning_rate is None else self.learning_rate
        out = self.out / f"beside-{name.replace(' ', '-')}"
        return TuneConfig(
            model=self.base(name),
            data=self.data,
            out=out,
            resume=self.resume and (out / "last.json").exists(),
            seed=self.seed,
            rank=self.rank,
            alpha=2.0 * self.rank,
            batch_size=self.batch_size,
            max_iters=self.max_iters,
            learning_rate=rate,
            min_lr=rate / 10,
        )


def qlora(config: QLoraConfig) -> int:
    """Run the command and return its exit code."""
    with locked(config.out):
        return _compare(config, run_console())


def _compare(config: QLoraConfig, console: Console) -> int:
    results: dict[str, dict[str, Any]] = {}
    for name in (STORED, *SCHEMES):
        folder = config.base(name)
        if not (folder / "config.json").exists():  # it is written last
            quantize_folder(config.model, folder, name)
        settings = config.run(name)
        with locked(settings.out):
            run = TuneRun.open(settings)
            if train(run, console).interrupted:
                return INTERRUPTED
        records = metrics.read(run.config.out / "metrics.jsonl")
        results[name] = {
            "bytes": sum(tensor.nbytes for tensor in stored_tensors(folder)),
            "losses": [record["loss"] for record in records if "loss" in record],
            "evaluations": [[record["iter"], record["val_loss"]] for record in records if "val_loss" in record],
        }
    with atomic_write(config.out / "qlora.json") as file:
        file.write(f"{json.dumps(results, indent=1)}\n".encode())
    _plot(config.out / "qlora.png", results)
    console.print(_table(results))
    console.print(f"drawn in {config.out / 'qlora.png'}", soft_wrap=True)
    return 0


def _table(results: dict[str, dict[str, Any]]) -> Table:
    table = Table()
    table.add_column("weights of the base")
    for title in ("bytes", "validation loss at first", "at last", "largest difference of a batch's loss"):
        table.add_column(title, justify="right")
    for name, result in results.items():
        away = np.abs(np.subtract(result["losses"], results[STORED]["losses"])).max(initial=0.0)
        first, last = result["evaluations"][0][1], result["evaluations"][-1][1]
        table.add_row(name, size(result["bytes"]), f"{first:.4f}", f"{last:.4f}", f"{away:.4f}")
    return table


def _plot(path: Path, results: dict[str, dict[str, Any]]) -> None:
    from matplotlib.figure import Figure  # imported here because it takes most of a second

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    whole, difference = figure.subplots(1, 2)
    for color, (name, result) in zip(("0.3", "C0", "C1"), results.items(), strict=True):
        losses = np.array(result["losses"])
        whole.plot(losses, color=color, linewidth=0.7)
        whole.plot(*zip(*result["evaluations"], strict=True), color=color, marker="o", label=f"{name}, validation")
        if name != STORED:
            difference.plot(losses - results[STORED]["losses"], color=color, linewidth=0.8, label=name)
    whole.set_yscale("log")
    whole.set(xlabel="step", title="loss (nats per token)")
    difference.axhline(0, color="0.3", linewidth=0.8)
    difference.set(xlabel="step", title=f"loss of a batch, less that beside the weights {STORED}")
    for axes in (whole, difference):
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
