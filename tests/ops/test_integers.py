"""Integers and truth values in place of floating-point numbers, in every example of every operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops import checks
from tests.ops.checks import Example

OPERATIONS = [cls for cls in checks.operations() if vars(cls).get("examples")]
EXAMPLES = [example for cls in OPERATIONS for example in checks.examples_of(cls)]
DTYPES = ["int64", "int32", "uint8", "bool"]

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)

# Their calls make constants in the dtype of the input, or put the result into it: of integers other ones.
ROUNDS_CONSTANTS = {"BinEdges", "Histogram", "Rope", "Remainder-2", "Linear-2", "Linear-3"}
# What PyTorch takes and we refuse.
REFUSED_HERE = {
    ("Matmul-6", "bool"): "a product of nothing",
    **{(f"QuantizedProduct-{i}", dtype): "PyTorch has no such thing" for i in (0, 1) for dtype in DTYPES[:3]},
}


def whole_numbers(example: Example, dtype: str) -> list[Any]:
    """From -5 to 5; without a sign from 0 to 5."""
    arrays = [np.clip(np.round(2 * a), -5, 5) for a in example.arrays()]
    return [(np.abs(a) if dtype == "uint8" else a).astype(dtype) for a in arrays]


def run(call: Any, t: Any, arrays: list[Any]) -> Any:
    """The outputs, or what was raised."""
    try:
        return checks.listed(call(t, *[t.from_numpy(a.copy()) for a in arrays]))
    except Exception as error:
        return error


@pytest.mark.parametrize("dtype", ["int64", "uint8"])
@every_example
def test_are_refused_or_give_what_floats_give(example: Example, dtype: str) -> None:
    """Never a result that is cut to integers on the way."""
    arrays = whole_numbers(example, dtype)
    found = run(example.call, tinytorch, arrays)
    if isinstance(found, Exception):
        assert isinstance(found, (RuntimeError, TypeError)) and len(str(found)) > 10, repr(found)
        return
    if {example.id, example.cls.__name__} & ROUNDS_CONSTANTS:
        return
    expected = run(example.call, tinytorch, [a.astype(np.float64) for a in arrays])
    for i, (y, z) in enumerate(zip(found, expected, strict=True)):
        whole = z.numpy().astype(np.int64)
        if y.dtype == tinytorch.uint8:
            whole = whole & 255
        right = z.numpy() if y.is_floating_point() else whole
        checks.assert_close(y.numpy(), right, f"output {i}", 1e-5 if y.is_floating_point() else 0)
        assert y.is_floating_point() or (z.numpy() == z.numpy().round()).all(), f"output {i} has lost its fractions"


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", DTYPES)
@every_example
def test_as_pytorch(example: Example, dtype: str) -> None:
    """The same values and dtypes, or both refuse."""
    import torch

    arrays = whole_numbers(example, dtype)
    theirs, ours = run(example.call, torch, arrays), run(example.call, tinytorch, arrays)
    if isinstance(theirs, Exception):
        # What PyTorch has not implemented for a dtype is an error of its own, which `except RuntimeError` catches.
        expected = RuntimeError if isinstance(theirs, NotImplementedError) else type(theirs)
        assert isinstance(ours, expected), f"{ours!r}; PyTorch: {theirs!r}"
        return
    if (example.id, dtype) in REFUSED_HERE:
        assert isinstance(ours, RuntimeError)
        return
    assert not isinstance(ours, Exception), f"{ours!r}; PyTorch: {theirs}"
    for i, (y, z) in enumerate(zip(ours, theirs, strict=True)):
        assert f"torch.{y.dtype}" == str(z.dtype), f"output {i} is {y.dtype}, PyTorch's {z.dtype}"
        checks.assert_close(y.numpy(), checks.array_of(z), f"output {i}", checks.TOLERANCE.get(str(y.dtype), 0))
