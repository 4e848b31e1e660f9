"""The first place where finite numbers gave NaN or infinity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch import study
from tinytorch.engine.mode import mode
from tinytorch.engine.runner import EAGER
from tinytorch.nn import functional as F


def test_forward() -> None:
    x = torch.tensor([[1.0, 4.0], [0.0, 9.0]])
    with study.first_nonfinite() as found:
        y = x * 2
        z = y.log()
        (z - z).exp()
    place = found.place
    assert found and place is not None and not place.backward
    assert place.operation.__name__ == "Log" and place.line.source == "z = y.log()" and place.line.file == __file__
    assert (place.index, place.number, place.count) == ((1, 0), -np.inf, 1)
    assert [(e.least, e.largest) for e in place.inputs] == [(0, 18)]
    assert "log gave -inf at [1,0], of finite numbers" in repr(found) and "y = ln x" in repr(found)


def test_backward() -> None:
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    with study.first_nonfinite() as found:
        y = x.sqrt()
        loss = y.sum()
        assert not found
        loss.backward()
    place = found.place
    assert place is not None and place.backward and place.operation.__name__ == "Sqrt"
    assert place.line is not None and place.line.source == "y = x.sqrt()"
    assert "the backward of sqrt gave inf at [0]" in place.text and "gradient that came in" in place.text


def test_infinities_that_are_given_are_not_made() -> None:
    q = torch.tensor(np.random.default_rng(0).standard_normal((3, 3)), requires_grad=True)
    with study.first_nonfinite() as found:
        masked = q.masked_fill(torch.tensor(~np.tri(3, dtype=np.bool_)), -np.inf)
        masked.softmax(-1).sum().backward()
        torch.tensor([np.inf])
    assert not found and "nothing but finite numbers" in repr(found)


def test_nan_that_came_in() -> None:
    with study.first_nonfinite() as found:
        y = torch.tensor([np.nan, 1.0]) * 2
        y.log()
    assert not found and "NaN was already in what was given" in repr(found) and "y = torch.tensor" in repr(found)


def test_bits_stay_and_only_the_first_is_told() -> None:
    def run() -> Any:
        x = torch.tensor([0.0, 2.0], requires_grad=True)
        y = (x.log() * 0 + F.gelu(x)).sum()
        y.backward()
        assert x.grad is not None
        return x.grad.array.tobytes()

    plain = run()
    with study.first_nonfinite() as found:
        assert run() == plain
    assert found.place is not None and found.place.operation.__name__ == "Log"


def test_it_is_entered_once_at_a_time() -> None:
    with study.first_nonfinite() as found:
        with pytest.raises(RuntimeError, match="at work already"), found:
            pass
        torch.zeros(1).log()
    assert found and mode.run is EAGER
    assert str(found).splitlines()[1] == "  y = ln x"


def test_an_operation_of_the_users_without_a_formula() -> None:
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * math.nan

    x = torch.ones(1, requires_grad=True)
    with study.first_nonfinite() as found:
        Bad.apply(x).sum().backward()
    lines = str(found).splitlines()
    assert lines[0] == "the backward of bad gave nan at [0], of finite numbers" and "test_nonfinite.py" in lines[1]
