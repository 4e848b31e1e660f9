"""Packing of stored weights, for products of numbers and for products of words, pairs of bfloat16.

    word_k = bfloat16(w_2k), and above it bfloat16(w_{2k + 1})        k along the index that is summed over

If there is an odd number of w, the last upper half is 0. A product of words has half the depth; otherwise it
is packed, tiled and swept like any other. A strip of the weight at a time is decoded and then packed.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import types
from numba.extending import overload

from tinytorch.kernels.compiler import inner
from tinytorch.kernels.gemm.block import DEPTH_BLOCK
from tinytorch.kernels.gemm.pack import ROWS_AT_ONCE, pack
from tinytorch.kernels.gemm.pairs import interleave, round_across, round_along
from tinytorch.kernels.simd import advance, lanes, pointer_like
from tinytorch.kernels.stored.decoding import SEGMENT, decode_one, decode_segment

DEPTH = DEPTH_BLOCK // SEGMENT * SEGMENT  # of a packed block, in numbers or in words
STRIP = DEPTH * SEGMENT + 2 * DEPTH  # elements of scratch memory that pack_weight needs


@inner
def _decode(weight, row: int, start: int, count: int, target) -> None:
    """target[i] = weight[row, start + i] for i < count; start is a multiple of SEGMENT."""
    whole = count // SEGMENT
    for number in range(whole):
        decode_segment(weight, row, start // SEGMENT + number, advance(target, number * SEGMENT))
    for i in range(whole * SEGMENT, count):
        target[i] = decode_one(weight, row, start + i, target)


@inner
def _pack_numbers(
    weight, transposed: bool, j: int, cols: int, k: int, depth: int, length: int, strip, packed
) -> None:
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
def _pack_rounded(
    weight, transposed: bool, j: int, cols: int, k: int, depth: int, length: int, strip, packed
) -> None:
    """Pack words; numbers of other types are rounded to bfloat16."""
    vector = lanes(packed)
    words, odd = pointer_like(advance(strip, 2 * DEPTH), packed), advance(strip, SEGMENT)
    if transposed:
        for first in range(0, cols, 2 * vector):
            items = min(2 * vector, cols - first)
            for i in range(items):
                count = min(2 * depth, length - 2 * k)
                _decode(weight, j + first + i, 2 * k, count, strip)
                words_along(strip, count, advance(words, i * DEPTH))
            pack(words, DEPTH, 1, items, depth, 2 * vector, vector, advance(packed, first * depth))
    else:
        for first in range(0, cols, SEGMENT):
            items = min(SEGMENT, cols - first)
            for d in range(depth):
                row = 2 * (k + d)
                _decode(weight, row, j + first, items, strip)
                if row + 1 < length:
                    _decode(weight, row + 1, j + first, items, odd)
                else:
                    for i in range(items):
                        odd[i] = 0
                for i in range(0, items, vector):
                    round_across(advance(strip, i), advance(odd, i), advance(words, d * SEGMENT + i))
            pack(words, 1, SEGMENT, items, depth, 2 * vector, vector, advance(packed, first * depth))


@inner
def _pack_bfloat16(
    weight, transposed: bool, j: int, cols: int, k: int, depth: int, length: int, strip, packed
) -> None:
    """Pack words of bfloat16: neighbours in a row already are a word, and two rows are interleaved."""
    codes, row, width, done = weight[0], weight[1], 2 * lanes(packed), 0
    if transposed and length % 2 == 0 and row % 2 == 0:
        start = advance(pointer_like(codes, packed), j * (row // 2) + k)
        pack(start, row // 2, 1, cols, depth, width, lanes(packed), packed)
        done = cols
    elif not transposed and 2 * (k + depth) <= length:
        done = cols // width * width
        for d_first in range(0, depth, ROWS_AT_ONCE):
            for first in range(0, done, width):
                for d in range(d_first, min(d_first + ROWS_AT_ONCE, depth)):
                    place = advance(codes, 2 * (k + d) * row + j + first)
                    interleave(place, advance(place, row), advance(packed, first * depth + d * width))
    if done < cols:
        rest = advance(packed, done * depth)
        _pack_rounded(weight, transposed, j + done, cols - done, k, depth, length, strip, rest)


@inner
def words_along(source, count: int, target) -> None:
    """target = the words of `count` adjacent numbers. Memory after both must round them up to whole vectors."""
    vector = lanes(target)
    for i in range(count, (count + 1) // 2 * 2):
        source[i] = 0
    for i in range(0, count, 2 * vector):
        round_along(advance(source, i), advance(target, i // 2))


def pack_weight(
    weight, transposed: bool, j: int, cols: int, k: int, depth: int, length: int, strip, packed
) -> None:
    """Pack columns j .. j + cols, rows k .. k + depth of W^T, if `transposed`, or else of W, as gemm/pack.py does.

    If `packed` is a pointer to words, k and depth count words; the matrix has `length` rows of numbers.
    """
    raise NotImplementedError("for use in compiled code only")


@overload(pack_weight, jit_options={"error_model": "numpy"})
def _choose(
    weight, transposed, j, cols, k, depth, length, strip, packed
) -> Callable[..., None]:
    pack_them = _pack_numbers
    if packed.dtype == types.uint32:
        pack_them = _pack_bfloat16 if weight.types[0].dtype == types.uint16 else _pack_rounded

    def implementation(
        weight, transposed, j, cols, k, depth, length, strip, packed
    ) -> None:
        pack_them(weight, transposed, j, cols, k, depth, length, strip, packed)

    return implementation
