"""A Tensor as an array, as Python numbers, in another dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch as torch

METHODS = {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "long": "int64", "int": "int32",
    "bool": "bool",
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_named_after_a_dtype(name: str) -> None:
    for start in (torch.float32, torch.int64, torch.bool):
        x = torch.tensor([0, 1, 1], dtype=start)
        y = getattr(x, name)()
        assert str(y.dtype) == METHODS[name] and y.double().tolist() == [0, 1, 1]
        assert (y is x) == (str(start) == METHODS[name])  # itself where nothing changes


def test_to() -> None:
    x = torch.tensor([1.5, -2.5])
    assert x.to(torch.float32) is x.to() is x.to("cpu") is x.to(device="cpu") is x.to(x) is x.cpu() is x
    for y in (x.to(torch.int64), x.to(dtype=torch.int64), x.to("cpu", torch.int64), x.to(torch.tensor(1)), x.to(int)):
        assert y.dtype == torch.int64 and y.tolist() == [1, -2]
    assert x.to("float64").dtype == x.to(device="cpu", dtype="float64").dtype == torch.float64
    copied = x.to(torch.float32, copy=True)
    assert copied is not x and copied.tolist() == x.tolist() and not np.shares_memory(copied.array, x.array)
    assert x.to(copy=False) is x
    for device in ("cuda", "cuda:1", "float99"):
        with pytest.raises(RuntimeError, match="is not available"):
            x.to(device)
    with pytest.raises(RuntimeError, match="is not available"):
        x.to(torch.float64, device="cuda")


def test_type() -> None:
    x = torch.tensor([1.5])
    assert (x.type(), x.long().type(), x.bool().type()) == ("torch.float32", "torch.int64", "torch.bool")
    assert x.type(torch.float64).dtype == torch.float64
    assert x.type_as(torch.tensor(1, dtype=torch.int32)).dtype == torch.int32
    assert x.type_as(x) is x


def test_a_conversion_has_a_gradient_in_the_first_dtype() -> None:
    x = torch.tensor([1.5, 2.5], requires_grad=True)
    (x.double() * torch.tensor([3.0, 4.0], dtype=torch.float64)).sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.float32 and x.grad.tolist() == [3, 4]
    assert not x.long().requires_grad and x.half().requires_grad


def test_numpy() -> None:
    x = torch.tensor([1.0, 2.0])
    array = x.numpy()
    assert array is not x.array and np.shares_memory(array, x.array)
    x.requires_grad_()
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        x.numpy()
    assert np.shares_memory(x.numpy(force=True), x.array)
    x = x.detach()
    assert np.shares_memory(np.asarray(x), x.array) and np.shares_memory(np.array(x, copy=False), x.array)
    assert not np.shares_memory(np.array(x), x.array)
    assert np.asarray(x, np.float64).dtype == np.float64
    assert np.shares_memory(np.asarray(x, np.float32), x.array)


@pytest.mark.parametrize(
    ("value", "dtype", "kind"),
    [(3, "int8", int), (True, "bool", bool), *((1.5, name, float) for name in ("float16", "bfloat16", "float64"))],
)
def test_one_element(value: Any, dtype: str, kind: type) -> None:
    for shape in ((), (1,), (1, 1)):
        x = torch.full(shape, value, dtype=getattr(torch, dtype))
        assert x.item() == value and type(x.item()) is kind
        assert float(x) == float(value) and type(float(x)) is float
        assert int(x) == int(value) and type(int(x)) is int
        assert bool(x) is True and bool(x * 0) is False
        expected: Any = value
        for _ in shape:
            expected = [expected]
        assert x.tolist() == expected


@pytest.mark.parametrize("shape", [(0,), (2,), (1, 2)])
def test_of_more_or_less_than_one_element_there_is_no_number(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, dtype=torch.int64)
    for number, error, message in (
        (torch.Tensor.item, RuntimeError, "elements cannot be converted to Scalar"),
        (bool, RuntimeError, "is ambiguous: use any"),
        (float, ValueError, "only one element tensors"),
        (int, ValueError, "only one element tensors"),
        (lambda x: range(9)[x], TypeError, "only integer tensors of a single element"),
    ):
        with pytest.raises(error, match=message):
            number(x)


def test_as_an_index() -> None:
    for dtype in (torch.int64, torch.uint8, torch.bool):
        assert range(9)[torch.tensor([1], dtype=dtype)] == 1
    with pytest.raises(TypeError, match="only integer tensors"):
        range(9)[torch.tensor(1.0)]


def test_lists() -> None:
    assert torch.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert torch.tensor([[1.5], [2.5]], dtype=torch.bfloat16).tolist() == [[1.5], [2.5]]
    assert torch.zeros(2, 0).tolist() == [[], []]


def test_formats_and_membership() -> None:
    assert f"{torch.tensor(2.5):.3f}" == "2.500" and f"{torch.tensor(7):>3}" == "  7"
    with pytest.raises(TypeError, match="format"):
        f"{torch.tensor([2.5]):.3f}"
    assert f"{torch.tensor([2.5])}" == "tensor([2.5000])"
    x = torch.tensor([1, 2])
    assert 2 in x and 3 not in x and torch.tensor(1) in x and (x in x)


def test_what_numpy_makes_of_a_tensor_is_a_tensor() -> None:
    y = np.sqrt(torch.tensor([4.0, 9.0]))
    assert type(y) is torch.Tensor and y.tolist() == [2, 3]
