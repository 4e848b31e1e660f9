"""The number of floating-point operations in an operation's forward, and in a fused backward.

As in PyTorch, a product counts two for each multiply-add, in whatever form its weight is stored, and a bias counts
nothing. Attention counts the work that is done: causal attention counts only the pairs of a query and a key that it
may see, half of them, and its backward counts all five products, including the recomputed scores. Any other operation
counts one for each element of its largest floating-point array, and nothing if it only moves elements or has no
floating-point result. The backward of an elementary operation consists of operations, which are counted as such.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .engine.function import Function
from .ops.common import Array

if TYPE_CHECKING:
    from .tensor import Tensor

Shape = tuple[int, ...]

_MOVES = {
    "Alias", "Cat", "Clone", "Create", "Embedding", "Flip", "Gather", "Index", "IndexAssign", "IndexSelect",
    "Overwrite", "Pad", "Repeated", "Roll", "Scatter", "Split", "To", "Tril", "Where", "Write",
}  # fmt: skip


def of_forward(
    operation: type[Function], inputs: Sequence[Any], outputs: Sequence[Any], settings: dict[str, Any]
) -> int:
    """The count for an operation on arrays or None, or on Tensors."""
    name = operation.__name__
    if name in ("Matmul", "Linear", "QuantizedProduct"):
        return 2 * _size(outputs[0]) * int(inputs[0].shape[-2 if settings.get("a_transposed") else -1])
    if name == "LowRankLinear":
        x, a, b = inputs[0], inputs[3], inputs[4]
        return 2 * _size(outputs[0]) * int(x.shape[-1]) + 2 * _rows(x) * (_size(a) + _size(b))
    if name == "Attention":
        q, k, v = inputs[:3]
        return 2 * _pairs(q, k, settings) * int(q.shape[-1] + v.shape[-1])
    if operation.view or name in _MOVES:
        return 0
    return _elementwise([*inputs, *outputs]) if any([_floating(output) for output in outputs]) else 0


def of_backward(node: Any, grads: Sequence[Any], results: Sequence[Any]) -> int:
    """The count for a fused operation's backward kernels, from the gradients that went in and came out."""
    name, g = type(node).__name__, grads[0]
    if name in ("Linear", "QuantizedProduct"):
        products = results[:2] if name == "Linear" else results[:1]
        return sum([2 * _size(g) * int(result.shape[-1]) for result in products if result is not None])
    if name == "LowRankLinear":
        dx, _, _, da, db = results
        (_, _, _, (a, *_), (b, *_)) = node._inputs
        rows, size_a, size_b = _rows(g), math.prod(a), math.prod(b)
        return (
            (2 * rows * size_b if dx is not None or da is not None else 0)  # the gradient of the low-rank product
            + (2 * _size(g) * a[1] + 2 * rows * size_a if dx is not None else 0)
            + (2 * rows * size_a if da is not None else 0)
            + (2 * rows * size_b if db is not None else 0)
        )
    if name == "Attention":
        q, k, v = results[:3]
        return 2 * _pairs(q, k, node.settings) * int(3 * q.shape[-1] + 2 * v.shape[-1])
    return _elementwise([*grads, *results])


def _size(x: Array | Tensor) -> int:
    return math.prod(x.shape)


def _rows(x: Array | Tensor) -> int:
    """The number of vectors along the last dimension."""
    return math.prod(x.shape[:-1])


def _pairs(q: Array | Tensor, k: Array | Tensor, settings: dict[str, Any]) -> int:
    """The number of pairs of queries (B, H, T, D) and keys (B, Hkv, S, D) they attend to, in all batches and heads."""
    batch, heads, length, _ = q.shape
    keys = k.shape[2]
    if not settings.get("causal"):
        return int(batch * heads * length * keys)
    short = min(length, keys)  # query i sees keys 0 to i
    return int(batch * heads * (short * (short + 1) // 2 + (length - short) * keys))


def _floating(x: Array | Tensor) -> bool:
    return x is not None and x.dtype.kind not in "biu"


def _elementwise(arrays: Sequence[Any]) -> int:
    return max([_size(x) for x in arrays if _floating(x)], default=0)
