"""Scaled dot-product attention, forward: one pass over the keys with a running softmax."""

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
from tinytorch.kernels.math import exp, maximum
from tinytorch.kernels.simd import advance, lanes, pointer, pointer_at
from tinytorch.kernels.threads import parallel_for

KEYS = 64  # keys in a tile
PANELS = 4  # panels of queries that share a packed tile of keys


@serial
def _softmax_step(s: Any, rows: int, top: Any, total: Any, shrink: Any, work: Any) -> None:
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
        shrink[i] = exp(top[i] - new[i])
        top[i] = m
    for j in range(0, rows * width, 4 * width):
        for i in range(width):
            p0, p1 = exp(s[j + i] - new[i]), exp(s1[j + i] - new[i])
            p2, p3 = exp(s2[j + i] - new[i]), exp(s3[j + i] - new[i])
            s[j + i], s1[j + i], s2[j + i], s3[j + i] = p0, p1, p2, p3
            added[i] += (p0 + p1) + (p2 + p3)
    for i in range(width):
        total[i] = total[i] * shrink[i] + added[i]


@serial
def _drop(p: Any, keys: int, key0: int, query0: int, key: Any, threshold: int) -> None:
    """Set the dropped probabilities of one panel (keys, width) to zero."""
    width = 2 * lanes(p)
    for j in range(keys):
        hashed = key_hash(key, key0 + j)
        for i in range(width):
            p[j * width + i] = p[j * width + i] if keeps(hashed, query0 + i, threshold) else 0.0


@serial
def _query_tile(
    memory: Any, out: Any, lse: Any, b: int, h: int, query0: int, q: Any, q_step: int, k: Any, k_step: int,
    v: Any, v_step: int, shape: Any, scale: float, causal: bool, mask_kind: int, allowed: Any, bias: Any,
    mask_steps: Any, seed: int, threshold: int, kept: float,
) -> None:  # fmt: skip
    """Rows query0 .. query0 + PANELS * width of out (B, T, H, Dv) and lse (B, H, T).

    q (T, D), k (S, D) and v (S, Dv) are those of head h.
    """
    _, _, T, S, D, Dv = shape
    width = 2 * lanes(q)
    queries = min(PANELS * width, T - query0)
    wide = round_up(Dv, width)
    q_panels = first_line(memory)  # (PANELS, D, width): scale q^T
    k_tile = advance(q_panels, PANELS * D * width)  # (KEYS, D)
    v_tile = advance(k_tile, KEYS * D)  # (KEYS, wide)
    p = advance(v_tile, KEYS * wide)  # (KEYS, width): scores, then probabilities, transposed
    o = advance(p, KEYS * width)  # (PANELS * width, wide): sum_j p_ji v_jd
    top = advance(o, PANELS * width * wide)  # (PANELS * width): the largest score so far
    total = advance(top, PANELS * width)  # (PANELS * width): sum_j p_ji
    shrink = advance(total, PANELS * width)  # (width)
    work = advance(shrink, width)  # (2 * width)
    fill(o, 0, PANELS * width * wide, 0)
    fill(top, 0, PANELS * width, -np.inf)
    fill(total, 0, PANELS * width, 0)
    key = dropout_key(seed, b, h)

    for i in range(0, queries, width):
        pack_panel(advance(q_panels, i * D), advance(q, (query0 + i) * q_step), q_step, min(width, queries - i), D)
    for e in range(round_up(queries, width) * D):
        q_panels[e] *= out.dtype.type(scale)

    for key0 in range(0, min(S, query0 + queries) if causal else S, KEYS):
        tile = min(KEYS, S - key0)
        pack_rows(k_tile, D, round_up(tile, ROWS), advance(k, key0 * k_step), k_step, tile, D)
        pack_rows(v_tile, wide, tile, advance(v, key0 * v_step), v_step, tile, Dv)
        for i in range(0, queries, width):
            keys = min(tile, query0 + i + width - key0) if causal else tile
            if keys <= 0:
                continue
            rows, seen = round_up(keys, ROWS), min(width, queries - i)
            product(p, width, k_tile, D, 1, advance(q_panels, i * D), width, p, width, rows, width, D, 0)
            hide(p, keys, seen, key0, query0 + i, b, h, causal, mask_kind, allowed, bias, mask_steps)
            fill(p, keys * width, rows * width, -np.inf)
            _softmax_step(p, rows, advance(top, i), advance(total, i), shrink, work)
            if threshold > 0:
                _drop(p, keys, key0, query0 + i, key, threshold)
            o_panel = advance(o, i * wide)
            for r in range(seen):
                if shrink[r] != 1:
                    for d in range(wide):
                        o_panel[r * wide + d] *= shrink[r]
            seen = round_up(seen, ROWS)
            product(o_panel, wide, p, 1, width, v_tile, wide, o_panel, wide, seen, wide, keys, 1)

    for r in range(queries):
        row = out[b, query0 + r, h]
        if total[r] == 0:
            row[:] = 0
            lse[b, h, query0 + r] = -np.inf
            continue
        factor = out.dtype.type(1 / (total[r] * kept) if kept > 0 else 0)
        for d in range(Dv):
            row[d] = o[r * wide + d] * factor
        lse[b, h, query0 + r] = top[r] + np.log(total[r])


@serial
def _query_tiles(
    start: int, stop: int, worker: int, out: Any, lse: Any, q: int, q_steps: Any, k: int, k_steps: Any,
    v: int, v_steps: Any, shape: Any, scale: Any, causal: bool, mask_kind: int, allowed: Any, bias: Any,
    mask_steps: Any, seed: int, threshold: int, kept: float,
) -> None:  # fmt: skip
    H, kv_heads, T, S, D, Dv = shape
    like = pointer(out)
    width = 2 * lanes(like)
    wide = round_up(Dv, width)
    memory = scratch(PANELS * width * (D + wide + 2) + KEYS * (D + wide + width) + 3 * width, out)
    tiles = (T + PANELS * width - 1) // (PANELS * width)
    for task in range(start, stop):
        b, h, t = task // tiles // H, task // tiles % H, tiles - 1 - task % tiles
        kv_head = h // (H // kv_heads)
        _query_tile(
            memory, out, lse, b, h, t * PANELS * width,
            advance(pointer_at(q, like), b * q_steps[0] + h * q_steps[1]), q_steps[2],
            advance(pointer_at(k, like), b * k_steps[0] + kv_head * k_steps[1]), k_steps[2],
            advance(pointer_at(v, like), b * v_steps[0] + kv_head * v_steps[1]), v_steps[2],
            shape, scale, causal, mask_kind, allowed, bias, mask_steps, seed, threshold, kept,
        )  # fmt: skip


@serial
def forward(out: Any, lse: Any, args: Any) -> None:
    """Fill out (B, T, H, Dv) and lse (B, H, T): a task for each tile of queries of each head.

    args: the address of q and its strides over batch, head and position, in elements; those of k and v;
    then what attention._options returns.
    """
    B, T, H = out.shape[:3]
    step = PANELS * 2 * lanes(pointer(out))
    parallel_for(_query_tiles, B * H * ((T + step - 1) // step), 1, (out, lse, *args))
