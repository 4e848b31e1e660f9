"""gradcheck's messages: the worst element, and kinks as distinct from mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from ..warning import warn_user
from .hints import hint
from .tolerances import Array, KinkWarning, Tolerances

if TYPE_CHECKING:
    from ..tensor import Tensor


class GradcheckError(RuntimeError):
    """The backward does not agree with the forward.

    Its attributes say of the worst element what the message says. Where a gradient is not compared with differences
    (an input that cannot be checked, a backward that is not deterministic), all of them are None; in fast mode, where
    rows are not told apart, those of the output and the Jacobians are.
    """

    input: int | None = None  # which of the inputs; None if it is a module's parameter, see `name`
    name: str | None = None  # "input 0", or a parameter's own: "2.weight"
    index: tuple[int, ...] | None = None  # the element of that input
    output: int | None = None  # which of the outputs
    output_index: tuple[int, ...] | None = None  # the element of that output
    analytic: float | None = None  # the derivative by backward
    numeric: float | None = None  # the derivative by differences
    # The whole Jacobians with respect to that input: a row for each element of all outputs, a column for each of it.
    analytic_jacobian: Array | None = None
    numeric_jacobian: Array | None = None


class KinkError(GradcheckError):
    """There is no derivative to compare with: here is a kink, a jump or the edge of the function's domain."""


class GradcheckInputError(GradcheckError, ValueError):
    """These inputs cannot be checked; raised even with raise_exception=False."""


class Comparison(NamedTuple):
    """Derivatives of combinations of the outputs (rows) with respect to elements of one input (columns)."""

    check: str  # gradcheck or gradgradcheck
    name: str  # the input's
    number: int | None  # the input's; None for a parameter
    x: Tensor
    columns: Sequence[int]  # the elements of x
    analytic: Array
    numeric: Array
    rows: Callable[[float, int], Array]  # (t, j) -> the rows with x_j moved by t
    row_name: Callable[[int], str]
    row: Callable[[int], tuple[int, tuple[int, ...]]] | None  # the output and the index in it; None for c^T J
    magnitude: float  # the outputs'
    recorded: bool  # whether an output requires grad
    others: Callable[[], Mapping[str, Array]]  # the numeric Jacobians of other inputs of the same shape, by name
    shapes: list[tuple[int, ...]]  # the outputs'
    values: Callable[[], tuple[Mapping[str, Array], Mapping[str, Array]]]  # of all inputs and outputs, by name

    def element(self, column: int) -> tuple[int, ...]:
        """Where x_j is in x."""
        return index_of(self.columns[column], self.x)

    def place(self, column: int) -> str:
        """The name of x_j."""
        return self.name + index_text(self.element(column))

    def value(self, column: int) -> float:
        """x_j"""
        return float(self.x.array.reshape(-1)[self.columns[column]])

    def known(self, error: GradcheckError, row: int, column: int) -> GradcheckError:
        """The error, with what it is about."""
        error.input, error.name, error.index = self.number, self.name, self.element(column)
        error.analytic, error.numeric = float(self.analytic[row, column]), float(self.numeric[row, column])
        if self.row is not None:
            error.output, error.output_index = self.row(row)
            error.analytic_jacobian, error.numeric_jacobian = self.analytic, self.numeric
        return error


def index_of(flat: int, x: Tensor) -> tuple[int, ...]:
    """(1, 2) for an element of a matrix; () for a number."""
    return tuple(int(n) for n in np.unravel_index(flat, x.shape)) if x.ndim else ()


def index_text(index: tuple[int, ...]) -> str:
    """[1, 2] for an element of a matrix; nothing for a number."""
    return str(list(index)) if index else ""


def describe(name: str, x: Tensor) -> str:
    """input 0 (float64 (3, 4))"""
    return f"{name} ({x.dtype} {tuple(x.shape)})"


def judge(c: Comparison, tolerances: Tolerances) -> None:
    """Raise for the worst element that no kink explains; if kinks explain all of them, for the worst of those."""
    _check_told(c, tolerances)
    excess = tolerances.excess(c.analytic, c.numeric)
    wrong = excess > 1
    if not wrong.any():
        return
    if not tolerances.coarse:
        _check_precision(c, *_largest(excess, wrong), tolerances.eps)
    below, above, kinks = np.zeros_like(excess), np.zeros_like(excess), np.zeros_like(wrong)
    for j in np.flatnonzero(wrong.any(axis=0)):
        below[:, j], above[:, j], _, kinks[:, j] = _one_sided(c, int(j), tolerances)
    mistakes = wrong & ~kinks
    if mistakes.any():
        _fail(c, mistakes, *_largest(excess, mistakes), tolerances)
    row, column = _largest(np.nan_to_num(np.abs(above - below), nan=np.inf), wrong)
    _fail_at_kink(c, row, column, float(below[row, column]), float(above[row, column]), tolerances)


def note_kinks(c: Comparison, columns: Iterable[int], tolerances: Tolerances) -> None:
    """Warn of the first of these columns that is at a kink, and whose derivative is the mean of both slopes."""
    for j in columns:
        below, above, bent, _ = _one_sided(c, j, tolerances)
        row = int(np.argmax(np.where(bent, np.abs(above - below), -1)))
        mean = (float(below[row]) + float(above[row])) / 2
        if bent[row]:
            warn_user(
                f"{c.check}: note: {c.place(j)} = {c.value(j):.6g} is at a kink or a tie: {c.row_name(row)} has the "
                f"slopes {below[row]:.6g} below and {above[row]:.6g} above, and backward gives their mean, {mean:.6g}. "
                "Differences cannot tell whether that is meant",
                KinkWarning,
            )
            return


