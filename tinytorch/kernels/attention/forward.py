"""Scaled dot-product attention, forward: one pass over the keys with a running softmax.

    s_ij = scale sum_d q_id k_jd (+ mask),  p_ij = exp(s_ij - max_j s_ij) / sum_j exp(s_ij - max_j s_ij)
    o_id = sum_j p_ij v_jd

`plain_attention` is this as plain loops. Here a task takes some panels of queries past the keys, KEYS at a time. The
scores of a tile are computed, turned into exp(score - largest so far), and multiplied by the values, while all of it is
in the cache. Whenever a larger score is found, what was summed under the old maximum is scaled down.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinytorch.kernels.attention.tiles import (
    FAR,
    ROWS,
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
from tinytorch.kernels.math import exp_of_negative, maximum
from tinytorch.kernels.simd import advance, lanes, pointer, pointer_at
from tinytorch.kernels.threads import parallel_for

KEYS = 64  # keys in a tile
PANELS = 8  # panels of queries that share a packed tile of keys


@inner
def _softmax_step(s, rows: int, top, total, shrink, work) -> None:
    """Turn a tile of scores s (rows, width) into exp(s - top), top being the running maximum.

    With m, l the maximum and the sum before this tile (Milakov and Gimelshein 2018, algorithm 3):
        m'_i = max(m_i, max_j s_ji)
        p_ji = exp(s_ji - m'_i)
        l'_i = exp(m_i - m'_i) l_i + sum_j p_ji
    top and total (width) hold m and l; shrink (width) receives exp(m - m'), the factor for what was
    summed under the old maximum. A row that has seen only -inf keeps m = -inf and gets p = 0: there 0
    is subtracted, not m. rows is a multiple of 4; work (2 * width) is scratch memory.
    """
    width = 2 * lanes(s)
    new, added = work, advance(work, width)
    s1, s2, s3 = advance(s, width), advance(s, 2 * width), advance(s, 3 * width)
    for i in range(width):
        new[i] = top[i]
        added[i] = 0
    for j in range(0, rows * width, 4 * width):
        for i in range(width):
            new[i] = maximum(new[i], maximum(maximum(s[j + i], s1[j + i]), maximum(s2[j + i], s3[j + i])))
    for i in range(width):
        m = new[i]
        new[i] = 0.0 if m == -np.inf else m
        shrink[i] = exp_of_negative(top[i] - new[i])
        top[i] = m
    for j in range(0, rows * width, 4 * width):
        for i in range(width):
            p0, p1 = exp_of_negative(s[j + i] - new[i]), exp_of_negative(s1[j + i] - new[i])
            p2, p3 = exp_of_negative(s2[j + i] - new[i]), exp_of_negative(s3[j + i] - new[i])
            s[j + i], s1[j + i], s2[j + i], s3[j + i] = p0, p1, p2, p3
            added[i] += (p0 + p1) + (p2 + p3)
    for i in range(width):
        total[i] = total[i] * shrink[i] + added[i]


@inner
def _scale_rows(o, factors, rows: int, step: int) -> None:
    """o[r, :] *= factors[r]. After some tiles most factors are 1."""
    for r in range(rows):
        factor = factors[r]
        if factor != 1:
            for e in range(r * step, (r + 1) * step):
                o[e] *= factor


@inner
def _drop(p, keys: int, key0: int, query0: int, key, threshold: int) -> None:
    """Set the dropped probabilities of one panel (keys, width) to zero."""
    width = 2 * lanes(p)
    for j in range(keys):
        hashed = key_hash(key, key0 + j)
        for i in range(width):
            p[j * width + i] = p[j * width + i] if keeps(hashed, query0 + i, threshold) else 0.0


@inner
def _finish(
    out, out_step: int, tops, totals, queries: int, Dv: int, o, wide: int, top, total,
    kept,
) -> None:  # fmt: skip
    """out (queries, Dv) = o / (total kept), 0 for a row that saw no key; tops and totals are for the backward."""
    for r in range(queries):
        empty = total[r] == 0
        factor = kept * 0 if empty or kept == 0 else 1 / (total[r] * kept)
        for d in range(Dv):
            out[r * out_step + d] = o[r * wide + d] * factor
        tops[r], totals[r] = top[r], total[r]


def plain_attention(q, k, v, mask, scale: float) -> Any:
    """What `forward` computes, in plain Python: out (B, H, T, Dv), and the largest score and the sum of each row.

    q (B, H, T, D), k and v (B, Hkv, S, ...), mask (B, H, T, S): added to the scores, -inf where a query sees no key.
    """
    (B, H, T, D), (kv_heads, S, Dv) = q.shape, v.shape[1:]
    out, top, total = np.zeros((B, H, T, Dv)), np.full((B, H, T), -np.inf), np.zeros((B, H, T))
    for b, h, i in np.ndindex(B, H, T):
        kv_head = h // (H // kv_heads)
        s = [scale * sum(q[b, h, i, d] * k[b, kv_head, j, d] for d in range(D)) + mask[b, h, i, j] for j in range(S)]
        top[b, h, i] = max(s)
        if max(s) == -np.inf:
            continue  # a row that may attend to nothing
        p = [math.exp(s[j] - max(s)) for j in range(S)]
        total[b, h, i] = sum(p)
        for d in range(Dv):
            out[b, h, i, d] = sum(p[j] / sum(p) * v[b, kv_head, j, d] for j in range(S))
    return out, top, total


@inner
def _query_tiles(
    start: int, stop: int, worker: int, memory, out, stats, q: int, q_steps, k: int, k_steps,
    v: int, v_steps, shape, scale: float, causal: bool, mask_kind: int, allowed, bias,
    mask_steps, seed, threshold: int, kept: float,
) -> None:  # fmt: skip
    """Run tasks start .. stop of `forward`. The last queries of a head come first, as they see the most keys."""
    H, kv_heads, T, S, D, Dv = shape
    like = pointer(out)
    width = 2 * lanes(like)
    wide = round_up(Dv, width)
    step = PANELS * width
    tiles = (T + step - 1) // step
    q_panels = own_scratch(memory, worker)  # (PANELS, D, width): scale q^T
    k_tile = advance(q_panels, step * D)  # (KEYS, D)
    v_tile = advance(k_tile, KEYS * D)  # (KEYS, wide)
    p = advance(v_tile, KEYS * wide)  # (KEYS, width): scores, then probabilities, transposed
    o = advance(p, KEYS * width)  # (PANELS * width, wide): sum_j p_ji v_jd
    top = advance(o, step * wide)  # (PANELS * width): the largest score so far
    total = advance(top, step)  # (PANELS * width): sum_j p_ji
    shrink = advance(total, step)  # (width)
    work = advance(shrink, width)  # (2 * width)
    none: Any = np.int64(0)  # each of the bare literals 0, 1 and FAR would compile the functions it goes to once more
    one: Any = np.int64(1)
    far: Any = np.int64(FAR)
    unit = out.dtype.type(1)

    for task in range(start, stop):
        b, h, query0 = task // tiles // H, task // tiles % H, (tiles - 1 - task % tiles) * step
        queries = min(step, T - query0)
        kv_head = h // (H // kv_heads)
        q_tile = advance(pointer_at(q, like), b * q_steps[0] + h * q_steps[1] + query0 * q_steps[2])
        k_head = advance(pointer_at(k, like), b * k_steps[0] + kv_head * k_steps[1])
        v_head = advance(pointer_at(v, like), b * v_steps[0] + kv_head * v_steps[1])
        key = dropout_key(seed[0], b, h)
        for i in range(0, queries, width):
            seen = min(width, queries - i)
            pack_panel(advance(q_panels, i * D), advance(q_tile, i * q_steps[2]), q_steps[2], seen, D)
        for e in range(round_up(queries, width) * D):
            q_panels[e] *= out.dtype.type(scale)
        fill(o, none, queries * wide, 0.0)
        fill(top, none, step, -np.inf)
        fill(total, none, step, 0.0)
        for key0 in range(0, min(S, query0 + queries) if causal else S, KEYS):
            tile = min(KEYS, S - key0)
            pack_rows(k_tile, D, round_up(tile, ROWS), advance(k_head, key0 * k_steps[2]), k_steps[2], tile, D, unit)
            pack_rows(v_tile, wide, tile, advance(v_head, key0 * v_steps[2]), v_steps[2], tile, Dv, unit)
            for i in range(0, queries, width):
                ahead = query0 + i - key0 if causal else far  # query r of the panel sees keys up to r + ahead
                keys = min(tile, ahead + width)
                if keys <= 0:
                    continue
                rows, seen = round_up(keys, ROWS), min(width, queries - i)
                product(
                    p, width, k_tile, D, one, advance(q_panels, i * D), width, p, width, rows, width, D, none, -far, far
                )
                hide(p, keys, seen, key0, query0 + i, b, h, causal, mask_kind, allowed, bias, mask_steps)
                fill(p, keys * width, rows * width, -np.inf)
                _softmax_step(p, rows, advance(top, i), advance(total, i), shrink, work)
                if threshold > 0:
                    _drop(p, keys, key0, query0 + i, key, threshold)
                o_panel = advance(o, i * wide)
                if key0 > 0:
                    _scale_rows(o_panel, shrink, seen, wide)
                seen = round_up(seen, ROWS)
                product(o_panel, wide, p, one, width, v_tile, wide, o_panel, wide, seen, wide, keys, one, -far, ahead)
        out_tile = advance(like, ((b * T + query0) * H + h) * Dv)
        tops = advance(pointer(stats), (b * H + h) * T + query0)
        totals = advance(tops, stats.size // 2)
        _finish(out_tile, H * Dv, tops, totals, queries, Dv, o, wide, top, total, out.dtype.type(kept))


@launched
@serial
def forward(out, stats, args) -> None:
    """Fill out (B, T, H, Dv) and stats (2, B, H, T): a task for each tile of queries of each head.

    args: the address of q and its strides over batch, head and position, in elements; those of k and v;
    then what attention._options returns.
    """
    B, T, H = out.shape[:3]
    D, Dv = args[6][4:]
    width = 2 * lanes(pointer(out))
    step, wide = PANELS * width, round_up(Dv, width)
    tasks = B * H * ((T + step - 1) // step)
    memory = scratch(tasks, step * (D + wide + 2) + KEYS * (D + wide + width) + 3 * width, out)  # see _query_tiles
    parallel_for(_query_tiles, tasks, 1, (memory, out, stats, *args))
