"""Products of matrices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DType, bfloat16, float16, float32, float64, is_floating
from ..engine.function import Function
from ..kernels.gemm import gemm
from ..kernels.stored import stored
from ..kernels.stored.stored import Stored
from .common import Array, summed, whole
from .fused import FusedFunction

if TYPE_CHECKING:
    from ..tensor import Tensor

TWO_BYTES = (bfloat16, float16)


class Matmul(Function):
    """y_mn = sum_k a_mk b_kn, broadcast over the dimensions in front; of a^T or b^T where the settings say so"""

    examples = (
        (lambda t, a, b: a @ b, (3, 4), (4, 5)),
        (lambda t, a, b: t.matmul(a, b), (2, 3, 4), (2, 4, 5)),
        (lambda t, a, b: a @ b, (6, 1, 3, 4), (5, 4, 2)),
        (lambda t, a, b: a @ b, (4,), (2, 4, 3)),
        (lambda t, a, b: a @ b, (2, 3, 4), (4,)),
        (lambda t, a, b: a @ b.mT, (2, 3, 4), (5, 4)),
        (lambda t, a, b: a @ b, (3, 0), (0, 2)),
    )
    errors = (
        (lambda t, a, b: a @ b, (3, 4), (3, 4), RuntimeError, "inner sizes must agree"),
        (lambda t, a, b: a @ b, (2, 3, 4), (3, 4, 5), RuntimeError, "(2, 3, 4)"),
        (lambda t, a, b: a @ b, (), (3,), RuntimeError, "at least 1D"),
        (lambda t, a, b: a @ b.half(), (3, 4), (4, 5), RuntimeError, "float16"),
        (lambda t, a, b: t.mm(a, b), (3, 4), (4,), RuntimeError, "2 dimensions, got shape (4,)"),
        (lambda t, a, b: t.bmm(a, b), (1, 3, 4), (2, 4, 5), RuntimeError, "batch sizes differ"),
        (lambda t, a, b: t.mv(a, b), (3, 4), (4, 1), RuntimeError, "1 dimensions, got shape (4, 1)"),
        (lambda t, a, b: t.dot(a, b), (3,), (4,), RuntimeError, "inner sizes must agree"),
    )
    transposed: tuple[bool, bool]

    @staticmethod
    def forward(ctx: Matmul, a: Array, b: Array, a_transposed: bool = False, b_transposed: bool = False) -> Any:
        need_a, need_b = ctx.needs_input_grad
        ctx.transposed = a_transposed, b_transposed
        ctx.save(a if need_b else None, b if need_a else None)
        return product(a.swapaxes(-1, -2) if a_transposed else a, b.swapaxes(-1, -2) if b_transposed else b)

    # dL/da_mk = sum_n g_mn b_kn = (g b^T)_mk
    # dL/db_kn = sum_m a_mk g_mn = (a^T g)_kn
    # The gradient of what was transposed is the transpose of that: (g b^T)^T = b g^T, (a^T g)^T = g^T a.
    @staticmethod
    def backward(ctx: Matmul, g: Tensor) -> Any:
        a, b = ctx.saved
        at, bt = ctx.transposed
        da = db = None
        if b is not None:
            da = _product(b, g, bt, True) if at else _product(g, b, False, not bt)
        if a is not None:
            db = _product(g, a, True, at) if bt else _product(a, g, not at, False)
        return da, db


def _product(a: Tensor, b: Tensor, a_transposed: bool, b_transposed: bool) -> Tensor:
    return Matmul.apply(a, b, a_transposed=a_transposed, b_transposed=b_transposed)


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product (..., M, K) @ (..., K, N); a vector is a row on the left, a column on the right.

    Raises RuntimeError if the inner sizes differ or an operand has no dimensions.
    """
    a, b = input, other
    if a.array.ndim == 0 or b.array.ndim == 0:
        raise RuntimeError("both arguments to matmul need to be at least 1D: use * for a number")
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(
            f"matmul: expected both to have the same dtype, but got {a.dtype} and {b.dtype}: convert one with .to()"
        )
    if a.array.shape[-1] != b.array.shape[-2 if b.array.ndim > 1 else 0]:
        raise RuntimeError(
            f"matmul: shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied: inner sizes must agree"
        )
    if a.array.ndim == 1 or b.array.ndim == 1:
        row, column = a.array.ndim == 1, b.array.ndim == 1
        y = matmul(a.unsqueeze(0) if row else a, b.unsqueeze(1) if column else b)
        y = y.squeeze(-1) if column else y
        return whole(y.squeeze(-1 if column else -2) if row else y)
    if b.array.ndim == 2 and a.array.ndim > 2:
        # One product of (rows, K) by (K, N), so that the gradient of b is one product too.
        return whole(Matmul.apply(as_rows(a), b).reshape(*a.array.shape[:-1], b.array.shape[-1]))
    return Matmul.apply(a, b)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """(M, K) @ (K, N)"""
    _of_dims("mm", (input, 2), (mat2, 2))
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """(B, M, K) @ (B, K, N), without broadcasting"""
    _of_dims("bmm", (input, 3), (mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise RuntimeError(f"bmm: batch sizes differ: {tuple(input.shape)} and {tuple(mat2.shape)}")
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """(M, K) @ (K,)"""
    _of_dims("mv", (input, 2), (vec, 1))
    return matmul(input, vec)


def dot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of the products of two vectors."""
    _of_dims("dot", (input, 1), (other, 1))
    return matmul(input, other)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """y_mn = input_m vec2_n"""
    _of_dims("outer", (input, 1), (vec2, 1))
    return input.unsqueeze(1) * vec2


def _of_dims(what: str, *pairs: tuple[Any, int]) -> None:
    for x, ndim in pairs:
        if x.ndim != ndim:
            raise RuntimeError(f"{what}: expected a tensor of {ndim} dimensions, got shape {tuple(x.shape)}")


class Linear(FusedFunction):
    """y_no = sum_i x_ni w_oi + b_o; a frozen w may be in two bytes where x is in four or eight"""

    examples = (
        (lambda t, x, w, b: t.nn.functional.linear(x, w, b), (2, 3, 4), (5, 4), (5,)),
        (lambda t, x, w: t.nn.functional.linear(x, w), (3, 4), (5, 4)),
        (lambda t, x, b: _frozen(t, x, b, t.bfloat16), (2, 3, 4), (5,)),
        (lambda t, x: _frozen(t, x, None, t.float16), (3, 4)),
    )
    errors = (
        (lambda t, x, w: t.nn.functional.linear(x, w), (3, 4), (4, 5), RuntimeError, "does not fit weight (4, 5)"),
        (lambda t, x, w: t.nn.functional.linear(x, w.half()), (3, 4), (5, 4), RuntimeError, "must have one dtype"),
        (
            lambda t, x, w, b: t.nn.functional.linear(x, w, b),
            (3, 4),
            (5, 4),
            (4,),
            RuntimeError,
            "bias (4,) does not fit",
        ),
        (lambda t, x, b: _frozen(t, x, b, t.float16), (3, 4), (5, 1), RuntimeError, "bias (5, 1) does not fit"),
    )

    @staticmethod
    def composite(x: Tensor, w: Tensor, b: Tensor | None) -> Any:
        y = x @ w.to(x.dtype).mT
        return y if b is None else y + b

    @staticmethod
    def forward(ctx: Linear, x: Array, w: Array | Stored, b: Array | None) -> Any:
        # A frozen weight needs no x, an input without gradient needs no w.
        need_x, need_w, _ = ctx.needs_input_grad
        ctx.save(x if need_w else None, w if need_x else None)
        return weight_product(x, w, b)

    # dL/dx_ni = sum_o g_no w_oi; dL/dw_oi = sum_n g_no x_ni; dL/db_o = sum_n g_no
    @staticmethod
    def backward(ctx: Linear, g: Array) -> Any:
        x, w = ctx.saved
        rows = as_rows(g)
        dx = None if w is None else weight_product_backward(rows, w).reshape(*g.shape[:-1], w.shape[1])
        dw = None if x is None else product(rows.T, as_rows(x))
        db = summed(rows, (0,)) if ctx.needs_input_grad[2] else None
        return dx, dw, db


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input (..., in) times weight (out, in) transposed, plus bias (out,): (..., out).

    All have one dtype, except that a bfloat16 or float16 weight that needs no gradient, and its bias, also work with a
    float32 or float64 input: such a weight is read as it is, never copied to the input's dtype. Raises RuntimeError if
    shapes or dtypes do not fit.
    """
    x, w, b = input.array, weight.array, None if bias is None else bias.array
    fits = w.ndim == 2 and x.shape[-1:] == w.shape[1:] and (b is None or b.shape == w.shape[:1])
    if fits and x.dtype == w.dtype and (b is None or b.dtype == x.dtype):
        return Linear.apply(input, weight, bias)
    return _mixed_linear(input, weight, bias)


def _mixed_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """With a weight of another dtype, if that is allowed; raises RuntimeError otherwise."""
    if input.array.ndim == 0 or weight.array.ndim != 2 or input.array.shape[-1] != weight.array.shape[1]:
        raise RuntimeError(
            f"linear: input {tuple(input.shape)} does not fit weight {tuple(weight.shape)}: expected (..., in) and "
            "(out, in)"
        )
    if bias is not None and bias.array.shape != weight.array.shape[:1]:
        raise RuntimeError(
            f"linear: bias {tuple(bias.shape)} does not fit weight {tuple(weight.shape)}: expected (out,)"
        )
    # A frozen weight may stay in 16 bits while the input has 32 or 64.
    mixed = weight.dtype in TWO_BYTES and input.dtype in (float32, float64) and not weight.requires_grad
    if mixed and (bias is None or bias.dtype in (input.dtype, weight.dtype)):
        return Linear.apply(input, weight, None if bias is None else bias.to(input.dtype))
    found = ", ".join(str(x.dtype) for x in (input, weight, bias) if x is not None)
    raise RuntimeError(
        f"linear: input, weight and bias must have one dtype, got {found}: convert with .to(), or freeze a weight "
        "in two bytes with .requires_grad_(False)"
    )


def _frozen(t: Any, x: Any, b: Any, dtype: Any) -> Any:
    """F.linear with a fixed weight (5, 4), or as long as x and b; PyTorch has it widened first."""
    rows, columns = 5 if b is None else b.shape[0], x.shape[-1] if x.ndim else 4
    w = t.tensor([[math.sin(1.0 + 4 * o + i) for i in range(columns)] for o in range(rows)]).to(dtype)
    mixed = t.__name__ == "tinytorch" and x.dtype in (t.float32, t.float64)
    return t.nn.functional.linear(x, w if mixed else w.to(x.dtype), b)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2), input broadcast; with beta 0, input counts as 0 even where it is NaN."""
    product = mm(mat1, mat2)
    if input.dtype != product.dtype:
        raise RuntimeError(f"addmm: input is {input.dtype}, the product {product.dtype}: convert it with .to()")
    if not is_floating(input.dtype) and not (isinstance(beta, int) and isinstance(alpha, int)):
        raise RuntimeError(f"addmm: beta and alpha must be integers for {input.dtype}, got {beta} and {alpha}")
    input = input.expand(product.shape)
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:
        return scaled
    return scaled + (input if beta == 1 else input * beta)


# Products on arrays, with a weight in any form.


def as_rows(x: Any) -> Any:
    """(..., C) as (N, C); N is computed, since -1 would be ambiguous if C is 0."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def weight_product(x: Array, weight: Array | Stored, bias: Array | None = None) -> Array:
    """x (..., in) times a weight (out, in) transposed, plus bias (out,), to (..., out) in x's dtype.

    The weight is an array, in x's dtype or in 16 bits, or Stored (int8, NF4): frozen weights stay as they are stored,
    and the kernels decode them while they multiply. Sums are at least in float32.
    """
    rows = as_rows(x)
    if isinstance(weight, Stored) or weight.itemsize == 2 or x.dtype.kind != "f":
        y = _stored_product(rows, weight, bias)
    else:
        y = gemm.matmul(rows, weight.T, bias=bias)
    return y.reshape(*x.shape[:-1], y.shape[1])


def _stored_product(rows: Array, weight: Array | Stored, bias: Array | None) -> Array:
    """With a weight to decode, or in a dtype that the kernels do not multiply."""
    weight = weight if isinstance(weight, Stored) else _decodable(weight)
    if isinstance(weight, Stored):
        wide = _wide(rows)
        bias = None if bias is None else bias.astype(wide, copy=False)
        return stored.linear(rows.astype(wide, copy=False), weight, bias).astype(rows.dtype, copy=False)
    y = product(rows, weight.T)
    return y if bias is None else y + bias


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
