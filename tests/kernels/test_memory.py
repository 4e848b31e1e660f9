"""Arrays that begin at a cache line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.kernels import launch
from tinytorch.kernels.launch import ALIGNMENT, aligned_empty, aligned_zeros, empty_like
from tinytorch.kernels.launch import aligned_copy as copy


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float32, tinytorch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (4096,), (67, 129), (3, 0, 5000)])
def test_arrays_are_numpys(shape: tuple[int, ...], dtype: Any) -> None:
    for array in (
        aligned_empty(shape, dtype),
        launch.empty(shape, dtype),
        aligned_zeros(shape, dtype),
        launch.zeros(shape, dtype),
    ):
        like = np.zeros(shape, dtype)
        assert (array.shape, array.dtype, array.strides) == (like.shape, like.dtype, like.strides)
        assert array.flags.carray
    assert not aligned_zeros(shape, dtype).any() and not launch.zeros(shape, dtype).any()


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


def test_large_results_of_kernels_begin_at_a_cache_line() -> None:
    x = tinytorch.randn(700, 400, requires_grad=True)
    loss = tinytorch.nn.functional.layer_norm(x, (400,)).softmax(-1)
    loss.backward(tinytorch.randn(700, 400))
    assert x.grad is not None
    for tensor in (x, loss, x.grad, x @ x.T, tinytorch.tensor(np.ones((700, 401), np.float32)[:, 1:])):
        assert tensor.numpy(force=True).ctypes.data % ALIGNMENT == 0


def test_so_do_gradients_that_somebody_else_holds() -> None:
    """As Numba does, for a while, of the arguments of a kernel that it has just compiled."""
    held = []
    for _ in range(5):
        x = tinytorch.randn(700, 400, requires_grad=True)
        x.register_hook(held.append)
        (x * x).sum().backward()
        assert x.grad is not None and x.grad.numpy().ctypes.data % ALIGNMENT == 0
        assert x.grad.numpy().ctypes.data != held[-1].numpy().ctypes.data


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (600, 500)])
def test_results_have_the_layout_of_numpys(shape: tuple[int, ...]) -> None:
    for like in (np.ones(shape, np.float32), np.ones(shape, np.float32).T):
        for made, numpys in (
            (empty_like(like), np.empty_like(like)),
            (copy(like), like.copy()),
            (copy(like, np.float64), like.astype(np.float64, order="C")),
            (launch.empty((3, *shape), np.float32), np.empty((3, *shape), np.float32)),
        ):
            assert (made.shape, made.dtype, made.strides) == (numpys.shape, numpys.dtype, numpys.strides)
        np.testing.assert_array_equal(copy(like), like)
