"""Frozen weights in two bytes beside an input in float32: results, gradients, memory, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.nn import functional as F

TWO_BYTES = [tinytorch.bfloat16, tinytorch.float16]
two_bytes = pytest.mark.parametrize("stored", TWO_BYTES, ids=str)


def frozen(*shape: int, dtype: Any) -> Any:
    return tinytorch.randn(*shape).to(dtype)


@two_bytes
def test_linear_is_the_product_with_the_widened_weight(stored: Any) -> None:
    tinytorch.manual_seed(0)
    weight, bias = frozen(70, 130, dtype=stored), frozen(70, dtype=stored)
    for dtype in (tinytorch.float32, tinytorch.float64):
        x = tinytorch.randn(2, 9, 130, dtype=dtype, requires_grad=True)
        y = F.linear(x, weight, bias)
        expected = F.linear(x, weight.to(dtype), bias.to(dtype))
        assert y.dtype == dtype
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), atol=1e-4)
        seed = tinytorch.randn_like(y)
        (ours,) = tinytorch.autograd.grad(y, x, seed)
        (theirs,) = tinytorch.autograd.grad(expected, x, seed)
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-4)


def test_only_the_input_and_the_bias_have_gradients() -> None:
    weight = frozen(5, 4, dtype=tinytorch.bfloat16)
    x, bias = tinytorch.randn(3, 4), tinytorch.randn(5, requires_grad=True)
    y = F.linear(x, weight, bias)
    assert y.grad_fn.saved == (None, None)
    y.backward(tinytorch.ones_like(y))
    np.testing.assert_array_equal(bias.grad.numpy(), np.full(5, 3.0))
    assert weight.grad is None


def test_a_weight_that_is_changed_before_backward_is_noticed() -> None:
    weight, x = frozen(5, 4, dtype=tinytorch.bfloat16), tinytorch.randn(3, 4, requires_grad=True)
    y = F.linear(x, weight)
    weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.sum().backward()


def test_a_weight_that_is_trained_must_have_the_input_s_dtype() -> None:
    x, weight = tinytorch.randn(3, 4), frozen(5, 4, dtype=tinytorch.bfloat16)
    with pytest.raises(RuntimeError, match=r"one dtype, got float32, bfloat16: .* freeze"):
        F.linear(x, weight.requires_grad_())
    with pytest.raises(RuntimeError, match="one dtype, got bfloat16, float32"):
        F.linear(x.to(tinytorch.bfloat16), frozen(5, 4, dtype=tinytorch.float32))
    with pytest.raises(RuntimeError, match="one dtype, got bfloat16, float16"):
        F.linear(x.to(tinytorch.bfloat16), frozen(5, 4, dtype=tinytorch.float16))


@two_bytes
def test_an_embedding_gathers_rows_as_they_are_stored(stored: Any) -> None:
    """The result has the table's dtype, as in PyTorch: its few rows are converted, never the table."""
    table = frozen(100, 8, dtype=stored)
    rows = F.embedding(tinytorch.tensor([[3, 99], [3, 0]]), table)
    assert rows.dtype == stored
    expected = table.to(tinytorch.float32).numpy()[np.array([[3, 99], [3, 0]])]
    np.testing.assert_array_equal(rows.to(tinytorch.float32).numpy(), expected)


@pytest.mark.oracle
@two_bytes
def test_as_pytorch_with_the_widened_weight(stored: Any) -> None:
    import torch

    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((20, 130)).astype(np.float32), rng.standard_normal((20, 70)).astype(np.float32)
    weight = rng.standard_normal((70, 130)).astype(np.float32)
    ours_x = tinytorch.from_numpy(x).requires_grad_()
    ours = F.linear(ours_x, tinytorch.from_numpy(weight).to(stored))
    ours.backward(tinytorch.from_numpy(g))
    theirs_x = torch.from_numpy(x).requires_grad_()
    narrow = torch.from_numpy(weight).to(getattr(torch, str(stored)))
    theirs = torch.nn.functional.linear(theirs_x, narrow.float())
    theirs.backward(torch.from_numpy(g))
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(ours_x.grad.numpy(), theirs_x.grad.numpy(), atol=1e-4)
