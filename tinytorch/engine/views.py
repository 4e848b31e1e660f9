"""Views and their histories: a write through a view changes its base's history, a write to the base its views'.

A view knows its base, which is no view itself, and the chain of operations that made it of the base. A recorded write
through a view gives the base the history `Overwrite(old base, written)`. A view that is older than the last write to
its memory replays its chain on the base when its history is next used, and so gets one that ends in the write. No base
and no node holds a view.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import LINKS, Links
from .mode import mode

Array = np.ndarray[Any, Any]

# (the chain up to here or None, operation, settings, which of several outputs or None, how long it is since Links)
Chain = tuple[Any, Any, dict[str, Any], "int | None", int]

UNRECORDED = "was created in no_grad mode"
_SEVERAL = "is the output of a function that returns multiple views"
OF_A_FUNCTION = "was created inside a custom Function"


def note_view(view: Any, source: Any, array: Any, operation: Any, settings: Any, number: int | None) -> None:
    """Note that an output is a view of the input that has this array, if it shares its memory."""
    base = view.array.base
    if base is None or (base is not array and base is not array.base):
        return
    before, length, counter = source._chain, 0, source._counter
    if before is not None:
        length = before[4] + 1
        if length == LINKS:  # else a long chain would be dropped by recursion
            before, length = Links([before]), 0
    view._base = source if source._base is None else source._base
    view._chain = before, operation, settings, number, length
    view._counter, view._seen = counter, counter[0]
    if source._refused is not None:
        view._refused = source._refused
    elif not mode.grad:
        view._refused = UNRECORDED
    elif number is not None:
        view._refused = _SEVERAL


def renew(view: Any) -> None:
    """Give a view that is older than the last write to its memory the history that it has by now."""
    base, counter = view._base, view._counter
    if base._counter is not counter:  # the base was given other data: the memory is the view's alone
        view._base = None
        return
    if view._grad_fn is None and not base._requires_grad:
        return
    if view._refused is not None:
        raise RuntimeError(
            f"a view of shape {view.array.shape} {view._refused}, and its base or another view of its base has been "
            "modified in place since: take the view again"
        )
    recording, mode.grad = mode.grad, True
    try:
        renewed = replayed(view._chain, base)
    finally:
        mode.grad = recording
    view._seen = counter[0]
    view.set_history(renewed._grad_fn, renewed.output_nr)


def replayed(chain: Chain | None, base: Any) -> Any:
    """The operations of a chain on another Tensor."""
    for operation, settings, number in steps_of(chain):
        result = operation.apply(base, **settings)
        base = result if number is None else result[number]
    return base


def steps_of(chain: Chain | None) -> list[Any]:
    """(operation, settings, which of several outputs or None), from the base on. Chains may be long: no recursion."""
    steps: list[Any] = []
    rest: Any = chain
    while rest is not None:
        before, *step, _ = rest
        steps.append(step)
        rest = before[0] if type(before) is Links else before
    return steps[::-1]


def shares_memory(view: Array, base: Array) -> bool:
    """Whether one array is a view of the other, or both are of a third."""
    return view.base is not None and (view.base is base or view.base is base.base)
