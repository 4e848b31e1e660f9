"""softmax, attention, normalisation and losses: every option, rows masked out, everything ignored."""

from __future__ import annotations

import itertools
import re
import warnings
from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops.checks import assert_same_error, compare_with_torch
from tinytorch import nn
from tinytorch.autograd import gradcheck, gradgradcheck
from tinytorch.nn import functional
from tinytorch.ops.softmax import LogSoftmax, Softmax

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((5, 4))
TARGET = np.array([1, 0, 3, 3, 2])


def tensor(array: Any) -> Any:
    return tinytorch.tensor(array, requires_grad=True)


def log_softmax(x: Any, axis: int = 1) -> Any:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


# ---------------------------------------------------------------------- softmax


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_large_scores_do_not_overflow(name: str) -> None:
    x = tensor(np.array([[1e4, -1e4, 1e4 - 1.0], [-1e4, -1e4, -1e4]]))
    assert np.isfinite(getattr(x, name)(1).detach().numpy()).all()
    assert gradcheck(lambda x: getattr(x, name)(1), x, atol=1e-4)


def test_a_row_of_minus_infinity_gives_zeros() -> None:
    """Unlike PyTorch's NaN: so that a query that may attend to nothing contributes nothing."""
    x = tensor(np.array([[-np.inf, -np.inf], [0.0, 0.0]]))
    y = x.softmax(-1)
    y.backward(tinytorch.tensor(np.array([[1.0, 2.0], [1.0, 2.0]])))
    assert y.tolist() == [[0, 0], [0.5, 0.5]]
    assert x.grad.tolist() == [[0, 0], [-0.25, 0.25]]
    # What needs a distribution notices.
    assert x.detach().log_softmax(-1)[0].tolist() == [-np.inf, -np.inf]
    with pytest.raises(RuntimeError, match="sum of probabilities"):
        tinytorch.multinomial(y.detach(), 1)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_row_of_minus_infinity_has_no_second_derivative(name: str) -> None:
    """Its gradient is 0 whatever comes back: so it depends on nothing, in kernels and in steps."""
    x = tensor(np.array([[-np.inf, -np.inf], [0.0, 1.0]]))
    g, a = tensor(np.array([[1.0, 2.0], [3.0, 4.0]])), tinytorch.tensor([[1.0, 5.0], [2.0, 3.0]]).double()
    for recorded in (False, True):
        (dx,) = tinytorch.autograd.grad(getattr(x, name)(1), x, g, create_graph=True)
        (dg,) = tinytorch.autograd.grad(dx, g, a, create_graph=recorded)
        assert dg[0].tolist() == [0, 0] and (dg[1] != 0).all()


