"""Whether an index names what is there: kernels then read and write where it says without looking again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiler import serial
from .launch import launched

Index = NDArray[np.int64]


@serial
def first_outside(index: Index, size: int, ignored: int) -> int:
    """Where a vector has the first element that is neither one of 0 to size - 1 nor ignored; -1 if nowhere."""
    for n in range(index.size):
        if (index[n] < 0 or index[n] >= size) and index[n] != ignored:
            return n
    return -1


def check_bounds(
    what: str,
    index: NDArray[np.integer],
    size: int,
    of: str,
    error: type[Exception] = IndexError,
    ignored: int | None = None,
) -> None:
    """The error, unless each element of an index is one of 0 to size - 1, or ignored.

    `what` names the index in the message, `of` what it is one of: "embedding: index", "rows".
    """
    _check(what, index, size, of, error, ignored)


@launched
def _check(what: str, index: Any, size: int, of: str, error: type[Exception], ignored: int | None) -> None:
    if ignored is None and not size:
        place = 0 if index.size else -1
    else:
        # Where none is ignored, 0 is that: it is within bounds.
        place = int(first_outside(index.reshape(-1).astype(np.int64, copy=False), size, ignored or 0))
    if place >= 0:
        refuse(what, index, place, size, of, error, ignored)


def refuse(
    what: str, index: Any, place: int, size: int, of: str, error: type[Exception] = IndexError, ignored: Any = None
) -> None:
    """Raise the error that says which element, by its place in the flattened index, is out of bounds."""
    places = ", ".join([str(i) for i in np.unravel_index(place, index.shape)])
    expected = f"from 0 to {size - 1}" + ("" if ignored is None else f" or ignore_index = {ignored}")
    raise error(
        f"{what}[{places}] is {index.flat[place]}, which is out of bounds for {size} {of}: expected one {expected}"
    )
