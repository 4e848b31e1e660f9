"""The pieces that the attention kernels are made of: products of tiles, packing, masks, dropout.

    product    c[i, j] = sum over k of a[i, k] b[k, j], j in one panel
    keeps      whether dropout leaves a probability: a hash of the seed, the query and the key

Tiles are kept with the queries in the vector lanes. A *panel* is `width` = 2 vectors of queries (32 in
float32 and 16 in float64 with AVX-512, half of that with AVX2). Scores are kept transposed, as
(keys, width), so the softmax over the keys runs down the rows, lane by lane; and in every matrix
product of attention one operand then has contiguous rows of vectors, while the other is read an
element at a time, whatever its strides: only q and the gradient need a transposed copy.

Arguments are typed pointers, and strides in elements; a name that ends in `_step` says how far apart
rows are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.kernels.compiler import inner
from tinytorch.kernels.gemm.tile import tile_product
from tinytorch.kernels.simd import REGISTERS, advance, lanes, pointer, pointer_at, transpose
from tinytorch.kernels.threads import threads_in_use

ROWS = 8 if REGISTERS == 32 else 4  # rows of a register tile; tiles are filled up to a multiple of it
NO_MASK, BOOL_MASK, FLOAT_MASK = 0, 1, 2
FAR = 1 << 40  # more than any position
_LINE = 64  # bytes in a cache line, and the longest vector


@inner
def round_up(n: int, multiple: int) -> int:
    return (n + multiple - 1) // multiple * multiple


@inner
def scratch(tasks: int, size: int, like) -> Any:
    """Uninitialised memory for the workers that share some tasks, with `size` elements of the type of `like` for each.

    The function that launches the workers makes it and passes it to them as an array; see own_scratch.
    """
    line = _LINE // like.itemsize
    return np.empty((threads_in_use() if tasks > 1 else 1, round_up(size, line) + line), like.dtype)


@inner
def own_scratch(memory, worker: int) -> Any:
    """A pointer to a worker's part of scratch memory, from a cache line on, so that no vector straddles two.

    The memory must be an argument of the function that calls this. Compiled code drops an array of its own after the
    last statement that names it: had the worker made it, it would be free from here on.
    """
    own = memory[worker]
    return pointer_at(round_up(own.ctypes.data, _LINE), pointer(own))


@inner
def product(
    c, c_step: int, a, a_row: int, a_column: int, b, b_step: int, addend, addend_step: int,
    rows: int, columns: int, depth: int, add: int, skip: int, reach: int,
) -> None:  # fmt: skip
    """c (rows, columns) = a (rows, depth) b (depth, columns) + addend where `add` is 1.

    rows is a multiple of ROWS, columns of the width of a panel. In row r of a, only the elements
    r + skip .. r + reach matter, as the others are zero: a block of rows leaves out what is outside
    of that for all its rows. If that is everything, c must already be the addend.
    """
    width = 2 * lanes(c)
    for w in range(0, columns, width):
        for r in range(0, rows, ROWS):
            first, last = max(0, r + skip), min(depth, r + reach + ROWS)
            if first < last:
                tile_product(
                    ROWS, 2, last - first, advance(a, r * a_row + first * a_column), a_row, a_column,
                    advance(b, first * b_step + w), b_step, advance(c, r * c_step + w), c_step,
                    advance(addend, r * addend_step + w), addend_step, add, ROWS, width, None, None,
                )  # fmt: skip


@inner
def fill(target, start: int, stop: int, value: float) -> None:
    for e in range(start, stop):
        target[e] = value


@inner
def copy_rows(
    target, target_step: int, source, source_step: int, rows: int, columns: int, factor
) -> None:
    """target (rows, columns) = factor source."""
    for r in range(rows):
        for d in range(columns):
            target[r * target_step + d] = source[r * source_step + d] * factor


@inner
def pack_rows(
    target, target_step: int, padded_rows: int, source, source_step: int, rows: int, columns: int, factor
) -> None:  # fmt: skip
    """target (padded_rows, target_step) = factor source (rows, columns), padded with zeros."""
    if columns < target_step or rows < padded_rows:
        fill(target, 0, padded_rows * target_step, 0.0)
    copy_rows(target, target_step, source, source_step, rows, columns, factor)


@inner
def pack_panel(target, source, source_step: int, rows: int, columns: int) -> None:
    """target (columns, width) = source (rows, columns) transposed, padded with zeros."""
    side = lanes(target)
    width = 2 * side
    if rows < width:
        fill(target, 0, columns * width, 0.0)
    whole_rows, whole_columns = rows // side * side, columns // side * side
    for r in range(0, whole_rows, side):
        for d in range(0, whole_columns, side):
            transpose(None, advance(source, r * source_step + d), source_step, advance(target, d * width + r), width)
    for r in range(rows):
        for d in range(whole_columns if r < whole_rows else 0, columns):
            target[d * width + r] = source[r * source_step + d]


@inner
def hide(
    scores, keys: int, queries: int, key0: int, query0: int, batch: int, head: int,
    causal: bool, mask_kind: int, allowed, bias, mask_steps,
) -> None:  # fmt: skip
    """Apply the masks to one panel of transposed scores (keys, width).

    mask_kind says whether allowed (bool) or bias (float) is read. mask_steps are its four strides; any may be 0.
    """
    width = 2 * lanes(scores)
    if causal:
        for j in range(max(0, query0 + 1 - key0), keys):
            fill(scores, j * width, j * width + min(width, key0 + j - query0), -np.inf)
    if mask_kind == NO_MASK:
        return
    start = batch * mask_steps[0] + head * mask_steps[1] + query0 * mask_steps[2] + key0 * mask_steps[3]
    for j in range(keys):
        for i in range(queries):
            m = start + j * mask_steps[3] + i * mask_steps[2]
            if mask_kind == FLOAT_MASK:
                scores[j * width + i] += bias[m]
            elif not allowed[m]:
                scores[j * width + i] = -np.inf


@inner
def dropout_key(seed: int, batch: int, head: int) -> Any:
    """Two 32-bit words for one head: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(batch + 1) * np.uint64(0xD1B54A32D192ED03)
    x += np.uint64(head + 1) * np.uint64(0x8CB92BA72F3D8DD7)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.uint32(x), np.uint32(x >> np.uint64(32))


@inner
def _mix(x) -> Any:
    """A permutation of 32 bits without a visible pattern (C. Wellons, "hash prospector", lowbias32)."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@inner
def key_hash(key, j: int) -> Any:
    """The part of the hash of key position j that all queries share."""
    return np.uint32(_mix(np.uint32(np.uint32(j) ^ key[1])) ^ key[0])


@inner
def keeps(hashed_key, i: int, threshold: int) -> bool:
    """Whether query i keeps its probability; threshold is the dropout probability times 2^24."""
    h = _mix(np.uint32(np.uint32(np.uint32(i) * np.uint32(0x9E3779B1)) ^ hashed_key))
    return bool(np.int32(h >> np.uint32(8)) >= np.int32(threshold))
