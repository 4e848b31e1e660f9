"""Products with a frozen weight that stays as it is stored: two, one or half a byte a number.

    forward    y = x W^T + b    x (M, K), W (N, K), b (N,)
    backward   dx = g W         g (M, N)

The structure is that of `gemm`: a block of W is decoded while it is packed, a strip of it at a time, in a
buffer of the second-level cache; then everything is float32, or float64 where x is. Up to SKINNY rows of
x, as in generating a token, are dot products that decode in registers: there the pace is that at which
memory gives the stored bytes.

As there, each element of the result is one sum in an order that depends on shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numba
import numpy as np
import numpy.typing as npt
from numba import types

from tinytorch.kernels.compiler import inner, serial
from tinytorch.kernels.gemm import SKINNY, TASK_WORK
from tinytorch.kernels.gemm_block import COLUMN_BLOCK, DEPTH_BLOCK, ROW_BLOCK, pack_rest, part, sweep
from tinytorch.kernels.gemm_pack import pack
from tinytorch.kernels.simd import REGISTERS, ROWS, VECTOR_BYTES, advance, lanes, pointer, pointer_at, value
from tinytorch.kernels.stored_simd import SEGMENT, decode_one, decode_segment, decoded_dots
from tinytorch.kernels.threads import max_threads, parallel_for, threads_in_use

Array = npt.NDArray[Any]

DEPTH = DEPTH_BLOCK // SEGMENT * SEGMENT
COLUMNS = 2 * COLUMN_BLOCK  # of a task at most: each packs x anew, and decodes better from longer stretches of a row
DOT_COLUMNS = 4
DOT_ROWS = 4 if REGISTERS == 32 else 2

# Scratch memory of a worker, in elements: a tile, packed x, packed W, and a strip of W to decode into.
_TILE = ROWS * 2 * (VECTOR_BYTES // 4)
_PACKED_X = (ROW_BLOCK + ROWS) * DEPTH
_PACKED_W = (COLUMNS + 2 * (VECTOR_BYTES // 4)) * DEPTH
_STRIP = DEPTH * SEGMENT
SCRATCH = _TILE + _PACKED_X + _PACKED_W + _STRIP


@inner
def _decode(weight: Any, row: int, start: int, count: int, target: Any) -> None:
    """target[i] = weight[row, start + i] for i < count; start is a multiple of SEGMENT."""
    whole = count // SEGMENT
    for number in range(whole):
        decode_segment(weight, row, start // SEGMENT + number, advance(target, number * SEGMENT))
    for i in range(whole * SEGMENT, count):
        target[i] = decode_one(weight, row, start + i, target)


@inner
def _pack_weight(weight: Any, transposed: bool, j: int, cols: int, k: int, depth: int, strip: Any, packed: Any) -> None:
    """Pack columns j .. j + cols, rows k .. k + depth of W^T, if `transposed`, else of W, as gemm_pack does."""
    vector = lanes(packed)
    if transposed:
        for first in range(0, cols, 2 * vector):
            items = min(2 * vector, cols - first)
            for i in range(items):
                _decode(weight, j + first + i, k, depth, advance(strip, i * DEPTH))
            pack(strip, DEPTH, 1, items, depth, 2 * vector, vector, advance(packed, first * depth))
    else:
        for first in range(0, cols, SEGMENT):
            items = min(SEGMENT, cols - first)
            for d in range(depth):
                _decode(weight, k + d, j + first, items, advance(strip, d * SEGMENT))
            pack(strip, 1, SEGMENT, items, depth, 2 * vector, vector, advance(packed, first * depth))


@inner
def _blocks(
    start: int, stop: int, worker: int, x: Any, weight: Any, transposed: bool, c: Any, bias: Any,
    sizes: Any, memory: Any,
) -> None:  # fmt: skip
    """Tasks start..stop; a task is one block of columns of the result c."""
    rows, cols, depth, x_row, block, biased = sizes
    tile = advance(memory, worker * SCRATCH)
    x_packed = advance(tile, _TILE)
    packed = advance(x_packed, _PACKED_X)
    strip = advance(packed, _PACKED_W)
    for task in range(start, stop):
        j = task * block
        cols_now = min(block, cols - j)
        c_now = advance(c, j)
        addend, addend_row, add = advance(bias, j), 0, biased
        for k in range(0, depth, DEPTH):
            depth_now = min(DEPTH, depth - k)
            _pack_weight(weight, transposed, j, cols_now, k, depth_now, strip, packed)
            if k > 0:
                addend, addend_row, add = c_now, cols, 1
            for i in range(0, rows, ROW_BLOCK):
                rows_now = min(ROW_BLOCK, rows - i)
                x_now = advance(x, i * x_row + k)
                last, keep = pack_rest(rows_now, cols_now, depth_now, x_now, x_row, 1, x_packed)
                sweep(
                    rows_now, cols_now, depth_now, x_now, x_row, 1, x_packed, 0, last, keep, x, 0, 0, packed, False,
                    advance(c_now, i * cols), cols, 1, advance(addend, i * addend_row), addend_row, 1, add, tile,
                )  # fmt: skip


@inner
def _dots(
    start: int, stop: int, worker: int, x: Any, weight: Any, c: Any, bias: Any, sizes: Any, memory: Any
) -> None:  # fmt: skip
    """Tasks start..stop; a task is DOT_COLUMNS columns of the result c, for all its few rows."""
    rows, cols, depth, x_row, _, biased = sizes
    sums = advance(memory, worker * SCRATCH)
    segments = depth // SEGMENT
    for task in range(start, stop):
        stop_column = min((task + 1) * DOT_COLUMNS, cols)
        width = DOT_COLUMNS if stop_column - task * DOT_COLUMNS == DOT_COLUMNS else 1
        for j in range(task * DOT_COLUMNS, stop_column, width):
            i = 0
            while i < rows:
                x_now = advance(x, i * x_row)
                height = 1
                if width == 1:
                    decoded_dots(1, 1, segments, x_now, x_row, weight, j, sums)
                elif rows - i < DOT_ROWS:
                    decoded_dots(1, DOT_COLUMNS, segments, x_now, x_row, weight, j, sums)
                else:
                    height = DOT_ROWS
                    decoded_dots(DOT_ROWS, DOT_COLUMNS, segments, x_now, x_row, weight, j, sums)
                for r in range(height):
                    for s in range(width):
                        element = sums[r * width + s]
                        for k in range(segments * SEGMENT, depth):
                            element += x_now[r * x_row + k] * decode_one(weight, j + s, k, x)
                        if biased != 0:
                            element += bias[j + s]
                        c[(i + r) * cols + j + s] = element
                i += height


def _product(
    x: Any, codes: Any, scale_codes: Any, scales: Any, offset: float, groups: int, shift: int, bias: Any, c: Any,
    transposed: bool, scratch: int,
) -> None:  # fmt: skip
    """c = x @ W^T + bias if `transposed`, else x @ W. x and c have adjacent columns; no size is 0."""
    weight = (
        pointer(codes), codes.strides[0] // codes.itemsize, pointer(scale_codes), pointer(scales),
        np.float32(offset), groups, shift,
    )  # fmt: skip
    rows, depth = x.shape
    cols = c.shape[1]
    x_start, c_start, bias_start = pointer(x), pointer(c), pointer(bias)
    memory = pointer_at(scratch, c_start)
    x_row, biased = x.strides[0] // x.itemsize, 1 if bias.size > 0 else 0
    if transposed and rows <= SKINNY:
        sizes = (rows, cols, depth, x_row, DOT_COLUMNS, biased)
        grain = max(1, TASK_WORK // (DOT_COLUMNS * rows * depth))
        args = (x_start, weight, c_start, bias_start, sizes, memory)
        parallel_for(_dots, (cols - 1) // DOT_COLUMNS + 1, grain, args)
    else:
        # Every task decodes its own columns, all of them once.
        threads = min(threads_in_use(), rows * cols * depth // TASK_WORK + 1)
        blocks = (cols - 1) // (COLUMNS * threads) + 1
        block = min(COLUMNS, part(cols, blocks * threads, value(SEGMENT)))
        sizes = (rows, cols, depth, x_row, block, biased)
        parallel_for(
            _blocks, (cols - 1) // block + 1, 1,
            (x_start, weight, transposed, c_start, bias_start, sizes, memory),
        )  # fmt: skip


class Stored(NamedTuple):
    """A frozen weight (N, K) as it is stored: see stored_simd for what the arrays hold.

    Empty arrays stand for what a scheme has no need of.
    """

    codes: Array  # (N, ...) uint16, int16, int8 or uint8, the columns adjacent
    columns: int  # K
    scale_codes: Array = np.empty((0, 0), np.int8)  # (N, groups), for NF4
    scales: Array = np.empty(0, np.float32)  # flat
    offset: float = 0.0
    groups: int = 0  # in a row
    shift: int = 0  # a group has 2^shift columns


_VIEWS = {np.dtype(ml_dtypes.bfloat16): np.uint16, np.dtype(np.float16): np.int16}


def stored_floats(weight: Array) -> Stored:
    """A bfloat16 or float16 array (N, K), which is copied, in its own dtype, only if its columns are not adjacent."""
    if weight.dtype not in _VIEWS:
        raise TypeError(f"stored_floats: expected bfloat16 or float16, got {weight.dtype}")
    if not weight.flags.aligned or weight.strides[1] != 2 or weight.strides[0] % 2:
        weight = np.ascontiguousarray(weight)
        weight = weight if weight.flags.aligned else weight.copy()
    return Stored(weight.view(_VIEWS[weight.dtype]), weight.shape[1])


class _Kernel:
    """`_product` for one dtype and one way of storing, compiled at its first use, with its scratch memory."""

    def __init__(self, dtype: np.dtype[Any], codes: np.dtype[Any]) -> None:
        element = numba.from_dtype(dtype)

        def array(kind: Any, dimensions: int) -> Any:
            # Any layout converts to "A", and writable arrays to read-only ones: one version serves all.
            return types.Array(kind, dimensions, "A", readonly=True)

        call: Any = serial(_product)
        call.compile(
            (array(element, 2), array(numba.from_dtype(codes), 2), array(types.int8, 2), array(types.float32, 1),
             types.float64, types.intp, types.intp, array(element, 1), types.Array(element, 2, "C"),
             types.boolean, types.intp)
        )  # fmt: skip
        call.disable_compile()
        self.call: Callable[..., None] = call
        self.no_bias = np.empty(0, dtype)
        self.scratch = np.empty(SCRATCH * max_threads() + 16, dtype)
        self.address = (self.scratch.ctypes.data + 63) // 64 * 64


_kernels: dict[tuple[np.dtype[Any], np.dtype[Any]], _Kernel] = {}


def _run(x: Array, weight: Stored, bias: Array | None, columns: int, transposed: bool) -> Array:
    if x.dtype not in (np.float32, np.float64) or (bias is not None and bias.dtype != x.dtype):
        found = x.dtype if bias is None else f"{x.dtype} and {bias.dtype}"
        raise TypeError(f"product with a stored weight: expected float32 or float64, got {found}")
    c = np.empty((x.shape[0], columns), x.dtype)
    if c.size == 0:
        return c
    if x.shape[1] == 0:
        c[...] = 0 if bias is None else bias
        return c
    x = np.require(x, None, ("C", "A"))
    key = x.dtype, weight.codes.dtype
    kernel = _kernels.get(key)
    if kernel is None:
        kernel = _kernels[key] = _Kernel(*key)
    addend = kernel.no_bias if bias is None else np.require(bias, None, ("C", "A"))
    codes, _, scale_codes, scales, offset, groups, shift = weight
    kernel.call(x, codes, scale_codes, scales, offset, groups, shift, addend, c, transposed, kernel.address)
    return c


def linear(x: Array, weight: Stored, bias: Array | None = None) -> Array:
    """x W^T + b: x (M, K), b (N,), of one dtype, float32 or float64, any strides: (M, N) of that dtype."""
    if x.ndim != 2 or x.shape[1] != weight.columns or (bias is not None and bias.shape != weight.codes.shape[:1]):
        raise ValueError(f"linear: x {x.shape} does not fit a stored weight {weight.codes.shape[0], weight.columns}")
    return _run(x, weight, bias, weight.codes.shape[0], True)


def linear_backward(g: Array, weight: Stored) -> Array:
    """The gradient (M, K) of x in `linear`, from that of its result, g (M, N)."""
    if g.ndim != 2 or g.shape[1] != weight.codes.shape[0]:
        raise ValueError(f"linear_backward: g {g.shape} does not fit a stored weight of {weight.codes.shape[0]} rows")
    return _run(g, weight, None, weight.columns, False)
