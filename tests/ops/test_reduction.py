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
    "prod_of_a_number": (lambda t, x: (x.prod(), x.prod(0), x.prod(-1, keepdim=True)), np.array(0.0)),
    "prod_dtype": (lambda t, x: (x.prod(dtype=t.float32), t.prod(x, 1, True, dtype=t.float64)), np.ones((2, 3), int)),
    "prod_in_integers": (lambda t, x: (x.prod(1, dtype=t.uint8), x.prod(dtype=t.bool)), np.full((2, 3), 10, np.int16)),
    "prod_axis": (lambda t, x: x.prod(axis=1), X),
    "sum_in_integers": (lambda t, x: (x.sum(1, dtype=t.int8), x.sum(dtype=t.int32)), np.full((2, 3), 100)),
    "sum_truncated": (lambda t, x: x.detach().sum(dtype=t.int64), X * 10),
    "sum_in_bools": (lambda t, x: x.sum(0, dtype=t.bool), np.array([[2, 0], [2, 0]])),
    "mean_dtype": (lambda t, x: t.mean(x, 0, dtype=t.float32), np.arange(3)),
    "mean_dim_list": (lambda t, x: x.mean(dim=[0, 2]), X),
    "cumsum_dtype": (lambda t, x: (x.cumsum(0, dtype=t.float32), x.cumsum(0, dtype=t.int8)), np.full(3, 100, np.int8)),
    "cumsum_axis": (lambda t, x: x.cumsum(axis=1), X),
    "any_uint8": (lambda t, x: (x.any(), x.any(1), x.any((0, 1), keepdim=True)), np.array([[0, 3]], np.uint8)),
    "all_uint8": (lambda t, x: (x.all(), x.all(1), x.all((0, 1), keepdim=True)), np.array([[0, 3]], np.uint8)),
    "any_of_numbers": (lambda t, x: (x.any(1), x.all(dim=[0])), np.array([[0.0, np.nan], [0, 0]])),
    "square_bool": (lambda t, x: t.square(x), X > 0),
    "amax_of_kept_nothing": (lambda t, x: (x.amax(1), x.amin((1, 2)), x.max(1)[1]), np.zeros((0, 3, 2))),
    "argmax_of_kept_nothing": (lambda t, x: (x.argmax(1), x.argmin(1, keepdim=True)), np.zeros((0, 3))),
    "var_forms": (lambda t, x: (t.var(x, 1, False), t.var(x, [0, 1], correction=0.5), t.var(x, False)), X),
    "std_forms": (lambda t, x: (x.std(0, True, True), x.std(unbiased=False), t.std(x, correction=None)), X),
}
for _c in (2, 3, 2.5):  # more is taken off than there is
    for _name in ("var", "std"):
        CALLS[f"{_name}_{_c}_of_two"] = (lambda t, x, n=_name, c=_c: getattr(t, n)(x, correction=c), np.array([1.0, 2]))
        CALLS[f"{_name}_{_c}_of_rows"] = (
            lambda t, x, n=_name, c=_c: getattr(t, n)(x, 1, correction=c),
            np.array([[1.0, 2.0], [3.0, 5.0]]),
        )
CALLS["var_of_one"] = (lambda t, x: x.var(), np.array([1.0]))


@pytest.mark.oracle
@pytest.mark.parametrize("name", CALLS)
def test_as_pytorch(name: str) -> None:
    call, x = CALLS[name]
    second = bool(x.dtype == np.float64 and np.isfinite(x).all()) and "_of_" not in name
    compare_with_torch(call, [x], second=second)


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


@pytest.mark.parametrize("name", ["max", "min"])
def test_an_infinite_gradient_goes_to_the_extremes_alone(name: str) -> None:
    x = tinytorch.tensor([[1.0, -3.0], [3.0, 0.0], [-3.0, 3.0]]).requires_grad_()
    y = getattr(x, name)()
    y.backward(tinytorch.tensor(np.inf))
    np.testing.assert_array_equal(x.grad.numpy(), np.where(x.detach().numpy() == y.item(), np.inf, 0.0))


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


def test_a_product_in_two_bytes_is_formed_in_four() -> None:
    for dtype, n in ((tinytorch.bfloat16, 64), (tinytorch.float16, 512)):
        step = 1 + float(tinytorch.finfo(dtype).eps)
        x = tinytorch.full((n,), step, dtype=dtype, requires_grad=True)
        y = x.prod()
        y.backward()
        exact = np.float64(step) ** n
        assert y.dtype == dtype and y.item() == float(np.float64(exact).astype(dtype))
        np.testing.assert_allclose(x.grad.double().numpy(), exact / step, rtol=float(tinytorch.finfo(dtype).eps))


