"""One block of a matrix product on one thread: what is packed, the sweep over tiles, dot products for few rows.

    c[m, n] = sum over k of a[m, k] b[k, n] (+ addend[m, n])        for the m and n of one block

The operands are typed pointers, their strides in elements. `addend` is what is added to the product
if `add` is 1: the result's old contents, or a bias, whose rows are 0 apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinytorch.kernels.compiler import inner
from tinytorch.kernels.gemm.pack import pack
from tinytorch.kernels.gemm.tile import tile_product
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

DEPTH_BLOCK = 256  # three quarters of it in float64; a tile's rows of A and a panel of B share the first-level cache
ROW_BLOCK = 168 * ROWS  # a task with more rows than this takes them in several parts
COLUMN_BLOCK = 384  # a multiple of every tile's width
PAGE = 4096  # bytes; rows a multiple of this apart are on pages of their own, and share a set of the first-level cache
DOT_ROWS = 4 if REGISTERS == 32 else 2
DOT_SCRATCH = max(4 * DOT_ROWS, VECTOR_BYTES // 4)  # elements that dot_block needs for its results
STRIP = REGISTERS // 2  # vectors of results in a product with one row


def _cache_ways() -> int:
    """How many cache lines a set of the first-level cache holds: what Linux says, or 8, which is common."""
    try:
        return int(Path("/sys/devices/system/cpu/cpu0/cache/index0/ways_of_associativity").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 8


CACHE_WAYS = _cache_ways()

# Scratch memory of a worker, in elements: a tile, packed A and its tail, packed B and its tail.
_TILE = ROWS * 2 * (VECTOR_BYTES // 4)
_PACKED_A = (ROW_BLOCK + ROWS) * DEPTH_BLOCK
SCRATCH = _TILE + _PACKED_A + (COLUMN_BLOCK + 2 * (VECTOR_BYTES // 4)) * DEPTH_BLOCK


@inner
def _tile(
    height: int, wide: bool, depth: int, a, a_row: int, a_col: int, b, b_row: int,
    c, c_row: int, addend, addend_row: int, add: int, kept_rows: int, kept_cols: int,
    copy_a: bool, a_packed, copy_b: bool, b_packed,
) -> None:  # fmt: skip
    """tile_product for one of the compiled shapes: ROWS, 2/3 or 1/3 of them, by two vectors or one.

    Only the largest packs: A if `copy_a`, B if `copy_b`.
    """
    if wide:
        if height == ROWS:
            if copy_a and copy_b:
                tile_product(ROWS, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                             kept_rows, kept_cols, a_packed, b_packed)  # fmt: skip
            elif copy_a:
                tile_product(ROWS, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                             kept_rows, kept_cols, a_packed, None)  # fmt: skip
            elif copy_b:
                tile_product(ROWS, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                             kept_rows, kept_cols, None, b_packed)  # fmt: skip
            else:
                tile_product(ROWS, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                             kept_rows, kept_cols, None, None)  # fmt: skip
        elif height == MOST_ROWS:
            tile_product(MOST_ROWS, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols, None, None)  # fmt: skip
        else:
            tile_product(ROW_STEP, 2, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols, None, None)  # fmt: skip
    else:
        if height == ROWS:
            tile_product(ROWS, 1, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols, None, None)  # fmt: skip
        elif height == MOST_ROWS:
            tile_product(MOST_ROWS, 1, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols, None, None)  # fmt: skip
        else:
            tile_product(ROW_STEP, 1, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add,
                         kept_rows, kept_cols, None, None)  # fmt: skip


@inner
def sweep(
    rows: int, cols: int, depth: int, a, a_row: int, a_col: int, a_packed, a_first: int, a_last: int,
    keep_a: bool, b, b_row: int, b_col: int, b_packed, pack_b: bool,
    c, c_row: int, c_col: int, addend, addend_row: int, addend_col: int, add: int, tile,
) -> None:  # fmt: skip
    """c = a @ b (+ addend) for one block.

    Rows a_first .. a_last of a are read in place; if `keep_a`, the first tile in a row of tiles of full height packs
    its rows of a for the others. The rest of a is already packed. So is b, unless `pack_b`: then each of its panels
    is packed when it is used for the first time, if it is used again.
    """
    vector = lanes(c)
    direct = c_col == 1 and (addend_col == 1 or add == 0)
    for i in range(0, rows, ROWS):
        height = min(ROWS, (rows - i + ROW_STEP - 1) // ROW_STEP * ROW_STEP)
        reads_in_place = a_first <= i < a_last
        keeps = reads_in_place and keep_a and height == ROWS
        for j in range(0, cols, 2 * vector):
            wide = cols - j > vector
            width = 2 * vector if wide else vector
            a_panel, b_panel = advance(a_packed, i * depth), advance(b_packed, j * depth)
            a_tile, a_down, a_right = a_panel, 1, height
            if reads_in_place and (j == 0 or not keeps):
                a_tile, a_down, a_right = advance(a, i * a_row), a_row, a_col
            b_tile, b_step, copy_a, copy_b = b_panel, width, keeps and j == 0, False
            if pack_b and i == 0:
                if b_col == 1 and cols - j >= 2 * vector:
                    b_tile, b_step, copy_b = advance(b, j), b_row, rows > ROWS
                else:
                    items = min(width, cols - j)
                    pack(advance(b, j * b_col), b_col, b_row, items, depth, 2 * vector, vector, b_panel)
            c_tile = advance(c, i * c_row + j * c_col)
            addend_tile = advance(addend, i * addend_row + j * addend_col)
            if direct:
                _tile(height, wide, depth, a_tile, a_down, a_right, b_tile, b_step,
                      c_tile, c_row, addend_tile, addend_row, add, rows - i, cols - j,
                      copy_a, a_panel, copy_b, b_panel)  # fmt: skip
            else:
                _tile(height, wide, depth, a_tile, a_down, a_right, b_tile, b_step,
                      tile, width, tile, width, 0, height, width, copy_a, a_panel, copy_b, b_panel)  # fmt: skip
                for r in range(min(height, rows - i)):
                    for s in range(min(width, cols - j)):
                        element = tile[r * width + s]
                        if add != 0:
                            element += addend_tile[r * addend_row + s * addend_col]
                        c_tile[r * c_row + s * c_col] = element


@inner
def part(whole: int, parts: int, unit: int) -> int:
    """The size of a part if a whole is cut into this many even parts, rounded up to a multiple of `unit`."""
    return ((whole - 1) // parts // unit + 1) * unit


@inner
def pack_rest(rows: int, cols: int, depth: int, a, a_row: int, a_col: int, a_packed) -> Any:
    """Pack the rows of a that tiles do not read in place.

    Returns how many rows, the first ones, tiles do read in place, and whether the first tile to do so packs them for
    the others. If k is adjacent, tiles read along rows, which the first-level cache holds unless all of them share one
    of its sets; if rows are adjacent, each k is on another cache line, and a copy costs little. With many columns a
    packed copy always pays.
    """
    complete = rows if rows % ROW_STEP == 0 else rows // ROWS * ROWS
    apart = ROWS <= CACHE_WAYS or a_row * (VECTOR_BYTES // lanes(a)) % PAGE != 0
    if cols <= 2 * lanes(a) or (a_col == 1 and cols <= 2 * COLUMN_BLOCK and apart):
        last, keep = complete, False
    elif a_row == 1:
        last, keep = complete, True
    else:
        last, keep = 0, False
    pack(
        advance(a, last * a_row), a_row, a_col, rows - last, depth, value(ROWS), value(ROW_STEP),
        advance(a_packed, last * depth),
    )  # fmt: skip
    return last, keep


@inner
def block_product(
    rows: int, cols: int, depth: int, a, a_row: int, a_col: int, b, b_row: int, b_col: int,
    c, c_row: int, c_col: int, addend, addend_row: int, addend_col: int, add: int, scratch,
) -> None:  # fmt: skip
    """c = a @ b (+ addend) for the rows and columns of one task."""
    strip, size = STRIP * lanes(c), VECTOR_BYTES // lanes(c)
    a_packed = advance(scratch, _TILE)
    b_packed = advance(a_packed, _PACKED_A)
    depth_block, row_block = depth, rows
    most = DEPTH_BLOCK if size == 4 else DEPTH_BLOCK * 3 // 4
    if depth > most:
        depth_block = part(depth, (depth - 1) // most + 1, value(1))
    if rows > ROW_BLOCK:
        row_block = part(rows, (rows - 1) // ROW_BLOCK + 1, value(ROWS))
    # One row is bound by memory, and reads far along each row of b before going on to the next.
    done = cols // strip * strip if rows == 1 and b_col == 1 and c_col == 1 and (add == 0 or addend_col == 1) else 0
    # Tiles would read a few columns of each row of b: if each row is on another page, whole rows are packed first.
    pages = b_col == 1 and b_row * size >= PAGE and rows > 8 * ROWS
    for k in range(0, depth, depth_block):
        depth_now = min(depth_block, depth - k)
        if k > 0:
            addend, addend_row, addend_col, add = c, c_row, c_col, 1
        for j in range(0, done, strip):
            tile_product(1, STRIP, depth_now, advance(a, k * a_col), a_row, a_col, advance(b, k * b_row + j), b_row,
                         advance(c, j), c_row, advance(addend, j), addend_row, add, value(1), value(strip),
                         None, None)  # fmt: skip
        if done == cols:
            continue
        for i in range(0, rows, row_block):
            rows_now = min(row_block, rows - i)
            a_now = advance(a, i * a_row + k * a_col)
            a_first = 0
            a_last, keep_a = pack_rest(rows_now, cols - done, depth_now, a_now, a_row, a_col, a_packed)
            for j in range(done, cols, COLUMN_BLOCK):
                cols_now, b_now = min(COLUMN_BLOCK, cols - j), advance(b, k * b_row + j * b_col)
                if pages:
                    pack(b_now, b_col, b_row, cols_now, depth_now, 2 * lanes(b), lanes(b), b_packed)
                sweep(
                    rows_now, cols_now, depth_now, a_now, a_row, a_col, a_packed, a_first, a_last,
                    keep_a, b_now, b_row, b_col, b_packed, not pages,
                    advance(c, i * c_row + j * c_col), c_row, c_col,
                    advance(addend, i * addend_row + j * addend_col), addend_row, addend_col, add, scratch,
                )  # fmt: skip
                a_first = rows_now // ROWS * ROWS if keep_a else 0


@inner
def dot_block(
    rows: int, cols: int, depth: int, a, a_row: int, b, b_col: int,
    c, c_row: int, c_col: int, addend, addend_row: int, addend_col: int, add: int, tile,
) -> None:  # fmt: skip
    """c = a @ b (+ addend) for few rows, with k adjacent in both, as dot products: b is read once for all rows.

    tile: scratch memory of DOT_SCRATCH elements.
    """
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
