"""Masks, targets and tables are inputs: one that is written into between forward and backward is noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.ops.rope import rope

X = np.random.default_rng(0).standard_normal((3, 4))
MASK = np.array([[True, False, True, True], [False, True, True, False], [True, True, False, True]])
TABLE = np.ones((1, 3, 2))


def attention(t: Any, x: Any, mask: Any) -> Any:
    return t.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], attn_mask=mask)


def assigned(t: Any, x: Any, index: Any) -> Any:
    y = x * 1
    y[index] = x[0] * 2
    return y


CALLS = {
    "where": (lambda t, x, mask: t.where(mask, x, -x), MASK),
    "masked_fill": (lambda t, x, mask: x.masked_fill(mask, 0.0), MASK),
    "masked_fill by rows": (lambda t, x, mask: x.masked_fill(mask[:, None], 0.0), MASK[:, 0]),
    "a mask of attention": (attention, MASK[:, :3]),
    "an added mask of attention": (attention, X[:, :3]),
    "classes": (lambda t, x, target: t.nn.functional.cross_entropy(x, target), np.array([1, 0, 3])),
    "a class": (lambda t, x, target: t.nn.functional.cross_entropy(x[0], target), np.array(1)),
    "places": (lambda t, x, target: t.nn.functional.cross_entropy(x[None].mT, target), np.array([[1, 0, 3]])),
    "probabilities": (lambda t, x, target: t.nn.functional.cross_entropy(x, target), np.abs(X)),
    "truth values": (
        lambda t, x, target: t.nn.functional.binary_cross_entropy_with_logits(x, target),
        MASK.astype(np.float64),
    ),
    "an index array": (lambda t, x, index: x[index], np.array([0, 2, 0])),
    "index arrays": (lambda t, x, index: x[index, index], np.array([0, 2, 0])),
    "a mask as an index": (lambda t, x, mask: x[mask], MASK),
    "places to write to": (lambda t, x, index: t.zeros_like(x).index_put((index,), x[:2]), np.array([2, 0])),
    "places to add at": (
        lambda t, x, index: t.zeros_like(x).index_put((index,), x[:2], accumulate=True), np.array([2, 2])
    ),
    "what is assigned to": (assigned, np.array([2, 0])),
    "gather": (lambda t, x, index: x.gather(1, index), np.array([[0, 0], [3, 1]])),
    "scatter_add": (lambda t, x, index: t.zeros_like(x).scatter_add(0, index, x), np.array([[0, 0], [2, 1]])),
    "index_select": (lambda t, x, index: x.index_select(0, index), np.array([2, 2])),
    "masked_select": (lambda t, x, mask: x.masked_select(mask), MASK),
    "masked_select by rows": (lambda t, x, mask: x.masked_select(mask), MASK[:1]),
    "embedding": (lambda t, x, index: t.nn.functional.embedding(index, x), np.array([[2, 0], [2, 2]])),
}
# PyTorch's attention in steps adds the mask and forgets it.
KNOWN_TO_PYTORCH = [name for name in CALLS if "attention" not in name]
TAKE_ARRAYS = [name for name in CALLS if name not in ("masked_fill by rows", "probabilities", "truth values")]


def gradient_after_a_write(t: Any, call: Any, data: Any) -> Any:
    """The gradient of x, where the data have been overwritten after the forward, here by what they hold."""
    x, data = t.tensor(X, requires_grad=True), t.tensor(data)
    y = call(t, x, data)
    data.copy_(data.clone())
    y.sum().backward()
    return x.grad.numpy()


@pytest.mark.parametrize("call, data", CALLS.values(), ids=list(CALLS))
def test_a_write_after_the_forward_is_noticed(call: Any, data: Any) -> None:
    with pytest.raises(RuntimeError, match="was modified by an in-place operation"):
        gradient_after_a_write(tinytorch, call, data)


@pytest.mark.oracle
@pytest.mark.parametrize("name", KNOWN_TO_PYTORCH)
def test_pytorch_notices_it_too(name: str) -> None:
    import torch

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient_after_a_write(torch, *CALLS[name])


@pytest.mark.parametrize("name", TAKE_ARRAYS)
def test_an_array_may_be_written_into_after_the_forward(name: str) -> None:
    """It has no version, so the operation has a copy; not where nothing is recorded."""
    call, data = CALLS[name]
    results = []
    for write in (False, True):
        x, array = tinytorch.tensor(X, requires_grad=True), data.copy()
        y = call(tinytorch, x, array)
        if write:
            array[...] = 0
        y.sum().backward()
        results.append(x.grad.numpy())
    np.testing.assert_array_equal(*results)


def test_the_tables_of_rope_are_inputs() -> None:
    x = tinytorch.tensor(X.reshape(1, 3, 1, 4), requires_grad=True)
    cos, sin = tinytorch.tensor(TABLE), tinytorch.tensor(TABLE)
    y = rope(x, cos, sin)
    cos.mul_(2.0)
    with pytest.raises(RuntimeError, match="was modified by an in-place operation"):
        y.sum().backward()


def test_a_write_does_no_harm_where_nothing_needs_what_it_changes() -> None:
    target = tinytorch.tensor([1, 0, 3])
    y = tinytorch.nn.functional.cross_entropy(tinytorch.tensor(X), target)
    target.zero_()
    assert not y.requires_grad


GIVE_PLACES = {
    "sort": lambda x: x.sort(1),
    "topk": lambda x: x.topk(2),
    "max": lambda x: x.max(1),
    "min": lambda x: x.min(1, keepdim=True),
}


def gradient_after_a_write_into_places(t: Any, call: Any) -> None:
    values, indices = call(t.tensor(X, requires_grad=True))
    indices.zero_()
    values.sum().backward()


@pytest.mark.parametrize("call", GIVE_PLACES.values(), ids=list(GIVE_PLACES))
def test_places_given_out_are_those_saved(call: Any) -> None:
    with pytest.raises(RuntimeError, match="was modified by an in-place operation"):
        gradient_after_a_write_into_places(tinytorch, call)


@pytest.mark.oracle
@pytest.mark.parametrize("call", GIVE_PLACES.values(), ids=list(GIVE_PLACES))
def test_places_given_out_are_those_saved_by_pytorch(call: Any) -> None:
    import torch

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient_after_a_write_into_places(torch, call)
