"""Pairs of bfloat16: a *word* of 32 bits holds two, which one instruction of AVX512_BF16 multiplies by another two.

    c += a.lower * b.lower + a.upper * b.upper        in each lane, c in float32

So a vector of words does twice the work of a vector of float32.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types as numba_types
from numba.core import cgutils
from numba.extending import intrinsic

from tinytorch.kernels.simd import FEATURES, VECTOR_BYTES, _lanes, _load, _store

types: Any = numba_types  # Numba's annotations leave some types out

# Whether this processor has the instruction.
PAIRS = VECTOR_BYTES == 64 and "avx512bf16" in FEATURES


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _multiply_add_pairs(builder, a, b, c) -> Any:
    """c, a vector of float32, plus both products of the words of a and b."""
    halves = ir.VectorType(_BFloat(), 2 * a.type.count)
    kind = ir.FunctionType(c.type, [c.type, halves, halves])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
    return builder.call(function, [c, builder.bitcast(a, halves), builder.bitcast(b, halves)])


def _rounded(builder, vector) -> Any:
    """The bits of float32 numbers rounded to bfloat16, with ties to even; NaN stays NaN."""
    count = vector.type.count
    rounded = builder.fptrunc(vector, ir.VectorType(_BFloat(), count))
    return builder.bitcast(rounded, ir.VectorType(ir.IntType(16), count))


@intrinsic
def round_along(typing_context, source, target) -> Any:
    """Words of neighbours: target[i] = bfloat16(source[2 i]), and above it bfloat16(source[2 i + 1]), i < lanes."""

    def codegen(context, builder, signature, values) -> Any:
        vector = ir.VectorType(ir.FloatType(), _lanes(types.float32))
        both = [
            _rounded(builder, _load(builder, builder.gep(values[0], [context.get_constant(types.intp, at)]), vector))
            for at in (0, vector.count)
        ]
        order = ir.Constant(ir.VectorType(ir.IntType(32), 2 * vector.count), list(range(2 * vector.count)))
        words = builder.bitcast(builder.shuffle_vector(*both, order), ir.VectorType(ir.IntType(32), vector.count))
        _store(builder, words, values[1])
        return context.get_dummy_value()

    return types.void(source, target), codegen


@intrinsic
def interleave(typing_context, first, second, target) -> Any:
    """Words across two rows of bfloat16: target[i] = first[i], and above it second[i], i < 2 * lanes of words."""

    def codegen(context, builder, signature, values) -> Any:
        lane_count = _lanes(types.uint32)
        halves, words = ir.VectorType(ir.IntType(16), 2 * lane_count), ir.VectorType(ir.IntType(32), lane_count)
        rows = [_load(builder, row, halves) for row in values[:2]]
        for start in (0, lane_count):
            order = [place for i in range(start, start + lane_count) for place in (i, 2 * lane_count + i)]
            mixed = builder.shuffle_vector(*rows, ir.Constant(ir.VectorType(ir.IntType(32), 2 * lane_count), order))
            place = builder.gep(values[2], [context.get_constant(types.intp, start)])
            _store(builder, builder.bitcast(mixed, words), place)
        return context.get_dummy_value()

    return types.void(first, second, target), codegen


@intrinsic
def round_across(typing_context, first, second, target) -> Any:
    """Words across two rows: target[i] = bfloat16(first[i]), and above it bfloat16(second[i]), i < lanes."""

    def codegen(context, builder, signature, values) -> Any:
        count = _lanes(types.float32)
        vector, words = ir.VectorType(ir.FloatType(), count), ir.VectorType(ir.IntType(32), count)
        low, high = (builder.zext(_rounded(builder, _load(builder, row, vector)), words) for row in values[:2])
        sixteen = ir.Constant(words, [16] * count)
        _store(builder, builder.or_(low, builder.shl(high, sixteen)), values[2])
        return context.get_dummy_value()

    return types.void(first, second, target), codegen
