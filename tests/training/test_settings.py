"""The settings of every command: what they are where nothing is given, and the first and last values that they take."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gpt.config import GPTConfig, TrainConfig
from gpt.examples import ExamplesConfig
from gpt.sample import SampleConfig
from gpt.stage_table import StagesConfig
from tinytorch.cli.errors import UserError
from tinytorch.training.settings import TrainSettings

TRAIN = {
    "data": "pydoc", "out": Path("runs/train"), "resume": False, "seed": 1337, "batch_size": 12, "grad_accum": 1,
    "max_iters": 2000, "learning_rate": 1e-3, "min_lr": 1e-4, "warmup_iters": 100, "beta1": 0.9, "beta2": 0.99,
    "weight_decay": 0.1, "grad_clip": 1.0, "eval_interval": 250, "save_every": 0, "eval_iters": 40,
}  # fmt: skip
SHAPE = {
    "vocab_size": 65, "block_size": 64, "n_layer": 4, "n_head": 4, "n_embd": 128, "dropout": 0.0, "bias": False,
    "tied_head": True,
}  # fmt: skip


def test_defaults() -> None:
    """nanoGPT's, for its small model of Shakespeare on a CPU."""
    assert dataclasses.asdict(TrainSettings()) == TRAIN
    own = {"out": Path("runs/nano-cpu"), "preset": "nano-cpu", "architecture": "gpt", "model": SHAPE}
    assert dataclasses.asdict(TrainConfig()) == TRAIN | own
    sampling = {
        "temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, "repetition_penalty": 1.0, "greedy": False,
    }  # fmt: skip
    assert dataclasses.asdict(SampleConfig()) == {
        "out": Path("runs/nano-cpu"), "checkpoint": "best", "prompt": "", "max_new_tokens": 500, "sampling": sampling,
        "seed": 1337,
    }  # fmt: skip
    stages = dataclasses.asdict(StagesConfig())
    del stages["stages"]
    assert stages == {
        "data": "pydoc", "max_iters": None, "out": Path("runs/stages"), "resume": False, "seed": 1337,
    }  # fmt: skip
    assert dataclasses.asdict(ExamplesConfig("ab")) == {"text": "ab", "batch_size": 4, "block_size": 8, "seed": 1337}


LIMITS = [
    # name, values that are taken, values that are not, what is said of these
    *((name, [1], [0, -1], "must be at least 1") for name in ("batch_size", "grad_accum", "eval_interval")),
    ("eval_iters", [1], [0, -1], "must be at least 1"),
    *((name, [0], [-1], "must not be negative") for name in ("max_iters", "warmup_iters", "seed", "save_every")),
    *((name, [0.0], [-0.1], "must not be negative") for name in ("weight_decay", "grad_clip", "min_lr")),
    ("learning_rate", [1e-3, 1e-4], [0.0, -1e-3], "must be positive"),
    ("learning_rate", [1e-4], [0.9e-4], r"min_lr \(0.0001\) is above learning_rate \(9e-05\)"),
    *((name, [0.0, 0.999], [-0.1, 1.0], r"must be in \[0, 1\)") for name in ("beta1", "beta2")),
]


@pytest.mark.parametrize(("name", "taken", "refused", "rule"), LIMITS)
def test_limits_of_a_run(name: str, taken: list[Any], refused: list[Any], rule: str) -> None:
    for value in taken:
        assert getattr(TrainSettings(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(UserError, match=rule):
            TrainSettings(**{name: value})


SHAPES = [
    *((name, [{name: 1}], [{name: 0}], "must be at least 1") for name in ("vocab_size", "block_size", "n_layer")),
    ("n_head", [{"n_head": 1}, {"n_head": 128}], [{"n_head": 0}], "must be at least 1"),
    ("n_embd", [{"n_embd": 4}], [{"n_embd": 0}], "must be at least 1"),
    ("n_embd", [{"n_embd": 8}], [{"n_embd": 9}], r"n_embd \(9\) is not a multiple of n_head \(4\)"),
    ("dropout", [{"dropout": 0.0}, {"dropout": 0.99}], [{"dropout": 1.0}, {"dropout": -0.1}], r"must be in \[0, 1\)"),
]


@pytest.mark.parametrize(("name", "taken", "refused", "rule"), SHAPES)
def test_limits_of_a_shape(name: str, taken: list[Any], refused: list[Any], rule: str) -> None:
    for values in taken:
        assert getattr(GPTConfig(**values), name) == values[name]
    for values in refused:
        with pytest.raises(UserError, match=rule):
            GPTConfig(**values)


def test_limits_of_the_other_commands() -> None:
    assert SampleConfig(max_new_tokens=0).max_new_tokens == 0
    assert ExamplesConfig("ab", batch_size=1, block_size=1).text == "ab"
    for values in ({"batch_size": 0}, {"block_size": 0}):
        with pytest.raises(UserError, match="must be at least 1"):
            ExamplesConfig("ab", **values)
    with pytest.raises(UserError, match="give at least two"):
        ExamplesConfig("a")


def test_there_and_back_as_json() -> None:
    config = TrainConfig(out=Path("a/b"), model=GPTConfig(n_layer=7), beta2=0.5)
    assert TrainConfig.from_json(config.to_json()) == config
    assert config.to_json()["out"] == str(Path("a/b"))
