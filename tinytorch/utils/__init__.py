"""What is not about tensors or layers: trading time for memory."""

from . import checkpoint as checkpoint
