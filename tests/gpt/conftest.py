from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt.config import GPTConfig, TrainConfig

TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind.\n" * 20


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def tiny_config(tmp_path: Path, text_file: Path) -> Callable[..., TrainConfig]:
    """Settings of a run that takes a moment, in a folder of its own; keywords change them."""

    def make(name: str = "run", model: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
        shape = {"block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 16, "dropout": 0.1, **(model or {})}
        settings: dict[str, Any] = {
            "data": str(text_file),
            "out": tmp_path / name,
            "model": GPTConfig(**shape),
            "batch_size": 4,
            "max_iters": 9,
            "warmup_iters": 2,
            "eval_interval": 3,
            "eval_iters": 2,
        }
        return TrainConfig(**{**settings, **changes})

    return make
