"""The first two steps of every optimizer, worked out by hand, and what changes the arithmetic: signs, dtypes."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn, optim

START, FIRST, SECOND = 2.0, 0.5, -3.0  # the parameter, its gradient at the first step and at the second

# Adam's moments after these gradients, with betas 0.9 and 0.99, divided by what they lack of a mean.
M2 = (0.9 * 0.1 * FIRST + 0.1 * SECOND) / (1 - 0.9**2)
V2 = (0.99 * 0.01 * FIRST**2 + 0.01 * SECOND**2) / (1 - 0.99**2)
ADAM = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 0.25}
FIRST_STEP = 0.1 * 0.5 / (0.5 + 0.25)
SECOND_STEP = 0.1 * M2 / (math.sqrt(V2) + 0.25)

# Optimizer, where the parameter is after the first step, and after the second.
STEPS: dict[str, tuple[Any, float, float]] = {
    "sgd": (lambda p: optim.SGD(p, lr=0.1), 1.95, 2.25),
    "sgd, default": (lambda p: optim.SGD(p), 1.9995, 2.0025),
    "sgd, decay": (lambda p: optim.SGD(p, lr=0.1, weight_decay=0.5), 1.85, 1.85 + 0.3 - 0.05 * 1.85),
    "sgd, maximize": (lambda p: optim.SGD(p, lr=0.1, maximize=True), 2.05, 1.75),
    # The decay pulls towards zero also where the objective is maximized.
    "sgd, maximize, decay": (
        lambda p: optim.SGD(p, lr=0.1, weight_decay=0.5, maximize=True),
        1.95,
        1.95 - 0.3 - 0.05 * 1.95,
    ),
    "sgd, momentum": (lambda p: optim.SGD(p, lr=0.1, momentum=0.8), 1.95, 1.95 - 0.1 * (0.8 * 0.5 - 3)),
    # Dampening begins with the second gradient.
    "sgd, dampening": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.8, dampening=0.25),
        1.95,
        1.95 - 0.1 * (0.8 * 0.5 - 0.75 * 3),
    ),
    "sgd, nesterov": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
        2 - 0.1 * (0.5 + 0.8 * 0.5),
        2 - 0.1 * (0.5 + 0.8 * 0.5) - 0.1 * (-3 + 0.8 * (0.8 * 0.5 - 3)),
    ),
    "adam": (lambda p: optim.Adam(p, **ADAM), 2 - FIRST_STEP, 2 - FIRST_STEP - SECOND_STEP),
    "adam, maximize": (lambda p: optim.Adam(p, maximize=True, **ADAM), 2 + FIRST_STEP, 2 + FIRST_STEP + SECOND_STEP),
    # The gradient of the first step is 0.5 + 0.1 * 2.
    "adam, decay": (lambda p: optim.Adam(p, weight_decay=0.1, **ADAM), 2 - 0.1 * 0.7 / (0.7 + 0.25), math.nan),
    "adamw": (
        lambda p: optim.AdamW(p, weight_decay=0.5, **ADAM),
        0.95 * 2 - FIRST_STEP,
        0.95 * (0.95 * 2 - FIRST_STEP) - SECOND_STEP,
    ),
    "adam, decoupled": (
        lambda p: optim.Adam(p, weight_decay=0.5, decoupled_weight_decay=True, **ADAM),
        0.95 * 2 - FIRST_STEP,
        0.95 * (0.95 * 2 - FIRST_STEP) - SECOND_STEP,
    ),
    "adam, default": (lambda p: optim.Adam(p), 1.999, math.nan),
    "adamw, default": (lambda p: optim.AdamW(p), (1 - 1e-5) * 2 - 1e-3, math.nan),
    "adam, amsgrad": (
        lambda p: optim.Adam(p, amsgrad=True, **ADAM),
        2 - FIRST_STEP,
        2 - FIRST_STEP - SECOND_STEP,
    ),
}


def _parameter(value: Any, dtype: Any = np.float64) -> nn.Parameter:
    return nn.Parameter(tinytorch.tensor(np.asarray(value, np.float64)).to(dtype))


def _gradient(value: Any, dtype: Any = np.float64) -> Any:
    return tinytorch.tensor(np.asarray(value, np.float64)).to(dtype)


@pytest.mark.parametrize("name", STEPS)
def test_two_steps_by_hand(name: str) -> None:
    make, first, second = STEPS[name]
    p = _parameter([START, -START])
    optimizer = make([p])
    for gradient, expected in ((FIRST, first), (SECOND, second)):
        p.grad = _gradient([gradient, -gradient])
        optimizer.step()
        if not math.isnan(expected):
            np.testing.assert_allclose(p.detach().numpy(), [expected, -expected], 1e-7)


def test_amsgrad_keeps_the_largest_root() -> None:
    """After a large gradient small ones: Adam's steps grow again, those of amsgrad do not."""
    p = _parameter([0.0])
    optimizer = optim.Adam([p], lr=1.0, betas=(0.0, 0.5), eps=0.0, amsgrad=True)
    largest, square = 0.0, 0.0
    for count, gradient in enumerate((8.0, 1.0, -1.0, 2.0, 9.0, 0.5), 1):
        square = 0.5 * square + 0.5 * gradient**2
        largest = max(largest, square)
        before = p.item()
        p.grad = _gradient([gradient])
        optimizer.step()
        assert p.item() - before == pytest.approx(-gradient / math.sqrt(largest / (1 - 0.5**count)))
        assert optimizer.state[p]["max_exp_avg_sq"].item() == pytest.approx(largest)
        assert optimizer.state[p]["exp_avg_sq"].item() == pytest.approx(square)
    assert optimizer.state[p]["step"].item() == 6


