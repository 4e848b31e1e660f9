"""In which dtype operands are combined: every pair, with and without dimensions, and Python numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops.checks import compare_with_torch
from tinytorch import bfloat16, float16, float32, float64, int8, int16, int32, int64, uint8

DTYPES = [np.dtype("bool"), uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64]
OPERATIONS = {
    "+": lambda t, a, b: a + b,
    "*": lambda t, a, b: a * b,
    "/": lambda t, a, b: a / b,
    "maximum": lambda t, a, b: t.maximum(a, b),
    "where": lambda t, a, b: t.where(t.tensor([True, False]), a, b),
    "==": lambda t, a, b: a == b,
    "<": lambda t, a, b: a < b,
}

pairs = pytest.mark.parametrize("b", DTYPES, ids=str)
dtypes = pytest.mark.parametrize("a", DTYPES, ids=str)


def test_rules_in_words() -> None:
    """The category decides, then the size; a number, or a tensor without dimensions, has only a category."""
    result = tinytorch.result_type
    vector = lambda dtype: tinytorch.zeros(2, dtype=dtype)  # noqa: E731
    number = lambda dtype: tinytorch.zeros((), dtype=dtype)  # noqa: E731
    assert tinytorch.promote_types(int64, float16) == float16
    assert tinytorch.promote_types(uint8, int8) == int16
    assert tinytorch.promote_types(bool, bool) == np.bool_
    truth = tinytorch.tensor([True, False])
    assert [(truth + truth).tolist(), (truth * truth).tolist()] == [[True, False], [True, False]]
    assert (truth + truth).dtype == (truth * True).dtype == np.bool_ and (truth / truth).dtype == float32
    assert (truth + 1).tolist() == [2, 1] and truth.sum().item() == 1
    assert tinytorch.promote_types(float16, bfloat16) == float32
    assert result(vector(float32), number(float64)) == float32
    assert result(vector(int32), number(float64)) == float64
    assert result(vector(int8), 3) == int8
    assert result(vector(int8), 0.5) == float32
    assert result(vector(np.dtype("bool")), 3) == int64
    assert result(vector(float16), 1e30) == float16


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.oracle
@pairs
@dtypes
def test_pairs(a: Any, b: Any, name: str) -> None:
    for left, right in (((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())):
        arrays = np.ones(left, a), np.ones(right, b)
        if not (name == "where" and left == right == ()):
            compare_with_torch(OPERATIONS[name], arrays)


@pytest.mark.oracle
@pytest.mark.parametrize("number", [True, 2, 0.5])
@dtypes
def test_numbers(a: Any, number: Any) -> None:
    for shape in ((2,), ()):
        x = np.ones(shape, a)
        for call in (
            lambda t, x: x + number,
            lambda t, x: number * x,
            lambda t, x: x / number,
            lambda t, x: number / x,
            lambda t, x: x == number,
            lambda t, x: t.result_type(x, number) == t.float32,
        ):
            compare_with_torch(call, [x])


@pytest.mark.oracle
@pairs
@dtypes
def test_tables(a: Any, b: Any) -> None:
    import torch

    theirs = torch.promote_types(getattr(torch, str(a)), getattr(torch, str(b)))
    assert f"torch.{tinytorch.promote_types(a, b)}" == str(theirs)


@pytest.mark.oracle
@dtypes
def test_of_one_tensor(a: Any) -> None:
    """Functions that leave the integers, reductions that widen them."""
    for shape in ((3,), ()):
        x = np.ones(shape, a)
        for call in (
            lambda t, x: t.exp(x),
            lambda t, x: t.sqrt(x),
            lambda t, x: t.sigmoid(x),
            lambda t, x: x.sum(),
            lambda t, x: x.prod(),
            lambda t, x: x.amax(),
            lambda t, x: x.argmax() if x.dtype != t.bool else x,  # of truth values only here
            lambda t, x: t.cumsum(x, 0),
            lambda t, x: x.any(),
            lambda t, x: x.all(),
            lambda t, x: x.sum_to_size(x.shape),
            lambda t, x: x.sum_to_size(1) if x.ndim else x,
            lambda t, x: t.abs(x) if x.dtype != t.bool else x,
            lambda t, x: t.sign(x.detach()) if x.dtype != t.bool else x,  # requires no grad here, zeros in PyTorch
            lambda t, x: t.square(x),
            lambda t, x: t.reciprocal(x),
            lambda t, x: x.isnan(),
            lambda t, x: x.long(),
            lambda t, x: x.to(t.bfloat16),
            lambda t, x: t.zeros_like(x),
        ):
            compare_with_torch(call, [x])


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "@": lambda a, b: a @ b,
}


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_an_array_on_the_left_defers_to_the_tensor(operator: Any) -> None:
    array = np.array([[1.5, 2.0], [3.0, 0.5]], np.float32)
    x = tinytorch.tensor(array[::-1].copy(), requires_grad=True)
    y = operator(array, x)
    assert isinstance(y, tinytorch.Tensor)
    assert y.dtype in (float32, np.dtype("bool"))
    np.testing.assert_allclose(y.detach().numpy(), operator(array, array[::-1]), rtol=1e-6)
    for scalar in (np.float64(2.0), np.float32(2.0), np.int64(2)):
        if operator is not OPERATORS["@"]:
            assert isinstance(operator(scalar, x), tinytorch.Tensor), type(scalar)


@pytest.mark.parametrize("name", ["&", "|", "^"])
def test_an_array_on_the_left_of_a_bitwise_operator(name: str) -> None:
    operator = {"&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b}[name]
    array = np.array([True, True, False])
    y = operator(array, tinytorch.tensor([True, False, False]))
    assert isinstance(y, tinytorch.Tensor)
    np.testing.assert_array_equal(y.numpy(), operator(array, np.array([True, False, False])))
