"""Train the lecture's stages one after another, and compare them."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gpt.config import TrainConfig
from gpt.presets import EXPECTED_LOSS, get_preset
from gpt.run import Run
from gpt.stages import STAGES
from tinytorch.cli.errors import UserError
from tinytorch.training.corpora import SHAKESPEARE, load_text
from tinytorch.training.folders import locked
from tinytorch.training.trainer import Result, train

SMALL_STAGES = tuple(name for name in STAGES if name != "scaled")


@dataclass(frozen=True)
class StagesConfig:
    """Train the lecture's stages in turn and print a table: parameters, validation loss reached and expected, time.

    Each stage is a run of its own in OUT/<stage>, as `train` makes it; `sample --out OUT/<stage>` writes text with it.

    The expected losses are those on tiny Shakespeare, and are shown for that text only.
    """

    data: str = "pydoc"
    """Text to learn: pydoc (ships with Python), pydoc-prose (a part of it that is easier to learn), shakespeare
    (downloaded once), or a text file's path."""

    stages: tuple[str, ...] = SMALL_STAGES
    """Stages to train, in this order; `scaled` (10.8 million parameters, days on a CPU) runs only when named here."""

    max_iters: int | None = None
    """Optimizer steps of each stage; None for the stage's own number (3000 for bigram, 5000 for the others)."""

    out: Path = Path("runs/stages")
    """Folder of the runs."""

    resume: bool = False
    """Continue the runs in OUT; finished stages are not trained again."""

    seed: int = 1337
    """Seed of every stage."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError("--stages names no stage: name at least one, or leave the option out")
        for name in self.stages:
            if name not in STAGES:
                raise UserError(f"no stage is called {name!r}: choose among {', '.join(STAGES)}")


def run_stages(config: StagesConfig, console: Console) -> bool:
    """Train and print. Returns False if Ctrl-C stopped it; the table then has the stages so far."""
    is_shakespeare = hashlib.sha256(load_text(config.data).encode()).hexdigest() == SHAKESPEARE.sha256
    plans = [_plan(config, name) for name in config.stages]
    for plan in plans:
        if (plan.out / "last.json").exists() and not config.resume:
            raise UserError(f"{config.out} already holds runs: --resume continues them, another --out starts new ones")
    results: dict[str, Result] = {}
    for plan in plans:
        with locked(plan.out):
            result = train(Run.open(plan), console)
        if result.interrupted:
            break
        results[plan.preset] = result
    console.print(_table(results, is_shakespeare))
    return len(results) == len(plans)


def _plan(config: StagesConfig, name: str) -> TrainConfig:
    preset = get_preset(name)
    out = config.out / name
    return dataclasses.replace(
        preset,
        data=config.data,
        out=out,
        seed=config.seed,
        max_iters=preset.max_iters if config.max_iters is None else config.max_iters,
        resume=(out / "last.json").exists(),
    )


def _table(results: dict[str, Result], is_shakespeare: bool) -> Table:
    table = Table()
    table.add_column("stage")
    for column in ["parameters", "loss reached", *(["loss expected"] if is_shakespeare else []), "time"]:
        table.add_column(column, justify="right")
    for name, result in results.items():
        expected = [f"{EXPECTED_LOSS[name]:.2f}"] if is_shakespeare else []
        table.add_row(name, f"{result.parameters:,}", f"{result.val_loss:.3f}", *expected, f"{result.seconds:.0f} s")
    return table
