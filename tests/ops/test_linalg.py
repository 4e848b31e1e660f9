"""matmul of every combination of ranks, and einsum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinytorch
from tests.ops.checks import assert_same_error, compare_with_torch

RNG = np.random.default_rng(0)
LEFT = [(4,), (3, 4), (2, 3, 4), (5, 2, 3, 4), (1, 1, 3, 4), (2, 1, 3, 4)]
RIGHT = [(4,), (4, 6), (2, 4, 6), (5, 2, 4, 6), (1, 4, 6), (2, 4, 1)]


def fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        return False
    return True


PAIRS = [(a, b) for a in LEFT for b in RIGHT if fits(a, b)]


@pytest.mark.parametrize("a, b", PAIRS, ids=str)
def test_matmul_as_numpy(a: Any, b: Any) -> None:
    x, y = RNG.standard_normal(a), RNG.standard_normal(b)
    np.testing.assert_allclose(
        (tinytorch.from_numpy(x) @ tinytorch.from_numpy(y)).numpy(), x @ y, rtol=1e-12, atol=1e-12
    )
    ints = (x * 5).astype(np.int64), (y * 5).astype(np.int64)
    np.testing.assert_array_equal(
        (tinytorch.from_numpy(ints[0]) @ tinytorch.from_numpy(ints[1])).numpy(), ints[0] @ ints[1]
    )


@pytest.mark.oracle
@pytest.mark.parametrize("a, b", PAIRS, ids=str)
def test_matmul_as_pytorch(a: Any, b: Any) -> None:
    compare_with_torch(lambda t, x, y: t.matmul(x, y), [RNG.standard_normal(a), RNG.standard_normal(b)], second=True)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_matmul_of_other_floats(dtype: str) -> None:
    x, y = RNG.standard_normal((3, 4)).astype(dtype), RNG.standard_normal((4, 2)).astype(dtype)
    compare_with_torch(lambda t, x, y: (x @ y, t.nn.functional.linear(x, y.mT)), [x, y])


@pytest.mark.oracle
@pytest.mark.parametrize(
    "call, a, b",
    [
        (lambda t, x, y: t.mm(x, y), (2, 3), (3, 4)),
        (lambda t, x, y: t.bmm(x, y), (5, 2, 3), (5, 3, 4)),
        (lambda t, x, y: t.mv(x, y), (2, 3), (3,)),
        (lambda t, x, y: t.dot(x, y), (3,), (3,)),
        (lambda t, x, y: t.outer(x, y), (3,), (2,)),
        (lambda t, x, y: x @ y, (0, 3), (3, 2)),
        (lambda t, x, y: x @ y, (2, 0), (0, 3)),
        (lambda t, x, y: x @ y, (0,), (0,)),
        (lambda t, x, y: x @ y, (0, 2, 3), (3, 2)),
        (lambda t, x, y: x.mT @ y.mT, (3, 2), (4, 3)),
    ],
)
def test_products_as_pytorch(call: Any, a: Any, b: Any) -> None:
    compare_with_torch(call, [RNG.standard_normal(a), RNG.standard_normal(b)], second=True)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "call, a, b",
    [
        (lambda t, x, y: x @ y, (2, 3), (2, 3)),
        (lambda t, x, y: x @ y, (), (3,)),
        (lambda t, x, y: x @ y, (3,), (4,)),
        (lambda t, x, y: x @ y, (2, 3, 4), (5, 4, 2)),
        (lambda t, x, y: t.mm(x, y), (2, 3, 4), (4, 2)),
        (lambda t, x, y: t.bmm(x, y), (2, 3, 4), (1, 4, 2)),
        (lambda t, x, y: t.mv(x, y), (2, 3), (3, 1)),
        (lambda t, x, y: t.dot(x, y), (2, 3), (3,)),
        (lambda t, x, y: t.dot(x, y), (2,), (3,)),
        (lambda t, x, y: t.outer(x, y), (2, 1), (3,)),
        (lambda t, x, y: x @ y.float(), (2, 3), (3, 2)),
        (lambda t, x, y: t.nn.functional.linear(x, y), (2, 3), (2, 4)),
        (lambda t, x, y: t.einsum("ij,jk->ik", x, y), (2, 3), (4, 2)),
        (lambda t, x, y: t.einsum("ij->ij", x, y), (2, 3), (4, 2)),
        (lambda t, x, y: t.einsum("ijk,jk->ik", x, y), (2, 3), (3, 2)),
        (lambda t, x, y: t.einsum("ij,jk->iz", x, y), (2, 3), (3, 2)),
        (lambda t, x, y: t.einsum("ij,jk->ii", x, y), (2, 3), (3, 2)),
        (lambda t, x, y: t.einsum("i1,jk->ik", x, y), (2, 3), (3, 2)),
    ],
)
def test_errors_are_pytorchs(call: Any, a: Any, b: Any) -> None:
    assert_same_error(call, [RNG.standard_normal(a), RNG.standard_normal(b)])


EQUATIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ji,jk", [(3, 2), (3, 4)]),
    ("ba,ac", [(2, 3), (3, 4)]),
    ("bthd,bshd->bhts", [(2, 3, 2, 4), (2, 5, 2, 4)]),
    ("bhts,bshd->bthd", [(2, 2, 3, 5), (2, 5, 2, 4)]),
    ("...ij,...jk->...ik", [(2, 5, 3, 4), (5, 4, 2)]),
    ("...ij,jk->...ik", [(2, 5, 3, 4), (4, 2)]),
    ("i...,i...->...", [(3, 2, 4), (3, 1, 4)]),
    ("...", [(2, 3)]),
    ("...->", [(2, 3)]),
    ("i->", [(3,)]),
    ("ij->ji", [(2, 3)]),
    ("ji", [(2, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("iij->j", [(3, 3, 2)]),
    ("iji->j", [(3, 2, 3)]),
    ("ii,ij->j", [(3, 3), (3, 2)]),
    ("i,j->ij", [(2,), (3,)]),
    ("i,i", [(3,), (3,)]),
    ("ij,ij->", [(2, 3), (2, 3)]),
    ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("ij,ij->j", [(2, 3), (2, 3)]),
    ("ij,k->ik", [(2, 3), (4,)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
    ("i,i,i->i", [(3,), (3,), (3,)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("ij,ij->ij", [(2, 1), (1, 3)]),
    ("ij,jk->ijk", [(2, 1), (3, 4)]),
    (",i->i", [(), (3,)]),
    (" i j , j -> i ", [(2, 3), (3,)]),
    ("Ab,bC->CA", [(2, 3), (3, 4)]),
    ("ij,jk->ik", [(2, 0), (0, 3)]),
    ("ij->j", [(0, 3)]),
    ("ij,ij->i", [(0, 3), (1, 3)]),
    ("ij,j->i", [(2, 0), (1,)]),
    ("...i,...i->...", [(12, 2, 3), (2, 3)]),
    ("b...d,b...d->b...", [(2, 3, 4, 5), (2, 3, 4, 5)]),
]


@pytest.mark.parametrize("equation, shapes", EQUATIONS, ids=lambda value: str(value).replace(" ", ""))
def test_einsum_as_numpy(equation: str, shapes: Any) -> None:
    arrays = [RNG.standard_normal(shape) for shape in shapes]
    y = tinytorch.einsum(equation, *[tinytorch.from_numpy(a) for a in arrays])
    # NumPy wants the ellipsis in the output.
    expected = np.sum(arrays[0]) if equation == "...->" else np.einsum(equation, *arrays)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("equation, shapes", EQUATIONS, ids=lambda value: str(value).replace(" ", ""))
def test_einsum_as_pytorch(equation: str, shapes: Any) -> None:
    arrays = [RNG.standard_normal(shape) for shape in shapes]
    compare_with_torch(lambda t, *xs: t.einsum(equation, *xs), arrays, second=True)


@given(st.data())
def test_einsum_of_any_letters(data: Any) -> None:
    sizes = {"a": 2, "b": 3, "c": 1, "d": 4}
    terms = data.draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    present = sorted(set("".join(terms)))
    output = "".join(data.draw(st.permutations(present))[: data.draw(st.integers(0, len(present)))])
    arrays = [RNG.standard_normal([sizes[n] for n in term]) for term in terms]
    equation = ",".join(terms) + "->" + output
    y = tinytorch.einsum(equation, *[tinytorch.from_numpy(np.asarray(a)) for a in arrays])
    np.testing.assert_allclose(y.numpy(), np.einsum(equation, *arrays), rtol=1e-10, atol=1e-10)
