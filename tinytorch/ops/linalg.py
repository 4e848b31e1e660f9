"""Products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import float32, float64, is_floating
from ..function import Function, FusedFunction
from ..kernels import gemm
from ..kernels.stored import stored_floats
from .common import is_tensor, promote, summed, whole
from .stored import TWO_BYTES, StoredLinear, as_rows, decoded_linear, decoded_linear_backward, may_stay_stored

if TYPE_CHECKING:
    from ..tensor import Tensor


def _product(a: Any, b: Any) -> Any:
    """Arrays (..., M, K) and (..., K, N): (..., M, N). float16 and bfloat16 add up in float32; integers go to NumPy."""
    if a.dtype == float32 or a.dtype == float64:
        return gemm.matmul(a, b)
    if is_floating(a.dtype):
        return gemm.matmul(a.astype(float32), b.astype(float32)).astype(a.dtype)
    if a.dtype.kind == "b":
        raise RuntimeError("matmul is not implemented for bool")
    return np.matmul(a, b)


class Matmul(Function):
    """y_mn = sum_k a_mk b_kn, broadcast over the dimensions in front"""

    arrays_too = True
    examples = (
        (lambda t, a, b: a @ b, (3, 4), (4, 5)),
        (lambda t, a, b: t.matmul(a, b), (2, 3, 4), (2, 4, 5)),
        (lambda t, a, b: a @ b, (6, 1, 3, 4), (5, 4, 2)),
        (lambda t, a, b: a @ b, (4,), (2, 4, 3)),
        (lambda t, a, b: a @ b, (2, 3, 4), (4,)),
        (lambda t, a, b: a @ b.mT, (2, 3, 4), (5, 4)),
        (lambda t, a, b: a @ b, (3, 0), (0, 2)),
    )
    errors = (
        (lambda t, a, b: a @ b, (3, 4), (3, 4), RuntimeError, "inner sizes must agree"),
        (lambda t, a, b: a @ b, (2, 3, 4), (3, 4, 5), RuntimeError, "(2, 3, 4)"),
        (lambda t, a, b: a @ b, (), (3,), RuntimeError, "at least 1D"),
        (lambda t, a, b: a @ b.half(), (3, 4), (4, 5), RuntimeError, "float16"),
        (lambda t, a, b: t.mm(a, b), (3, 4), (4,), RuntimeError, "2 dimensions, got shape (4,)"),
        (lambda t, a, b: t.bmm(a, b), (1, 3, 4), (2, 4, 5), RuntimeError, "batch sizes differ"),
        (lambda t, a, b: t.mv(a, b), (3, 4), (4, 1), RuntimeError, "1 dimensions, got shape (4, 1)"),
        (lambda t, a, b: t.dot(a, b), (3,), (4,), RuntimeError, "inner sizes must agree"),
    )

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        need_a, need_b = ctx.needs_input_grad
        ctx.save(a if need_b else None, b if need_a else None)
        return _product(a, b)

    # dL/da_mk = sum_n g_mn b_kn = (g b^T)_mk
    # dL/db_kn = sum_m a_mk g_mn = (a^T g)_kn
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        a, b = ctx.saved
        return None if b is None else Matmul.of(g, b.mT), None if a is None else Matmul.of(a.mT, g)


class Linear(FusedFunction):
    """y_no = sum_i x_ni w_oi + b_o"""

    examples = (
        (lambda t, x, w, b: t.nn.functional.linear(x, w, b), (2, 3, 4), (5, 4), (5,)),
        (lambda t, x, w: t.nn.functional.linear(x, w), (3, 4), (5, 4)),
    )
    errors = (
        (lambda t, x, w: t.nn.functional.linear(x, w), (3, 4), (4, 5), RuntimeError, "does not fit weight (4, 5)"),
        (lambda t, x, w: t.nn.functional.linear(x, w.half()), (3, 4), (5, 4), RuntimeError, "must have one dtype"),
        (
            lambda t, x, w, b: t.nn.functional.linear(x, w, b),
            (3, 4),
            (5, 4),
            (4,),
            RuntimeError,
            "bias (4,) does not fit",
        ),
    )

    @staticmethod
    def composite(x: Any, w: Any, b: Any) -> Any:
        y = x @ w.mT
        return y if b is None else y + b

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any) -> Any:
        # A frozen weight asks for no x, an input without gradient for no w.
        need_x, need_w, _ = ctx.needs_input_grad
        ctx.save(x if need_w else None, w if need_x else None)
        if w.dtype in TWO_BYTES:
            return decoded_linear(x, stored_floats(w), b)
        if x.dtype not in (float32, float64):
            y = _product(as_rows(x), w.T).reshape(*x.shape[:-1], w.shape[0])
            return y if b is None else y + b
        y = gemm.matmul(as_rows(x), w.T, bias=b)
        return y.reshape(*x.shape[:-1], w.shape[0])

    # dL/dx_ni = sum_o g_no w_oi; dL/dw_oi = sum_n g_no x_ni; dL/db_o = sum_n g_no
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w = ctx.saved
        rows = as_rows(g)
        if w is None:
            dx = None
        elif w.dtype in TWO_BYTES:
            dx = decoded_linear_backward(g, stored_floats(w))
        else:
            dx = gemm.matmul(rows, w).reshape(*g.shape[:-1], w.shape[1])
        dw = None if x is None else _product(rows.T, as_rows(x))
        db = summed(rows, (0,)) if ctx.needs_input_grad[2] else None
        return dx, dw, db


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product (..., M, K) @ (..., K, N); a vector is a row on the left, a column on the right.

    Raises RuntimeError where the inner sizes differ or an operand has no dimensions.
    """
    a, b = input, other
    if a.array.ndim == 0 or b.array.ndim == 0:
        raise RuntimeError("both arguments to matmul need to be at least 1D: use * for a number")
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(
            f"matmul: expected both to have the same dtype, but got {a.dtype} and {b.dtype}: convert one with .to()"
        )
    if a.array.shape[-1] != b.array.shape[-2 if b.array.ndim > 1 else 0]:
        raise RuntimeError(
            f"matmul: shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied: inner sizes must agree"
        )
    if a.array.ndim == 1 or b.array.ndim == 1:
        row, column = a.array.ndim == 1, b.array.ndim == 1
        y = matmul(a.unsqueeze(0) if row else a, b.unsqueeze(1) if column else b)
        y = y.squeeze(-1) if column else y
        return whole(y.squeeze(-1 if column else -2) if row else y)
    if b.array.ndim == 2 and a.array.ndim > 2:
        # One product of (rows, K) by (K, N), so that the gradient of b is one product too.
        return whole(Matmul.apply(as_rows(a), b).reshape(*a.array.shape[:-1], b.array.shape[-1]))
    return Matmul.apply(a, b)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input (..., in) times weight (out, in) transposed, plus bias (out,): (..., out).

    All have one dtype; but a bfloat16 or float16 weight that needs no gradient, with its bias, goes with an input in
    float32 or float64 as well: it is read as it is, never copied to the input's dtype. Raises RuntimeError where shapes
    or dtypes do not fit.
    """
    if input.array.ndim == 0 or weight.array.ndim != 2 or input.array.shape[-1] != weight.array.shape[1]:
        raise RuntimeError(
            f"linear: input {tuple(input.shape)} does not fit weight {tuple(weight.shape)}: expected (..., in) and "
            "(out, in)"
        )
    if bias is not None and bias.array.shape != weight.array.shape[:1]:
        raise RuntimeError(
            f"linear: bias {tuple(bias.shape)} does not fit weight {tuple(weight.shape)}: expected (out,)"
        )
    if weight.array.dtype != input.array.dtype or (bias is not None and bias.array.dtype != input.array.dtype):
        if may_stay_stored(input, weight, bias):
            return StoredLinear.apply(input, weight, None if bias is None else bias.to(input.dtype))
        found = ", ".join(str(x.dtype) for x in (input, weight, bias) if x is not None)
        raise RuntimeError(
            f"linear: input, weight and bias must have one dtype, got {found}: convert with .to(), or freeze a weight "
            "in two bytes with .requires_grad_(False)"
        )
    return Linear.apply(input, weight, bias)


def _of_dims(what: str, *pairs: tuple[Any, int]) -> None:
    for x, ndim in pairs:
        if x.ndim != ndim:
            raise RuntimeError(f"{what}: expected a tensor of {ndim} dimensions, got shape {tuple(x.shape)}")


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """(M, K) @ (K, N)"""
    _of_dims("mm", (input, 2), (mat2, 2))
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """(B, M, K) @ (B, K, N), without broadcasting"""
    _of_dims("bmm", (input, 3), (mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise RuntimeError(f"bmm: batch sizes differ: {tuple(input.shape)} and {tuple(mat2.shape)}")
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """(M, K) @ (K,)"""
    _of_dims("mv", (input, 2), (vec, 1))
    return matmul(input, vec)


def dot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of the products of two vectors."""
    _of_dims("dot", (input, 1), (other, 1))
    return matmul(input, other)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """y_mn = input_m vec2_n"""
    _of_dims("outer", (input, 1), (vec2, 1))
    return input.unsqueeze(1) * vec2


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products in Einstein's notation: einsum("bthd,bshd->bhts", q, k).

    A letter names a dimension in every operand; letters absent from the output are summed; "..."
    stands for the dimensions that broadcast. Without "->" the output has the letters that occur
    once, in alphabetical order. Operands are taken two at a time, from the left, as one batched
    matrix product each.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    for operand in operands:
        if not is_tensor(operand):
            raise TypeError(f"einsum: expected Tensors, got {type(operand).__name__}")
    terms, output, sizes = _parse(equation, operands)
    names, result = _without_repeats(terms[0], operands[0])
    for i, (term, operand) in enumerate(zip(terms[1:], operands[1:], strict=True), start=1):
        term, operand = _without_repeats(term, operand)
        needed = set(output).union(*terms[i + 1 :])
        names, result = _contract(names, result, term, operand, needed)
    kept = [n for n in names if n in output]
    gone = tuple(i for i, n in enumerate(names) if n not in output)
    if gone:
        result = result.sum(gone)
    result = result.permute([kept.index(n) for n in output if n in kept]) if kept else result
    expanded: Tensor = result.expand([sizes[n] for n in output]) if output else result
    return expanded if len(operands) == 1 else whole(expanded)


