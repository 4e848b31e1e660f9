"""Arguments and results of compiled functions: structures of Tensors, some of which may share memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor
from .arrays import NotTraceable, Recorded

Array = np.ndarray[Any, Any]
Place = tuple[int, int, tuple[int, ...]]  # an argument, its offset in the memory it shares, its strides


def structure(value: Any, tensors: list[Tensor], places: dict[int, int]) -> Any:
    """What must be equal for two calls to do the same. Adds the Tensors in the value to the list, each once.

    A Tensor that was found before is represented by its index in the list, from `places`.
    """
    if isinstance(value, Tensor):
        place = places.setdefault(id(value), len(tensors))
        if place < len(tensors):
            return place
        if value._requires_grad:
            raise RuntimeError(
                f"an argument of a compiled function, {value.dtype} {tuple(value.shape)}, requires grad: what it "
                "returns has no history. Differentiate inside of the function, or pass detach()"
            )
        tensors.append(value)
        array = value.array
        return Tensor, array.shape, array.dtype, None if array.flags.carray else layout(array)
    if isinstance(value, (tuple, list)):
        return type(value), *[structure(item, tensors, places) for item in value]
    if isinstance(value, dict):
        return dict, *[(key, structure(item, tensors, places)) for key, item in value.items()]
    if isinstance(value, np.ndarray):
        raise TypeError("a compiled function takes Tensors, not arrays: pass tinytorch.from_numpy(array)")
    if isinstance(value, (float, np.floating)):
        return type(value), repr(value)  # -0.0 equals 0.0, and NaN nothing
    hash(value)
    return type(value), value


def rebuilt(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The structure with each Tensor replaced by the result of `change`."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        items = [rebuilt(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: rebuilt(item, change) for key, item in value.items()}
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """The Tensors in a structure, in order."""
    found: list[Tensor] = []
    rebuilt(value, found.append)
    return found


def is_traced(thing: Any) -> bool:
    """Whether it is a Tensor made by the function that is being traced."""
    return isinstance(thing, Tensor) and type(thing.array) is Recorded


def check_unchanged(value: Any, copy: Any, tensor_of: Callable[[Tensor], Tensor]) -> None:
    """NotTraceable if a function has changed the lists and dictionaries that it was given."""
    if isinstance(value, Tensor):
        same = copy is tensor_of(value)
    elif isinstance(value, (tuple, list, dict)):
        same = type(copy) is (dict if isinstance(value, dict) else type(value)) and len(copy) == len(value)
        if same and isinstance(value, dict):
            same = list(value) == list(copy)
            value, copy = value.values(), copy.values()
        for item, its_copy in zip(value, copy, strict=True) if same else ():
            check_unchanged(item, its_copy, tensor_of)
    else:
        same = copy is value
    if not same:
        raise NotTraceable(
            "a compiled function changed a list or dictionary that it was given: that is done in Python alone, and not "
            "at each call. Return what is new"
        )


# ---------------------------------------------------------------------- memory


def layout(array: Array) -> tuple[int, ...] | None:
    """The memory layout of an array that is not in C order: an offset and strides, with each gap counted as one
    element.

    Results may depend on it in the last bit, except on the size of gaps.
    """
    offset = 0 if array.flags.aligned else array.ctypes.data % array.itemsize
    if array.flags.c_contiguous:
        return None if offset == 0 else (offset, *np.empty(array.shape, array.dtype).strides)
    strides = [0] * array.ndim
    inside = extent = array.itemsize  # bytes between which the dimensions so far lie: of the array, of the layout
    for dim in sorted(range(array.ndim), key=lambda dim: abs(array.strides[dim])):
        count, step = array.shape[dim], array.strides[dim]
        if count == 1 or step == 0:
            continue
        if abs(step) < inside:  # elements overlap, as in windows: keep the stride
            return (offset, *array.strides)
        extent += array.itemsize if abs(step) > inside else 0
        strides[dim] = extent if step > 0 else -extent
        offset += 0 if step > 0 else extent * (count - 1)
        inside, extent = abs(step) * count, extent * count
    return (offset, *strides)


def owner(array: Array) -> Any:
    """The array that owns the memory of this one."""
    base = array.base
    while isinstance(base, np.ndarray):
        array, base = base, base.base
    return array if base is None else base


def sharing(arrays: Sequence[Array]) -> tuple[tuple[Place, ...], ...]:
    """Which arrays share memory, and where."""
    owned: dict[int, list[int]] = {}
    for i, array in enumerate(arrays):
        owned.setdefault(id(owner(array)), []).append(i)
    if len(owned) == len(arrays):
        return ()
    groups: list[tuple[Place, ...]] = []
    for members in owned.values():
        if len(members) > 1:
            groups += _groups([(i, *bounds(arrays[i])) for i in members], arrays)
    return tuple(groups)


def bounds(array: Array) -> tuple[int, int]:
    """The addresses of the array's first byte and of the byte after its last."""
    reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)] if array.size else []
    start: int = array.ctypes.data
    return start + sum([r for r in reach if r < 0]), start + sum([r for r in reach if r > 0]) + array.itemsize


