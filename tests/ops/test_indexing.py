"""Indexing of every kind against NumPy and PyTorch; gather, scatter, topk, sort, one_hot, multinomial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinytorch
from tests.ops.checks import assert_same_error, compare_with_torch
from tinytorch.autograd import gradcheck, gradgradcheck

X = np.random.default_rng(0).standard_normal((3, 4, 5))
INDEX = np.array([[0, 2, 1, 0], [2, 2, 0, 1]])


@st.composite
def array_and_index(draw: Any) -> tuple[Any, Any]:
    """A small array, and an index that means the same to NumPy: integers, slices, None, ..., arrays, lists, masks."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    x = np.arange(float(np.prod(shape))).reshape(shape)
    kind = draw(st.sampled_from(["basic", "arrays", "mask", "mask_of_first", "mixed"]))
    if kind == "basic" or 0 in shape:
        index = draw(hnp.basic_indices(shape, allow_newaxis=True))
        return x, tuple(map(forwards, index)) if isinstance(index, tuple) else forwards(index)
    if kind == "arrays":
        return x, draw(
            hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(min_dims=1, max_dims=2, max_side=4))
        )
    if kind == "mask":
        return x, draw(hnp.arrays(np.bool_, shape))
    if kind == "mask_of_first":
        return x, draw(hnp.arrays(np.bool_, shape[:1]))
    place = draw(st.integers(0, len(shape) - 1))
    picked = draw(st.lists(st.integers(-shape[place], shape[place] - 1), min_size=0, max_size=4))
    return x, (*[slice(None)] * place, picked)


def forwards(part: Any) -> Any:
    """A slice with a positive step, as PyTorch has no other."""
    return slice(part.start, part.stop, abs(part.step or 1)) if isinstance(part, slice) else part


@given(array_and_index())
def test_reading_and_its_gradient_as_numpy(case: Any) -> None:
    array, index = case
    expected = array[np.asarray(index, np.int64) if isinstance(index, list) else index]
    x = tinytorch.tensor(array, requires_grad=True)
    as_tensor = lambda part: tinytorch.tensor(part) if isinstance(part, np.ndarray) else part  # noqa: E731
    ours = tuple(as_tensor(part) for part in index) if isinstance(index, tuple) else as_tensor(index)
    y = x[ours]
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    cotangent = np.random.default_rng(0).standard_normal(expected.shape)
    gradient = np.zeros_like(array)
    np.add.at(gradient, index, cotangent)
    y.backward(tinytorch.from_numpy(np.asarray(cotangent)))
    np.testing.assert_allclose(x.grad.numpy(), gradient, atol=1e-12)


@given(array_and_index())
def test_writing_and_its_gradients_as_numpy(case: Any) -> None:
    array, index = case
    x = tinytorch.tensor(array, requires_grad=True)
    v = tinytorch.tensor(7.0, dtype=tinytorch.float64, requires_grad=True)
    y = x.clone()
    y[index] = v
    expected = array.copy()
    expected[index] = 7.0
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    cotangent = np.random.default_rng(0).standard_normal(array.shape)
    y.backward(tinytorch.from_numpy(cotangent))
    written = np.zeros(array.shape, np.bool_)
    written[index] = True
    np.testing.assert_allclose(x.grad.numpy(), np.where(written, 0, cotangent))


