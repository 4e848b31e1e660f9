"""What is known of the graph: its nodes, and hooks of what they save."""

from ..engine.saved import saved_tensors_hooks

__all__ = ["saved_tensors_hooks"]
