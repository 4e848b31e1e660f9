"""repr of Tensors: a table of what PyTorch prints, and random tensors beside PyTorch itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch

nan, inf = float("nan"), float("inf")

# (make, what PyTorch 2.13 prints)
CASES = (
    (lambda t: t.tensor([1, 22, -333]), "tensor([   1,   22, -333])"),
    (lambda t: t.tensor([1.5, -22.25]), "tensor([  1.5000, -22.2500])"),
    (lambda t: t.tensor([1.0, -2.0, 30.0]), "tensor([ 1., -2., 30.])"),
    (lambda t: t.tensor([1e5, 2.0]), "tensor([1.0000e+05, 2.0000e+00])"),
    (lambda t: t.tensor([1e-5, 1.0]), "tensor([1.0000e-05, 1.0000e+00])"),
    (lambda t: t.tensor([1.5e9]), "tensor([1.5000e+09])"),
    (lambda t: t.tensor([nan, 1.5]), "tensor([   nan, 1.5000])"),
    (lambda t: t.tensor([inf, 1.0, -inf]), "tensor([inf, 1., -inf])"),
    (lambda t: t.tensor([-0.0, 0.0]), "tensor([-0., 0.])"),
    (lambda t: t.tensor([]), "tensor([])"),
    (lambda t: t.zeros(0, 3), "tensor([], size=(0, 3))"),
    (lambda t: t.zeros(0, dtype=t.int64), "tensor([], dtype=torch.int64)"),
    (lambda t: t.tensor(1.5), "tensor(1.5000)"),
    (lambda t: t.tensor(3), "tensor(3)"),
    (lambda t: t.tensor(3.0), "tensor(3.)"),
    (lambda t: t.tensor([True, False]), "tensor([ True, False])"),
    (lambda t: t.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
    (lambda t: t.ones(2, requires_grad=True) * 2, "tensor([2., 2.], grad_fn=<MulBackward0>)"),
    (lambda t: t.ones(1, dtype=t.float64), "tensor([1.], dtype=torch.float64)"),
    (lambda t: t.tensor([1.5, 2.0], dtype=t.bfloat16), "tensor([1.5000, 2.0000], dtype=torch.bfloat16)"),
    (lambda t: t.tensor([200], dtype=t.uint8), "tensor([200], dtype=torch.uint8)"),
    (lambda t: t.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    (lambda t: t.arange(4).reshape(1, 2, 2), "tensor([[[0, 1],\n         [2, 3]]])"),
    (lambda t: t.arange(2).reshape(2, 1, 1), "tensor([[[0]],\n\n        [[1]]])"),
    (
        lambda t: t.arange(2002.0).reshape(1001, 2) * 1e-3,
        "tensor([[0.0000e+00, 1.0000e-03],\n        [2.0000e-03, 3.0000e-03],\n        [4.0000e-03, 5.0000e-03],\n"
        "        ...,\n        [1.9960e+00, 1.9970e+00],\n        [1.9980e+00, 1.9990e+00],\n"
        "        [2.0000e+00, 2.0010e+00]])",
    ),
    (
        lambda t: t.ones(1, 8, requires_grad=True) * 1.5,
        "tensor([[1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000]],\n       grad_fn=<MulBackward0>)",
    ),
)


@pytest.mark.parametrize(("make", "expected"), CASES)
def test_table(make: Any, expected: str) -> None:
    assert repr(make(tinytorch)) == expected
    assert str(make(tinytorch)) == expected


@pytest.mark.oracle
@pytest.mark.parametrize(("make", "expected"), CASES)
def test_table_is_what_pytorch_prints(make: Any, expected: str) -> None:
    import torch

    assert repr(make(torch)) == expected


def test_the_default_dtype_is_not_named() -> None:
    tinytorch.set_default_dtype(tinytorch.float64)
    try:
        assert repr(tinytorch.tensor([1.5])) == "tensor([1.5000])"
        assert repr(tinytorch.tensor([1.5], dtype=tinytorch.float32)) == "tensor([1.5000], dtype=torch.float32)"
    finally:
        tinytorch.set_default_dtype(tinytorch.float32)


@st.composite
def arrays(draw: Any) -> np.ndarray[Any, Any]:
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 7, 8, 30]), max_size=3)))
    if draw(st.booleans()):
        shape = (*shape[:1], 200)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = rng.standard_normal(shape) * 10.0 ** draw(st.integers(-7, 9))
    kind = draw(st.sampled_from(["plain", "whole", "spread", "special"]))
    if kind == "whole":
        array = np.round(array)
    elif kind == "spread":
        array = array * 10.0 ** rng.integers(-4, 4, shape)
    elif kind == "special":
        array = np.where(rng.random(shape) < 0.3, rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0]), array)
    with np.errstate(all="ignore"):
        return np.asarray(array).astype(
            draw(st.sampled_from(["float32", "float64", "float16", "int64", "int32", "bool"]))
        )


@pytest.mark.oracle
@settings(max_examples=300)
@given(arrays(), st.sampled_from(["", "leaf", "result"]))
def test_random_tensors_print_as_in_pytorch(array: np.ndarray[Any, Any], history: str) -> None:
    import torch

    texts = []
    for t in (torch, tinytorch):
        x: Any = t.tensor(array)
        if history and array.dtype.kind == "f":
            x.requires_grad_()
            x = x * 1 if history == "result" else x
        texts.append(repr(x))
    assert texts[1] == texts[0]
