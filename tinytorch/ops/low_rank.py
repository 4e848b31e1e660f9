"""The product with a frozen weight and a low-rank one beside it, in one operation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32, float64
from ..kernels.gemm import gemm
from ..kernels.stored.stored import Stored
from .common import Array, summed
from .fused import FusedFunction
from .linalg import TWO_BYTES, as_rows, linear, weight_product, weight_product_backward

if TYPE_CHECKING:
    from ..tensor import Tensor


class LowRankLinear(FusedFunction):
    """y_no = sum_i x_ni w_oi + c_o + s sum_k h_nk b_ok, with h_nk = sum_i x_ni a_ki and w frozen. Hu et al. 2021."""

    examples = (
        (lambda t, x, a, b, c: _example(t, x, a, b, c, t.bfloat16), (2, 3, 4), (6, 4), (5, 6), (5,)),
        (lambda t, x, a, b: _example(t, x, a, b, None, x.dtype), (3, 4), (2, 4), (5, 2)),
    )
    errors = (
        (lambda t, x, a, b: _example(t, x, a, b, None, x.dtype), (3, 4), (2, 5), (5, 2), RuntimeError, "(5, 5)"),
        (lambda t, x, a, b: _example(t, x, a, b, None, x.dtype), (3, 4), (3, 4), (5, 2), RuntimeError, "lora_a (3, 4)"),
    )
    scaling: np.floating[Any]

    @staticmethod
    def composite(x: Tensor, w: Tensor, c: Tensor | None, a: Tensor, b: Tensor, scaling: float) -> Any:
        return linear(x, w, c) + linear(linear(x, a) * scaling, b)

    @staticmethod
    def forward(
        ctx: LowRankLinear, x: Array, w: Array | Stored, c: Array | None, a: Array, b: Array, scaling: float
    ) -> Any:
        need_x, _, _, need_a, need_b = ctx.needs_input_grad
        rows, ctx.scaling = as_rows(x), x.dtype.type(scaling)
        h = gemm.matmul(rows, a.T)
        h *= ctx.scaling
        ctx.save(
            x if need_a or need_b else None,
            w if need_x else None,
            a if need_x or need_b else None,
            b if need_x or need_a else None,
            h if need_b else None,
        )
        y = weight_product(x, w, c)
        gemm.matmul(h, b.T, out=as_rows(y), accumulate=True)
        return y

    # with h scaled, y_no = sum_i x_ni w_oi + c_o + sum_k h_nk b_ok, h_nk = s sum_i x_ni a_ki, and
    # d_nk = s sum_o g_no b_ok, which is s dL/dh_nk:
    #   dL/dx_ni = sum_o g_no w_oi + sum_k d_nk a_ki; dL/dc_o = sum_n g_no
    #   dL/da_ki = sum_n d_nk x_ni; dL/db_ok = sum_n g_no h_nk
    @staticmethod
    def backward(ctx: LowRankLinear, g: Array) -> Any:
        x, w, a, b, h = ctx.saved
        _, _, need_c, need_a, need_b = ctx.needs_input_grad
        rows = as_rows(g)
        dx = da = None
        if b is not None:
            d = gemm.matmul(rows, b)
            d *= ctx.scaling
            da = gemm.matmul(d.T, as_rows(x)) if need_a else None
        if w is not None:
            dx = weight_product_backward(rows, w)
            gemm.matmul(d, a, out=dx, accumulate=True)
            dx = dx.reshape(*g.shape[:-1], dx.shape[1])
        dc = summed(rows, (0,)) if need_c else None
        return dx, None, dc, da, gemm.matmul(rows.T, h) if need_b else None


def low_rank_linear(
    input: Tensor, weight: Tensor, bias: Tensor | None, lora_a: Tensor, lora_b: Tensor, scaling: float
) -> Tensor:
    """input (..., in) times (weight + scaling * lora_b @ lora_a) transposed, plus bias (out,): (..., out).

    weight (out, in), lora_a (r, in), lora_b (out, r). The sum of the matrices is never formed. The weight may have
    16 bits, as in `linear`. Raises RuntimeError if shapes or dtypes do not fit.
    """
    fits = lora_a.ndim == lora_b.ndim == weight.ndim == 2 and lora_a.shape[0] == lora_b.shape[1]
    if not fits or (lora_b.shape[0], lora_a.shape[1]) != tuple(weight.shape):
        raise RuntimeError(
            f"low_rank_linear: lora_a {tuple(lora_a.shape)} and lora_b {tuple(lora_b.shape)} do not fit weight "
            f"{tuple(weight.shape)}: expected (r, in), (out, r) and (out, in)"
        )
    dtype = input.dtype
    alike = all(x.dtype == dtype for x in (lora_a, lora_b, *([] if bias is None else [bias])))
    frozen = not weight.requires_grad and weight.dtype in (dtype, *TWO_BYTES)
    if dtype in (float32, float64) and alike and frozen and input.shape[-1:] == weight.shape[1:]:
        return LowRankLinear.apply(input, weight, bias, lora_a, lora_b, scaling=scaling)
    y: Tensor = LowRankLinear.composite(input, weight, bias, lora_a, lora_b, scaling)
    return y


def _example(t: Any, x: Any, a: Any, b: Any, c: Any, dtype: Any) -> Any:
    """With a fixed weight; PyTorch has no such function, and has the weight widened first."""
    shape = b.shape[0], a.shape[1]
    w = (t.arange(math.prod(shape)).reshape(shape) % 20 / 8 - 1).to(dtype)  # numbers that every dtype holds
    if t.__name__ == "tinytorch":
        return low_rank_linear(x, w if x.dtype in (float32, float64) else w.to(x.dtype), c, a, b, 0.5)
    F = t.nn.functional
    return F.linear(x, w.to(x.dtype), c) + F.linear(F.linear(x, a) * 0.5, b)
