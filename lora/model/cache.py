"""The KV cache: with the keys and values of earlier positions kept, a new token costs one position, not all."""

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
    """Keys and values (B, Hkv, capacity, D) for each layer, filled up to `length`; they grow when more are needed.

    It also records which positions are padding. Set `length` back to drop the last positions.
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
        """How many positions fit before the buffers grow."""
        return self.is_token.shape[1]

    def reserve(self, T: int, is_token: Array | None) -> Array:
        """Make room for T more positions, and return which positions are tokens, (B, length + T).

        Pass that mask as is_token, or None if all new positions are tokens. The new positions count once `length` has
        been moved past them, after the last layer.
        """
        end = self.length + T
        if end > self.capacity:
            more = max(end, 2 * self.capacity) - self.capacity
            self.is_token = np.pad(self.is_token, ((0, 0), (0, more)))
            for i, layer in enumerate(self._layers):  # one at a time, so that only one layer is in memory twice
                self._layers[i] = tuple(_longer(buffer, self.length, more) for buffer in layer)  # type: ignore[assignment]
        if is_token is None:
            self.is_token[:, self.length : end] = True
        else:
            self.is_token[:, :end] = is_token
        return self.is_token[:, :end]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the reserved positions' keys and values (B, Hkv, T, D); returns all, each (B, Hkv, length + T, D)."""
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
