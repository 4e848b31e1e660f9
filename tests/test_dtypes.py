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


# What PyTorch 2.13 makes of two dtypes, in the order of NAMES: bool, bytes, ..., float64. f2 is float16, b2 bfloat16.
CODES = dict(zip(NAMES, ["?", "u1", "i1", "i2", "i4", "i8", "f2", "b2", "f4", "f8"], strict=True))
PAIRS = """
    ?  u1 i1 i2 i4 i8 f2 b2 f4 f8
    u1 u1 i2 i2 i4 i8 f2 b2 f4 f8
    i1 i2 i1 i2 i4 i8 f2 b2 f4 f8
    i2 i2 i2 i2 i4 i8 f2 b2 f4 f8
    i4 i4 i4 i4 i4 i8 f2 b2 f4 f8
    i8 i8 i8 i8 i8 i8 f2 b2 f4 f8
    f2 f2 f2 f2 f2 f2 f2 f4 f4 f8
    b2 b2 b2 b2 b2 b2 f4 b2 f4 f8
    f4 f4 f4 f4 f4 f4 f4 f4 f4 f8
    f8 f8 f8 f8 f8 f8 f8 f8 f8 f8
"""
# The same of a vector and, across, a tensor without dimensions, which has no more than a category.
WITH_NUMBERS = """
    ?  u1 i1 i2 i4 i8 f2 b2 f4 f8
    u1 u1 u1 u1 u1 u1 f2 b2 f4 f8
    i1 i1 i1 i1 i1 i1 f2 b2 f4 f8
    i2 i2 i2 i2 i2 i2 f2 b2 f4 f8
    i4 i4 i4 i4 i4 i4 f2 b2 f4 f8
    i8 i8 i8 i8 i8 i8 f2 b2 f4 f8
    f2 f2 f2 f2 f2 f2 f2 f2 f2 f2
    b2 b2 b2 b2 b2 b2 b2 b2 b2 b2
    f4 f4 f4 f4 f4 f4 f4 f4 f4 f4
    f8 f8 f8 f8 f8 f8 f8 f8 f8 f8
"""


def table(result: Any) -> list[list[str]]:
    return [[CODES[str(result(getattr(torch, a), getattr(torch, b)))] for b in NAMES] for a in NAMES]


def test_promotion_by_table() -> None:
    expected = [line.split() for line in PAIRS.strip().splitlines()]
    ones = lambda shape, dtype: torch.ones(shape, dtype=dtype)  # noqa: E731
    assert table(torch.promote_types) == expected
    for shapes in (((2,), (2,)), ((), ())):
        assert table(lambda a, b, s=shapes: torch.result_type(ones(s[0], a), ones(s[1], b))) == expected
        assert table(lambda a, b, s=shapes: (ones(s[0], a) * ones(s[1], b)).dtype) == expected
        divided = [["f4" if code[0] in "?ui" else code for code in row] for row in expected]
        assert table(lambda a, b, s=shapes: (ones(s[0], a) / ones(s[1], b)).dtype) == divided
    expected = [line.split() for line in WITH_NUMBERS.strip().splitlines()]
    assert table(lambda a, b: torch.result_type(ones((2,), a), ones((), b))) == expected
    assert table(lambda a, b: torch.result_type(ones((), b), ones((2,), a))) == expected
    assert table(lambda a, b: torch.maximum(ones((), b), ones((2,), a)).dtype) == expected


@pytest.mark.parametrize(("number", "least"), [(True, "?"), (2, "i8"), (2.5, "f4")])
def test_promotion_with_python_numbers(number: Any, least: str) -> None:
    """A number widens what is of a lower category, nothing else."""
    for name, code in CODES.items():
        lower = "?iuf".index(code[0].replace("b", "f").replace("u", "i")) < "?iuf".index(least[0])
        expected = least if lower else code
        x = torch.ones(2, dtype=getattr(torch, name))
        results = [torch.result_type(x, number), torch.result_type(number, x), (x * number).dtype, (number * x).dtype]
        assert [CODES[str(dtype)] for dtype in results] == [expected] * 4, name


@pytest.mark.oracle
def test_the_tables_are_pytorchs() -> None:
    import torch as theirs

    def table(result: Any) -> list[list[str]]:
        dtypes = [getattr(theirs, name) for name in NAMES]
        return [[CODES[str(result(a, b)).removeprefix("torch.")] for b in dtypes] for a in dtypes]

    assert table(theirs.promote_types) == [line.split() for line in PAIRS.strip().splitlines()]
    ones = lambda shape, dtype: theirs.ones(shape, dtype=dtype)  # noqa: E731
    mixed = table(lambda a, b: theirs.result_type(ones((2,), a), ones((), b)))
    assert mixed == [line.split() for line in WITH_NUMBERS.strip().splitlines()]


def test_as_dtype() -> None:
    from tinytorch.dtypes import as_dtype, is_floating

    given = [bool, int, float, "int8", np.float16, np.dtype("float64"), torch.bfloat16]
    assert [str(as_dtype(what)) for what in given] == [
        "bool", "int64", "float32", "int8", "float16", "float64", "bfloat16"
    ]  # fmt: skip
    assert [name for name in NAMES if is_floating(getattr(torch, name))] == list(NAMES[6:])


def test_limits_of_every_dtype() -> None:
    for name, digits, largest in (("float16", 10, 65504.0), ("bfloat16", 7, 2.0**127 * (2 - 2.0**-7))):
        limits = torch.finfo(getattr(torch, name))
        assert (float(limits.eps), float(limits.max), float(limits.min)) == (2.0**-digits, largest, -largest)
    assert float(torch.finfo(float).tiny) == 2.0**-126
    limits = torch.iinfo(int)
    assert (limits.bits, limits.min, limits.max) == (64, -(2**63), 2**63 - 1)


def test_the_device() -> None:
    from tinytorch.dtypes import CPU, check_device

    assert CPU == torch.device("cpu") == torch.device("cpu:0") == "cpu"
    assert (repr(CPU), CPU.type, torch.device().type) == ("device(type='cpu')", "cpu", "cpu")
    for known in (None, "cpu", "cpu:0", CPU):
        check_device(known)
    for unknown in ("cuda", "cuda:0", "gpu", ""):
        with pytest.raises(RuntimeError, match="is not available: tinytorch computes on the CPU"):
            check_device(unknown)
    assert (torch.cuda.is_available(), torch.cuda.device_count()) == (False, 0)
    torch.cuda.manual_seed_all(0)
    assert not (torch.backends.mps.is_available() or torch.backends.mps.is_built())
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)
