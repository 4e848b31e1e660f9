"""An array worked out by hand is wrong: which mistake was made?

`explain` tries the mistakes of mistakes.py and names those that give exactly the wrong array, to the digits that were
written down. It says nothing where none does, or where so few digits agree that chance would do as well.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .mistakes import NONE, Array, Candidates, Mistake, all_mistakes, pairs, slices

SMALL = 1000  # elements up to which two mistakes at once are tried
DECIMALS = 12  # up to which numbers are taken for rounded by hand
PRECISION = {1: 1e-2, 2: 1e-2, 4: 3e-5, 8: 1e-9}  # of the largest number, by the bytes of the dtype
COARSE = 0.05  # of the largest number: rounding may not explain more than that
SPARE = 4  # bits of agreement beyond those that it takes to say which mistake it is
NEAR = 3  # bits by which an explanation may be less simple than the simplest, and still be told


class Repair(NamedTuple):
    """What is the matter with an array, in a few plain words (`text`).

    `kind`: "right"; what it is that cannot be compared ("dtype", "shape", "nonfinite"); or the mistake: "rounded",
    "masked", "cell", "negated", "transposed", "scale", "path", "reduction", "shifted", "swapped", "alternative",
    "two mistakes".
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def explain(got: Any, expected: Any, candidates: Candidates = NONE) -> list[Repair]:
    """What is the matter with `got`, which should be `expected`: every explanation that fits, the simplest first.

    Numbers rounded by hand are right when they are right to the decimals, or to the three or more significant digits,
    that were written down. What cannot be compared (shape, dtype, NaN) is said where no mistake explains it. Nothing is
    returned where no explanation reproduces every number. More than one means that they cannot be told apart.
    """
    right = np.asarray(expected)
    try:
        wrong = np.asarray(got)
    except ValueError:
        return [Repair("shape", f"its rows are of different lengths, expected shape {right.shape}")]
    if wrong.dtype.kind not in "iufV" or wrong.dtype.names:
        return [Repair("dtype", f"expected real numbers, got {_called(wrong)}")]
    written = Written(wrong, right)
    wrong, right = wrong.astype(np.float64), right.astype(np.float64)
    finite = np.isfinite(right)
    if wrong.shape != right.shape and not np.isfinite(wrong).all():
        return [Repair("shape", _shape(wrong, right) + ", and not all of its numbers are finite")]
    if wrong.shape == right.shape:
        odd = ~(np.isfinite(wrong) & finite) & ~((wrong == right) | (np.isnan(wrong) & np.isnan(right)))
        if odd.any():
            masked = _masked(wrong, right, candidates, written)
            return [repair for _, repair in masked] or [_nonfinite(wrong, right, odd)]
    if not finite.all():  # the same there: the rest is compared, without what would have to add up to infinity
        candidates = replace(candidates, summands={}, unsummed=None)
    wrong, right = np.where(np.isfinite(wrong), wrong, 0), np.where(finite, right, 0)
    if written.fits(wrong, right):
        return [Repair("right", "right" + written.rounding(wrong, right))]
    single = all_mistakes(right, candidates)
    found = _fitting(wrong, single, written)
    if wrong.shape == right.shape:
        for also in (_swapped, _cell, _rounded):
            found += also(wrong, right, written)
        found += _masked(wrong, right, candidates, written)
    else:
        found = found or _reshaped(wrong, right, written)
    if not found and right.size <= SMALL:
        both = [mistake for mistake in pairs(single, candidates) if _tells(wrong, mistake, written)]
        simplest = sorted(both, key=lambda mistake: mistake.cost)[:1]
        found = [(mistake.cost, Repair(mistake.kind, mistake.text)) for mistake in simplest]
    if not found and wrong.shape == right.shape:
        found = _proportional(wrong, right, written)
    if not found and wrong.shape != right.shape:
        return [Repair("shape", _shape(wrong, right))]
    found.sort(key=lambda entry: entry[0])
    return [repair for cost, repair in found if cost <= found[0][0] + NEAR]


