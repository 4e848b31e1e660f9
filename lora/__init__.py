"""Llama checkpoints and low-rank adapters (LoRA) on tinytorch."""

from lora.llama import Llama

__all__ = ["Llama"]
