"""An adapter's training that is killed goes on from what it saved last, to the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora.__main__ import main
from tests.killing import state, train_and_kill

SETTINGS = [
    "--batch-size=2", "--eval-iters=1", "--eval-interval=7", "--save-every=1", "--learning-rate=0.001",
    "--min-lr=0.001", "--warmup-iters=0", "--dropout=0.1", "--rank=2",
]  # fmt: skip


@pytest.mark.parametrize("times", [2, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_killed_at_random_moments_it_goes_on_to_the_same_bits(tmp_path: Path, small_folder: Path, times: int) -> None:
    data = tmp_path / "data.jsonl"
    words = ["list", "tuple", "file", "name", "class", "type"]
    records = [{"prompt": f"{a} {b}?", "completion": f" {b}! {a}."} for a in words for b in words]
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = ["train", "--model", str(small_folder), "--data", str(data), *SETTINGS]
    last = train_and_kill(["lora", *command, "--max-iters=1000000000"], killed, times) + 3
    assert main([*command, "--resume", "--out", str(killed), "--max-iters", str(last)]) == 0
    assert main([*command, "--out", str(whole), "--max-iters", str(last)]) == 0
    assert state(killed) == state(whole)
    for name in ("best", "last"):
        contents = [
            {path.name: path.read_bytes() for path in (folder / name).iterdir()} for folder in (killed, whole)
        ]
        assert contents[0] == contents[1]