@pytest.mark.parametrize("operation", [Softmax, LogSoftmax], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (0, 3), (3, 0)], ids=str)
def test_softmax_is_what_its_steps_compute(operation: Any, shape: tuple[int, ...]) -> None:
    """Also where a row is -inf, where scores are too large for e^x, and where there are none."""
    array = np.random.default_rng(0).standard_normal(shape)
    if array.size:
        array[0], array[1, 1], array[1, 0] = -np.inf, -np.inf, 1000.0
    for dim in range(len(shape)):
        x, steps = tensor(array), tensor(array)
        y, z = operation.apply(x, dim=dim), operation.composite(steps, dim)
        seed = tinytorch.from_numpy(np.random.default_rng(1).standard_normal(shape))
        y.backward(seed)
        z.backward(seed)
        np.testing.assert_allclose(z.detach().numpy(), y.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(steps.grad.numpy(), x.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [tinytorch.float16, tinytorch.bfloat16], ids=str)
def test_attention_in_two_bytes_is_rounded_once(dtype: Any) -> None:
    """Output and gradients are float32's of the same numbers, rounded; no score or probability is rounded by itself."""
    rng = np.random.default_rng(0)
    for shapes, options in (
        (((2, 3, 40, 16), (2, 3, 50, 16), (2, 3, 50, 16)), {}),
        (((2, 4, 40, 16), (2, 2, 40, 16), (2, 2, 40, 8)), {"is_causal": True, "enable_gqa": True}),
        (((1, 40, 16), (1, 40, 16), (1, 40, 16)), {"attn_mask": tinytorch.from_numpy(rng.random((40, 40)) > 0.3)}),
    ):
        results = []
        arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
        for wide in (False, True):
            inputs = [tinytorch.from_numpy(a.astype(np.float32) if wide else a).requires_grad_() for a in arrays]
            y = functional.scaled_dot_product_attention(*inputs, **options)
            seed = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
            y.backward(tinytorch.from_numpy(seed.astype(np.float32) if wide else seed))
            results.append([y.detach(), *[x.grad for x in inputs]])
        for narrow, exact in zip(*results, strict=True):
            assert narrow.dtype == dtype and tinytorch.equal(narrow, exact.to(dtype))


@pytest.mark.oracle
@pytest.mark.parametrize("dim", [0, 1, -1, -3])
def test_softmax_of_any_dim(dim: int) -> None:
    x = RNG.standard_normal((2, 3, 4))
    x[0, 1, 2] = -np.inf
    for call in (
        lambda t, x: x.softmax(dim),
        lambda t, x: t.nn.functional.log_softmax(x, dim=dim),
        lambda t, x: t.softmax(x.float(), dim, dtype=t.float64),
        lambda t, x: x.mT.softmax(dim),
    ):
        compare_with_torch(call, [x], tolerance=1e-7)


@pytest.mark.oracle
def test_softmax_of_numbers_and_nothing() -> None:
    for x in (np.array(2.0), np.zeros((0, 3)), np.zeros((3, 0)), np.ones((2, 3), np.float16)):
        compare_with_torch(lambda t, x: (x.softmax(-1), x.log_softmax(-1)), [x])


# ---------------------------------------------------------------------- attention


def test_a_query_that_may_attend_to_nothing_gives_zeros() -> None:
    q, k, v = (tensor(RNG.standard_normal((1, 2, 3, 4))) for _ in range(3))
    mask = tinytorch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    additive = tinytorch.zeros(3, 3, dtype=tinytorch.float64).masked_fill(~mask, -np.inf)
    for m in (mask, additive):
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=m)
        assert (y.detach().numpy()[:, :, 1] == 0).all()
        for x in (q, k, v):
            x.grad = None
        y.backward(tinytorch.tensor(RNG.standard_normal((1, 2, 3, 4))))
        assert all(np.isfinite(x.grad.numpy()).all() for x in (q, k, v))
        assert (q.grad.numpy()[:, :, 1] == 0).all()
        assert gradcheck(lambda *x, m=m: functional.scaled_dot_product_attention(*x, attn_mask=m), (q, k, v))
        assert gradgradcheck(
            lambda *x, m=m: functional.scaled_dot_product_attention(*x, attn_mask=m), (q, k, v), fast_mode=True
        )


ATTENTION: dict[str, Any] = {
    "plain": ({}, (2, 3, 5, 4), (2, 3, 7, 4)),
    "causal": ({"is_causal": True}, (2, 3, 5, 4), (2, 3, 5, 4)),
    "causal_more_keys": ({"is_causal": True}, (1, 1, 3, 4), (1, 1, 5, 4)),
    "causal_more_queries": ({"is_causal": True}, (1, 1, 5, 4), (1, 1, 3, 4)),
    "scale": ({"scale": 0.3}, (2, 3, 5, 4), (2, 3, 7, 4)),
    "two_dims": ({}, (5, 4), (7, 4)),
    "three_dims": ({"is_causal": True}, (3, 5, 4), (3, 5, 4)),
    "five_dims": ({}, (2, 1, 3, 5, 4), (2, 1, 3, 7, 4)),
    "grouped": ({"enable_gqa": True}, (2, 6, 5, 4), (2, 2, 7, 4)),
    "one_query": ({}, (2, 3, 1, 4), (2, 3, 7, 4)),
    "long": ({"is_causal": True}, (1, 2, 70, 8), (1, 2, 70, 8)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_as_pytorch(name: str, dtype: str) -> None:
    options, q, k = ATTENTION[name]
    arrays = [RNG.standard_normal(shape).astype(dtype) for shape in (q, k, k)]
    compare_with_torch(lambda t, *x: t.nn.functional.scaled_dot_product_attention(*x, **options), arrays)


@pytest.mark.oracle
@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (5, 1), (3, 5, 7), (2, 1, 5, 7), (2, 3, 5, 7)])
@pytest.mark.parametrize("boolean", [True, False])
def test_masks_as_pytorch(shape: Any, boolean: bool) -> None:
    mask = RNG.standard_normal(shape)
    mask = mask > -1 if boolean else mask
    if boolean:
        mask[..., 0] = True  # no row without any key: PyTorch's is NaN
    arrays = [RNG.standard_normal(s) for s in ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6))]
    compare_with_torch(lambda t, *x: t.nn.functional.scaled_dot_product_attention(*x), [*arrays, mask])


