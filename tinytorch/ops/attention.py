"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32, float64
from ..function import FusedFunction
from ..kernels import attention as kernels
from ..random import default_generator
from .common import array_of, whole, wrap

if TYPE_CHECKING:
    from ..tensor import Tensor


class Attention(FusedFunction):
    """y = softmax(scale q k^T + mask) v, in tiles, without the (T, S) matrix. Vaswani et al. 2017, Dao 2023."""

    examples = (
        (lambda t, q, k, v: _sdpa(t)(q, k, v, is_causal=True), (2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 3)),
        (lambda t, q, k, v: _sdpa(t)(q, k, v, scale=0.7), (1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
        (
            lambda t, q, k, v: _sdpa(t)(q, k, v, is_causal=True, enable_gqa=True),
            (1, 4, 3, 4),
            (1, 2, 3, 4),
            (1, 2, 3, 4),
        ),
        (lambda t, q, k, v: _sdpa(t)(q, k, v, attn_mask=_mask(t)), (1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
        (lambda t, q, m: _sdpa(t)(q, q, q, attn_mask=m), (2, 3, 4), (3, 3)),
    )

    @staticmethod
    def composite(
        q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float | None, dropout: float = 0.0, seed: int = 0
    ) -> Any:
        group = q.shape[1] // max(k.shape[1], 1)
        if group != 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        s = (q @ k.mT) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)  # (B, H, T, S)
        if causal:
            s = s.masked_fill(~np.tri(*s.shape[-2:], dtype=np.bool_), -np.inf)
        if mask is not None:
            s = s.masked_fill(~array_of(mask), -np.inf) if mask.dtype.kind == "b" else s + mask
        p = s.softmax(-1)
        if dropout:
            p = p * wrap((kernels.dropout_mask(seed, dropout, *p.shape) / (1 - dropout)).astype(p.dtype))
        return p @ v  # (B, H, T, Dv)

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, mask: Any, **options: Any) -> Any:
        y, stats = kernels.attention(q, k, v, mask, **options)
        ctx.save(q, k, v, mask, y, stats)
        return y

    # with p = softmax(s), y = p v and u = dL/dp = g v^T:
    #   dL/dv = p^T g
    #   dL/ds_ij = p_ij (u_ij - sum_k u_ik p_ik), where sum_k u_ik p_ik = sum_d g_id y_id needs no row of p
    #   dL/dq = scale dL/ds k, dL/dk = scale (dL/ds)^T q
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        q, k, v, mask, y, stats = ctx.saved
        return *kernels.attention_backward(g, q, k, v, y, stats, mask, **ctx._params), None


def _sdpa(t: Any) -> Any:
    return t.nn.functional.scaled_dot_product_attention


def _mask(t: Any) -> Any:
    return t.tensor(
        [[True, False, True, False, True], [True, True, True, True, True], [False, False, False, True, False]]
    )


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale query key^T + mask) value.

    query (..., H, T, D), key (..., Hkv, S, D), value (..., Hkv, S, Dv), of one floating dtype; the result is
    (..., H, T, Dv). attn_mask broadcasts to (..., H, T, S): bool, True where a query may attend, or
    added to the scores. is_causal lets query i see keys j <= i, and excludes attn_mask. scale is
    1/sqrt(D) unless given. dropout_p drops probabilities (always: pass 0 when evaluating).
    enable_gqa lets H be a multiple of Hkv. A row that may attend to nothing gives zeros.
    """
    _check(query, key, value, attn_mask, is_causal, dropout_p, enable_gqa)
    q, k, v = _four(query), _four(key), _four(value)
    mask = attn_mask
    if mask is not None:
        mask = mask if hasattr(mask, "array") else wrap(np.asarray(mask))
        if mask.dtype.kind != "b":
            mask = mask.to(q.dtype)
        if mask.ndim > 4:
            mask = mask.expand(*query.shape[:-1], key.shape[-2]).reshape(*q.shape[:-1], k.shape[-2])
        elif query.ndim == 3 and mask.ndim == 3:
            mask = mask.unsqueeze(0)
    options: dict[str, Any] = {"causal": is_causal, "scale": scale}
    if dropout_p:
        options.update(dropout=dropout_p, seed=default_generator.seed_of_kernel())
    if q.array.dtype not in (float32, float64) or (mask is not None and mask.requires_grad):
        y: Tensor = Attention.composite(q, k, v, mask, **options)  # the kernel has no gradient for the mask
    else:
        y = Attention.apply(q, k, v, mask, **options)
    return y if query.ndim == 4 else whole(y.reshape(*query.shape[:-1], value.shape[-1]))


def _four(x: Tensor) -> Tensor:
    """(B, H, T, D), whatever the number of dimensions in front of (T, D)."""
    if x.ndim == 4:
        return x
    return x.reshape((1,) * (4 - x.ndim) + tuple(x.shape)) if x.ndim < 4 else x.reshape(-1, *x.shape[-3:])


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    return len(shape) <= len(target) and all(n in (1, m) for n, m in zip(shape[::-1], target[::-1], strict=False))


def _check(q: Any, k: Any, v: Any, mask: Any, causal: bool, dropout: float, grouped: bool) -> None:
    problem = _problem(q.array.shape, k.array.shape, v.array.shape, grouped)
    if not problem and not q.array.dtype == k.array.dtype == v.array.dtype:
        problem = "expected one dtype"
    if not problem and mask is not None:
        scores, masked = (*q.shape[:-1], k.shape[-2]), np.shape(array_of(mask))
        if not _broadcasts(masked, scores):
            problem = f"attn_mask {masked} does not broadcast to the scores {scores}"
    if problem:
        got = ", ".join(f"{name} {x.dtype} {tuple(x.shape)}" for name, x in (("query", q), ("key", k), ("value", v)))
        raise RuntimeError(f"scaled_dot_product_attention: {problem}, got {got}")
    if causal and mask is not None:
        raise RuntimeError("scaled_dot_product_attention: give either attn_mask or is_causal=True, not both")
    if not 0 <= dropout < 1:
        raise ValueError(f"scaled_dot_product_attention: dropout_p must be at least 0 and below 1, got {dropout}")


def _problem(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], grouped: bool) -> str:
    """What keeps these shapes from going together, or nothing."""
    if len(q) < 2 or not len(q) == len(k) == len(v):
        return "expected tensors of one number of dimensions, at least 2"
    if q[-1] != k[-1] or k[-2] != v[-2]:
        return "query and key must have one head size, key and value one length"
    if not q[-1]:
        return "the head size must not be 0"
    if len(q) == 2:
        return ""
    heads, kv_heads = q[-3], k[-3]
    fits = kv_heads == v[-3] and (heads == kv_heads or (grouped and kv_heads > 0 and heads % kv_heads == 0))
    if not fits or not q[:-3] == k[:-3] == v[:-3]:
        return "batch and heads must agree (with enable_gqa, H a multiple of Hkv)"
    return ""
