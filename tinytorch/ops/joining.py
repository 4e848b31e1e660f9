"""Operations that join tensors, and move or zero their elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..dtypes import promote_types
from ..engine.function import Function
from .common import Array, Dims, integers, keyword_aliases, normalize_dim, normalize_dims, sizes
from .shape import Split, unsqueeze

if TYPE_CHECKING:
    from ..tensor import Tensor


class Cat(Function):
    """Tensors one after another along a dimension"""

    backward_shares = True
    examples = (
        (lambda t, a, b: t.cat([a, b], axis=1), (3, 2), (3, 4)),
        (lambda t, a, b: t.stack((a, b, a), dim=-1), (3, 4), (3, 4)),
    )
    errors = (
        (lambda t, a, b: t.cat([a, b]), (3, 4), (3, 5), RuntimeError, "(3, 4)"),
        (lambda t, a, b: t.cat([a, b]), (3, 4), (3,), RuntimeError, "(3, 4)"),
        (lambda t, a: t.cat([a, a], 2), (3, 4), IndexError, "Dimension out of range"),
        (lambda t, a: t.cat([a, 3]), (3,), TypeError, "cat: expected Tensors, got int"),
        (lambda t, a: t.cat([a.sum(), a.sum()]), (3,), RuntimeError, "zero-dimensional tensors cannot be concatenated"),
        (lambda t: t.cat([]), ValueError, "expected a non-empty list of Tensors"),
        (lambda t: t.stack([]), RuntimeError, "expected a non-empty list of Tensors"),
        (lambda t, a, b: t.stack([a, b]), (3, 4), (3, 5), RuntimeError, "expects each tensor to be equal size"),
    )
    dim: int
    sizes: list[int]

    @staticmethod
    def forward(ctx: Cat, *xs: Array, dim: int) -> Any:
        ctx.dim, ctx.sizes = dim, [x.shape[dim] for x in xs]
        return np.concatenate(xs, axis=dim)

    # each input gets its own stretch of g
    @staticmethod
    def backward(ctx: Cat, g: Tensor) -> Any:
        return Split.apply(g, sizes=ctx.sizes, dim=ctx.dim)


def cat(tensors: Sequence[Tensor], dim: int = 0, **aliases: Dims) -> Tensor:
    """Concatenate tensors along a dimension; their other sizes must agree."""
    dim, _ = keyword_aliases(dim, False, aliases)
    tensors = _same_dtype(tensors, "cat")
    if any(x.ndim == 0 for x in tensors):
        raise RuntimeError("zero-dimensional tensors cannot be concatenated: use stack")
    if len({x.ndim for x in tensors}) > 1:  # PyTorch passes over empty vectors
        tensors = [x for x in tensors if tuple(x.shape) != (0,)] or tensors
    return Cat.apply(*tensors, dim=normalize_dim(dim, tensors[0].ndim))


def stack(tensors: Sequence[Tensor], dim: int = 0, **aliases: Dims) -> Tensor:
    """Stack tensors of equal shape along a new dimension."""
    dim, _ = keyword_aliases(dim, False, aliases)
    tensors = _same_dtype(tensors, "stack")
    shapes = {tuple(x.shape) for x in tensors}
    if len(shapes) > 1:
        raise RuntimeError(f"stack expects each tensor to be equal size, but got {sorted(shapes)}")
    dim = normalize_dim(dim, tensors[0].ndim + 1)
    return Cat.apply(*[unsqueeze(x, dim) for x in tensors], dim=dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along dimension 1; vectors and 0-d tensors one after another."""
    tensors = [x if x.ndim else x.reshape(1) for x in _same_dtype(tensors, "hstack")]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along dimension 0; vectors and 0-d tensors as rows."""
    return cat([x if x.ndim > 1 else x.reshape(1, -1) for x in _same_dtype(tensors, "vstack")])


def _same_dtype(tensors: Sequence[Tensor], what: str) -> list[Tensor]:
    tensors = list(tensors)
    if not tensors:
        error = ValueError if what == "cat" else RuntimeError  # PyTorch's choice
        raise error(f"{what}: expected a non-empty list of Tensors")
    for x in tensors:
        if not hasattr(x, "array"):
            raise TypeError(f"{what}: expected Tensors, got {type(x).__name__}")
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = promote_types(dtype, x.dtype)
    return [x if x.dtype == dtype else x.to(dtype) for x in tensors]


class Unbind(Function):
    """The slices of a dimension, without it, as views"""

    view = True
    examples = ((lambda t, x: x.unbind(), (3, 4)), (lambda t, x: t.unbind(x, 1), (3, 4)))
    errors = ((lambda t, x: x.unbind(1), (3,), IndexError, "Dimension out of range"),)
    dim: int

    @staticmethod
    def forward(ctx: Unbind, x: Array, dim: int) -> Any:
        ctx.dim = dim
        lead: tuple[Any, ...] = (slice(None),) * dim
        return tuple([x[(*lead, i, ...)] for i in range(x.shape[dim])])

    # the slices' gradients, put together again
    @staticmethod
    def backward(ctx: Unbind, *gs: Tensor) -> Any:
        return stack(gs, ctx.dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices of a dimension, without it."""
    if not input.ndim:
        raise IndexError("unbind: a tensor without dimensions has no slices")
    dim = normalize_dim(dim, input.ndim)
    return Unbind.apply(input, dim=dim) if input.array.shape[dim] else ()