def test_dropout_of_attention_is_unbiased_and_seeded() -> None:
    q, k = (tinytorch.tensor(RNG.standard_normal((1, 1, 6, 4))) for _ in range(2))
    v = tinytorch.ones(1, 1, 6, 1, dtype=tinytorch.float64)

    def drawn(seed: int) -> Any:
        tinytorch.manual_seed(seed)
        return functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5).numpy()

    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))
    np.testing.assert_allclose(np.mean([drawn(seed) for seed in range(400)]), 1.0, atol=0.05)


def test_dropout_of_attention_has_the_gradients_of_its_mask() -> None:
    inputs = tuple(tensor(RNG.standard_normal((1, 2, 3, 4))) for _ in range(3))

    def call(*x: Any) -> Any:
        tinytorch.manual_seed(0)
        return functional.scaled_dot_product_attention(*x, dropout_p=0.4)

    assert gradcheck(call, inputs, fast_mode=True)
    assert gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize(
    "shapes, options, words",
    [
        (((3, 4), (5, 3), (5, 4)), {}, "head size"),
        (((3, 4), (5, 4), (6, 4)), {}, "one length"),
        (((1, 2, 3, 4), (1, 3, 3, 4), (1, 3, 3, 4)), {}, "heads must agree"),
        (((1, 3, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)), {"enable_gqa": True}, "multiple"),
        (((3, 4),) * 3, {"is_causal": True, "attn_mask": tinytorch.ones(3, 3) > 0}, "not both"),
        (((3, 4),) * 3, {"attn_mask": tinytorch.ones(2, 3) > 0}, r"attn_mask \(2, 3\) does not broadcast"),
    ],
)
def test_attention_refuses(shapes: Any, options: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        functional.scaled_dot_product_attention(*[tinytorch.zeros(*shape) for shape in shapes], **options)


# ---------------------------------------------------------------------- normalisation


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_normalisation_as_pytorch(dtype: str) -> None:
    x = (RNG.standard_normal((2, 3, 8)) * 3 + 1).astype(dtype)
    w, b = RNG.standard_normal(8).astype(dtype), RNG.standard_normal(8).astype(dtype)
    tolerance = {"float32": 2e-5, "float64": 1e-10, "float16": 2e-2, "bfloat16": 1e-1}[dtype]
    for call in (
        lambda t, x, w, b: t.nn.functional.layer_norm(x, (8,), w, b),
        lambda t, x, w, b: t.nn.functional.layer_norm(x, (8,), bias=b),
        lambda t, x, w, b: t.nn.functional.layer_norm(x, [3, 8], eps=0.1),
        lambda t, x, w, b: t.nn.functional.rms_norm(x, (8,), w),
        lambda t, x, w, b: t.nn.functional.rms_norm(x, (8,), eps=1e-2),
    ):
        compare_with_torch(call, [x, w, b], tolerance=tolerance)


def test_a_constant_row_normalises_to_zero_with_finite_gradients() -> None:
    x = tensor(np.full((2, 4), 3.0))
    y = functional.layer_norm(x, (4,))
    y.backward(tinytorch.tensor(RNG.standard_normal((2, 4))))
    assert (y.detach().numpy() == 0).all()
    assert np.isfinite(x.grad.numpy()).all()


# ---------------------------------------------------------------------- losses

OPTIONS = list(itertools.product(["mean", "sum", "none"], [0.0, 0.3], [-100, 3], [False, True]))


@pytest.mark.parametrize("reduction, smoothing, ignore, weighted", OPTIONS)
def test_cross_entropy_by_its_definition(reduction: str, smoothing: float, ignore: int, weighted: bool) -> None:
    weight = np.array([0.5, 1.0, 2.0, 0.25]) if weighted else np.ones(4)
    logp = log_softmax(SCORES)
    kept = ignore != TARGET
    losses = (1 - smoothing) * -weight[TARGET] * logp[np.arange(5), TARGET]
    losses = np.where(kept, losses + smoothing / 4 * -(logp * weight).sum(1), 0)
    expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / weight[TARGET][kept].sum()}[reduction]
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore}
    w = tinytorch.tensor(weight) if weighted else None

    def loss(x: Any) -> Any:
        return functional.cross_entropy(x, tinytorch.tensor(TARGET), weight=w, **options)

    np.testing.assert_allclose(loss(tensor(SCORES)).detach().numpy(), expected, rtol=1e-12)
    assert gradcheck(loss, tensor(SCORES))
    assert gradgradcheck(loss, tensor(SCORES))