CALLS: dict[str, Any] = {
    "repeated": lambda t, x: x[t.tensor([0, 0, 2])],
    "two_arrays": lambda t, x: x[t.tensor([0, 2]), t.tensor([1, 1])],
    "arrays_apart": lambda t, x: x[t.tensor([0, 2]), :, t.tensor([1, 1])],
    "array_and_integer": lambda t, x: x[t.tensor([0, 2]), :, 1],
    "broadcast": lambda t, x: x[t.tensor([[0], [2]]), t.tensor([1, 3])],
    "list": lambda t, x: x[[0, 2]],
    "mask": lambda t, x: x[x > 0],
    "mask_rows": lambda t, x: x[t.tensor([True, False, True])],
    "mask_and_slice": lambda t, x: x[:, t.tensor([True, False, True, True]), ::2],
    "number_tensor": lambda t, x: x[t.tensor(1)],
    "negative": lambda t, x: x[-1, ..., -2],
    "new_axes": lambda t, x: x[None, :, None, 0],
    "empty_list": lambda t, x: x[[]],
    "none_of": lambda t, x: x[t.tensor([False] * 3)],
    "uint8_free": lambda t, x: x[t.arange(2)[:, None], t.arange(3)],
    "set_slice": lambda t, x: put(x, (slice(1, 3),), 0.0),
    "set_mask": lambda t, x: put(x, x > 0, 1.5),
    "set_arrays": lambda t, x: put(x, (t.tensor([0, 2]), t.tensor([1, 3])), x[0, 0]),
    "index_put": lambda t, x: x.index_put((t.tensor([0, 1]),), x[:2] * 2),
    "index_put_add": lambda t, x: x.index_put((t.tensor([0, 0]),), x[:2], accumulate=True),
    "index_select": lambda t, x: x.index_select(1, t.tensor([3, 0, 0])),
    "masked_select": lambda t, x: t.masked_select(x, x > 0),
    "take_along_dim": lambda t, x: t.take_along_dim(x, x.argsort(1), 1),
    "gather": lambda t, x: x[0].gather(0, t.tensor(INDEX)),
    "gather_smaller": lambda t, x: t.gather(x[0], 1, t.tensor([[0, 0], [4, 1]])),
    "gather_nothing": lambda t, x: x[0].gather(1, t.zeros(0, 3, dtype=t.int64)),
    "scatter_add": lambda t, x: x[0].scatter_add(0, t.tensor(INDEX), x[1, :2, :4]),
    "topk": lambda t, x: x.topk(2),
    "topk_smallest": lambda t, x: t.topk(x, 3, dim=1, largest=False),
    "topk_none": lambda t, x: x.topk(0),
    "sort": lambda t, x: x.sort(0, descending=True),
    "sort_ascending": lambda t, x: t.sort(x, dim=-1),
    "argsort": lambda t, x: x.argsort(1, descending=True),
    "nonzero": lambda t, x: (x > 0).nonzero(),
    "embedding": lambda t, x: t.nn.functional.embedding(t.tensor([[2, 0], [2, 2]]), x[0]),
    "embedding_padding": lambda t, x: t.nn.functional.embedding(t.tensor([2, 0, 2]), x[0], padding_idx=-2),
    "one_hot": lambda t, x: t.nn.functional.one_hot(t.tensor([[2, 0], [1, 1]])),
    "one_hot_classes": lambda t, x: t.nn.functional.one_hot(t.tensor([2, 0]), num_classes=4),
    "one_hot_empty": lambda t, x: t.nn.functional.one_hot(t.zeros(0, dtype=t.int64), 3),
    "where_one": lambda t, x: t.where(x > 0, x, 0.0),
    "of_a_number": lambda t, x: (x.sum().topk(1).values, x.sum()[None], x.sum()[...], x.sum().sort().indices),
}


def put(x: Any, index: Any, value: Any) -> Any:
    y = x.clone()
    y[index] = value
    return y


@pytest.mark.oracle
@pytest.mark.parametrize("name", CALLS)
def test_as_pytorch(name: str) -> None:
    compare_with_torch(CALLS[name], [X], second=True)


@pytest.mark.oracle
def test_sort_of_nan_and_ties() -> None:
    for x in (np.array([2.0, np.nan, -np.inf, 2.0, np.nan]), np.array([1.0, 3.0, 3.0, 1.0])):
        compare_with_torch(lambda t, x: t.sort(x, dim=0).values, [x])
        compare_with_torch(lambda t, x: t.sort(x, dim=0, descending=True).values, [x])
        compare_with_torch(
            lambda t, x: t.sort(x, stable=True, dim=0).indices if t is not tinytorch else t.sort(x).indices, [x]
        )


