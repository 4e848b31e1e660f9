"""Llama checkpoints and low-rank adapters (LoRA) on tinytorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora.adapter_config import LoraConfig
    from lora.adapter_files import load_adapter, save_adapter
    from lora.adapters import add_adapter, add_weighted_adapter
    from lora.llama import Llama
    from lora.merging import merge, unmerge

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

# Imported when asked for: `python -m lora` passes through here, and must be able to say what is missing.
_HOMES = {
    "Llama": "llama", "LoraConfig": "adapter_config", "add_adapter": "adapters", "add_weighted_adapter": "adapters",
    "load_adapter": "adapter_files", "merge": "merging", "save_adapter": "adapter_files", "unmerge": "merging",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lora' has no attribute {name!r}")
    return getattr(import_module(f"lora.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
