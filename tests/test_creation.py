"""Tensors from nothing and from data: values, shapes, dtypes and errors, beside PyTorch where it is installed."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    lambda t: t.full((2,), t.tensor(4, dtype=t.int32)),
    lambda t: t.full((2,), t.tensor(4.5, dtype=t.float64)),
    lambda t: t.full((2,), t.tensor(True), dtype=t.float16),
    lambda t: t.full((2,), np.float64(0.1)),
    lambda t: t.full((2,), np.int32(3)),
    lambda t: t.full((2,), 3, dtype=t.bool),
    lambda t: t.full([2, 1], 0.1, dtype=t.float64, requires_grad=True),
    lambda t: t.full_like(t.zeros(2), t.tensor(3.5)),
    lambda t: t.full_like(t.zeros(2, dtype=t.int64), 3.7),
    lambda t: t.full_like(t.zeros(2, dtype=t.bool), 0.3, dtype=t.float64),
    lambda t: t.full_like(t.zeros(2, 0, dtype=t.bfloat16), 1),
    # An integer dtype takes the fractions off the ends, and off the step.
    lambda t: t.arange(-1.5, 4, dtype=t.int64),
    lambda t: t.arange(1.5, 4, dtype=t.int64),
    lambda t: t.arange(0.5, 4, 1.5, dtype=t.int64),
    lambda t: t.arange(4, 0, -1.5, dtype=t.int64),
    lambda t: t.arange(5.5, dtype=t.int64),
    lambda t: t.arange(-1.5, 4, dtype=t.int32),
    lambda t: t.arange(0.9, 4.1, dtype=t.int8),
    lambda t: t.arange(-0.9, -4.1, -1, dtype=t.int16),
    lambda t: t.arange(-3, 0, dtype=t.uint8),
    lambda t: t.arange(0, 1e10, 1e9, dtype=t.int32),
    lambda t: t.arange(2.0**53, 2.0**53 + 2, dtype=t.int64),
    lambda t: t.arange(2**53 + 1, 2**53 + 3),
    lambda t: t.arange(0, 0),
    lambda t: t.arange(0, 1, 0.1, dtype=t.float64),
    lambda t: t.arange(0, 1, 0.1, dtype=t.bfloat16),
    lambda t: t.arange(t.tensor(2.5)),
    lambda t: t.arange(0, t.tensor(3.0), 1),
    lambda t: t.arange(np.float64(2.5)),
    lambda t: t.arange(np.int64(3)),
    lambda t: t.arange(True),
    lambda t: t.linspace(-1.5, 4, 5, dtype=t.int64),
    lambda t: t.linspace(0.9, 5.9, 6, dtype=t.int32),
    lambda t: t.linspace(-3.7, 3.7, 8, dtype=t.int8),
    lambda t: t.linspace(5, 0, 3, dtype=t.uint8),
    lambda t: t.linspace(0.5, 300, 1, dtype=t.uint8),
    lambda t: t.linspace(0, 1, 0),
    lambda t: t.linspace(t.tensor(0), t.tensor(1.0), 3),
    lambda t: t.linspace(t.tensor(0.1, dtype=t.float64), 1, 3, dtype=t.float64),
    lambda t: t.linspace(0, t.tensor(2), steps=3, dtype=t.float16),
    lambda t: t.linspace(start=0, end=1, steps=np.int64(3)),
    lambda t: t.logspace(-3, 0, 4),
    lambda t: t.logspace(0, 3, 7, 2),
    lambda t: t.logspace(3, -1.5, 5, base=0.5, dtype=t.float64, requires_grad=True),
    lambda t: t.logspace(0, 3, 1),
    lambda t: t.logspace(0, 3, 0),
    lambda t: t.logspace(-1, 3, 5, base=0),
    lambda t: t.logspace(0, 3, 4, base=-2),
    lambda t: t.logspace(0, 40, 3),
    lambda t: t.logspace(t.tensor(0), t.tensor(2.0), steps=np.int64(3), dtype=t.float16),
    lambda t: t.logspace(0.5, 3.9, 4, dtype=t.int32),
    lambda t: t.logspace(0.1, 0.9, 4, dtype=t.int64),
    lambda t: t.logspace(0, 18, 4, dtype=t.int64),
    lambda t: t.logspace(0, 2, 3, dtype=t.uint8),
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
    lambda t: t.normal(t.zeros(3, dtype=t.float64), t.ones(3, dtype=t.float64)),
    lambda t: t.normal(t.zeros(3, dtype=t.float64), t.ones(3)),
    lambda t: t.normal(t.zeros(3), t.ones(3, dtype=t.float64)),
    lambda t: t.normal(t.zeros(3, dtype=t.float16), t.ones(3, dtype=t.float16)),
    lambda t: t.normal(t.zeros(3, dtype=t.bfloat16)),
    lambda t: t.normal(t.zeros(3, dtype=t.float64), 2),
    lambda t: t.normal(0.0, t.ones(3, dtype=t.bfloat16)),
    lambda t: t.normal(t.zeros(2, 1), t.ones(3)),
    lambda t: t.normal(t.zeros(2), t.ones(2, dtype=t.int64)),
    lambda t: t.normal(0, 1, (2,), dtype=t.float64, requires_grad=True),
    lambda t: t.randint(0, 256, (2,), dtype=t.uint8),
    lambda t: t.randint(0, 2, (2,), dtype=t.bool),
    lambda t: t.randint(3, (2,), dtype=t.float32, requires_grad=True),
    lambda t: t.randperm(255, dtype=t.uint8),
    lambda t: t.randperm(2049, dtype=t.float16),
    lambda t: t.randperm(t.tensor(3)),
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


# (call, exception, a piece of the message), and how PyTorch differs, where it does: as an operation's `errors`.
ERRORS = (
    (lambda t: t.arange(5, 2), RuntimeError, "step 1 does not lead from 5 to 2"),
    (lambda t: t.arange(0, 3, 0), RuntimeError, "from 0 to 3 by 0"),
    (lambda t: t.arange(0, 3, float("nan")), RuntimeError, "by nan"),
    (lambda t: t.arange(float("nan")), RuntimeError, "from 0 to nan"),
    (lambda t: t.arange(0, float("inf")), RuntimeError, "from 0 to inf"),
    (lambda t: t.arange(0, 4, 0.5, dtype=t.int64), ValueError, "the step is truncated"),
    (lambda t: t.arange(0, 4, 0.5, dtype=t.int32), ValueError, "the step is truncated", "repeats the start"),
    (lambda t: t.arange(1e300, dtype=t.int64), RuntimeError, "value 1e+300 cannot be converted to type int64"),
    (lambda t: t.arange(3, dtype=t.bool), RuntimeError, "not implemented for bool"),
    (lambda t: t.arange("a"), TypeError, "expected a number, got str"),
    (lambda t: t.arange(1, requires_grad=True), RuntimeError, "floating point"),
    (lambda t: t.linspace(0, 1, -1), RuntimeError, "must be non-negative, got -1"),
    (lambda t: t.linspace(0, 1, 2.0), TypeError, "integer"),
    (lambda t: t.linspace(0, 1, 3, dtype=t.bool), RuntimeError, "not implemented for bool"),
    (lambda t: t.linspace(0, 300, 3, dtype=t.uint8), RuntimeError, "value 300 cannot be converted to type uint8"),
    (lambda t: t.linspace(0, float("nan"), 3, dtype=t.int64), RuntimeError, "value nan cannot be converted"),
    (lambda t: t.linspace(t.tensor([0.0, 1.0]), 1, 3), RuntimeError, "without dimensions, got shape (2,)"),
    (lambda t: t.logspace(0, 1, -1), RuntimeError, "must be non-negative, got -1"),
    (lambda t: t.logspace(0, 1, 2.0), TypeError, "integer"),
    (lambda t: t.logspace("0", 1, 2), TypeError, "logspace: expected a number, got str"),
    (lambda t: t.logspace(0, 1, 3, dtype=t.bool), RuntimeError, "not implemented for bool"),
    (lambda t: t.logspace(t.tensor([0.0, 1.0]), 1, 3), RuntimeError, "without dimensions, got shape (2,)"),
    (lambda t: t.logspace(0, 3, 4, dtype=t.uint8), RuntimeError, "cannot be converted to type uint8", "wraps around"),
    (lambda t: t.tensor([[1, 2], [3]]), ValueError, "sequences of equal length"),
    (lambda t: t.tensor("a"), TypeError, "real numbers"),
    (lambda t: t.tensor(2**63), ValueError, "does not fit into int64"),
    (lambda t: t.tensor([300], dtype=t.uint8), RuntimeError, "value 300 cannot be converted to type uint8"),
    (lambda t: t.tensor([1.0, float("nan")], dtype=t.int32), RuntimeError, "value nan cannot be converted"),
    (lambda t: t.from_numpy([1]), TypeError, "expected np.ndarray"),
    (lambda t: t.from_numpy(np.array(["a"])), TypeError, "real numbers"),
    (lambda t: t.from_numpy(np.array([None])), TypeError, "real numbers"),
    (lambda t: t.full((1,), 300, dtype=t.uint8), RuntimeError, "value 300 cannot be converted to type uint8"),
    (lambda t: t.full((1,), 1e10, dtype=t.int32), RuntimeError, "10000000000.0 cannot be converted to type int32"),
    (lambda t: t.full((2,), 1e39, dtype=t.float32), RuntimeError, "value 1e+39 cannot be converted to type float32"),
    (lambda t: t.full_like(t.zeros(2, dtype=t.int64), float("inf")), RuntimeError, "value inf cannot be converted"),
    (lambda t: t.full((2,), [1, 2]), TypeError, "expected a number to fill with, got list"),
    (lambda t: t.full((2,), t.ones(1)), TypeError, "expected a number to fill with, got Tensor"),
    (lambda t: t.full((2,), None), TypeError, "got NoneType"),
    (lambda t: t.full(2, 3), TypeError, "size must be a tuple of integers, got int"),
    (lambda t: t.full((2.0,), 3), TypeError, "float"),
    (lambda t: t.zeros(-1), RuntimeError, "negative dimension -1: [-1]"),
    (lambda t: t.ones(2, -3), RuntimeError, "negative dimension -3: [2, -3]"),
    (lambda t: t.empty((0, -1)), RuntimeError, "negative dimension -1"),
    (lambda t: t.full((-1,), 3), RuntimeError, "negative dimension -1"),
    (lambda t: t.eye(-1), RuntimeError, "negative dimension -1"),
    (lambda t: t.eye(2, -1), RuntimeError, "negative dimension -1"),
    (lambda t: t.eye(2.0), TypeError, "float"),
    (lambda t: t.rand(-1), RuntimeError, "negative dimension -1"),
    (lambda t: t.randn(-2, 3), RuntimeError, "negative dimension -2"),
    (lambda t: t.randint(3, (-1,)), RuntimeError, "negative dimension -1"),
    (lambda t: t.randperm(-1), RuntimeError, "negative dimension -1"),
    (lambda t: t.normal(0.0, 1.0, (-1,)), RuntimeError, "negative dimension -1"),
    (lambda t: t.zeros(2.5), TypeError, "float"),
    (lambda t: t.zeros("a"), TypeError, "str"),
    (lambda t: t.zeros(t.tensor([2, 3])), TypeError, "single element"),
    (lambda t: t.zeros(2, requires_grad=True, dtype=t.int64), RuntimeError, "floating point"),
    (lambda t: t.ones(2, dtype="no dtype"), TypeError, "no dtype"),
    (lambda t: t.rand(2, dtype=t.int64), RuntimeError, "rand is not implemented for int64"),
    (lambda t: t.randn_like(t.ones(2, dtype=t.bool)), RuntimeError, "randn is not implemented for bool"),
    (lambda t: t.randint(3, 3, (2,)), RuntimeError, "low=3, high=3"),
    (lambda t: t.randint(300, (2,), dtype=t.uint8), RuntimeError, "0 to 299 is out of bounds for uint8"),
    (lambda t: t.randint(-129, 0, (2,), dtype=t.int8), RuntimeError, "-129 to -1 is out of bounds for int8"),
    (lambda t: t.randint(0, 3, (2,), dtype=t.bool), RuntimeError, "0 to 2 is out of bounds for bool"),
    (lambda t: t.randint(0, 5.5, (2,)), TypeError, "float"),
    (lambda t: t.randint(5, 2), TypeError, "size must be a tuple of integers"),
    (lambda t: t.randint(3, (2,), requires_grad=True), RuntimeError, "floating point"),
    (lambda t: t.randperm(2.5), TypeError, "float"),
    (lambda t: t.randperm(300, dtype=t.uint8), RuntimeError, "value 300 cannot be converted to type uint8"),
    (lambda t: t.randperm(3000, dtype=t.float16), RuntimeError, "float16 does not hold all integers below 3000"),
    (lambda t: t.randperm(2, dtype=t.bool), RuntimeError, "not implemented for bool"),
    (lambda t: t.normal(0.0, 1.0), TypeError, "give size"),
    (lambda t: t.normal(t.zeros(2), t.ones(2), (2,)), TypeError, "not with a Tensor"),
    (lambda t: t.normal(0.0, -1.0, (2,)), RuntimeError, "expects std >= 0.0, but found std -1"),
    (lambda t: t.normal(0.0, float("nan"), (2,)), RuntimeError, "found std nan"),
    (lambda t: t.normal(t.zeros(2), t.tensor([1.0, -2.0])), RuntimeError, "found std -2"),
    (lambda t: t.normal(t.zeros(2, dtype=t.int64), t.ones(2)), RuntimeError, "normal is not implemented for int64"),
    (lambda t: t.normal(t.zeros(2), t.ones(3)), RuntimeError, "mean (2,) and std (3,) do not broadcast"),
    (lambda t: t.ones(2).normal_(0, -1), RuntimeError, "found std -1"),
    (lambda t: t.ones(2).long().normal_(), RuntimeError, "normal_ is not implemented for int64"),
    (lambda t: t.ones(2).uniform_(1, 0), RuntimeError, "from=1, to=0"),
    (lambda t: t.ones(2).long().uniform_(), RuntimeError, "uniform_ is not implemented for int64"),
    (lambda t: t.ones(2).bernoulli_(2), RuntimeError, "got p=2"),
    (lambda t: t.bernoulli(t.tensor([1.5])), RuntimeError, "between 0 and 1"),
    (lambda t: t.bernoulli(t.tensor([1, 0])), RuntimeError, "not implemented for int64"),
    (lambda t: t.multinomial(t.tensor([-1.0, 2.0]), 1), RuntimeError, "element < 0"),
    (lambda t: t.multinomial(t.tensor([float("nan"), 2.0]), 1), RuntimeError, "nan"),
    (lambda t: t.multinomial(t.tensor([0.0, 0.0]), 1), RuntimeError, "sum of probabilities <= 0"),
    (lambda t: t.multinomial(t.tensor([0.0, 0.0]), 1, True), RuntimeError, "sum of probabilities <= 0"),
    (lambda t: t.multinomial(t.ones(3), 4), RuntimeError, "cannot draw 4 samples from 3 weights"),
    (lambda t: t.multinomial(t.ones(3), 0), RuntimeError, "cannot draw 0 samples"),
    (lambda t: t.multinomial(t.tensor([1, 2]), 1), RuntimeError, "got int64"),
    (lambda t: t.rand(2.5), TypeError, "a shape must be integers or a tuple of integers, got float"),
    (lambda t: t.zeros(None), TypeError, "got NoneType"),
    (lambda t: t.rand(3, generator=5), TypeError, "generator must be a torch.Generator, not int"),
    (lambda t: t.randn(3, generator=0), TypeError, "not int"),
    (lambda t: t.randint(3, (2,), generator=5), TypeError, "not int"),
    (lambda t: t.randperm(3, generator=5), TypeError, "not int"),
    (lambda t: t.multinomial(t.ones(3), 1, generator=5), TypeError, "not int"),
    (lambda t: t.bernoulli(t.ones(3), generator=5), TypeError, "not int"),
    (lambda t: t.ones(3).normal_(generator=5), TypeError, "not int"),
    (lambda t: t.Generator().manual_seed(1.5), RuntimeError, "manual_seed expected an integer, but got float"),
    (lambda t: t.Generator().manual_seed("a"), RuntimeError, "but got str"),
    (lambda t: t.Generator().manual_seed(True), RuntimeError, "but got bool"),
    (lambda t: t.multinomial(t.ones(1, 1, 2), 1), RuntimeError, "(1, 1, 2)"),
)


@pytest.mark.parametrize("call, error, message", [row[:3] for row in ERRORS])
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as raised:
        call(tinytorch)
    assert raised.type is error


@pytest.mark.oracle
@pytest.mark.parametrize("row", ERRORS)
def test_errors_are_of_pytorchs_class(row: Any) -> None:
    import torch

    call, error, _, *unlike = row
    if unlike:
        call(torch)
    else:
        with pytest.raises(error):
            call(torch)


def test_values_without_pytorch() -> None:
    t = tinytorch
    assert t.arange(-1.5, 4, dtype=t.int64).tolist() == [-1, 0, 1, 2, 3]
    assert t.arange(0.5, 4, 1.5, dtype=t.int64).tolist() == [0, 1, 2, 3]
    assert t.arange(0, 1, 0.25).tolist() == [0, 0.25, 0.5, 0.75] and t.arange(2.0**53, 2.0**53 + 2).numel() == 2
    assert t.linspace(-1.5, 4, 6, dtype=t.int64).tolist() == [-1, 0, 1, 2, 3, 4]
    assert t.linspace(5, -5, 3).tolist() == [5, 0, -5] and t.linspace(7, 8, 1).tolist() == [7]
    assert t.linspace(0.1, 0.7, 4, dtype=t.float64)[[0, -1]].tolist() == [0.1, 0.7]
    assert t.linspace(t.tensor(1), t.tensor(2), 3).tolist() == [1, 1.5, 2]
    assert t.logspace(-1, 3, 5, 2).tolist() == [0.5, 1, 2, 4, 8]
    assert t.logspace(0.9, 2.9, 3, dtype=t.int64).tolist() == [1, 10, 100]
    mean = t.full((3,), 1e6, dtype=t.float64)
    drawn = t.normal(mean, 1e-6)
    assert drawn.dtype == t.float64 and (drawn != mean).all() and ((drawn - mean).abs() < 1e-4).all()


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32", "float16"])
@given(data=st.data())
def test_ranges_have_the_ends_that_they_should(dtype: str, data: Any) -> None:
    start, end = data.draw(st.floats(-50, 50)), data.draw(st.floats(-50, 50))
    step = data.draw(st.floats(1, 9)) * (1 if end >= start else -1)
    if dtype == "uint8":
        start, end, step = abs(start), abs(start) + abs(end), abs(step)
    y = tinytorch.arange(start, end, step, dtype=getattr(tinytorch, dtype)).double().numpy()
    first, last, by = (int(v) for v in (start, end, step)) if "float" not in dtype else (start, end, step)
    assert len(y) == max(0, math.ceil((last - first) / by if dtype == "int64" else (end - start) / step))
    np.testing.assert_allclose(y, first + by * np.arange(len(y)), rtol=1e-3, atol=0 if "int" in dtype else 0.05)
    n = data.draw(st.integers(2, 9))
    z = tinytorch.linspace(start, end, n, dtype=getattr(tinytorch, dtype)).double().numpy()
    assert len(z) == n and z[0] == np.asarray(first, dtype) and z[-1] == np.asarray(last, dtype)
    assert (np.diff(z) * (1 if last >= first else -1) >= 0).all()


def test_a_shape_in_place_of_data_is_refused() -> None:
    """PyTorch's `Tensor(2, 3)` is a matrix of whatever lies in memory; it must not be 2, which requires grad."""
    with pytest.raises(TypeError, match="positional argument"):
        tinytorch.Tensor(2, 3)  # type: ignore[misc]


def test_tensor_copies_and_is_a_leaf() -> None:
    source = tinytorch.ones(2, requires_grad=True) * 2
    copied = tinytorch.tensor(source)
    assert copied.is_leaf and not copied.requires_grad and not np.shares_memory(copied.array, source.array)
    assert tinytorch.as_tensor(source) is source


def test_new_tensors_are_contiguous_and_writable() -> None:
    for made in (tinytorch.tensor(np.ones((2, 3)).T), tinytorch.full((2, 3), 1.0), tinytorch.linspace(0, 1, 3)):
        assert made.is_contiguous() and made.array.flags.writeable
