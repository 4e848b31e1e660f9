"""Arrays that begin at a cache line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.kernels.memory import ALIGNMENT, empty, zeros


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float32, tinytorch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (4096,), (67, 129), (3, 0, 5000)])
def test_arrays_are_numpys(shape: tuple[int, ...], dtype: Any) -> None:
    for array in (empty(shape, dtype), zeros(shape, dtype)):
        like = np.zeros(shape, dtype)
        assert (array.shape, array.dtype, array.strides) == (like.shape, like.dtype, like.strides)
        assert array.flags.carray
    assert not array.any()


def test_what_lasts_begins_at_a_cache_line() -> None:
    for _ in range(9):  # NumPy's own arrays would now and then
        layer = tinytorch.nn.Linear(67, 129)
        optimizer = tinytorch.optim.AdamW(layer.parameters())
        layer(tinytorch.ones(2, 67)).sum().backward()
        optimizer.step()
        moments = [optimizer.state[layer.weight][name] for name in ("exp_avg", "exp_avg_sq")]
        tensors = [layer.weight, *moments, tinytorch.zeros(67, 129), tinytorch.empty(3000, dtype=tinytorch.float64)]
        assert [tensor.numpy(force=True).ctypes.data % ALIGNMENT for tensor in tensors] == [0] * 5


def test_sizes_that_are_refused() -> None:
    for shape in ((-1,), (-100, -100)):
        with pytest.raises((ValueError, RuntimeError), match="negative"):
            tinytorch.zeros(*shape)
    with pytest.raises((MemoryError, ValueError)):
        tinytorch.empty(2**60)