@pytest.mark.oracle
@pytest.mark.parametrize("reduction, smoothing, ignore, weighted", OPTIONS)
def test_cross_entropy_as_pytorch(reduction: str, smoothing: float, ignore: int, weighted: bool) -> None:
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore}
    for shape in ((5, 4), (2, 4, 3), (2, 4, 3, 2), (4,), (0, 4)):
        index = RNG.integers(0, 4, shape[:1] + shape[2:] if len(shape) > 1 else ())
        if shape == (4,) and ignore == 3:
            index = np.array(1)
        weight = RNG.random(4) + 0.1

        def call(t: Any, x: Any, target: Any, w: Any) -> Any:
            return t.nn.functional.cross_entropy(x, target, weight=w.detach() if weighted else None, **options)

        compare_with_torch(call, [RNG.standard_normal(shape), index, weight], second=True)


@pytest.mark.oracle
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_ignored_as_pytorch(reduction: str, smoothing: float) -> None:
    """NaN for "mean", 0 else."""
    compare_with_torch(
        lambda t, x: t.nn.functional.cross_entropy(
            x, t.full((5,), -100), reduction=reduction, label_smoothing=smoothing
        ),
        [SCORES],
    )


def test_all_ignored() -> None:
    target = tinytorch.full((5,), -100)
    assert np.isnan(functional.cross_entropy(tensor(SCORES), target).item())
    x = tensor(SCORES)
    loss = functional.cross_entropy(x, target, reduction="sum")
    loss.backward()
    assert loss.item() == 0 and (x.grad.numpy() == 0).all()


