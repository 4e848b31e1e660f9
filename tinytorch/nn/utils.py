"""Gradient clipping, and parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..engine.runner import untraced
from ..engine.tensor import wrap
from ..grad_mode import no_grad
from ..kernels import optim as kernels
from ..kernels.launch import require_writable
from ..ops.joining import cat
from ..tensor import Tensor

_KERNEL_DTYPES = (np.dtype("float32"), np.dtype("float64"))


def _gradients(parameters: Tensor | Iterable[Tensor]) -> dict[int, Tensor]:
    """The gradients, by the number of the parameter."""
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return {number: p._grad for number, p in enumerate(parameters) if p._grad is not None}


def _check_writable(gradients: dict[int, Tensor], what: str) -> None:
    for number, gradient in gradients.items():
        require_writable(gradient.array, f"{what}: the gradient of parameter {number}")


@untraced
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients by max_norm / norm if their total norm exceeds max_norm; returns the norm.

    The norm is that of one vector of all gradients: the sum of |g|^norm_type, to the power
    1/norm_type, or the largest |g| for infinity (Pascanu et al. 2013). With error_if_nonfinite a
    norm that is infinite or NaN raises RuntimeError.
    """
    by_number = _gradients(parameters)
    gradients = by_number.values()
    # Arrays in C order, aligned and writable, go to the kernels in one launch per dtype; the rest go one by one.
    together: dict[Any, list[Any]] = {}
    apart: list[Any] = []
    for gradient in gradients:
        array = gradient.array
        if array.flags.carray and array.dtype in _KERNEL_DTYPES:
            together.setdefault(array.dtype, []).append(array)
        else:
            apart.append(array)
    lists = [kernels.ArrayList.of(arrays) for arrays in together.values()]
    if norm_type == 2.0:
        total = math.hypot(*map(kernels.grad_norm, lists), *(_norm([array], 2.0) for array in apart))
    else:
        total = _norm([gradient.array for gradient in gradients], float(norm_type))
    if error_if_nonfinite and not math.isfinite(total):
        raise _not_finite(norm_type)
    factor = max_norm / (total + 1e-6)
    if not factor >= 1.0:  # also if it is NaN
        if apart:
            _check_writable(by_number, "clip_grad_norm_")
        for array_list in lists:
            kernels.scale(array_list, factor)
        for array in apart:
            array *= factor
        for gradient in gradients:
            gradient._counter[0] += 1
    dtype = np.result_type(*together, *(array.dtype for array in apart)) if gradients else np.float32
    return wrap(np.asarray(total, dtype))


def _not_finite(norm_type: float) -> RuntimeError:
    return RuntimeError(
        f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
        "clipped. Set error_if_nonfinite=False to scale the gradients all the same"
    )


def _norm(arrays: list[Any], order: float) -> float:
    if order == math.inf:
        return float(np.max([np.abs(array).max(initial=0.0) for array in arrays], initial=0.0))
    return float(sum((np.abs(array.astype(np.float64)) ** order).sum() for array in arrays) ** (1.0 / order))


@untraced
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamp every element of every gradient to [-clip_value, clip_value]."""
    gradients = _gradients(parameters)
    _check_writable(gradients, "clip_grad_value_")
    with no_grad():
        for gradient in gradients.values():
            gradient.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters flattened and joined, in order. Gradients flow through."""
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the parts of a vector back into the parameters, in order.

    Raises ValueError unless the vector has exactly their number of elements.
    """
    parameters = list(parameters)
    total = sum(parameter.numel() for parameter in parameters)
    if vec.numel() != total:
        raise ValueError(f"the vector has {vec.numel()} elements for parameters that have {total}")
    start = 0
    with no_grad():
        for parameter in parameters:
            stop = start + parameter.numel()
            parameter.copy_(vec[start:stop].reshape(parameter.shape))
            start = stop
