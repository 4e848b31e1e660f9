"""Following a computation number by number: what each step did, forward and backward, and why.

    from tinytorch import study

    with study.trace() as t:
        loss = ...
    t.backward(loss)
    print(t.why("scores[2,1]"))
"""

from .check import Check
from .compare import Comparison, compare
from .derivations import derivation_of, formula_of
from .explanation import Explanation
from .nonfinite import first_nonfinite
from .practice.task import exercise
from .trace import Trace, TraceTooLarge, named

trace = Trace

__all__ = [
    "trace", "Trace", "TraceTooLarge", "named", "Explanation", "Check",
    "compare", "Comparison", "first_nonfinite", "derivation_of", "formula_of",
    "exercise",
]  # fmt: skip
