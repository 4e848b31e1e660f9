"""Scaled dot-product attention, forward, for a few queries, as in generation with a cache of keys.

A panel of queries would be nearly empty. Here the vector lanes run along the head, and the keys and
values are read where they are, once: memory sets the pace.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.kernels.attention_tiles import FLOAT_MASK, NO_MASK, fill, first_line, scratch
from tinytorch.kernels.compiler import inner, serial
from tinytorch.kernels.math import exp_of_negative, maximum
from tinytorch.kernels.simd import advance, pointer, pointer_at
from tinytorch.kernels.threads import parallel_for

FEW = 4  # queries; from about 8 on tiles are faster
_KEYS = 64  # keys in a tile


@inner
def _scores(s: Any, q: Any, k: Any, k_step: int, keys: int, D: int, scale: Any) -> None:
    """s_j = scale sum_d q_d k_jd"""
    for j in range(keys):
        row = advance(k, j * k_step)
        total = scale * 0
        for d in range(D):
            total += q[d] * row[d]
        s[j] = total * scale


@inner
def _add_values(o: Any, p: Any, v: Any, v_step: int, keys: int, Dv: int) -> None:
    """o_d += sum_j p_j v_jd, four keys at a time."""
    for j in range(0, keys - 3, 4):
        v0, v1 = advance(v, j * v_step), advance(v, (j + 1) * v_step)
        v2, v3 = advance(v, (j + 2) * v_step), advance(v, (j + 3) * v_step)
        p0, p1, p2, p3 = p[j], p[j + 1], p[j + 2], p[j + 3]
        for d in range(Dv):
            o[d] += (p0 * v0[d] + p1 * v1[d]) + (p2 * v2[d] + p3 * v3[d])
    for j in range(keys // 4 * 4, keys):
        for d in range(Dv):
            o[d] += p[j] * v[j * v_step + d]


@inner
def _queries(
    start: int, stop: int, worker: int, out: Any, stats: Any, q: int, q_steps: Any, k: int, k_steps: Any,
    v: int, v_steps: Any, shape: Any, scale: float, causal: bool, mask_kind: int, allowed: Any, bias: Any,
    mask_steps: Any, seed: int, threshold: int, kept: float,
) -> None:  # fmt: skip
    """Rows start .. stop of out, as (B * H * T, Dv); the running softmax is that of attention_forward."""
    H, kv_heads, T, S, D, Dv = shape
    dtype = out.dtype.type
    like = pointer(out)
    memory = scratch(_KEYS + Dv, out)
    p = first_line(memory)  # (_KEYS): scores, then probabilities
    o = advance(p, _KEYS)  # (Dv): sum_j p_j v_jd
    for task in range(start, stop):
        b, h, i = task // T // H, task // T % H, task % T
        kv_head = h // (H // kv_heads)
        query = advance(pointer_at(q, like), b * q_steps[0] + h * q_steps[1] + i * q_steps[2])
        k_head = advance(pointer_at(k, like), b * k_steps[0] + kv_head * k_steps[1])
        v_head = advance(pointer_at(v, like), b * v_steps[0] + kv_head * v_steps[1])
        top, total = dtype(-np.inf), dtype(0)
        fill(o, 0, Dv, 0.0)
        seen = min(S, i + 1) if causal else S
        for key0 in range(0, seen, _KEYS):
            keys = min(_KEYS, seen - key0)
            _scores(p, query, advance(k_head, key0 * k_steps[2]), k_steps[2], keys, D, dtype(scale))
            if mask_kind != NO_MASK:
                at = b * mask_steps[0] + h * mask_steps[1] + i * mask_steps[2] + key0 * mask_steps[3]
                for j in range(keys):
                    if mask_kind == FLOAT_MASK:
                        p[j] += bias[at + j * mask_steps[3]]
                    elif not allowed[at + j * mask_steps[3]]:
                        p[j] = -np.inf
            new = top
            for j in range(keys):
                new = maximum(new, p[j])
            base = new if new != -np.inf else dtype(0)
            shrink = exp_of_negative(top - base)
            top, added = new, dtype(0)
            for j in range(keys):
                p[j] = exp_of_negative(p[j] - base)
                added += p[j]
            total = total * shrink + added
            if shrink != 1:
                for d in range(Dv):
                    o[d] *= shrink
            _add_values(o, p, advance(v_head, key0 * v_steps[2]), v_steps[2], keys, Dv)
        factor = dtype(0) if total == 0 else 1 / total
        for d in range(Dv):
            out[b, i, h, d] = o[d] * factor
        stats[0, b, h, i], stats[1, b, h, i] = top, total


@serial
def decode(out: Any, stats: Any, args: Any) -> None:
    """What attention_forward.forward does, for T <= FEW and without dropout."""
    parallel_for(_queries, stats.size // 2, 1, (out, stats, *args))
