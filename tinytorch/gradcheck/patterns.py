"""What a wrong Jacobian has in common with the right one, and which mistakes leave that.

Backward's Jacobian is compared with that of differences as a whole, so that none of this depends on what f computes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .tolerances import Array

if TYPE_CHECKING:
    from .report import Comparison

_NEAR = 1e-4  # of the largest number: how exactly a pattern must be met
_AXES = 4  # of a Jacobian, up to which all orders of them are tried
_TRANSPOSED = (
    "Its Jacobian is the transpose of the right one: a factor is not transposed, or backward does what the forward "
    "does in place of the reverse."
)
_LARGEST = 1_000_000  # elements of a Jacobian up to which patterns are looked for


def cotangent(c: Comparison) -> Array:
    """A random gradient that comes in: from a seed that no input is likely to be drawn from."""
    return np.random.default_rng(20160303).standard_normal(len(c.analytic))


def gradients(c: Comparison) -> tuple[Array, Array]:
    """The gradient by backward, and by differences, for a random gradient that comes in."""
    g = cotangent(c)
    return (g @ c.analytic).reshape(c.x.shape), (g @ c.numeric).reshape(c.x.shape)


def reach(c: Comparison) -> list[str]:
    """Outputs that depend on elements along other dimensions than they should."""
    if not _whole(c) or not _alike(c) or c.x.numel() < 2:
        return []
    analytic, numeric = _some(c.analytic), _some(c.numeric)
    if min(np.diagonal(analytic).mean(), np.diagonal(numeric).mean()) < 0.5:
        return []  # what belongs to an element lies elsewhere: there are no "others"
    given, right = _dims(analytic, c.x.shape), _dims(numeric, c.x.shape)
    more, less = sorted(given - right), sorted(right - given)
    if less and not given:
        return [
            "By backward each output depends on its own element alone, by differences on others too, along "
            f"{_named(less)}: a path or a sum is missing."
        ]
    if more and less:
        return [
            f"By backward outputs depend on what lies along {_named(more)}, by differences on what lies along "
            f"{_named(less)}: something runs over the wrong dimension, such as a sum, or a matrix is not transposed."
        ]
    if more:
        return [
            f"By backward outputs depend on what lies along {_named(more)} too, by differences they do not: a sum runs "
            "over too much or over the wrong dimension, or a path is there that the forward does not take."
        ]
    if less:
        return [
            f"By differences outputs depend on what lies along {_named(less)} too, by backward they do not: a path or "
            "a sum is missing, or runs over the wrong dimension."
        ]
    return []


def _dims(some: Array, shape: tuple[int, ...]) -> set[int]:
    """The dimensions along which an output and an input that it depends on are apart."""
    rows, columns = (np.unravel_index(places, shape) for places in np.nonzero(some))
    return {dim for dim in range(len(shape)) if (rows[dim] != columns[dim]).any()}


def reordered(c: Comparison) -> Iterator[str]:
    """The right Jacobian with its dimensions in another order: factors that are transposed, or swapped."""
    shapes = c.shapes
    if not _whole(c) or len(shapes) != 1 or len(shapes[0]) + c.x.ndim < 2:
        return
    if len(shapes[0]) + c.x.ndim > _AXES:
        if _same(c.analytic, c.numeric.T):
            yield _TRANSPOSED
        return
    outer, axes = len(shapes[0]), (*shapes[0], *c.x.shape)
    analytic, numeric = c.analytic.reshape(axes), c.numeric.reshape(axes)
    first, last = tuple(range(outer)), tuple(range(outer, len(axes)))
    orders = [order for order in itertools.permutations(range(len(axes))) if order != (*first, *last)]
    fits = [order for order in orders if _same(analytic, numeric.transpose(order))]
    if any(order[:outer] == first for order in fits):
        return  # the gradient itself is transposed: `explain` says so
    if any(order[outer:] == last for order in fits):
        yield (
            "It would be right if the gradient that comes in had its dimensions in another order: it is transposed, or "
            "a sum runs over another dimension."
        )
    elif (*last, *first) in fits:
        yield _TRANSPOSED
    elif fits:
        yield (
            "Its Jacobian is the right one with the dimensions in another order: factors stand in the wrong order, or "
            "one of them is transposed."
        )
    elif _same(np.sort(c.analytic, None), np.sort(c.numeric, None)) and all(
        (np.count_nonzero(_some(j), axis) == 1).all() for j in (c.analytic, c.numeric) for axis in (0, 1)
    ):
        yield "The numbers are right, but in other places: the elements must go back to where they came from."


def multiplied(c: Comparison) -> list[str]:
    """A factor that is an input or an output, too much or missing; or that stands in the place of the derivative."""
    if not _whole(c) or _same(c.analytic, c.numeric):
        return []
    some = _some(c.numeric)
    if (_some(c.analytic) & ~some).any() or some.sum() < 4:
        return []
    found = []
    ratio = np.divide(c.analytic, c.numeric, out=np.ones_like(c.numeric), where=some)
    for dim, size in enumerate(c.x.shape if _alike(c) else ()):
        low, high = (  # of all that differ in this dimension alone
            reduce(np.where(some, ratio, nothing).reshape(-1, *c.x.shape), axis=(0, dim + 1))
            for reduce, nothing in ((np.min, np.inf), (np.max, -np.inf))
        )
        any_there = low <= high
        if size > 2 and c.x.ndim > 1 and np.allclose(low[any_there], high[any_there], rtol=1e-3, atol=0):
            found.append(
                f"Each of them has a factor that is the same all along dimension {dim}: is something that the forward "
                "computes over it, such as a norm, left out, or used once too often?"
            )
    for name, factor in _factors(c):
        different = np.unique(np.round(np.abs(factor[some]), 9)).size
        if not np.isfinite(factor).all() or different < 3 or not factor[some].all():
            continue
        if _close(ratio, factor, some):
            found.append(f"Each of them has {name} as a factor that should not be there.")
        elif _close(ratio, 1 / np.where(factor, factor, 1), some):
            found.append(f"Each of them lacks {name} as a factor.")
        elif _close(ratio, factor**2, some):
            found.append(f"Each of them is multiplied with {name}, and should be divided by it.")
        elif _close(ratio, 1 / np.where(factor, factor, 1) ** 2, some):
            found.append(f"Each of them is divided by {name}, and should be multiplied with it.")
        elif _alike(c) and _close(c.analytic, factor, some):
            found.append(f"It is the gradient that comes in times {name}, in the place of times the derivative.")
    return list(dict.fromkeys(found))


def _factors(c: Comparison) -> Iterator[tuple[str, Array]]:
    """Arrays of the Jacobian's shape: what each row, or each column, would be multiplied with."""
    inputs, outputs = c.values()
    shape = c.analytic.shape
    for name, array in (*inputs.items(), *outputs.items()):
        if len(outputs) == 1:
            spread = _broadcast(array, c.shapes[0])
            if spread is not None:
                yield name, np.broadcast_to(spread.reshape(-1, 1), shape)
        spread = _broadcast(array, c.x.shape)
        if spread is not None:
            yield name, np.broadcast_to(spread.reshape(1, -1), shape)