ERRORS: dict[str, Any] = {
    "out_of_range": lambda t, x: x[3],
    "too_many": lambda t, x: x[0, 0, 0, 0],
    "array_out_of_range": lambda t, x: x[t.tensor([0, 3])],
    "float_index": lambda t, x: x[t.tensor([0.5])],
    "mask_shape": lambda t, x: x[t.tensor([True, False])],
    "gather_dtype": lambda t, x: x.gather(0, t.zeros(3, 4, 5)),
    "gather_dims": lambda t, x: x.gather(0, t.tensor([0])),
    "gather_beyond": lambda t, x: x.gather(0, t.zeros(1, 5, 5, dtype=t.int64)),
    "gather_out_of_range": lambda t, x: x.gather(0, t.full((1, 4, 5), 3)),
    "scatter_out_of_range": lambda t, x: x.scatter_add(0, t.full((1, 4, 5), 3), x),
    "index_select_matrix": lambda t, x: x.index_select(0, t.tensor([[0]])),
    "index_select_range": lambda t, x: x.index_select(0, t.tensor([3])),
    "topk": lambda t, x: x.topk(6),
    "embedding_range": lambda t, x: t.nn.functional.embedding(t.tensor([4]), x[0]),
    "embedding_dtype": lambda t, x: t.nn.functional.embedding(t.tensor([0.5]), x[0]),
    "one_hot_small": lambda t, x: t.nn.functional.one_hot(t.tensor([3]), 3),
    "one_hot_negative": lambda t, x: t.nn.functional.one_hot(t.tensor([-1])),
    "assign_shape": lambda t, x: put(x, 0, x[:, :, 0]),
    "multinomial_negative": lambda t, x: t.multinomial(t.tensor([-1.0, 2.0]), 1),
    "multinomial_nothing": lambda t, x: t.multinomial(t.zeros(3), 1),
    "multinomial_many": lambda t, x: t.multinomial(t.ones(3), 4),
    "masked_fill_mask": lambda t, x: x.masked_fill(x, 0.0),
    "where_condition": lambda t, x: t.where(x, x, x),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_pytorchs(name: str) -> None:
    assert_same_error(ERRORS[name], [X])


def test_gather_and_scatter_by_loops() -> None:
    x, src = X[0], X[1]
    gathered = tinytorch.from_numpy(x).gather(0, INDEX).numpy()
    added = tinytorch.from_numpy(x).scatter_add(0, INDEX, tinytorch.from_numpy(src)).numpy()
    expected = x.copy()
    for i, j in np.ndindex(INDEX.shape):
        assert gathered[i, j] == x[INDEX[i, j], j]
        expected[INDEX[i, j], j] += src[i, j]
    np.testing.assert_allclose(added, expected)
    # src may be larger than the index; PyTorch's backward fails there.
    inputs = tuple(tinytorch.tensor(a, requires_grad=True) for a in (x, src))
    assert gradcheck(lambda x, src: x.scatter_add(0, INDEX, src), inputs)
    assert gradgradcheck(lambda x, src: x.scatter_add(0, INDEX, src), inputs)


def test_one_hot_topk_and_sort_by_numpy() -> None:
    index = np.array([2, 0, 1])
    np.testing.assert_array_equal(tinytorch.nn.functional.one_hot(index, 4).numpy(), np.eye(4, dtype=np.int64)[index])
    values, indices = tinytorch.from_numpy(X).topk(2, dim=1)
    np.testing.assert_array_equal(values.numpy(), -np.sort(-X, axis=1)[:, :2])
    np.testing.assert_array_equal(np.take_along_axis(X, indices.numpy(), 1), values.numpy())
    ties = tinytorch.tensor([1, 3, 3, 1])
    assert ties.sort(descending=True).indices.tolist() == [1, 2, 0, 3]
    assert ties.argsort().tolist() == [0, 3, 1, 2]


def test_multinomial_draws_by_weight() -> None:
    generator = tinytorch.Generator().manual_seed(0)
    weights = tinytorch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]])
    drawn = tinytorch.multinomial(weights, 4000, replacement=True, generator=generator).numpy()
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn[0], minlength=3) / 4000
    np.testing.assert_allclose(counts, [0.25, 0, 0.75], atol=0.03)  # four standard deviations
    assert set(drawn[1]) == {1}
    for _ in range(50):
        without = tinytorch.multinomial(tinytorch.tensor([1.0, 0.0, 3.0, 1.0]), 3, generator=generator).tolist()
        assert sorted(without) == [0, 2, 3]


