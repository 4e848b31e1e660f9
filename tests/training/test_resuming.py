from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt.config import GPTConfig, TrainConfig
from tinytorch.cli.errors import UserError
from tinytorch.training import checkpoint
from tinytorch.training.resuming import settings_to_change
from tinytorch.training.run import stored_config


def run_in(folder: Path, **changes: object) -> TrainConfig:
    """The settings of a run whose last checkpoint is in that folder."""
    config = TrainConfig(out=folder, max_iters=77, model=GPTConfig(n_layer=3), **changes)
    folder.mkdir()
    checkpoint.save(folder, "last", {}, {"config": config.to_json()})
    return config


def test_options_change_the_settings_of_the_run_that_is_resumed(tmp_path: Path) -> None:
    preset = TrainConfig(out=tmp_path / "run")
    stored = run_in(tmp_path / "run")
    for arguments in ([], ["--no-resume"], ["--out", str(tmp_path / "run")], ["--max-iters=3"]):
        assert settings_to_change(arguments, preset) == preset
    resumed = settings_to_change(["--resume", "--max-iters=3"], preset)  # in the preset's folder
    assert resumed == TrainConfig(out=tmp_path / "run", max_iters=77, model=GPTConfig(n_layer=3), resume=True)
    assert resumed.model == stored.model
    moved = tmp_path / "moved"
    (tmp_path / "run").rename(moved)
    assert settings_to_change(["--out", str(moved), "--resume"], preset).out == moved
    with pytest.raises(UserError, match="no checkpoint"):
        settings_to_change(["--resume"], preset)


def test_what_cannot_be_read_is_left_to_the_command_line_itself(tmp_path: Path) -> None:
    preset = TrainConfig(out=tmp_path)
    assert settings_to_change(["--resume", "--out"], preset) == preset
    assert settings_to_change(["--res"], preset) == preset  # no abbreviations


def test_settings_of_another_version_are_refused(tmp_path: Path) -> None:
    values = {"config": {**TrainConfig().to_json(), "depth": 3}}
    checkpoint.save(tmp_path, "last", {}, values)
    with pytest.raises(UserError, match=r"cannot be read .*depth.*: use the version that wrote them"):
        settings_to_change(["--resume", "--out", str(tmp_path)], TrainConfig())
    checkpoint.save(tmp_path, "last", {}, {})
    with pytest.raises(UserError, match=r"cannot be read \('config'\)"):
        settings_to_change(["--resume", "--out", str(tmp_path)], TrainConfig())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_iters": "x"}, "max_iters is 'x': it must be of type int"),
        ({"max_iters": 2.5}, "max_iters is 2.5: it must be of type int"),
        ({"max_iters": True}, "max_iters is True: it must be of type int"),
        ({"beta1": "x"}, "beta1 is 'x': it must be of type float"),
        ({"beta1": float("nan")}, "beta1 is nan: it must be of type float"),
        ({"resume": 1}, "resume is 1: it must be of type bool"),
        ({"data": None}, "data is None: it must be of type str"),
        ({"model": 3}, "cannot be read"),
        ({"model": {"n_layer": "x"}}, "n_layer is 'x': it must be of type int"),
        ({"model": {"n_layer": 0}}, "n_layer is 0: it must be at least 1"),
        ({"out": 3}, "cannot be read"),
    ],
)
def test_settings_of_other_types_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    values = {"config": {**TrainConfig().to_json(), **changes}}
    with pytest.raises(UserError, match=message) as raised:
        stored_config(TrainConfig, tmp_path, values)
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)
