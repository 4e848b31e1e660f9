"""The keys and values of the positions seen so far: with them a new token costs one position, not all of them anew."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinytorch
from lora.model.config import LlamaConfig
from tinytorch import Tensor
from tinytorch.dtypes import DTypeLike

Array = NDArray[Any]


class Cache:
    """For each layer keys and values (B, Hkv, capacity, D), filled up to `length`; they grow where more is needed.

    Which of them are padding is remembered. Set `length` back to forget the last positions.
    """

    def __init__(self, config: LlamaConfig, batch: int, capacity: int, dtype: DTypeLike) -> None:
        shape = (batch, config.num_key_value_heads, max(capacity, 1), config.head_dim)
        self.length = 0
        self.is_token = np.zeros((batch, shape[2]), np.bool_)  # False where a position is padding
        self._layers = [(_buffer(shape, dtype), _buffer(shape, dtype)) for _ in range(config.num_hidden_layers)]

    @property
    def batch(self) -> int:
        return len(self.is_token)

    @property
    def capacity(self) -> int:
        """Positions there is room for before the buffers grow."""
        return self.is_token.shape[1]

    def reserve(self, T: int, is_token: Array | None) -> Array:
        """Make room for T more positions, and return which of all are tokens, (B, length + T).

        Those are is_token, of that shape; None for the new ones being tokens all. The new positions count as seen once
        `length` has been moved past them, after all layers are done.
        """
        end = self.length + T
        if end > self.capacity:
            more = max(end, 2 * self.capacity) - self.capacity
            self.is_token = np.pad(self.is_token, ((0, 0), (0, more)))
            for i, layer in enumerate(self._layers):  # one by one: only one is there twice at a time
                self._layers[i] = tuple(_longer(buffer, self.length, more) for buffer in layer)  # type: ignore[assignment]
        if is_token is None:
            self.is_token[:, self.length : end] = True
        else:
            self.is_token[:, :end] = is_token
        return self.is_token[:, :end]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep keys and values (B, Hkv, T, D) of the reserved positions; all so far, each (B, Hkv, length + T, D)."""
        end = self.length + k.shape[2]
        keys, values = self._layers[layer]
        keys[:, :, self.length : end] = k.array
        values[:, :, self.length : end] = v.array
        return Tensor(keys[:, :, :end]), Tensor(values[:, :, :end])


def _buffer(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    return tinytorch.empty(shape, dtype=dtype).numpy()


def _longer(buffer: Array, length: int, more: int) -> Array:
    B, H, capacity, D = buffer.shape
    longer = _buffer((B, H, capacity + more, D), buffer.dtype)
    longer[:, :, :length] = buffer[:, :, :length]
    return longer
