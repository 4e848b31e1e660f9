"""Vector instructions for kernels, written as LLVM IR; widths and tile shapes come from the host.

Numba's own loops reach about a third of a core's peak in a matrix product: they keep no tile of
results in registers. The intrinsics here do; they work on typed pointers (`pointer`, `advance`) and
count strides in elements. LLVM lowers the vectors to AVX-512, AVX2, SSE or NEON, whatever is there.
"""

from __future__ import annotations

import platform
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config
from numba import types as numba_types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

types: Any = numba_types  # Numba's annotations leave some types out


def _features() -> set[str]:
    """What Numba compiles for: NUMBA_CPU_FEATURES ("+avx2,+fma"), where set, else what this processor has."""
    if config.CPU_FEATURES is not None:
        return {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    features = {name for name, there in llvm.get_host_cpu_features().items() if there}
    return features if config.ENABLE_AVX else {name for name in features if not name.startswith("avx")}


def _registers() -> tuple[int, int]:
    """Bytes in a vector register and the number of vector registers."""
    if {"avx512f", "avx512vl"} <= FEATURES:
        return 64, 32
    if {"avx2", "fma"} <= FEATURES:
        return 32, 16
    # By the architecture, as LLVM names no features of Apple's processors.
    return 16, 32 if platform.machine().lower() in ("arm64", "aarch64") else 16


FEATURES = _features()
VECTOR_BYTES, REGISTERS = _registers()

# A tile of results: ROWS x (2 vectors). With the two vectors of B and, where registers are few, one for the
# broadcast element of A, it fills the registers. Smaller tiles, in steps of ROW_STEP rows, waste little at edges.
ROWS = 12 if REGISTERS == 32 else 6
ROW_STEP = ROWS // 3
MOST_ROWS = 2 * ROW_STEP

# LLVM may fuse a * b + c. NaN and infinities are kept, and sums are done in the order written.
_FLAGS = ("contract",)


def _element(pointer_type) -> Any:
    if not isinstance(pointer_type, types.CPointer):
        raise TypingError(f"expected a typed pointer, got {pointer_type}")
    return pointer_type.dtype


def _literal(number) -> int:
    if not isinstance(number, types.IntegerLiteral):
        raise TypingError(f"expected a constant, got {number}")
    return int(number.literal_value)


def _lanes(element) -> int:
    return int(VECTOR_BYTES // (element.bitwidth // 8))


@intrinsic
def pointer(typing_context, array) -> Any:
    """A typed pointer to an array's first element."""

    def codegen(context, builder, signature, values) -> Any:
        return context.make_array(signature.args[0])(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def pointer_at(typing_context, address, like) -> Any:
    """A pointer of the type of `like` to an address, which is an integer."""
    _element(like)

    def codegen(context, builder, signature, values) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(like))

    return like(types.intp, like), codegen


@intrinsic
def pointer_like(typing_context, start, like) -> Any:
    """The same address as a pointer of the type of `like`."""
    _element(like)

    def codegen(context, builder, signature, values) -> Any:
        return builder.bitcast(values[0], context.get_value_type(like))

    return like(start, like), codegen


@intrinsic
def advance(typing_context, start, elements) -> Any:
    """start + elements, as in C."""
    _element(start)

    def codegen(context, builder, signature, values) -> Any:
        return builder.gep(values[0], [values[1]])

    return start(start, types.intp), codegen


@intrinsic
def value(typing_context, number) -> Any:
    """Make a constant an ordinary number, as a function is compiled once more for each constant that it is given."""

    def codegen(context, builder, signature, values) -> Any:
        return values[0]

    return types.intp(types.intp), codegen


@intrinsic
def lanes(typing_context, start) -> Any:
    """How many of the pointer's elements fit in a vector register: a constant to the compiler."""
    count = _lanes(_element(start))

    def codegen(context, builder, signature, values) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(start), codegen


def _load(builder, start, vector) -> Any:
    """A vector of consecutive elements at any address."""
    value = builder.load(builder.bitcast(start, vector.as_pointer()))
    value.align = 4
    return value


def _store(builder, value, start) -> None:
    builder.store(value, builder.bitcast(start, value.type.as_pointer())).align = 4


def _first_lanes(builder, count, lane_count: int) -> Any:
    """A mask of the lanes below `count`, which may be negative or larger than there are lanes."""
    kind = ir.VectorType(count.type, lane_count)
    numbers = ir.Constant(kind, list(range(lane_count)))
    return builder.icmp_signed("<", numbers, _broadcast(builder, count, kind))


def _masked_load(builder, start, mask, others) -> Any:
    """Load the lanes of the mask, and take the rest from `others`. Memory outside of the mask is not touched."""
    vector, word = others.type, ir.IntType(32)
    kind = ir.FunctionType(vector, [vector.as_pointer(), word, mask.type, vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.{_name(vector)}.p0")
    return builder.call(function, [builder.bitcast(start, vector.as_pointer()), word(4), mask, others])


def _masked_store(builder, value, start, mask) -> None:
    """Store the lanes of the mask. Memory outside of the mask is not touched."""
    vector, word = value.type, ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), word, mask.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.{_name(vector)}.p0")
    builder.call(function, [value, builder.bitcast(start, vector.as_pointer()), word(4), mask])


def _name(vector) -> str:
    """LLVM's name for a vector's type, such as v16f32."""
    element = vector.element
    name = f"i{element.width}" if isinstance(element, ir.IntType) else "f32" if element == ir.FloatType() else "f64"
    return f"v{vector.count}{name}"


def _broadcast(builder, scalar, vector) -> Any:
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), zeros)


def _multiply_add(builder, a, b, c) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)