class Tril(Function):
    """x on and below a diagonal, else 0; the diagonal is so many above the main one"""

    examples: ClassVar[Any] = ((lambda t, x: t.tril(x), (3, 4)), (lambda t, x: x.tril(-1), (2, 3, 3)))
    errors: ClassVar[Any] = ((lambda t, x: x.tril(), (3,), RuntimeError, "tril: expected a tensor of at least 2"),)
    part = staticmethod(np.tril)
    diagonal: int

    @staticmethod
    def forward(ctx: Tril, x: Array, diagonal: int) -> Any:
        ctx.diagonal = diagonal
        return ctx.part(x, diagonal)

    # what was kept is kept of the gradient
    @staticmethod
    def backward(ctx: Tril, g: Tensor) -> Any:
        return type(ctx).apply(g, diagonal=ctx.diagonal)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two dimensions, the rest 0; `diagonal` is the offset above the main one."""
    return _triangle(Tril, input, diagonal)


class Triu(Tril):
    """x on and above a diagonal, else 0"""

    examples = ((lambda t, x: t.triu(x, diagonal=1), (3, 4)),)
    errors = ((lambda t, x: x.triu(), (3,), RuntimeError, "triu: expected a tensor of at least 2"),)
    part = staticmethod(np.triu)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two dimensions, the rest 0; `diagonal` is the offset above the main one."""
    return _triangle(Triu, input, diagonal)


def _triangle(function: type[Function], input: Tensor, diagonal: int) -> Tensor:
    if input.ndim < 2:
        name = function.__name__.lower()
        raise RuntimeError(f"{name}: expected a tensor of at least 2 dimensions, got shape {tuple(input.shape)}")
    return function.apply(input, diagonal=diagonal)


class Flip(Function):
    """The order of some dimensions reversed"""

    examples = ((lambda t, x: x.flip(0, -1), (2, 3, 4)), (lambda t, x: t.flip(x, dims=(1,)), (3, 4)))
    errors = (
        (lambda t, x: x.flip(1), (3,), IndexError, "Dimension out of range"),
        (lambda t, x: x.flip(0, -1), (3,), RuntimeError, "names a dimension twice"),
        (lambda t, x: x.flip(), (3,), TypeError, "flip: expected dims"),
        (lambda t, x: t.flip(x, (0,), dims=(0,)), (3,), TypeError, "flip: expected dims"),
    )
    dims: tuple[int, ...]

    @staticmethod
    def forward(ctx: Flip, x: Array, dims: tuple[int, ...]) -> Any:
        ctx.dims = dims
        return np.flip(x, dims).copy()

    # reversed again
    @staticmethod
    def backward(ctx: Flip, g: Tensor) -> Any:
        return Flip.apply(g, dims=ctx.dims)


def flip(input: Tensor, *dims: int | Sequence[int], **named: Any) -> Tensor:
    """The order of elements reversed along dimensions: flip(x, (0, 1)), x.flip(0, 1) or flip(x, dims=(0, 1))."""
    if set(named) - {"dims"} or (named and dims) or not (named or dims):
        raise TypeError(f"flip: expected dims, got {dims or 'nothing'} and {named or 'nothing'} by name")
    chosen = sizes((named["dims"],) if named else dims)
    return Flip.apply(input, dims=normalize_dims(chosen, input.ndim))


class Roll(Function):
    """Elements shifted along dimensions; what falls off one end comes in at the other"""

    examples = ((lambda t, x: x.roll(2), (3, 4)), (lambda t, x: t.roll(x, (1, -2), (0, 1)), (3, 4)))
    errors = (
        (lambda t, x: x.roll(()), (3,), RuntimeError, "`shifts` required"),
        (lambda t, x: x.roll((1, 2)), (3, 4), RuntimeError, "must align"),
        (lambda t, x: x.roll((1, 2), 0), (3, 4), RuntimeError, "must align"),
        (lambda t, x: x.roll(1, 1), (3,), IndexError, "Dimension out of range"),
        (lambda t, x: x.roll(1.5), (3,), TypeError, "shifts must be integers, got 1.5"),
    )
    shifts: tuple[int, ...]
    dims: tuple[int, ...]

    @staticmethod
    def forward(ctx: Roll, x: Array, shifts: tuple[int, ...], dims: tuple[int, ...]) -> Any:
        ctx.shifts, ctx.dims = shifts, dims
        return np.roll(x, shifts, dims) if dims else np.roll(x, shifts)

    # shifted back
    @staticmethod
    def backward(ctx: Roll, g: Tensor) -> Any:
        return Roll.apply(g, shifts=tuple([-shift for shift in ctx.shifts]), dims=ctx.dims)


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Elements shifted along dimensions, wrapping around; without dims, by one shift in the flattened tensor."""
    shifts, dims = integers("shifts", shifts), integers("dims", () if dims is None else dims)
    if not shifts:
        raise RuntimeError("roll: `shifts` required, got none")
    if len(shifts) != (len(dims) or 1):
        raise RuntimeError(f"roll: shifts {shifts} and dims {dims} must align")
    return Roll.apply(input, shifts=shifts, dims=tuple([normalize_dim(d, input.ndim) for d in dims]))
