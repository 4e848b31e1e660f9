"""The product with a weight in any form: frozen weights stay as they are stored, and the kernels decode them while they
multiply.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import DType, bfloat16, float16, float32, float64, is_floating
from ..kernels.gemm import gemm
from ..kernels.stored import stored
from ..kernels.stored.stored import Stored
from .common import Array

TWO_BYTES = (bfloat16, float16)


def as_rows(x: Any) -> Any:
    """(..., C) as (N, C); N is computed, since -1 would be ambiguous if C is 0."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def weight_product(x: Array, weight: Array | Stored, bias: Array | None = None) -> Array:
    """x (..., in) times a weight (out, in) transposed, plus bias (out,), to (..., out) in x's dtype.

    The weight is an array, in x's dtype or in 16 bits, or Stored (int8, NF4). Sums are at least in float32.
    """
    rows, weight = as_rows(x), weight if isinstance(weight, Stored) or weight.itemsize != 2 else _decodable(weight)
    if isinstance(weight, Stored):
        wide = _wide(x)
        bias = None if bias is None else bias.astype(wide, copy=False)
        y = stored.linear(rows.astype(wide, copy=False), weight, bias).astype(x.dtype, copy=False)
    elif x.dtype.kind == "f":
        y = gemm.matmul(rows, weight.T, bias=bias)
    else:
        y = product(rows, weight.T)
        y = y if bias is None else y + bias
    return y.reshape(*x.shape[:-1], y.shape[1])


def weight_product_backward(rows: Array, weight: Array | Stored) -> Array:
    """The gradient (N, in) of x in `weight_product`, from the rows (N, out) of the result's gradient."""
    weight = weight if isinstance(weight, Stored) or weight.itemsize != 2 else _decodable(weight)
    if isinstance(weight, Stored):
        return stored.linear_backward(rows.astype(_wide(rows), copy=False), weight).astype(rows.dtype, copy=False)
    return gemm.matmul(rows, weight)


def _decodable(weight: Array) -> Array | Stored:
    """The weight as the decoding kernels take it: Stored, if it has 16 bits."""
    return stored.stored_floats(weight) if weight.dtype in TWO_BYTES else weight


def _wide(x: Array) -> DType:
    return float64 if x.dtype == float64 else float32


def product(a: Array, b: Array) -> Array:
    """(..., M, K) @ (..., K, N) on arrays. float16 and bfloat16 are summed in float32; integers go to NumPy."""
    if a.dtype == float32 or a.dtype == float64:
        return gemm.matmul(a, b)
    if is_floating(a.dtype):
        return gemm.matmul(a.astype(float32), b.astype(float32)).astype(a.dtype)
    if a.dtype.kind == "b":
        raise RuntimeError("matmul is not implemented for bool")
    return np.matmul(a, b)
