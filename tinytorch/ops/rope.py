"""Rotary position embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dtypes import float32, float64
from ..kernels import rope as kernels
from ..kernels.launch import empty_like
from .common import Array, contiguous
from .fused import FusedFunction
from .joining import cat

if TYPE_CHECKING:
    from ..tensor import Tensor


class Rope(FusedFunction):
    """y_i = x_i cos a_i - x_{i+D/2} sin a_i, y_{i+D/2} = x_{i+D/2} cos a_i + x_i sin a_i. Su et al. 2021."""

    examples = (
        (lambda t, x: _example(t, x, 1), (2, 3, 2, 4)),
        (lambda t, x: _example(t, x, 2), (2, 3, 1, 6)),
    )
    errors = (
        (lambda t, x: _example(t, x, 2), (1, 3, 2, 4), RuntimeError, "cos (2, 3, 2)", "written out, it broadcasts"),
        (lambda t, x: _example(t, x, 1), (2, 3, 2, 5), RuntimeError, "even D"),
    )

    @staticmethod
    def composite(x: Tensor, cos: Tensor, sin: Tensor) -> Any:
        return _written_out(cat, x, cos, sin)

    @staticmethod
    def forward(ctx: Rope, x: Array, cos: Array, sin: Array) -> Any:
        ctx.save(cos, sin)
        return _rotate(x, cos, sin)

    # with r = x_i + j x_{i+D/2} the pair as a complex number, y = e^{ja} r: linear in x, and the transpose of a
    # rotation is its inverse:
    #   dL/dx_i = g_i cos a_i + g_{i+D/2} sin a_i, dL/dx_{i+D/2} = g_{i+D/2} cos a_i - g_i sin a_i
    @staticmethod
    def backward(ctx: Rope, g: Array) -> Any:
        cos, sin = ctx.saved
        return _rotate(g, cos, sin, back=True), None, None


def rope(input: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (i, i + D/2) of input (B, T, H, D) by the angle of its position.

    cos and sin, (B, T, D/2) or (1, T, D/2), have the input's dtype; multiplied by a factor, they scale the result by
    it. Raises RuntimeError if shapes or dtypes do not fit.
    """
    shape, tables = tuple(input.shape), (tuple(cos.shape), tuple(sin.shape))
    fits = len(shape) == 4 and shape[3] % 2 == 0 and tables[0] == tables[1]
    if not fits or tables[0] not in [(batch, shape[1], shape[3] // 2) for batch in (1, shape[0])]:
        raise RuntimeError(
            f"rope: expected input (B, T, H, D) with even D, and cos and sin both (B or 1, T, D/2), got input {shape}, "
            f"cos {tables[0]}, sin {tables[1]}"
        )
    if not input.dtype == cos.dtype == sin.dtype:
        raise RuntimeError(f"rope: expected one dtype, got {input.dtype}, cos {cos.dtype}, sin {sin.dtype}")
    if input.array.dtype not in (float32, float64) or cos.requires_grad or sin.requires_grad:
        y: Tensor = Rope.composite(input, cos, sin)  # the kernel has no gradient for the tables
        return y
    return Rope.apply(input, cos, sin)


def _rotate(x: Array, cos: Array, sin: Array, back: bool = False) -> Array:
    if not x.size:
        return empty_like(x)
    positions = contiguous(x).reshape(-1, *x.shape[2:])  # (B T, H, D)
    cos, sin = (contiguous(table).reshape(-1, table.shape[-1]) for table in (cos, sin))  # (T or B T, D/2)
    return kernels.rotate(positions, cos, sin, back).reshape(x.shape)


def _written_out(cat: Any, x: Any, cos: Any, sin: Any) -> Any:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)  # (B or 1, T, 1, D/2): alike for all heads
    return cat([a * cos - b * sin, b * cos + a * sin], -1)


def _example(t: Any, x: Any, batch: int) -> Any:
    # Any numbers will do, so they are ones that every dtype holds exactly.
    T, half = x.shape[1], x.shape[3] // 2
    cos = (t.arange(batch * T * half).reshape(batch, T, half) / 4 - 1).to(x.dtype)
    sin = 2 - cos
    return rope(x, cos, sin) if t.__name__ == "tinytorch" else _written_out(t.cat, x, cos, sin)  # PyTorch has none
