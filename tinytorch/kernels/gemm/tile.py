"""A tile of a matrix product: sums that stay in registers from the first k to the last.

    c[m, n] = sum over k of a[m, k] b[k, n]        m < ROWS, n < the lanes of two vectors; or fewer

For each k, one element of each row of a, repeated in all lanes, is multiplied by the vectors of row k of b and added
to the sums: as many multiply-adds as there are sums, for few loads. The tile is written as LLVM IR, as Numba's own
loops would keep the sums in memory.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types as numba_types
from numba.core import cgutils
from numba.extending import intrinsic

from tinytorch.kernels.gemm.pairs import _multiply_add_pairs
from tinytorch.kernels.simd import (
    _broadcast,
    _element,
    _first_lanes,
    _lanes,
    _literal,
    _load,
    _masked_load,
    _masked_store,
    _multiply_add,
    _store,
)

types: Any = numba_types  # Numba's annotations leave some types out


def _fetch_ahead(builder, place) -> None:
    """Ask for the cache line of an address, which need not be valid, to be read soon."""
    word = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, all_levels, data = word(0), word(3), word(1)
    builder.call(function, [builder.bitcast(place, cgutils.voidptr_t), read, all_levels, data])


def _store_tile(builder, results: list[list[Any]], target, addition, kept) -> None:
    """Store rows of vectors, with an addend if there is one; through masks where not all of the tile is kept."""
    (c, c_row), (addend, addend_row, add), (kept_rows, kept_columns) = target, addition, kept
    intp, vector = add.type, results[0][0].type
    zero = ir.Constant(vector, None)

    def place(start, row_step, i: int, v: int) -> Any:
        return builder.gep(start, [builder.add(builder.mul(row_step, intp(i)), intp(v * vector.count))])

    def store(masks: list[Any] | None, with_addend: bool, i: int, v: int) -> None:
        value = results[i][v]
        if with_addend:
            start = place(addend, addend_row, i, v)
            old = _masked_load(builder, start, masks[v], zero) if masks else _load(builder, start, vector)
            value = builder.fadd(value, old)
        if masks:
            _masked_store(builder, value, place(c, c_row, i, v), masks[v])
        else:
            _store(builder, value, place(c, c_row, i, v))

    columns = range(len(results[0]))
    adds = builder.icmp_signed("!=", add, intp(0))
    all_rows = builder.icmp_signed(">=", kept_rows, intp(len(results)))
    all_columns = builder.icmp_signed(">=", kept_columns, intp(len(columns) * vector.count))
    with builder.if_else(builder.and_(all_rows, all_columns)) as (whole, part):
        with whole, builder.if_else(adds) as (added, plain):
            for branch, with_addend in ((added, True), (plain, False)):
                with branch:
                    for i in range(len(results)):
                        for v in columns:
                            store(None, with_addend, i, v)
        with part:
            masks = [
                _first_lanes(builder, builder.sub(kept_columns, intp(v * vector.count)), vector.count) for v in columns
            ]
            # With an addend or without in separate loops, as a masked load waits for the stores to its neighbours, even
            # where it loads nothing.
            with builder.if_else(adds) as (added, plain):
                for branch, with_addend in ((added, True), (plain, False)):
                    with branch:
                        for i in range(len(results)):
                            with builder.if_then(builder.icmp_signed("<", intp(i), kept_rows)):
                                for v in columns:
                                    store(masks, with_addend, i, v)


@intrinsic(prefer_literal=True)
def tile_product(
    typing_context, rows, vectors, depth, a, a_row, a_col,
    b, b_row, c, c_row, addend, addend_row, add, kept_rows, kept_columns,
    a_copy, b_copy,
) -> Any:  # fmt: skip
    """c[i, j] = sum over k < depth of a[i, k] * b[k, j], plus addend[i, j] where `add` is not 0.

    i < rows, j < vectors * lanes, both constants. Only the first kept_rows and kept_columns are stored, and
    nothing else in c and addend is touched. The columns of b, c and addend are adjacent; the
    rows * vectors accumulators stay in registers throughout. An addend that is c itself accumulates;
    one whose rows are 0 apart is a bias. The sum over k is taken in order.

    a_copy and b_copy, where they are pointers and not None, receive what is read of a (whose a_row is then 1) and
    of b, packed as by `pack`, and what lies beside it is fetched for the next tile: there is time for loads and
    stores while the processor multiplies.

    a and b have the type of c; or, where c is float32, they may be words of two bfloat16 (uint32, see pairs). Word k
    then holds numbers 2 k and 2 k + 1 of the sum, and `depth` counts words.
    """
    row_count, vector_count = _literal(rows), _literal(vectors)
    element, operand_element = _element(c), _element(a)
    lane_count = _lanes(element)
    multiply_add = _multiply_add_pairs if operand_element == types.uint32 else _multiply_add

    def codegen(context, builder, signature, values) -> Any:
        _, _, depth, a, a_row, a_col, b, b_row, c, c_row, addend, addend_row, add, *kept, a_packed, b_packed = values
        intp = context.get_value_type(types.intp)
        vector = ir.VectorType(context.get_value_type(element), lane_count)
        operand = ir.VectorType(context.get_value_type(operand_element), lane_count)
        # Rows come in groups of three with one pointer each, as p, p + row and p + 2 * row are x86 addresses.
        a_firsts = [builder.gep(a, [builder.mul(a_row, intp(i))]) for i in range(0, row_count, 3)]
        entry = builder.block
        loop, end = builder.append_basic_block("tile.loop"), builder.append_basic_block("tile.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        walks = []

        def walk(first, step) -> Any:
            place = builder.phi(first.type)
            walks.append((place, first, step))
            return place

        k = builder.phi(intp)
        a_places = [walk(first, a_col) for first in a_firsts]
        b_place = walk(b, b_row)
        a_target = None if isinstance(a_copy, types.NoneType) else walk(a_packed, intp(row_count))
        b_target = None if isinstance(b_copy, types.NoneType) else walk(b_packed, intp(vector_count * lane_count))
        sums = [[builder.phi(vector) for _ in range(vector_count)] for _ in range(row_count)]

        b_now = [_load(builder, builder.gep(b_place, [intp(v * lane_count)]), operand) for v in range(vector_count)]
        if a_target is not None:
            _store(builder, _load(builder, a_places[0], ir.VectorType(operand.element, row_count)), a_target)
            _fetch_ahead(builder, builder.gep(a_places[0], [intp(2 * row_count - 1)]))
        if b_target is not None:
            for v, value in enumerate(b_now):
                _store(builder, value, builder.gep(b_target, [intp(v * lane_count)]))
                _fetch_ahead(builder, builder.gep(b_place, [intp((vector_count + v) * lane_count)]))
        results = []
        for i, row in enumerate(sums):
            a_place = builder.gep(a_places[i // 3], [builder.mul(a_row, intp(i % 3))])
            a_now = _broadcast(builder, builder.load(a_place), operand)
            results.append([multiply_add(builder, a_now, b_now[v], row[v]) for v in range(vector_count)])

        following = [(place, first, builder.gep(place, [step])) for place, first, step in walks]
        following.append((k, intp(0), builder.add(k, intp(1))))
        for row, result in zip(sums, results, strict=True):
            following += [(phi, ir.Constant(vector, None), value) for phi, value in zip(row, result, strict=True)]
        for phi, first, value in following:
            phi.add_incoming(first, entry)
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following[len(walks)][2], depth), loop, end)

        builder.position_at_end(end)
        _store_tile(builder, results, (c, c_row), (addend, addend_row, add), kept)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(
        rows, vectors, integer, a, integer, integer, b, integer, c, integer, addend, integer, integer, integer, integer,
        a_copy, b_copy,
    ), codegen
