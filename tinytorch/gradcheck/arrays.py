"""gradcheck for a function and a backward that are written on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import is_floating
from ..engine.function import Function
from ..engine.tensor import wrap
from ..repairs import explain
from .check import run
from .differences import numeric_jacobian
from .point import Point
from .report import GradcheckError, GradcheckInputError
from .tolerances import Tolerances


def gradcheck_numpy(
    f: Callable[..., Any],
    df: Callable[..., Any],
    x: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    fast_mode: bool = False,
) -> bool:
    """gradcheck of a function on NumPy arrays and the backward that somebody wrote for it.

    x: an array, or a tuple of anything; its arrays of floats are checked. f(*x) returns an array or a number, or a
    tuple of them; df(*x, *g) gets the gradients that come in, one for each output and of its shape, and returns the
    gradient of each checked array, of its shape: one, or a tuple. Otherwise like `gradcheck`.

        gradcheck_numpy(np.sin, lambda x, g: g * np.cos(x), np.linspace(0.0, 1.0, 5))
    """
    given = list(x) if isinstance(x, (tuple, list)) else [x]
    places = [i for i, value in enumerate(given) if isinstance(value, np.ndarray) and is_floating(value.dtype)]
    if not places:
        raise GradcheckInputError(
            f"gradcheck_numpy: none of the {len(given)} inputs is an array of floats: give them as NumPy arrays"
        )

    def arguments(arrays: Any) -> list[Any]:
        """All arguments, those that are checked as given."""
        moved = dict(zip(places, arrays, strict=True))
        return [moved.get(i, value) for i, value in enumerate(given)]

    ys = f(*arguments([given[i].copy() for i in places]))
    for k, y in enumerate(ys if isinstance(ys, (tuple, list)) else [ys]):
        if not is_floating(np.asarray(y).dtype):
            raise GradcheckInputError(
                f"gradcheck_numpy: output {k} of f is {np.asarray(y).dtype}, without a derivative: f must return floats"
            )

    class OnArrays(Function):
        @staticmethod
        def forward(ctx: Any, *arrays: Any) -> Any:
            ctx.arrays = arrays
            ys = f(*arguments(arrays))
            return tuple([np.array(y) for y in ys]) if isinstance(ys, (tuple, list)) else np.array(ys)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            found = df(*arguments(ctx.arrays), *[np.array(g.array) for g in grads])
            gradients = list(found) if isinstance(found, tuple) else [found]
            if len(gradients) != len(places):
                raise GradcheckError(
                    f"gradcheck_numpy: df returns {len(gradients)} gradients for {len(places)} arrays of floats"
                )
            return tuple([
                None if gradient is None else wrap(_fitting(i, np.asarray(gradient), array, grads))
                for i, gradient, array in zip(places, gradients, ctx.arrays, strict=True)
            ])  # fmt: skip

    def _fitting(i: int, gradient: Any, array: Any, grads: Any) -> Any:
        """The gradient, of the shape and dtype of its input."""
        if gradient.dtype.kind not in "fiub" and not is_floating(gradient.dtype):
            raise GradcheckError(f"gradcheck_numpy: the gradient of input {i} is {gradient.dtype}, not of real numbers")
        if gradient.shape == array.shape:
            return gradient.astype(array.dtype, copy=True)
        error = GradcheckError(
            f"gradcheck_numpy: the gradient of input {i} has shape {gradient.shape}: it must be the input's, "
            f"{array.shape}.{_repair(i, gradient, grads)}"
        )
        error.input, error.name = i, f"input {i}"
        raise error

    def _repair(i: int, gradient: Any, grads: Any) -> str:
        """The repair that makes a gradient of another shape right, in a sentence."""
        if given[i].dtype != np.float64 or gradient.dtype.kind != "f":
            return ""

        def projected(moved: Any) -> Any:
            ys = f(*[moved if k == i else value for k, value in enumerate(given)])
            pairs = zip(ys if isinstance(ys, (tuple, list)) else [ys], grads, strict=True)
            return sum(float((np.asarray(y) * g.array).sum()) for y, g in pairs)

        found = explain(gradient.astype(np.float32), numeric_jacobian(projected, given[i]))
        if not found or found[0].text.startswith("the shape is"):
            return ""
        return f" A repair fits: {'; or: '.join([repair.text for repair in found])}."

    inputs = [wrap(value.copy()).requires_grad_() if i in places else value for i, value in enumerate(given)]
    tolerances = Tolerances(eps, atol, rtol, nondet_tol)

    def point() -> Point:
        return Point("gradcheck_numpy", lambda *args: OnArrays.apply(*[args[i] for i in places]), inputs, tolerances)

    return run(point, raise_exception, check_undefined_grad, fast_mode)
