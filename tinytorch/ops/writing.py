"""Writes into Tensors, and the history that a recorded write gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..engine.function import Function
from ..engine.mode import mode
from ..engine.tensor import wrap
from ..engine.views import UNRECORDED, Chain, replayed, steps_of
from .common import Array

if TYPE_CHECKING:
    from ..tensor import Tensor

_LEAF = (
    "{} that requires grad is being used in an in-place operation: do it under no_grad(), or use the out-of-place "
    "operation"
)


class Write(Function):
    """The elements of the second array, in place of those of the first"""

    examples = ((lambda t, x: x.detach().clone().mul_(2), (3, 4)),)
    errors = ((lambda t, x: x.clone().copy_(t.zeros(5)), (3, 4), RuntimeError, "5"),)

    @staticmethod
    def forward(ctx: Write, target: Array, value: Array) -> Any:
        np.copyto(target, value, casting="same_kind")
        return target


class Overwrite(Function):
    """y = base, with value in the part of it that a chain of view operations is; all of it without a chain"""

    examples = (
        (lambda t, x, v: _written(x, lambda y: y.view(-1)[::2].mul_(v)), (3, 4), ()),
        (lambda t, x, v: _written(x, lambda y: y.copy_(v)), (3, 4), (4,)),
    )
    long_examples = ((lambda t, x, v: _written(x, lambda y: y.view(-1)[::2].copy_(v)), (10_000,), ()),)
    errors = (
        (lambda t, x: x[0].mul_(2), (3, 4), RuntimeError, "leaf"),
        (lambda t, x: (x * 1).unbind(0)[0].mul_(2), (3, 4), RuntimeError, "multiple views"),
        (lambda t, x: (x * 1).expand(2, 3, 4).mul_(2), (3, 4), RuntimeError, "clone()"),
    )
    backward_shares: ClassVar[bool] = True
    chain: Chain | None = None
    order: tuple[int, ...] | None = None  # of the base's dimensions in memory: in another, a chain may copy

    @staticmethod
    def forward(ctx: Overwrite, base: Array, value: Array, chain: Chain | None, order: tuple[int, ...] | None) -> Any:
        ctx.chain, ctx.order = chain, order
        y = base.copy() if order is None else base.transpose(order).copy().transpose(np.argsort(order))
        _part_of(chain, y)[...] = value
        return y

    # y_i = value_i within the part, base_i outside of it: dL/dvalue is g's part, dL/dbase is g with zeros there
    @staticmethod
    def backward(ctx: Overwrite, g: Tensor) -> Any:
        need_base, need_value = ctx.needs_input_grad
        dbase = None
        if need_base:
            dbase = Overwrite.apply(g, wrap(np.zeros((), g.array.dtype)), chain=ctx.chain, order=ctx.order)
        return dbase, replayed(ctx.chain, g) if need_value else None

    def name(self) -> str:  # type: ignore[override]
        """PyTorch's name."""
        return "CopyBackwards" if self.chain is None else "CopySlices"


def _part_of(chain: Chain | None, array: Array) -> Any:
    """The part of an array that a chain of views selects."""
    for operation, settings, number in steps_of(chain):
        result = operation.forward(operation(), array, **settings)
        array = result if number is None else result[number]
    return array


def _written(x: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of x with a change made to it, for the examples."""
    y = x.clone()
    change(y)
    return y


def _set_aside(node: Any, tensor: Tensor) -> None:
    """Replace what a node saved of a tensor by a copy, since an in-place operation is about to write there."""
    node._saved = [
        (record[0].copy(), record[1], None, 0) if record[0] is tensor.array else record for record in node._saved
    ]


def write(tensor: Tensor, value: Tensor, recording: bool, whole: bool = False) -> None:
    """Write a value into a Tensor's memory; recorded, it gives the Tensor, or the base of a view, a new history.

    `whole` says that the value is independent. Otherwise it was computed from the old content, and its history becomes
    the Tensor's.
    """
    node = value.grad_fn
    if node is not None and not whole:
        _set_aside(node, tensor)
    with_grad, mode.grad = mode.grad, False
    try:
        mode.run.apply(Write, (tensor, value), {})
    finally:
        mode.grad = with_grad
    if recording:
        take_history(tensor, value, whole)
    tensor._counter[0] += 1


def take_history(tensor: Tensor, value: Tensor, whole: bool = False) -> None:
    """Give a Tensor, or the base of a view, the history of a value that its memory has now."""
    node, number = value.grad_fn, value.output_nr
    base = tensor if tensor._base is None else tensor._base
    if whole or base is not tensor:
        node, number = Overwrite(), 0
        node.chain, node.order = tensor._chain, order_of(base.array)
        node.needs_input_grad = [base._requires_grad, value._requires_grad]
        node.link((base, value), (base.array, value.array), (wrap(base.array),), {})
    base.set_history(node, number)


def check_write(tensor: Tensor, recording: bool) -> None:
    """RuntimeError if gradients are recorded and an in-place operation must not write here."""
    base = tensor._base
    if tensor._requires_grad and tensor.grad_fn is None:
        raise RuntimeError(_LEAF.format("a leaf Tensor"))
    if base is None or not (recording or base._requires_grad):
        return
    if (base._requires_grad or tensor._requires_grad) and base._grad_fn is None:
        raise RuntimeError(_LEAF.format("a view of a leaf Tensor"))
    if tensor._refused is UNRECORDED:
        raise RuntimeError(
            "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Move both into "
            "the no_grad block, so that the change is not recorded, or both out of it"
        )
    if tensor._refused is not None:
        raise RuntimeError(
            f"a view of shape {tensor.array.shape} is being modified inplace. It {tensor._refused}: such views cannot "
            "be modified in place, use the out-of-place operation, or clone() it first"
        )


def same_part(a: Tensor, b: Tensor) -> bool:
    """Whether two views of one Tensor select the same part."""
    return a._base is b._base and a._base is not None and a._chain[0] is b._chain[0] and a._chain[1:] == b._chain[1:]


def aside(tensor: Tensor) -> Tensor:
    """The elements of a Tensor with their history, in new memory."""
    copied, node = wrap(tensor.array.copy()), tensor.grad_fn
    if node is not None:
        copied.set_history(node, tensor.output_nr)
    return copied


def order_of(array: Array) -> tuple[int, ...] | None:
    """The dimensions in their order in memory, outermost first; None for C order."""
    if array.flags.c_contiguous:
        return None
    return tuple(sorted(range(array.ndim), key=lambda dim: -abs(array.strides[dim])))
