"""dtypes: names, promotion, the default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinytorch as torch

NAMES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


@pytest.fixture
def float64_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_names_and_aliases() -> None:
    for name in NAMES:
        assert str(getattr(torch, name)) == name and torch.zeros(2, dtype=getattr(torch, name)).dtype == name
    aliases = dict(half="float16", float="float32", double="float64", short="int16", int="int32", long="int64")
    for alias, name in aliases.items():
        assert getattr(torch, alias) == getattr(torch, name)
    assert torch.float32 == np.float32
    for python, dtype in ((bool, torch.bool), (int, torch.int64), (float, torch.float32)):
        assert torch.zeros(1, dtype=python).dtype == dtype


@pytest.mark.oracle
@pytest.mark.parametrize("default", ["float32", "float64"])
def test_promotion_is_pytorchs(default: str) -> None:
    import torch as theirs

    def results(t: Any) -> list[str]:
        found = [str(t.promote_types(getattr(t, a), getattr(t, b))) for a in NAMES for b in NAMES]
        for a in NAMES:
            x = t.ones(2, dtype=getattr(t, a))
            for b in NAMES:
                found += [
                    str(t.result_type(x, t.ones((), dtype=getattr(t, b)))),
                    str((x * t.ones((), dtype=getattr(t, b))).dtype),
                ]
                found += [
                    str((x / t.ones(2, dtype=getattr(t, b))).dtype),
                    str((x > t.ones(2, dtype=getattr(t, b))).dtype),
                ]
            for number in (True, 2, 2.5):
                found += [
                    str((x * number).dtype),
                    str((number * x).dtype),
                    str((x / number).dtype),
                    str(t.result_type(x, number)),
                ]
                found.append(str((x**number).dtype) if a != "bool" else "")
            found += [
                str(x.sum().dtype),
                str(x.cumsum(0).dtype),
                str(x.prod().dtype),
                str(x.exp().dtype),
                str(x.sqrt().dtype),
            ]
        return [f.replace("torch.", "") for f in found]

    both = []
    for t in (theirs, torch):
        t.set_default_dtype(getattr(t, default))
        try:
            both.append(results(t))
        finally:
            t.set_default_dtype(t.float32)
    assert both[1] == both[0]


def test_default_dtype(float64_default: None) -> None:
    assert torch.get_default_dtype() == torch.float64
    made = [
        torch.tensor([1.5]),
        torch.zeros(1),
        torch.rand(1),
        torch.randn(1),
        torch.arange(1.0),
        torch.linspace(0, 1, 2),
    ]
    made += [
        torch.eye(2),
        torch.full((1,), 2.5),
        torch.empty(1),
        torch.Tensor([1]),
        torch.tensor([1]) / 2,
        torch.tensor(1).exp(),
    ]
    assert {m.dtype for m in made} == {torch.float64}
    assert torch.tensor([1]).dtype == torch.int64 and torch.ones(1, dtype=torch.float32).mul(2.5).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_default_dtype_must_be_floating_point(dtype: Any) -> None:
    with pytest.raises(TypeError, match="floating point"):
        torch.set_default_dtype(dtype)
    assert torch.get_default_dtype() == torch.float32


def test_limits() -> None:
    assert float(torch.finfo(torch.bfloat16).max) > 3e38 and float(torch.finfo(torch.float32).eps) == 2.0**-23
    assert torch.iinfo(torch.int8).min == -128 and torch.iinfo(torch.int64).max == 2**63 - 1
