"""Sums of products in Einstein's notation, by permutations and matrix products.

einsum("bthd,bshd->bhts", q, k) is y_bhts = sum_d q_bthd k_bshd: a letter names a dimension, and letters that
the output lacks are summed. From top to bottom: the equation becomes names and sizes, an operand with a letter twice
becomes its diagonal, two operands at a time become one, and what is left is summed and put in the order of the output.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.tensor import wrap
from .common import is_tensor, promote, whole
from .indexing import Index
from .linalg import matmul
from .subscripts import ARRAY

if TYPE_CHECKING:
    from ..tensor import Tensor

Names = list[str]  # of an operand's dimensions: letters, and "...1", "...2" for those that "..." stands for


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
    names, result = _diagonal(terms[0], operands[0])
    for i, operand in enumerate(operands[1:], start=1):
        needed = set(output).union(*terms[i + 1 :])
        names, result = _contract(names, result, *_diagonal(terms[i], operand), needed)
    names, result = _summed(names, result, output)
    if names:
        result = result.permute([names.index(n) for n in output if n in names])
    if output:
        result = result.expand([sizes[n] for n in output])
    return result if len(operands) == 1 else whole(result)


def _parse(equation: str, operands: Sequence[Tensor]) -> tuple[list[Names], Names, dict[str, int]]:
    """The names of each operand's dimensions and of the output's, and the size of each."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    written = left.split(",")
    if len(written) != len(operands):
        raise RuntimeError(f"einsum: {equation!r} names {len(written)} operands, but {len(operands)} were given")
    terms = [_names(text, operand) for text, operand in zip(written, operands, strict=True)]
    sizes: dict[str, int] = {}
    for names, operand in zip(terms, operands, strict=True):
        for name, size in zip(names, operand.array.shape, strict=True):
            known = sizes.setdefault(name, size)
            if known == 1:
                sizes[name] = size
            elif size not in (1, known):
                raise RuntimeError(f"einsum: {name!r} has sizes {known} and {size} in {equation!r}")
    unnamed = sorted([name for name in sizes if name.startswith(".")], reverse=True)
    if not arrow:
        letters = [name for names in terms for name in names if name not in unnamed]
        return terms, unnamed + sorted([name for name in set(letters) if letters.count(name) == 1]), sizes
    head, ellipsis, tail = right.partition("...")
    output = [*head, *(unnamed if ellipsis else []), *tail]
    if len(set(output)) < len(output) or not set(output) <= set(sizes):
        raise RuntimeError(f"einsum: the output of {equation!r} must name dimensions of the operands, each once")
    return terms, output, sizes


def _names(text: str, operand: Tensor) -> Names:
    """The names of an operand's dimensions; those that "..." stands for are numbered from the last."""
    head, ellipsis, tail = text.partition("...")
    letters = head + tail
    spare = operand.ndim - len(letters)
    fits = spare >= 0 if ellipsis else spare == 0
    if not fits or (letters and not letters.isalpha()):
        raise RuntimeError(f"einsum: {text!r} does not fit an operand of shape {tuple(operand.shape)}")
    return [*head, *[f"...{i:02}" for i in range(spare, 0, -1)], *tail]


def _diagonal(names: Names, x: Tensor) -> tuple[Names, Tensor]:
    """Take the diagonal for a letter that occurs twice in one operand."""
    while len(set(names)) < len(names):
        name = next(n for n in names if names.count(n) > 1)
        first, second = [i for i, n in enumerate(names) if n == name][:2]
        rest = [i for i in range(len(names)) if i not in (first, second)]
        x = x.permute([first, second, *rest])
        steps = wrap(np.arange(x.array.shape[0]))
        x = Index.apply(x, steps, steps, layout=(ARRAY, ARRAY))
        names = [name, *[names[i] for i in rest]]
    return names, x


def _summed(names: Names, x: Tensor, needed: Collection[str]) -> tuple[Names, Tensor]:
    """Sum over the dimensions that nothing else needs."""
    gone = tuple([i for i, n in enumerate(names) if n not in needed])
    return ([n for n in names if n in needed], x.sum(gone)) if gone else (names, x)


def _contract(a_names: Names, a: Tensor, b_names: Names, b: Tensor, needed: set[str]) -> tuple[Names, Tensor]:
    """Contract two operands as one batched matrix product: (batch, a's own, summed) @ (batch, summed, b's own)."""
    a_names, a = _summed(a_names, a, needed.union(b_names))
    b_names, b = _summed(b_names, b, needed.union(a_names))
    size = dict(zip(a_names, a.array.shape, strict=True))
    size |= {n: s for n, s in zip(b_names, b.array.shape, strict=True) if size.get(n, 1) == 1}
    batch = [n for n in a_names if n in b_names and n in needed]
    summed = [n for n in a_names if n in b_names and n not in needed]
    a_own = [n for n in a_names if n not in b_names]
    b_own = [n for n in b_names if n not in a_names]

    def arranged(names: Names, x: Tensor, rows: Names, columns: Names) -> Tensor:
        x = x.expand([size[n] for n in names]).permute([names.index(n) for n in batch + rows + columns])
        lengths = [math.prod([size[n] for n in group]) for group in (rows, columns)]
        return x.reshape([*[size[n] for n in batch], *lengths])

    a, b = arranged(a_names, a, a_own, summed), arranged(b_names, b, summed, b_own)
    if not summed:  # then it is an elementwise product; others do not take two dtypes
        a, b = promote(a, b)
    names = batch + a_own + b_own
    return names, matmul(a, b).reshape([size[n] for n in names])
