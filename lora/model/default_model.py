"""The Llama that ships with the project, so that every command works without a download."""

from __future__ import annotations

from pathlib import Path


def default_model() -> Path:
    """The folder of tiny-llama: inside this package where it was installed, data/tiny-llama in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "tiny_llama"
    return installed if installed.is_dir() else package.parent / "data" / "tiny-llama"


def learning_rate(model: Path) -> float:
    """The default for adapters of that model: the one that ships is tiny, and takes what would ruin a real one."""
    return 5e-3 if model == default_model() else 2e-4
