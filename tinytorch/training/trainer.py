"""The training loop."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import tinytorch

from ..cli.errors import UserError
from ..kernels.compiler import anything_compiled
from ..nn.utils import clip_grad_norm_
from . import checkpoint
from .memory import peak_memory
from .metrics import MetricsLog, plot
from .run import Batch, Run
from .settings import TrainSettings
from .stopping import StopSignal

IGNORED = -100  # a target that no loss is counted for


@dataclass(frozen=True)
class Result:
    """How a run ended. The losses are those of its last evaluation (NaN before the first)."""

    parameters: int
    train_loss: float
    val_loss: float
    seconds: float
    interrupted: bool


def train(run: Run[Any], console: Console) -> Result:
    """Train from where the run is to max_iters, or until it is asked to stop. The folder is the caller's (`locked`)."""
    config = run.config
    config.out.mkdir(parents=True, exist_ok=True)
    checkpoint.remove_orphans(config.out)
    console.print(run.describe(), soft_wrap=True, markup=False)
    if run.iteration and run.iteration == config.max_iters:
        console.print(
            f"{config.out} is finished: all its {run.iteration} iterations are done; for more, "
            f"--resume {shlex.join(['--out', str(config.out), '--max-iters', str(2 * run.iteration)])}",
            soft_wrap=True,
            markup=False,
        )
    elif run.iteration:
        console.print(f"resuming at iteration {run.iteration}")
    if not anything_compiled():
        console.print("compiling the kernels for this processor: about half a minute, this once")
    started, began = time.perf_counter() - run.seconds, run.iteration
    train_loss = val_loss = math.nan
    metrics = config.out / "metrics.jsonl"
    with MetricsLog(metrics, run.iteration) as log, StopSignal() as stop, _progress(console, run.name()) as bar:
        task = bar.add_task("", total=config.max_iters, completed=run.iteration, doing="")
        while not stop.requested:
            if run.iteration % config.eval_interval == 0 or run.iteration == config.max_iters:
                bar.update(task, doing="evaluating")
                losses = evaluate(run, run.train_data, stop), evaluate(run, run.val_data, stop)
                if stop.requested:
                    break
                train_loss, val_loss = losses
                _check_finite(val_loss, run)
                run.seconds = time.perf_counter() - started
                log.write({"iter": run.iteration, "train_loss": train_loss, "val_loss": val_loss})
                perplexity = f" (perplexity {_exp(val_loss):.4g})" if run.unit == "token" else ""
                bar.console.print(
                    f"iteration {run.iteration:>5}: training loss {train_loss:.4f}, validation loss {val_loss:.4f}"
                    f"{perplexity}, {run.seconds:.0f} s",
                    soft_wrap=True,
                )
                if val_loss < run.best_val_loss:
                    run.best_val_loss = val_loss
                    run.save("best")
                run.save("last")
            elif config.save_every and run.iteration % config.save_every == 0 and run.iteration != began:
                run.seconds = time.perf_counter() - started
                run.save("last")
            if run.iteration == config.max_iters:
                break
            step_started = time.perf_counter()
            loss, norm, lr, tokens = step(run)
            speed = tokens / (time.perf_counter() - step_started)
            _check_finite(loss, run)
            log.write({"iter": run.iteration, "loss": loss, "lr": lr, "grad_norm": norm, "tokens_per_s": round(speed)})
            run.iteration += 1
            doing = f"loss {loss:.3f} {speed:,.0f} tokens/s {peak_memory() / 1e6:,.0f} MB"
            bar.update(task, completed=run.iteration, doing=doing)
    if stop.requested:
        run.seconds = time.perf_counter() - started
        run.save("last")
        message = f"stopped at iteration {run.iteration}; go on with --resume {shlex.join(['--out', str(config.out)])}"
    else:
        memory = f"; at most {peak_memory() / 1e6:,.0f} MB of memory" if peak_memory() else ""
        message = f"best validation loss {run.best_val_loss:.4f}{memory}; {run.next_command()}"
    console.print(message, soft_wrap=True, markup=False)
    plot(metrics, config.out / "loss.png", f"{run.name()} on {config.data}", run.unit)
    return Result(sum(p.numel() for p in run.model.parameters()), train_loss, val_loss, run.seconds, stop.requested)


def step(run: Run[Any]) -> tuple[float, float, float, int]:
    """One optimizer step: the mean loss of its targets, the gradient's norm before clipping, the learning rate, and
    how many tokens it took."""
    config = run.config
    lr = get_lr(run.iteration, config)
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    run.optimizer.zero_grad(set_to_none=True)
    batches = [next(run.batches) for _ in range(config.grad_accum)]
    counts = [_count_targets(batch) for batch in batches]
    total = 0.0
    for batch, count in zip(batches, counts, strict=True):
        share = tinytorch.tensor(count / sum(counts))  # batches may differ in length: each target weighs the same
        total += run.learn(share, *batch).item()
    norm = clip_grad_norm_(run.model.parameters(), config.grad_clip or math.inf)
    run.optimizer.step()
    return total, norm.item(), lr, sum(run.count_tokens(*batch) for batch in batches)


def get_lr(iteration: int, config: TrainSettings) -> float:
    """nanoGPT's schedule: linear warm-up, then half a cosine down to min_lr at max_iters."""
    if iteration < config.warmup_iters:
        return config.learning_rate * (iteration + 1) / (config.warmup_iters + 1)
    if iteration >= config.max_iters:
        return config.min_lr
    progress = (iteration - config.warmup_iters) / (config.max_iters - config.warmup_iters)
    return config.min_lr + 0.5 * (1.0 + math.cos(math.pi * progress)) * (config.learning_rate - config.min_lr)


def evaluate(run: Run[Any], data: Any, stop: StopSignal) -> float:
    """Mean loss of all targets of the fixed batches of `data`, without dropout; of those seen when asked to stop."""
    run.model.eval()
    total, count = 0.0, 0
    for batch in run.evaluation_batches(data):
        targets = _count_targets(batch)
        total += run.judge(*batch).item() * targets
        count += targets
        if stop.requested:
            break
    run.model.train()
    return total / count


def _count_targets(batch: Batch) -> int:
    return int((batch[1].array != IGNORED).sum())


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _check_finite(loss: float, run: Run[Any]) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} at iteration {run.iteration}: lower --learning-rate "
            f"({run.config.out} keeps the checkpoints from before)"
        )


def _progress(console: Console, name: str) -> Progress:
    return Progress(
        TextColumn(f"[bold]{name}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[doing]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        speed_estimate_period=120,
    )