def test_a_product_of_a_number_has_its_gradient() -> None:
    for value in (0.0, 3.0):
        for call in (lambda x: x.prod(), lambda x: x.prod(0), lambda x: x.prod(-1, keepdim=True)):
            x = tinytorch.tensor(value, requires_grad=True)
            call(x).backward()
            assert x.grad.item() == 1


def test_variance_of_too_few_has_no_slope_of_its_own() -> None:
    """PyTorch's values, where n <= correction."""
    for dim, correction, expected in ((0, 3, [1, -1]), (0, 2, [-np.inf, np.inf]), (None, 3, [np.inf, np.inf])):
        x = tinytorch.tensor([1.0, 2.0], requires_grad=True)
        y = x.var(dim, correction=correction)
        y.backward()
        assert y.item() == np.inf and x.grad.tolist() == expected
    x = tinytorch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x.var(correction=3).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [np.inf, np.nan, np.inf])


def test_dtypes_without_pytorch() -> None:
    ints = tinytorch.tensor([[100, 100], [1, 0]], dtype=tinytorch.int8)
    assert ints.sum(1).tolist() == [200, 1] and ints.sum(1).dtype == tinytorch.int64
    assert ints.sum(1, dtype=tinytorch.int8).tolist() == [-56, 1]
    assert ints.prod(dtype=tinytorch.float32).dtype == tinytorch.float32
    assert ints.cumsum(1, dtype=tinytorch.uint8).tolist() == [[100, 200], [1, 1]]
    assert ints.sum_to_size(2, 2) is ints and ints.sum_to_size(1, 2).dtype == tinytorch.int64
    truth = ints.bool()
    assert truth.sum_to_size(1, 2).tolist() == [[2, 1]] and truth.sum_to_size(1, 2).dtype == tinytorch.int64
    assert truth.square().tolist() == [[1, 1], [1, 0]] and truth.square().dtype == tinytorch.int64
    bytes_ = ints.to(tinytorch.uint8)
    for y, values in ((bytes_.any(1), [1, 1]), (bytes_.all(1), [1, 0]), (bytes_.all(), 0)):
        assert y.dtype == tinytorch.uint8 and y.tolist() == values
    assert ints.any(1).dtype == tinytorch.bool


def test_where_nothing_is_reduced_nothing_is_missing() -> None:
    empty = tinytorch.zeros(0, 3, 2, requires_grad=True)
    for y, shape in (
        (empty.amax(1), (0, 2)),
        (empty.amin((1, 2), keepdim=True), (0, 1, 1)),
        (empty.max(2).values, (0, 3)),
    ):
        assert y.shape == shape
        (grad,) = tinytorch.autograd.grad(y.sum(), empty)
        assert grad.shape == empty.shape
    indices = empty.argmax(1, keepdim=True)
    assert indices.shape == (0, 1, 2) and indices.dtype == tinytorch.int64


def test_unknown_keywords_are_refused() -> None:
    with pytest.raises(TypeError, match="keepdimz"):
        tinytorch.ones(2).sum(0, keepdimz=True)


def test_gradients_of_norms_at_0_are_0() -> None:
    for p in (1, 2, 3, 0.5, np.inf, "fro"):
        x = tinytorch.zeros(3, requires_grad=True)
        x.norm(p).backward()
        assert x.grad is not None and x.grad.tolist() == [0, 0, 0], p
    x = tinytorch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    x.norm(dim=1).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_gradients_of_running_products_with_zeros() -> None:
    """Of 2, 3, 0, 4, and of the gradients once more."""
    x = tinytorch.tensor([2.0, 3.0, 0.0, 4.0], dtype=tinytorch.float64, requires_grad=True)
    x.cumprod(0).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1 + 3, 2, 6 + 6 * 4, 0]
    assert tinytorch.autograd.gradcheck(lambda x: x.cumprod(0), x)
    assert tinytorch.autograd.gradgradcheck(lambda x: x.cumprod(0), x)


def test_gradients_of_long_products_with_zeros() -> None:
    """They take memory for some copies of the input, not for n^2 products."""
    x = tinytorch.ones(50_000, dtype=tinytorch.float64)
    x[1] = 0
    x.requires_grad_()
    x.cumprod(0).sum().backward()
    assert x.grad is not None and x.grad[:3].tolist() == [1, 49_999, 0] and not x.grad[3:].any()
    x.grad = None
    x.prod().backward()
    assert x.grad[1] == 1 and x.grad.count_nonzero() == 1
