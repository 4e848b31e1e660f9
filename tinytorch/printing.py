"""How a Tensor prints: values as PyTorch shows them, then whatever differs from the defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import dtypes

if TYPE_CHECKING:
    from .tensor import Tensor

PREFIX = "tensor("
DECIMALS = 4
LINE = 80  # characters
THRESHOLD = 1000  # with more elements, the middle of long dimensions is left out,
EDGE = 3  # and this many stay at either end


def tensor_repr(tensor: Tensor) -> str:
    """tensor([...], dtype, grad_fn): what repr(tensor) shows."""
    array = tensor.array
    shown = array.astype(np.float64) if tensor.is_floating_point() else array
    shorten = array.size > THRESHOLD
    text = _text(shown, *_formatter(_corners(shown)), len(PREFIX), shorten) if array.size else "[]"
    notes = [f"size={tuple(array.shape)}"] if array.size == 0 and array.ndim > 1 else []
    implied = (dtypes.int64, dtypes.bool) if array.size else ()
    if array.dtype not in (dtypes.get_default_dtype(), *implied):
        notes.append(f"dtype=torch.{array.dtype}")
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn={tensor.grad_fn!r}")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    text = PREFIX + text
    for note in notes:
        last_line = len(text) - text.rfind("\n") - 1
        # room for a comma, a space, and the bracket or comma after it
        text += (", " if last_line + len(note) + 3 < LINE else ",\n" + " " * len(PREFIX)) + note
    return text + ")"


def _formatter(values: np.ndarray[Any, Any]) -> tuple[Callable[[Any], str], int]:
    """One format for all values, and its width: that of the widest number, not counting zeros, infinities and NaN.

    Four decimals; none if all are integers; powers of ten if the magnitudes differ too much.
    """
    if values.dtype.kind != "f":
        texts = [str(value) for value in values.reshape(-1).tolist()]
        width = max(map(len, texts)) if values.ndim else 0
        return lambda value: str(value).rjust(width), width
    counted = values[np.isfinite(values) & (values != 0)]
    sizes = np.abs(counted)
    whole = bool((values == np.ceil(values))[np.isfinite(values)].all())
    low, high = (sizes.min(), sizes.max()) if counted.size else (1.0, 1.0)
    powers = high > 1000 * low or high > 1e8 or (not whole and low < 1e-4)
    form, point = (f".{DECIMALS}e", "") if powers else (".0f", ".") if whole else (f".{DECIMALS}f", "")
    width = max((len(format(value, form) + point) for value in counted.tolist()), default=1) if values.ndim else 0

    def one(value: float) -> str:
        return (format(value, form) + (point if np.isfinite(value) else "")).rjust(width)

    return one, width


def _text(array: np.ndarray[Any, Any], one: Callable[[Any], str], width: int, indent: int, shorten: bool) -> str:
    """Nested brackets, with lines filled with elements; each row of a matrix begins a new line."""
    if array.ndim == 0:
        return one(array.item())
    cut = shorten and len(array) > 2 * EDGE
    parts = (array[:EDGE], array[-EDGE:]) if cut else (array,)
    indent += 1
    if array.ndim > 1:
        pieces = [[_text(row, one, width, indent, shorten) for row in part] for part in parts]
        rows = [*pieces[0], "...", *pieces[1]] if cut else pieces[0]
        return "[" + ("," + "\n" * (array.ndim - 1) + " " * indent).join(rows) + "]"
    numbers = [[one(value) for value in part.tolist()] for part in parts]
    words = [*numbers[0], " ...", *numbers[1]] if cut else numbers[0]
    a_line = max(1, (LINE - indent + 1) // (width + 2))
    lines = [", ".join(words[i : i + a_line]) for i in range(0, len(words), a_line)]
    return "[" + (",\n" + " " * indent).join(lines) + "]"


def _corners(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements to show: all of them, or those at the ends of each dimension."""
    if array.size > THRESHOLD:
        for axis, size in enumerate(array.shape):
            if size > 2 * EDGE:
                array = np.take(array, [*range(EDGE), *range(size - EDGE, size)], axis=axis)
    return array
