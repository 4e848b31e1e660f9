"""Utilities beyond tensors and layers: trading time for memory."""

from . import checkpoint as checkpoint
