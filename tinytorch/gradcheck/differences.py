"""Numeric derivatives: of the values of a function alone, without its backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import is_floating
from ..engine.tensor import wrap
from ..grad_mode import no_grad
from ..ops.common import is_tensor
from .report import GradcheckInputError
from .tolerances import SHORTEST, Array

_STEPS = (2e-2, 2e-3, SHORTEST)  # where an extrapolation begins: the first is right for functions that bend slowly
_LEVELS = 4  # steps of an extrapolation, each half as long as the one before


def extrapolated(move: Callable[[float], Array]) -> Array:
    """The derivative at 0 of y = move(t), by Richardson's extrapolation of central differences.

    With D(h) = (y(h) - y(-h)) / 2h = y' + a h^2 + b h^4 + ..., the combination (4 D(h/2) - D(h)) / 3 has no h^2, the
    same with 16 and 15 of two such no h^4, and so on: some 13 digits are right, since h need not be tiny. Of several
    first steps, each number is taken from the one whose last two extrapolations agree best.
    """
    best: Array | None = None
    error = before = np.zeros(())
    for first in _STEPS:
        row: list[Array] = []
        for level in range(_LEVELS):
            h = first / 2**level
            row = _next_row(row, (move(h) - move(-h)) / (2 * h))
            if level == _LEVELS - 2:
                before = row[-1]
        off = np.nan_to_num(np.abs(row[-1] - before), nan=np.inf)
        if best is None:
            best, error = row[-1], off
        else:
            best, error = np.where(off < error, row[-1], best), np.minimum(off, error)
    return np.asarray(best)


def _next_row(above: list[Array], difference: Array) -> list[Array]:
    row = [difference]
    for k, coarser in enumerate(above, 1):
        row.append((4**k * row[-1] - coarser) / (4**k - 1))
    return row


def numeric_jacobian(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, richardson: bool = False) -> Any:
    """The Jacobian of func at the inputs by finite differences, in the form of `autograd.functional.jacobian`.

    inputs: a Tensor or NumPy array, or a tuple of these and of anything else; func gets them, and returns a Tensor or
    array. The result is a Tensor (an array, if the inputs are arrays) of the output's shape followed by the input's;
    for a tuple of inputs a tuple of these, None for what is no floating Tensor or array. Nothing need require grad.

    Central differences with steps of eps are right to some 9 digits in float64; with richardson=True, which takes 24
    values of func in place of 2 for each element and ignores eps, to some 13. Inputs must be float64.
    """
    given = list(inputs) if isinstance(inputs, tuple) else [inputs]
    found: list[Any] = []
    if not any(_is_array(x) for x in given):
        raise GradcheckInputError(f"numeric_jacobian: none of the {len(given)} inputs is a floating Tensor or array")
    with no_grad(), np.errstate(all="ignore"):
        for i, x in enumerate(given):
            if not _is_array(x):
                found.append(None)
                continue
            if x.dtype != np.float64:
                raise GradcheckInputError(
                    f"numeric_jacobian: input {i} is {x.dtype}, too coarse for differences: give it as float64"
                )
            found.append(_jacobian(func, given, i, eps, richardson))
    return tuple(found) if isinstance(inputs, tuple) else found[0]


def _is_array(x: Any) -> bool:
    return (is_tensor(x) or isinstance(x, np.ndarray)) and is_floating(x.dtype)


def _jacobian(func: Callable[..., Any], given: list[Any], i: int, eps: float, richardson: bool) -> Any:
    x = given[i]
    here = x.array if is_tensor(x) else x
    args = list(given)

    def values(j: int, t: float) -> Array:
        moved = here.copy(order="C")
        moved.reshape(-1)[j] += t
        args[i] = wrap(moved) if is_tensor(x) else moved
        y = values_of(func(*args))
        if y is None or isinstance(y, (tuple, list)):
            raise GradcheckInputError(f"numeric_jacobian: func must return one Tensor or array, not {type(y).__name__}")
        return np.array(y, np.float64)

    def column(j: int) -> Array:
        if richardson:
            return extrapolated(lambda t: values(j, t))
        return np.asarray((values(j, eps) - values(j, -eps)) / (2 * eps))

    if not here.size:
        shape = np.shape(values_of(func(*given)))
        jacobian = np.zeros((*shape, *here.shape))
    else:
        columns = [column(j) for j in range(here.size)]
        jacobian = np.stack(columns, -1).reshape((*columns[0].shape, *here.shape))
    return wrap(jacobian) if is_tensor(x) else jacobian


def values_of(y: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return y.array if is_tensor(y) else y


def numeric_gradient(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, richardson: bool = False) -> Any:
    """The gradient of a func that returns one number, by finite differences: of each input's shape.

    Otherwise like `numeric_jacobian`.
    """

    def number(*args: Any) -> Any:
        y = func(*args)
        if np.size(values_of(y)) != 1:
            raise GradcheckInputError(
                f"numeric_gradient: func returns shape {tuple(np.shape(values_of(y)))}, a gradient is that of one "
                "number: take numeric_jacobian"
            )
        return np.reshape(values_of(y), ())

    return numeric_jacobian(number, inputs, eps=eps, richardson=richardson)
