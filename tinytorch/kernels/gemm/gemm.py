"""Matrix product: packed, cache-blocked, register-tiled, on all threads.

    c[m, n] = sum over k of a[m, k] b[k, n] (+ bias[n])        as three plain loops: `plain_matmul`

The structure is that of K. Goto and R. van de Geijn, "Anatomy of high-performance matrix
multiplication", ACM TOMS 34 (2008). The result is cut into blocks, one task each. A task goes
through k in blocks of at most DEPTH_BLOCK, and in each through its columns in blocks of at most
COLUMN_BLOCK, so that a packed block of B fits the second-level cache. `tile_product` forms
ROWS x (2 vectors) results at a time in registers: a tile's rows of A stay in the first level while
the block of B passes.

Packing would cost a product more time than anything else but the multiplications, so little of it is
a step of its own. If k is adjacent in A, it is read in place; if rows are, the first tile that reads
them packs them. If columns are adjacent in B, the first row of tiles packs it, or a step before them
if its rows are pages apart; if k is, its panels are transposed one by one, just before those tiles
need them. Products with up to SKINNY rows (or columns, by transposing the problem), adjacent k in B
and long sums are dot products.

Every element of the result is one sum in an order that depends on shapes and strides alone: bits do
not depend on the number of threads. Zeros that pad tiles never meet a number that is kept, so
infinities and NaN propagate as in the definition.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from tinytorch.kernels.compiler import c_function, inner, serial
from tinytorch.kernels.gemm.block import SCRATCH, block_product, dot_block, part
from tinytorch.kernels.launch import constant, empty, launched
from tinytorch.kernels.machinery.pool import max_threads
from tinytorch.kernels.machinery.stack import on_large_stack
from tinytorch.kernels.simd import ROW_STEP, ROWS, advance, pointer, pointer_at, value
from tinytorch.kernels.threads import parallel_for, taking_turns, threads_in_use

Array = np.ndarray[Any, Any]

SKINNY = 8
DOT_DEPTH = 128  # shorter dot products mostly add up lanes, which is worth it for a single row only
TASK_WORK = 1 << 17  # multiplications that are worth a chunk of their own


def plain_matmul(a, b, bias: Any = None) -> Any:
    """What `matmul` computes, in plain Python: a (M, K) times b (K, N), plus bias (N,), as (M, N)."""
    (M, K), N = a.shape, b.shape[1]
    c = np.zeros((M, N))
    for m in range(M):
        for n in range(N):
            total = 0.0 if bias is None else float(bias[n])
            for k in range(K):
                total += float(a[m, k]) * float(b[k, n])
            c[m, n] = total
    return c


@inner
def _tasks(start: int, stop: int, worker: int, a, b, c, addend, plan, scratch) -> None:
    """Run tasks start..stop of a product; a task is one block of one matrix of the batch."""
    sizes, a_strides, b_strides, c_strides, addend_strides = plan
    rows, cols, depth, inner_batch, row_block, col_block, add, dots = sizes
    row_blocks = (rows - 1) // row_block + 1
    col_blocks = (cols - 1) // col_block + 1
    own = advance(scratch, worker * SCRATCH)
    for task in range(start, stop):
        # Divisions are avoided where possible, as small products take no longer than a few of them.
        item, i, j = task, 0, 0
        if row_blocks * col_blocks > 1:
            item, block = task // (row_blocks * col_blocks), task % (row_blocks * col_blocks)
            i, j = block // col_blocks * row_block, block % col_blocks * col_block
        outer, inner = item, 0
        if inner_batch > 1:
            outer = item // inner_batch
            inner = item - outer * inner_batch
        _, _, a_row, a_col = a_strides
        _, _, b_row, b_col = b_strides
        _, _, c_row, c_col = c_strides
        _, _, addend_row, addend_col = addend_strides
        a_now = advance(a, outer * a_strides[0] + inner * a_strides[1] + i * a_row)
        b_now = advance(b, outer * b_strides[0] + inner * b_strides[1] + j * b_col)
        c_now = advance(c, outer * c_strides[0] + inner * c_strides[1] + i * c_row + j * c_col)
        addend_now = advance(
            addend, outer * addend_strides[0] + inner * addend_strides[1] + i * addend_row + j * addend_col
        )
        rows_now, cols_now = min(row_block, rows - i), min(col_block, cols - j)
        if dots != 0:
            dot_block(rows_now, cols_now, depth, a_now, a_row, b_now, b_col, c_now, c_row, c_col,
                  addend_now, addend_row, addend_col, add, own)  # fmt: skip
        else:
            block_product(rows_now, cols_now, depth, a_now, a_row, a_col, b_now, b_row, b_col, c_now, c_row, c_col,
                   addend_now, addend_row, addend_col, add, own)  # fmt: skip


@inner
def _strides(array) -> Any:
    """Strides in elements; 0 along batch dimensions of size 1, which broadcast."""
    size = array.itemsize
    outer, inner, row, col = array.strides
    outer = outer // size if array.shape[0] > 1 else 0
    inner = inner // size if array.shape[1] > 1 else 0
    return outer, inner, row // size, col // size


@inner
def _plan(rows: int, cols: int, depth: int, batch: int, threads: int) -> Any:
    """Return the rows and columns of a task's block, and how many tasks make a chunk that is worth handing out.

    Blocks side by side each pack A again, blocks one above the other each pack B again: the smaller one is chosen.
    """
    row_block, col_block = rows, cols
    work = rows * cols * depth
    # A single row takes as long as reading B, and two threads read from two caches.
    task_work = TASK_WORK if rows > 1 else TASK_WORK // 8
    if threads > 1 and batch < 4 * threads and work * batch > 2 * task_work:
        by_rows = cols < 2 * rows
        wanted = threads * max(1, min(4, (rows if by_rows else cols) // (threads * 1024)))
        wanted = (min(wanted, work // task_work + 1) - 1) // batch + 1
        row_parts = max(1, min(wanted, rows // (4 * ROWS))) if by_rows else 1
        row_block = part(rows, row_parts, value(ROW_STEP))
        col_block = part(cols, (wanted - 1) // row_parts + 1, value(64))
    return row_block, col_block, max(1, task_work // (row_block * col_block * depth))


def _gemm(a, b, c, bias, accumulate: bool, scratch: int) -> bool:
    """c = a @ b, plus c if `accumulate`, plus bias unless it is empty. All are 4-D except bias (N,); no size is 0.

    Returns False, with nothing done, if an array is not aligned.
    """
    if not (_aligned(a) and _aligned(b) and _aligned(c) and _aligned(bias)):
        return False
    c_start, c_strides = pointer(c), _strides(c)
    addend, addend_strides = c_start, c_strides
    if bias.size > 0:
        addend, addend_strides = pointer(bias), (0, 0, 0, bias.strides[0] // bias.itemsize)
    add = 1 if accumulate or bias.size > 0 else 0
    shape = (*c.shape, a.shape[3])
    _multiply(shape, pointer(a), _strides(a), pointer(b), _strides(b), c_start, c_strides,
              addend, addend_strides, add, pointer_at(scratch, c_start))  # fmt: skip
    return True


def _planned(numbers, scratch) -> None:
    """`_gemm` of arrays known beforehand: numbers holds shape, add, addresses and strides as in `_Kernel.planned`."""
    shape = (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4])
    a, a_strides = _located(numbers, 6, scratch)
    b, b_strides = _located(numbers, 11, scratch)
    c, c_strides = _located(numbers, 16, scratch)
    addend, addend_strides = _located(numbers, 21, scratch)
    _multiply(shape, a, a_strides, b, b_strides, c, c_strides, addend, addend_strides, numbers[5], scratch)


@inner
def _located(numbers, at: int, like) -> Any:
    """The pointer and the strides of an array, from five numbers."""
    strides = (numbers[at + 1], numbers[at + 2], numbers[at + 3], numbers[at + 4])
    return pointer_at(numbers[at], like), strides


@inner
def _multiply(
    shape, a, a_strides, b, b_strides, c, c_strides,
    addend, addend_strides, add: int, scratch,
) -> None:  # fmt: skip
    """c = a @ b, plus addend if `add`, all of 4 dimensions, with strides in elements. shape is that of c, and depth."""
    outer_batch, inner_batch, rows, cols, depth = shape
    # One b for the whole batch: the matrices of a are one tall matrix where they lie one after the other.
    if b_strides[1] == 0 and a_strides[1] == rows * a_strides[2] and c_strides[1] == rows * c_strides[2]:
        rows, inner_batch = rows * inner_batch, 1
    if (
        inner_batch == 1 and b_strides[0] == 0
        and a_strides[0] == rows * a_strides[2] and c_strides[0] == rows * c_strides[2]
    ):  # fmt: skip
        rows, outer_batch = rows * outer_batch, 1
    # c' = b' a' where c has adjacent rows, or few columns.
    few_columns = rows > cols and cols <= SKINNY and (cols == 1 or depth >= DOT_DEPTH)
    if few_columns or (c_strides[3] != 1 and c_strides[2] == 1 and rows > SKINNY):
        rows, cols = cols, rows
        a, b = b, a
        a_strides, b_strides = _swapped(b_strides), _swapped(a_strides)
        c_strides, addend_strides = _swapped(c_strides), _swapped(addend_strides)
    long = rows == 1 or depth >= DOT_DEPTH
    dots = 1 if rows <= SKINNY and long and a_strides[3] == 1 and b_strides[2] == 1 and b_strides[3] != 1 else 0
    batch = outer_batch * inner_batch
    row_block, col_block, grain = _plan(rows, cols, depth, batch, threads_in_use())
    tasks = batch * ((rows - 1) // row_block + 1) * ((cols - 1) // col_block + 1)
    sizes = (rows, cols, depth, inner_batch, row_block, col_block, add, dots)
    plan = (sizes, a_strides, b_strides, c_strides, addend_strides)
    parallel_for(_tasks, tasks, grain, (a, b, c, addend, plan, scratch))


@inner
def _aligned(array) -> bool:
    """Whether addresses and strides are multiples of the element's size, as those of a record's field may not be."""
    misfit = array.ctypes.data % array.itemsize
    for size, stride in zip(array.shape, array.strides):  # noqa: B905 (compiled code has no strict)
        if size > 1:
            misfit |= stride % array.itemsize
    return bool(misfit == 0)


@inner
def _swapped(strides) -> Any:
    """The strides of the transposed matrices."""
    return strides[0], strides[1], strides[3], strides[2]


class _Kernel:
    """`_gemm` for one dtype, compiled at its first use for arrays of any layout, with its scratch memory."""

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self.dtype = np.dtype(dtype)
        self.no_bias = constant(np.empty(0, dtype))
        self.call: Callable[..., bool] | None = None
        self.address = 0
        self._planned: Callable[..., None] | None = None

    def prepare(self) -> Callable[..., bool]:
        with _preparing:  # a second thread must not replace the scratch memory that a first one uses
            if self.call is None:
                self.call = self._compiled()
            return self.call

    def _compiled(self) -> Callable[..., bool]:
        element = numba.from_dtype(self.dtype)
        # Any layout converts to "A", and writable arrays to read-only ones: one version serves all.
        operand, result = types.Array(element, 4, "A", readonly=True), types.Array(element, 4, "A")
        bias = types.Array(element, 1, "A", readonly=True)
        call: Any = serial(_gemm)
        on_large_stack(call.compile)((operand, operand, result, bias, types.boolean, types.intp))
        call.disable_compile()
        self.scratch = np.empty(SCRATCH * max_threads() + 16, self.dtype)
        self.address = (self.scratch.ctypes.data + 63) // 64 * 64
        return launched(taking_turns(call), bind=self.planned)

    def planned(self, a, b, c, bias, accumulate: bool, scratch: int) -> tuple[Any, Any, Any] | None:
        """Return `call` with these arguments, whose memory stays, as a function of two addresses; the addresses; and
        the arrays behind them.

        Returns None if an array is not aligned. A call with arrays takes 0.5 microseconds, one with addresses a tenth.
        """
        if not all(array.flags.aligned for array in (a, b, c, bias)):
            return None
        addend = [bias.ctypes.data, 0, 0, 0, bias.strides[0] // bias.itemsize] if bias.size else _location(c)
        add = int(accumulate or bias.size > 0)
        numbers = np.array([*c.shape, a.shape[3], add, *_location(a), *_location(b), *_location(c), *addend], np.int64)
        if self._planned is None:
            element = types.CPointer(numba.from_dtype(self.dtype))
            self._planned = taking_turns(c_function(_planned, types.CPointer(types.int64), element))
        return self._planned, (numbers.ctypes.data, scratch), (numbers, a, b, c, bias)


def _location(array) -> list[int]:
    """An array's address and `_strides`."""
    strides = [stride // array.itemsize for stride in array.strides]
    return [array.ctypes.data, *[0 if array.shape[i] == 1 else strides[i] for i in (0, 1)], *strides[2:]]


_preparing = threading.Lock()
_KERNELS = {np.dtype(dtype): _Kernel(dtype) for dtype in (np.float32, np.float64)}
_BACKENDS = ("numba", "blas")
_backend = os.environ.get("TINYTORCH_MATMUL", "numba")
if _backend not in _BACKENDS:
    raise ValueError(f"TINYTORCH_MATMUL: expected one of {_BACKENDS}, got {_backend!r}")


def set_matmul_backend(name: str) -> None:
    """Choose what multiplies matrices: "numba", the kernels in this file, or "blas", NumPy's library.

    A process starts with the value of the environment variable TINYTORCH_MATMUL, or with "numba" if it is not set.
    """
    global _backend
    if name not in _BACKENDS:
        raise ValueError(f"set_matmul_backend: expected one of {_BACKENDS}, got {name!r}")
    _backend = name


def get_matmul_backend() -> str:
    """ "numba" or "blas"."""
    return _backend


def matmul(
    a: Array, b: Array, out: Array | None = None, *, accumulate: bool = False, bias: Array | None = None
) -> Array:
    """a @ b + bias, a (..., M, K), b (..., K, N), bias (N,): (..., M, N), batch dimensions broadcast.

    All are float32 or all are float64, of any strides. The result is written to `out`, or added to it
    if `accumulate`; `out` must not overlap the others. Raises ValueError for shapes and TypeError for
    dtypes that do not fit.
    """
    kernel = _KERNELS.get(a.dtype)
    if kernel is None or b.dtype != a.dtype:
        raise TypeError(f"matmul: expected two float32 or two float64 arrays, got {a.dtype} and {b.dtype}")
    shape = (a.shape[0], b.shape[1]) if a.ndim == b.ndim == 2 else (*_batch_shape(a, b), a.shape[-2], b.shape[-1])
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit: {a.shape[-1]} != {b.shape[-2]}")
    if bias is not None and (bias.shape != shape[-1:] or bias.dtype != a.dtype):
        raise ValueError(f"matmul: expected a bias of {shape[-1:]} {a.dtype}, got {bias.shape} {bias.dtype}")
    if out is None and not accumulate:
        out = empty(shape, a.dtype)
    else:
        out, bias = _given(out, shape, a.dtype, accumulate, bias)
    if out.size == 0:
        return out
    if _backend == "blas" or a.shape[-1] == 0:
        return _with_blas(a, b, out, accumulate, bias)
    if len(shape) > 4:
        return _in_parts(a, b, out, accumulate, bias)
    call = kernel.call or kernel.prepare()
    flat = len(shape) == 2
    operands = (a[None, None], b[None, None], out[None, None]) if flat else (_as_4d(a), _as_4d(b), _as_4d(out))
    if call(*operands, kernel.no_bias if bias is None else bias, accumulate, kernel.address):
        return out
    return _of_aligned_copies(a, b, out, accumulate, bias)


def _given(
    out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any], accumulate: bool, bias: Array | None
) -> tuple[Array, Array | None]:
    """Check `out`, and return it with the bias that is left to add."""
    if out is None:
        raise ValueError("matmul: accumulate=True needs out, the array to add to")
    if out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        raise ValueError(f"matmul: expected a writable out of {shape} {dtype}, got {out.shape} {out.dtype}")
    if accumulate and bias is not None:
        out += bias
        bias = None
    return out, bias