def _count(number, lane_count: int) -> int:
    """The value of a constant, or the number of lanes if it is None."""
    return lane_count if isinstance(number, types.NoneType) else _literal(number)


@intrinsic
def copy(typing_context, source, target) -> Any:
    """target[i] = source[i] for i < lanes."""

    def codegen(context, builder, signature, values) -> Any:
        element = _element(source)
        vector = ir.VectorType(context.get_value_type(element), _lanes(element))
        _store(builder, _load(builder, values[0], vector), values[1])
        return context.get_dummy_value()

    return types.void(source, target), codegen


@intrinsic
def copy_some(typing_context, count, source, target) -> Any:
    """target[i] = source[i] for i < count, 0 for the other lanes; nothing is read past the count."""
    lane_count = _lanes(_element(source))

    def codegen(context, builder, signature, values) -> Any:
        vector = ir.VectorType(context.get_value_type(_element(source)), lane_count)
        mask = _first_lanes(builder, values[0], lane_count)
        _store(builder, _masked_load(builder, values[1], mask, ir.Constant(vector, None)), values[2])
        return context.get_dummy_value()

    return types.void(types.intp, source, target), codegen


@intrinsic(prefer_literal=True)
def transpose(typing_context, rows, source, source_row, target, target_row) -> Any:
    """target[k, i] = source[i, k] for k < lanes, i < rows. rows is a constant, or None for the number of lanes."""
    element = _element(source)
    lane_count = _lanes(element)
    row_count = _count(rows, lane_count)

    def codegen(context, builder, signature, values) -> Any:
        _, source, source_row, target, target_row = values
        intp, word = context.get_value_type(types.intp), ir.IntType(32)
        vector = ir.VectorType(context.get_value_type(element), lane_count)
        for first in range(0, row_count, lane_count):
            count = min(lane_count, row_count - first)
            block = [
                _load(builder, builder.gep(source, [builder.mul(source_row, intp(first + i))]), vector)
                for i in range(count)
            ]
            block += [ir.Constant(vector, ir.Undefined)] * (lane_count - count)
            _transpose_square(builder, block)
            keep = ir.Constant(ir.VectorType(word, count), list(range(count)))
            for k, value in enumerate(block):
                place = builder.gep(target, [builder.add(builder.mul(target_row, intp(k)), intp(first))])
                _store(builder, builder.shuffle_vector(value, value, keep), place)
        return context.get_dummy_value()

    return types.void(rows, source, types.intp, target, types.intp), codegen


