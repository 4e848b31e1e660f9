"""Following a computation number by number: what each step did, forward and backward, and why.

    from tinytorch import study

    with study.trace() as t:
        loss = ...
    t.backward(loss)
    print(t.why("scores[2,1]"))
"""

from .derivations import derivation_of, formula_of
from .explanation import Explanation
from .trace import Trace, TraceTooLarge, named

trace = Trace

__all__ = ["Explanation", "Trace", "TraceTooLarge", "derivation_of", "formula_of", "named", "trace"]