def _parse(equation: str, operands: Any) -> tuple[list[list[str]], list[str], dict[str, int]]:
    """The letters of each operand and of the output; the dimensions of "..." become letters of their own."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    written = inputs.split(",")
    if len(written) != len(operands):
        raise RuntimeError(f"einsum: {equation!r} names {len(written)} operands, but {len(operands)} were given")
    terms: list[list[str]] = []
    sizes: dict[str, int] = {}
    dots = 0
    for text, operand in zip(written, operands, strict=True):
        head, ellipsis, tail = text.partition("...")
        spare = operand.ndim - len(head) - len(tail)
        if spare < 0 or (spare and not ellipsis) or not (head + tail).isalpha() * bool(head + tail) + (not head + tail):
            raise RuntimeError(f"einsum: {text!r} does not fit an operand of shape {tuple(operand.shape)}")
        term = [*head, *[f"...{i}" for i in range(spare, 0, -1)], *tail]
        dots = max(dots, spare)
        for name, size in zip(term, operand.shape, strict=True):
            if size != 1 and sizes.get(name, 1) not in (1, size):
                raise RuntimeError(f"einsum: {name!r} has sizes {sizes[name]} and {size} in {equation!r}")
            sizes[name] = max(size, sizes.get(name, 1)) if size else 0
        terms.append(term)
    ellipsis_names = [f"...{i}" for i in range(dots, 0, -1)]
    if not arrow:
        letters = [n for term in terms for n in term if not n.startswith(".")]
        return terms, [*ellipsis_names, *sorted(n for n in set(letters) if letters.count(n) == 1)], sizes
    head, ellipsis, tail = out.partition("...")
    output = [*head, *(ellipsis_names if ellipsis else []), *tail]
    if len(set(output)) != len(output) or not set(output) <= set(sizes):
        raise RuntimeError(f"einsum: the output of {equation!r} must name dimensions of the operands, each once")
    return terms, output, sizes


def _without_repeats(names: list[str], x: Any) -> tuple[list[str], Any]:
    """A letter that stands twice in one operand takes the diagonal."""
    while len(set(names)) < len(names):
        name = next(n for n in names if names.count(n) > 1)
        first, second = [i for i, n in enumerate(names) if n == name][:2]
        x = x.permute([first, second, *[i for i in range(x.ndim) if i not in (first, second)]])
        steps = np.arange(x.shape[0])
        x = x[steps, steps]
        names = [name, *[n for i, n in enumerate(names) if i not in (first, second)]]
    return names, x


def _contract(a_names: list[str], a: Any, b_names: list[str], b: Any, needed: set[str]) -> tuple[list[str], Any]:
    """Two operands as one batched matrix product (batch, a's own, summed) @ (batch, summed, b's own)."""
    for names, x in ((a_names, a), (b_names, b)):
        other = b_names if names is a_names else a_names
        gone = tuple(i for i, n in enumerate(names) if n not in needed and n not in other)
        if gone:
            x = x.sum(gone)
            names[:] = [n for i, n in enumerate(names) if i not in gone]
        if names is a_names:
            a = x
        else:
            b = x
    shared = [n for n in a_names if n in b_names]
    size = {n: max(a.shape[a_names.index(n)], b.shape[b_names.index(n)]) for n in shared}
    a = a.expand([size.get(n, s) for n, s in zip(a_names, a.shape, strict=True)])
    b = b.expand([size.get(n, s) for n, s in zip(b_names, b.shape, strict=True)])
    batch = [n for n in shared if n in needed]
    summed = [n for n in shared if n not in needed]
    own_a = [n for n in a_names if n not in shared]
    own_b = [n for n in b_names if n not in shared]
    shape_a = dict(zip(a_names, a.shape, strict=True))
    shape_b = dict(zip(b_names, b.shape, strict=True))

    def count(names: list[str], shape: dict[str, int]) -> int:
        return int(np.prod([shape[n] for n in names], dtype=np.int64))

    front = [shape_a[n] for n in batch]
    a = a.permute([a_names.index(n) for n in batch + own_a + summed])
    b = b.permute([b_names.index(n) for n in batch + summed + own_b])
    a = a.reshape(*front, count(own_a, shape_a), count(summed, shape_a))
    b = b.reshape(*front, count(summed, shape_b), count(own_b, shape_b))
    if not summed:  # then it is an elementwise product; others do not take two dtypes
        a, b = promote(a, b)
    y = matmul(a, b).reshape(front + [shape_a[n] for n in own_a] + [shape_b[n] for n in own_b])
    return batch + own_a + own_b, y
