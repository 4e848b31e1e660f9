"""The KV cache: with the keys and values of earlier positions kept, a new token costs one position, not all."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinytorch
from tinytorch import Tensor

from ..dtypes import DTypeLike

Array = NDArray[Any]


class KVCache:
    """Keys and values (B, H, capacity, D) for each layer.

    New ones go after the `length` positions that are filled (`reserve`, `extend`), and the buffers grow when more are
    needed. The cache also records which positions are padding. Set `length` back to drop the last positions.

    A compiled function must do the same whatever the length, so there the new positions are a Tensor (`at`, `extend`),
    and attention covers the whole capacity, under `mask`.
    """

    positions: Tensor | None = None  # (T,): those of the new tokens
    mask: Tensor | None = None  # (T, capacity), True at a position itself and those before it

    def __init__(self, layers: int, batch: int, heads: int, head_dim: int, capacity: int, dtype: DTypeLike) -> None:
        shape = (batch, heads, max(capacity, 1), head_dim)
        self.length = 0
        self.is_token = np.zeros((batch, shape[2]), np.bool_)  # False where a position is padding
        buffers = [tinytorch.zeros(shape, dtype=dtype) for _ in range(2 * layers)]
        self._layers = list(zip(buffers[::2], buffers[1::2], strict=True))

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
            for i, (keys, values) in enumerate(self._layers):  # one by one, so that only one is in memory twice
                self._layers[i] = _longer(keys, self.length, more), _longer(values, self.length, more)
        if is_token is None:
            self.is_token[:, self.length : end] = True
        else:
            self.is_token[:, :end] = is_token
        return self.is_token[:, :end]

    def at(self, positions: Tensor) -> KVCache:
        """A cache on the same memory whose new keys and values go to these positions (T,)."""
        cache = copy(self)
        cache.positions, cache.mask = positions, tinytorch.arange(self.capacity) <= positions.unsqueeze(1)
        return cache

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values (B, H, T, D), and return those to attend to, each (B, H, S, D)."""
        keys, values = self._layers[layer]
        if self.positions is not None:
            keys[:, :, self.positions], values[:, :, self.positions] = k, v
            return keys, values
        end = self.length + k.shape[2]
        keys.array[:, :, self.length : end], values.array[:, :, self.length : end] = k.array, v.array
        return Tensor(keys.array[:, :, :end]), Tensor(values.array[:, :, :end])


def _longer(buffer: Tensor, length: int, more: int) -> Tensor:
    B, H, capacity, D = buffer.shape
    longer = tinytorch.zeros((B, H, capacity + more, D), dtype=buffer.dtype)
    longer.array[:, :, :length] = buffer.array[:, :, :length]
    return longer