def test_first_draw_without_replacement_is_by_weight() -> None:
    generator = tinytorch.Generator().manual_seed(0)
    weights = tinytorch.ones(4000, 3) * tinytorch.tensor([1.0, 2.0, 5.0])
    first = tinytorch.multinomial(weights, 2, generator=generator).numpy()[:, 0]
    np.testing.assert_allclose(np.bincount(first) / 4000, [0.125, 0.25, 0.625], atol=0.03)


def test_the_index_may_change_after_the_forward() -> None:
    x = tinytorch.tensor(X[0], requires_grad=True)
    index, mask = np.array([0, 2, 0]), np.array([True, False, True, False])
    y, z = x[index], x.masked_fill(mask[:, None], 0.0)
    index[:] = 1
    mask[:] = True
    y.sum().backward()
    assert x.grad[:, 0].tolist() == [2, 0, 1, 0]
    x.grad = None
    z.sum().backward()
    assert x.grad[:, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("dtype", [tinytorch.float32, tinytorch.float64, tinytorch.bfloat16])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 3), (5, 0)])
def test_rows_read_several_times_get_the_sum(shape: tuple[int, ...], dtype: Any) -> None:
    """By an array of rows, from either end, of any shape; as np.add.at has it, to the bit, of bfloat16 in float32."""
    x = tinytorch.randn(shape).to(dtype).requires_grad_()
    for index in (np.array([4, -1, 0, -5, 4, 2]), np.array([[1, -4], [3, 1]]), np.zeros((0,), np.int64)):
        for form in (tinytorch.tensor(index), (tinytorch.tensor(index),)):
            g = tinytorch.randn((*index.shape, *shape[1:])).to(dtype)
            (dx,) = tinytorch.autograd.grad(x[form], x, g)
            expected = np.zeros(shape, np.float64 if dtype == tinytorch.float64 else np.float32)
            np.add.at(expected, index, g.numpy().astype(expected.dtype))
            assert np.array_equal(dx.numpy(), expected.astype(dtype))
    with pytest.raises(IndexError):
        tinytorch.zeros(5, 3).index_put((tinytorch.tensor([0, 5]),), tinytorch.ones(2, 3), accumulate=True)


