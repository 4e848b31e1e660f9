"""Scaled dot-product attention, backward: the probabilities are recomputed, tile by tile.

It differentiates, with z_ij = 0 where dropout took j from i and 1 / (1 - dropout) elsewhere,

    s_ij = scale sum_d q_id k_jd (+ mask),  p_ij = exp(s_ij - top_i) / total_i,  o_id = sum_j p_ij z_ij v_jd

(Dao 2023, FlashAttention-2, algorithm 2.) `plain_attention_backward` is what it computes as plain loops. Here a task
takes some tiles of keys past all queries that see them, so that no other task adds to their dk and dv. The two
subtractions, of top and of delta, are addends of matrix products.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinytorch.kernels.attention.tiles import (
    FAR,
    ROWS,
    copy_rows,
    dropout_key,
    fill,
    hide,
    keeps,
    key_hash,
    own_scratch,
    pack_panel,
    pack_rows,
    product,
    round_up,
    scratch,
)
from tinytorch.kernels.compiler import inner, serial
from tinytorch.kernels.launch import launched
from tinytorch.kernels.math import exp_of_negative
from tinytorch.kernels.simd import advance, lanes, pointer, pointer_at
from tinytorch.kernels.threads import parallel_for

KEYS = 64  # keys in a tile
PANELS = 4  # panels of queries that pass over the keys together


@inner
def _score_gradients(
    s, dp, keys: int, minus_delta, key0: int, query0: int, key, threshold: int
) -> None:
    """Turn s - top, in s, into P Z without its factor, and (dP - delta) / total, in dp, into dS: (keys, width) each."""
    width = 2 * lanes(s)
    if threshold == 0:
        for e in range(keys * width):
            p = exp_of_negative(s[e])
            s[e] = p
            dp[e] *= p
        return
    for j in range(keys):
        hashed = key_hash(key, key0 + j)
        for i in range(width):
            e, keep = j * width + i, keeps(hashed, query0 + i, threshold)
            p = exp_of_negative(s[e])
            dp[e] = p * (dp[e] if keep else minus_delta[i])
            s[e] = p if keep else 0.0


@inner
def _pack_queries(
    queries: int, q, q_step: int, grad, grad_step: int, out, out_step: int, top, total,
    D: int, Dv: int, scale, factor, q_rows, q_panels, grad_rows, grad_panels,
    minus_top, minus_delta,
) -> None:  # fmt: skip
    """Pack what the backward needs of a tile of queries into buffers that are described in _key_chunks.

    scale and factor, 1 / (1 - dropout), have the dtype of the arrays.
    """
    width = 2 * lanes(q)
    q_wide, grad_wide = round_up(D, width), round_up(Dv, width)
    for i in range(0, queries, width):  # one panel after the other, so that the first-level cache holds it
        seen = min(width, queries - i)
        q_now, grad_now = advance(q_rows, i * q_wide), advance(grad_rows, i * grad_wide)
        less_top, less_delta = advance(minus_top, i), advance(minus_delta, i)
        for r in range(seen):
            # A row that saw no key has top = -inf: its probabilities are exp(-inf), not exp(inf).
            less_top[r] = -top[i + r] if top[i + r] > -np.inf else top[i + r]
            # Every gradient has the factor p, and p the factor 1 / total, which is put in here, once for each row.
            less_delta[r] = 1 / total[i + r] if total[i + r] > 0 else total[i + r]
        for r in range(seen):
            g, o = advance(grad, (i + r) * grad_step), advance(out, (i + r) * out_step)
            pack_rows(advance(grad_now, r * grad_wide), grad_wide, 1, g, 0, 1, Dv, less_delta[r] * factor)
            delta = scale * 0
            for d in range(Dv):
                delta += g[d] * o[d]
            less_delta[r] *= -delta
        fill(less_top, seen, width, 0.0)
        fill(less_delta, seen, width, 0.0)
        pack_rows(q_now, q_wide, seen, advance(q, i * q_step), q_step, seen, D, scale)
        pack_panel(advance(q_panels, i * D), q_now, q_wide, seen, D)
        pack_panel(advance(grad_panels, i * Dv), grad_now, grad_wide, seen, Dv)


@inner
def _most_keys(S: int, chunks: int) -> int:
    """The number of keys in the largest chunk, which is whole tiles."""
    return ((S + KEYS - 1) // KEYS + chunks - 1) // chunks * KEYS


def plain_attention_backward(
    grad, q, k, v, out, top, total, mask, scale: float
) -> Any:
    """What `backward` computes, in plain Python, from what `forward.plain_attention` takes and returns."""
    (B, H, T, D), (kv_heads, S, Dv) = q.shape, v.shape[1:]
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    for b, h, i in np.ndindex(B, H, T):
        at, kv_head = (b, h, i), h // (H // kv_heads)
        delta = sum(grad[at][d] * out[at][d] for d in range(Dv))
        for j in range(S if total[at] > 0 else 0):
            key = b, kv_head, j
            s = scale * sum(q[at][d] * k[key][d] for d in range(D)) + mask[at][j]
            p = math.exp(s - top[at]) / total[at]
            dp = sum(grad[at][d] * v[key][d] for d in range(Dv))
            ds = p * (dp - delta)
            for d in range(D):
                dq[at][d] += scale * ds * k[key][d]
                dk[key][d] += scale * ds * q[at][d]
            for d in range(Dv):
                dv[key][d] += p * grad[at][d]
    return dq, dk, dv


@inner
def _key_chunks(
    start: int, stop: int, worker: int, memory, chunks: int,
    dq: int, dq_chunk: int, dq_steps, dk: int, dk_steps, dv: int, dv_steps,
    q: int, q_steps, k: int, k_steps, v: int, v_steps,
    grad: int, grad_steps, out: int, out_steps, stats,
    shape, scale: float, causal: bool, mask_kind: int, allowed, bias, mask_steps,
    seed, threshold: int, kept: float,
) -> None:  # fmt: skip
    """Run tasks start .. stop of `backward`; a task is the key tiles chunk, chunk + chunks, ... of one key head.

    All query heads of the group are summed in one task, so that no other task writes these rows of dk and dv.
    """
    H, kv_heads, T, S, D, Dv = shape
    group = H // kv_heads
    dtype = memory.dtype.type
    like = pointer(memory)
    width = 2 * lanes(like)
    step = PANELS * width
    D_, Dv_ = round_up(D, width), round_up(Dv, width)
    most = _most_keys(S, chunks)
    k_tiles = own_scratch(memory, worker)  # (most, D_)
    v_tiles = advance(k_tiles, most * D_)  # (most, Dv_)
    dk_tiles = advance(v_tiles, most * Dv_)  # (most, D_)
    dv_tiles = advance(dk_tiles, most * D_)  # (most, Dv_)
    q_rows = advance(dv_tiles, most * Dv_)  # (step, D_): scale q
    q_panels = advance(q_rows, step * D_)  # (PANELS, D, width): scale q^T
    grad_rows = advance(q_panels, step * D)  # (step, Dv_): grad / (total (1 - dropout))
    grad_panels = advance(grad_rows, step * Dv_)  # (PANELS, Dv, width): the same, transposed
    dq_rows = advance(grad_panels, step * Dv)  # (step, D_)
    minus_top = advance(dq_rows, step * D_)  # (step)
    minus_delta = advance(minus_top, step)  # (step)
    s = advance(minus_delta, step)  # (KEYS, width): scores, then probabilities, transposed
    ds = advance(s, KEYS * width)  # (KEYS, width): dP, then dS, transposed
    none: Any = np.int64(0)  # each of the bare literals 0, 1 and FAR would compile the functions it goes to once more
    one: Any = np.int64(1)
    far: Any = np.int64(FAR)
    unit, scale_, factor = dtype(1), dtype(scale), dtype(1 / kept if kept > 0 else 0.0)

    for task in range(start, stop):
        chunk, kv_head, b = task % chunks, task // chunks % kv_heads, task // chunks // kv_heads
        tiles = ((S + KEYS - 1) // KEYS - chunk + chunks - 1) // chunks
        k_head = advance(pointer_at(k, like), b * k_steps[0] + kv_head * k_steps[1])
        v_head = advance(pointer_at(v, like), b * v_steps[0] + kv_head * v_steps[1])
        for t in range(tiles):
            key0, at = (chunk + t * chunks) * KEYS, t * KEYS
            tile, k_step, v_step = min(KEYS, S - key0), k_steps[2], v_steps[2]
            rows = round_up(tile, ROWS)
            pack_rows(advance(k_tiles, at * D_), D_, rows, advance(k_head, key0 * k_step), k_step, tile, D, unit)
            pack_rows(advance(v_tiles, at * Dv_), Dv_, rows, advance(v_head, key0 * v_step), v_step, tile, Dv, unit)
        fill(dk_tiles, none, most * (D_ + Dv_), 0.0)
        for visit in range(group * ((T + step - 1) // step)):
            h, query0 = kv_head * group + visit % group, visit // group * step
            queries = min(step, T - query0)
            key = dropout_key(seed[0], b, h)
            q_tile = advance(pointer_at(q, like), b * q_steps[0] + h * q_steps[1] + query0 * q_steps[2])
            grad_tile = advance(pointer_at(grad, like), b * grad_steps[0] + h * grad_steps[1] + query0 * grad_steps[2])
            out_tile = advance(pointer_at(out, like), b * out_steps[0] + h * out_steps[1] + query0 * out_steps[2])
            top = advance(pointer(stats), (b * H + h) * T + query0)
            total = advance(top, stats.size // 2)
            _pack_queries(
                queries, q_tile, q_steps[2], grad_tile, grad_steps[2], out_tile, out_steps[2], top, total, D, Dv,
                scale_, factor, q_rows, q_panels, grad_rows, grad_panels, minus_top, minus_delta,
            )  # fmt: skip
            fill(dq_rows, none, queries * D_, 0.0)
            for t in range(tiles):
                key0 = (chunk + t * chunks) * KEYS
                k_tile, v_tile = advance(k_tiles, t * KEYS * D_), advance(v_tiles, t * KEYS * Dv_)
                dk_tile, dv_tile = advance(dk_tiles, t * KEYS * D_), advance(dv_tiles, t * KEYS * Dv_)
                for i in range(0, queries, width):
                    ahead = query0 + i - key0 if causal else far  # query r of the panel sees keys up to r + ahead
                    keys = min(KEYS, S - key0, ahead + width)
                    if keys <= 0:
                        continue
                    rows, seen = round_up(keys, ROWS), min(width, queries - i)
                    q_panel, q_row, dq_row = advance(q_panels, i * D), advance(q_rows, i * D_), advance(dq_rows, i * D_)
                    g_panel, g_row = advance(grad_panels, i * Dv), advance(grad_rows, i * Dv_)
                    less_top, less_delta = advance(minus_top, i), advance(minus_delta, i)
                    product(s, width, k_tile, D_, one, q_panel, width, less_top, none, rows, width, D, one, -far, far)
                    product(
                        ds, width, v_tile, Dv_, one, g_panel, width, less_delta, none, rows, width, Dv, one, -far, far
                    )  # fmt: skip
                    hide(s, keys, seen, key0, query0 + i, b, h, causal, mask_kind, allowed, bias, mask_steps)
                    _score_gradients(s, ds, rows, less_delta, key0, query0 + i, key, threshold)
                    product(dv_tile, Dv_, s, width, one, g_row, Dv_, dv_tile, Dv_, rows, Dv_, seen, one, -ahead, far)
                    product(dk_tile, D_, ds, width, one, q_row, D_, dk_tile, D_, rows, D_, seen, one, -ahead, far)
                    seen = round_up(seen, ROWS)
                    product(dq_row, D_, ds, one, width, k_tile, D_, dq_row, D_, seen, D_, keys, one, -far, ahead)
            dq_tile = advance(pointer_at(dq, like), chunk * dq_chunk + b * dq_steps[0] + h * dq_steps[1])
            copy_rows(advance(dq_tile, query0 * dq_steps[2]), dq_steps[2], dq_rows, D_, queries, D, scale_)
        dk_head = advance(pointer_at(dk, like), b * dk_steps[0] + kv_head * dk_steps[1])
        dv_head = advance(pointer_at(dv, like), b * dv_steps[0] + kv_head * dv_steps[1])
        for t in range(tiles):
            key0, at = (chunk + t * chunks) * KEYS, t * KEYS
            tile, dk_step, dv_step = min(KEYS, S - key0), dk_steps[2], dv_steps[2]
            copy_rows(advance(dk_head, key0 * dk_step), dk_step, advance(dk_tiles, at * D_), D_, tile, D, unit)
            copy_rows(advance(dv_head, key0 * dv_step), dv_step, advance(dv_tiles, at * Dv_), Dv_, tile, Dv, unit)


@launched
@serial
def backward(like, tasks: int, chunks: int, args) -> None:
    """Fill dq (chunks, B, H, T, D), to be summed over chunks, dk (B, Hkv, S, D) and dv (B, Hkv, S, Dv).

    like: an array of their type. tasks: B * Hkv * chunks. args: the address of dq and its strides over chunk, and over
    batch, head and position, in elements; those of dk, dv, q, k, v, grad and out; stats (2, B, H, T); then what
    attention._options returns.
    """
    S, D, Dv = args[18][3:]
    width = 2 * lanes(pointer(like))
    D_, Dv_, step, most = round_up(D, width), round_up(Dv, width), PANELS * width, _most_keys(S, chunks)
    size = 2 * most * (D_ + Dv_) + step * (2 * D_ + Dv_ + D + Dv + 2) + 2 * KEYS * width  # see _key_chunks
    parallel_for(_key_chunks, tasks, 1, (scratch(tasks, size, like), chunks, *args))
