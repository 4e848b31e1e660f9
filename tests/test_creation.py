"""Tensors from nothing and from data: values, shapes, dtypes and errors, beside PyTorch where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch

ones = np.ones(2)

# What both must make alike: calls with t = torch and t = tinytorch. Random ones are compared by shape and dtype.
CALLS = (
    lambda t: t.zeros(2, 3),
    lambda t: t.zeros((2, 3), dtype=t.int64, device="cpu"),
    lambda t: t.zeros([2, 3]),
    lambda t: t.zeros(size=(2,)),
    lambda t: t.zeros(()),
    lambda t: t.zeros(0, 2),
    lambda t: t.ones(2, dtype=t.bool),
    lambda t: t.ones(t.zeros(2, 3).shape, requires_grad=True),
    lambda t: t.ones(np.int64(2), 3),
    lambda t: t.full((2, 3), 7),
    lambda t: t.full((2,), 2.5),
    lambda t: t.full((2,), True),
    lambda t: t.full(size=(), fill_value=3, dtype=t.float64),
    lambda t: t.full((2,), t.tensor(4.0)),
    lambda t: t.eye(3),
    lambda t: t.eye(2, 4, dtype=t.int64),
    lambda t: t.arange(5),
    lambda t: t.arange(5.0),
    lambda t: t.arange(2, 8, 3),
    lambda t: t.arange(8, 2, -2),
    lambda t: t.arange(0, 1, 0.1),
    lambda t: t.arange(0.5, 3),
    lambda t: t.arange(start=1, end=4),
    lambda t: t.arange(end=3),
    lambda t: t.arange(3, dtype=t.float32),
    lambda t: t.arange(0),
    lambda t: t.arange(t.tensor(3)),
    lambda t: t.linspace(0, 1, 5),
    lambda t: t.linspace(1, -1, 3, dtype=t.float64),
    lambda t: t.linspace(0, 1, 1),
    lambda t: t.zeros_like(t.ones(2, dtype=t.int64)),
    lambda t: t.ones_like(t.zeros(2), dtype=t.bool, device="cpu"),
    lambda t: t.full_like(t.zeros(2), 5, requires_grad=True),
    lambda t: t.tensor(1),
    lambda t: t.tensor(1.5),
    lambda t: t.tensor(True),
    lambda t: t.tensor([]),
    lambda t: t.tensor([[], []]),
    lambda t: t.tensor([1, 2.5]),
    lambda t: t.tensor([True, 2]),
    lambda t: t.tensor((1, 2)),
    lambda t: t.tensor(range(3)),
    lambda t: t.tensor([[1, 2], [3, 4]], dtype=t.float16),
    lambda t: t.tensor([1.7, -1.7], dtype=t.int64),
    lambda t: t.tensor([0.0, 2.0], dtype=t.bool),
    lambda t: t.tensor(float("nan")).isnan(),
    lambda t: t.tensor(np.ones(2)),
    lambda t: t.tensor(np.float32(1.5)),
    lambda t: t.tensor(np.arange(6, dtype=np.int8).reshape(2, 3).T),
    lambda t: t.tensor([np.ones(2), np.zeros(2)]),
    lambda t: t.tensor([np.float64(1.5)]),
    lambda t: t.tensor([np.int32(1), 2]),
    lambda t: t.tensor([t.tensor(1.0), t.tensor(2.0)]),
    lambda t: t.tensor(-(2**63)),
    lambda t: t.as_tensor([1, 2]),
    lambda t: t.as_tensor(ones, dtype=t.float32, device="cpu"),
    lambda t: t.from_numpy(np.arange(3, dtype=np.uint8)),
    lambda t: t.Tensor([1, 2]),
    lambda t: t.tensor([1.0], requires_grad=True),
)

RANDOM = (
    lambda t: t.rand(2, 3),
    lambda t: t.rand((2,), dtype=t.float64, device="cpu", requires_grad=True),
    lambda t: t.rand(2, dtype=t.bfloat16),
    lambda t: t.randn(2, 3),
    lambda t: t.randn(size=(2,), dtype=t.float16),
    lambda t: t.randn(()),
    lambda t: t.randint(10, (2, 3)),
    lambda t: t.randint(10, size=(2,)),
    lambda t: t.randint(5, 10, (2,)),
    lambda t: t.randint(low=0, high=10, size=(2,), dtype=t.int32, device="cpu"),
    lambda t: t.randint(3, (2,), dtype=t.float32),
    lambda t: t.randperm(5),
    lambda t: t.randperm(0),
    lambda t: t.normal(0.0, 1.0, (2, 3)),
    lambda t: t.normal(mean=0.0, std=1.0, size=(2,)),
    lambda t: t.normal(t.zeros(3), t.ones(3)),
    lambda t: t.rand_like(t.ones(2, dtype=t.float64)),
    lambda t: t.randn_like(t.ones(2)),
    lambda t: t.empty(2, 3),
    lambda t: t.empty_like(t.ones(2, dtype=t.int8)),
    lambda t: t.bernoulli(t.full((3,), 0.5)),
    lambda t: t.multinomial(t.ones(4), 3),
    lambda t: t.multinomial(t.ones(2, 4), 5, replacement=True),
)


def described(tensor: Any) -> tuple[str, tuple[int, ...], bool]:
    return str(tensor.dtype).replace("torch.", ""), tuple(tensor.shape), tensor.requires_grad


@pytest.mark.oracle
@pytest.mark.parametrize("call", CALLS)
def test_makes_what_pytorch_makes(call: Any) -> None:
    import torch

    ours, theirs = call(tinytorch), call(torch)
    assert described(ours) == described(theirs)
    np.testing.assert_allclose(np.asarray(ours.tolist()), np.asarray(theirs.tolist()), rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("call", RANDOM)
def test_makes_the_shape_and_dtype_that_pytorch_makes(call: Any) -> None:
    import torch

    assert described(call(tinytorch)) == described(call(torch))


ERRORS = (
    (lambda t: t.arange(5, 2), RuntimeError),
    (lambda t: t.arange(0, 3, 0), RuntimeError),
    (lambda t: t.tensor([[1, 2], [3]]), ValueError),
    (lambda t: t.tensor("a"), TypeError),
    (lambda t: t.tensor(2**63), ValueError),
    (lambda t: t.from_numpy([1]), TypeError),
    (lambda t: t.from_numpy(np.array(["a"])), TypeError),
    (lambda t: t.from_numpy(np.array([None])), TypeError),
    (lambda t: t.randint(3, 3, (2,)), RuntimeError),
    (lambda t: t.bernoulli(t.tensor([1.5])), RuntimeError),
    (lambda t: t.multinomial(t.tensor([-1.0, 2.0]), 1), RuntimeError),
    (lambda t: t.multinomial(t.tensor([float("nan"), 2.0]), 1), RuntimeError),
    (lambda t: t.multinomial(t.tensor([0.0, 0.0]), 1), RuntimeError),
    (lambda t: t.multinomial(t.ones(3), 4), RuntimeError),
    (lambda t: t.multinomial(t.ones(3), 0), RuntimeError),
    (lambda t: t.multinomial(t.tensor([1, 2]), 1), RuntimeError),
    (lambda t: t.multinomial(t.ones(1, 1, 2), 1), RuntimeError),
    (lambda t: t.zeros(2, requires_grad=True, dtype=t.int64), RuntimeError),
    (lambda t: t.zeros(2.5), TypeError),
    (lambda t: t.ones(2, dtype="no dtype"), TypeError),
)


@pytest.mark.parametrize(("call", "error"), ERRORS)
def test_errors(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(tinytorch)


@pytest.mark.oracle
@pytest.mark.parametrize(("call", "error"), ERRORS)
def test_errors_are_of_pytorchs_class(call: Any, error: type[Exception]) -> None:
    import torch

    with pytest.raises(error):
        call(torch)


def test_tensor_copies_and_is_a_leaf() -> None:
    source = tinytorch.ones(2, requires_grad=True) * 2
    copied = tinytorch.tensor(source)
    assert copied.is_leaf and not copied.requires_grad and not np.shares_memory(copied.array, source.array)
    assert tinytorch.as_tensor(source) is source


def test_new_tensors_are_contiguous_and_writable() -> None:
    for made in (tinytorch.tensor(np.ones((2, 3)).T), tinytorch.full((2, 3), 1.0), tinytorch.linspace(0, 1, 3)):
        assert made.is_contiguous() and made.array.flags.writeable
