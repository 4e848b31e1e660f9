"""How a Tensor prints: values as PyTorch shows them, then what is not the default; and the options for that."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import dtypes

if TYPE_CHECKING:
    from .tensor import Tensor

Array = np.ndarray[Any, Any]


@dataclass
class Options:
    """What `set_printoptions` sets."""

    precision: int = 4  # decimals
    threshold: float = 1000  # elements above which the middle of long dimensions is left out,
    edgeitems: int = 3  # and how many stay at either end
    linewidth: float = 80  # characters
    sci_mode: bool | None = None  # powers of ten: None where the sizes differ too much


PROFILES = {"default": Options(), "short": Options(precision=2, edgeitems=2), "full": Options(threshold=math.inf)}
options = Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: float | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How Tensors print from now on. None leaves an option as it is, except sci_mode: see there.

    precision: decimals of floating-point numbers (4).
    threshold: a tensor of more elements is summarised (1000); `math.inf` never does.
    edgeitems: how many a summary shows at either end of a dimension (3).
    linewidth: characters in a line (80).
    profile: "default"; "short", two decimals and two edge items; "full", which never summarises. The other arguments
        go before it. ValueError for any other name.
    sci_mode: True for powers of ten, False for none; None, to which every call that does not give it returns, for
        where the largest is more than 1000 times the smallest, above 1e8, or the smallest below 1e-4.
    """
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(map(repr, PROFILES))}, got {profile!r}")
    chosen = options if profile is None else PROFILES[profile]
    new = Options(
        chosen.precision if precision is None else _count("precision", precision),
        chosen.threshold if threshold is None else threshold,
        chosen.edgeitems if edgeitems is None else _count("edgeitems", edgeitems),
        chosen.linewidth if linewidth is None else linewidth,
        sci_mode,
    )
    for name in ("threshold", "linewidth"):
        if not isinstance(getattr(new, name), (int, float, np.integer, np.floating)):
            raise TypeError(f"{name} must be a number, got {getattr(new, name)!r}")
    vars(options).update(vars(new))


def _count(name: str, value: int) -> int:
    """ValueError or TypeError now, where PyTorch fails when it next prints."""
    count = operator.index(value)
    if count < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return count


def tensor_repr(tensor: Tensor, kind: str = "tensor") -> str:
    """tensor([...], dtype, grad_fn): what repr(tensor) shows. A subclass has its own name in front as `kind`."""
    array, prefix = tensor.array, kind + "("
    usual: tuple[dtypes.DType, ...] = (dtypes.get_default_dtype(),)
    notes = []
    if array.size:
        usual = (*usual, dtypes.int64, dtypes.bool)
        text = _values(array, len(prefix))
        if not options.edgeitems:
            notes.append(f"size={tuple(array.shape)}")
    else:
        text = "[]"
        if array.ndim != 1:
            notes.append(f"size={tuple(array.shape)}")
    if array.dtype not in usual:
        notes.append(f"dtype=torch.{array.dtype}")
    try:
        node = tensor.grad_fn
    except RuntimeError:  # a view that lost its history to a write under no_grad
        notes.append("grad_fn=<Invalid>")
    else:
        if node is not None:
            notes.append(f"grad_fn=<{node.name()}>")
        elif tensor.requires_grad:
            notes.append("requires_grad=True")
    return _noted(prefix + text, notes, len(prefix))


def _noted(text: str, notes: list[str], indent: int) -> str:
    """Each note after a comma, or on a new line where it does not fit."""
    used = len(text) - text.rfind("\n") + 1  # the comma and the space after it included
    for note in notes:
        if used + len(note) + 2 > options.linewidth:
            text += ",\n" + " " * indent + note
            used = indent + len(note)
        else:
            text += ", " + note
            used += len(note) + 2
    return text + ")"


def _values(array: Array, indent: int) -> str:
    """The numbers in their brackets."""
    shorten = array.size > options.threshold
    return _text(array, *_formatter(_numbers(_corners(array) if shorten else array)), indent, shorten)


def _numbers(array: Array) -> Array:
    """As float64, where they are no integers: NumPy cannot compute with float8, nor write bfloat16."""
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        return array if array.dtype.kind in "biu" else array.astype(np.float64)


def _formatter(values: Array) -> tuple[Callable[[Any], str], int]:
    """One format for all, and its width, that of the widest number: zeros, infinities and NaN do not count.

    A fixed number of decimals; none where all are whole; powers of ten where the sizes differ too much.
    """
    if values.dtype.kind != "f":
        width = max((len(str(value)) for value in values.reshape(-1).tolist()), default=1)
        return lambda value: str(value).rjust(width), width
    counted = values[np.isfinite(values) & (values != 0)]
    if not counted.size:
        return lambda value: format(value, ".0f") + ("." if math.isfinite(value) else ""), 1
    low, high = np.abs(counted).min(), np.abs(counted).max()
    with np.errstate(over="ignore"):
        powers = high / low > 1000 or high > 1e8 or low < 1e-4
    if options.sci_mode is not None:
        powers = options.sci_mode
    whole = not powers and bool((counted == np.ceil(counted)).all())
    form = f".{options.precision}e" if powers else ".0f" if whole else f".{options.precision}f"
    width = max(len(format(value, form)) for value in counted.tolist()) + whole

    def one(value: float) -> str:
        return (format(value, form) + ("." if whole and math.isfinite(value) else "")).rjust(width)

    return one, width


def _text(array: Array, one: Callable[[Any], str], width: int, indent: int, shorten: bool) -> str:
    """Nested brackets; a line is filled with elements, a row of a matrix begins a new one."""
    if array.ndim == 0:
        return one(_numbers(array).item())
    edge = options.edgeitems
    cut = shorten and len(array) > 2 * edge
    parts = (array[:edge], array[len(array) - edge :]) if cut else (array,)
    if array.ndim > 1:
        pieces = [[_text(row, one, width, indent + 1, shorten) for row in part] for part in parts]
        rows = [*pieces[0], "...", *pieces[1]] if cut else pieces[0]
        return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(rows) + "]"
    numbers = [[one(value) for value in _numbers(part).tolist()] for part in parts]
    words = [*numbers[0], " ..." if edge else "...", *numbers[1]] if cut else numbers[0]
    a_line = max(1, math.floor((options.linewidth - indent) / (width + 2)))
    lines = [", ".join(words[i : i + a_line]) for i in range(0, len(words), a_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _corners(array: Array) -> Array:
    """The elements that a summary shows: the ends of each dimension."""
    edge = options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * edge:
            array = np.take(array, np.r_[:edge, size - edge : size], axis=axis)
    return array
