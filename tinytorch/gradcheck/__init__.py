"""Is a backward the derivative of its forward? gradcheck compares it with finite differences of the forward.

Seen as vectors, a function f takes x in R^n to y in R^m, and its derivative is the Jacobian
J_kj = dy_k/dx_j. Backward knows J from one side, as the map c -> J^T c. The forward knows it from the
other: a step h along v gives

    (f(x + h v) - f(x - h v)) / 2h = J v + O(h^2)

With h = 1e-6 the error is about 1e-9 in float64 (h^2 from the series, 1e-16/h from rounding). In float32 the
rounding asks for a longer step, which leaves an error of about 1e-4. Slow mode compares J element by element:
rows from backward with c = e_k, columns from steps along v = e_j. Fast mode compares one number for each input,
c^T J v with random c and v.

At a kink (relu at 0) there is no J: the slopes below and above differ, and the central difference is
their mean. gradcheck distinguishes this from a wrong backward, and says so.

`point.py` is f at x, `tolerances.py` what passes, `differences.py` numeric derivatives, `check.py` the comparison,
`report.py`, `hints.py` and `patterns.py` what is said of it, `arrays.py` the same for functions of NumPy arrays.
"""

from .arrays import gradcheck_numpy
from .check import gradcheck, gradgradcheck
from .differences import numeric_gradient, numeric_jacobian
from .report import GradcheckError, GradcheckInputError, KinkError
from .tolerances import KinkWarning

__all__ = [
    "GradcheckError", "GradcheckInputError", "KinkError", "KinkWarning", "gradcheck", "gradcheck_numpy",
    "gradgradcheck", "numeric_gradient", "numeric_jacobian",
]  # fmt: skip
