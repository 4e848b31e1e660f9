"""Scaled dot-product attention, backward: probabilities computed again, tile by tile.

With s_ij = scale sum_d q_id k_jd (+ mask), p_ij = exp(s_ij - lse_i), o_id = sum_j p_ij z_ij v_jd, where
z_ij is 0 where dropout took j from i and 1 / (1 - dropout) elsewhere, and G_x the gradient of the loss
with respect to x (dO is G_o):

    G_v_jd = sum_i p_ij z_ij G_o_id                                    dV = (P Z)^T dO
    G_p_ij = z_ij sum_d G_o_id v_jd                                    dP = Z (dO V^T)
    G_s_ij = p_ij (G_p_ij - sum_l p_il G_p_il)                         the softmax's Jacobian, dp_l/ds_j = p_l (1_lj - p_j)
           = p_ij (G_p_ij - delta_i)                                   dS = P (dP - delta)
    delta_i = sum_l p_il z_il sum_d G_o_id v_ld = sum_d G_o_id o_id    so no pass over the keys is needed for it
    G_q_id = scale sum_j G_s_ij k_jd                                   dQ = scale dS K
    G_k_jd = scale sum_i G_s_ij q_id                                   dK = scale dS^T Q

(Dao 2023, FlashAttention-2, algorithm 2.) Both subtractions are the addends of the matrix products.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.kernels.attention_tiles import (
    ROWS,
    dropout_key,
    fill,
    first_line,
    hide,
    keeps,
    key_hash,
    pack_panel,
    pack_rows,
    product,
    round_up,
    scratch,
)
from tinytorch.kernels.compiler import serial
from tinytorch.kernels.math import exp
from tinytorch.kernels.simd import advance, lanes, pointer, pointer_at
from tinytorch.kernels.threads import parallel_for

KEYS = 64  # keys in a tile
PANELS = 4  # panels of queries that pass over the keys together


@serial
def _score_gradients(
    s: Any, dp: Any, keys: int, minus_delta: Any, key0: int, query0: int, key: Any, threshold: int
) -> None:
    """From s - lse and dP - delta, both (keys, width), make P Z (but for its factor) in s and dS in dp."""
    width = 2 * lanes(s)
    if threshold == 0:
        for e in range(keys * width):
            p = exp(s[e])
            s[e] = p
            dp[e] *= p
        return
    for j in range(keys):
        hashed = key_hash(key, key0 + j)
        for i in range(width):
            e, keep = j * width + i, keeps(hashed, query0 + i, threshold)
            p = exp(s[e])
            dp[e] = p * (dp[e] if keep else minus_delta[i])
            s[e] = p if keep else 0.0


@serial
def _pack_queries(
    queries: int, q: Any, q_step: int, grad: Any, grad_step: int, out: Any, out_step: int, lse: Any, D: int, Dv: int,
    scale: Any, factor: Any, q_rows: Any, q_panels: Any, grad_rows: Any, grad_panels: Any, minus_lse: Any,
    minus_delta: Any,
) -> None:  # fmt: skip
    """What the backward needs of a tile of queries; the buffers are described in _key_chunk.

    scale and factor, 1 / (1 - dropout), have the dtype of the arrays.
    """
    width = 2 * lanes(q)
    q_wide, grad_wide = round_up(D, width), round_up(Dv, width)
    pack_rows(q_rows, q_wide, queries, q, q_step, queries, D)
    pack_rows(grad_rows, grad_wide, queries, grad, grad_step, queries, Dv)
    for e in range(queries * q_wide):
        q_rows[e] *= scale
    for e in range(queries * grad_wide):
        grad_rows[e] *= factor
    for i in range(0, queries, width):
        seen = min(width, queries - i)
        pack_panel(advance(q_panels, i * D), advance(q_rows, i * q_wide), q_wide, seen, D)
        pack_panel(advance(grad_panels, i * Dv), advance(grad_rows, i * grad_wide), grad_wide, seen, Dv)
    for r in range(queries):
        g, o = advance(grad, r * grad_step), advance(out, r * out_step)
        delta = scale * 0
        for d in range(Dv):
            delta += g[d] * o[d]
        minus_delta[r] = -delta
        # A row that saw no key has lse = -inf: its probabilities are exp(-inf), not exp(inf).
        minus_lse[r] = -lse[r] if lse[r] > -np.inf else lse[r]
    fill(minus_delta, queries, round_up(queries, width), 0)
    fill(minus_lse, queries, round_up(queries, width), 0)


@serial
def _scratch_size(tiles: int, D: int, Dv: int, width: int) -> int:
    """Elements of scratch memory that _key_chunk uses."""
    wide = round_up(D, width) + round_up(Dv, width)
    return 2 * tiles * KEYS * wide + PANELS * width * (D + Dv + wide + round_up(D, width) + 2) + 2 * KEYS * width


@serial
def _key_chunk(
    memory: Any, dq: Any, dk: Any, dv: Any, chunk: int, b: int, kv_head: int,
    q: int, q_steps: Any, k: int, k_steps: Any, v: int, v_steps: Any,
    grad: int, grad_steps: Any, out: int, out_steps: Any, lse: Any,
    shape: Any, scale: float, causal: bool, mask_kind: int, allowed: Any, bias: Any, mask_steps: Any,
    seed: int, threshold: int, kept: float,
) -> None:  # fmt: skip
    """What key tiles chunk, chunk + chunks, ... of one key head give to dk and dv, and to dq[chunk].

    All query heads of the group are summed here, so that no other task writes these rows.
    """
    H, kv_heads, T, S, D, Dv = shape
    chunks = dq.shape[0]
    dtype = dq.dtype.type
    like = pointer(dq)
    width = 2 * lanes(like)
    tiles = ((S + KEYS - 1) // KEYS - chunk + chunks - 1) // chunks
    D_, Dv_ = round_up(D, width), round_up(Dv, width)
    k_tiles = first_line(memory)  # (tiles * KEYS, D_)
    v_tiles = advance(k_tiles, tiles * KEYS * D_)  # (tiles * KEYS, Dv_)
    dk_tiles = advance(v_tiles, tiles * KEYS * Dv_)  # (tiles * KEYS, D_)
    dv_tiles = advance(dk_tiles, tiles * KEYS * D_)  # (tiles * KEYS, Dv_)
    q_rows = advance(dv_tiles, tiles * KEYS * Dv_)  # (PANELS * width, D_): scale q
    q_panels = advance(q_rows, PANELS * width * D_)  # (PANELS, D, width): scale q^T
    grad_rows = advance(q_panels, PANELS * width * D)  # (PANELS * width, Dv_): grad / (1 - dropout)
    grad_panels = advance(grad_rows, PANELS * width * Dv_)  # (PANELS, Dv, width): the same, transposed
    dq_rows = advance(grad_panels, PANELS * width * Dv)  # (PANELS * width, D_)
    minus_lse = advance(dq_rows, PANELS * width * D_)  # (PANELS * width)
    minus_delta = advance(minus_lse, PANELS * width)  # (PANELS * width)
    s = advance(minus_delta, PANELS * width)  # (KEYS, width): scores, then probabilities, transposed
    ds = advance(s, KEYS * width)  # (KEYS, width): dP, then dS, transposed

    k_head = advance(pointer_at(k, like), b * k_steps[0] + kv_head * k_steps[1])
    v_head = advance(pointer_at(v, like), b * v_steps[0] + kv_head * v_steps[1])
    for t in range(tiles):
        key0, row0 = (chunk + t * chunks) * KEYS, t * KEYS
        tile = min(KEYS, S - key0)
        pack_rows(advance(k_tiles, row0 * D_), D_, KEYS, advance(k_head, key0 * k_steps[2]), k_steps[2], tile, D)
        pack_rows(advance(v_tiles, row0 * Dv_), Dv_, KEYS, advance(v_head, key0 * v_steps[2]), v_steps[2], tile, Dv)
    fill(dk_tiles, 0, tiles * KEYS * (D_ + Dv_), 0)

    factor = dtype(1 / kept if kept > 0 else 0)
    group = H // kv_heads
    for h in range(kv_head * group, (kv_head + 1) * group):
        key = dropout_key(seed, b, h)
        for query0 in range(0, T, PANELS * width):
            queries = min(PANELS * width, T - query0)
            _pack_queries(
                queries,
                advance(pointer_at(q, like), b * q_steps[0] + h * q_steps[1] + query0 * q_steps[2]), q_steps[2],
                advance(pointer_at(grad, like), b * grad_steps[0] + h * grad_steps[1] + query0 * grad_steps[2]),
                grad_steps[2],
                advance(pointer_at(out, like), b * out_steps[0] + h * out_steps[1] + query0 * out_steps[2]),
                out_steps[2],
                advance(pointer(lse), (b * H + h) * T + query0), D, Dv, dtype(scale), factor,
                q_rows, q_panels, grad_rows, grad_panels, minus_lse, minus_delta,
            )  # fmt: skip
            fill(dq_rows, 0, queries * D_, 0)
            for t in range(tiles):
                key0 = (chunk + t * chunks) * KEYS
                if causal and key0 >= query0 + queries:
                    break
                k_tile, v_tile = advance(k_tiles, t * KEYS * D_), advance(v_tiles, t * KEYS * Dv_)
                dk_tile, dv_tile = advance(dk_tiles, t * KEYS * D_), advance(dv_tiles, t * KEYS * Dv_)
                for i in range(0, queries, width):
                    keys = min(KEYS, S - key0, query0 + i + width - key0) if causal else min(KEYS, S - key0)
                    if keys <= 0:
                        continue
                    rows, seen = round_up(keys, ROWS), min(width, queries - i)
                    q_panel, grad_panel = advance(q_panels, i * D), advance(grad_panels, i * Dv)
                    delta = advance(minus_delta, i)
                    product(s, width, k_tile, D_, 1, q_panel, width, advance(minus_lse, i), 0, rows, width, D, 1)
                    product(ds, width, v_tile, Dv_, 1, grad_panel, width, delta, 0, rows, width, Dv, 1)
                    hide(s, keys, seen, key0, query0 + i, b, h, causal, mask_kind, allowed, bias, mask_steps)
                    _score_gradients(s, ds, rows, delta, key0, query0 + i, key, threshold)
                    grad_row, q_row = advance(grad_rows, i * Dv_), advance(q_rows, i * D_)
                    product(dv_tile, Dv_, s, width, 1, grad_row, Dv_, dv_tile, Dv_, rows, Dv_, seen, 1)
                    product(dk_tile, D_, ds, width, 1, q_row, D_, dk_tile, D_, rows, D_, seen, 1)
                    dq_row = advance(dq_rows, i * D_)
                    product(dq_row, D_, ds, 1, width, k_tile, D_, dq_row, D_, round_up(seen, ROWS), D_, keys, 1)
            for r in range(queries):
                row = dq[chunk, b, query0 + r, h]
                for d in range(D):
                    row[d] = dq_rows[r * D_ + d] * dtype(scale)

    for t in range(tiles):
        key0, row0 = (chunk + t * chunks) * KEYS, t * KEYS
        for j in range(min(KEYS, S - key0)):
            dk_row, dv_row = dk[b, key0 + j, kv_head], dv[b, key0 + j, kv_head]
            for d in range(D):
                dk_row[d] = dk_tiles[(row0 + j) * D_ + d]
            for d in range(Dv):
                dv_row[d] = dv_tiles[(row0 + j) * Dv_ + d]


@serial
def _key_chunks(
    start: int, stop: int, worker: int, dq: Any, dk: Any, dv: Any,
    q: int, q_steps: Any, k: int, k_steps: Any, v: int, v_steps: Any,
    grad: int, grad_steps: Any, out: int, out_steps: Any, lse: Any,
    shape: Any, scale: float, causal: bool, mask_kind: int, allowed: Any, bias: Any, mask_steps: Any,
    seed: int, threshold: int, kept: float,
) -> None:  # fmt: skip
    _, kv_heads, _, S, D, Dv = shape
    chunks = dq.shape[0]
    tiles = ((S + KEYS - 1) // KEYS + chunks - 1) // chunks
    memory = scratch(_scratch_size(tiles, D, Dv, 2 * lanes(pointer(dq))), dq)
    for task in range(start, stop):
        head, chunk = task // chunks, task % chunks
        _key_chunk(
            memory, dq, dk, dv, chunk, head // kv_heads, head % kv_heads, q, q_steps, k, k_steps, v, v_steps,
            grad, grad_steps, out, out_steps, lse,
            shape, scale, causal, mask_kind, allowed, bias, mask_steps, seed, threshold, kept,
        )  # fmt: skip


@serial
def backward(dq: Any, dk: Any, dv: Any, args: Any) -> None:
    """Fill dq (chunks, B, T, H, D), to be summed over chunks, dk (B, S, Hkv, D) and dv (B, S, Hkv, Dv).

    args: the address of q and its strides over batch, head and position, in elements; those of k, v,
    grad and out; lse (B, H, T); then what attention._options returns.
    """
    parallel_for(_key_chunks, dk.shape[0] * dk.shape[2] * dq.shape[0], 1, (dq, dk, dv, *args))
