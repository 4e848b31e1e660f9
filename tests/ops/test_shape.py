"""Moving elements: values, views, gradients and errors, as in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops.checks import assert_same_error, compare_with_torch
from tinytorch.ops.shape import Unsplit

X = np.random.default_rng(0).standard_normal((2, 3, 4))
CALLS: dict[str, Any] = {
    "reshape_args": lambda t, x: x.reshape(4, -1),
    "reshape_tuple": lambda t, x: t.reshape(x, (3, 8)),
    "view": lambda t, x: x.view(6, 4),
    "view_as": lambda t, x: x.view_as(t.zeros(6, 4)),
    "flatten": lambda t, x: x.flatten(1),
    "flatten_middle": lambda t, x: t.flatten(x, 0, -2),
    "unflatten": lambda t, x: x.unflatten(-1, (2, 2)),
    "unflatten_nothing": lambda t, x: x[:0].unflatten(-1, (2, -1)),
    "squeeze": lambda t, x: x[:1].unsqueeze(-1).squeeze(),
    "squeeze_dim": lambda t, x: x[:1].squeeze(0),
    "squeeze_nothing": lambda t, x: x.squeeze(1),
    "squeeze_tuple": lambda t, x: x[:1, :1].squeeze((0, 1)),
    "unsqueeze": lambda t, x: x.unsqueeze(-2),
    "transpose": lambda t, x: x.transpose(0, -1),
    "t": lambda t, x: x[0].t(),
    "T": lambda t, x: x[0].T,
    "mT": lambda t, x: x.mT,
    "permute": lambda t, x: x.permute(2, 0, 1),
    "permute_negative": lambda t, x: t.permute(x, (-1, 0, 1)),
    "movedim": lambda t, x: x.movedim(0, -1),
    "swapaxes": lambda t, x: x.swapaxes(0, 1),
    "expand": lambda t, x: x[:, :1].expand(5, -1, 3, -1),
    "expand_new": lambda t, x: x.expand(7, 2, 3, 4),
    "broadcast_to": lambda t, x: t.broadcast_to(x[:1], (2, 3, 4)),
    "expand_as": lambda t, x: x[0].expand_as(x),
    "cat": lambda t, x: t.cat([x, x[:1]], 0),
    "cat_last": lambda t, x: t.cat((x, x * 2), dim=-1),
    "cat_empty": lambda t, x: t.cat([t.zeros(0, dtype=x.dtype), x[0, 0]]),
    "cat_promotes": lambda t, x: t.cat([x, t.ones(2, 3, 4, dtype=t.int64)]),
    "stack": lambda t, x: t.stack([x, x], dim=-2),
    "split": lambda t, x: x.split(3, -1),
    "split_sizes": lambda t, x: t.split(x, [1, 0, 3], dim=2),
    "chunk": lambda t, x: x.chunk(3, 2),
    "chunk_of_nothing": lambda t, x: x[:, :0].chunk(3, 1),
    "chunk_few": lambda t, x: t.chunk(x, 7, 1),
    "unbind": lambda t, x: x.unbind(1),
    "tril": lambda t, x: x.tril(-1),
    "triu": lambda t, x: t.triu(x, 1),
    "repeat": lambda t, x: x.repeat(2, 1, 1, 3),
    "tile": lambda t, x: x.tile(2, 1),
    "repeat_interleave": lambda t, x: x.repeat_interleave(2, 1),
    "repeat_interleave_flat": lambda t, x: t.repeat_interleave(x, 3),
    "flip": lambda t, x: x.flip(0, 2),
    "flip_list": lambda t, x: t.flip(x, [1]),
    "roll": lambda t, x: x.roll(5, 2),
    "roll_flat": lambda t, x: x.roll(-3),
    "roll_two": lambda t, x: t.roll(x, (1, 2), (0, 1)),
    "pad": lambda t, x: t.nn.functional.pad(x, (1, 2, 0, 3), value=7.0),
    "pad_crop": lambda t, x: t.nn.functional.pad(x, (-1, 2)),
    "contiguous": lambda t, x: x.mT.contiguous(),
    "meshgrid": lambda t, x: t.meshgrid(t.arange(2), t.arange(3), indexing="ij"),
    "size": lambda t, x: (x.size(-1), x.dim(), x.numel(), tuple(x.stride()), x.shape[1]),
    "narrow": lambda t, x: x.narrow(1, 1, 2),
    "select": lambda t, x: x.select(2, -1),
    "of_a_number": lambda t, x: (x.sum().reshape(1, 1), x.sum().unsqueeze(0), x.sum().squeeze(0), x.sum().flatten()),
    "of_nothing": lambda t, x: (x[:0].reshape(0, 5), x[:0].split(2)[0], x[:0].flatten(), x[:, :0].repeat(2, 1, 1)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CALLS)
def test_as_pytorch(name: str) -> None:
    compare_with_torch(CALLS[name], [X], second=True)


ERRORS: dict[str, Any] = {
    "reshape": lambda t, x: x.reshape(5, 5),
    "two_unknown": lambda t, x: x.reshape(-1, -1),
    "view_of_transposed": lambda t, x: x.transpose(0, 1).view(-1),
    "permute": lambda t, x: x.permute(0, 1),
    "permute_twice": lambda t, x: x.permute(0, 0, 1),
    "transpose": lambda t, x: x.transpose(0, 3),
    "t": lambda t, x: x.t(),
    "expand": lambda t, x: x.expand(2, 5, 4),
    "expand_fewer": lambda t, x: x.expand(3, 4),
    "cat_sizes": lambda t, x: t.cat([x, x[:, :2]], 0),
    "cat_dims": lambda t, x: t.cat([x, x[0]], 0),
    "cat_nothing": lambda t, x: t.cat([]),
    "cat_numbers": lambda t, x: t.cat([x.sum(), x.sum()]),
    "cat_type": lambda t, x: t.cat([x, 3]),
    "cat_dim": lambda t, x: t.cat([x, x], 3),
    "stack": lambda t, x: t.stack([x, x[0]]),
    "stack_nothing": lambda t, x: t.stack([]),
    "split_sizes": lambda t, x: x.split([1, 1], 2),
    "chunk": lambda t, x: x.chunk(0),
    "unsqueeze": lambda t, x: x.unsqueeze(5),
    "squeeze": lambda t, x: x.squeeze(3),
    "flatten": lambda t, x: x.flatten(2, 1),
    "repeat": lambda t, x: x.repeat(2, 2),
    "flip": lambda t, x: x.flip(3),
    "roll": lambda t, x: x.roll((1, 2), (0,)),
    "pad": lambda t, x: t.nn.functional.pad(x, (1,)),
    "narrow": lambda t, x: x.narrow(0, 1, 2),
    "select": lambda t, x: x.select(0, 2),
    "tril": lambda t, x: x[0, 0].tril(),
    "broadcast": lambda t, x: x + t.zeros(5),
    "item": lambda t, x: x.item(),
    "bool": lambda t, x: bool(x),
    "len": lambda t, x: len(x.sum()),
    "iter": lambda t, x: list(x.sum()),
    "reshape_negative": lambda t, x: x.reshape(-5, 2),
    "reshape_minus_two": lambda t, x: x.reshape((-2,)),
    "view_negative": lambda t, x: x.view(-5, 2),
    "unflatten_negative": lambda t, x: x.unflatten(0, (-2, 1)),
    "unflatten_wrong": lambda t, x: x.unflatten(-1, (2, 3)),
    "unflatten_nothing_wrong": lambda t, x: x[:0].unflatten(-1, (2, 3)),
    "unflatten_two_unknown": lambda t, x: x.unflatten(-1, (-1, -1)),
    "unflatten_into_none": lambda t, x: x.unflatten(-1, ()),
    "expand_negative": lambda t, x: x.expand(-2, 2, 3, 4),
    "expand_one_negative": lambda t, x: x.sum().reshape(1).expand(-3),
    "broadcast_to_negative": lambda t, x: x.broadcast_to((-1, 2, 3, 4)),
    "repeat_negative": lambda t, x: x.repeat(1, 1, -1),
    "repeat_one_negative": lambda t, x: x.sum().reshape(1).repeat(-1),
    "tile_negative": lambda t, x: x.tile(-1),
    "repeat_interleave_negative": lambda t, x: x.repeat_interleave(-1),
    "repeat_interleave_negative_dim": lambda t, x: x.repeat_interleave(-2, dim=0),
    "sum_to_size_negative": lambda t, x: x.sum_to_size(2, 3, -1),
    "split_negative": lambda t, x: x.split(-1),
    "split_negative_sizes": lambda t, x: x.split([-1, 3]),
    "chunk_negative": lambda t, x: x.chunk(-1),
    "narrow_negative": lambda t, x: x.narrow(0, 1, -1),
    "topk_negative": lambda t, x: x.topk(-1),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_pytorchs(name: str) -> None:
    assert_same_error(ERRORS[name], [X])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x: x + tinytorch.zeros(5), ["Add", "float32", "(2, 3, 4)", "(5,)"]),
        (lambda x: x.reshape(5, 5), ["Reshape", "(2, 3, 4)", "5"]),
        (lambda x: x.reshape(-5, 2), ["-5", "(-5, 2)"]),
        (lambda x: x.view(-2), ["-2"]),
        (lambda x: x.sum().reshape(1).repeat(-1), ["repeat", "(-1,)"]),
        (lambda x: x.tile(-1), ["repeat", "(1, 1, -1)"]),
        (lambda x: x.repeat_interleave(-1), ["repeat_interleave", "-1"]),
        (lambda x: x @ tinytorch.zeros(3, 2), ["matmul", "(2, 3, 4)", "(3, 2)"]),
        (lambda x: x @ tinytorch.zeros(4, 2, dtype=tinytorch.float64), ["float32", "float64"]),
        (lambda x: x.expand(2, 5, 4), ["expand", "(2, 3, 4)", "(2, 5, 4)"]),
        (lambda x: tinytorch.stack([x, x[0]]), ["stack", "(2, 3, 4)", "(3, 4)"]),
        (lambda x: x.gather(0, tinytorch.zeros(1, dtype=tinytorch.int64)), ["gather", "1", "3"]),
        (lambda x: x.masked_fill(x, 0.0), ["masked_fill", "float32"]),
        (lambda x: tinytorch.nn.functional.linear(x, tinytorch.zeros(2, 3)), ["linear", "(2, 3, 4)", "(2, 3)"]),
        (lambda x: x[5], ["5", "2"]),
        (lambda x: x.sum(7), ["7", "-3"]),
    ],
)
def test_messages_name_shapes_and_dtypes(call: Any, words: list[str]) -> None:
    error = IndexError if words in (["5", "2"], ["7", "-3"]) else RuntimeError
    with pytest.raises(error) as caught:
        call(tinytorch.zeros(2, 3, 4))
    assert caught.type is error
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "name", ["view", "transpose", "T", "permute", "expand", "squeeze_dim", "split", "narrow", "unbind"]
)
def test_views_share_memory(name: str) -> None:
    x = tinytorch.from_numpy(X.copy())
    y = CALLS[name](tinytorch, x)
    y = y[0] if isinstance(y, tuple) else y
    assert np.shares_memory(x.array, y.array)
    assert y._version == x._version
    x.add_(1.0)
    assert y._version == x._version


@pytest.mark.parametrize("name", ["cat", "stack", "flip", "roll", "repeat", "tril", "pad"])
def test_copies_do_not(name: str) -> None:
    x = tinytorch.from_numpy(X.copy())
    y = CALLS[name](tinytorch, x)
    assert not np.shares_memory(x.array, y.array)


def test_the_gradient_of_a_split_is_not_put_together_where_it_is_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """What attention gives for q, k and v that one product made, and only that."""
    copied = []
    forward = Unsplit.forward

    def noticed(ctx: Any, *xs: Any, dim: int) -> Any:
        result = forward(ctx, *xs, dim=dim)
        copied.append(not np.may_share_memory(result, xs[0]))
        return result

    monkeypatch.setattr(Unsplit, "forward", staticmethod(noticed))

    def gradient(order: tuple[int, int, int]) -> Any:
        tinytorch.manual_seed(0)
        x = tinytorch.randn(2, 5, 24, requires_grad=True)
        parts = [part.view(2, 5, 2, 4).transpose(1, 2) for part in x.split(8, dim=2)]
        q, k, v = (parts[i] for i in order)
        y = tinytorch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        (y * tinytorch.arange(y.numel()).reshape(y.shape)).sum().backward()
        return x.grad.numpy()

    straight = gradient((0, 1, 2))
    other = gradient((1, 0, 2))
    assert copied == [False, True]
    with tinytorch.unfold():
        np.testing.assert_allclose(straight, gradient((0, 1, 2)), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(other, gradient((1, 0, 2)), rtol=1e-4, atol=1e-4)
