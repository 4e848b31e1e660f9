"""Training runs that are killed at random moments and go on."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from tinytorch.training import checkpoint, metrics

ROOT = Path(__file__).parents[1]


def train_and_kill(command: list[str], out: Path, times: int) -> int:
    """Run a training command that never ends, with SIGKILL that often; the iteration of the last checkpoint.

    Each time it is left alone until it has gone further, and then for a random while.
    """
    generator = random.Random(times)
    for _ in range(times):
        resume = ["--resume"] if (out / "last.json").exists() else []
        before = _saved(out)
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--out", str(out), *resume],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            deadline = time.monotonic() + 240  # it may have kernels to compile
            while _saved(out) <= before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(generator.random() * 0.3)
        finally:
            process.kill()
            _, stderr = process.communicate()
        assert stderr == b"", stderr.decode()
        assert _saved(out) > before
    return _saved(out)


def _saved(out: Path) -> int:
    """The iteration of the last checkpoint."""
    return int(checkpoint.load_values(out, "last")["iteration"]) if (out / "last.json").exists() else 0


def state(out: Path) -> tuple[dict[str, bytes], list[dict[str, float]]]:
    """All that must be the same in a run that was never killed: tensors, and what was measured but for the speed."""
    tensors, _ = checkpoint.load(out, "last")
    records = [{k: v for k, v in r.items() if k != "tokens_per_s"} for r in metrics.read(out / "metrics.jsonl")]
    return {name: array.tobytes() for name, array in tensors.items()}, records