class Written:
    """How exactly an array was written down, and so what fits it."""

    def __init__(self, wrong: Array, right: Array) -> None:
        size = min([array.dtype.itemsize for array in (wrong, right) if array.dtype.kind not in "iu"], default=8)
        self.precision = PRECISION[min(size, 8)]
        numbers = wrong[np.isfinite(wrong)]
        self.decimals = _decimals(numbers)
        self.unit = 0.0 if self.decimals is None else 10.0**-self.decimals
        self.significant = _significant(numbers.astype(np.float64)) if size >= 4 else None

    def tolerance(self, wrong: Array, exact: Array) -> Array:
        """How far each number may be from the exact one: half a unit of its last digit, and what computing costs."""
        largest = float(np.abs(exact[np.isfinite(exact)]).max(initial=0))
        rounding = np.full(wrong.shape, 0.5 * self.unit)
        if self.significant is not None:
            rounding = np.maximum(rounding, 0.5 * _last_digit(wrong, self.significant))
        # A number that lies just between two roundings may have been rounded either way.
        # Beside a right 0, which is often some 1e-17, a little is 0 too.
        return np.asarray(np.minimum(rounding * (1 + 1e-6), COARSE * largest) + self.precision * (largest + 1e-5))

    def fits(self, wrong: Array, exact: Array) -> bool:
        """Whether this is what was written down."""
        return wrong.shape == exact.shape and bool((np.abs(wrong - exact) <= self.tolerance(wrong, exact)).all())

    def evidence(self, wrong: Array, exact: Array) -> float:
        """How many bits agree. Numbers that occur twice, or with either sign, count once."""
        largest = float(np.abs(exact).max(initial=0))
        if not largest:
            return 0.0
        tolerance = self.tolerance(wrong, exact)
        different = np.unique(np.round(np.abs(exact) / (4 * tolerance))).size
        return different * float(np.log2(largest / tolerance).mean())

    def rounding(self, wrong: Array, right: Array) -> str:
        """How far the numbers were rounded, where they were."""
        off = np.abs(wrong - right).max(initial=0)
        if off <= self.precision * np.abs(right).max(initial=0):
            return ""
        if off > 0.5 * self.unit * (1 + 1e-6) and self.significant is not None:
            return f" to {_count(self.significant, 'significant digit')}"
        return f" to {_count(self.decimals, 'decimal')}" if self.decimals else ""


def _decimals(numbers: Array) -> int | None:
    """How many decimals were written down: None where they were not rounded."""
    exact = numbers.astype(np.float64)
    return next((n for n in range(DECIMALS + 1) if (np.round(exact, n).astype(numbers.dtype) == numbers).all()), None)


def _significant(numbers: Array) -> int | None:
    """How many significant digits were written down, from three to five: None where that is not how it was rounded."""
    numbers = numbers[numbers != 0]
    for digits in (3, 4, 5):
        last = _last_digit(numbers, digits)
        if numbers.size and (np.abs(numbers - np.round(numbers / last) * last) <= 1e-7 * np.abs(numbers)).all():
            return digits
    return None


def _last_digit(numbers: Array, digits: int) -> Array:
    """One unit of the last of so many significant digits; 0 for 0."""
    some = numbers != 0
    exponents = np.floor(np.log10(np.abs(np.where(some, numbers, 1))))
    return np.asarray(np.where(some, 10.0 ** (exponents - digits + 1), 0.0))


Found = list[tuple[float, Repair]]  # with what it costs to say it, in bits


def _fitting(wrong: Array, mistakes: list[Mistake], written: Written) -> Found:
    """Those that give the wrong array."""
    found: Found = []
    kinds = set()
    for mistake in mistakes:
        # Of most kinds, a second one is another way to say the same; of named ones, one that cannot be told apart.
        if mistake.kind in kinds and mistake.kind not in ("path", "alternative"):
            continue
        if _tells(wrong, mistake, written):
            kinds.add(mistake.kind)
            found.append((mistake.cost, Repair(mistake.kind, mistake.text)))
    return found


def _tells(wrong: Array, mistake: Mistake, written: Written) -> bool:
    """Whether a mistake gives the wrong array, and more of its digits than chance would."""
    return written.fits(wrong, mistake.array) and written.evidence(wrong, mistake.array) >= mistake.cost + SPARE


def _masked(wrong: Array, right: Array, candidates: Candidates, written: Written) -> Found:
    """Right but for masked entries."""
    if candidates.mask is None:
        return []
    mask = np.broadcast_to(np.asarray(candidates.mask, bool), right.shape)
    kept = ~mask & ~((wrong == right) & ~np.isfinite(right))
    if not written.fits(wrong[kept], right[kept]) or written.evidence(wrong[kept], right[kept]) < SPARE:
        return []
    with np.errstate(invalid="ignore"):
        differs = mask & (wrong != right) & ~(np.abs(wrong - right) <= written.tolerance(wrong, right))
    must = "where the mask is left out" if right[mask].any() else "which must be 0"
    return [(0, Repair("masked", f"right except at the masked entries {_places(differs)}, {must}"))]


def _swapped(wrong: Array, right: Array, written: Written) -> Found:
    """Two rows, columns or slices in each other's place."""
    off = np.abs(wrong - right) > written.tolerance(wrong, right)
    for axis, size in enumerate(right.shape):
        which = np.flatnonzero(off.any(tuple(dim for dim in range(right.ndim) if dim != axis)))
        if len(which) == 2:
            order = np.arange(size)
            order[which] = which[::-1]
            exact, cost = right.take(order, axis), 1 + 2 * math.log2(size)
            if written.fits(wrong, exact) and written.evidence(wrong, exact) >= cost + SPARE:
                text = f"the {slices(right.ndim, axis)} {which[0]} and {which[1]} are swapped"
                return [(cost, Repair("swapped", text))]
    return []


