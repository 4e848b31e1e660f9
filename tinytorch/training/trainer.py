"""The training loop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console

import tinytorch

from ..cli.errors import UserError
from ..nn.utils import clip_grad_norm_
from ..optim.lr_scheduler import warmup_cosine
from . import checkpoint
from .batches import IGNORED, Batch
from .metrics import Step
from .report import Report
from .run import Run
from .stopping import StopSignal


@dataclass(frozen=True)
class Result:
    """The outcome of a run. The losses are from its last evaluation (NaN before the first)."""

    parameters: int
    train_loss: float
    val_loss: float
    seconds: float
    interrupted: bool


def train(run: Run[Any], console: Console) -> Result:
    """Train from the run's iteration to max_iters, or until asked to stop. The caller must have locked the folder."""
    config, first = run.config, run.iteration
    train_loss = val_loss = math.nan
    config.out.mkdir(parents=True, exist_ok=True)
    checkpoint.remove_orphans(config.out)
    with StopSignal() as stop, Report(run, console) as report:
        while not stop.requested:
            if run.iteration % config.eval_interval == 0 or run.iteration == config.max_iters:
                report.evaluating()
                losses = evaluate(run, "train", stop), evaluate(run, "val", stop)
                if stop.requested:
                    break
                train_loss, val_loss = losses
                check_finite(val_loss, run)
                report.evaluated(train_loss, val_loss)
                if val_loss < run.best_val_loss:
                    run.best_val_loss = val_loss
                    run.save("best")
                run.save("last")
            elif config.save_every and run.iteration % config.save_every == 0 and run.iteration != first:
                run.save("last")
            if run.iteration == config.max_iters:
                break
            started = time.perf_counter()
            step = training_step(run)
            check_finite(step.loss, run)
            report.stepped(step, time.perf_counter() - started)
            run.iteration += 1
        if stop.requested:
            run.save("last")
    report.ended(stop.requested)
    parameters = sum(p.numel() for p in run.model.parameters())
    return Result(parameters, train_loss, val_loss, run.seconds, stop.requested)


def training_step(run: Run[Any]) -> Step:
    """One optimizer step, on the gradients of config.grad_accum batches."""
    config = run.config
    rates = config.learning_rate, config.min_lr
    lr = float(warmup_cosine(run.iteration, config.warmup_iters, config.max_iters, *rates))
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    run.optimizer.zero_grad(set_to_none=True)
    batches = [next(run.data.batches) for _ in range(config.grad_accum)]
    counts = [count_targets(batch) for batch in batches]
    loss = 0.0
    for batch, count in zip(batches, counts, strict=True):
        weight = tinytorch.tensor(count / sum(counts))  # each target weighs the same, however long its batch
        loss += run.forward_backward(weight, *batch).item()
    norm = clip_grad_norm_(run.model.parameters(), config.grad_clip or math.inf)
    run.optimizer.step()
    return Step(loss, norm.item(), lr, sum(count_tokens(batch) for batch in batches))


def evaluate(run: Run[Any], split: str, stop: StopSignal) -> float:
    """Mean loss of all targets in the split's fixed batches, without dropout; if asked to stop, of those seen."""
    run.model.eval()
    total, count = 0.0, 0
    with tinytorch.no_grad():
        for batch in run.data.evaluation_batches(split):
            targets = count_targets(batch)
            total += run.forward(*batch).item() * targets
            count += targets
            if stop.requested:
                break
    run.model.train()
    return total / count


def count_targets(batch: Batch) -> int:
    """How many targets of a batch count towards the loss."""
    return int((batch[1].array != IGNORED).sum())


def count_tokens(batch: Batch) -> int:
    """How many tokens a batch has without its padding, that is, up to the last target of each row."""
    counted = batch[1].array != IGNORED
    return int((counted.shape[1] - counted[:, ::-1].argmax(axis=1)).sum())


def check_finite(loss: float, run: Run[Any]) -> None:
    """Raise UserError if the loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} at iteration {run.iteration}: lower --learning-rate "
            f"({run.config.out} keeps the earlier checkpoints)"
        )
