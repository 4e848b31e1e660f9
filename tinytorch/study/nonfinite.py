"""Where NaN or infinity begins: the first operation, forward or backward, that makes it of finite numbers."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import is_floating
from ..engine.mode import mode
from ..engine.runner import Runner
from .derivations import formula_of
from .entered import is_entered
from .names import user_frame
from .steps import Array, Line, title_of


@dataclass(frozen=True)
class Extremes:
    """The least and the largest number of an array."""

    shape: tuple[int, ...]
    dtype: str
    least: float
    largest: float

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}, from {self.least:.6g} to {self.largest:.6g}"


@dataclass(frozen=True)
class Place:
    """An operation whose result is not finite, though what it was given is."""

    backward: bool
    operation: Any
    line: Line | None  # of the forward
    inputs: tuple[Extremes, ...]
    gradients: tuple[Extremes, ...]  # that came in, in backward
    index: tuple[int, ...]  # of the first such number
    number: float
    count: int  # of such numbers

    @property
    def text(self) -> str:
        """What was found, to read."""
        what = f"the backward of {title_of(self.operation)}" if self.backward else title_of(self.operation)
        more = f" and {self.count - 1} more" if self.count > 1 else ""
        at = f" at [{','.join(map(str, self.index))}]" if self.index else ""
        formula = formula_of(self.operation)
        lines = [f"{what} gave {self.number}{at}{more}, of finite numbers", *([f"  {formula}"] if formula else [])]
        if self.line is not None:
            lines.append(f"  {self.line}")
        lines += [f"  input {i}: {extremes}" for i, extremes in enumerate(self.inputs)]
        return "\n".join([*lines, *[f"  gradient that came in: {extremes}" for extremes in self.gradients]])


class first_nonfinite:
    """Inside, the first operation is found that makes NaN or infinity of finite numbers, forward or backward.

        with study.first_nonfinite() as found:
            loss = ...
            loss.backward()
        print(found)

    It is false while nothing is found; `found.place` says where: the operation, the user's line, the least and the
    largest number of each input. An infinity that is given, as to masked_fill, is not made. Nothing is changed, and
    nothing raised. It looks at every number: a step takes several times as long.
    """

    def __init__(self) -> None:
        self.place: Place | None = None
        self.came_in: Line | None = None  # where NaN was given to an operation before any had made it
        self._runner = _Watching(self)

    def __enter__(self) -> first_nonfinite:
        if is_entered(self._runner):
            raise RuntimeError("this first_nonfinite is at work already: make another one")
        self._runner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._runner.__exit__(*exception)

    def __bool__(self) -> bool:
        return self.place is not None

    def __repr__(self) -> str:
        if self.place is not None:
            return self.place.text
        if self.came_in is not None:
            return f"no operation made it: NaN was already in what was given in {self.came_in}"
        return "nothing but finite numbers was made of finite numbers"


class _Watching(Runner):
    """Looks at the results of operations and of backwards."""

    def __init__(self, found: first_nonfinite) -> None:
        self.found = found
        self._backward = False  # inside of one, which answers for its parts
        self._made: weakref.WeakKeyDictionary[Any, tuple[Line | None, tuple[Extremes, ...]]] = (
            weakref.WeakKeyDictionary()
        )

    def apply(self, operation: Any, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Note the inputs' extremes at the node; look at the results."""
        results = self.below.apply(operation, inputs, settings)
        if self.found.place is not None or self._backward:
            return results
        arrays = [t.array for t in inputs if hasattr(t, "array") and is_floating(t.array.dtype)]
        outputs = [t for t in (results if isinstance(results, tuple) else (results,)) if hasattr(t, "array")]
        bad = next((t.array for t in outputs if not _finite(t.array)), None)
        nodes = {t._grad_fn for t in outputs if t._grad_fn is not None and t._grad_fn not in self._made}
        if bad is None and not nodes:
            return results
        frame, _ = user_frame()
        line = Line.of(frame)
        for node in nodes:
            self._made[node] = line, tuple(map(_extremes, arrays))
        if bad is not None:
            if all(map(_finite, arrays)):
                if arrays:  # else it was written down, as in torch.tensor(inf)
                    self._note(False, operation, line, tuple(map(_extremes, arrays)), (), bad)
            elif self.found.came_in is None and any(np.isnan(array).any() for array in arrays):
                self.found.came_in = line
        return results

    def backward(self, node: Any, grads: list[Any]) -> list[Any]:
        """Look at what a backward gives."""
        before, self._backward = self._backward, True
        try:
            results: list[Any] = self.below.backward(node, grads)
        finally:
            self._backward = before
        if self.found.place is None:
            line, extremes = self._made.get(node, (None, ()))
            arrays = [g.array for g in grads if g is not None]
            for edge, result in zip(node.edges, results):  # noqa: B905 - the walk checks this
                if edge is not None and result is not None and not _finite(result.array) and all(map(_finite, arrays)):
                    self._note(True, type(node), line, extremes, tuple(map(_extremes, arrays)), result.array)
                    break
        return results

    def _note(self, backward: bool, operation: Any, line: Any, inputs: Any, gradients: Any, bad: Array) -> None:
        wrong = ~np.isfinite(bad)
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        number = float(bad[index])
        self.found.place = Place(backward, operation, line, inputs, gradients, index, number, int(wrong.sum()))


def _finite(array: Array) -> bool:
    return not is_floating(array.dtype) or bool(mode.quietly(np.isfinite, array).all())


def _extremes(array: Array) -> Extremes:
    wide = array.astype(np.float64)
    least, largest = (float(wide.min()), float(wide.max())) if wide.size else (0.0, 0.0)
    return Extremes(array.shape, str(array.dtype), least, largest)
