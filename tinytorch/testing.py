"""For other people's test suites: gradients that are asserted to be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .gradcheck import GradcheckError, GradcheckInputError, gradcheck, gradgradcheck

__all__ = ["assert_gradients"]


def assert_gradients(
    func: Callable[..., Any],
    inputs: Any,
    *,
    second: bool = False,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    fast_mode: bool = False,
) -> None:
    """Assert that backward gives the derivatives of func, or of a Module, at the inputs; with second, also theirs.

    An AssertionError says what `gradcheck` says, and its `__cause__` is the GradcheckError with the numbers. pytest
    shows the line of the test. Inputs that cannot be checked raise GradcheckInputError, as in gradcheck.
    """
    __tracebackhide__ = True  # of pytest
    options: dict[str, Any] = {
        "eps": eps,
        "atol": atol,
        "rtol": rtol,
        "nondet_tol": nondet_tol,
        "check_undefined_grad": check_undefined_grad,
        "fast_mode": fast_mode,
    }
    try:
        gradcheck(func, inputs, **options)
        if second:
            gradgradcheck(func, inputs, **options)
    except GradcheckInputError:
        raise
    except GradcheckError as error:
        raise AssertionError(str(error)) from error