def _in_parts(a: Array, b: Array, out: Array, accumulate: bool, bias: Array | None) -> Array:
    """A product of more than four dimensions, computed for the last four at a time."""
    for index in np.ndindex(out.shape[:-4]):
        matmul(_item(a, index), _item(b, index), out[index], accumulate=accumulate, bias=bias)
    return out


def _of_aligned_copies(a: Array, b: Array, out: Array, accumulate: bool, bias: Array | None) -> Array:
    """The product of arrays that the kernel has refused, such as fields of records."""
    if not out.flags.aligned:
        raise ValueError("matmul: out must be an aligned array")
    a, b = np.require(a, None, "A"), np.require(b, None, "A")
    bias = None if bias is None else np.require(bias, None, "A")
    return matmul(a, b, out, accumulate=accumulate, bias=bias)


def _batch_shape(a: Array, b: Array) -> tuple[int, ...]:
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul: expected at least two dimensions, got {a.shape} and {b.shape}")
    if a.shape[:-2] == b.shape[:-2]:
        return a.shape[:-2]
    try:
        return np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul: batch dimensions of {a.shape} and {b.shape} do not broadcast") from None


def _as_4d(array: Array) -> Array:
    return array if array.ndim == 4 else array[None] if array.ndim == 3 else array[None, None]


def _item(array: Array, index: tuple[int, ...]) -> Array:
    """The part of a broadcast operand that belongs to an index into the batch dimensions before the last four."""
    own = array.shape[:-4]
    part: Array = array[tuple(np.minimum(index[len(index) - len(own) :], np.subtract(own, 1)))]
    return part


def _with_blas(a: Array, b: Array, out: Array, accumulate: bool, bias: Array | None) -> Array:
    if accumulate:
        out += np.matmul(a, b)
    else:
        np.matmul(a, b, out=out)
    if bias is not None:
        out += bias
    return out