LOSSES: dict[str, Any] = {
    "nll": lambda t, x, y: t.nn.functional.nll_loss(x.log_softmax(1), t.tensor([1, 0, 3, 3, 2])),
    "nll_ignore": lambda t, x, y: t.nn.functional.nll_loss(x, t.tensor([1, -100, 3, 3, 2]), reduction="sum"),
    "nll_weight": lambda t, x, y: t.nn.functional.nll_loss(x, t.tensor([1, 0, 3, 3, 2]), weight=y[0].detach()),
    "nll_none": lambda t, x, y: t.nn.functional.nll_loss(x, t.tensor([1, 0, 3, 3, 2]), reduction="none"),
    "nll_dims": lambda t, x, y: t.nn.functional.nll_loss(x[None], t.tensor([[1, 0, 3, 3]]), reduction="none"),
    "mse": lambda t, x, y: t.nn.functional.mse_loss(x, y),
    "mse_sum": lambda t, x, y: t.nn.functional.mse_loss(x, y, reduction="sum"),
    "mse_none": lambda t, x, y: t.nn.functional.mse_loss(x, y, reduction="none"),
    "l1": lambda t, x, y: t.nn.functional.l1_loss(x, y),
    "bce": lambda t, x, y: t.nn.functional.binary_cross_entropy_with_logits(x, y.sigmoid()),
    "bce_hard": lambda t, x, y: t.nn.functional.binary_cross_entropy_with_logits(
        50 * x, (y > 0).to(x.dtype), reduction="sum"
    ),
    "bce_weights": lambda t, x, y: t.nn.functional.binary_cross_entropy_with_logits(
        x, (y > 0).to(x.dtype), weight=y[0].exp().detach(), pos_weight=y[1].exp().detach(), reduction="none"
    ),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", LOSSES)
def test_losses_as_pytorch(name: str) -> None:
    compare_with_torch(LOSSES[name], [SCORES, RNG.standard_normal((5, 4))], second=True)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "call",
    [
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([1, 0, 4, 3, 2])),
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([1, 0])),
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([1, 0, 1, 1, 1]), reduction="average"),
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([1, 0, 1, 1, 1]), label_smoothing=1.5),
        lambda t, x: t.nn.functional.nll_loss(x, t.tensor([1, 0, 4, 3, 2])),
        lambda t, x: t.nn.functional.mse_loss(x, x, reduction="average"),
        lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(x, x[0]),
        lambda t, x: t.nn.functional.layer_norm(x, (5,)),
        lambda t, x: t.nn.functional.softmax(x, 2),
    ],
)
def test_errors_are_pytorchs(call: Any) -> None:
    assert_same_error(call, [SCORES])


CLASSES = [1, 0, 3, 3, 2]
REFUSED: tuple[tuple[Any, type[Exception], str], ...] = (
    (lambda t, x: t.nn.CrossEntropyLoss(weight=t.ones(5))(x, t.tensor(CLASSES)), RuntimeError, "each of 4 classes"),
    (lambda t, x: t.nn.CrossEntropyLoss(weight=t.ones(3))(x, t.tensor(CLASSES)), RuntimeError, "got float32 (3,)"),
    (lambda t, x: t.nn.NLLLoss(weight=t.ones(5))(x, t.tensor(CLASSES)), RuntimeError, "each of 4 classes"),
    (lambda t, x: t.nn.NLLLoss(weight=t.ones(4, 1))(x, t.tensor(CLASSES)), RuntimeError, "got float32 (4, 1)"),
    (lambda t, x: t.nn.NLLLoss(weight=t.ones(4).double())(x, t.tensor(CLASSES)), RuntimeError, "got float64"),
    (lambda t, x: t.nn.NLLLoss(weight=t.ones(4))(x[0], t.tensor(5)), IndexError, "out of bounds for 4 classes"),
    (lambda t, x: t.nn.functional.nll_loss(x.long(), t.tensor(CLASSES)), RuntimeError, "not implemented for int64"),
    (lambda t, x: t.nn.functional.mse_loss(x.long(), x.long()), RuntimeError, "not implemented for int64"),
    (lambda t, x: t.nn.functional.l1_loss(x.long(), x.long()), RuntimeError, "must be floating point"),
    (
        lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(x.long(), x.long(), reduction="none"),
        RuntimeError,
        "not implemented for int64",
    ),
    (lambda t, x: t.nn.functional.batch_norm(x, None, None, training=True, eps=0.0), ValueError, "must be positive"),
    (lambda t, x: t.nn.BatchNorm1d(4, eps=-1.0)(x), ValueError, "eps must be positive during training, but got -1.0"),
    (lambda t, x: t.nn.functional.batch_norm(x.long(), None, None, training=True), RuntimeError, "for int64"),
)


