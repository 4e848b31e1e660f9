from __future__ import annotations

from pathlib import Path

import pytest

from bench.stored import main, resident
from lora import Llama
from lora.commands.quantize import quantize_folder
from lora.model.config import LlamaConfig
from tinytorch import bfloat16


def test_a_model_takes_little_more_than_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """20 MB in bfloat16, so that what else the process does is small beside it."""
    model = Llama(LlamaConfig(256, 512, 1536, 3, 8))
    model.to(bfloat16).save_pretrained(tmp_path / "bf16")
    quantize_folder(tmp_path / "bf16", tmp_path / "int8", "int8")
    for name in ("bf16", "int8"):
        sizes = resident(tmp_path / name)
        assert sizes["file"] == (tmp_path / name / "model.safetensors").stat().st_size
        assert sizes["resident"] < 1.1 * sizes["file"] + 6e6
    main([str(tmp_path / "int8")])
    assert "int8" in capsys.readouterr().out
