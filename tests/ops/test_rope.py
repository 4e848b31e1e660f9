"""What the generic tests of operations do not see of rope: tables for each sequence, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tinytorch.nn import functional as F


def test_a_table_for_each_sequence_is_a_table_for_all_where_they_are_alike() -> None:
    rng = np.random.default_rng(0)
    x = tinytorch.tensor(rng.standard_normal((2, 5, 3, 8)))
    cos, sin = (tinytorch.tensor(rng.standard_normal((2, 5, 4))) for _ in range(2))
    both = F.rope(x, cos, sin).numpy()
    for b in range(2):
        np.testing.assert_array_equal(both[b], F.rope(x, cos[b : b + 1], sin[b : b + 1]).numpy()[b])


def test_a_transposed_input_is_read_as_it_is() -> None:
    x = tinytorch.randn(2, 3, 5, 8).transpose(1, 2)  # (2, 5, 3, 8), not contiguous
    angles = tinytorch.randn(1, 5, 4)
    expected = F.rope(x.contiguous(), angles.cos(), angles.sin())
    np.testing.assert_array_equal(F.rope(x, angles.cos(), angles.sin()).numpy(), expected.numpy())


def test_tables_get_their_gradient_too() -> None:
    x = tinytorch.randn(1, 2, 1, 4, dtype=tinytorch.float64)
    angles = tinytorch.randn(1, 2, 2, dtype=tinytorch.float64, requires_grad=True)
    assert tinytorch.autograd.gradcheck(lambda a: F.rope(x, a.cos(), a.sin()), angles)


@pytest.mark.parametrize(
    ("shape", "cos", "sin"),
    [
        ((2, 5, 8), (1, 5, 4), (1, 5, 4)),
        ((2, 5, 3, 7), (1, 5, 3), (1, 5, 3)),
        ((2, 5, 3, 8), (1, 5, 8), (1, 5, 8)),
        ((2, 5, 3, 8), (3, 5, 4), (3, 5, 4)),
        ((2, 5, 3, 8), (1, 4, 4), (1, 4, 4)),
        ((2, 5, 3, 8), (2, 5, 4), (1, 5, 4)),
    ],
)
def test_shapes_that_do_not_fit_are_named(shape: tuple[int, ...], cos: tuple[int, ...], sin: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match="expected input") as error:
        F.rope(tinytorch.ones(*shape), tinytorch.ones(*cos), tinytorch.ones(*sin))
    assert all(str(s) in str(error.value) for s in (shape, cos, sin))


def test_dtypes_that_differ_are_named() -> None:
    x, table = tinytorch.ones(1, 2, 1, 4), tinytorch.ones(1, 2, 2, dtype=tinytorch.float64)
    with pytest.raises(RuntimeError, match="expected one dtype, got float32, cos float64, sin float64"):
        F.rope(x, table, table)


def test_swiglu_names_what_does_not_fit() -> None:
    with pytest.raises(RuntimeError, match=r"one shape and dtype, got float32 \(3,\) and float32 \(4,\)"):
        F.swiglu(tinytorch.ones(3), tinytorch.ones(4))
