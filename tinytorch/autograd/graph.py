"""The graph's nodes, and hooks for what they save."""

from ..engine.saved import saved_tensors_hooks

__all__ = ["saved_tensors_hooks"]
