"""The graph's nodes, and hooks for what they save."""

from ..engine.hooks import Hooked as Node
from ..engine.saved import saved_tensors_hooks

__all__ = ["Node", "saved_tensors_hooks"]
