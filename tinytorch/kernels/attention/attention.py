"""Scaled dot-product attention in tiles: memory linear in the number of positions.

    s_ij = scale sum_d q_id k_jd (+ mask),  p_i = softmax(s_i),  o_id = sum_j p_ij v_jd

`forward.plain_attention` and `backward.plain_attention_backward` are this and its gradients as plain loops.

The (T, S) matrix of scores is never stored. The forward walks over tiles of keys with a running
maximum and sum (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax") and keeps
two numbers for each row, its largest score and the sum of exp(score - largest). From these the backward
recomputes the probabilities of each tile (Dao 2023, "FlashAttention-2", algorithms 1 and 2).

B batch, H query heads, Hkv key heads (H is a multiple), T queries, S keys, D and Dv sizes of a head.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tinytorch.kernels.attention.backward import KEYS, backward
from tinytorch.kernels.attention.decode import FEW, decode
from tinytorch.kernels.attention.forward import forward
from tinytorch.kernels.attention.tiles import BOOL_MASK, FLOAT_MASK, NO_MASK, dropout_key, keeps, key_hash
from tinytorch.kernels.compiler import serial
from tinytorch.kernels.launch import constant, empty, launched

Array = npt.NDArray[Any]

_TASKS = 16  # the backward splits the keys of a head where there are fewer heads than this
_NO_SEED = constant(np.zeros(1, np.int64))
_NO_BOOLS = constant(np.zeros(1, np.bool_))
_NO_FLOATS = {np.dtype(t): constant(np.zeros(1, t)) for t in (np.float32, np.float64)}


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | Array = 0,
) -> tuple[Array, Array]:
    """softmax(scale q k^T + mask) v, and what the backward needs to know about each row of scores.

    q (B, H, T, D), k (B, Hkv, S, D), v (B, Hkv, S, Dv), all float32 or all float64. Query head h
    reads key head h // (H / Hkv). mask broadcasts to (B, H, T, S): boolean (True where a query may
    attend) or floating (added to the scores). causal lets query i see keys j <= i. scale is
    1 / sqrt(D) unless given. dropout is the probability of dropping a probability; the same seed
    drops the same ones, whatever the number of threads. It may be an array of one int64, at least 0, which is read when
    the kernel runs.

    Returns out (B, H, T, Dv), laid out in memory as (B, T, H, Dv), and stats (2, B, H, T): the
    largest score, and the sum of exp(score - largest). Most implementations keep the logarithm of the whole instead,
    but if a large negative number is added to all scores, that rounds the sum away. A row that may attend to nothing
    gives zeros, and stats -inf and 0.
    """
    _check(q, k, v, dropout)
    B, H, T, _ = q.shape
    S, Dv = v.shape[2:]
    out = empty((B, T, H, Dv), q.dtype)
    stats = empty((2, B, H, T), q.dtype)
    if S == 0:
        out[...] = 0
        stats[0], stats[1] = -np.inf, 0
    elif stats.size:
        options = _options(q, k, v, mask, causal, scale, dropout, seed)
        (q, q_at), (k, k_at), (v, v_at) = _located(q), _located(k), _located(v)
        kernel = decode if T <= FEW and dropout == 0 else forward
        kernel(out, stats, (*q_at, *k_at, *v_at, *options))
    return out.transpose(0, 2, 1, 3), stats


def attention_backward(
    grad: Array,
    q: Array,
    k: Array,
    v: Array,
    out: Array,
    stats: Array,
    mask: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | Array = 0,
) -> tuple[Array, Array, Array]:
    """The gradients of q, k and v, given grad (B, H, T, Dv) and what `attention` took and returned.

    dq (B, H, T, D) is laid out in memory as (B, T, H, D), dk and dv likewise. If q, k and v are the thirds of one array
    (B, T, 3, H, D), the gradients are, too: together they are the gradient of that array.
    """
    _check(q, k, v, dropout)
    B, H, T, D = q.shape
    kv_heads, S, Dv = v.shape[1:]
    if grad.shape != out.shape or grad.dtype != q.dtype:
        raise ValueError(f"grad is {grad.dtype} {grad.shape} where the output is {q.dtype} {out.shape}")
    if k.size == 0 or grad.size == 0:
        return np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    chunks = max(1, min(_TASKS // (B * kv_heads), math.ceil(S / KEYS)))
    if chunks == 1 and _are_thirds(q, k, v):
        together = empty((B, T, 3, H, D), q.dtype)
        dq, dk, dv = together[None, :, :, 0], together[:, :, 1], together[:, :, 2]
    else:
        dq = empty((chunks, B, T, H, D), q.dtype)
        dk = empty((B, S, kv_heads, D), q.dtype)
        dv = empty((B, S, kv_heads, Dv), q.dtype)
    dk, dv = dk.transpose(0, 2, 1, 3), dv.transpose(0, 2, 1, 3)
    options = _options(q, k, v, mask, causal, scale, dropout, seed)
    (q, q_at), (k, k_at), (v, v_at) = _located(q), _located(k), _located(v)
    (grad, grad_at), (out, out_at) = _located(grad), _located(out)
    dq_at, dk_at, dv_at = _located(dq[0].transpose(0, 2, 1, 3))[1], _located(dk)[1], _located(dv)[1]
    stats = stats if stats.flags.c_contiguous else stats.copy()
    results = (dq_at[0], dq.strides[0] // dq.itemsize, dq_at[1], *dk_at, *dv_at)
    arguments = (*results, *q_at, *k_at, *v_at, *grad_at, *out_at, stats, *options)
    backward(_NO_FLOATS[q.dtype], B * kv_heads * chunks, chunks, arguments)
    summed = dq[0] if chunks == 1 else dq.sum(axis=0)
    return summed.transpose(0, 2, 1, 3), dk, dv


def _are_thirds(q: Array, k: Array, v: Array) -> bool:
    """Whether they are the thirds of one array (B, T, 3, H, D)."""
    if not (q.shape == k.shape == v.shape and q.strides == k.strides == v.strides):
        return False
    _, H, T, D = q.shape
    row = H * D * q.itemsize
    if q.strides != (3 * row * T, D * q.itemsize, 3 * row, q.itemsize):
        return False
    start: int = q.ctypes.data
    return bool(k.ctypes.data == start + row and v.ctypes.data == start + 2 * row)


def dropout_mask(seed: int | Array, p: float, B: int, H: int, T: int, S: int) -> Array:
    """Which probabilities (B, H, T, S) `attention` keeps with this seed and dropout p: True where kept."""
    kept: Array = empty((B, H, T, S), np.bool_)
    _fill_dropout_mask(kept, _seed(seed), _threshold(p))
    return kept


@launched
@serial
def _fill_dropout_mask(kept, seed, threshold: int) -> None:
    B, H, T, S = kept.shape
    for b in range(B):
        for h in range(H):
            key = dropout_key(seed[0], b, h)
            for j in range(S):
                hashed = key_hash(key, j)
                for i in range(T):
                    kept[b, h, i, j] = keeps(hashed, i, threshold)


def _check(q: Array, k: Array, v: Array, dropout: float) -> None:
    fits = q.ndim == k.ndim == v.ndim == 4 and q.dtype == k.dtype == v.dtype and q.dtype in _NO_FLOATS
    fits = fits and k.shape[:3] == v.shape[:3] and q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3] > 0
    if not fits or k.shape[1] == 0 or q.shape[1] % k.shape[1] or not 0.0 <= dropout <= 1.0:
        raise _misfit(q, k, v, dropout)


def _misfit(q: Array, k: Array, v: Array, dropout: float) -> Exception:
    """Return the error that says what is wrong with them."""
    shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if not (q.ndim == k.ndim == v.ndim == 4):
        return ValueError(f"q, k and v need four axes, (batch, heads, positions, size of a head); got {shapes}")
    if q.dtype not in _NO_FLOATS or not (q.dtype == k.dtype == v.dtype):
        return TypeError(f"q, k and v must be all float32 or all float64; got {q.dtype}, {k.dtype}, {v.dtype}")
    if k.shape[:3] != v.shape[:3] or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        return ValueError(f"batch, key heads, key positions or head sizes do not fit together: {shapes}")
    if q.shape[3] == 0:
        return ValueError(f"the size of a head of q and k must be positive: {shapes}")
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        return ValueError(f"{q.shape[1]} query heads are not a multiple of {k.shape[1]} key heads: {shapes}")
    return ValueError(f"dropout must lie between 0 and 1, got {dropout}")


def _threshold(dropout: float) -> int:
    return round(dropout * 2**24)


def _seed(seed: int | Array) -> Array:
    """The seed as kernels read it."""
    return seed.reshape(1) if isinstance(seed, np.ndarray) else np.array([int(seed) & (2**63 - 1)], np.int64)


def _options(
    q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float | None, dropout: float, seed
) -> tuple[Any, ...]:
    """The last arguments of each kernel."""
    _, H, T, D = q.shape
    S, Dv = v.shape[2:]
    shape = (H, k.shape[1], T, S, D, Dv)
    scale = 1 / math.sqrt(D) if scale is None else float(scale)
    masked = (NO_MASK, _NO_BOOLS, _NO_FLOATS[q.dtype], (0, 0, 0, 0)) if mask is None else _masked(mask, q, S)
    drawn = _seed(seed) if dropout else _NO_SEED
    return shape, scale, bool(causal), *masked, drawn, _threshold(dropout), 1.0 - dropout


def _masked(mask: Array, q: Array, S: int) -> tuple[int, Array, Array, tuple[int, int, int, int]]:
    """The kind of a mask, its booleans, its floats (a constant stands for those that it lacks), and its strides."""
    shape = (*q.shape[:3], S)
    if mask.dtype == np.bool_:
        allowed, steps = _flat_mask(mask, shape)
        return BOOL_MASK, allowed, _NO_FLOATS[q.dtype], steps
    bias, steps = _flat_mask(mask.astype(q.dtype, copy=False), shape)
    return FLOAT_MASK, _NO_BOOLS, bias, steps


def _located(x: Array) -> tuple[Array, tuple[int, tuple[int, int, int]]]:
    """x (four axes), copied unless its last axis is contiguous; its address and its other three strides, in elements.

    As numbers, all layouts have one type, and the kernels are compiled once. The caller keeps x alive.
    """
    size = x.itemsize
    if x.strides[3] != size or not x.flags.aligned:
        x = x.copy()
    b, h, t, _ = x.strides
    return x, (x.ctypes.data, (b // size, h // size, t // size))


def _flat_mask(mask: Array, shape: tuple[int, int, int, int]) -> tuple[Array, tuple[int, int, int, int]]:
    """The elements of mask, and the strides that give them this shape, 0 where it is broadcast."""
    flat = mask if mask.flags.carray else mask.copy()  # in C order, aligned and writable: one type for all kernels
    try:
        wide = np.broadcast_to(flat, shape)
    except ValueError:
        raise ValueError(f"a mask of shape {mask.shape} does not broadcast to (B, H, T, S) = {shape}") from None
    b, h, t, s = (step // mask.itemsize for step in wide.strides)
    return flat.reshape(-1), (b, h, t, s)
