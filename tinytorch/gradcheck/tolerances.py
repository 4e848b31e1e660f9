"""What passes: the step of the differences and the bounds on an error, in float64 and in coarser dtypes."""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from ..dtypes import float16, float32

Array = np.ndarray[Any, Any]

DOUBLE = float(np.finfo(np.float64).eps)
# By dtype: the precision, and the step, atol and rtol that suit it. The step balances rounding, precision/h, with
# the series, h^2. In bfloat16 nothing would be left to tell.
_COARSE = {float32: (2.0**-23, 5e-3, 1e-3, 1e-2), float16: (2.0**-10, 6e-2, 5e-2, 5e-2)}
SHORTEST = 2e-4  # the last of the steps from which differences are extrapolated
_CLOSE = 1e-8  # tolerances below this ask for more than central differences know


def precision(dtype: Any) -> float:
    """The distance from 1 to the next number of this dtype."""
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


class KinkWarning(UserWarning):
    """gradcheck's note that the check passed at a kink, where backward gives the mean of both slopes."""


class Tolerances(NamedTuple):
    """The step of the differences, and the bounds in |analytic - numeric| <= atol + rtol |numeric|."""

    eps: float
    atol: float
    rtol: float
    nondet_tol: float
    precision: float = DOUBLE  # of the coarsest dtype at work

    @property
    def coarse(self) -> bool:
        """Whether something less than float64 is at work."""
        return self.precision > DOUBLE

    @property
    def extrapolated(self) -> bool:
        """Whether the tolerances ask for an accuracy beyond central differences."""
        return not self.coarse and self.atol + self.rtol < _CLOSE

    @property
    def reach(self) -> float:
        """How far from the point a kink is seen by the differences, at the least."""
        return SHORTEST if self.extrapolated else self.eps

    @property
    def steps(self) -> tuple[float, float]:
        """The long and the short step of one-sided slopes."""
        if self.extrapolated:
            return 50 * self.reach, 5 * self.reach
        long, short = (20, 2) if self.coarse else (100, 10)
        return long * self.eps, short * self.eps

    def fitted(self, dtype: Any) -> Tolerances | None:
        """The same, or wider where this dtype needs that; None where it is too coarse for any differences."""
        if dtype not in _COARSE:
            return None
        precision, *least = _COARSE[dtype]
        eps, atol, rtol = (max(pair) for pair in zip((self.eps, self.atol, self.rtol), least, strict=True))
        return Tolerances(eps, atol, rtol, self.nondet_tol, precision)

    def noise(self, magnitude: float) -> float:
        """What rounding does to the differences of outputs that are as large as this."""
        return 4 * self.precision * magnitude / self.reach

    def allowed(self, numeric: Array) -> Array:
        """The largest difference that passes."""
        return self.atol + self.rtol * np.abs(numeric)

    def excess(self, analytic: Any, numeric: Any) -> Array:
        """The difference as a multiple of the tolerance; infinite if either value is not finite."""
        excess = np.abs(analytic - numeric) / self.allowed(numeric)
        return np.where(np.isfinite(excess), excess, np.inf)
