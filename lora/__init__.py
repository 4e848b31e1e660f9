"""Llama checkpoints and low-rank adapters (LoRA) on tinytorch."""

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
