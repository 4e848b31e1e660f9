"""Scaled dot-product attention, forward, for a few queries, as in generation with a cache of keys.

    o_i = sum_j p_ij v_j,  p_i = softmax of scale q_i k_j (+ mask) over the keys j

`forward.plain_attention` is this as plain loops. A panel of queries would be nearly empty. Here the vector
lanes run along the head, and the keys and values are read where they are, once for up to ROWS query heads
that share them: the time it takes is that of reading them from memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.kernels.attention.tiles import FLOAT_MASK, NO_MASK, fill, own_scratch, round_up, scratch
from tinytorch.kernels.compiler import inner, serial
from tinytorch.kernels.gemm.block import DOT_SCRATCH, dot_block
from tinytorch.kernels.gemm.tile import tile_product
from tinytorch.kernels.launch import launched
from tinytorch.kernels.math import exp_of_negative, maximum
from tinytorch.kernels.simd import ROW_STEP, advance, dot_products, lanes, pointer, pointer_at
from tinytorch.kernels.threads import parallel_for

FEW = 4  # queries; from about 8 on tiles are faster
ROWS = ROW_STEP  # heads of a task: the rows of the smallest register tile
_KEYS = 64  # keys in a tile
_GRAIN = 1 << 15  # multiplications that are worth a thread


@inner
def _softmax_row(
    s, keys: int, scale, mask_kind: int, allowed, bias, at: int, step: int, top, total
) -> Any:
    """Scale and mask a row of scores, and turn it into exp(s - top), as in `forward`. Returns the factor for
    what was summed under the old maximum."""
    for j in range(keys):
        s[j] *= scale
    if mask_kind == FLOAT_MASK:
        for j in range(keys):
            s[j] += bias[at + j * step]
    elif mask_kind != NO_MASK:
        for j in range(keys):
            s[j] = s[j] if allowed[at + j * step] else -np.inf
    new = top[0]
    for j in range(keys):
        new = maximum(new, s[j])
    base = new if new != -np.inf else scale * 0
    shrink = exp_of_negative(top[0] - base)
    added = scale * 0
    for j in range(keys):
        s[j] = exp_of_negative(s[j] - base)
        added += s[j]
    top[0], total[0] = new, total[0] * shrink + added
    return shrink


@inner
def _scores(s, q, q_step: int, k, k_step: int, rows: int, keys: int, D: int, dots) -> None:
    """s_rj = sum_d q_rd k_jd"""
    vector = lanes(s)
    whole = keys // vector * vector if D % vector == 0 else 0
    for j in range(0, whole, vector):
        for r in range(rows):
            dot_products(1, None, D // vector, advance(q, r * q_step), 0, advance(k, j * k_step), k_step,
                         advance(s, r * _KEYS + j))  # fmt: skip
    if whole < keys:
        rest = advance(s, whole)
        dot_block(rows, keys - whole, D, q, q_step, advance(k, whole * k_step), k_step, rest, _KEYS, 1, rest, 0, 0, 0,
                  dots)  # fmt: skip


@inner
def _add_values(o, o_step: int, p, v, v_step: int, rows: int, keys: int, Dv: int) -> None:
    """o_rd += sum_j p_rj v_jd. There are ROWS rows of o and of p, whatever `rows` says."""
    width = 2 * lanes(o)
    whole = Dv // width * width
    for d in range(0, whole, width):
        o_now = advance(o, d)
        tile_product(ROWS, 2, keys, p, _KEYS, 1, advance(v, d), v_step, o_now, o_step, o_now, o_step, 1, ROWS, width,
                     None, None)  # fmt: skip
    for r in range(rows):
        for j in range(keys):
            for d in range(whole, Dv):
                o[r * o_step + d] += p[r * _KEYS + j] * v[j * v_step + d]


@inner
def _queries(
    start: int, stop: int, worker: int, memory, out, stats, q: int, q_steps, k: int, k_steps,
    v: int, v_steps, shape, scale: float, causal: bool, mask_kind: int, allowed, bias,
    mask_steps, seed, threshold: int, kept: float,
) -> None:  # fmt: skip
    """Run tasks start .. stop; a task is up to ROWS of the query heads that share a key head, at one position."""
    H, kv_heads, T, S, D, Dv = shape
    dtype = out.dtype.type
    like = pointer(out)
    group = H // kv_heads
    parts = (group - 1) // ROWS + 1
    o_step = round_up(Dv, 2 * lanes(like))
    p = own_scratch(memory, worker)  # (ROWS, _KEYS): scores, then probabilities
    o = advance(p, ROWS * _KEYS)  # (ROWS, o_step): sum_j p_j v_jd
    top = advance(o, ROWS * o_step)  # (ROWS): the largest score so far
    total = advance(top, ROWS)  # (ROWS): sum_j p_j
    dots = advance(total, ROWS)  # scratch memory of dot_block
    for task in range(start, stop):
        i, part, kv_head = task % T, task // T % parts, task // T // parts % kv_heads
        b = task // T // parts // kv_heads
        h = kv_head * group + part * ROWS
        heads = min(ROWS, group - part * ROWS)
        query = advance(pointer_at(q, like), b * q_steps[0] + h * q_steps[1] + i * q_steps[2])
        k_head = advance(pointer_at(k, like), b * k_steps[0] + kv_head * k_steps[1])
        v_head = advance(pointer_at(v, like), b * v_steps[0] + kv_head * v_steps[1])
        fill(p, 0, ROWS * (_KEYS + o_step), 0.0)
        fill(top, 0, ROWS, -np.inf)
        fill(total, 0, ROWS, 0.0)
        seen = min(S, i + 1) if causal else S
        for key0 in range(0, seen, _KEYS):
            keys = min(_KEYS, seen - key0)
            k_now, v_now = advance(k_head, key0 * k_steps[2]), advance(v_head, key0 * v_steps[2])
            _scores(p, query, q_steps[1], k_now, k_steps[2], heads, keys, D, dots)
            for r in range(heads):
                at = b * mask_steps[0] + (h + r) * mask_steps[1] + i * mask_steps[2] + key0 * mask_steps[3]
                shrink = _softmax_row(
                    advance(p, r * _KEYS), keys, dtype(scale), mask_kind, allowed, bias, at, mask_steps[3],
                    advance(top, r), advance(total, r),
                )  # fmt: skip
                if shrink != 1:
                    for d in range(r * o_step, (r + 1) * o_step):
                        o[d] *= shrink
            _add_values(o, o_step, p, v_now, v_steps[2], heads, keys, Dv)
        for r in range(heads):
            factor = dtype(0) if total[r] == 0 else 1 / total[r]
            for d in range(Dv):
                out[b, i, h + r, d] = o[r * o_step + d] * factor
            stats[0, b, h + r, i], stats[1, b, h + r, i] = top[r], total[r]


@launched
@serial
def decode(out, stats, args) -> None:
    """Do the same as forward.forward, for T <= FEW and without dropout."""
    H, kv_heads, T, S, D, Dv = args[6]
    group = H // kv_heads
    tasks = out.shape[0] * kv_heads * ((group - 1) // ROWS + 1) * T
    grain = max(1, _GRAIN // (min(group, ROWS) * S * (D + Dv)))
    o_step = round_up(Dv, 2 * lanes(pointer(out)))
    memory = scratch(tasks, ROWS * (_KEYS + o_step + 2) + DOT_SCRATCH, out)  # see _queries
    parallel_for(_queries, tasks, grain, (memory, out, stats, *args))
