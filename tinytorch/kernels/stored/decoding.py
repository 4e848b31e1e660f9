"""Decoding of stored weights in vector registers, written as LLVM IR.

A weight is a tuple (codes, codes_row, scale_codes, scales, offset, groups, shift); the type of the
pointer `codes` says how its numbers are stored:

    uint16   bfloat16: the upper half of a float32
    int16    float16
    int8     code * scale, a scale for each group of 2^shift columns of a row
    uint8    NF4: two 4-bit indices a byte into NF4_VALUES, times the scale of a block of SEGMENT columns

    int8     scale = scales[g]                                      g = row * groups + (column >> shift)
    uint8    scale = offset + scales[g >> 8] * scale_codes[g]       in float64, rounded to float32

Byte i of the 32 bytes of a block of NF4 holds the index of number i in its low half, and that of number
32 + i in its high half, so that a load of bytes gives two vectors of neighbours. Rows are whole blocks.

Columns are decoded SEGMENT at a time. Numbers are float32 or float64, whatever the other operand is.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types as numba_types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from tinytorch.kernels.simd import FEATURES, VECTOR_BYTES, _add_up, _broadcast, _literal, _multiply_add, _store

types: Any = numba_types  # Numba's annotations leave some types out

SEGMENT = 64

# Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs" (arXiv:2305.14314), appendix E.
NF4_VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip

_WORD, _FLOAT, _DOUBLE = ir.IntType(32), ir.FloatType(), ir.DoubleType()
_AVX2 = "avx2" in FEATURES


class _Decoder:
    """The instructions that decode a weight to vectors of `element`, a float32 or float64."""

    def __init__(self, context, builder, weight_type, weight, element) -> None:
        self.builder = builder
        self.kind = weight_type.types[0].dtype
        self.scaled = self.kind.bitwidth == 8
        self.intp = context.get_value_type(types.intp)
        self.element = context.get_value_type(element)
        self.lanes = VECTOR_BYTES // (element.bitwidth // 8)
        fields = [builder.extract_value(weight, i) for i in range(len(weight_type.types))]
        self.codes, self.codes_row, self.scale_codes, self.scales, self.offset, self.groups, self.shift = fields

    def segment(self, row, number) -> list[Any]:
        """The 64 columns of a row from 64 * number on, in vectors, without their scale."""
        width = SEGMENT // 2 if self.kind is types.uint8 else SEGMENT
        start = self._code(row, self.builder.mul(number, self.intp(width)))
        places = [self.builder.gep(start, [self.intp(i)]) for i in range(0, width, self.lanes)]
        vectors = [self._load(place, self.lanes) for place in places]
        if self.kind is not types.uint8:
            return [self._convert(vector) for vector in vectors]
        wide = [self.builder.zext(vector, ir.VectorType(_WORD, self.lanes)) for vector in vectors]
        four = ir.Constant(ir.VectorType(_WORD, self.lanes), [4] * self.lanes)
        indices = [*wide, *[self.builder.lshr(vector, four) for vector in wide]]
        return [self._widened(self._look_up(vector)) for vector in indices]

    def prefetch(self, row, number) -> None:
        """Begin to fetch a segment of a row. Processors read ahead within a page, but rows are short: without this,
        products of one row with 2048 columns of NF4 took twice as long. Past the end of the weight it does no harm.
        """
        builder, byte = self.builder, ir.IntType(8).as_pointer()
        width = SEGMENT // 2 if self.kind is types.uint8 else SEGMENT
        start = builder.bitcast(self._code(row, builder.mul(number, self.intp(width))), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, _WORD, _WORD, _WORD])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        for offset in range(0, width * self.kind.bitwidth // 8, 64):
            # For reading (0), to be kept in all caches (3), as data (1).
            builder.call(function, [builder.gep(start, [self.intp(offset)]), _WORD(0), _WORD(3), _WORD(1)])

    def one(self, row, column) -> Any:
        """One element of the weight, in a vector of one, with its scale."""
        builder, intp = self.builder, self.intp
        if self.kind is types.uint8:
            segment = builder.lshr(column, intp(6))
            place = builder.or_(builder.shl(segment, intp(5)), builder.and_(column, intp(31)))
            half = builder.lshr(builder.and_(column, intp(32)), intp(3))
            byte = builder.zext(self._load(self._code(row, place), 1), ir.VectorType(_WORD, 1))
            half = _broadcast(builder, builder.trunc(half, _WORD), ir.VectorType(_WORD, 1))
            vector = self._widened(self._look_up(builder.lshr(byte, half)))
        else:
            segment = builder.sdiv(column, intp(SEGMENT))
            vector = self._convert(self._load(self._code(row, column), 1))
        return builder.fmul(vector, self.scale(row, segment, 1)) if self.scaled else vector

    def scale(self, row, segment, lanes: int) -> Any:
        """The scale of a segment of a row, in all lanes."""
        builder, intp = self.builder, self.intp
        column = builder.mul(segment, intp(SEGMENT))
        group = builder.add(builder.mul(row, self.groups), builder.ashr(column, self.shift))
        if self.kind is types.uint8:
            of_group = builder.load(builder.gep(self.scales, [builder.lshr(group, intp(8))]))
            code = builder.sitofp(builder.load(builder.gep(self.scale_codes, [group])), _DOUBLE)
            # In float64 the product is exact, so the result is the same whether it is fused with the sum or not.
            product = builder.fmul(builder.fpext(of_group, _DOUBLE), code)
            number = builder.fptrunc(builder.fadd(builder.fpext(self.offset, _DOUBLE), product), _FLOAT)
        else:
            number = builder.load(builder.gep(self.scales, [group]))
        if self.element != _FLOAT:
            number = builder.fpext(number, self.element)
        return _broadcast(builder, number, ir.VectorType(self.element, lanes))

    def _code(self, row, place) -> Any:
        return self.builder.gep(self.codes, [self.builder.add(self.builder.mul(row, self.codes_row), place)])

    def _load(self, start, count: int) -> Any:
        vector = ir.VectorType(start.type.pointee, count)
        loaded = self.builder.load(self.builder.bitcast(start, vector.as_pointer()))
        loaded.align = start.type.pointee.width // 8
        return loaded

    def _widened(self, vector) -> Any:
        if self.element == _FLOAT:
            return vector
        return self.builder.fpext(vector, ir.VectorType(self.element, vector.type.count))

    def _convert(self, vector) -> Any:
        """Convert codes of bfloat16, float16 or int8 to numbers."""
        builder, count = self.builder, vector.type.count
        if self.kind is types.int8:
            return builder.sitofp(builder.sext(vector, ir.VectorType(_WORD, count)), ir.VectorType(self.element, count))
        words, floats = ir.VectorType(_WORD, count), ir.VectorType(_FLOAT, count)

        def constant(number: int) -> Any:
            return ir.Constant(words, [number] * count)

        wide = builder.zext(vector, words)
        if self.kind is types.uint16:
            return self._widened(builder.bitcast(builder.shl(wide, constant(16)), floats))
        # float16, without the instruction for it, which not every processor has. Read as a float32's, the exponent is
        # 112 too small, which a product corrects, even for subnormal numbers; in infinities and NaN all its bits are 1.
        sign = builder.shl(builder.and_(wide, constant(0x8000)), constant(16))
        magnitude = builder.shl(builder.and_(wide, constant(0x7FFF)), constant(13))
        scaled = builder.fmul(builder.bitcast(magnitude, floats), ir.Constant(floats, [2.0**112] * count))
        special = builder.icmp_unsigned(">=", magnitude, constant(0x7C00 << 13))
        finite = builder.bitcast(scaled, words)
        bits = builder.select(special, builder.or_(finite, constant(0x7F800000)), finite)
        return self._widened(builder.bitcast(builder.or_(bits, sign), floats))

    def _look_up(self, indices) -> Any:
        """NF4_VALUES[the lower four bits of each index], as float32."""
        builder, count = self.builder, indices.type.count
        floats = ir.VectorType(_FLOAT, count)
        if count == 16:  # AVX-512: one instruction, which ignores the upper bits
            return self._permute("llvm.x86.avx512.permvar.sf.512", NF4_VALUES, indices)
        eight = ir.Constant(indices.type, [8] * count)
        if count == 8 and _AVX2:  # this one reads three bits: look up both halves, then choose
            low, high = (
                self._permute("llvm.x86.avx2.permps", values, indices) for values in (NF4_VALUES[:8], NF4_VALUES[8:])
            )
            upper = builder.icmp_unsigned("!=", builder.and_(indices, eight), ir.Constant(indices.type, None))
            return builder.select(upper, high, low)
        table = cgutils.global_constant(
            builder.module, "nf4", ir.Constant(ir.ArrayType(_FLOAT, 16), [_FLOAT(v) for v in NF4_VALUES])
        )
        result = ir.Constant(floats, ir.Undefined)
        for lane in range(count):
            index = builder.and_(builder.extract_element(indices, _WORD(lane)), _WORD(15))
            value = builder.load(builder.gep(table, [_WORD(0), index], inbounds=True))
            result = builder.insert_element(result, value, _WORD(lane))
        return result

    def _permute(self, name: str, values: tuple[float, ...], indices) -> Any:
        floats = ir.VectorType(_FLOAT, indices.type.count)
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(floats, [floats, indices.type]), name
        )
        return self.builder.call(function, [ir.Constant(floats, list(values)), indices])


def _pointee(start) -> Any:
    if not isinstance(start, types.CPointer):
        raise TypingError(f"expected a typed pointer, got {start}")
    return start.dtype


@intrinsic
def decode_segment(typing_context, weight, row, number, target) -> Any:
    """target[i] = weight[row, 64 * number + i] for i < 64."""
    element = _pointee(target)

    def codegen(context, builder, signature, values) -> Any:
        weight_value, row, number, target = values
        decoder = _Decoder(context, builder, weight, weight_value, element)
        vectors = decoder.segment(row, number)
        if decoder.scaled:
            scale = decoder.scale(row, number, decoder.lanes)
            vectors = [builder.fmul(vector, scale) for vector in vectors]
        for i, vector in enumerate(vectors):
            _store(builder, vector, builder.gep(target, [decoder.intp(i * decoder.lanes)]))
        return context.get_dummy_value()

    return types.void(weight, types.intp, types.intp, target), codegen


@intrinsic
def decode_one(typing_context, weight, row, column, like) -> Any:
    """weight[row, column], of the type that the pointer `like` points to."""
    element = _pointee(like)

    def codegen(context, builder, signature, values) -> Any:
        decoder = _Decoder(context, builder, weight, values[0], element)
        return builder.extract_element(decoder.one(values[1], values[2]), _WORD(0))

    return element(weight, types.intp, types.intp, like), codegen


@intrinsic(prefer_literal=True)
def decoded_dots(
    typing_context, rows, columns, segments, x, x_row, weight, first, out
) -> Any:
    """out[i * columns + j] = sum over k < 64 * segments of x[i, k] * weight[first + j, k].

    i < rows, j < columns (both constants), k adjacent in x. Each result is one vector of partial sums,
    added up by halves at the end; the scale of a segment multiplies that segment's sum.
    """
    row_count, column_count, element = _literal(rows), _literal(columns), _pointee(x)

    def codegen(context, builder, signature, values) -> Any:
        _, _, segments, x, x_row, weight_value, first, out = values
        decoder = _Decoder(context, builder, weight, weight_value, element)
        intp, lanes = decoder.intp, decoder.lanes
        zero = ir.Constant(ir.VectorType(decoder.element, lanes), None)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(column_count)] for _ in range(row_count)]
        for slot in (slot for row in sums for slot in row):
            builder.store(zero, slot)
        with cgutils.for_range(builder, segments) as loop:
            start = builder.mul(loop.index, intp(SEGMENT))
            for j in range(column_count):
                row_of_weight = builder.add(first, intp(j))
                decoded = decoder.segment(row_of_weight, loop.index)
                decoder.prefetch(builder.add(row_of_weight, intp(2 * column_count)), loop.index)
                scale = decoder.scale(row_of_weight, loop.index, lanes) if decoder.scaled else None
                for i in range(row_count):
                    slot = sums[i][j]
                    x_start = builder.gep(x, [builder.add(start, builder.mul(x_row, intp(i)))])
                    total = zero if scale else builder.load(slot)
                    for v, vector in enumerate(decoded):
                        place = builder.bitcast(builder.gep(x_start, [intp(v * lanes)]), zero.type.as_pointer())
                        x_now = builder.load(place)
                        x_now.align = 4
                        total = _multiply_add(builder, x_now, vector, total)
                    if scale:
                        total = _multiply_add(builder, total, scale, builder.load(slot))
                    builder.store(total, slot)
        for i, row in enumerate(sums):
            for j, slot in enumerate(row):
                (total,) = _add_up(builder, [builder.load(slot)], lanes)
                _store(builder, total, builder.gep(out, [intp(i * column_count + j)]))
        return context.get_dummy_value()

    integer = types.intp
    return types.void(rows, columns, integer, x, integer, weight, integer, out), codegen
