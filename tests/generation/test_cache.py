"""Keys and values come back as they went in: after what is there, and at given positions."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tinytorch.generation.cache import KVCache


def parts(T: int, seed: int) -> tuple[tinytorch.Tensor, tinytorch.Tensor]:
    rng = np.random.default_rng(seed)
    k, v = (tinytorch.tensor(rng.standard_normal((2, 3, T, 4)).astype(np.float32)) for _ in range(2))
    return k, v


def test_what_is_new_follows_what_is_there_and_the_buffers_grow() -> None:
    cache = KVCache(layers=2, batch=2, heads=3, head_dim=4, capacity=2, dtype=tinytorch.float32)
    seen: list[tuple[tinytorch.Tensor, tinytorch.Tensor]] = []
    for seed, T in enumerate((2, 1, 4)):
        assert cache.reserve(T, None).all()
        seen.append(parts(T, seed))
        for layer in range(2):
            found = cache.extend(layer, *(part * (layer + 1) for part in seen[-1]))
            for i in range(2):
                expected = np.concatenate([pair[i].numpy() for pair in seen], axis=2) * (layer + 1)
                assert np.array_equal(found[i].numpy(), expected)
        cache.length += T
    assert (cache.batch, cache.length, cache.capacity) == (2, 7, 8)
    assert cache.reserve(1, np.zeros((2, 8), np.bool_)).tolist() == [[False] * 8] * 2


@pytest.mark.parametrize("compiled", [False, True])
def test_positions_that_are_data(compiled: bool) -> None:
    cache = KVCache(layers=1, batch=2, heads=3, head_dim=4, capacity=4, dtype=tinytorch.float32)

    def extend(positions: tinytorch.Tensor, k: tinytorch.Tensor, v: tinytorch.Tensor) -> tuple[tinytorch.Tensor, ...]:
        there = cache.at(positions)
        assert there.mask is not None
        keys, values = there.extend(0, k, v)
        return keys * 1, values * 1, there.mask * 1

    call = tinytorch.compile(extend) if compiled else extend
    expected = np.zeros((2, 2, 3, 4, 4), np.float32)
    for seed, place in enumerate((2, 0, 1)):
        pair = parts(1, seed)
        *found, mask = call(tinytorch.tensor([place]), *pair)
        for i in range(2):
            expected[i, :, :, place] = pair[i].numpy()[:, :, 0]
            assert np.array_equal(found[i].numpy(), expected[i])
        assert mask.tolist() == [[int(position <= place) for position in range(4)]]
    assert cache.positions is None and cache.length == 0
