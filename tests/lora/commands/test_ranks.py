from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest

import tinytorch
from lora import LoraConfig, add_adapter
from lora.__main__ import main
from lora.adapters.merging import merge
from lora.commands.ranks import energy_rank, update_spectra
from lora.model.llama import Llama
from tinytorch.training import trainer
from tinytorch.training.metrics import Step


@pytest.fixture
def command(tmp_path: Path, small_folder: Path) -> list[str]:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}", "completion": f" {i}!"}) + "\n" for i in range(40)))
    options = ["--model", str(small_folder), "--data", str(path), "--out", str(tmp_path / "out")]
    return ["ranks", *options, "--ranks", "1", "4", "--batch-size=4", "--max-iters=6"]


def test_ranks(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_step = trainer.training_step

    def step(run: trainer.Run) -> Step:
        if run.iteration == 3 and run.config.rank == 4:
            signal.raise_signal(signal.SIGINT)
        return whole_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "training_step", step)
        assert main(command) == 130
    assert not (tmp_path / "out" / "all-weights").exists()
    assert main(command) == 2
    assert "out exists: continue with --resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "resuming at iteration 4" in shown
    one = 2 * (2 * 64 + 2 * 48 + 3 * 80)  # of rank 1: see test_train.py
    for rank, parameters in (("1", one), ("4", 4 * one), ("all weights", 41_120)):
        assert re.search(rf"│ {rank} +│ +{parameters:,} │ +\d\.\d{{4}} │", shown)
    values = json.loads((tmp_path / "out" / "ranks.json").read_text())
    assert list(values["runs"]) == ["1", "4", "all weights"]
    assert set(values["singular_values"]) == {f"{x}_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")}
    assert len(values["singular_values"]["k_proj"]) == 16
    assert (tmp_path / "out" / "ranks.png").read_bytes().startswith(b"\x89PNG")


def test_the_spectrum_of_an_update(small_folder: Path) -> None:
    """An adapter of rank 3 adds a matrix of three singular values."""
    before, after = (Llama.from_pretrained(small_folder) for _ in range(2))
    tinytorch.manual_seed(0)
    add_adapter(after, LoraConfig(r=3, target_modules=["q_proj"], init_lora_weights=False))
    merge(after)
    merged = Llama.from_pretrained(small_folder)
    merged.load_state_dict({name: after.state_dict()[name] for name in merged.state_dict()})
    spectra = update_spectra(before, merged)
    values = np.array(spectra["q_proj"])
    assert values[0] == 1.0
    assert values[2] > 0.01
    assert (values[3:] < 1e-5).all()
    assert not any(spectra["k_proj"])
    assert energy_rank([1.0, 1.0, 0.1]) == 2
    assert energy_rank([1.0, 0.1, 0.1]) == 1


def test_what_is_wrong_with_the_settings(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for option, message in (("--ranks", "give some"), ("--ranks=0", "all above 0"), ("--seed=-1", "seed is -1")):
        assert main([*command, option]) == 2
        assert message in capsys.readouterr().err
