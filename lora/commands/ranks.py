"""Why low rank works: adapters of several ranks beside full fine-tuning, and the rank of the full update."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lora.commands.example_data import ExampleData
from lora.commands.rule import rule_rate
from lora.commands.train import TuneRun, trained_weights
from lora.commands.tune_config import TuneConfig
from lora.model.default_model import default_model, learning_rate
from lora.model.llama import Llama
from tinytorch import Tensor
from tinytorch.cli.command_line import INTERRUPTED
from tinytorch.cli.output import run_console
from tinytorch.files import atomic_write
from tinytorch.training.folders import locked
from tinytorch.training.run import Run
from tinytorch.training.settings import check
from tinytorch.training.trainer import train

FULL = "all weights"


@dataclass(frozen=True)
class RanksConfig:
    """Train adapters of several ranks, then all weights, on the same data, and compare.

    Writes to the folder OUT: a run for each (see `python -m lora train`), ranks.json with what came out, and ranks.png:
    the validation loss and the number of trained parameters against the rank, and the singular values of what full
    fine-tuning adds to each matrix. If few of those are large, a product of low rank can do most of the work.

    Ctrl-C saves and stops (exit code 130); --resume continues the runs.
    """

    model: Path = field(default_factory=default_model)
    """Folder of a checkpoint; the default is the model that ships with the project."""

    data: str = "parrot"
    """File of examples, as for `python -m lora train`."""

    out: Path = Path("runs/ranks")
    """Folder of the runs and of the comparison."""

    resume: bool = False
    """Continue the runs in OUT."""

    ranks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Ranks to try; alpha is twice the rank."""

    max_iters: int = 300
    """Optimizer steps of each run."""

    learning_rate: float | None = None
    """Learning rate of the adapters after warm-up: 2e-4 unless given, but 3e-3 for the model that ships."""

    full_learning_rate: float | None = None
    """Learning rate for training all weights, which needs a lower one: a third of the adapters' unless given."""

    batch_size: int = 16
    """Rows B in a batch."""

    seed: int = 1337
    """Seed of every run."""

    def __post_init__(self) -> None:
        check(len(self.ranks) > 0 and min(self.ranks) > 0, f"ranks are {self.ranks}: give some, all above 0")
        check(self.resume or not self.out.exists(), f"{self.out} exists: continue with --resume, or give another --out")
        self.runs()  # which checks the other settings

    def runs(self) -> dict[str, TuneConfig]:
        """The settings of each run, by its name in the comparison."""
        suited = 3e-3 if self.model == default_model() else learning_rate(self.model)  # which suits a rank of 64 too
        rate = suited if self.learning_rate is None else self.learning_rate
        full = rate / 3 if self.full_learning_rate is None else self.full_learning_rate
        ranks = {str(rank): (f"rank-{rank}", rank, rate) for rank in self.ranks}
        settings = {**ranks, FULL: ("all-weights", 1, full)}
        return {name: self._run(self.out / folder, rank, rate) for name, (folder, rank, rate) in settings.items()}

    def _run(self, out: Path, rank: int, learning_rate: float) -> TuneConfig:
        return TuneConfig(
            model=self.model,
            data=self.data,
            out=out,
            resume=self.resume and (out / "last.json").exists(),
            seed=self.seed,
            batch_size=self.batch_size,
            max_iters=self.max_iters,
            learning_rate=learning_rate,
            min_lr=learning_rate / 10,
            rank=rank,
            alpha=2.0 * rank,
        )


class FullRun(Run[TuneConfig]):
    """A run that trains all weights, for comparison with the adapters."""

    config_class = TuneConfig
    data: ExampleData
    model: Llama

    def __init__(self, config: TuneConfig) -> None:
        data = ExampleData(config)
        super().__init__(config, data.text, data)

    def build_model(self) -> Llama:
        return Llama.from_pretrained(self.config.model, "float32")

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss_of(self.model.hidden_states(inputs), targets)

    def weights(self) -> dict[str, Tensor]:
        return trained_weights(self.model)

    def describe(self) -> str:
        return f"all {sum(p.numel() for p in self.weights().values()):,} parameters; writing to {self.config.out}"

    def next_command(self) -> str:
        return f"its weights are in {self.config.out}"


