"""Products with a frozen weight that stays as it is stored, with two bytes, one or half a byte per number.

    forward    y = x W^T + b    x (M, K), W (N, K), b (N,)
    backward   dx = g W         g (M, N)

The structure is that of `gemm`: a block of W is decoded while it is packed, a strip of it at a time, into a
buffer in the second-level cache. From there on everything is float32, or float64 if x is. Products with up to
SKINNY rows of x, as in generating a token, are dot products that decode in registers: they take as long as
reading the stored bytes from memory.

With the precision "medium" both operands are rounded to bfloat16, if the processor multiplies those in pairs:
twice as many in an instruction, summed in float32. `pack` describes their layout.

As in `gemm`, each element of the result is one sum in an order that depends on shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import ml_dtypes
import numba
import numpy as np
import numpy.typing as npt
from numba import types

from tinytorch.kernels.compiler import inner, serial
from tinytorch.kernels.gemm.block import COLUMN_BLOCK, PAGE, ROW_BLOCK, pack_rest, part, sweep
from tinytorch.kernels.gemm.gemm import SKINNY, TASK_WORK
from tinytorch.kernels.gemm.pairs import PAIRS, round_along
from tinytorch.kernels.launch import constant, empty, launched
from tinytorch.kernels.machinery.pool import max_threads
from tinytorch.kernels.machinery.stack import on_large_stack
from tinytorch.kernels.simd import REGISTERS, ROWS, VECTOR_BYTES, advance, pointer, pointer_at, pointer_like, value
from tinytorch.kernels.stored.decoding import SEGMENT, decode_one, decoded_dots
from tinytorch.kernels.stored.pack import DEPTH, STRIP, pack_weight, words_along
from tinytorch.kernels.threads import parallel_for, taking_turns, threads_in_use

Array = npt.NDArray[Any]

COLUMNS = 2 * COLUMN_BLOCK  # in a task at most: each task packs x again, and long runs along a row decode faster
DOT_COLUMNS = 4
DOT_ROWS = 4 if REGISTERS == 32 else 2
STRETCH = VECTOR_BYTES // 2  # numbers in a vector of words

# Scratch memory of a worker, in elements: a tile, packed x, packed W, and a strip of W to decode into.
_TILE = ROWS * 2 * (VECTOR_BYTES // 4)
_PACKED_X = (ROW_BLOCK + ROWS) * DEPTH
_PACKED_W = (COLUMNS + 2 * (VECTOR_BYTES // 4)) * DEPTH
SCRATCH = _TILE + _PACKED_X + _PACKED_W + STRIP


@inner
def _blocks(
    start: int, stop: int, worker: int, x, weight, transposed: bool, c, bias,
    sizes, memory,
) -> None:  # fmt: skip
    """Run tasks start..stop; a task is one block of columns of the result c."""
    rows, cols, depth, length, x_row, block, biased = sizes
    tile = advance(memory, worker * SCRATCH)
    x_packed = pointer_like(advance(tile, _TILE), x)
    packed = advance(x_packed, _PACKED_X)
    strip = pointer_like(advance(packed, _PACKED_W), c)
    for task in range(start, stop):
        j = task * block
        cols_now = min(block, cols - j)
        c_now = advance(c, j)
        addend, addend_row, add = advance(bias, j), 0, biased
        for k in range(0, depth, DEPTH):
            depth_now = min(DEPTH, depth - k)
            pack_weight(weight, transposed, j, cols_now, k, depth_now, length, strip, packed)
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
    start: int, stop: int, worker: int, x, weight, c, bias, sizes, memory
) -> None:  # fmt: skip
    """Run tasks start..stop; a task is DOT_COLUMNS columns of the result c, for all its few rows."""
    rows, cols, depth, x_row, biased = sizes
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


@inner
def _round_rows(start: int, stop: int, worker: int, x, words, memory) -> None:
    """Round rows start..stop of x to bfloat16, as words."""
    strip = advance(memory, worker * SCRATCH)
    length = x.shape[1]
    whole = length // STRETCH * STRETCH
    for row in range(start, stop):
        x_now, words_now = pointer(x[row]), pointer(words[row])
        for i in range(0, whole, STRETCH):
            round_along(advance(x_now, i), advance(words_now, i // 2))
        for i in range(whole, length):
            strip[i - whole] = x_now[i]
        words_along(strip, length - whole, advance(words_now, whole // 2))


def _dot_products(
    x, words, codes, scale_codes, scales, offset: float, groups: int, shift: int, bias,
    c, transposed: bool, scratch: int,
) -> None:  # fmt: skip
    """c = x @ W^T + bias for few rows. x and c have adjacent columns; no size is 0."""
    weight = _weight(codes, scale_codes, scales, offset, groups, shift)
    rows, depth = x.shape
    cols = c.shape[1]
    sizes = (rows, cols, depth, x.strides[0] // x.itemsize, 1 if bias.size > 0 else 0)
    grain = max(1, TASK_WORK // (DOT_COLUMNS * rows * depth))
    args = (pointer(x), weight, pointer(c), pointer(bias), sizes, pointer_at(scratch, pointer(c)))
    parallel_for(_dots, (cols - 1) // DOT_COLUMNS + 1, grain, args)


def _product(
    x, words, codes, scale_codes, scales, offset: float, groups: int, shift: int, bias,
    c, transposed: bool, scratch: int,
) -> None:  # fmt: skip
    """c = x @ W^T + bias if `transposed`, else x @ W. x and c have adjacent columns; no size is 0."""
    weight = _weight(codes, scale_codes, scales, offset, groups, shift)
    memory = pointer_at(scratch, pointer(c))
    length, row = x.shape[1], x.strides[0] // x.itemsize
    _in_blocks(pointer(x), length, length, row, weight, transposed, bias, c, memory)


def _product_in_pairs(
    x, words, codes, scale_codes, scales, offset: float, groups: int, shift: int, bias,
    c, transposed: bool, scratch: int,
) -> None:  # fmt: skip
    """`_product` with x and W rounded to bfloat16; `words` is memory for the rounded x."""
    weight = _weight(codes, scale_codes, scales, offset, groups, shift)
    memory = pointer_at(scratch, pointer(c))
    length, row = x.shape[1], words.strides[0] // words.itemsize
    parallel_for(_round_rows, x.shape[0], TASK_WORK // (16 * length) + 1, (x, words, memory))
    _in_blocks(pointer(words), (length + 1) // 2, length, row, weight, transposed, bias, c, memory)


@inner
def _weight(codes, scale_codes, scales, offset: float, groups: int, shift: int) -> Any:
    """The weight as the tuple that `decoding` describes."""
    row = codes.strides[0] // codes.itemsize
    return pointer(codes), row, pointer(scale_codes), pointer(scales), np.float32(offset), groups, shift


@inner
def _in_blocks(
    x, depth: int, length: int, x_row: int, weight, transposed: bool, bias, c, memory
) -> None:
    """Compute c in blocks of columns. Rows of x are `depth` elements, or words, which hold `length` numbers."""
    rows, cols = c.shape
    # Each task decodes its own columns, so all are decoded once.
    threads = min(threads_in_use(), rows * cols * depth // TASK_WORK + 1)
    blocks = (cols - 1) // (COLUMNS * threads) + 1
    block = min(COLUMNS, part(cols, blocks * threads, value(SEGMENT)))
    sizes = (rows, cols, depth, length, x_row, block, 1 if bias.size > 0 else 0)
    args = (x, weight, transposed, pointer(c), pointer(bias), sizes, memory)
    parallel_for(_blocks, (cols - 1) // block + 1, 1, args)


class Stored(NamedTuple):
    """A frozen weight (N, K) as it is stored: see `decoding` for what the arrays hold.

    An array that a scheme does not need is empty.
    """

    codes: Array  # (N, ...) uint16, int16, int8 or uint8, the columns adjacent
    columns: int  # K
    scale_codes: Array = constant(np.empty((0, 0), np.int8))  # (N, groups), for NF4
    scales: Array = constant(np.empty(0, np.float32))  # flat
    offset: float = 0.0
    groups: int = 0  # in a row
    shift: int = 0  # a group has 2^shift columns


_VIEWS = {np.dtype(ml_dtypes.bfloat16): np.uint16, np.dtype(np.float16): np.int16}


def stored_floats(weight: Array) -> Stored:
    """Return a bfloat16 or float16 array (N, K) as a Stored. It is copied only if its columns are not adjacent."""
    if weight.dtype not in _VIEWS:
        raise TypeError(f"stored_floats: expected bfloat16 or float16, got {weight.dtype}")
    if not weight.flags.aligned or weight.strides[1] != 2 or weight.strides[0] % 2:
        weight = weight.copy()
    return Stored(weight.view(_VIEWS[weight.dtype]), weight.shape[1])


class _Kernel:
    """A product for one dtype and one way of storing, compiled at its first use, with its scratch memory."""

    def __init__(self, function: Callable[..., None], dtype: np.dtype[Any], codes: np.dtype[Any]) -> None:
        element = numba.from_dtype(dtype)

        def array(kind, dimensions: int) -> Any:
            # Any layout converts to "A", and writable arrays to read-only ones: one version serves all.
            return types.Array(kind, dimensions, "A", readonly=True)

        call: Any = serial(function)
        on_large_stack(call.compile)(
            (array(element, 2), types.Array(types.uint32, 2, "C"), array(numba.from_dtype(codes), 2),
             array(types.int8, 2), array(types.float32, 1), types.float64, types.intp, types.intp, array(element, 1),
             types.Array(element, 2, "C"), types.boolean, types.intp)
        )  # fmt: skip
        call.disable_compile()
        self.call = launched(taking_turns(call))
        self.no_bias = constant(np.empty(0, dtype))
        self.scratch = np.empty(SCRATCH * max_threads() + 16, dtype)
        self.address = (self.scratch.ctypes.data + 63) // 64 * 64


_kernel = cache(_Kernel)
_NO_WORDS = constant(np.empty((0, 0), np.uint32))

_PRECISIONS = ("highest", "high", "medium")
_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """How exact products of float32 matrices must be: "highest", the default, "high" or "medium", as in PyTorch.

    With "medium", products with frozen weights that are stored in at most two bytes per number round both operands to
    bfloat16 and add up in float32, as PyTorch does with a model in bfloat16. This takes half the time on processors
    that multiply pairs of bfloat16 (AVX512_BF16: AMD since Zen 4, some of Intel's), and is not done on others. All
    other products, and all with "high", are computed in float32 throughout. Raises ValueError for other names.
    """
    global _precision
    if precision not in _PRECISIONS:
        raise ValueError(f"set_float32_matmul_precision: expected one of {_PRECISIONS}, got {precision!r}")
    _precision = precision


def get_float32_matmul_precision() -> str:
    """ "highest", "high" or "medium"."""
    return _precision


def _run(x: Array, weight: Stored, bias: Array | None, columns: int, transposed: bool) -> Array:
    if x.dtype not in (np.float32, np.float64) or (bias is not None and bias.dtype != x.dtype):
        found = x.dtype if bias is None else f"{x.dtype} and {bias.dtype}"
        raise TypeError(f"product with a stored weight: expected float32 or float64, got {found}")
    c: Array = empty((x.shape[0], columns), x.dtype)
    if c.size == 0:
        return c
    if x.shape[1] == 0:
        c[...] = 0 if bias is None else bias
        return c
    x = _in_order(x)
    function, words = _product, _NO_WORDS
    if transposed and len(x) <= SKINNY:
        function = _dot_products
    elif _precision == "medium" and PAIRS and x.dtype == np.float32:
        function, words = _product_in_pairs, _words_for(x)
    kernel = _kernel(function, x.dtype, weight.codes.dtype)
    addend = kernel.no_bias if bias is None else _in_order(bias)
    codes, _, scale_codes, scales, offset, groups, shift = weight
    kernel.call(x, words, codes, scale_codes, scales, offset, groups, shift, addend, c, transposed, kernel.address)
    return c


def _in_order(array: Array) -> Array:
    """The array, copied unless it lies in C order and aligned."""
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy()


def _words_for(x: Array) -> Array:
    """Memory for the rows of x as words: whole vectors, and not whole pages apart, so that tiles can read in place."""
    row = -(-x.shape[1] // STRETCH) * (STRETCH // 2)
    words: Array = empty((x.shape[0], row if row * 4 % PAGE else row + STRETCH // 2), np.uint32)
    return words


def linear(x: Array, weight: Stored, bias: Array | None = None) -> Array:
    """x W^T + b for x (M, K) and b (N,) of one dtype, float32 or float64, with any strides: (M, N) of that dtype."""
    if x.ndim != 2 or x.shape[1] != weight.columns or (bias is not None and bias.shape != weight.codes.shape[:1]):
        raise ValueError(f"linear: x {x.shape} does not fit a stored weight {weight.codes.shape[0], weight.columns}")
    return _run(x, weight, bias, weight.codes.shape[0], True)


def linear_backward(g: Array, weight: Stored) -> Array:
    """The gradient (M, K) of x in `linear`, given that of its result, g (M, N)."""
    if g.ndim != 2 or g.shape[1] != weight.codes.shape[0]:
        raise ValueError(f"linear_backward: g {g.shape} does not fit a stored weight of {weight.codes.shape[0]} rows")
    return _run(g, weight, None, weight.columns, False)
