"""Llama checkpoints and low-rank adapters (LoRA) on tinytorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora.adapters.adapter_config import LoraConfig
    from lora.adapters.adapter_files import load_adapter, save_adapter
    from lora.adapters.attached import add_adapter, add_weighted_adapter
    from lora.adapters.merging import merge, unmerge
    from lora.model.llama import Llama

__all__ = [
    "Llama",
    "LoraConfig",
    "add_adapter",
    "add_weighted_adapter",
    "load_adapter",
    "merge",
    "save_adapter",
    "unmerge",
]

# Imported on first use: `python -m lora` imports this package first, and must be able to say which package is missing.
_HOMES = {
    "Llama": "model.llama",
    "LoraConfig": "adapters.adapter_config",
    "add_adapter": "adapters.attached",
    "add_weighted_adapter": "adapters.attached",
    "load_adapter": "adapters.adapter_files",
    "merge": "adapters.merging",
    "save_adapter": "adapters.adapter_files",
    "unmerge": "adapters.merging",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lora' has no attribute {name!r}")
    return getattr(import_module(f"lora.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