def _largest(values: Array, among: Array) -> tuple[int, int]:
    row, column = np.unravel_index(np.argmax(np.where(among, values, -1)), values.shape)
    return int(row), int(column)


def _check_told(c: Comparison, tolerances: Tolerances) -> None:
    """Raise if, in a coarse dtype, rounding hides any derivative as small as these."""
    largest = float(np.abs(c.analytic[np.isfinite(c.analytic)]).max(initial=0))
    noise = tolerances.noise(c.magnitude)
    if tolerances.coarse and 0 < largest < noise and noise >= tolerances.atol:
        raise GradcheckInputError(
            f"{c.check}: nothing can be told of {describe(c.name, c.x)}: rounding of outputs as large as "
            f"{c.magnitude:.3g} leaves {noise:.2g} in the differences, and no derivative is larger than {largest:.2g}. "
            "Scale the function down, or call .double() on all of it"
        )


def _check_precision(c: Comparison, row: int, column: int, eps: float) -> None:
    """Raise if the differences are noise, because float32 or less is at work inside an operation.

    The fourth difference of five values along x_j is almost 0 on a smooth function, even beside a kink. Rounding to
    float32 leaves about 1e-7 of the value there, on both sides of the point.
    """
    j = c.columns[column]
    sides = [np.array([c.rows(20 * eps * n * side, j)[row] for n in range(1, 6)]) for side in (-1, 1)]
    scatter = min(float(np.abs(np.diff(values, 4)).max()) for values in sides)
    if scatter > 1e-10 * max(float(np.abs(values).max()) for values in sides):
        raise GradcheckInputError(
            f"{c.check}: rounding drowns the differences, as something inside the function is coarser than float64, or "
            f"far larger than its result: its values scatter by {scatter:.2g} around {c.place(column)} = "
            f"{c.value(column):.6g}. Keep all of it in float64, by .double() on constants and parameters, or give "
            "eps=5e-3, atol=1e-3, rtol=1e-2 for a rough check"
        )


def _one_sided(c: Comparison, column: int, tolerances: Tolerances) -> tuple[Array, Array, Array, Array]:
    """The slopes of the rows below and above x_j, whether they differ as at a kink, and whether that explains backward.

    Where y is smooth, the gap between the one-sided slopes over a step s is s |y''|: a step ten times as long
    makes it ten times as large. At a kink the gap stays the same, at a jump it falls to a tenth. Where y jumps by
    the same amount on both sides, as sign does at 0, there is no gap, but the slopes themselves fall to a tenth.
    The steps are longer than eps, so that a kink within eps of the point looks as if it were at the point.
    """
    j = c.columns[column]
    middle = c.rows(0.0, j)
    gaps, slopes = [], []
    for step in tolerances.steps:
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
    if tolerances.coarse:  # over steps this long, a slope may well pass through 0: only the size tells
        jumps &= slopes[1] > 1
    # If one row is singular in x_j, like sqrt at 0, its 0 * inf reaches the other rows.
    singular = ~np.isfinite(gaps[1])
    return below, above, bent, kinks | jumps | singular | (singular.any() & ~np.isfinite(a))


def _fail_at_kink(c: Comparison, row: int, column: int, below: float, above: float, tolerances: Tolerances) -> NoReturn:
    eps = tolerances.eps
    if not np.isfinite(above - below):
        what = "is not finite on both sides of a point (the edge of its domain, or a singularity)"
    elif max(abs(above), abs(below)) * eps > (0.3 if tolerances.coarse else 1e-3):
        what = "jumps"
    else:
        what = "has a kink"
    subject = "the function" if c.check != "gradgradcheck" else "the gradient of the function"
    error = KinkError(
        f"{c.check}: {subject} {what}, so there is no derivative to compare with.\n"
        f"  where      {c.place(column)} = {c.value(column):.6g}, or within {tolerances.reach:g} of it\n"
        f"  slopes     of {c.row_name(row)}: {below:.6g} below, {above:.6g} above\n"
        f"  backward   {c.analytic[row, column] + 0.0:.6g}\n"
        "This says nothing against backward. Move the input away by more than "
        f"{tolerances.steps[0]:g}, and check there."
    )
    raise c.known(error, row, column)


def _fail(c: Comparison, wrong: Array, row: int, column: int, tolerances: Tolerances) -> NoReturn:
    a, n = float(c.analytic[row, column]), float(c.numeric[row, column])
    relative = abs(a - n) / max(abs(a), abs(n)) if np.isfinite(a) else np.nan
    counted = f"{np.count_nonzero(wrong)} of the {wrong.size} elements of its Jacobian are off"
    if len(c.columns) < c.x.numel():
        counted = "c^T J v is off for random c and v, and halving v led to one element"
    how = "extrapolated" if tolerances.extrapolated else f"eps={tolerances.eps:g}"
    error = GradcheckError(
        f"{c.check}: backward is wrong for {describe(c.name, c.x)}: {counted}.\n"
        f"  the worst  d {c.row_name(row)} / d {c.place(column)}, where {c.place(column)} = {c.value(column):.6g}\n"
        f"  analytic   {a:.9g} (from backward)\n"
        f"  numeric    {n:.9g} (from differences, {how})\n"
        f"  off by     {abs(a - n):.3g}, relative error {relative:.3g}; "
        f"allowed {tolerances.atol:g} + {tolerances.rtol:g} * |numeric|\n"
        f"{hint(c, wrong, tolerances)}"
    )
    raise c.known(error, row, column)