@pytest.mark.parametrize("call, error, message", REFUSED)
def test_losses_and_norms_refuse(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        call(tinytorch, tinytorch.from_numpy(SCORES.astype(np.float32)))
    assert caught.type is error


@pytest.mark.oracle
@pytest.mark.parametrize("call, error, message", REFUSED)
def test_losses_and_norms_refuse_what_pytorch_refuses(call: Any, error: type[Exception], message: str) -> None:
    import torch

    with pytest.raises(error):
        call(torch, torch.from_numpy(SCORES.astype(np.float32)))


@pytest.mark.oracle
def test_dtypes_of_losses_and_norms_as_pytorch() -> None:
    """Two dtypes combined; weights in float32 beside two bytes."""
    import torch

    for call in (
        lambda t, x: t.nn.functional.mse_loss(x.bfloat16(), x.half()),
        lambda t, x: t.nn.functional.mse_loss(x.bfloat16(), x.double()),
        lambda t, x: t.nn.functional.l1_loss(x.long(), 2 * x.long(), reduction="none"),
        lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(x.half(), x.float().sigmoid()),
        lambda t, x: t.nn.functional.cross_entropy(x.half(), t.tensor(CLASSES), weight=t.ones(4).half()),
        lambda t, x: t.nn.functional.layer_norm(x.bfloat16(), (4,), t.ones(4), t.zeros(4)),
        lambda t, x: t.nn.functional.batch_norm(
            x.bfloat16(), t.zeros(4), t.ones(4), t.ones(4), t.zeros(4), training=True
        ),
    ):
        ours, theirs = call(tinytorch, tinytorch.from_numpy(SCORES)), call(torch, torch.from_numpy(SCORES))
        assert f"torch.{ours.dtype}" == str(theirs.dtype)
        np.testing.assert_allclose(ours.double().numpy(), theirs.double().numpy(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("name", "module"), [
    ("mse_loss", nn.MSELoss), ("l1_loss", nn.L1Loss), ("smooth_l1_loss", nn.SmoothL1Loss), ("huber_loss", nn.HuberLoss),
])  # fmt: skip
def test_broadcasting_a_target_warns(name: str, module: Any) -> None:
    """(N, 1) against (N,) would compare every row with every other. The warning is at the line of the call."""
    loss = getattr(functional, name)
    x = tinytorch.tensor([[0.0], [1.0]])
    for call in (loss, module()):
        with pytest.warns(UserWarning, match=rf"{name}: the target's shape \(2,\) is not the input's") as caught:
            assert call(x, tinytorch.tensor([0.0, 1.0])).item() == loss(x, tinytorch.ones(2, 1)).item()
        assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loss(x, tinytorch.tensor([[0.0], [1.0]])).item() == 0


@pytest.mark.parametrize("name", ["smooth_l1_loss", "huber_loss"])
def test_an_infinite_difference_has_the_gradient_of_the_line(name: str) -> None:
    x = tinytorch.tensor([np.inf, -3.0, 0.5], requires_grad=True)
    loss = getattr(functional, name)(x, tinytorch.zeros(3), reduction="none")
    loss.sum().backward()
    assert loss.tolist() == [np.inf, 2.5, 0.125]
    assert x.grad is not None and x.grad.tolist() == [1, -1, 0.5]


def test_huber_without_a_bend_is_half_the_square() -> None:
    x = tinytorch.tensor([-3.0, 0.5], requires_grad=True)
    loss = functional.huber_loss(x, tinytorch.zeros(2), reduction="none", delta=np.inf)
    loss.sum().backward()
    assert loss.tolist() == [4.5, 0.125] and x.grad is not None and x.grad.tolist() == [-3, 0.5]


def test_binary_cross_entropy_at_the_ends() -> None:
    """ln 0 counts as -100, and its gradient is large, not NaN, so that training can leave the wrong end."""
    x = tinytorch.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = functional.binary_cross_entropy(x, tinytorch.tensor([1.0, 0.0, 0.0, 1.0]), reduction="none")
    loss.sum().backward()
    assert loss.tolist() == [100, 100, 0, 0]
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [-1e12, 1e12, 0, 0], rtol=1e-6)
