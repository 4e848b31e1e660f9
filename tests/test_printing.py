"""repr of Tensors: a table of what PyTorch prints, and random tensors beside PyTorch itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch
from tinytorch.engine.tensor import wrap

Array = np.ndarray[Any, Any]

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
        assert repr(tinytorch.zeros(0, dtype=tinytorch.float32)) == "tensor([], dtype=torch.float32)"
    finally:
        tinytorch.set_default_dtype(tinytorch.float32)


@pytest.fixture
def default_options() -> Iterator[None]:
    yield
    tinytorch.set_printoptions(profile="default")


# (what is set, make, what PyTorch 2.13 prints)
OPTIONS: tuple[tuple[dict[str, Any], Any, str], ...] = (
    ({"precision": 2}, lambda t: t.tensor([1.12345, -10.0]), "tensor([  1.12, -10.00])"),
    ({"precision": 0}, lambda t: t.tensor([1.75, 2.25]), "tensor([2, 2])"),
    ({"threshold": 5}, lambda t: t.arange(10), "tensor([0, 1, 2,  ..., 7, 8, 9])"),
    ({"threshold": 10}, lambda t: t.arange(10), "tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])"),
    ({"threshold": 0}, lambda t: t.tensor([1.5, 2.0]), "tensor([1.5000, 2.0000])"),
    ({"threshold": 0, "edgeitems": 1}, lambda t: t.arange(10), "tensor([0,  ..., 9])"),
    ({"threshold": 0, "edgeitems": 0}, lambda t: t.arange(10), "tensor([...], size=(10,))"),
    ({"threshold": 0, "edgeitems": 0}, lambda t: t.ones(2, 3), "tensor([...], size=(2, 3))"),
    ({"edgeitems": 0}, lambda t: t.ones(3), "tensor([1., 1., 1.], size=(3,))"),
    ({"linewidth": 20}, lambda t: t.arange(7), "tensor([0, 1, 2, 3,\n        4, 5, 6])"),
    (
        {"linewidth": 5},
        lambda t: t.ones(2, dtype=t.float64, requires_grad=True),
        "tensor([1.,\n        1.],\n       dtype=torch.float64,\n       requires_grad=True)",
    ),
    (  # on a line of its own, a note is counted without the comma before it: this one has 52 characters
        {"linewidth": 51},
        lambda t: t.ones(5, dtype=t.float64, requires_grad=True) * 1.25,
        "tensor([1.2500, 1.2500, 1.2500, 1.2500, 1.2500],\n       dtype=torch.float64, grad_fn=<MulBackward0>)",
    ),
    ({"profile": "short"}, lambda t: t.tensor([0.12345]), "tensor([0.12])"),
    ({"profile": "short"}, lambda t: t.arange(1001), "tensor([   0,    1,  ...,  999, 1000])"),
    ({"profile": "short", "precision": 3}, lambda t: t.tensor([0.12345]), "tensor([0.123])"),
    ({"sci_mode": True}, lambda t: t.tensor([1.0, 0.25]), "tensor([1.0000e+00, 2.5000e-01])"),
    ({"sci_mode": True}, lambda t: t.tensor([0.0, nan]), "tensor([0., nan])"),
    ({"sci_mode": True}, lambda t: t.tensor([-0.0, 2.0]), "tensor([-0.0000e+00, 2.0000e+00])"),
    ({"sci_mode": False}, lambda t: t.tensor([1e-6, 1.0]), "tensor([0.0000, 1.0000])"),
    ({"sci_mode": False}, lambda t: t.tensor([1e9, 1.0]), "tensor([1000000000.,          1.])"),
)


@pytest.mark.parametrize(("chosen", "make", "expected"), OPTIONS)
def test_options(chosen: dict[str, Any], make: Any, expected: str, default_options: None) -> None:
    tinytorch.set_printoptions(**chosen)
    assert repr(make(tinytorch)) == expected


@pytest.mark.oracle
@pytest.mark.parametrize(("chosen", "make", "expected"), OPTIONS)
def test_options_are_what_pytorch_prints(chosen: dict[str, Any], make: Any, expected: str) -> None:
    import torch

    torch.set_printoptions(**chosen)
    try:
        assert repr(make(torch)) == expected
    finally:
        torch.set_printoptions(profile="default")


def test_options_stay_until_set_again(default_options: None) -> None:
    tinytorch.set_printoptions(precision=1, sci_mode=True)
    assert repr(tinytorch.tensor([0.25])) == "tensor([2.5e-01])"
    tinytorch.set_printoptions(linewidth=60)  # as in PyTorch, sci_mode is chosen by each call, and nothing else is
    assert repr(tinytorch.tensor([0.25])) == "tensor([0.2])"
    tinytorch.set_printoptions(profile="full")
    assert repr(tinytorch.tensor([0.25])) == "tensor([0.2500])"
    assert "..." not in repr(tinytorch.arange(1001))
    tinytorch.set_printoptions(profile="default")
    assert "..." in repr(tinytorch.arange(1001))


def test_wrong_options_are_refused_and_change_nothing(default_options: None) -> None:
    with pytest.raises(ValueError, match="profile must be one of 'default', 'short', 'full', got 'long'"):
        tinytorch.set_printoptions(precision=1, profile="long")
    with pytest.raises(ValueError, match="precision must not be negative, got -1"):
        tinytorch.set_printoptions(edgeitems=1, precision=-1)
    with pytest.raises(TypeError, match="linewidth must be a number, got '80'"):
        tinytorch.set_printoptions(precision=1, linewidth="80")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float"):
        tinytorch.set_printoptions(precision=2.5)  # type: ignore[arg-type]
    assert repr(tinytorch.tensor([0.25])) == "tensor([0.2500])"


def printed_subclasses(t: Any) -> list[str]:
    class Mine(t.Tensor):  # type: ignore[misc]
        pass

    class Weight(t.nn.Parameter):  # type: ignore[misc]
        pass

    return [repr(x) for x in (Mine([1.0, 2.0]), t.nn.Parameter(t.ones(2)), t.nn.Parameter(t.ones(()), False))] + [
        repr(Weight(t.ones(2, 2)))
    ]


SUBCLASSES = [
    "Mine([1., 2.])",
    "Parameter containing:\ntensor([1., 1.], requires_grad=True)",
    "Parameter containing:\ntensor(1.)",
    "Parameter containing:\nParameter(Weight([[1., 1.],\n        [1., 1.]], requires_grad=True))",
]


def test_subclasses_print_under_their_own_name() -> None:
    assert printed_subclasses(tinytorch) == SUBCLASSES


@pytest.mark.oracle
def test_subclasses_print_as_in_pytorch() -> None:
    import torch

    assert printed_subclasses(torch) == SUBCLASSES


@pytest.mark.filterwarnings("error")
def test_a_signalling_nan_prints_without_a_warning() -> None:
    array = np.array([0x7F800001], np.uint32).view(np.float32)
    assert repr(tinytorch.from_numpy(array)) == "tensor([nan])"


def test_a_view_without_a_valid_history_prints() -> None:
    base = tinytorch.ones(3)
    with tinytorch.no_grad():
        view = base[:2]
    base.mul_(tinytorch.ones(3, requires_grad=True))
    assert repr(view) == "tensor([1., 1.], grad_fn=<Invalid>)"


def chosen_options() -> st.SearchStrategy[dict[str, Any]]:
    """Mostly the defaults."""
    some = st.fixed_dictionaries(
        {},
        optional={
            "precision": st.integers(0, 9),
            "threshold": st.sampled_from([0, 1, 7, 100, inf]),
            "edgeitems": st.integers(0, 4),
            "linewidth": st.sampled_from([1, 9, 20, 40, 50, 120]),
            "profile": st.sampled_from(["default", "short", "full"]),
            "sci_mode": st.sampled_from([True, False, None]),
        },
    )
    return st.one_of(st.just({}), some)


@st.composite
def arrays(draw: Any) -> Array:
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 7, 8, 30]), max_size=3)))
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
@settings(max_examples=300, deadline=None)
@given(arrays(), st.sampled_from(["", "leaf", "result", "view", "parameter"]), chosen_options())
def test_random_tensors_print_as_in_pytorch(array: Array, history: str, chosen: dict[str, Any]) -> None:
    import torch

    texts = []
    for t in (torch, tinytorch):
        x: Any = t.tensor(array)
        if history and array.dtype.kind == "f":
            x.requires_grad_()
            x = x * 1 if history == "result" else t.nn.Parameter(x) if history == "parameter" else x
        if history == "view" and array.ndim > 1:
            x = x.transpose(0, 1)
        texts.append(printed(t, x, chosen))
    assert texts[1] == texts[0]


def printed(t: Any, x: Any, chosen: dict[str, Any]) -> str:
    try:
        t.set_printoptions(**chosen)
        return repr(x)
    finally:
        t.set_printoptions(profile="default")


DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
)


@pytest.mark.oracle
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=4), st.integers(0, 2**32 - 1), chosen_options())
def test_every_dtype_and_pattern_of_bits_prints_as_in_pytorch(
    name: str, shape: list[int], seed: int, chosen: dict[str, Any]
) -> None:
    import torch

    dtype = np.dtype(getattr(ml_dtypes, name, name))
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(seed).integers(0, 2 if name == "bool" else 256, size).astype(np.uint8)
    ours = wrap(raw.view(dtype).reshape(shape))  # float8 comes from files alone
    kind = getattr(torch, name)
    theirs = torch.from_numpy(raw).view(kind).reshape(shape) if size else torch.empty(shape, dtype=kind)
    assert printed(tinytorch, ours, chosen) == printed(torch, theirs, chosen)
