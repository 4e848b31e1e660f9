"""A run's output while it trains: messages and a progress bar in the terminal, metrics.jsonl, and its plot."""

from __future__ import annotations

import shlex
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..kernels.compiler import anything_compiled
from .memory import peak_memory
from .metrics import MetricsLog, Step, perplexity_of, plot
from .run import Run


class Report:
    """Says at first what is trained; as a context, keeps the progress bar and the log open."""

    def __init__(self, run: Run[Any], console: Console) -> None:
        self._run, self._console = run, console
        self._metrics = run.config.out / "metrics.jsonl"
        self._say(run.describe())
        if run.iteration and run.iteration == run.config.max_iters:
            more = ["--out", str(run.config.out), "--max-iters", str(2 * run.iteration)]
            done = f"{run.config.out} is finished: all {run.iteration} iterations are done"
            self._say(f"{done}; for more, --resume {shlex.join(more)}")
        elif run.iteration:
            self._say(f"resuming at iteration {run.iteration}")
        if not anything_compiled():
            self._say("compiling the kernels for this processor: about half a minute, the first time only")

    def __enter__(self) -> Report:
        self._log = MetricsLog(self._metrics, self._run.iteration)
        self._bar = _progress(self._console, self._run.name)
        self._task = self._bar.add_task("", total=self._run.config.max_iters, completed=self._run.iteration, doing="")
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()
        self._log.__exit__(*exception)

    def evaluating(self) -> None:
        """Show that an evaluation begins."""
        self._bar.update(self._task, doing="evaluating")

    def evaluated(self, train_loss: float, val_loss: float) -> None:
        """Log and print the losses of an evaluation."""
        run = self._run
        self._log.write({"iter": run.iteration, "train_loss": train_loss, "val_loss": val_loss})
        perplexity = f" (perplexity {perplexity_of(val_loss):.4g})" if run.unit == "token" else ""
        self._bar.console.print(
            f"iteration {run.iteration:>5}: training loss {train_loss:.4f}, validation loss {val_loss:.4f}"
            f"{perplexity}, {run.seconds:.0f} s",
            soft_wrap=True,
        )

    def stepped(self, step: Step, seconds: float) -> None:
        """Log a step and show it in the bar; it took this many seconds."""
        iteration, speed = self._run.iteration, step.tokens / seconds
        values = {"loss": step.loss, "lr": step.lr, "grad_norm": step.grad_norm, "tokens_per_s": round(speed)}
        self._log.write({"iter": iteration, **values})
        doing = f"loss {step.loss:.3f} {speed:,.0f} tokens/s {peak_memory() / 1e6:,.0f} MB"
        self._bar.update(self._task, completed=iteration + 1, doing=doing)

    def ended(self, interrupted: bool) -> None:
        """Say what to do next, once the run is finished or was asked to stop, and plot the losses."""
        run, out = self._run, self._run.config.out
        if interrupted:
            again = shlex.join(["--out", str(out)])
            self._say(f"stopped at iteration {run.iteration}; continue with --resume {again}")
        else:
            memory = f"; at most {peak_memory() / 1e6:,.0f} MB of memory" if peak_memory() else ""
            self._say(f"best validation loss {run.best_val_loss:.4f}{memory}; {run.next_command()}")
        plot(self._metrics, out / "loss.png", f"{run.name} on {run.config.data}", run.unit)

    def _say(self, message: str) -> None:
        self._console.print(message, soft_wrap=True, markup=False)


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
