from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lora.__main__ import main
from lora.commands.train import TuneRun
from lora.commands.tune_config import TuneConfig
from tinytorch.training import trainer


def test_qlora(tmp_path: Path, small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data.jsonl", tmp_path / "out"
    data.write_text("".join(json.dumps({"prompt": f"{i}", "completion": f" {i}!"}) + "\n" for i in range(40)))
    command = ["qlora", "--model", str(small_folder), "--data", str(data), "--out", str(out)]
    settings = ["--batch-size=4", "--max-iters=12", "--learning-rate=5e-3"]
    assert main([*command, *settings]) == 0
    shown = capsys.readouterr().out
    values = json.loads((out / "qlora.json").read_text())
    assert list(values) == ["as stored", "int8", "nf4"]
    stored, int8, nf4 = values.values()
    assert stored["bytes"] > int8["bytes"] > nf4["bytes"]

    for name, result in values.items():
        # Each begins as the model in its folder is, and learns far more than the bases differ by.
        model = small_folder if name == "as stored" else out / name
        run = TuneRun(TuneConfig(model=model, data=str(data), out=tmp_path / "none", rank=8, batch_size=4))
        with trainer.StopSignal() as stop:
            before = trainer.evaluate(run, "val", stop)
        (first, last), losses = result["evaluations"], result["losses"]
        assert first == [0, before] and last[0] == len(losses) == 12
        learned = first[1] - last[1]
        away = float(np.abs(np.subtract(losses, stored["losses"])).max())
        assert learned > 1.0
        least, most = {"as stored": (0.0, 0.0), "int8": (1e-4, 0.05), "nf4": (1e-4, 0.4)}[name]
        assert learned * least <= away <= learned * most
        row = rf"│ {name} +│ +[\d.]+ kB │ +{first[1]:.4f} │ +{last[1]:.4f} │ +{away:.4f} │"
        assert re.search(row, shown)

    assert (out / "qlora.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 2
    assert "out exists: continue with --resume" in capsys.readouterr().err
    assert main([*command, *settings, "--resume"]) == 0
    assert json.loads((out / "qlora.json").read_text()) == values
