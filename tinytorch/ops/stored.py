"""Products with frozen weights, which stay as they are stored: the kernels decode them while they multiply."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import bfloat16, float16, float32, float64
from ..function import FusedFunction
from ..kernels import stored
from ..kernels.stored import Stored
from .common import summed

TWO_BYTES = (bfloat16, float16)


def decoded_linear(x: Any, weight: Stored, bias: Any) -> Any:
    """x (..., in) times the weight (out, in) transposed, plus bias (out,), in x's dtype; sums in float32 at least."""
    wide = _wide(x)
    bias = None if bias is None else bias.astype(wide, copy=False)
    y = stored.linear(as_rows(x).astype(wide, copy=False), weight, bias)
    return y.reshape(*x.shape[:-1], y.shape[1]).astype(x.dtype, copy=False)


def decoded_linear_backward(g: Any, weight: Stored) -> Any:
    """The gradient (..., in) of x in `decoded_linear`, from that of its result, g (..., out)."""
    dx = stored.linear_backward(as_rows(g).astype(_wide(g), copy=False), weight)
    return dx.reshape(*g.shape[:-1], dx.shape[1]).astype(g.dtype, copy=False)


def _wide(x: Any) -> Any:
    return float64 if x.dtype == float64 else float32


def as_rows(x: Any) -> Any:
    """(..., C) as (N, C); N is counted, as a C of 0 would leave -1 open."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


class StoredLinear(FusedFunction):
    """y_no = sum_i x_ni w_oi + b_o, with w frozen in bfloat16 or float16, x in float32 or float64"""

    examples = (
        (lambda t, x, b: _frozen(t, x, b, t.bfloat16), (2, 3, 4), (5,)),
        (lambda t, x: _frozen(t, x, None, t.float16), (3, 4)),
    )
    errors = ((lambda t, x, b: _frozen(t, x, b, t.float16), (3, 4), (5, 1), RuntimeError, "bias (5, 1) does not fit"),)

    @staticmethod
    def composite(x: Any, w: Any, b: Any) -> Any:
        y = x @ w.to(x.dtype).mT
        return y if b is None else y + b

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any) -> Any:
        ctx.save(w if ctx.needs_input_grad[0] else None)
        return decoded_linear(x, stored.stored_floats(w), b)

    # dL/dx_ni = sum_o g_no w_oi; dL/db_o = sum_n g_no; w is frozen
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (w,) = ctx.saved
        dx = None if w is None else decoded_linear_backward(g, stored.stored_floats(w))
        return dx, None, summed(as_rows(g), (0,)) if ctx.needs_input_grad[2] else None


def _frozen(t: Any, x: Any, b: Any, dtype: Any) -> Any:
    """F.linear with a fixed weight (5, 4), or as long as x and b; PyTorch has it widened first."""
    rows, columns = 5 if b is None else b.shape[0], x.shape[-1] if x.ndim else 4
    w = t.tensor([[math.sin(1.0 + 4 * o + i) for i in range(columns)] for o in range(rows)]).to(dtype)
    mixed = t.__name__ == "tinytorch" and x.dtype in (t.float32, t.float64)
    return t.nn.functional.linear(x, w if mixed else w.to(x.dtype), b)


def may_stay_stored(x: Any, weight: Any, bias: Any) -> bool:
    """Whether F.linear takes the weight as it is stored: frozen, in two bytes, beside x in four or eight."""
    mixed = weight.dtype in TWO_BYTES and x.dtype in (float32, float64) and not weight.requires_grad
    return mixed and (bias is None or bias.dtype in (x.dtype, weight.dtype))
