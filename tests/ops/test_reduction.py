"""Reductions: dims of every kind, empty ones, ties, NaN, zeros; against NumPy, and PyTorch where it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinytorch
from tests.ops.checks import assert_same_error, compare_with_torch

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4))
TIES = np.array([[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [0.0, -1.0, -1.0, 7.0]])
SPECIAL = np.array([[1.0, np.nan, 3.0], [np.inf, 1.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
NUMPY: dict[str, Any] = {
    "sum": np.sum, "mean": np.mean, "amax": np.max, "amin": np.min, "any": np.any, "all": np.all,
    "var": lambda x, **k: np.var(x, ddof=1, **k), "std": lambda x, **k: np.std(x, ddof=1, **k),
    "logsumexp": lambda x, **k: np.log(np.exp(x).sum(**k)),
}  # fmt: skip


@given(data=st.data(), name=st.sampled_from(sorted(NUMPY)), keepdim=st.booleans())
def test_dims_as_numpy(data: Any, name: str, keepdim: bool) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=2, max_side=3))
    x = np.random.default_rng(0).standard_normal(shape)
    axes = data.draw(hnp.valid_tuple_axes(len(shape), min_size=1))
    dim = axes[0] if len(axes) == 1 and data.draw(st.booleans()) else axes
    expected = NUMPY[name](x, axis=dim, keepdims=keepdim)
    for names in ({"dim": dim, "keepdim": keepdim}, {"axis": dim, "keepdims": keepdim}):
        if name == "logsumexp" and "axis" in names:
            continue
        y = getattr(tinytorch.from_numpy(x), name)(**names)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-12)


CALLS: dict[str, Any] = {
    "sum_none": (lambda t, x: x.sum(), X),
    "sum_empty_dim": (lambda t, x: x.sum(()), X),
    "sum_dtype": (lambda t, x: x.sum(1, dtype=t.float64), X.astype(np.float32)),
    "sum_bool": (lambda t, x: x.sum(1), X > 0),
    "sum_of_nothing": (lambda t, x: x.sum(), np.zeros((0, 3))),
    "mean_of_nothing": (lambda t, x: x.mean(), np.zeros((0, 3))),
    "mean_dims": (lambda t, x: x.mean((0, -1), keepdim=True), X),
    "prod": (lambda t, x: x.prod(-2, keepdim=True), X),
    "prod_one_zero": (lambda t, x: x.prod(1), np.array([[1.0, 0.0, 3.0], [2.0, 3.0, 4.0]])),
    "prod_two_zeros": (lambda t, x: x.prod(1), np.array([[0.0, 0.0, 3.0], [2.0, 0.0, 4.0]])),
    "prod_of_nothing": (lambda t, x: x.prod(0), np.zeros((0, 3))),
    "var": (lambda t, x: t.var(x, dim=(0, 2), correction=0), X),
    "var_unbiased": (lambda t, x: x.var(1, unbiased=False), X),
    "std_keepdim": (lambda t, x: x.std(-1, keepdim=True), X),
    "amax_ties": (lambda t, x: x.amax(1), TIES),
    "amin_ties": (lambda t, x: x.amin((0, 1)), TIES),
    "max_all_ties": (lambda t, x: x.max(), TIES),
    "max_dim_ties": (lambda t, x: x.max(1), TIES),
    "min_dim_ties": (lambda t, x: x.min(dim=-1, keepdim=True), TIES),
    "max_nan": (lambda t, x: x.amax(1), SPECIAL),
    "min_dim_nan": (lambda t, x: x.min(1), SPECIAL),
    "argmax_nan": (lambda t, x: x.argmax(1), SPECIAL),
    "argmax_first": (lambda t, x: x.argmax(), TIES),
    "argmax_keepdim": (lambda t, x: x.argmax(1, keepdim=True), TIES),
    "argmax_flat_keepdim": (lambda t, x: x.argmax(keepdim=True), TIES),
    "argmin_first": (lambda t, x: x.argmin(0), TIES),
    "cumsum": (lambda t, x: x.cumsum(-2), X),
    "cumsum_number": (lambda t, x: x.cumsum(0), np.array(2.0)),
    "logsumexp": (lambda t, x: x.logsumexp((0, -1), keepdim=True), X),
    "logsumexp_large": (lambda t, x: x.logsumexp(0), np.array([1000.0, 1000.0, -1000.0])),
    "any": (lambda t, x: x.any(1, keepdim=True), TIES > 4),
    "all_none": (lambda t, x: x.all(), TIES > -5),
    "all_of_nothing": (lambda t, x: x.all(), np.zeros(0, np.bool_)),
    "any_of_nothing": (lambda t, x: x.any(), np.zeros(0, np.bool_)),
    "number": (lambda t, x: (x.sum(0), x.mean(-1), x.amax(0), x.max(0)[0], x.prod(0)), np.array(3.0)),
    "int_prod": (lambda t, x: x.prod(), np.array([2, 3, 4], np.int32)),
    "max_other": (lambda t, x: t.max(x, x.flip(0)), X),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CALLS)
def test_as_pytorch(name: str) -> None:
    call, x = CALLS[name]
    compare_with_torch(call, [x], second=bool(x.dtype == np.float64 and np.isfinite(x).all()))


@pytest.mark.oracle
@pytest.mark.parametrize(
    "call, x",
    [
        (lambda t, x: x.sum(3), X),
        (lambda t, x: x.mean(-4), X),
        (lambda t, x: x.sum((0, -3)), X),
        (lambda t, x: x.mean(), np.ones(3, np.int64)),
        (lambda t, x: x.var(), np.ones(3, np.int64)),
        (lambda t, x: x.amax(0), np.zeros((0, 3))),
        (lambda t, x: x.argmax(), np.zeros(0)),
        (lambda t, x: x.max(0), np.zeros((0, 3))),
        (lambda t, x: x.cumsum(2), np.zeros((2, 3))),
        (lambda t, x: x.argmax(5), X),
        (lambda t, x: x.prod(7), X),
    ],
)
def test_errors_are_pytorchs(call: Any, x: Any) -> None:
    assert_same_error(call, [x])


def test_gradient_of_ties_is_shared_or_goes_to_the_index() -> None:
    x = tinytorch.tensor([1.0, 3.0, 3.0], requires_grad=True)
    x.amax().backward()
    assert x.grad.tolist() == [0, 0.5, 0.5]
    x.grad = None
    x.max(0).values.backward()
    assert x.grad.tolist() == [0, 1, 0]


def test_zero_variance_has_gradient_zero() -> None:
    """Unlike PyTorch's NaN: a constant row must not poison a whole model."""
    x = tinytorch.ones(2, 3, requires_grad=True)
    x.std(1).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_logsumexp_of_minus_infinity_has_gradient_zero() -> None:
    x = tinytorch.full((2,), -np.inf, requires_grad=True)
    y = x.logsumexp(0)
    y.backward()
    assert y.item() == -np.inf
    assert x.grad.tolist() == [0, 0]


def test_prod_with_zeros_by_hand() -> None:
    x = tinytorch.tensor([2.0, 0.0, 4.0], requires_grad=True)
    x.prod().backward()
    assert x.grad.tolist() == [0, 8, 0]
    x = tinytorch.tensor([0.0, 0.0, 4.0], requires_grad=True)
    x.prod().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_unknown_keywords_are_refused() -> None:
    with pytest.raises(TypeError, match="keepdimz"):
        tinytorch.ones(2).sum(0, keepdimz=True)
