"""gradcheck's messages: the worst element, hints at typical mistakes, and kinks as distinct from mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

if TYPE_CHECKING:
    from .tensor import Tensor

Array = np.ndarray[Any, Any]


class GradcheckError(RuntimeError):
    """The backward does not agree with the forward."""


class KinkError(GradcheckError):
    """There is no derivative to compare with: here is a kink, a jump or the edge of the function's domain."""


class GradcheckInputError(GradcheckError, ValueError):
    """These inputs cannot be checked; raised even with raise_exception=False."""


class Tolerances(NamedTuple):
    """The step of the differences, and the bounds in |analytic - numeric| <= atol + rtol |numeric|."""

    eps: float
    atol: float
    rtol: float
    nondet_tol: float

    def allowed(self, numeric: Array) -> Array:
        """The largest difference that passes."""
        return self.atol + self.rtol * np.abs(numeric)

    def excess(self, analytic: Any, numeric: Any) -> Array:
        """The difference as a multiple of the tolerance; infinite if either value is not finite."""
        excess = np.abs(analytic - numeric) / self.allowed(numeric)
        return np.where(np.isfinite(excess), excess, np.inf)


class Comparison(NamedTuple):
    """Derivatives of combinations of the outputs (rows) with respect to elements of one input (columns)."""

    check: str  # gradcheck or gradgradcheck
    name: str  # the input's
    x: Tensor
    columns: Sequence[int]  # the elements of x
    analytic: Array
    numeric: Array
    rows: Callable[[float, int], Array]  # (t, j) -> the rows with x_j moved by t
    row_name: Callable[[int], str]
    magnitude: float  # the outputs'
    recorded: bool  # whether an output requires grad
    coarse: Callable[[], str | None]  # an operation between input and outputs that is not in float64

    def place(self, column: int) -> str:
        """The name of x_j."""
        return self.name + index_text(self.columns[column], self.x)

    def value(self, column: int) -> float:
        """x_j"""
        return float(self.x.array.reshape(-1)[self.columns[column]])


def index_text(flat: int, x: Tensor) -> str:
    """[1, 2] for an element of a matrix; nothing for a number."""
    return str([int(n) for n in np.unravel_index(flat, x.shape)]) if x.ndim else ""


def describe(name: str, x: Tensor) -> str:
    """input 0 (float64 (3, 4))"""
    return f"{name} ({x.dtype} {tuple(x.shape)})"


def judge(c: Comparison, tolerances: Tolerances) -> None:
    """Raise for the worst element that no kink explains; if kinks explain all of them, for the worst of those."""
    excess = tolerances.excess(c.analytic, c.numeric)
    wrong = excess > 1
    if not wrong.any():
        return
    _check_precision(c, *_largest(excess, wrong), tolerances.eps)
    below, above, kinks = np.zeros_like(excess), np.zeros_like(excess), np.zeros_like(wrong)
    for j in np.flatnonzero(wrong.any(axis=0)):
        below[:, j], above[:, j], kinks[:, j] = _one_sided(c, int(j), tolerances)
    mistakes = wrong & ~kinks
    if mistakes.any():
        _fail(c, mistakes, *_largest(excess, mistakes), tolerances)
    row, column = _largest(np.nan_to_num(np.abs(above - below), nan=np.inf), wrong)
    _fail_at_kink(c, row, column, float(below[row, column]), float(above[row, column]), tolerances.eps)


def _largest(values: Array, among: Array) -> tuple[int, int]:
    row, column = np.unravel_index(np.argmax(np.where(among, values, -1)), values.shape)
    return int(row), int(column)


def _check_precision(c: Comparison, row: int, column: int, eps: float) -> None:
    """Raise if the differences are noise, because float32 or less is at work somewhere inside the function.

    The fourth difference of five values along x_j is almost 0 on a smooth function, even beside a kink. Rounding to
    float32 leaves about 1e-7 of the value there, on both sides of the point.
    """
    step = c.coarse()
    if step is None:
        j = c.columns[column]
        sides = [np.array([c.rows(20 * eps * n * side, j)[row] for n in range(1, 6)]) for side in (-1, 1)]
        scatter = min(float(np.abs(np.diff(values, 4)).max()) for values in sides)
        if not scatter > 1e-10 * max(float(np.abs(values).max()) for values in sides):
            return
        step = f"its values scatter by {scatter:.2g} around {c.place(column)} = {c.value(column):.6g}"
    raise GradcheckInputError(
        f"{c.check}: rounding drowns the differences, as something inside the function is coarser than float64, or far "
        f"larger than its result: {step}. Keep all of it in float64: call .double() on constants and parameters"
    )