@pytest.mark.parametrize("dtype", [tinytorch.float16, tinytorch.bfloat16])
@pytest.mark.parametrize("name", STEPS)
def test_steps_of_16_bits(name: str, dtype: Any) -> None:
    """They stay 16 bits, their state too, and lie within a rounding of what float64 gives in each step."""
    rng = np.random.default_rng(3)
    p = _parameter(rng.normal(size=(5, 4)), dtype)
    optimizer = STEPS[name][0]([p])
    spacing = 2.0**-8 if dtype == tinytorch.bfloat16 else 2.0**-11
    for _ in range(4):
        exact = _parameter(p.detach().double().numpy())
        reference = STEPS[name][0]([exact])
        if p in optimizer.state:
            reference.state[exact] = {key: value.double() for key, value in optimizer.state[p].items()}
        gradient = rng.normal(size=(5, 4))
        p.grad = _gradient(gradient, dtype)
        exact.grad = p.grad.double()
        optimizer.step(), reference.step()
        expected = exact.detach().numpy()
        np.testing.assert_allclose(p.detach().double().numpy(), expected, 1.01 * spacing, 1e-6)
        for key, value in optimizer.state[p].items():
            assert value.dtype == (dtype if key != "step" else np.float32)
            expected = reference.state[exact][key].numpy()
            np.testing.assert_allclose(value.double().numpy(), expected, 1.01 * spacing, 1e-6)
    assert p.dtype == dtype and p.grad.dtype == dtype


@pytest.mark.parametrize("name", ["sgd, nesterov", "adamw", "adam, amsgrad"])
@pytest.mark.parametrize("dtype", [tinytorch.float16, tinytorch.float32, tinytorch.float64])
def test_infinities_pass_without_a_word(name: str, dtype: Any) -> None:
    p = _parameter([1.0, 1.0, 1.0], dtype)
    optimizer = STEPS[name][0]([p])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            p.grad = _gradient([math.inf, math.nan, 1e4], dtype)
            optimizer.step()
    assert not np.isfinite(p.detach().numpy()[:2]).any()


def test_groups_of_every_kind_at_once() -> None:
    """Dtypes, maximize and amsgrad part the parameters into batches; each moves as it would alone."""
    rng = np.random.default_rng(4)
    kinds = [
        (dtype, {"maximize": maximize, "amsgrad": amsgrad, "lr": lr})
        for dtype in (tinytorch.float32, tinytorch.float64, tinytorch.bfloat16)
        for maximize in (False, True)
        for amsgrad, lr in ((False, 0.1), (True, 0.1), (False, 0.2))
    ]
    values, gradients = rng.normal(size=(len(kinds), 3)), rng.normal(size=(3, len(kinds), 3))
    together = [_parameter(value, dtype) for value, (dtype, _) in zip(values, kinds, strict=True)]
    optimizer = optim.AdamW([{"params": [p], **options} for p, (_, options) in zip(together, kinds, strict=True)])
    for row in gradients:
        for p, gradient in zip(together, row, strict=True):
            p.grad = _gradient(gradient, p.dtype)
        optimizer.step()
    for i, (dtype, options) in enumerate(kinds):
        alone = _parameter(values[i], dtype)
        single = optim.AdamW([alone], **options)
        for row in gradients:
            alone.grad = _gradient(row[i], dtype)
            single.step()
        np.testing.assert_array_equal(alone.detach().numpy(), together[i].detach().numpy())
        assert optimizer.state[together[i]]["step"].item() == 3


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
def test_rates_that_are_tensors(make: Any) -> None:
    """They are read at every step: writing into one changes the next."""
    p, q = _parameter([2.0, -1.0]), _parameter([2.0, -1.0])
    rate = tinytorch.tensor(0.125)
    mine, other = make([p], lr=rate), make([q], lr=0.125)
    for new in (0.125, 0.5, 0.0625):
        rate.fill_(new)
        other.param_groups[0]["lr"] = new
        p.grad, q.grad = _gradient([1.0, 3.0]), _gradient([1.0, 3.0])
        mine.step(), other.step()
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    assert mine.param_groups[0]["lr"] is rate


def test_betas_that_are_tensors_are_taken_as_they_are() -> None:
    betas = tinytorch.tensor(0.5), tinytorch.tensor([0.75])
    optimizer = optim.Adam([_parameter([1.0])], betas=betas)
    betas[0].fill_(0.0)
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.75)
    assert all(type(beta) is float for beta in optimizer.param_groups[0]["betas"])
