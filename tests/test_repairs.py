"""What is the matter with an array worked out by hand: each mistake is planted, and named; anything else is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinytorch.mistakes import Candidates
from tinytorch.repairs import Repair, explain

Array = np.ndarray[Any, Any]
RIGHT = np.array([[0.1234, -0.5678, 0.2468], [1.1357, 0.0864, -0.9753]])


def texts(got: Any, expected: Any, **candidates: Any) -> list[str]:
    return [str(repair) for repair in explain(got, expected, Candidates(**candidates))]


# ---------------------------------------------------------------------- worked examples


@pytest.mark.parametrize(
    ("got", "expected", "said"),
    [
        (RIGHT, RIGHT, ["right"]),
        (np.round(RIGHT, 2), RIGHT, ["right to 2 decimals"]),
        ([0.12], [0.1234], ["right to 2 decimals"]),
        (-RIGHT, RIGHT, ["the sign is wrong everywhere"]),
        (-np.round(RIGHT, 3), RIGHT, ["the sign is wrong everywhere"]),
        (RIGHT.T, RIGHT, ["it is transposed"]),
        (-RIGHT.T, RIGHT, ["the sign is wrong everywhere, and it is transposed"]),
        (RIGHT * 2, RIGHT, ["every number is 2 times what it should be"]),
        (RIGHT / 3, RIGHT, ["every number is 1/3 of what it should be"]),
        (RIGHT * 0.7313, RIGHT, ["every number is 0.7313 times what it should be"]),
        (RIGHT[::-1], RIGHT, ["the rows 0 and 1 are swapped"]),
        (RIGHT[:, [0, 2, 1]], RIGHT, ["the columns 1 and 2 are swapped"]),
        (
            np.roll(RIGHT, 1, 1),
            RIGHT,
            ["the columns are shifted by one: each stands where the next one belongs"],
        ),
        (RIGHT.reshape(6), RIGHT, ["the numbers are right, but the shape is (6,), expected (2, 3)"]),
        (
            RIGHT[:1],
            np.repeat(RIGHT[:1], 2, 0),
            ["the numbers are right, but the shape is (1, 3), expected (2, 3): it is to be expanded"],
        ),
        (RIGHT, RIGHT.sum(0), ["the sum over dimension 0 is missing"]),
        (RIGHT, RIGHT.sum(1, keepdims=True), ["the sum over dimension 1 is missing"]),
        (np.round(RIGHT, 2), RIGHT.sum(), ["the sum over dimensions 0, 1 is missing"]),
        (RIGHT, RIGHT.mean(0), ["the mean over dimension 0 is missing"]),
        (np.ones((3, 3)), RIGHT, ["the shape is (3, 3), expected (2, 3)"]),
        ([[1.0, 2.0], [3.0]], RIGHT, ["its rows are of different lengths, expected shape (2, 3)"]),
        (["a"], RIGHT, ["expected real numbers, got text"]),
        ([1j], RIGHT, ["expected real numbers, got complex numbers"]),
        ([True], [1.0], ["expected real numbers, got True and False"]),
        (np.nan, 1.5, ["it is nan and should be 1.5"]),
        ([1.0, np.inf, np.nan], [1.0, 2.5, 3.0], ["it is inf and should be 2.5 at [1], [2]"]),
        (np.zeros((0, 3)), np.zeros((0, 3)), ["right"]),
    ],
)
def test_examples(got: Any, expected: Any, said: list[str]) -> None:
    assert texts(got, expected) == said


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_the_dtype_can_hold_is_right(dtype: str) -> None:
    assert texts(RIGHT.astype(dtype), RIGHT)[0].startswith("right")
    assert texts(-RIGHT.astype(dtype), RIGHT) == ["the sign is wrong everywhere"]


def test_whole_numbers_and_single_ones() -> None:
    whole = [[3, 6, 1], [2, 4, 5], [0, 7, 8]]
    assert texts(np.transpose(whole).tolist(), whole) == ["it is transposed"]
    assert texts([[3, 6, 1], [2, 4, 5], [0, 7, 9]], whole) == ["right except for [2, 2], which is 9 and should be 8"]
    assert texts([6, 12, 2], [3, 6, 1]) == ["every number is 2 times what it should be"]
    assert texts(-0.12, 0.1234) == ["the sign is wrong everywhere"]
    assert texts(0.1234, 0.1234) == ["right"]
    assert texts(0, 0.0) == ["right"]


def test_one_wrong_cell_is_named_with_both_numbers() -> None:
    got = RIGHT.copy()
    got[1, 2] = 0.5
    assert texts(got, RIGHT) == ["right except for [1, 2], which is 0.5 and should be -0.9753"]
    got[1, 2] = -RIGHT[1, 2]
    assert texts(got, RIGHT) == ["right except for [1, 2], which is 0.9753 and should be -0.9753: the sign is wrong"]


def test_named_scales() -> None:
    scales = {"1/sqrt(D)": 1 / math.sqrt(3)}
    assert texts(RIGHT * math.sqrt(3), RIGHT, scales=scales) == ["the factor 1/sqrt(D) = 0.5774 is missing"]
    once_more = ["the factor 1/sqrt(D) = 0.5774 is there once too often"]
    assert texts(RIGHT / math.sqrt(3), RIGHT, scales=scales) == once_more
    assert texts(RIGHT * 3, RIGHT, scales=scales)[0] == "it is divided by 1/sqrt(D) = 0.5774 in place of multiplied"
    assert texts(-RIGHT * math.sqrt(3), RIGHT, scales=scales) == [
        "the sign is wrong everywhere, and the factor 1/sqrt(D) = 0.5774 is missing"
    ]


def test_paths() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 3))
    paths = {"through q": q, "through k": k, "through v": v}
    assert texts(q + v, q + k + v, summands=paths) == ["the path through k is left out"]
    assert texts(v, q + k + v, summands=paths) == ["the paths through q and through k are left out"]
    assert texts(q + k + 2 * v, q + k + v, summands=paths) == ["the path through v is counted twice"]
    assert texts(q - k + v, q + k + v, summands=paths) == ["the path through k has the wrong sign"]
    assert texts((q + v).T, q + k + v, summands=paths) == ["the path through k is left out, and it is transposed"]
    twice = {"through a": q, "through b": q.copy()}
    assert texts(q, 2 * q, summands=twice) == ["the path through a is left out", "the path through b is left out"]
    with pytest.raises(ValueError, match="the paths through q, through k do not add up to the expected array"):
        texts(q, q + k + v, summands={"through q": q, "through k": k})


def test_reductions() -> None:
    whole = np.random.default_rng(0).standard_normal((4, 4, 3))
    right = whole.sum(0)
    assert texts(whole, right, unsummed=whole) == ["the sum over dimension 0 is missing"]
    assert texts(whole[2], right, unsummed=whole) == [
        "the sum over dimension 0 is missing: it is the slice 2 of dimension 0 alone"
    ]
    assert texts(whole.mean(0), right, unsummed=whole) == ["it is the mean over dimension 0 (4 elements), not the sum"]
    assert texts(whole.sum(0), whole.mean(0), unsummed=whole) == [
        "it is the sum over dimension 0 (4 elements), not the mean"
    ]
    assert texts(whole.sum(1), right, unsummed=whole) == ["the sum is over dimension 1 in place of dimension 0"]
    with pytest.raises(ValueError, match="no sum or mean of the unsummed array"):
        texts(-right, right, unsummed=whole + 1)
    half = whole.astype(np.float16)
    assert texts(-half.sum(0), half.sum(0), unsummed=half) == ["the sign is wrong everywhere"]
    with pytest.raises(ValueError, match="no sum or mean of the unsummed array"):
        texts(-right, right, unsummed=np.ones(2))


def test_the_mask() -> None:
    mask = np.triu(np.ones((3, 3), bool), 1)
    full = np.random.default_rng(0).standard_normal((3, 3))
    right = np.where(mask, 0, full)
    said = ["right except at the masked entries [0, 1], [0, 2], [1, 2], which must be 0"]
    assert texts(full, right, mask=mask) == said
    assert texts(np.where(mask, np.nan, full), right, mask=mask) == said
    assert texts(np.where(mask, -np.inf, full), right, mask=mask) == said
    assert texts(full, np.where(mask, -np.inf, full), mask=mask) == [
        "right except at the masked entries [0, 1], [0, 2], [1, 2], where the mask is left out"
    ]
    assert texts(full, right) == []


def test_alternatives_are_named_as_the_caller_does() -> None:
    local, upstream = np.random.default_rng(0).standard_normal((2, 2, 3))
    name = "the gradient that comes in is left out"
    assert texts(local, local * upstream, alternatives={name: local}) == [name]
    assert texts(np.round(-local, 3), local * upstream, alternatives={name: local}) == [
        f"{name}, and the sign is wrong everywhere"
    ]


def test_rounding_on_the_way() -> None:
    exact = np.array([1.23456, 2.34567, -0.98765])
    assert texts([1.23, 2.35, -0.99], exact) == ["right to 2 decimals"]
    off = "right up to rounding: off by at most 0.0077, in the last decimal given"
    assert texts([1.23, 2.34, -0.98], exact) == [off]
    assert texts([1.234, 2.345, -0.987], exact)[0].startswith("right up to rounding")  # cut off
    assert texts([0.1], [0.1234]) == ["it agrees as far as 1 decimal can tell: too few for numbers this small"]
    assert texts([0.0], [0.1234]) == []
    assert texts([12.3, 0.0123, 123000.0], [12.345, 0.01234, 123456.0]) == ["right to 3 significant digits"]


def test_what_cannot_be_told_apart_is_not_told() -> None:
    symmetric = np.array([[1.25, 0.5], [0.5, -3.75]])
    assert texts(symmetric.T, symmetric) == ["right"]
    assert texts(-symmetric.T, symmetric) == ["the sign is wrong everywhere"]
    skew = np.array([[0.0, 1.234], [-1.234, 0.0]])
    assert texts(skew.T, skew)[:2] == ["the sign is wrong everywhere", "it is transposed"]
    assert texts(np.zeros((2, 3)), RIGHT) == []
    assert texts(RIGHT, np.zeros((2, 3))) == []
    assert texts(np.full((2, 2), 0.3), np.full((2, 2), 0.7)) == []  # one number with one decimal: chance would do
    assert texts(np.float64(0.3), np.float64(0.6)) == []


# ---------------------------------------------------------------------- planted mistakes


@st.composite
def right_arrays(draw: Any) -> Array:
    shape = draw(st.lists(st.integers(2, 4), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.standard_normal(shape) * 10.0 ** draw(st.integers(-3, 3))


def plant(rng: np.random.Generator, right: Array, kind: str) -> tuple[Array, dict[str, Any]] | None:
    """A wrong array, and what is known of the place; None where the shape has no room for the mistake."""
    other, third = rng.standard_normal((2, *right.shape)) * np.abs(right).max()
    axis = int(rng.integers(right.ndim))
    if kind == "negated":
        return -right, {}
    if kind == "transposed":
        order = rng.permutation(right.ndim)
        moved = right.transpose(order)
        return (moved, {}) if (order != np.arange(right.ndim)).any() else None
    if kind == "scale":
        scale = float(rng.choice([math.sqrt(3), 1 / math.sqrt(5), 7.5]))
        return right * scale ** rng.choice([-1, 1]), {"scales": {"the scale": scale}}
    if kind == "path":
        paths = {"one": other, "two": third, "three": right - other - third}
        wrong = [other, other + third, right + third, right - 2 * other][rng.integers(4)]
        return wrong, {"summands": paths}
    if kind == "reduction":
        whole = rng.standard_normal((3, *right.shape))
        whole[0] = right - whole[1:].sum(0)
        return [whole[1], right / 3, whole][rng.integers(3)], {"unsummed": whole}
    if kind == "shifted":
        return (np.roll(right, rng.choice([-1, 1]), axis), {}) if right.shape[axis] > 3 else None
    if kind == "swapped":
        if right.shape[axis] < 3 or right.size < 4:
            return None
        order = np.arange(right.shape[axis])
        order[[0, -1]] = order[[-1, 0]]
        return right.take(order, axis), {}
    if kind == "cell":
        if right.size < 4:
            return None
        wrong = right.copy()
        wrong[tuple(rng.integers(right.shape))] += np.abs(right).max()
        return wrong, {}
    if kind == "alternative":
        return other, {"alternatives": {"known": other}}
    mask = rng.random(right.shape) < 0.3
    mask.flat[:2] = True, False
    return np.where(mask, other, right), {"mask": mask}


KINDS = ("negated", "transposed", "scale", "path", "reduction", "shifted", "swapped", "cell", "alternative", "masked")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(right_arrays(), st.integers(0, 2**32 - 1), st.sampled_from(["exact", "float32", "by hand"]))
def test_a_planted_mistake_is_named_first(kind: str, right: Array, seed: int, precision: str) -> None:
    planted = plant(np.random.default_rng(seed), right, kind)
    if planted is None:
        return
    wrong, known = planted
    if precision == "float32":
        wrong = wrong.astype(np.float32)
    elif precision == "by hand":
        wrong = np.round(wrong, 4 - math.floor(math.log10(np.abs(wrong).max())))
    found = explain(wrong, right, Candidates(**known))
    assert found and found[0].kind == kind, found


@settings(max_examples=100, deadline=None)
@given(right_arrays(), st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.integers(4, 9))
def test_random_wrong_arrays_get_nothing(right: Array, seed: int, kind: str, digits: int) -> None:
    assume(right.size > 3)  # some number of two or three is right by chance, now and then
    rng = np.random.default_rng(seed)
    planted = plant(rng, right, kind)
    known = planted[1] if planted else {}
    wrong = rng.standard_normal(right.shape) * np.abs(right).max()
    wrong = np.round(wrong, digits - math.floor(math.log10(np.abs(wrong).max())))
    assert explain(wrong, right, Candidates(**known)) == []


@settings(max_examples=60, deadline=None)
@given(right_arrays(), st.integers(0, 4))
def test_rounding_by_hand_is_right(right: Array, digits: int) -> None:
    decimals = max(0, digits + 1 - math.floor(math.log10(np.abs(right).max())))
    found = explain(np.round(right, decimals), right)
    assert [repair.kind for repair in found] == ["right"]


def test_a_repair_prints_as_its_text() -> None:
    assert str(Repair("cell", "right except for [0]")) == "right except for [0]"
