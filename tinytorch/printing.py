"""How a Tensor prints: values as PyTorch shows them, then what is not the default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import dtypes

if TYPE_CHECKING:
    from .tensor import Tensor

_PRECISION = 4
_THRESHOLD = 1000  # elements above which the middle is left out


def _formatter(array: np.ndarray[Any, Any]) -> Any:
    """Four decimals; none where all are whole numbers; powers of ten where the sizes differ too much."""
    finite = np.abs(array[np.isfinite(array) & (array != 0)].astype(np.float64))
    whole = bool((finite == np.floor(finite)).all())
    spread = finite.size and (finite.max() / finite.min() > 1e3 or finite.max() > 1e8 or finite.min() < 1e-4)
    if finite.size and (finite.max() > 1e8 or (spread and not whole)):
        form = f"{{:.{_PRECISION}e}}"
    else:
        form = "{:.0f}." if whole else f"{{:.{_PRECISION}f}}"
    texts = [_number(value, form) for value in array.reshape(-1).tolist()]
    width = max(map(len, texts), default=0)
    return {"float_kind": lambda value: _number(float(value), form).rjust(width)}


def _number(value: float, form: str) -> str:
    return form.format(value) if np.isfinite(value) else str(value)


def tensor_repr(tensor: Tensor) -> str:
    """tensor([...], dtype, grad_fn): what repr(tensor) shows."""
    array = tensor.array
    prefix = "tensor("
    options: dict[str, Any] = {"separator": ", ", "prefix": prefix, "threshold": _THRESHOLD, "edgeitems": 3}
    if tensor.is_floating_point():
        shown = array.astype(np.float32) if array.dtype.itemsize < 4 else array
        body = np.array2string(shown, formatter=_formatter(_corners(shown)), **options)
    else:
        body = np.array2string(array, **options)
    notes = [f"size={tuple(array.shape)}"] if array.size == 0 and array.ndim > 1 else []
    if array.dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool) or (
        array.size == 0 and not tensor.is_floating_point()
    ):
        notes.append(f"dtype=torch.{array.dtype}")
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn={tensor.grad_fn!r}")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    return prefix + ", ".join([body, *notes]) + ")"


def _corners(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that are shown: all, or the ends of each dimension."""
    if array.size <= _THRESHOLD:
        return array
    for axis, size in enumerate(array.shape):
        if size > 6:
            array = np.take(array, [0, 1, 2, size - 3, size - 2, size - 1], axis=axis)
    return array