def _one_sided(c: Comparison, column: int, tolerances: Tolerances) -> tuple[Array, Array, Array]:
    """The slopes of the rows below and above x_j, and whether they reveal a kink.

    Where y is smooth, the gap between the one-sided slopes over a step s is s |y''|: a step ten times as long
    makes it ten times as large. At a kink the gap stays the same, at a jump it falls to a tenth. Where y jumps by
    the same amount on both sides, as sign does at 0, there is no gap, but the slopes themselves fall to a tenth.
    The steps are longer than eps, so that a kink within eps of the point looks as if it were at the point.
    """
    j = c.columns[column]
    middle = c.rows(0.0, j)
    gaps, slopes = [], []
    for step in (100 * tolerances.eps, 10 * tolerances.eps):
        below, above = (middle - c.rows(-step, j)) / step, (c.rows(step, j) - middle) / step
        gaps.append(np.abs(above - below))
        slopes.append(np.minimum(np.abs(below), np.abs(above)))
    low, high = np.minimum(below, above), np.maximum(below, above)
    allowed = tolerances.allowed(np.maximum(np.abs(low), np.abs(high)))
    bent = (gaps[0] < 3 * gaps[1]) & (gaps[1] > allowed)
    # At a kink any slope between the two is fine; one outside them is wrong all the same.
    a = c.analytic[:, column]
    kinks = bent & (a >= low - allowed) & (a <= high + allowed)
    jumps = (3 * slopes[0] < slopes[1]) & (slopes[1] > allowed)
    # If one row is singular in x_j, like sqrt at 0, its 0 * inf reaches the other rows.
    singular = ~np.isfinite(gaps[1])
    return below, above, kinks | jumps | singular | (singular.any() & ~np.isfinite(a))


def _fail_at_kink(c: Comparison, row: int, column: int, below: float, above: float, eps: float) -> NoReturn:
    if not np.isfinite(above - below):
        what = "is not finite on both sides of a point (the edge of its domain, or a singularity)"
    elif max(abs(above), abs(below)) * eps > 1e-3:
        what = "jumps"
    else:
        what = "has a kink"
    subject = "the function" if c.check == "gradcheck" else "the gradient of the function"
    raise KinkError(
        f"{c.check}: {subject} {what}, so there is no derivative to compare with.\n"
        f"  where      {c.place(column)} = {c.value(column):.6g}, or within {eps:g} of it\n"
        f"  slopes     of {c.row_name(row)}: {below:.6g} below, {above:.6g} above\n"
        f"  backward   {c.analytic[row, column] + 0.0:.6g}\n"
        f"This says nothing against backward. Move the input away by more than {100 * eps:g}, and check there."
    )


def _fail(c: Comparison, wrong: Array, row: int, column: int, tolerances: Tolerances) -> NoReturn:
    a, n = float(c.analytic[row, column]), float(c.numeric[row, column])
    relative = abs(a - n) / max(abs(a), abs(n)) if np.isfinite(a) else np.nan
    counted = f"{np.count_nonzero(wrong)} of the {wrong.size} elements of its Jacobian are off"
    if len(c.columns) < c.x.numel():
        counted = "c^T J v is off for random c and v, and halving v led to one element"
    raise GradcheckError(
        f"{c.check}: backward is wrong for {describe(c.name, c.x)}: {counted}.\n"
        f"  the worst  d {c.row_name(row)} / d {c.place(column)}, where {c.place(column)} = {c.value(column):.6g}\n"
        f"  analytic   {a:.9g} (from backward)\n"
        f"  numeric    {n:.9g} (from differences, eps={tolerances.eps:g})\n"
        f"  off by     {abs(a - n):.3g}, relative error {relative:.3g}; "
        f"allowed {tolerances.atol:g} + {tolerances.rtol:g} * |numeric|\n"
        f"{_hint(c, c.analytic[wrong], c.numeric[wrong], tolerances.eps)}"
    )


def _hint(c: Comparison, analytic: Array, numeric: Array, eps: float) -> str:
    """A hint, if the numbers look like a typical mistake."""
    if not np.isfinite(analytic).all():
        return "Backward gives NaN or infinity where the differences are finite."
    if not analytic.any():
        if not c.recorded:
            return "No output requires grad: does the function leave the graph (detach, .data, .numpy(), .item())?"
        return "Backward gives 0 for each of them: is a path missing, or cut by detach() or a None?"
    noise = 10 * np.finfo(np.float64).eps * c.magnitude / eps
    if (np.abs(analytic - numeric) < noise).all():
        return f"But rounding of outputs this large explains {noise:.1g}: scale the function down, or raise atol."
    if (np.abs(numeric) < 1e-3 * np.abs(analytic)).all():
        return "The differences are 0, or next to it: the function does not depend on what has a gradient here."
    factors = analytic / numeric
    if factors.size > 1 and np.allclose(factors, factors[0], rtol=1e-3, atol=0):
        if np.isclose(factors[0], -1, rtol=1e-3):
            return "Each of them is the negative of what it should be: a sign is wrong."
        return f"Each of them is {factors[0]:.4g} times what it should be: a constant factor is wrong."
    return "Work this one element out by hand, at these inputs, forward and backward."