def _groups(members: list[tuple[int, int, int]], arrays: Sequence[Array]) -> list[tuple[Place, ...]]:
    """Group arrays whose ranges of memory overlap, if any two of them have an element in common."""
    groups: list[list[int]] = []
    starts, end = [], 0
    for i, first, last in sorted(members, key=lambda member: member[1:]):
        if not groups or first >= end:
            groups.append([])
            starts.append(first)
            end = last
        groups[-1].append(i)
        end = max(end, last)
    return [
        tuple([(i, arrays[i].ctypes.data - start, arrays[i].strides) for i in sorted(group)])
        for group, start in zip(groups, starts, strict=True)
        if any(_overlap(arrays[i], arrays[j]) for i in group for j in group if i < j)
    ]


def _overlap(a: Array, b: Array) -> bool:
    try:
        return bool(np.shares_memory(a, b, max_work=10**5))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


# ---------------------------------------------------------------------- Tensors of the caller


class Mirror:
    """A Tensor of the caller, copied to memory of the tape, for Tensors that may be different ones at each call.

    `load` copies the caller's Tensor there, and `store` copies back what was written.
    """

    def __init__(self, traced: Recorded, outside: Tensor, tensor: Tensor | None = None) -> None:
        self.array: Array = traced.value
        self.outside: Any = outside
        if not outside.array.flags.writeable:  # then the function may not write to it either
            traced = Recorded(traced.tape, traced.value.view(), traced)
            traced.value.flags.writeable = False
        self.root: Any = traced.root
        self.tensor: Any = Tensor(traced) if tensor is None else tensor  # what the function sees
        self.sync()

    def _state(self) -> tuple[int, int]:
        return self.root.writes, self.tensor._counter[0]

    def sync(self) -> None:
        """Note that the mirror and the Tensor outside are the same now."""
        self.synced, self.outside_version = self._state(), self.outside._counter[0]

    def written(self) -> bool:
        """Whether the function has written to it since the last sync."""
        return self._state() != self.synced

    def rise(self) -> int:
        """By how much its version has risen since the last sync."""
        return self._state()[1] - self.synced[1]

    def load(self) -> None:
        np.copyto(self.array, self.outside.array)

    def store(self, rise: int) -> None:
        np.copyto(self.outside.array, self.array)
        self.outside._counter[0] += rise

    def forget(self) -> None:
        """The trace is over: from now on only its runs use this."""
        self.tensor = self.root = self.outside = None

    def check_order(self) -> None:
        """NotTraceable unless views of the mirror correspond to views of the caller's memory."""
        whole: Array = self.outside.array
        if not whole.flags.c_contiguous:
            raise NotTraceable(
                f"a compiled function returns a view of a Tensor from outside, {whole.dtype} {whole.shape}, that does "
                "not lie in C order: return a clone()"
            )

    def view(self, array: Array, leaf: bool, shares_version: bool) -> Tensor:
        """The view of the caller's Tensor that corresponds to an array in the mirror's memory."""
        self.check_order()
        whole: Array = self.outside.array
        start = array.ctypes.data - self.array.ctypes.data
        view = Tensor(_laid_out_as(array, whole, start), requires_grad=leaf)
        if shares_version:
            view._base = self.outside if self.outside._base is None else self.outside._base
            view._refused = "was returned by a compiled function"
            _with_version(view, self.outside._counter)
        return view


def written(mirrors: Sequence[Mirror]) -> list[tuple[Mirror, int]]:
    """The mirrors that were written to, with the rise of their versions, which several may share."""
    counted: set[int] = set()
    result = []
    for mirror in {id(mirror): mirror for mirror in mirrors}.values():
        if mirror.written():
            result.append((mirror, 0 if id(mirror.tensor._counter) in counted else mirror.rise()))
            counted.add(id(mirror.tensor._counter))
    return result


def _with_version(view: Tensor, counter: list[int]) -> Tensor:
    view._counter, view._seen = counter, counter[0]
    return view


# ---------------------------------------------------------------------- results

Block = tuple[Array, list[int]]  # memory, in bytes, that several results share, and their version
Maker = Callable[[list[Block]], Tensor]  # makes a result from the blocks of a call


