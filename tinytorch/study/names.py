"""Names for what a trace holds: the user's variables, the paths of parameters, or the operations with numbers.

A Tensor does not know what it is called. While a trace is at work it looks at the variables of whoever calls an
operation, each time that a line of theirs is done.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..engine.tensor import Tensor as EngineTensor
from ..engine.walk import walk
from ..nn.module import Module
from ..ops.shape import Transpose
from .drawing import shown
from .entered import is_entered

if TYPE_CHECKING:
    from .recording import Recording
    from .steps import Step, Value
    from .trace import Trace

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_OPEN = str(Path(__file__).with_name("subjects.py"))  # stands for code of the user's
_COMPREHENSIONS = ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>")

# Who has named a value, from the least to the most important.
PART, INNER, PATH, HOME, GIVEN = range(5)


def user_frame(depth: int = 2) -> tuple[FrameType | None, bool]:
    """The innermost call that is not in this package, and whether it has led here through a backward walk."""
    frame: FrameType | None = sys._getframe(depth)
    walking = False
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE) or code.co_filename == _OPEN:
            break
        walking |= code is walk.__code__
        frame = frame.f_back
    return frame, walking


class Names:
    """The names of one trace."""

    def __init__(self, trace: Trace, model: Module | None) -> None:
        self.trace = trace
        self.home: FrameType | None = None  # where the trace stands, while it is at work
        self._counts: dict[str, int] = {}
        self._paths: dict[int, tuple[Any, list[str]]] = {}  # by id of a parameter: itself, and its paths
        self._last: FrameType | None = None
        self._line = 0
        self._held: dict[Step, FrameType] = {}  # the calls of composites that are at work
        self._resolved: tuple[int, dict[int, str], dict[str, Value]] = -1, {}, {}
        self._changes = 0
        if model is not None:
            self._add_paths(model, "")

    # ------------------------------------------------------------------ finding

    def begin(self, home: FrameType | None) -> None:
        """The trace begins here."""
        self.home = home
        if home is not None:
            self._look_for_modules(home)

    def end(self, recording: Recording) -> None:
        """The trace is over: what the variables hold now."""
        for frame in (self._last, self.home):
            if frame is not None:
                self.scan(frame, recording)
        self.home = self._last = None

    def _look_for_modules(self, frame: FrameType) -> None:
        """Learn the paths of parameters of the modules that variables hold."""
        for name, thing in [*_variables(frame), *frame.f_globals.items()]:
            if isinstance(thing, Module) and name != "self" and not name.startswith("_"):
                self._add_paths(thing, name)

    def _add_paths(self, model: Module, prefix: str) -> None:
        for path, parameter in model.named_parameters(remove_duplicate=False):
            path = f"{prefix}.{path}" if prefix else path
            paths = self._paths.setdefault(id(parameter), (parameter, []))[1]
            if path not in paths:
                paths.append(path)

    def number(self, title: str) -> str:
        """The next name of this kind: "softmax_2"."""
        self._counts[title] = number = self._counts.get(title, 0) + 1
        return f"{title}_{number}"

    def look(self, frame: FrameType | None, recording: Recording, fresh: bool) -> None:
        """Look at the variables of a call, and at those of the last one, which may be over."""
        while frame is not None and frame.f_code.co_name in _COMPREHENSIONS:
            frame = frame.f_back
        if frame is None:
            return
        if self._last is not frame:
            if self._last is not None:
                self.scan(self._last, recording)
            self._last = frame
        elif frame.f_lineno == self._line and not fresh:
            return
        self._line = frame.f_lineno
        self.scan(frame, recording)

    def scan(self, frame: FrameType, recording: Recording, rank: int | None = None) -> None:
        """Name the values that variables hold."""
        if rank is None:
            rank = HOME if frame is self.home else INNER
        for name, value in _held_by(frame, recording):
            self.give(value, name, rank)

    def hold(self, step: Step) -> None:
        """Remember the call of the composite that runs in place of a step: its variables name what is made there."""
        if step in self._held:
            return
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code is not step.operation.composite.__code__:
            frame = frame.f_back
        if frame is not None:
            self._held[step] = frame

    def close(self, step: Step, recording: Recording) -> None:
        """That call is over."""
        frame = self._held.pop(step, None)
        if frame is not None:
            for name, value in _held_by(frame, recording):
                if value not in step.inputs and value not in step.outputs:
                    self.give(value, f"{step.name}.{name}", PART)

    def forget(self, step: Step) -> None:
        """It has raised."""
        self._held.pop(step, None)

    def give(self, value: Value, name: str, rank: int) -> None:
        """Name a value. Of names of one rank the first counts, of those given the last; it can be found by each.

        What does not print, such as what would colour a terminal, is replaced by its escape.
        """
        name = shown(name)
        if rank in value.given:
            if name in (value.given[rank], *value.aliases):
                return
            if rank == GIVEN:
                value.given[rank], name = name, value.given[rank]
            value.aliases.append(name)
        else:
            value.given[rank] = name
        self._changes += 1

    def note_path(self, value: Value, parameter: Any) -> None:
        """Name a parameter after its place in a module, of those that the calls which led here hold."""
        if PATH in value.given:
            return
        frame, _ = (None, False) if id(parameter) in self._paths else user_frame()
        while frame is not None:
            self._look_for_modules(frame)
            frame = None if frame is self.home else frame.f_back
        found = self._paths.get(id(parameter))
        for path in found[1] if found is not None else ():
            self.give(value, path, PATH)

    # ------------------------------------------------------------------ asking

    def of(self, value: Value) -> str:
        """The name of a value: no two have the same, but for numbers."""
        return self._names()[0].get(value.number, f"input_{value.number}")

    def find(self, name: str) -> Value | None:
        """The value of this name; of the last part of its name, if no other's ends so."""
        if not isinstance(name, str):
            raise TypeError(f"what a trace holds is asked for by its name or its Tensor, not by {type(name).__name__}")
        _, values = self._names()
        name = shown(name)
        if name in values:
            return values[name]
        ends = {value.number: value for known, value in values.items() if known.endswith(f".{name}")}
        return next(iter(ends.values())) if len(ends) == 1 else None

    def missing(self, name: str) -> LookupError:
        """What to say where there is no value of this name."""
        known = self._names()[1]
        if not known:
            return LookupError(f"the trace holds no {name!r}: no operation has run in it")
        theirs = dict.fromkeys([value.name for value in known.values() if value.given])
        close = difflib.get_close_matches(name, known, 5, 0.5) or list(theirs or known)[:8]
        more = ", and more" if len(close) < len({value.number for value in known.values()}) else ""
        return LookupError(f"the trace holds no {name!r}; it holds {', '.join(close)}{more}")

    def _names(self) -> tuple[dict[int, str], dict[str, Value]]:
        now = self._changes + self.trace.count
        if self._resolved[0] != now or is_entered(self.trace.recording):
            names: dict[int, str] = {}
            values: dict[str, Value] = {}
            inputs = 0
            for value in self.trace.values:
                inputs += value.kind in ("input", "parameter") and not value.given
                name = self._own(value, inputs, names)
                if value.kind != "constant":
                    base, number = name, 1
                    while name in values:
                        number += 1
                        name = f"{base}_{number}"
                    values[name] = value
                names[value.number] = name
            for value in self.trace.values:
                made = [step.name for step in value.steps if not step.several]
                for name in (*value.given.values(), *value.aliases, *made):
                    values.setdefault(name, value)
            self._resolved = now, names, values
        return self._resolved[1:]

    def _own(self, value: Value, inputs: int, names: dict[int, str]) -> str:
        """What a value would be called, were it alone. Those before it have their `names`."""
        if value.given:
            return value.given[max(value.given)]
        if value.kind == "constant":
            number = value.array.item()
            return f"{number:.4g}" if isinstance(number, float) else str(number)
        if not value.steps:
            return f"input_{inputs}"
        step = value.steps[-1]
        if step.operation is Transpose and step.inputs[0] is not None:
            dims = sorted((step.settings["dim0"], step.settings["dim1"]))
            if dims == [value.array.ndim - 2, value.array.ndim - 1]:
                return f"{names[step.inputs[0].number]}.mT"
        return step.name if not step.several else f"{step.name}.{step.outputs.index(value)}"


def _held_by(frame: FrameType, recording: Recording) -> list[tuple[str, Value]]:
    """The variables of a call that hold what the trace knows."""
    found = []
    for name, thing in _variables(frame):
        if isinstance(thing, EngineTensor) and not name.startswith("_"):
            value = recording.tensors.known(thing)
            if value is not None and value.kind != "constant":
                found.append((name, value))
    return found


def _variables(frame: FrameType) -> list[tuple[str, Any]]:
    """The variables of a call."""
    variables = frame.f_locals
    found = list(variables.items())
    # Before Python 3.13 these are a copy that the call keeps, and that would keep Tensors alive.
    if type(variables) is dict and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        for name, thing in found:
            if isinstance(thing, EngineTensor):
                del variables[name]
    return found
