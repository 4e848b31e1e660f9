"""The mistakes that are made by hand: for each, the array that somebody who made it would have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Candidates:
    """What is known of the place where a mistake was made. Everything may be left out.

    scales: factors that belong there or nearby, by name: {"1/sqrt(D)": 0.5}.
    summands: the paths whose sum is the right array, by what is said of each: {"through scores": array}.
    unsummed: an array whose sum or mean over one or several dimensions is the right one.
    mask: True where an entry is masked, of a shape that broadcasts to the right array's.
    alternatives: arrays that further mistakes give; their names say what is wrong: {"the gradient that comes in is left
        out": array}.
    """

    scales: Mapping[str, float] = field(default_factory=dict)
    summands: Mapping[str, Array] = field(default_factory=dict)
    unsummed: Array | None = None
    mask: Array | None = None
    alternatives: Mapping[str, Array] = field(default_factory=dict)


class Mistake(NamedTuple):
    """One mistake, and the array that it gives.

    `cost` ranks: how many bits it takes to say which mistake it is. The simplest is the cheapest.
    """

    cost: float
    kind: str
    text: str
    array: Array


NONE = Candidates()
INTEGERS = range(2, 11)  # factors that are tried without being named
ALL_SUBSETS = 6  # summands up to which every choice of them is tried
SLICES = 1000  # of what is summed, up to which each is tried alone
ALL_ORDERS = 4  # dimensions up to which every order of them is tried


def negated(right: Array) -> Mistake:
    """The other sign."""
    return Mistake(0, "negated", "the sign is wrong everywhere", -right)


def transposed(right: Array) -> Iterator[Mistake]:
    """The dimensions in another order."""
    ndim = right.ndim
    if ndim < 2:
        return
    last = (*range(ndim - 2), ndim - 1, ndim - 2)
    text = "it is transposed" if ndim == 2 else "its last two dimensions are swapped"
    yield Mistake(1, "transposed", text, right.transpose(last))
    for order in itertools.permutations(range(ndim)) if ndim <= ALL_ORDERS else ():
        if order != last and order != tuple(range(ndim)):
            back = tuple(order.index(dim) for dim in range(ndim))
            text = f"its dimensions are in another order: transpose{back} puts them right"
            yield Mistake(4, "transposed", text, right.transpose(order))


def scaled(right: Array, candidates: Candidates) -> Iterator[Mistake]:
    """A constant factor that is missing, or there once too often."""
    for name, scale in candidates.scales.items():
        if scale not in (0, 1):
            number = f"{scale:.4g}"
            shown = f"the factor {name}" + (f" = {number}" if number != name else "")
            yield Mistake(2, "scale", f"{shown} is missing", right / scale)
            yield Mistake(3, "scale", f"{shown} is there once too often", right * scale)
            yield Mistake(5, "scale", f"it is divided by {name} = {scale:.4g} in place of multiplied", right / scale**2)
    for n in INTEGERS:
        yield Mistake(6, "scale", f"every number is {n} times what it should be", right * n)
        yield Mistake(6, "scale", f"every number is 1/{n} of what it should be", right / n)


def added(right: Array, candidates: Candidates) -> Iterator[Mistake]:
    """A path left out, counted twice, or with the wrong sign. ValueError unless the summands give the right array."""
    terms = {name: np.asarray(term, np.float64) for name, term in candidates.summands.items()}
    if not terms:
        return
    if not _same(np.asarray(sum(terms.values())), right, max(np.abs(x).max(initial=0) for x in terms.values())):
        raise ValueError(f"the paths {', '.join(terms)} do not add up to the expected array")
    few = len(terms) <= ALL_SUBSETS
    for count in range(1, len(terms)) if few else (1, len(terms) - 1):
        for left_out in itertools.combinations(terms, count):
            rest = [name for name in terms if name not in left_out]
            one = "path" if count == 1 else "paths"
            verb = "is" if count == 1 else "are"
            text = f"the {one} {_listed(left_out)} {verb} left out"
            yield Mistake(1 + count, "path", text, np.asarray(sum(terms[name] for name in rest)))
    for name, term in terms.items():
        yield Mistake(5, "path", f"the path {name} is counted twice", right + term)
        yield Mistake(5, "path", f"the path {name} has the wrong sign", right - 2 * term)


def reduced(right: Array, candidates: Candidates) -> Iterator[Mistake]:
    """A sum that is missing, over other dimensions, or taken for a mean; and a mean taken for a sum."""
    if candidates.unsummed is None:
        return
    whole = np.asarray(candidates.unsummed, np.float64)
    sizes, sums = {}, {}
    for number in range(1, whole.ndim + 1):
        for dims in itertools.combinations(range(whole.ndim), number):
            kept = whole.sum(dims, keepdims=True)
            if right.shape in (kept.shape, np.squeeze(kept, dims).shape):
                sizes[dims] = tuple(whole.shape[dim] for dim in dims)
                sums[dims] = kept.reshape(right.shape)
    means = {dims: total / max(1, math.prod(sizes[dims])) for dims, total in sums.items()}
    results = [("sum", dims, total) for dims, total in sums.items()]
    results += [("mean", dims, mean) for dims, mean in means.items()]
    errors = [float(np.abs(result - right).max(initial=0)) for *_, result in results]
    word, dims, nearest = results[errors.index(min(errors))] if results else ("", (), whole)
    if not _same(nearest, right, float(np.abs(whole).max(initial=0))):
        raise ValueError("no sum or mean of the unsummed array gives the expected one")

    over, count = f"over {_dimensions(dims)}", math.prod(sizes[dims])
    yield Mistake(1, "reduction", f"the {word} {over} is missing", whole)
    if count > 1:
        other, factor = ("mean", 1 / count) if word == "sum" else ("sum", count)
        yield Mistake(1, "reduction", f"it is the {other} {over} ({count} elements), not the {word}", right * factor)
    for place in np.ndindex(sizes[dims]) if 1 < count <= SLICES else ():
        index: list[Any] = [slice(None)] * whole.ndim
        for dim, i in zip(dims, place, strict=True):
            index[dim] = i
        text = f"the {word} {over} is missing: it is the slice {_listed(place)} of {_dimensions(dims)} alone"
        yield Mistake(2 + math.log2(count), "reduction", text, whole[tuple(index)].reshape(right.shape))
    for wrong, array in (sums if word == "sum" else means).items():
        if wrong != dims:
            text = f"the {word} is over {_dimensions(wrong)} in place of {_dimensions(dims)}"
            yield Mistake(3, "reduction", text, array)


def moved(right: Array) -> Iterator[Mistake]:
    """Rows, columns or slices shifted by one, around or with zeros moving in, or in reverse order."""
    for axis, size in enumerate(right.shape):
        if size < 2:
            continue
        things = slices(right.ndim, axis)
        for step, neighbour in ((1, "next one"), (-1, "one before")):
            text = f"the {things} are shifted by one: each stands where the {neighbour} belongs"
            around = np.roll(right, step, axis)
            if size > 2:
                yield Mistake(5, "shifted", text, around)
            filled = around.copy()
            filled[(slice(None),) * axis + (0 if step == 1 else -1,)] = 0
            yield Mistake(6, "shifted", text + ", and zeros have moved in", filled)
        if size > 2:
            yield Mistake(5, "shifted", f"the {things} are in reverse order", np.flip(right, axis))


def slices(ndim: int, axis: int) -> str:
    """What lies along an axis, in a word."""
    names = {(1, 0): "elements", (2, 0): "rows", (2, 1): "columns"}
    return names.get((ndim, axis), f"slices of dimension {axis}")


def all_mistakes(right: Array, candidates: Candidates) -> list[Mistake]:
    """Every single mistake, the simplest first."""
    right = np.asarray(right, np.float64)
    found = [
        negated(right),
        *(Mistake(1, "alternative", name, np.asarray(x, np.float64)) for name, x in candidates.alternatives.items()),
        *transposed(right),
        *added(right, candidates),
        *reduced(right, candidates),
        *scaled(right, candidates),
        *moved(right),
    ]
    return sorted(found, key=lambda mistake: mistake.cost)


def pairs(single: list[Mistake], candidates: Candidates) -> Iterator[Mistake]:
    """Two mistakes at once: each of these, negated, transposed or scaled too."""
    for first in single:
        for second in (negated(first.array), *transposed(first.array), *scaled(first.array, candidates)):
            if second.kind != first.kind:
                text = f"{first.text}, and {second.text}"
                yield Mistake(first.cost + second.cost + 4, "two mistakes", text, second.array)


def _listed(things: tuple[object, ...]) -> str:
    names = [str(thing) for thing in things]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _dimensions(dims: tuple[int, ...]) -> str:
    return ("dimension " if len(dims) == 1 else "dimensions ") + _listed(dims)


def _same(given: Array, right: Array, largest: float) -> bool:
    """Whether what a caller gave adds up to the right array: to float16's precision of the largest term."""
    return given.shape == right.shape and bool((np.abs(given - right) <= 1e-2 * largest).all())