def _transpose_square(builder, block: list[Any]) -> None:
    """Transpose n vectors of n lanes in place: rows i and i + size swap quadrants, for size = n/2, n/4, ... 1."""
    count = len(block)
    size = count // 2
    while size:
        low = [lane if not lane & size else count + lane - size for lane in range(count)]
        high = [lane + size if not lane & size else count + lane for lane in range(count)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), count), order) for order in (low, high)]
        for i in range(count):
            if not i & size:
                pair = block[i], block[i + size]
                block[i], block[i + size] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        size //= 2


@intrinsic(prefer_literal=True)
def dot_products(
    typing_context, rows, columns, blocks, a, a_row, b, b_col, c
) -> Any:
    """c[i * columns + j] = sum over k < blocks * lanes of a[i, k] * b[k, j], k adjacent in a and in b.

    i < rows, j < columns, both constants; columns is a power of two, or None for the number of lanes.
    Each result has one vector of partial sums, which is added up by halves at the end.
    """
    row_count, element = _literal(rows), _element(a)
    lane_count = _lanes(element)
    column_count = _count(columns, lane_count)

    def codegen(context, builder, signature, values) -> Any:
        _, _, blocks, a, a_row, b, b_col, c = values
        intp = context.get_value_type(types.intp)
        vector = ir.VectorType(context.get_value_type(element), lane_count)
        zero = ir.Constant(vector, None)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(column_count)] for _ in range(row_count)]
        for slot in (slot for row in sums for slot in row):
            builder.store(zero, slot)
        with cgutils.for_range(builder, blocks) as block:
            k = builder.mul(block.index, intp(lane_count))
            b_now = [
                _load(builder, builder.gep(b, [builder.add(k, builder.mul(b_col, intp(j)))]), vector)
                for j in range(column_count)
            ]
            for i, row in enumerate(sums):
                a_now = _load(builder, builder.gep(a, [builder.add(k, builder.mul(a_row, intp(i)))]), vector)
                for j, slot in enumerate(row):
                    builder.store(_multiply_add(builder, a_now, b_now[j], builder.load(slot)), slot)
        for i, row in enumerate(sums):
            place = i * column_count
            for totals in _add_up(builder, [builder.load(slot) for slot in row], lane_count):
                _store(builder, totals, builder.gep(c, [intp(place)]))
                place += totals.type.count
        return context.get_dummy_value()

    integer = types.intp
    return types.void(rows, columns, integer, a, integer, b, integer, c), codegen


def _add_up(builder, values: list[Any], lane_count: int) -> list[Any]:
    """Add up the elements of each of some vectors (a power of two of them). The sums are returned side by side, in one
    vector, or in several if there are more sums than lanes.

    The lower half of a vector is added to its upper half, until one number is left. Two vectors share
    an addition, which does not change what is added to what: a sum has the same bits whether its vector
    comes alone or with others.
    """
    parts, size = 1, lane_count  # each value holds `parts` partial results of `size` elements
    while size > 1:
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = [_add_halves(builder, pair, parts, size) for pair in pairs]
        parts, size = parts * len(pairs[0]), size // 2
    return values


def _add_halves(builder, pair: list[Any], parts: int, size: int) -> Any:
    """Add the lower half of each partial result to its upper half, for one value or two."""
    word = ir.IntType(32)
    lower = [part * size + i for part in range(parts * len(pair)) for i in range(size // 2)]
    kind = ir.VectorType(word, len(lower))
    halves = [
        builder.shuffle_vector(pair[0], pair[-1], ir.Constant(kind, [i + offset for i in lower]))
        for offset in (0, size // 2)
    ]
    return builder.fadd(*halves)