def ranks(config: RanksConfig) -> int:
    """Run the command and return its exit code."""
    with locked(config.out):
        return _compare(config, run_console())


def _compare(config: RanksConfig, console: Console) -> int:
    results: dict[str, dict[str, Any]] = {}
    for name, settings in config.runs().items():
        with locked(settings.out):
            run: FullRun | TuneRun = FullRun.open(settings) if name == FULL else TuneRun.open(settings)
            if train(run, console).interrupted:
                return INTERRUPTED
        results[name] = {
            "parameters": sum(p.numel() for p in run.weights().values()),
            "validation_loss": run.best_val_loss,
            "rule": rule_rate(run.model, run.data.tokenizer, config.data, run.data.held_out),
        }
    spectra = update_spectra(Llama.from_pretrained(config.model, "float32"), run.model)
    with atomic_write(config.out / "ranks.json") as file:
        file.write(f"{json.dumps({'runs': results, 'singular_values': spectra}, indent=1)}\n".encode())
    _plot(config.out / "ranks.png", results, spectra)
    console.print(_table(results))
    console.print(_sentence(spectra), soft_wrap=True, highlight=False)
    console.print(f"drawn in {config.out / 'ranks.png'}", soft_wrap=True)
    return 0


def update_spectra(before: Llama, after: Llama) -> dict[str, list[float]]:
    """The singular values of what training added to each kind of matrix, the largest being 1, averaged over layers."""
    old = {name: p.detach().numpy() for name, p in before.named_parameters()}
    kinds: dict[str, list[Any]] = {}
    for name, parameter in after.named_parameters():
        if name.endswith("_proj.weight"):
            values = np.linalg.svd(parameter.detach().numpy() - old[name], compute_uv=False)
            kinds.setdefault(name.split(".")[-2], []).append(values / max(values[0], np.finfo(np.float32).tiny))
    return {kind: np.mean(spectra, axis=0).tolist() for kind, spectra in kinds.items()}


def energy_rank(spectrum: Sequence[float], share: float = 0.9) -> int:
    """How many singular values hold this share of the sum of all squares."""
    squares = np.cumsum(np.square(spectrum))
    return int(np.searchsorted(squares, share * squares[-1])) + 1


def _table(results: dict[str, dict[str, Any]]) -> Table:
    table = Table()
    table.add_column("rank")
    for title in ("trained parameters", "validation loss", "rule holds"):
        table.add_column(title, justify="right")
    for name, result in results.items():
        rule = "" if result["rule"] is None else f"{100 * result['rule']:.0f}%"
        table.add_row(name, f"{result['parameters']:,}", f"{result['validation_loss']:.4f}", rule)
    return table


def _sentence(spectra: dict[str, list[float]]) -> str:
    counts = ", ".join(f"{kind} {energy_rank(values)} of {len(values)}" for kind, values in spectra.items())
    return f"singular values that hold 90% of what training all weights adds (the sum of squares): {counts}"


def _plot(path: Path, results: dict[str, dict[str, Any]], spectra: dict[str, list[float]]) -> None:
    from matplotlib.figure import Figure  # imported here because it takes most of a second

    tried = [int(name) for name in results if name != FULL]
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    losses, sizes, values = figure.subplots(1, 3)
    for axes, key, title in (
        (losses, "validation_loss", "lowest validation loss (nats per token)"),
        (sizes, "parameters", "trained parameters"),
    ):
        axes.plot(tried, [results[str(rank)][key] for rank in tried], marker="o", label="adapter")
        axes.axhline(results[FULL][key], color="0.4", linestyle="--", label=FULL)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set(xlabel="rank", title=title)
    for kind, spectrum in spectra.items():
        values.plot(range(1, len(spectrum) + 1), spectrum, label=kind)
    values.set_xscale("log", base=2)
    values.set(xlabel="singular value, by size", title="of what training all weights adds to a matrix")
    for axes in (losses, sizes, values):
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