def _broadcast(array: Array, shape: tuple[int, ...]) -> Array | None:
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        return None


def between(c: Comparison) -> Iterator[str]:
    """Where an output belongs to an input, something may be right that is wrong between different ones."""
    if not _whole(c) or not _alike(c):
        return
    given, right = _some(c.analytic), _some(c.numeric)
    if given.any() and right.any() and not (given & right).any():
        yield "Backward is 0 where the differences are not, and the reverse: is a mask inverted?"
    apart = _some(c.numeric) & ~np.eye(len(c.numeric), dtype=bool)
    if apart.sum() < 4:
        return
    ratio = c.analytic[apart] / c.numeric[apart]
    factor = float(ratio[0])
    if np.allclose(ratio, factor, rtol=1e-3, atol=0) and abs(factor - 1) > 1e-2:
        what = "the sign is wrong" if abs(factor + 1) < 1e-3 else f"it is {factor:.4g} times what it should be"
        yield (
            f"Between an output and another element than its own, {what}: look at the path through what they share, "
            "such as a sum or a mean."
        )


def along(c: Comparison) -> Iterator[str]:
    """An error that is the same all along a dimension, or that goes with the input there: paths through statistics."""
    if not _whole(c) or c.x.numel() < 2:
        return
    got, right = gradients(c)
    off, x = got - right, c.x.array.astype(np.float64)
    start = "For a random gradient that comes in, the error"
    error = c.analytic - c.numeric
    if _alike(c) and off.size > 2 and _same(error, error[0, 0] * np.eye(len(error))):
        yield (
            f"The error is {abs(error[0, 0]):.4g} times the gradient that comes in: a path on which it passes "
            "unchanged is missing, or there once too often."
        )
    for dim, size in enumerate(off.shape):
        if size < 3:
            continue
        rows, xs = (np.moveaxis(array, dim, -1).reshape(-1, size) for array in (off, x))
        centred = xs - xs.mean(-1, keepdims=True)
        if _explained(rows, [np.ones_like(xs)]):
            yield (
                f"{start} is the same all along dimension {dim}: the path through a sum or mean over it is missing, or "
                "there once too often."
            )
        elif size > 3 and _explained(rows, [centred]):
            yield (
                f"{start} goes with the input less its mean, along dimension {dim}: the path through a variance over "
                "it is missing, or there once too often."
            )
        elif size > 3 and _explained(rows, [xs]):
            yield (
                f"{start} goes with the input, along dimension {dim}: a path whose derivative is the input, such as "
                "one through a norm or a sum of squares over it, is missing, or there once too often."
            )
        elif size > 4 and _explained(rows, [np.ones_like(xs), centred]):
            yield (
                f"{start} is a constant and a multiple of the input, along dimension {dim}: look at the paths through "
                "the mean and the variance over it, and at their factors."
            )


def _explained(rows: Array, vectors: list[Array]) -> bool:
    """Whether each row is a combination of that row of the vectors, which lie at right angles."""
    rest = rows.copy()
    for vector in vectors:
        square = (vector * vector).sum(-1, keepdims=True)
        rest -= vector * ((rest * vector).sum(-1, keepdims=True) / np.where(square, square, 1))
    return bool(np.abs(rest).max() <= _NEAR * np.abs(rows).max())


def _whole(c: Comparison) -> bool:
    """Whether both Jacobians are known, and finite."""
    return c.row is not None and c.analytic.size <= _LARGEST and bool(np.isfinite([c.analytic, c.numeric]).all())


def _alike(c: Comparison) -> bool:
    """Whether there is one output, of the input's shape."""
    return c.shapes == [tuple(c.x.shape)]


def _some(jacobian: Array) -> Array:
    """Where it is not 0, up to what differences leave."""
    return np.asarray(np.abs(jacobian) > 1e-6 * np.abs(jacobian).max(initial=0))


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool((np.abs(a - b) <= _NEAR * np.abs(b).max(initial=0)).all())


def _close(a: Array, b: Array, where: Array) -> bool:
    return bool(np.allclose(a[where], b[where], rtol=1e-3, atol=0))


def _named(dims: list[int]) -> str:
    return ("dimension " if len(dims) == 1 else "dimensions ") + " and ".join([str(dim) for dim in dims])
