"""One block of a matrix product on one thread: packing, sweeping over tiles, dot products for few rows.

The operands are typed pointers, their strides in elements. `addend` is what is added to the product
if `add` is 1: the result's old contents, or a bias, whose rows are 0 apart.
"""

from __future__ import annotations

from typing import Any

from tinytorch.kernels.compiler import inner
from tinytorch.kernels.gemm_pack import pack
from tinytorch.kernels.simd import (
    MOST_ROWS,
    REGISTERS,
    ROW_STEP,
    ROWS,
    VECTOR_BYTES,
    advance,
    dot_products,
    lanes,
    value,
)
from tinytorch.kernels.tile import tile_product

DEPTH_BLOCK = 256
ROW_BLOCK = 168 * ROWS  # of a task of more rows, as many parts as need be
COLUMN_BLOCK = 384  # a multiple of every tile's width
DIRECT_ROWS = 64  # B is read where it is, if adjacent, by up to so many rows
DIRECT_COLUMNS, DIRECT_COLUMNS_ACROSS = 256, 64  # A is, by up to so many columns: where k is adjacent, where not
DOT_ROWS = 4 if REGISTERS == 32 else 2
STRIP = REGISTERS // 2  # vectors of results in a product with one row

# Scratch memory of a worker, in elements: a tile, packed A and its tail, packed B and its tail.
_TILE = ROWS * 2 * (VECTOR_BYTES // 4)
_PACKED_A = (ROW_BLOCK + ROWS) * DEPTH_BLOCK
SCRATCH = _TILE + _PACKED_A + (COLUMN_BLOCK + 2 * (VECTOR_BYTES // 4)) * DEPTH_BLOCK


@inner
def _tile(
    height: int, wide: bool, depth: int, a: Any, a_row: int, a_col: int, b: Any, b_row: int,
    c: Any, c_row: int, addend: Any, addend_row: int, add: int, kept_rows: int, kept_cols: int,
) -> None:  # fmt: skip
    """tile_product for one of the compiled shapes: ROWS, 2/3 or 1/3 of them, by two vectors or one."""
    if wide:
        if height == ROWS:
            tile_product(ROWS, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols)  # fmt: skip
        elif height == MOST_ROWS:
            tile_product(MOST_ROWS, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols)  # fmt: skip
        else:
            tile_product(ROW_STEP, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols)  # fmt: skip
    else:
        if height == ROWS:
            tile_product(ROWS, 1, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols)  # fmt: skip
        elif height == MOST_ROWS:
            tile_product(MOST_ROWS, 1, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols)  # fmt: skip
        else:
            tile_product(ROW_STEP, 1, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols)  # fmt: skip


@inner
def sweep(
    rows: int, cols: int, depth: int, a: Any, a_row: int, a_col: int, a_packed: Any, a_first: int,
    b: Any, b_row: int, b_packed: Any, b_first: int,
    c: Any, c_row: int, c_col: int, addend: Any, addend_row: int, addend_col: int, add: int, tile: Any,
) -> None:  # fmt: skip
    """c = a @ b (+ addend) for one block. Rows of a from a_first on and columns of b from b_first on are packed."""
    vector = lanes(c)
    direct = c_col == 1 and (addend_col == 1 or add == 0)
    for i in range(0, rows, ROWS):
        height = min(ROWS, (rows - i + ROW_STEP - 1) // ROW_STEP * ROW_STEP)
        if i >= a_first:
            a_tile, a_down, a_right = advance(a_packed, (i - a_first) * depth), 1, height
        else:
            a_tile, a_down, a_right = advance(a, i * a_row), a_row, a_col
        for j in range(0, cols, 2 * vector):
            wide = cols - j > vector
            width = 2 * vector if wide else vector
            if j >= b_first:
                b_tile, b_step = advance(b_packed, (j - b_first) * depth), width
            else:
                b_tile, b_step = advance(b, j), b_row
            c_tile = advance(c, i * c_row + j * c_col)
            addend_tile = advance(addend, i * addend_row + j * addend_col)
            if direct:
                _tile(height, wide, depth, a_tile, a_down, a_right, b_tile, b_step,
                      c_tile, c_row, addend_tile, addend_row, add, rows - i, cols - j)  # fmt: skip
            else:
                _tile(height, wide, depth, a_tile, a_down, a_right, b_tile, b_step,
                      tile, width, tile, width, 0, height, width)  # fmt: skip
                for r in range(min(height, rows - i)):
                    for s in range(min(width, cols - j)):
                        element = tile[r * width + s]
                        if add != 0:
                            element += addend_tile[r * addend_row + s * addend_col]
                        c_tile[r * c_row + s * c_col] = element


@inner
def part(whole: int, parts: int, unit: int) -> int:
    """The size of so many even parts of a whole, a multiple of `unit`."""
    return ((whole - 1) // parts // unit + 1) * unit


@inner
def block_product(
    rows: int, cols: int, depth: int, a: Any, a_row: int, a_col: int, b: Any, b_row: int, b_col: int,
    c: Any, c_row: int, c_col: int, addend: Any, addend_row: int, addend_col: int, add: int, scratch: Any,
) -> None:  # fmt: skip
    """c = a @ b (+ addend) for the rows and columns of one task."""
    width, strip = 2 * lanes(c), STRIP * lanes(c)
    a_packed = advance(scratch, _TILE)
    b_packed = advance(a_packed, _PACKED_A)
    b_whole = b_col != 1 or rows > DIRECT_ROWS
    a_whole = cols > (DIRECT_COLUMNS if a_col == 1 else DIRECT_COLUMNS_ACROSS) or rows == 1
    depth_block, row_block = depth, rows
    if depth > DEPTH_BLOCK:
        depth_block = part(depth, (depth - 1) // DEPTH_BLOCK + 1, value(1))
    if rows > ROW_BLOCK:
        row_block = part(rows, (rows - 1) // ROW_BLOCK + 1, value(ROWS))
    for k in range(0, depth, depth_block):
        depth_now = min(depth_block, depth - k)
        if k > 0:
            addend, addend_row, addend_col, add = c, c_row, c_col, 1
        for i in range(0, rows, row_block):
            rows_now = min(row_block, rows - i)
            a_now = advance(a, i * a_row + k * a_col)
            # Rows that fill no tile are packed, with zeros below them, whatever is done with the others.
            a_first = 0 if a_whole else rows_now if rows_now % ROW_STEP == 0 else rows_now // ROWS * ROWS
            pack(
                advance(a_now, a_first * a_row), a_row, a_col, rows_now - a_first, depth_now,
                value(ROWS), value(ROW_STEP), a_packed,
            )  # fmt: skip
            for j in range(0, cols, COLUMN_BLOCK):
                cols_now = min(COLUMN_BLOCK, cols - j)
                b_now = advance(b, k * b_row + j * b_col)
                c_now = advance(c, i * c_row + j * c_col)
                addend_now = advance(addend, i * addend_row + j * addend_col)
                b_first = 0 if b_whole else cols_now // width * width
                pack(
                    advance(b_now, b_first * b_col), b_col, b_row, cols_now - b_first, depth_now,
                    width, lanes(c), b_packed,
                )  # fmt: skip
                done = 0
                if rows == 1 and c_col == 1 and (add == 0 or addend_col == 1):
                    # Bound by memory: read far along each row of b before going on to the next.
                    done = b_first // strip * strip
                    for s in range(0, done, strip):
                        tile_product(1, STRIP, depth_now, a_packed, 1, ROW_STEP, advance(b_now, s), b_row,
                                     advance(c_now, s), c_row, advance(addend_now, s), addend_row, add,
                                     value(1), value(strip))  # fmt: skip
                sweep(
                    rows_now, cols_now - done, depth_now, a_now, a_row, a_col, a_packed, a_first,
                    advance(b_now, done * b_col), b_row, b_packed, b_first - done,
                    advance(c_now, done * c_col), c_row, c_col,
                    advance(addend_now, done * addend_col), addend_row, addend_col, add, scratch,
                )  # fmt: skip


@inner
def dot_block(
    rows: int, cols: int, depth: int, a: Any, a_row: int, b: Any, b_col: int,
    c: Any, c_row: int, c_col: int, addend: Any, addend_row: int, addend_col: int, add: int, tile: Any,
) -> None:  # fmt: skip
    """c = a @ b (+ addend) for few rows, k adjacent in both: dot products, a column of b read once for all rows."""
    vector = lanes(c)
    blocks = depth // vector
    j = 0
    while j < cols:
        width = vector if rows == 1 and cols - j >= vector else 4 if cols - j >= 4 else 1
        b_now = advance(b, j * b_col)
        i = 0
        while i < rows:
            a_now = advance(a, i * a_row)
            height = 1
            if width == 1:
                dot_products(1, 1, blocks, a_now, a_row, b_now, b_col, tile)
            elif rows == 1 and width == vector:
                dot_products(1, None, blocks, a_now, a_row, b_now, b_col, tile)
            elif rows - i < DOT_ROWS:
                dot_products(1, 4, blocks, a_now, a_row, b_now, b_col, tile)
            else:
                height = DOT_ROWS
                dot_products(DOT_ROWS, 4, blocks, a_now, a_row, b_now, b_col, tile)
            for r in range(height):
                for t in range(width):
                    element = tile[r * width + t]
                    for k in range(blocks * vector, depth):
                        element += a_now[r * a_row + k] * b_now[k + t * b_col]
                    if add != 0:
                        element += addend[(i + r) * addend_row + (j + t) * addend_col]
                    c[(i + r) * c_row + (j + t) * c_col] = element
            i += height
        j += width
