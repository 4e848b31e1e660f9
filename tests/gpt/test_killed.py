"""A run that is killed, or whose disk is full, goes on from what it saved last, to the same bits."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gpt.__main__ import main
from gpt.run import Run
from tests.faults import Killed, full_from, killed_at
from tests.killing import state, train_and_kill
from tinytorch.training import checkpoint, trainer
from tinytorch.training.folders import locked

# A constant learning rate, so that the number of steps changes none of them.
SETTINGS = [
    "--block-size=8", "--n-layer=1", "--n-head=2", "--n-embd=8", "--dropout=0.1", "--batch-size=2", "--eval-iters=1",
    "--eval-interval=7", "--save-every=1", "--learning-rate=0.001", "--min-lr=0.001", "--warmup-iters=0",
]  # fmt: skip


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_killed_at_random_moments_it_goes_on_to_the_same_bits(tmp_path: Path, text_file: Path, times: int) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = ["train", "--data", str(text_file), *SETTINGS]
    last = train_and_kill(["gpt", *command, "--max-iters=1000000000"], killed, times) + 3
    assert last > 3
    assert main([*command, "--resume", "--out", str(killed), "--max-iters", str(last)]) == 0
    assert main([*command, "--out", str(whole), "--max-iters", str(last)]) == 0
    assert state(killed) == state(whole)
    kinds = sorted(path.suffix for path in whole.iterdir())
    assert sorted(path.suffix for path in killed.iterdir()) == kinds  # and nothing is left of what was cut short


@pytest.mark.parametrize("failing", [full_from, killed_at])
@pytest.mark.parametrize("name", ["best", "last"])
def test_a_save_that_fails_at_any_call_leaves_the_old_checkpoint_or_the_new_one(
    tiny_config: Any, failing: Any, name: str
) -> None:
    run = Run.open(tiny_config())
    out = run.config.out
    out.mkdir()
    found = set()
    for number in count():
        run.iteration = 1
        run.save(name)
        old = state_of(out, name)
        trainer.training_step(run)
        run.iteration = 2
        try:
            with failing(number):
                run.save(name)
            break
        except OSError as error:
            assert error.filename and error.strerror.startswith("No space left on device")
            assert len(list(out.iterdir())) <= 3  # the old pair, and perhaps the new tensors
        except Killed:
            pass
        iteration, tensors = state_of(out, name)
        assert (iteration, tensors) == old if iteration == 1 else tensors != old[1]
        found.add(iteration)
        with locked(out):
            checkpoint.remove_orphans(out)
        assert len(list(out.iterdir())) == 2
    assert number > 6
    assert state_of(out, name)[0] == 2
    assert 1 in found


def state_of(out: Path, name: str) -> tuple[int, dict[str, bytes]]:
    tensors, values = checkpoint.load(out, name)
    return values["iteration"], {key: array.tobytes() for key, array in tensors.items()}
