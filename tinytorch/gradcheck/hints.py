"""What kind of mistake it is: hints by the look of the numbers, and by trying repairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..mistakes import Candidates
from ..repairs import explain
from .patterns import along, between, cotangent, gradients, multiplied, reach, reordered
from .tolerances import Array, Tolerances

if TYPE_CHECKING:
    from .report import Comparison

_SIZE = 10_000  # elements of an input up to which repairs are tried
_TOLD = ("negated", "transposed", "scale", "reduction", "shifted", "swapped", "alternative", "two mistakes")


def hint(c: Comparison, wrong: Array, tolerances: Tolerances) -> str:
    """A hint, if the numbers look like a typical mistake."""
    analytic, numeric = c.analytic[wrong], c.numeric[wrong]
    if not np.isfinite(analytic).all():
        return "Backward gives NaN or infinity where the differences are finite."
    if not analytic.any() and not c.recorded:
        return "No output requires grad: does the function leave the graph (detach, .data, .numpy(), .item())?"
    noise = 2.5 * tolerances.noise(c.magnitude)
    if (np.abs(analytic - numeric) < noise).all():
        return f"But rounding of outputs this large explains {noise:.1g}: scale the function down, or raise atol."
    factors = analytic / np.where(numeric, numeric, np.nan)
    factor = float(factors[0])
    # Of a factor next to 1, it is the distance from 1 that must be the same everywhere.
    same = np.allclose(factors, factor, rtol=min(1e-3, 0.05 * abs(factor - 1)), atol=0)
    if factors.size > 1 and abs(factor) > 1e-6 and same:
        if np.isclose(factor, -1, rtol=1e-3):
            return "Each of them is the negative of what it should be: a sign is wrong."
        times = f"{factor:.4g}" if abs(factor - 1) > 0.01 else f"1 {'-' if factor < 1 else '+'} {abs(factor - 1):.3g}"
        return f"Each of them is {times} times what it should be: a constant factor is wrong.{_of_a_size(c, factor)}"
    found = [*reordered(c), *multiplied(c), *_repaired(c)] if c.analytic.any() else []
    found = found or reach(c) or _zeros(analytic, numeric) or [*between(c), *along(c)]
    return " Or: ".join(found) or "Work this one element out by hand, at these inputs, forward and backward."


def _zeros(analytic: Array, numeric: Array) -> list[str]:
    """Where one of the two is 0 in all places that are wrong."""
    if not analytic.any():
        return [
            "Backward gives 0 for each of them: is a path missing, or cut by detach() or a None, or a gradient "
            "overwritten by another one that should be added to it?"
        ]
    if (np.abs(numeric) < 1e-3 * np.abs(analytic)).all():
        return [
            "The differences are 0, or next to it: the function does not depend on what has a gradient here. Is a mask "
            "missing?"
        ]
    return []


def _of_a_size(c: Comparison, factor: float) -> str:
    """Where a factor may come from: a size, as in a mean that is taken for a sum, or a number that goes in or out."""
    sizes = {f"the size of dimension {dim} of {c.name}": size for dim, size in enumerate(c.x.shape)}
    sizes[f"the number of elements of {c.name}"] = c.x.numel()
    for shape in c.shapes[:1]:
        sizes.update({f"the size of dimension {dim} of the output": size for dim, size in enumerate(shape)})
    found: dict[str, list[str]] = {}
    for what, size in sizes.items():
        for text, value in ((f"{size}", size), (f"1/{size}", 1 / max(size, 1)), (f"sqrt({size})", math.sqrt(size)),
                            (f"1/sqrt({size})", 1 / math.sqrt(max(size, 1)))):  # fmt: skip
            if size > 2 and abs(factor / value - 1) < 1e-3:
                found.setdefault(f"{text}, where {size} is", []).append(what)
    if found:
        places = "; or ".join([f"{text} {' or '.join(whats)}" for text, whats in found.items()])
        return f" It may be {places}: try another shape to know."
    inputs, outputs = c.values()
    for name, array in (*inputs.items(), *outputs.items()):
        if array.size == 1 and array.all():
            for text, value in ((name, array.item()), (f"1 / {name}", 1 / array.item())):
                if abs(factor / value - 1) < 1e-3:
                    return f" It is {text}."
    return ""


def _repaired(c: Comparison) -> list[str]:
    """What repairs make the gradient right, for a random gradient that comes in."""
    if c.row is None or not 2 <= c.x.numel() <= _SIZE or not np.isfinite(c.numeric).all():
        return []
    got, right = gradients(c)
    others = {
        f"it is the gradient of {name}: two are swapped, or one is there twice": (cotangent(c) @ jacobian).reshape(
            c.x.shape
        )
        for name, jacobian in c.others().items()
        if np.isfinite(jacobian).all()
    }
    # As float32, of whose accuracy the differences are.
    candidates = Candidates(alternatives=others)
    found = [repair.text for repair in explain(got.astype(np.float32), right, candidates) if repair.kind in _TOLD]
    return [f"For a random gradient that comes in, a repair fits: {'; or: '.join(found)}."] if found else []
