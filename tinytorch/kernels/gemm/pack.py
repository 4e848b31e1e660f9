"""Packing: copy a block of a matrix of any strides into the order in which a tile product reads it.

Both operands are packed by the same routine, as *items* (rows of A, columns of B) by *depth* (the
index k that is summed over). `width` items form a panel, stored k by k:

    target[panel, k, i] = source[(panel * width + i) * item_stride + k * depth_stride]

The last panel is as wide as its items need, rounded up to `step`, and padded with zeros. A
transposed matrix differs only in which stride is 1. The scalar loop at the end states the meaning;
what comes before is the same in vectors. Most panels of adjacent items never come here: the tile that
reads them first packs them (`tile_product`).
"""

from __future__ import annotations

from tinytorch.kernels.compiler import inner
from tinytorch.kernels.simd import ROWS, advance, copy, copy_some, lanes, transpose

ROWS_AT_ONCE = 8


@inner
def _pack_adjacent(source, depth_stride: int, panels: int, width: int, depth: int, target) -> None:
    """Pack panels of adjacent items by copying vectors, a few rows at a time, so that each is read in long runs."""
    vector = lanes(target)
    for first in range(0, depth, ROWS_AT_ONCE):
        for p in range(panels):
            for k in range(first, min(first + ROWS_AT_ONCE, depth)):
                place = advance(source, k * depth_stride + p * width)
                panel_place = advance(target, (p * depth + k) * width)
                for i in range(0, width, vector):
                    copy(advance(place, i), advance(panel_place, i))


@inner
def _pack_across(source, item_stride: int, width: int, depth: int, target) -> int:
    """Pack one panel of items that lie along k by transposing squares. Returns how far along k it got."""
    vector = lanes(target)
    done: int = depth // vector * vector
    for k in range(0, done, vector):
        place, panel_place = advance(source, k), advance(target, k * width)
        if width == ROWS:
            transpose(ROWS, place, item_stride, panel_place, width)
        else:
            for i in range(0, width, vector):
                transpose(None, advance(place, i * item_stride), item_stride, advance(panel_place, i), width)
    return done


@inner
def pack(
    source, item_stride: int, depth_stride: int, count: int, depth: int, width: int, step: int, target
) -> None:
    """Pack `count` items of `depth` elements from the pointer `source` to the pointer `target`."""
    vector = lanes(target)
    begin = 0
    if count >= width and item_stride == 1 and width % vector == 0:
        begin = count // width * width
        _pack_adjacent(source, depth_stride, count // width, width, depth, target)
    for first in range(begin, count, width):
        items = min(width, count - first)
        height = (items + step - 1) // step * step
        start = advance(source, first * item_stride)
        panel = advance(target, first * depth)
        done = 0
        if item_stride == 1 and height % vector == 0:
            done = depth
            for k in range(depth):
                for i in range(0, height, vector):
                    copy_some(items - i, advance(start, k * depth_stride + i), advance(panel, k * height + i))
        elif depth_stride == 1 and items == height and (height == ROWS or height % vector == 0):
            done = _pack_across(start, item_stride, height, depth, panel)
        for k in range(done, depth):
            for i in range(items):
                panel[k * height + i] = start[i * item_stride + k * depth_stride]
            for i in range(items, height):
                panel[k * height + i] = 0
