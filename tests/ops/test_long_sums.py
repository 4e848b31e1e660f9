"""Sums of thousands: of functions made of several operations in two bytes, and of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops import checks
from tests.ops.checks import Example
from tinytorch import bfloat16, float16


def functional(name: str) -> Any:
    return lambda t: getattr(t.nn.functional, name)


mse, l1, nll, cross_entropy = (functional(n) for n in ("mse_loss", "l1_loss", "nll_loss", "cross_entropy"))
bce, batch_norm = functional("binary_cross_entropy_with_logits"), functional("batch_norm")


def classes(t: Any) -> Any:
    return t.arange(10_000) % 4


# What is in one operation is asked in test_operations.
LONG: dict[str, tuple[Any, ...]] = {
    "mse_mean": (lambda t, x, y: mse(t)(x, y), (10_000,), (10_000,)),
    "mse_sum": (lambda t, x, y: mse(t)(x, y, reduction="sum"), (10_000, 2), (10_000, 2)),
    "l1_mean": (lambda t, x, y: l1(t)(x, y), (10_000,), (10_000,)),
    "l1_sum": (lambda t, x, y: l1(t)(x, y, reduction="sum"), (10_000,), (10_000,)),
    "bce_mean": (lambda t, x, y: bce(t)(x, y), (10_000,), (10_000,)),
    "bce_weights": (
        lambda t, x, y, w, p: bce(t)(x, y, w.detach(), reduction="sum", pos_weight=p.detach()),
        (10_000, 2),
        (10_000, 2),
        (2,),
        (2,),
    ),
    "nll_mean": (lambda t, x: nll(t)(x, classes(t)), (10_000, 4)),
    "nll_weight": (lambda t, x, w: nll(t)(x, classes(t), w.detach()), (10_000, 4), (4,)),
    "nll_sum": (lambda t, x: nll(t)(x, classes(t), reduction="sum"), (10_000, 4)),
    "cross_entropy_weight": (lambda t, x, w: cross_entropy(t)(x, classes(t), w.detach()), (10_000, 4), (4,)),
    "cross_entropy_smoothed": (
        lambda t, x, w: cross_entropy(t)(x, t.tensor([1, 7]), w.detach(), label_smoothing=0.2),
        (2, 10_000),
        (10_000,),
    ),
    "cross_entropy_few_rows": (lambda t, x: cross_entropy(t)(x, t.arange(768) % 65), (768, 65)),
    "batch_norm_training": (lambda t, x, w, b: batch_norm(t)(x, None, None, w, b, True), (10_000, 2), (2,), (2,)),
    "batch_norm_evaluating": (
        lambda t, x, w, b: batch_norm(t)(x, t.zeros(2, dtype=x.dtype), t.ones(2, dtype=x.dtype), w, b),
        (5_000, 2, 2),
        (2,),
        (2,),
    ),
    "einsum_of_one": (lambda t, x: t.einsum("ij->j", x), (10_000, 2)),
    "einsum": (lambda t, x, y: t.einsum("ij,ik,j->k", x, y, x[0]), (10_000, 2), (10_000, 3)),
    "dot": (lambda t, x, y: t.dot(x, y), (10_000,), (10_000,)),
    "outer": (lambda t, x, y: t.outer(x, y), (10_000,), (2,)),
    "mv": (lambda t, x, y: t.mv(x, y), (2, 10_000), (10_000,)),
    "repeat": (lambda t, x: x.repeat(10_000, 1), (2,)),
    "repeat_interleave": (lambda t, x: x.repeat_interleave(10_000), (2,)),
    "index_select": (lambda t, x: x.index_select(1, t.zeros(10_000, dtype=t.int64)), (2, 3)),
    "take_along_dim": (lambda t, x: t.take_along_dim(x, t.zeros(10_000, 1, dtype=t.int64), 0), (2, 3)),
    "clamp_by_a_tensor": (lambda t, x, low: x.clamp(min=low + 1), (10_000,), ()),
    "add_alpha": (lambda t, x, y: t.add(x, y, alpha=2), (10_000, 2), (2,)),
    "norm_of_the_mean": (lambda t, x: (x.mean(0) ** 2).sum().sqrt(), (10_000, 2)),
}

two_bytes = pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
long = pytest.mark.parametrize("name", LONG)


def example_of(name: str) -> Example:
    call, *shapes = LONG[name]
    return Example(type(name, (), {}), 0, call, shapes)


@two_bytes
@long
def test_in_two_bytes(name: str, dtype: Any) -> None:
    checks.check_long(example_of(name), dtype)


@pytest.mark.oracle
@two_bytes
@long
def test_in_two_bytes_are_as_accurate_as_pytorchs(name: str, dtype: Any) -> None:
    example = example_of(name)
    checks.check_as_accurate_as_pytorch(example, example.positive_arrays(dtype), dtype)


@two_bytes
def test_ones_are_counted(dtype: Any) -> None:
    count = 9984 if dtype == bfloat16 else 10_000  # 10,000 as bfloat16 holds it
    x = tinytorch.ones(10_000, dtype=dtype)
    assert x.sum().item() == x.reshape(-1, 1).sum(0).item() == x.sum_to_size(1).item() == count
    assert x.cumsum(0)[-1].item() == x.reshape(100, 100).sum().item() == count
    assert x.mean().item() == 1 and x.var().item() == 0
    assert tinytorch.zeros(10_000, dtype=dtype).logsumexp(0).item() == pytest.approx(np.log(10_000), rel=4e-3)
    bias = tinytorch.zeros(3, dtype=dtype, requires_grad=True)
    rows = tinytorch.ones(4096, 2, dtype=dtype)
    tinytorch.nn.functional.linear(rows, tinytorch.ones(3, 2, dtype=dtype), bias).sum().backward()
    assert bias.grad.tolist() == [4096] * 3


def test_a_mean_of_numbers_whose_sum_float16_does_not_hold() -> None:
    x = tinytorch.full((1000,), 1000.0, dtype=float16, requires_grad=True)
    assert x.mean().item() == 1000 and x.sum().item() == np.inf
    loss = tinytorch.nn.functional.mse_loss(x, tinytorch.full((1000,), 900.0, dtype=float16))
    assert loss.item() == 10_000  # squares whose sum is 1e7
    loss.backward()
    np.testing.assert_allclose(x.grad.double().numpy(), 0.2, rtol=1e-3)


@two_bytes
def test_running_statistics_are_those_of_the_batch(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = tinytorch.from_numpy(rng.normal(3.0, 2.0, (10_000, 2)).astype(dtype))
    norm = tinytorch.nn.BatchNorm1d(2, momentum=1.0, dtype=dtype)
    norm(x)
    exact = x.double().numpy()
    eps = float(tinytorch.finfo(dtype).eps)
    np.testing.assert_allclose(norm.running_mean.double().numpy(), exact.mean(0), rtol=eps)
    np.testing.assert_allclose(norm.running_var.double().numpy(), exact.var(0, ddof=1), rtol=eps)


def test_running_statistics_in_two_bytes_move_with_each_batch() -> None:
    """As if they were rounded once a step: in bfloat16 the steps themselves would be rounded too."""
    mean, var = tinytorch.zeros(1, dtype=bfloat16), tinytorch.ones(1, dtype=bfloat16)
    batch = tinytorch.tensor([[1.0], [3.0]], dtype=bfloat16)
    expected = np.float32(0)
    for _ in range(20):
        tinytorch.nn.functional.batch_norm(batch, mean, var, training=True, momentum=0.1)
        expected = (expected + (np.float32(2) - expected) * np.float32(0.1)).astype(bfloat16).astype(np.float32)
    assert mean.item() == expected


MILLION = 1 << 20


@pytest.mark.parametrize(
    "call",
    [
        lambda t, x: x.cumsum(0)[-1],
        lambda t, x: x.reshape(2, -1).cumsum(1)[:, -1].sum(),
        lambda t, x: x.sum(),
        lambda t, x: x.reshape(-1, 1).sum(0),
        lambda t, x: x.reshape(-1, 2).sum(0).sum(),
        lambda t, x: x.reshape(-1, 64).sum(0).sum(),
        lambda t, x: x.reshape(1024, 1024, 1).sum((0, 1)),
        lambda t, x: x.reshape(64, -1).T.sum(0).sum(),
        lambda t, x: x.reshape(-1, 64).T.sum(1).sum(),
        lambda t, x: x.reshape(-1, 64)[:, ::2].sum(0).sum() * 2,
        lambda t, x: x.reshape(-1, 4).mean(0).sum() * (MILLION / 4),
        lambda t, x: x.reshape(-1, 2).sum_to_size(2).sum(),
        lambda t, x: t.cat([x, x[:1000]]).reshape(-1, 1).sum(0) - 100,  # not in stretches of one length
        lambda t, x: (w := t.ones(2, requires_grad=True), (x.reshape(-1, 1) * w).sum().backward(), w.grad.sum() / 2)[2],
        lambda t, x: x.reshape(-1, 1).exp().log().logsumexp(0).exp() / np.e**0.1 * 0.1,
        lambda t, x: (x.reshape(-1, 1) * t.tensor([1.0, -1.0])).reshape(-1, 1).var(0) * (MILLION * 10),
    ],
)
def test_a_million_tenths(call: Any) -> None:
    """Added up one by one in float32 they are 105891.8."""
    assert call(tinytorch, tinytorch.full((MILLION,), 0.1)).item() == pytest.approx(104857.6, rel=3e-6)


@pytest.mark.parametrize("n", [1, 2, 1023, 1024, 1025, 5000, 1_050_000])
@pytest.mark.parametrize("layout", ["rows", "columns", "middle"])
def test_stretches_leave_nothing_out(n: int, layout: str) -> None:
    x = np.random.default_rng(0).integers(-5, 5, (n, 2)).astype(np.float32)
    if layout == "rows":
        assert np.array_equal(tinytorch.from_numpy(x).sum(0).numpy(), x.sum(0))
    elif layout == "columns":
        assert np.array_equal(tinytorch.from_numpy(x.T).sum(1).numpy(), x.sum(0))
    else:
        y = tinytorch.from_numpy(np.stack([x, 2 * x]))
        assert np.array_equal(y.sum(1, keepdim=True).numpy(), np.stack([x, 2 * x]).sum(1, keepdims=True))
        assert np.array_equal(y.sum((0, 1)).numpy(), 3 * x.sum(0))


def test_running_sums_are_rounded_each_by_itself() -> None:
    x = np.random.default_rng(0).standard_normal(100_000)
    exact = x.astype(np.float32).astype(np.float64).cumsum()
    y = tinytorch.from_numpy(x.astype(np.float32)).requires_grad_()
    assert np.array_equal(y.detach().cumsum(0).numpy(), exact.astype(np.float32))
    (grad,) = tinytorch.autograd.grad(y.cumsum(0), y, tinytorch.full((100_000,), 0.1))
    expected = np.full(100_000, np.float32(0.1)).astype(np.float64).cumsum()[::-1]
    assert np.array_equal(grad.numpy(), expected.astype(np.float32))
