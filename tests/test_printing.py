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
    # where the format changes: a thousand times as large, 1e8, 1e-4, a line of 80 characters, 1000 elements
    (lambda t: t.tensor([0.1, 0.25]), "tensor([0.1000, 0.2500])"),
    (lambda t: t.tensor([1000.5, 1.0]), "tensor([1.0005e+03, 1.0000e+00])"),
    (lambda t: t.tensor([1000.5, 1.0005]), "tensor([1.0005e+03, 1.0005e+00])"),
    (lambda t: t.tensor([1001.5, 1.0]), "tensor([1.0015e+03, 1.0000e+00])"),
    (lambda t: t.tensor([1e8, 1.0]), "tensor([1.0000e+08, 1.0000e+00])"),
    (lambda t: t.tensor([1e8, 2e8]), "tensor([1.0000e+08, 2.0000e+08])"),
    (lambda t: t.tensor([1.1e8, 2e8]), "tensor([1.1000e+08, 2.0000e+08])"),
    (lambda t: t.tensor([1e-4, 1.5e-4]), "tensor([1.0000e-04, 1.5000e-04])"),
    (lambda t: t.tensor([9e-5, 1.5e-4]), "tensor([9.0000e-05, 1.5000e-04])"),
    (lambda t: t.tensor([0.0, 1.5e-5]), "tensor([0.0000e+00, 1.5000e-05])"),
    (lambda t: t.tensor([0.0, 0.0]), "tensor([0., 0.])"),
    (lambda t: t.tensor([nan, 2.0]), "tensor([nan, 2.])"),
    (lambda t: t.tensor([nan, 1e9]), "tensor([       nan, 1.0000e+09])"),
    (lambda t: t.tensor([inf, 0.5]), "tensor([   inf, 0.5000])"),
    (lambda t: t.tensor(-inf), "tensor(-inf)"),
    (lambda t: t.tensor(1e9), "tensor(1.0000e+09)"),
    (lambda t: t.tensor(1e-9), "tensor(1.0000e-09)"),
    (lambda t: t.tensor(12345.678), "tensor(12345.6777)"),
    (lambda t: t.tensor(0.00012), "tensor(0.0001)"),
    (lambda t: t.tensor(-0.0), "tensor(-0.)"),
    (lambda t: t.tensor([-1.0, 100.0, 1000.0]), "tensor([  -1.,  100., 1000.])"),
    (lambda t: t.tensor([-0.5, 10.25]), "tensor([-0.5000, 10.2500])"),
    (lambda t: t.tensor(True), "tensor(True)"),
    (lambda t: t.tensor([5, -17]), "tensor([  5, -17])"),
    (lambda t: t.tensor([], dtype=t.float64), "tensor([], dtype=torch.float64)"),
    (lambda t: t.zeros(0, 2, dtype=t.int64), "tensor([], size=(0, 2), dtype=torch.int64)"),
    (lambda t: t.zeros(2, 0, 3, requires_grad=True), "tensor([], size=(2, 0, 3), requires_grad=True)"),
    (lambda t: t.arange(1000).reshape(500, 2)[-2:], "tensor([[996, 997],\n        [998, 999]])"),
    (
        lambda t: t.arange(1000)[:30],
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
        "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])",
    ),
    (
        lambda t: t.arange(21) * 1000,
        "tensor([    0,  1000,  2000,  3000,  4000,  5000,  6000,  7000,  8000,  9000,\n"
        "        10000, 11000, 12000, 13000, 14000, 15000, 16000, 17000, 18000, 19000,\n"
        "        20000])",
    ),
    (
        lambda t: t.ones(27),
        "tensor([1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.,\n"
        "        1., 1., 1., 1., 1., 1., 1., 1., 1.])",
    ),
    (lambda t: t.arange(7.0).reshape(7, 1, 1)[:2], "tensor([[[0.]],\n\n        [[1.]]])"),
    (
        lambda t: t.arange(1001).reshape(7, 143),
        "tensor([[   0,    1,    2,  ...,  140,  141,  142],\n"
        "        [ 143,  144,  145,  ...,  283,  284,  285],\n"
        "        [ 286,  287,  288,  ...,  426,  427,  428],\n"
        "        ...,\n"
        "        [ 572,  573,  574,  ...,  712,  713,  714],\n"
        "        [ 715,  716,  717,  ...,  855,  856,  857],\n"
        "        [ 858,  859,  860,  ...,  998,  999, 1000]])",
    ),
    (
        lambda t: t.arange(1029).reshape(3, 343),
        "tensor([[   0,    1,    2,  ...,  340,  341,  342],\n"
        "        [ 343,  344,  345,  ...,  683,  684,  685],\n"
        "        [ 686,  687,  688,  ..., 1026, 1027, 1028]])",
    ),
    (lambda t: t.tensor([1e-4, 1.0], dtype=t.float16), "tensor([1.0002e-04, 1.0000e+00], dtype=torch.float16)"),
    (lambda t: t.ones(2, dtype=t.int32), "tensor([1, 1], dtype=torch.int32)"),
    (
        lambda t: t.ones(11, dtype=t.float64) * 1.5,
        "tensor([1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000,\n"
        "        1.5000, 1.5000], dtype=torch.float64)",
    ),
    (
        lambda t: t.ones(10, dtype=t.float64) * 1.5,
        "tensor([1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000,\n"
        "        1.5000], dtype=torch.float64)",
    ),
    (
        lambda t: t.ones(8, dtype=t.float64) * 1.25,
        "tensor([1.2500, 1.2500, 1.2500, 1.2500, 1.2500, 1.2500, 1.2500, 1.2500],\n"
        "       dtype=torch.float64)",
    ),
    (
        lambda t: t.ones(7, dtype=t.float64, requires_grad=True) * 1.25,
        "tensor([1.2500, 1.2500, 1.2500, 1.2500, 1.2500, 1.2500, 1.2500],\n"
        "       dtype=torch.float64, grad_fn=<MulBackward0>)",
    ),
    (lambda t: t.tensor([[1.0, nan], [inf, -2.5]]), "tensor([[ 1.0000,     nan],\n        [    inf, -2.5000]])"),
    (lambda t: t.tensor([3, 4], dtype=t.int8), "tensor([3, 4], dtype=torch.int8)"),
    (lambda t: t.tensor(np.array([1e-4, 1.5e-4])), "tensor([0.0001, 0.0001], dtype=torch.float64)"),
    (lambda t: t.tensor([1500.0, 1.5]), "tensor([1500.0000,    1.5000])"),
    (lambda t: t.tensor([1e8, 1e8]), "tensor([100000000., 100000000.])"),
    (lambda t: t.tensor([1e8, 1e5]), "tensor([100000000.,    100000.])"),
    (lambda t: t.tensor([[0.5, -inf], [nan, 0.0]]), "tensor([[0.5000,   -inf],\n        [   nan, 0.0000]])"),
    (lambda t: t.arange(7).reshape(1, 7, 1)[:, :2], "tensor([[[0],\n         [1]]])"),
    (
        lambda t: t.ones(25, dtype=t.int16),
        "tensor([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,\n"
        "        1], dtype=torch.int16)",
    ),
    (
        lambda t: t.ones(3, dtype=t.bfloat16, requires_grad=True),
        "tensor([1., 1., 1.], dtype=torch.bfloat16, requires_grad=True)",
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
