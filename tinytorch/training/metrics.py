"""A run's measurements: a file with one JSON object per line, and a plot of the losses."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..cli.errors import UserError
from ..cli.reading import one_line
from ..files import atomic_write

_MEANS = 50  # how many means the losses of all batches are drawn as


class Step(NamedTuple):
    """The measurements of one optimizer step."""

    loss: float  # the mean over all targets
    grad_norm: float  # before clipping
    lr: float
    tokens: int


class MetricsLog:
    """Appends to a JSONL file. A step's line has iter, loss, lr, grad_norm; an evaluation's iter, train_loss, val_loss.

    Each line is written whole, at once. When opened at iteration `start`, the log first drops the lines from there on,
    which a run that was killed after its last checkpoint has left, and a last line cut short.
    """

    def __init__(self, path: Path, start: int) -> None:
        kept = [record for record in read(path) if record["iter"] < start]
        with atomic_write(path) as file:
            file.writelines(f"{json.dumps(record)}\n".encode() for record in kept)
        self._path = path
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed by __exit__)

    def write(self, record: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(record) + "\n")
        except OSError as error:  # it names no file
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # if a line could not be written, `write` has reported it
            self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file, or none if it does not exist. An unfinished last line is left out."""
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record["iter"], int):
                raise ValueError("no object with a number 'iter'")
            if not all(isinstance(value, (int, float)) for value in record.values()):
                raise ValueError("it has values that are not numbers")
        except (ValueError, KeyError, RecursionError) as error:
            what = one_line(f"{path} is damaged (line {number}: {error})")
            raise UserError(f"{what}: repair it or move it away") from None
        records.append(record)
    return records


def plot(metrics: Path, png: Path, title: str, unit: str) -> None:
    """Draw the losses of a metrics file (nats per `unit`, against steps) into a PNG.

    A run has few evaluations, and the losses of single batches scatter, so means over several batches are drawn too.
    """
    from matplotlib.figure import Figure  # imported here because it takes most of a second

    records = read(metrics)
    steps = [record for record in records if "loss" in record]
    evaluations = [record for record in records if "val_loss" in record]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    iters, losses = np.array([(r["iter"], r["loss"]) for r in steps]).reshape(-1, 2).T  # of a run of no steps, too
    axes.plot(iters, losses, color="0.8", linewidth=0.7, label="training: each batch")
    size = max(1, len(steps) // _MEANS)
    if size > 1:
        means = [part[: len(part) // size * size].reshape(-1, size).mean(axis=1) for part in (iters, losses)]
        axes.plot(*means, color="0.5", linestyle="--", label=f"training: means of {size} batches")
    for key, label in (("train_loss", "training split, evaluated"), ("val_loss", "validation split, evaluated")):
        points = [(r["iter"], r[key]) for r in evaluations]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    axes.set(title=title, xlabel="step", ylabel=f"cross-entropy (nats per {unit})")
    axes.grid(alpha=0.3)
    axes.legend(title=f"loss, in nats per {unit}")
    with atomic_write(png) as file:
        figure.savefig(file, format="png", dpi=120)


def perplexity_of(loss: float) -> float:
    """e to the power of a loss in nats per token; infinite where no float holds it."""
    return math.exp(loss) if loss < 700 else math.inf
