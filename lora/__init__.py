"""Llama checkpoints and low-rank adapters (LoRA) on tinytorch."""
