"""What kind of mistake it is: hints by the look of the numbers, and by trying repairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..mistakes import Candidates
from ..repairs import explain
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
    if not analytic.any():
        if not c.recorded:
            return "No output requires grad: does the function leave the graph (detach, .data, .numpy(), .item())?"
        return "Backward gives 0 for each of them: is a path missing, or cut by detach() or a None?"
    noise = 2.5 * tolerances.noise(c.magnitude)
    if (np.abs(analytic - numeric) < noise).all():
        return f"But rounding of outputs this large explains {noise:.1g}: scale the function down, or raise atol."
    if (np.abs(numeric) < 1e-3 * np.abs(analytic)).all():
        return "The differences are 0, or next to it: the function does not depend on what has a gradient here."
    factors = analytic / numeric
    factor = float(factors[0])
    # Of a factor next to 1, it is the distance from 1 that must be the same everywhere.
    if factors.size > 1 and np.allclose(factors, factor, rtol=min(1e-3, 0.05 * abs(factor - 1)), atol=0):
        if np.isclose(factor, -1, rtol=1e-3):
            return "Each of them is the negative of what it should be: a sign is wrong."
        times = f"{factor:.4g}" if abs(factor - 1) > 0.01 else f"1 {'-' if factor < 1 else '+'} {abs(factor - 1):.3g}"
        return f"Each of them is {times} times what it should be: a constant factor is wrong.{_of_a_size(c, factor)}"
    return _structure(c) or _repaired(c) or "Work this one element out by hand, at these inputs, forward and backward."


def _of_a_size(c: Comparison, factor: float) -> str:
    """Where a factor may come from: a size of the input, as in a mean that is taken for a sum."""
    sizes = {f"the size of dimension {dim}": size for dim, size in enumerate(c.x.shape)}
    sizes["the number of elements"] = c.x.numel()
    for what, size in sizes.items():
        for text, value in ((f"{size}", size), (f"1/{size}", 1 / max(size, 1)), (f"sqrt({size})", math.sqrt(size)),
                            (f"1/sqrt({size})", 1 / math.sqrt(max(size, 1)))):  # fmt: skip
            if size > 2 and abs(factor / value - 1) < 1e-3:
                return f" It is {text}, and {size} is {what} of {c.name}."
    return ""


def _structure(c: Comparison) -> str:
    """A Jacobian that is diagonal and should not be."""
    rows, columns = c.analytic.shape
    if rows != columns or rows < 2 or not np.isfinite(c.numeric).all():
        return ""
    off = ~np.eye(rows, dtype=bool)
    if c.analytic[off].any() or np.abs(c.numeric[off]).max() <= 1e-6 * np.abs(c.numeric).max():
        return ""
    return (
        "By backward each output depends on its own element alone, by differences on others too: a path or a sum is "
        "missing."
    )


def _repaired(c: Comparison) -> str:
    """What repair makes the gradient right, for a random gradient that comes in."""
    if c.row is None or not 2 <= c.x.numel() <= _SIZE or not np.isfinite(c.numeric).all():
        return ""
    cotangent = np.random.default_rng(0).standard_normal(len(c.analytic))
    got, right = ((cotangent @ jacobian).reshape(c.x.shape) for jacobian in (c.analytic, c.numeric))
    others = {
        f"it is the gradient of {name}: two are swapped": (cotangent @ jacobian).reshape(c.x.shape)
        for name, jacobian in c.others().items()
        if np.isfinite(jacobian).all()
    }
    # As float32, of whose accuracy the differences are.
    candidates = Candidates(alternatives=others)
    found = [repair for repair in explain(got.astype(np.float32), right, candidates) if repair.kind in _TOLD]
    if found:
        return f"For a random gradient that comes in, a repair fits: {found[0]}."
    return _constant(got - right)


def _constant(off: Array) -> str:
    """An error that is the same all along a dimension, as where a path through a sum or a mean is forgotten."""
    for dim, size in enumerate(off.shape):
        if size > 2 and np.ptp(off, dim).max() <= 1e-4 * np.abs(off).max():
            return (
                f"For a random gradient that comes in, the error is the same all along dimension {dim}: the path "
                "through a sum or mean over it is missing, or there once too often."
            )
    return ""
