"""Rotary position embedding: pairs of numbers rotated by an angle, in one pass over memory.

x, y     : (N, H, D), C-contiguous, float32 or float64: N positions (of all sequences) of H heads, D even; not empty
cos, sin : (R, D/2) of the same type; position n reads row n % R, so that one table can serve every sequence

    y_i = x_i cos a_i - x_{i + D/2} sin a_i,    y_{i + D/2} = x_{i + D/2} cos a_i + x_i sin a_i

The positions are spread over the threads. Both halves of a head are written in one loop over i, in vectors.

J. Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, arXiv:2104.09864.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiler import apart, serial
from .launch import empty_like, launched
from .threads import parallel_for

Array = NDArray[np.floating]

_GRAIN = 8192  # elements that a thread takes at a time; fewer are not worth a second thread


# The pair (x_i, x_{i + D/2}) is a point in the plane, rotated by the angle a_i.
@apart
def _rotate_positions(
    start: int, stop: int, worker: int, x: Array, cos: Array, sin: Array, sign: float, y: Array
) -> None:
    real = x.dtype.type
    heads, half = x.shape[1], x.shape[2] // 2
    turn = real(sign)
    for n in range(start, stop):
        c, s = cos[n % cos.shape[0]], sin[n % cos.shape[0]]
        for h in range(heads):
            first, second = x[n, h, :half], x[n, h, half:]
            turned, turned_second = y[n, h, :half], y[n, h, half:]
            for i in range(half):
                a, b, sine = first[i], second[i], turn * s[i]
                turned[i] = a * c[i] - b * sine
                turned_second[i] = b * c[i] + a * sine


@launched
@serial
def _rotate(x: Array, cos: Array, sin: Array, sign: float, grain: int, y: Array) -> None:
    parallel_for(_rotate_positions, x.shape[0], grain, (x, cos, sin, sign, y))


def rotate(x: Array, cos: Array, sin: Array, back: bool = False) -> Array:
    """Return x rotated by the angles in the tables, or rotated back by them."""
    y = empty_like(x)
    _rotate(x, cos, sin, -1.0 if back else 1.0, max(1, _GRAIN // (x.shape[1] * x.shape[2])), y)
    return y
