"""One launch over all parameters: AdamW, the norm of all gradients, scaling and zeroing them.

    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2        g the gradient of the parameter w, at step t
    w = (1 - lr weight_decay) w - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)

    norm = sqrt(sum of g^2 over all elements of all gradients)

A model has many small parameters, and a call for each costs more than its arithmetic. An `ArrayList`
holds the addresses and sizes of arrays of one type; the kernels see them as one long vector and cut
it into equal pieces, wherever the cuts fall, so threads share the work evenly whatever the sizes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from operator import is_
from typing import Any
from weakref import ref

import numpy as np
from numba import carray, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .compiler import serial
from .launch import launched, require_writable, zeros
from .threads import parallel_for

Array = NDArray[np.floating]
Addresses = NDArray[np.int64]

_GRAIN = 16384  # elements that a thread takes at a time; fewer are not worth a second thread


@launched
@serial
def _address(array: Array) -> int:
    # This takes a fifth of the time of the same in NumPy, and each step asks for the address of every gradient.
    return array.ctypes.data


class ArrayList:
    """The addresses and sizes of several arrays. It holds references to them, so the addresses stay valid.

    The arrays are float32 or float64. Raises ValueError unless all are of one type, aligned and C-contiguous.
    """

    _may_be_written = False

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = list(arrays)
        dtype = self.arrays[0].dtype if self.arrays else np.dtype(np.float32)
        for position, array in enumerate(self.arrays):
            if array.dtype is not dtype and array.dtype != dtype:
                raise ValueError(f"ArrayList: expected one dtype, got {sorted({str(a.dtype) for a in self.arrays})}")
            flags = array.flags
            if not (flags.carray or (flags.c_contiguous and flags.aligned)):
                raise ValueError(f"ArrayList: array {position}, shape {array.shape}, is not C-contiguous and aligned")
        self.like = np.empty(0, dtype)
        self.addresses = np.array([_address(a.ravel()) for a in self.arrays], np.int64)
        self.sizes = [a.size for a in self.arrays]
        # offsets[k] is where array k starts in the vector of all elements
        self.offsets = np.array([0, *accumulate(self.sizes)], np.int64)

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> ArrayList:
        """Return an ArrayList of these arrays. The last few are remembered: clipping and optimizers share them."""
        for references, known in tuple(_latest):
            # Comparing the first array rules out most of them.
            if len(references) != len(arrays) or (arrays and references[0]() is not arrays[0]):
                continue
            if all(map(is_, arrays, [reference() for reference in references])):
                again = cls.__new__(cls)
                again.__dict__.update(known, arrays=list(arrays))
                return again
        made = cls(arrays)
        # Without the arrays: remembering them must not keep them alive.
        known = {name: value for name, value in made.__dict__.items() if name != "arrays"}
        _latest.appendleft(([ref(array) for array in made.arrays], known))
        return made

    def require_writable(self, what: str) -> None:
        """Raise RuntimeError if an array must not be written to. A list that has passed is not checked again."""
        if not self._may_be_written:
            for position, array in enumerate(self.arrays):
                if not array.flags.writeable:
                    require_writable(array, f"{what} {position}")
            self._may_be_written = True


_latest: deque[tuple[list[ref[Array]], dict[str, Any]]] = deque(maxlen=4)


@intrinsic
def _pointer(typing_context, address) -> Any:
    def codegen(context, builder, signature, args) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


@serial
def _piece(addresses: Addresses, offsets: Addresses, k, start: int, stop: int, like: Array) -> Any:
    """Elements start to stop of the long vector, both within array k, as an array."""
    address = addresses[k] + (start - offsets[k]) * like.itemsize
    return carray(_pointer(address), (stop - start,), like.dtype)


@serial
def _adamw_range(
    start: int,
    stop: int,
    worker: int,
    offsets: Addresses,
    params: Addresses,
    grads: Addresses,
    exp_avgs: Addresses,
    exp_avg_sqs: Addresses,
    coefficients: NDArray[np.float64],  # (parameters, 7), see adam_coefficients
    grad_scale: float,
    like: Array,
) -> None:
    real = like.dtype.type
    scale = real(grad_scale)
    k = np.searchsorted(offsets, start, side="right") - 1
    while start < stop:
        end = min(stop, offsets[k + 1])
        p = _piece(params, offsets, k, start, end, like)
        g = _piece(grads, offsets, k, start, end, like)
        m = _piece(exp_avgs, offsets, k, start, end, like)
        v = _piece(exp_avg_sqs, offsets, k, start, end, like)
        keep, penalty = real(coefficients[k, 0]), real(coefficients[k, 1])
        one_minus_beta1, beta2 = real(coefficients[k, 2]), real(coefficients[k, 3])
        one_minus_beta2 = real(1.0 - coefficients[k, 3])
        step_size, root, eps = real(coefficients[k, 4]), real(coefficients[k, 5]), real(coefficients[k, 6])
        for i in range(p.size):
            gradient = g[i] * scale + penalty * p[i]
            m[i] += one_minus_beta1 * (gradient - m[i])
            v[i] = beta2 * v[i] + one_minus_beta2 * gradient * gradient
            p[i] = keep * p[i] - step_size * m[i] / (np.sqrt(v[i]) * root + eps)
        start = end
        k += 1


@launched
@serial
def _adamw(
    offsets: Addresses,
    params: Addresses,
    grads: Addresses,
    exp_avgs: Addresses,
    exp_avg_sqs: Addresses,
    coefficients: NDArray[np.float64],
    grad_scale: float,
    like: Array,
) -> None:
    args = (offsets, params, grads, exp_avgs, exp_avg_sqs, coefficients, grad_scale, like)
    parallel_for(_adamw_range, offsets[-1], _GRAIN, args)


@serial
def _square_sum_range(
    start: int,
    stop: int,
    worker: int,
    offsets: Addresses,
    addresses: Addresses,
    sums: NDArray[np.float64],
    like: Array,
) -> None:
    # One range is one chunk of _GRAIN elements: parallel_for cuts nowhere else.
    chunk = start // _GRAIN
    k = np.searchsorted(offsets, start, side="right") - 1
    total = 0.0
    while start < stop:
        end = min(stop, offsets[k + 1])
        piece = _piece(addresses, offsets, k, start, end, like)
        for i in range(piece.size):
            total += np.float64(piece[i]) * np.float64(piece[i])
        start = end
        k += 1
    sums[chunk] = total


@launched
@serial
def _square_sum(offsets: Addresses, addresses: Addresses, sums: NDArray[np.float64], like: Array) -> None:
    parallel_for(_square_sum_range, offsets[-1], _GRAIN, (offsets, addresses, sums, like))


@serial
def _scale_range(
    start: int, stop: int, worker: int, offsets: Addresses, addresses: Addresses, factor: float, like: Array
) -> None:
    by = like.dtype.type(factor)
    k = np.searchsorted(offsets, start, side="right") - 1
    while start < stop:
        end = min(stop, offsets[k + 1])
        piece = _piece(addresses, offsets, k, start, end, like)
        for i in range(piece.size):
            piece[i] *= by
        start = end
        k += 1


@launched
@serial
def _scale(offsets: Addresses, addresses: Addresses, factor: float, like: Array) -> None:
    parallel_for(_scale_range, offsets[-1], _GRAIN, (offsets, addresses, factor, like))


def adam_coefficients(
    step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool
) -> tuple[float, ...]:
    """Return what `adamw` needs to know about a parameter at its step 1, 2, ...: one row of coefficients.

    decoupled=True is AdamW's decay of the parameter itself (I. Loshchilov, F. Hutter, arXiv:1711.05101),
    decoupled=False Adam's L2 penalty in the gradient (D. Kingma, J. Ba, arXiv:1412.6980).
    """
    return (
        1.0 - lr * weight_decay if decoupled else 1.0,
        0.0 if decoupled else weight_decay,
        1.0 - beta1,
        beta2,
        lr / (1.0 - beta1**step),
        1.0 / math.sqrt(1.0 - beta2**step),
        eps,
    )


def adamw(
    params: ArrayList,
    grads: ArrayList,
    exp_avgs: ArrayList,
    exp_avg_sqs: ArrayList,
    coefficients: NDArray[np.float64],
    grad_scale: float = 1.0,
) -> None:
    """One step of Adam or AdamW on all parameters, in place.

    coefficients (number of parameters, 7) float64: a row of `adam_coefficients` for each parameter.
    Gradients are multiplied by grad_scale (a clipping factor) on the way; they are not changed.
    """
    for name, other in (("grads", grads), ("exp_avgs", exp_avgs), ("exp_avg_sqs", exp_avg_sqs)):
        if other.like.dtype != params.like.dtype or other.sizes != params.sizes:
            raise ValueError(f"adamw: {name} differ from params in number, size or dtype")
    if coefficients.shape != (len(params.arrays), 7):
        raise ValueError(f"adamw: expected coefficients ({len(params.arrays)}, 7), got {coefficients.shape}")
    for name, written in (("parameter", params), ("exp_avg", exp_avgs), ("exp_avg_sq", exp_avg_sqs)):
        written.require_writable(name)
    addresses = [arrays.addresses for arrays in (params, grads, exp_avgs, exp_avg_sqs)]
    _adamw(params.offsets, *addresses, coefficients, grad_scale, params.like)


def grad_norm(grads: ArrayList) -> float:
    """The Euclidean norm of all elements, accumulated in float64 over fixed chunks."""
    sums = zeros((-(-int(grads.offsets[-1]) // _GRAIN),), np.float64)
    _square_sum(grads.offsets, grads.addresses, sums, grads.like)
    return math.sqrt(sums.sum())


def scale(arrays: ArrayList, factor: float) -> None:
    """Multiply every element by factor, in place."""
    arrays.require_writable("array")
    _scale(arrays.offsets, arrays.addresses, factor, arrays.like)


def zero(arrays: ArrayList) -> None:
    """Set every element to zero, in place."""
    arrays.require_writable("array")
    for array in arrays.arrays:
        array.fill(0)
