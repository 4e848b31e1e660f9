"""One step by itself: its operation on given arrays, and its derivatives, element by element."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..captures import gradients_at
from ..dtypes import float64, is_floating
from ..engine.mode import mode
from ..engine.runner import EAGER
from ..engine.tensor import edge_of, wrap
from .steps import Array, Step

Entry = tuple[int, tuple[int, ...]]  # one element of the outputs, or of the inputs: of which, and at which index

_FEW = 64  # outputs, for each of which backward is run to see whether it depends on an input
MOST = 4096  # terms


@contextlib.contextmanager
def alone(grad: bool) -> Iterator[None]:
    """Nothing looks on, and nothing is packed; operations are recorded or not."""
    before = mode.run, mode.grad, mode.packing
    mode.run, mode.grad, mode.packing = EAGER, grad, None
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        mode.run, mode.grad, mode.packing = before


class Again:
    """The operation of a step once more, in float64 where it can be: its own forward, and its own backward."""

    def __init__(
        self, step: Step, arrays: Sequence[Array | None] | None = None, *, by_all: bool = False
    ) -> None:
        self.step = step
        self._by_all = by_all  # derivatives by each input, not by those alone that have a gradient
        given = [None if value is None else value.array for value in step.inputs] if arrays is None else arrays
        with alone(grad=True):
            try:
                self._run(given, widen=True)
            except (RuntimeError, TypeError, ValueError):  # it is for other dtypes
                self._run(given, widen=False)

    def _run(self, arrays: Sequence[Array | None], widen: bool) -> None:
        self.inputs: list[Any] = []
        for value, array in zip(self.step.inputs, arrays, strict=True):
            if array is None:
                self.inputs.append(None)
                continue
            t = wrap(widened(array) if widen else array.copy())
            by_it = self._by_all or not self.step.recorded
            if is_floating(t.dtype) and value is not None and (by_it or value.gradient is not None):
                t.requires_grad_()
            self.inputs.append(t)
        result = apply(self.step, self.inputs, widen)
        self.outputs: list[Any] = [y for y in (result if isinstance(result, tuple) else (result,)) if _is_tensor(y)]

    def row(self, entry: Entry) -> list[Array | None]:
        """The derivatives of one element of the outputs by each input, by the operation's backward."""
        number, index = entry
        seed = np.zeros(self.outputs[number].array.shape, self.outputs[number].array.dtype)
        seed[index] = 1
        return self._pull({number: wrap(seed)}, create_graph=False)

    def of_ones(self) -> list[Array | None]:
        """What backward makes of gradients of 1, for each input."""
        seeds = {n: wrap(np.ones_like(y.array)) for n, y in enumerate(self.outputs) if y.requires_grad}
        return self._pull(seeds, create_graph=False)

    def column(self, place: int, index: tuple[int, ...]) -> dict[Entry, float]:
        """The derivatives by one element of an input: of those elements of the outputs that depend on it."""
        found: dict[Entry, float] = {}
        for entry in self._dependents(place, index):
            row = self.row(entry)[place]
            if row is not None and row[index] != 0 and not (np.isnan(row[index]) and self._apart(entry, place, index)):
                found[entry] = float(row[index])
        return found

    def _apart(self, entry: Entry, place: int, index: tuple[int, ...]) -> bool:
        """Whether an output has nothing to do with an input, where 0 x infinity gave nan: with numbers it gives 0."""
        arrays = [None if t is None else _finite(t.array) for t in self.inputs]
        row = Again(self.step, arrays).row(entry)[place]
        return row is not None and bool(row[index] == 0)

    def _dependents(self, place: int, index: tuple[int, ...]) -> list[Entry]:
        """The elements of the outputs that may depend on one of an input: where there are few elements, all.

        Backward is linear in the gradient c of the outputs: it gives J^T c. So the derivative of its element at the
        index by c is the column of J there.
        """
        numbers = [n for n, y in enumerate(self.outputs) if y.requires_grad]
        sizes = sum(self.outputs[n].array.size for n in numbers)
        if sizes <= _FEW:
            return [(n, i) for n in numbers for i in np.ndindex(self.outputs[n].array.shape)]
        found: list[Entry] = []
        with alone(grad=True):
            seeds = {n: wrap(np.ones_like(self.outputs[n].array)).requires_grad_() for n in numbers}
            pulled = self._pulled(seeds, create_graph=True)[place]
            if pulled is None:
                return []
            if not pulled.requires_grad:  # its backward cannot be differentiated
                self._refuse(sizes)
                return [(n, i) for n in numbers for i in np.ndindex(self.outputs[n].array.shape)]
            one = np.zeros_like(pulled.array)
            one[index] = 1
            edges = {n: edge_of(seed) for n, seed in seeds.items()}
            columns = gradients_at(
                edges.values(), [edge_of(pulled)], [wrap(one)], retain_graph=True, create_graph=False
            )
        for n, edge in edges.items():
            if edge in columns:
                found += [(n, tuple(int(k) for k in i)) for i in np.argwhere(columns[edge].array != 0)]
        self._refuse(len(found))
        return found

    def _refuse(self, count: int) -> None:
        if count > MOST:
            raise RuntimeError(
                f"{count} elements of what {self.step.name} makes may depend on this one: why() looks at up to {MOST}"
            )

    def _pull(self, seeds: dict[int, Any], create_graph: bool) -> list[Array | None]:
        with alone(grad=True):
            return [None if g is None else g.array for g in self._pulled(seeds, create_graph)]

    def _pulled(self, seeds: dict[int, Any], create_graph: bool) -> list[Any]:
        wanted = [None if t is None or not t.requires_grad else edge_of(t) for t in self.inputs]
        roots = [n for n in seeds if self.outputs[n].requires_grad]
        found = gradients_at(
            [edge for edge in wanted if edge is not None],
            [edge_of(self.outputs[n]) for n in roots],
            [seeds[n] for n in roots],
            retain_graph=True,
            create_graph=create_graph,
        )
        return [None if edge is None else found.get(edge) for edge in wanted]


def apply(step: Step, inputs: Sequence[Any], widen: bool = True) -> Any:
    """The operation of a step on other Tensors."""
    if step.operation.on_tensors:
        pairs = zip(inputs, step.arguments, strict=True)
        return step.operation.apply(*[argument if t is None else t for t, argument in pairs])
    settings = dict(step.settings)
    if widen and step.operation.__name__ == "To" and is_floating(settings["dtype"]):
        settings["dtype"] = float64
    return step.operation.apply(*inputs, **settings)


def widened(array: Array) -> Array:
    """A copy, in float64 if it holds floating-point numbers."""
    return array.astype(float64) if is_floating(array.dtype) else array.copy()


def _finite(array: Array) -> Array:
    """With 1 in place of infinity and nan."""
    return np.where(np.isfinite(array), array, 1).astype(array.dtype) if is_floating(array.dtype) else array


def _is_tensor(thing: Any) -> bool:
    return hasattr(thing, "array")
