from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lora.__main__ import main


def test_qlora(tmp_path: Path, small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data.jsonl", tmp_path / "out"
    data.write_text("".join(json.dumps({"prompt": f"{i}", "completion": f" {i}!"}) + "\n" for i in range(40)))
    command = ["qlora", "--model", str(small_folder), "--data", str(data), "--out", str(out)]
    assert main([*command, "--batch-size=4", "--max-iters=6"]) == 0
    shown = capsys.readouterr().out
    for name in ("as stored", "int8", "nf4"):
        assert re.search(rf"│ {name} +│ +[\d.]+ kB │ +\d\.\d{{4}} │ +\d\.\d{{4}} │ +\d\.\d{{4}} │", shown)
    values = json.loads((out / "qlora.json").read_text())
    stored, int8, nf4 = (values[name] for name in ("as stored", "int8", "nf4"))
    assert stored["bytes"] > int8["bytes"] > nf4["bytes"]
    assert len(stored["losses"]) == 6
    assert int8["losses"] == pytest.approx(stored["losses"], abs=0.05)
    assert nf4["losses"] == pytest.approx(stored["losses"], abs=0.5)
    assert int8["losses"] != stored["losses"] != nf4["losses"]
    assert (out / "qlora.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 2
    assert "out exists: --resume goes on" in capsys.readouterr().err
    assert main([*command, "--batch-size=4", "--max-iters=6", "--resume"]) == 0
    assert json.loads((out / "qlora.json").read_text()) == values
