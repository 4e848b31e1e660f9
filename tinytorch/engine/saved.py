"""What a node keeps for backward: arrays, with the version of their memory, so that a change is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .mode import mode
from .tensor import wrap

FREED: Any = object()  # in place of what was saved, once backward has used it


# One saved array: itself, or Packed; where it came from, which is ~i for input i, or an output's number, or None; the
# versions of its memory, and the one that it had. A class for it would take longer than all the rest of saving.
Saved = tuple[Any, "int | None", "list[int] | None", int]


class Packed(NamedTuple):
    """What a packing hook made of a saved Tensor, and what makes a Tensor of it again, of the same shape and dtype."""

    packed: Any
    unpack: Callable[[Any], Any]
    kind: tuple[Any, Any]


def freed(node: Any) -> RuntimeError:
    """The error of a second walk."""
    return RuntimeError(
        f"{node.name()} has already freed what it saved: this graph was walked before. Pass retain_graph=True "
        "to the first backward() or grad() to walk it again"
    )


def present(node: Any, array: Any, source: int | None, counter: Any, version: int) -> Saved:
    """A record if its memory is as it was; of a leaf that was given other data, one of these; or RuntimeError."""
    if counter is None or counter[0] == version:
        return array, source, counter, version
    if source is not None and source < 0:
        leaf: Any = getattr((node.edges[~source] or (None,))[0], "variable", None)
        replaced = leaf is not None and leaf._counter is not counter and leaf._counter[0] == version
        if replaced and (leaf.array.shape, leaf.array.dtype) == (array.shape, array.dtype):
            return leaf.array, source, leaf._counter, version
    what = f"output {source}" if source is not None and source >= 0 else "an input"
    raise RuntimeError(
        f"{what} of {node.name()}, {array.dtype} {tuple(array.shape)}, was modified by an in-place operation, or given "
        f"other data, after it was saved for backward: it is at version {counter[0]}, expected version {version}. Use "
        "the out-of-place operation, or clone() before the change"
    )


def pack(record: Saved) -> Saved:
    """The record with what the innermost `saved_tensors_hooks` packs in place of its array."""
    array, source, counter, version = record
    if array is None or mode.packing is None:
        return record
    tensor = wrap(array.view())
    tensor._counter = counter = tensor._counter if counter is None else counter
    before = counter[0]
    (hook, unpack), recording = mode.packing, mode.grad
    mode.packing, mode.grad = None, False  # what it does itself is neither packed nor recorded
    try:
        packed = hook(tensor)
    finally:
        mode.packing, mode.grad = (hook, unpack), recording
    if counter[0] != before:
        raise RuntimeError("a pack hook of saved tensors modified its tensor in place: clone() it first")
    return Packed(packed, unpack, (tensor.array.shape, tensor.array.dtype)), source, record[2], version


def unpacked(records: list[Saved]) -> list[Saved]:
    """The records, with arrays in place of what was packed."""
    return [_unpack(record) if type(record[0]) is Packed else record for record in records]


def _unpack(record: Saved) -> Saved:
    packed, source, counter, version = record
    tensor = packed.unpack(packed.packed)
    if not hasattr(tensor, "requires_grad"):
        raise TypeError(f"an unpack hook of saved tensors must return a Tensor, not {type(tensor).__name__}")
    shape, dtype = packed.kind
    if (tensor.array.shape, tensor.array.dtype) != (shape, dtype):
        raise RuntimeError(
            f"an unpack hook of saved tensors returned {tensor.dtype} {tuple(tensor.shape)} for {dtype} {shape}"
        )
    if tensor._counter is counter:  # the same memory, which must be as it was
        return tensor.array, source, counter, version
    return tensor.array, source, None, 0


class saved_tensors_hooks:
    """Inside, `pack_hook(tensor)` is called with each Tensor saved for backward, and its result kept in its place.

    Backward calls `unpack_hook` with what was kept, and uses the Tensor that it returns: of the same shape and dtype.
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self._hooks = pack_hook, unpack_hook
        self._previous: list[Any] = []

    def __enter__(self) -> None:
        self._previous.append(mode.packing)
        mode.packing = self._hooks

    def __exit__(self, *exception: object) -> None:
        mode.packing = self._previous.pop()


def describe(arrays: Any) -> str:
    """dtypes and shapes, for messages."""
    return ", ".join("None" if a is None else f"{a.dtype} {tuple(a.shape)}" for a in arrays)