def test_values_are_broadcast_when_rows_are_added() -> None:
    y = tinytorch.zeros(3, 2).index_put((tinytorch.tensor([0, 2, 0]),), tinytorch.ones(2), accumulate=True)
    assert y.tolist() == [[2.0, 2.0], [0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda x: x.narrow(1, 2, 3), RuntimeError, "2 [+] 3 exceeds dimension size 4"),
        (lambda x: x.narrow(1, -1, 2), RuntimeError, "3 [+] 2 exceeds dimension size 4"),
        (lambda x: x.narrow(1, 5, 0), IndexError, r"expected to be in range of \[-4, 4\], but got 5"),
        (lambda x: x.narrow(1, -5, 1), IndexError, "but got -5"),
        (lambda x: x.narrow(1, 0, -1), RuntimeError, "length must be non-negative, got -1"),
        (lambda x: x.narrow(1, True, 1), TypeError, "start must be an int, not bool"),
        (lambda x: x.narrow(1, tinytorch.tensor(True), 1), RuntimeError, "0-dim integral Tensor, got bool"),
        (lambda x: x.sum().narrow(0, 0, 1), RuntimeError, "0-dim tensor"),
        (lambda x: x.index_select(0, tinytorch.tensor([3])), IndexError, "is 3, which is out of bounds for 3 slices"),
        (lambda x: x.index_select(0, tinytorch.tensor([-1])), IndexError, "is -1, which is out of bounds"),
        (lambda x: x.index_select(0, tinytorch.tensor([True, False, True])), RuntimeError, "integer index, got bool"),
        (lambda x: x.index_select(0, tinytorch.tensor([[0]])), IndexError, "vector"),
        (lambda x: x.sum().index_select(0, tinytorch.tensor([0, 0])), RuntimeError, "one slice, but the index names 2"),
        (lambda x: x.masked_select(tinytorch.ones(4, dtype=tinytorch.int64)), RuntimeError, "bool mask, got int64"),
        (lambda x: x.masked_select(tinytorch.ones(3, dtype=tinytorch.bool)), RuntimeError, "does not broadcast"),
        (lambda x: x.repeat_interleave(-1, 0), RuntimeError, "can not be negative, got -1"),
        (lambda x: x.repeat_interleave(tinytorch.tensor([1, -1, 1]), 0), RuntimeError, "can not be negative, got -1"),
        (lambda x: x.repeat_interleave(tinytorch.tensor([1, 2]), 0), RuntimeError, "as many as the 3"),
        (lambda x: x.repeat_interleave(tinytorch.tensor([0.5]), 0), RuntimeError, "must be integers"),
        (lambda x: x.repeat_interleave(2, 0, output_size=5), RuntimeError, "output_size is 5, but 6 come out"),
        (lambda x: x.repeat_interleave([1, 2, 3], 0), TypeError, "an int or a Tensor, got list"),
        (lambda x: x.repeat(2, -1), RuntimeError, "can not be negative"),
        (lambda x: x.repeat(2), RuntimeError, "1 repeats for a tensor of 2 dimensions"),
        (lambda x: tinytorch.meshgrid(x[0], x[0], indexing="bad"), RuntimeError, '"xy" or "ij", got \'bad\''),
        (lambda x: tinytorch.meshgrid(x, x[0]), RuntimeError, "vectors of one dtype"),
        (lambda x: tinytorch.meshgrid(x[0], x[0].double()), RuntimeError, "vectors of one dtype"),
        (lambda x: tinytorch.meshgrid(), RuntimeError, "non-empty"),
        (lambda x: x.topk(5), RuntimeError, "k = 5, dimension 1 has size 4"),
        (lambda x: x.topk(-1), RuntimeError, "k = -1"),
        (lambda x: x.select(0, 3), IndexError, "index 3 is out of bounds"),
        (lambda x: tinytorch.nn.functional.one_hot(tinytorch.tensor([3]), 3), RuntimeError, "out of bounds for 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call(tinytorch.zeros(3, 4))


def test_coordinates_as_a_tuple_are_an_index() -> None:
    x = tinytorch.tensor([[0.0, 5.0], [7.0, 0.0]])
    assert x.nonzero().tolist() == [[0, 1], [1, 0]]
    assert x[x.nonzero(as_tuple=True)].tolist() == x[tinytorch.where(x)].tolist() == [5, 7]
    assert [places.tolist() for places in tinytorch.tensor(3.0).nonzero(as_tuple=True)] == [[0]]
    assert tinytorch.tensor(3.0).nonzero().shape == (1, 0)


def test_a_number_is_a_tensor_of_one_element() -> None:
    s = tinytorch.tensor(2.5, requires_grad=True)
    index = tinytorch.tensor([0, 0])
    assert s.gather(0, index).tolist() == [2.5, 2.5] and s.gather(0, index[0]).shape == ()
    assert s.index_select(0, index[:1]).shape == ()
    assert s.scatter_add(0, index[:1], tinytorch.ones(1)).item() == 3.5
    (s.gather(0, index) * tinytorch.tensor([2.0, 3.0])).sum().backward()
    assert s.grad.item() == 5


def test_meshgrid_has_gradients() -> None:
    a, b = (tinytorch.tensor(v, requires_grad=True) for v in ([1.0, 2.0], [3.0, 4.0, 5.0]))
    for indexing, shape in (("ij", (2, 3)), ("xy", (3, 2))):
        a.grad = b.grad = None
        x, y = tinytorch.meshgrid(a, b, indexing=indexing)
        assert x.shape == y.shape == shape
        (x * y * y).sum().backward()
        assert a.grad.tolist() == [50, 50] and b.grad.tolist() == [18, 24, 30]


@pytest.mark.parametrize("call", [
    lambda x, v: x.scatter(1, tinytorch.tensor([[0, 3], [1, 2], [2, 0]]), v[:, :3]),
    lambda x, v: x.index_add(1, tinytorch.tensor([0, 2, 0, 1]), v, alpha=-2),
    lambda x, v: x.index_fill(0, tinytorch.tensor([2, 0, 2]), v[0, 0]),
    lambda x, v: tinytorch.diag(x, 1) @ tinytorch.diag(v[0, :3], -1)[:3, :3],
])  # fmt: skip
def test_gradients_of_writing_at_places(call: Any) -> None:
    x, v = (tinytorch.tensor(array, requires_grad=True) for array in (X[:, :, 0], X[:, :, 1]))
    assert gradcheck(call, (x, v)) and gradgradcheck(call, (x, v))


@pytest.mark.parametrize("call", [
    lambda x, i: x.scatter(1, i, 0.5) + x.scatter(1, i, 2 * x),
    lambda x, i: x.index_add(1, i[0], x, alpha=2) + x.index_fill(1, i[1], 3.0) + x.norm(dim=1, keepdim=True),
])  # fmt: skip
def test_writing_at_places_compiled(call: Any) -> None:
    """The index of each call is used, not that of the first."""
    compiled = tinytorch.compile(call)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = tinytorch.tensor(rng.standard_normal((3, 4)))
        i = tinytorch.tensor(np.stack([rng.permutation(4) for _ in range(3)]))
        np.testing.assert_array_equal(compiled(x, i).numpy(), call(x, i).numpy())


def test_both_elements_scattered_to_one_place_get_its_gradient() -> None:
    src = tinytorch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = tinytorch.zeros(2).scatter(0, tinytorch.tensor([0, 0, 1]), src)
    (y * tinytorch.tensor([10.0, 20.0])).sum().backward()
    assert y[0].item() in (1, 2) and src.grad is not None and src.grad.tolist() == [10, 10, 20]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: x.scatter(0, tinytorch.tensor([-1]), 1.0), RuntimeError, r"scatter: index\[0\] is -1, which is out"),
    (lambda x: x.scatter(0, tinytorch.tensor([0]), x.half()), RuntimeError, "src float16"),
    (lambda x: x.scatter(0, tinytorch.tensor([[0]]), 1.0), RuntimeError, "index has 2 dimensions, input 1"),
    (lambda x: x.index_add(0, tinytorch.tensor([3]), x[:1]), IndexError, r"index_add: index\[0\] is 3"),
    (lambda x: x.index_add(0, tinytorch.tensor([0]), x), RuntimeError, r"a source of shape \(1,\), got \(3,\)"),
    (lambda x: x.long().index_add(0, tinytorch.tensor([0]), x[:1].long(), alpha=0.5), RuntimeError, "floating point"),
    (lambda x: x.index_fill(0, tinytorch.tensor([3]), 1.0), IndexError, "index 3 is out of bounds"),
    (lambda x: x.index_fill(0, tinytorch.tensor([[0]]), 1.0), IndexError, "supposed to be a vector"),
    (lambda x: x.index_fill(0, tinytorch.tensor([0]), x), RuntimeError, "expected a 0-d value"),
    (lambda x: tinytorch.diag(x[0]), RuntimeError, "a vector or a matrix"),
    (lambda x: tinytorch.trace(x), RuntimeError, "expected a matrix"),
])  # fmt: skip
def test_writing_at_places_says_what_is_wrong(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(tinytorch.ones(3))
