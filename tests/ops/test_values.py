"""What every operation computes, against a few lines of NumPy or Python: gradcheck agrees with a wrong forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops import checks
from tests.ops.checks import TOLERANCE, Example, assert_close
from tests.ops.edges import REFUSED, at_edges
from tests.ops.references import OF_BOOLS, OF_INTEGERS, OF_NUMBERS, REFERENCES

OPERATIONS = checks.operations()
EXAMPLES = [example for cls in OPERATIONS if vars(cls).get("examples") for example in checks.examples_of(cls)]
COMPUTED = [(example, edge) for example, edge in at_edges(EXAMPLES) if (example.id, edge) not in REFUSED]
dtypes = pytest.mark.parametrize(
    "dtype", [tinytorch.float64, tinytorch.float32, tinytorch.float16, tinytorch.bfloat16], ids=str
)


def test_every_example_of_every_operation_has_a_reference() -> None:
    ours = {cls.__name__: len(cls.examples) for cls in OPERATIONS}
    assert {name: len(references) for name, references in REFERENCES.items()} == ours


def results_of(kind: str) -> list[tuple[Example, str, str]]:
    """(example, dtype of its inputs, dtype of its result)"""
    by_result = OF_BOOLS if kind == "bool" else OF_INTEGERS
    table = {name: result for result, names in by_result.items() for name in names.split()}
    found = [(example, table.get(example.id, table.get(example.cls.__name__, ""))) for example in EXAMPLES]
    return [(example, kind, kind if result == "same" else result) for example, result in found if result]


def check_value(example: Example, reference: Callable[..., Any], dtype: Any, strided: bool = False) -> None:
    """Value, shape and dtype of each output."""
    arrays = example.arrays(dtype, strided)
    expected = checks.listed(reference(*[a.astype(np.float64) for a in arrays]))
    inputs = checks.tensors(arrays)
    outputs = checks.listed(example.call(tinytorch, *inputs))
    assert len(outputs) == len(expected)
    expected_dtype = {"To-0": tinytorch.float64, "Prod-2": tinytorch.result_type(inputs[0], tinytorch.zeros(4))}
    for number, (y, z) in enumerate(zip(outputs, expected, strict=True)):
        right = dtype if checks.has_gradient(example.cls) or z.dtype.kind == "f" else z.dtype
        assert y.dtype == expected_dtype.get(example.id, right)
        assert_close(y.array, z, f"output {number}", TOLERANCE[str(dtype)])


@dtypes
@pytest.mark.parametrize("strided", [False, True], ids=["contiguous", "strided"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_value(example: Example, strided: bool, dtype: Any) -> None:
    check_value(example, REFERENCES[example.cls.__name__][example.number], dtype, strided)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")  # NumPy's, at means of nothing
@pytest.mark.parametrize("example, edge", COMPUTED, ids=str)
def test_value_at_the_edges(example: Example, edge: str) -> None:
    """Of arrays without dimensions or elements, where they are not refused."""
    reference = REFERENCES[example.cls.__name__][example.number]
    if edge == "0d":
        reference = OF_NUMBERS.get(example.id, reference)
    check_value(example.at(edge), reference, tinytorch.float64)


@pytest.mark.parametrize(
    "example, dtype, result", [*results_of("int64"), *results_of("uint8"), *results_of("bool")], ids=str
)
def test_value_of_integers(example: Example, dtype: str, result: str) -> None:
    """Integers stay what they are, add up in int64, or become float32; the sum of truth values is whether one holds."""
    rng = np.random.default_rng(len(example.id))
    low, high = {"int64": (-4, 5), "uint8": (0, 5), "bool": (0, 2)}[dtype]
    arrays = [rng.integers(low, high, shape).astype(dtype) for shape in example.shapes]
    reference = REFERENCES[example.cls.__name__][example.number]
    expected = checks.listed(reference(*[a.astype(np.float64) for a in arrays]))
    outputs = checks.listed(example.call(tinytorch, *[tinytorch.from_numpy(a) for a in arrays]))
    for y, z in zip(outputs, expected, strict=True):
        assert y.dtype == result
        if result == "bool":
            z = np.not_equal(z, 0)
        elif result == "uint8":
            z = np.mod(z, 256)
        assert_close(y.array, z, example.id, TOLERANCE.get(result, 0))
