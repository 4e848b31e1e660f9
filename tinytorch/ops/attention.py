"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32
from ..engine.tensor import wrap
from ..kernels.attention import attention as kernels
from ..random import default_generator
from .common import Array, as_input, in_float32, only_floating, whole
from .fused import FusedFunction

if TYPE_CHECKING:
    from ..tensor import Tensor

Shape = tuple[int, ...]


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
        (lambda t, q, k, v: _sdpa(t)(q, k, v), (2, 1, 5, 4), (2, 6, 4), (1, 1, 6, 5)),
    )
    long_examples = (
        (lambda t, q, k, v: _sdpa(t)(q, k, v), (1, 1, 2, 4), (1, 1, 10_000, 4), (1, 1, 10_000, 3)),
        (lambda t, q, k, v: _sdpa(t)(q, k, v), (1, 1, 10_000, 4), (1, 1, 2, 4), (1, 1, 2, 3)),
        (lambda t, q, k, v: _sdpa(t)(q, k, v - 0.5), (1, 1, 2, 4), (1, 1, 3, 4), (1, 1, 3, 10_000)),
        (lambda t, q, k: _sdpa(t)(q, k, k), (1, 1, 2, 10_000), (1, 1, 3, 10_000)),
        (lambda t, q, m: _sdpa(t)(q, q, q, attn_mask=m), (10_000, 3, 4), (3, 3)),
    )
    errors = (
        (lambda t, q, k: _sdpa(t)(q, k, k), (1, 3, 4), (1, 5, 2), RuntimeError, "must have one head size"),
        (lambda t, q, v: _sdpa(t)(q, q, v), (1, 3, 4), (1, 5, 4), RuntimeError, "key and value one length"),
        (lambda t, q, k: _sdpa(t)(q, k, k), (1, 3, 3, 4), (1, 2, 5, 4), RuntimeError, "batch and heads must agree"),
        (lambda t, q: _sdpa(t)(q, q.half(), q), (1, 3, 4), RuntimeError, "expected one dtype, got"),
        (lambda t, q, m: _sdpa(t)(q, q, q, m), (2, 3, 4), (2, 2), RuntimeError, "attn_mask (2, 2) does not broadcast"),
        (lambda t, q, m: _sdpa(t)(q, q, q, m.long()), (2, 3, 4), (3, 3), RuntimeError, "attn_mask must be bool"),
        (lambda t, q, m: _sdpa(t)(q, q, q, (m > 0).to(t.uint8)), (2, 3, 4), (3, 3), RuntimeError, "not uint8"),
        (lambda t, q, m: _sdpa(t)(q, q, q, m.to(t.bfloat16)), (2, 3, 4), (3, 3), RuntimeError, "not bfloat16"),
        (lambda t, q: _sdpa(t)(q.long(), q.long(), q.long()), (2, 3, 4), RuntimeError, "not implemented for int64"),
        (lambda t, q, k: _sdpa(t)(q, k, k, enable_gqa=True), (1, 3, 3, 4), (1, 2, 5, 4), RuntimeError, "a multiple of"),
        (lambda t, q, m: _sdpa(t)(q, q, q, m, is_causal=True), (2, 3, 4), (3, 3), RuntimeError, "either attn_mask or"),
        (lambda t, q: _sdpa(t)(q, q, q, dropout_p=-0.5), (2, 3, 4), ValueError, "dropout_p must be", "RuntimeError"),
    )

    @staticmethod
    def composite(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        causal: bool,
        scale: float | None,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> Any:
        group = q.shape[1] // max(k.shape[1], 1)
        if group != 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        s = (q @ k.mT) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)  # (B, H, T, S)
        if causal:
            s = s.masked_fill(wrap(~np.tri(*s.shape[-2:], dtype=np.bool_)), -np.inf)
        if mask is not None:
            s = s.masked_fill(~mask, -np.inf) if mask.dtype.kind == "b" else s + mask
        p = s.softmax(-1)
        if dropout:
            p = p * wrap((kernels.dropout_mask(seed, dropout, *p.shape) / (1 - dropout)).astype(p.dtype))
        return p @ v  # (B, H, T, Dv)

    @staticmethod
    def forward(ctx: Attention, q: Array, k: Array, v: Array, mask: Array | None, **options: Any) -> Any:
        y, stats = kernels.attention(q, k, v, mask, **options)
        ctx.save(q, k, v, mask, y, stats)
        return y

    # s_ij = scale sum_d q_id k_jd (+ mask), p_ij = e^(s_ij) / sum_l e^(s_il), y_id = sum_j p_ij z_ij v_jd, where z_ij
    # is 0 if dropout took j from i, else 1/(1 - dropout). With u_ij = dL/dp_ij = z_ij sum_d g_id v_jd:
    #   dL/dv_jd = sum_i p_ij z_ij g_id
    #   dL/ds_ij = sum_l u_il dp_il/ds_ij = sum_l u_il p_il ([l = j] - p_ij) = p_ij (u_ij - sum_l u_il p_il),
    #     and sum_l u_il p_il = sum_d g_id sum_l p_il z_il v_ld = sum_d g_id y_id, for which no row of p is needed
    #   dL/dq_id = scale sum_j dL/ds_ij k_jd, dL/dk_jd = scale sum_i dL/ds_ij q_id
    @staticmethod
    def backward(ctx: Attention, g: Array) -> Any:
        q, k, v, mask, y, stats = ctx.saved
        return *kernels.attention_backward(g, q, k, v, y, stats, mask, **ctx.settings), None


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale query key^T + mask) value.

    query (..., H, T, D), key (..., Hkv, S, D) and value (..., Hkv, S, Dv) have one floating dtype, and the dimensions
    before the last two broadcast; the result is (..., H, T, Dv). attn_mask broadcasts to (..., H, T, S): it is bool,
    True where a query may attend, or floating (float32 or the query's dtype), to be added to the scores. is_causal lets
    query i see keys j <= i, and excludes attn_mask. scale is 1/sqrt(D) unless given. dropout_p is the probability of
    dropping a probability, always: pass 0 in evaluation. enable_gqa lets H be a multiple of Hkv. A row that may attend
    to nothing gives zeros. Raises RuntimeError if shapes or dtypes do not fit, or if the mask has integers.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError("scaled_dot_product_attention: give either attn_mask or is_causal=True, not both")
    if not 0 <= dropout_p < 1:
        raise ValueError(f"scaled_dot_product_attention: dropout_p must be at least 0 and below 1, got {dropout_p}")
    q, k, v, mask, lead = only_floating("scaled_dot_product_attention", query), key, value, None, None
    if attn_mask is not None or not _are_alike(q, k, v):
        mask = None if attn_mask is None else as_input(attn_mask, q, k, v)
        q, k, v, mask, lead = _in_four_dims(*_aligned(q, k, v, mask, enable_gqa), mask)
    options: dict[str, Any] = {"causal": is_causal, "scale": scale}
    if dropout_p:
        options.update(dropout=dropout_p, seed=default_generator.seed_of_kernel())
    # The kernel has no gradient for the mask.
    function = Attention.composite if mask is not None and mask.requires_grad else Attention.apply
    y = in_float32(function, q, k, v, mask, **options)
    return y if lead is None else whole(y.reshape(*lead, y.shape[-1]))


def _are_alike(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether all are (B, H, T, D), of one shape and dtype, and not empty: the kernel takes them as they are."""
    a, b, c = q.array, k.array, v.array
    return a.ndim == 4 and a.shape == b.shape == c.shape and a.dtype == b.dtype == c.dtype and a.size > 0


def _in_four_dims(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Any, ...]:
    """The aligned inputs in the kernel's four dimensions, and the result's dimensions before Dv if they differ."""
    q, k, v = _four(query), _four(key), _four(value)
    if mask is not None:
        if mask.dtype.kind != "b":
            mask = mask.to(q.dtype)
        if query.ndim > 4 and mask.ndim > 3:
            mask = mask.expand(*query.shape[:-1], key.shape[-2]).reshape(*q.shape[:-1], k.shape[-2])
        elif query.ndim == 3 and mask.ndim == 3:
            mask = mask.unsqueeze(0)
    return q, k, v, mask, None if query.ndim == 4 else query.shape[:-1]


def _four(x: Tensor) -> Tensor:
    """Reshape to (B, H, T, D), whatever the number of dimensions before (T, D)."""
    if x.ndim == 4:
        return x
    if x.ndim < 4:
        return x.reshape((1,) * (4 - x.ndim) + tuple(x.shape))
    return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])  # computed, since -1 would be ambiguous if T is 0


def _aligned(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, grouped: bool) -> tuple[Tensor, Tensor, Tensor]:
    """query, key and value with equal numbers of dimensions and one batch, checked against each other and the mask."""
    shapes = q.array.shape, k.array.shape, v.array.shape
    problem, leads = _problem(*shapes, grouped)
    if not problem and not q.array.dtype == k.array.dtype == v.array.dtype:
        problem = "expected one dtype"
    if not problem and mask is not None:
        dtype, scores = mask.array.dtype, (*leads[0], shapes[0][-2], shapes[1][-2])
        if dtype.kind != "b" and dtype not in (float32, q.array.dtype):
            problem = f"attn_mask must be bool, float32 or the query's dtype, not {dtype} (of ones and zeros: .bool())"
        elif not _broadcasts(mask.array.shape, scores):
            problem = f"attn_mask {mask.array.shape} does not broadcast to the scores {scores}"
    if problem:
        got = ", ".join(f"{name} {x.dtype} {tuple(x.shape)}" for name, x in (("query", q), ("key", k), ("value", v)))
        raise RuntimeError(f"scaled_dot_product_attention: {problem}, got {got}")
    if leads == (shapes[0][:-2], shapes[1][:-2], shapes[2][:-2]):
        return q, k, v
    q, k, v = [x.expand(*lead, *x.shape[-2:]) for x, lead in zip((q, k, v), leads, strict=True)]
    return q, k, v


def _problem(q: Shape, k: Shape, v: Shape, grouped: bool) -> tuple[str, tuple[Shape, Shape, Shape]]:
    """What is wrong with these shapes, or nothing; and the dimensions that each should have before its last two."""
    leads = q[:-2], k[:-2], v[:-2]
    if len(q) < 2 or len(k) < 2 or len(v) < 2:
        return "expected tensors of at least 2 dimensions", leads
    if q[-1] != k[-1] or k[-2] != v[-2]:
        return "query and key must have one head size, key and value one length", leads
    if not q[-1]:
        return "the head size must not be 0", leads
    if not grouped:
        return _broadcast(*leads)
    if not all(leads) or k[-3] != v[-3] or not k[-3] or q[-3] % k[-3]:
        return "with enable_gqa, H must be a multiple of Hkv", leads
    # Query heads share the key heads: those do not broadcast.
    problem, batches = _broadcast(q[:-3], k[:-3], v[:-3])
    return problem, (batches[0] + q[-3:-2], batches[1] + k[-3:-2], batches[2] + v[-3:-2])


def _broadcast(q: Shape, k: Shape, v: Shape) -> tuple[str, tuple[Shape, Shape, Shape]]:
    if q == k == v:
        return "", (q, k, v)
    try:
        batch = np.broadcast_shapes(q, k, v)
    except ValueError:
        return "batch and heads must agree or broadcast", (q, k, v)
    return "", (batch, batch, batch)


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    return len(shape) <= len(target) and all(n in (1, m) for n, m in zip(shape[::-1], target[::-1], strict=False))


def _sdpa(t: Any) -> Any:
    return t.nn.functional.scaled_dot_product_attention


def _mask(t: Any) -> Any:
    return t.tensor(
        [[True, False, True, False, True], [True, True, True, True, True], [False, False, False, True, False]]
    )
