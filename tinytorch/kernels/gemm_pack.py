"""Packing: copy a block of a matrix of any strides into the order in which a tile product reads it.

Both operands are packed by the same routine, as *items* (rows of A, columns of B) by *depth* (the
index k that is summed over). `width` items form a panel, stored k by k:

    target[panel, k, i] = source[(panel * width + i) * item_stride + k * depth_stride]

The last panel is as wide as its items need, rounded up to `step`, and filled up with zeros. A
transposed matrix differs only in which stride is 1, and costs no more to pack. The scalar loop at
the end states the meaning; what comes before is the same in vectors.
"""

from __future__ import annotations

from typing import Any

from tinytorch.kernels.compiler import inner
from tinytorch.kernels.simd import ROWS, advance, copy, lanes, transpose


@inner
def pack(
    source: Any, item_stride: int, depth_stride: int, count: int, depth: int, width: int, step: int, target: Any
) -> None:
    """Pack `count` items of `depth` elements from the pointer `source` to the pointer `target`."""
    vector = lanes(target)
    for first in range(0, count, width):
        items = min(width, count - first)
        height = (items + step - 1) // step * step
        start = advance(source, first * item_stride)
        panel = advance(target, first * depth)
        done = 0
        if items == height and (height == ROWS or height % vector == 0):
            if item_stride == 1:
                done = depth
                for k in range(depth):
                    place, panel_place = advance(start, k * depth_stride), advance(panel, k * height)
                    if height == ROWS:
                        copy(ROWS, place, panel_place)
                    else:
                        for i in range(0, height, vector):
                            copy(None, advance(place, i), advance(panel_place, i))
            elif depth_stride == 1:
                done = depth // vector * vector
                for k in range(0, done, vector):
                    place, panel_place = advance(start, k), advance(panel, k * height)
                    if height == ROWS:
                        transpose(ROWS, place, item_stride, panel_place, height)
                    else:
                        for i in range(0, height, vector):
                            transpose(
                                None, advance(place, i * item_stride), item_stride, advance(panel_place, i), height
                            )
        for k in range(done, depth):
            for i in range(items):
                panel[k * height + i] = start[i * item_stride + k * depth_stride]
            for i in range(items, height):
                panel[k * height + i] = 0