def _cell(wrong: Array, right: Array, written: Written) -> Found:
    """One number wrong, all others right."""
    off = np.abs(wrong - right) > written.tolerance(wrong, right)
    cost = 6 + math.log2(wrong.size)
    if off.sum() != 1 or written.evidence(wrong[~off], right[~off]) < cost + SPARE:
        return []
    sign = ": the sign is wrong" if written.fits(wrong[off], -right[off]) else ""
    text = f"right except for {_places(off)}, which is {wrong[off][0]:.6g} and should be {right[off][0]:.6g}{sign}"
    return [(cost, Repair("cell", text))]


def _rounded(wrong: Array, right: Array, written: Written) -> Found:
    """Off by a little, in the last digit: rounded on the way, cut off, or with too few decimals to tell."""
    if not written.decimals:
        return []
    off = float(np.abs(wrong - right).max(initial=0))
    if off <= written.unit * 0.5 * (1 + 1e-6):
        text = f"it agrees as far as {_count(written.decimals, 'decimal')} can tell: too few for numbers this small"
        return [(6, Repair("rounded", text))]
    if off <= 2 * written.unit * (1 + 1e-6) and off <= COARSE / 2 * float(np.abs(right).max()):
        return [(6, Repair("rounded", f"right up to rounding: off by at most {off:.2g}, in the last decimal given"))]
    return []


def _reshaped(wrong: Array, right: Array, written: Written) -> Found:
    """The right numbers in another shape: not yet summed, reshaped, or not yet expanded."""
    if not wrong.size or not right.size:
        return []
    shapes = _shape(wrong, right)
    if wrong.size == right.size and written.fits(wrong.reshape(right.shape), right):
        return [(0, Repair("shape", f"the numbers are right, but {shapes}"))]
    extra = wrong.ndim - right.ndim
    kept = (1,) * extra + right.shape
    if extra >= 0 and all(to in (size, 1) for size, to in zip(wrong.shape, kept, strict=True)):
        dims = tuple(dim for dim, size in enumerate(wrong.shape) if dim < extra or size != kept[dim])
        count = math.prod(wrong.shape[dim] for dim in dims)
        each = float(written.tolerance(wrong, wrong).max())
        for word, divisor in (("sum", 1), ("mean", count)):
            reduced = wrong.sum(dims).reshape(right.shape) / divisor
            off = float(np.abs(reduced - right).max())
            if off <= each * count / divisor and written.evidence(reduced, right) >= SPARE:
                over = f"dimension{'s' * (len(dims) > 1)} {', '.join(map(str, dims))}"
                return [(1, Repair("reduction", f"the {word} over {over} is missing"))]
    try:
        expanded = np.broadcast_to(wrong, right.shape)
    except ValueError:
        return []
    fits = written.fits(expanded, right)
    return [(1, Repair("shape", f"the numbers are right, but {shapes}: it is to be expanded"))] if fits else []


def _proportional(wrong: Array, right: Array, written: Written) -> Found:
    """A factor that has no name."""
    squares = float((right * right).sum())
    factor = float((wrong * right).sum()) / squares if squares else 0.0
    if not factor or not written.fits(wrong, right * factor):
        return []
    different = np.unique(np.round(np.abs(right), 12)).size
    if written.evidence(wrong, right * factor) * (1 - 1 / different) < 6 + SPARE:  # one number gives the factor
        return []
    return [(6, Repair("scale", f"every number is {factor:.4g} times what it should be"))]


def _nonfinite(wrong: Array, right: Array, odd: Array) -> Repair:
    first = tuple(np.argwhere(odd)[0])
    text = f"it is {wrong[first]:.6g} and should be {right[first]:.6g}"
    return Repair("nonfinite", text + (f" at {_places(odd)}" if odd.ndim else ""))


def _shape(wrong: Array, right: Array) -> str:
    return f"the shape is {wrong.shape}, expected {right.shape}"


def _places(where: Array) -> str:
    """[0, 2], [1, 2] and 5 more"""
    places = np.argwhere(where)
    shown = ", ".join(str([int(i) for i in place]) for place in places[:4])
    return shown + (f" and {len(places) - 4} more" if len(places) > 4 else "")


def _called(array: Array) -> str:
    names = {"b": "True and False", "c": "complex numbers", "U": "text", "S": "text", "O": "Python objects"}
    return names.get(array.dtype.kind, f"dtype {array.dtype}")


def _count(number: int | None, thing: str) -> str:
    return f"{number} {thing}" + "s" * (number != 1)