class Results:
    """Builds each call's results: the caller's own Tensors and views of them as they are, all others as copies.

    Results that share memory do so in every call. A leaf stays a leaf, with its gradient.
    """

    def __init__(self, value: Any, mirrors: dict[int, list[Mirror]]) -> None:
        self._mirrors = mirrors  # by the id of the owner of their memory
        self._blocks: list[Array] = []
        self._makers: dict[int, Maker] = {}  # by the id of the Tensor that stands for a result
        self._grads: list[tuple[int, int]] = []  # such ids: a result's, and its gradient's
        self._places: dict[int, Tensor] = {}  # by the id of the returned Tensor
        new: dict[int, list[tuple[int, Tensor]]] = {}
        _check_no_array(value)
        self._value = rebuilt(value, lambda tensor: self._place(tensor, new))
        for group in new.values():
            self._copy(group)
        del self._mirrors, self._places

    def __call__(self) -> Any:
        blocks = [(memory.copy(), [0]) for memory in self._blocks]
        made = {place: make(blocks) for place, make in self._makers.items()}
        for place, grad in self._grads:
            made[place]._grad = made[grad]
        return rebuilt(self._value, lambda tensor: made[id(tensor)])

    def _place(self, tensor: Tensor, new: dict[int, list[tuple[int, Tensor]]]) -> Tensor:
        if id(tensor) in self._places:
            return self._places[id(tensor)]
        place = self._places[id(tensor)] = Tensor(_NOTHING)
        traced: Any = tensor.array
        make = self._maker_of_known(tensor)
        if make is not None:
            self._makers[id(place)] = make
        else:
            new.setdefault(id(traced.root), []).append((id(place), tensor))
        if type(traced) is Recorded and tensor._grad is not None:
            self._grads.append((id(place), id(self._place(tensor._grad, new))))
        return place

    def _maker_of_known(self, tensor: Tensor) -> Maker | None:
        """The maker for a Tensor from outside, or for a view of one."""
        traced: Any = tensor.array
        if type(traced) is not Recorded:
            return lambda _: tensor
        array, leaf = traced.value, tensor._requires_grad and tensor._grad_fn is None
        mirrors = self._mirrors.get(id(traced.root), ())
        for mirror in mirrors:
            if mirror.tensor is tensor:
                return lambda _: mirror.outside
        first, end = bounds(array)
        for mirror in mirrors:
            its_first, its_end = bounds(mirror.array)
            if its_first <= first and end <= its_end:
                shares_version = tensor._counter is mirror.tensor._counter
                mirror.check_order()
                return lambda _: mirror.view(array, leaf, shares_version)
        if traced.root.memory is None:
            counter = tensor._counter
            return lambda _: _with_version(Tensor(array.view(), requires_grad=leaf), counter)
        return None

    def _copy(self, group: list[tuple[int, Tensor]]) -> None:
        """Add makers for new Tensors that share the memory of one array."""
        root = group[0][1].array.root  # type: ignore[attr-defined]
        arrays = [tensor.array.value for _, tensor in group]  # type: ignore[attr-defined]
        apart = not any(_overlap(a, b) for i, a in enumerate(arrays) for b in arrays[:i]) and not any(
            map(_repeats, arrays)
        )
        number = len(self._blocks)
        if not apart:
            self._blocks.append(root.memory)
        for (place, tensor), array in zip(group, arrays, strict=True):
            leaf = tensor._requires_grad and tensor._grad_fn is None
            if apart:
                self._makers[place] = functools.partial(_copied, array, leaf)
            else:
                start = array.ctypes.data - root.memory.ctypes.data
                self._makers[place] = functools.partial(_placed, array, start, number, leaf)


_NOTHING = np.empty(0, np.float32)


def _check_no_array(value: Any) -> None:
    """NotTraceable for a NumPy array that is not recorded, perhaps a copy of one that is: it would never change."""
    if isinstance(value, (tuple, list)):
        for item in value:
            _check_no_array(item)
    elif isinstance(value, dict):
        _check_no_array(list(value.values()))
    elif type(value) is np.ndarray:
        raise NotTraceable(
            f"a compiled function returns a NumPy array of shape {value.shape}, which would be the same one at each "
            "call: return a Tensor"
        )


def _repeats(array: Array) -> bool:
    """Whether several elements share one place in memory."""
    return any(n > 1 and step == 0 for n, step in zip(array.shape, array.strides, strict=True))


def _copied(array: Array, leaf: bool, blocks: list[Block]) -> Tensor:
    copied = array.copy("K")
    if not array.flags.writeable:
        copied.flags.writeable = False
    return Tensor(copied, requires_grad=leaf)


def _placed(array: Array, start: int, number: int, leaf: bool, blocks: list[Block]) -> Tensor:
    memory, counter = blocks[number]
    result = Tensor(_laid_out_as(array, memory, start), requires_grad=leaf)
    result._counter = counter
    return result


def _laid_out_as(array: Array, memory: Array, start: int) -> Array:
    """An array with the same layout, in other memory."""
    placed = np.ndarray(array.shape, array.dtype, memory, start, array.strides)
    if not array.flags.writeable:
        placed.flags.writeable = False
    return placed
