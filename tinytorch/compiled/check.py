"""`compile(function, check=True)`: each call is made twice from the same state, compiled and as written.

If the two differ, both are made once more, and the inputs and results of each operation are compared, in order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..creation import sharing
from ..engine.function import Function
from ..engine.hooks import Hooks
from ..engine.mode import mode
from ..engine.runner import Eager, Runner
from ..engine.tensor import set_grad
from ..grad_mode import no_grad
from ..ops.common import Array
from ..random import default_generator
from ..tensor import Tensor, assign_data
from .arguments import is_traced, rebuilt, tensors_in
from .arrays import NotTraceable, Recorded, plain
from .program import Program
from .state import State
from .trace import Trace


def checked_call(
    function: Callable[..., Any],
    program: Program | None,
    args: tuple[Any, ...],
    params: dict[str, Any],
    tensors: Sequence[Tensor],
    apart: bool,
) -> tuple[Program, Any]:
    """The program, traced if there is none yet, and the result of the function as written.

    RuntimeError if the program returns or leaves anything else, or does not raise the same exception.
    """
    state = State([default_generator, *tensors])  # what is known beforehand to change, perhaps
    if program is None:
        program = Program(_CheckedTrace(tensors, apart, state))
        compiled = _Outcome(lambda: program.record(function, args, params, tensors), state)
    else:
        state.add_all(program.trace.state.things)
        compiled = _Outcome(lambda: program.run(tensors), state)
    state.restore()
    if isinstance(compiled.error, NotTraceable):
        raise compiled.error
    written = _Outcome(lambda: function(*args, **params), state)
    what = compiled.differs_from(written)
    if what is not None:
        state.restore()
        where = _first_that_differs(function, program, args, params, tensors, state)
        raise RuntimeError(f"compiled, {_name(function)} differs from what it is as written: {what}. {where}")
    if written.error is not None:
        raise written.error
    return program, rebuilt(written.result, _without_history)


def _without_history(tensor: Tensor) -> Tensor:
    if tensor._grad_fn is None:
        return tensor
    result = tensor.detach()
    result._grad = tensor._grad
    return result


class _Outcome:
    """What a call returned or raised, and the state it left."""

    def __init__(self, call: Callable[[], Any], state: State) -> None:
        self.result, self.error = None, None
        try:
            self.result = call()
        except Exception as error:
            self.error = error
        self.results = State([[tensor.array for tensor in tensors_in(self.result)]])
        self.after = State(state.things)

    def differs_from(self, other: _Outcome) -> str | None:
        """Where and by how much the outcomes differ, or None."""
        if type(self.error) is not type(other.error):
            return f"{_raised(self.error)}, as written {_raised(other.error)}"
        return self.results.difference(other.results, "result") or self.after.difference(other.after)


def _raised(error: Exception | None) -> str:
    return "it does not raise" if error is None else f"it raises {type(error).__name__} ({error})"


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


# ---------------------------------------------------------------------- operations

Look = Callable[[], list[Any]]  # finds arrays, or their owners, whenever it is called


class _Notes:
    """Notes of the inputs and results of operations, one after another, without the operations inside an operation."""

    notes: list[tuple[Any, ...]]
    _inside = False

    def note(self, text: str, look: Look) -> None:
        raise NotImplementedError

    def noted(self, name: str, given: list[Any], call: Callable[[], Any], looking_at: Callable[[Any], Look]) -> Any:
        """The result of a call, with a note before and after it."""
        if self._inside:
            return call()
        self.note(f"what {name} is given", lambda: given)
        self._inside = True
        try:
            result = call()
        finally:
            self._inside = False
        self.note(f"what {name} gives", looking_at(result))
        return result

    def noted_forward(self, node: Function, arrays: Sequence[Any], call: Callable[[], Any]) -> Any:
        """Of an operation."""
        return self.noted(type(node).__name__, plain(list(arrays)), call, _arrays)

    def noted_backward(self, node: Function, grads: list[Any], call: Callable[[], Any]) -> Any:
        """Of an operation."""
        return self.noted(node.name(), _arrays_of(grads)(), call, _arrays_of)

    def noted_accumulate(self, leaf: Tensor, gradient: Tensor, call: Callable[[], Any]) -> Any:
        """Note a leaf that adds to its gradient."""

        def looking_at(result: Any) -> Look:
            if is_traced(leaf):
                return _arrays_of([leaf._grad])
            return lambda: [None if leaf._grad is None else leaf._grad.array]

        return self.noted("AccumulateGrad", _arrays_of([gradient])(), call, looking_at)

    def noted_call(
        self, function: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any], call: Callable[[], Any]
    ) -> Any:
        """Note a function that is called as it is, and may change its arguments."""
        given = _from_outside([getattr(function, "__self__", None), *args, *params.values()])

        def looking_at(result: Any) -> Look:
            arrays = [plain(tensor.array) for tensor in tensors_in(result)]
            return lambda: [given, arrays]

        return self.noted(_name(function), [], call, looking_at)


def _from_outside(things: list[Any]) -> Any:
    """The things without the Tensors that the traced function made."""
    return rebuilt(things, lambda tensor: None if is_traced(tensor) else tensor)


def _arrays_of(tensors: Sequence[Any]) -> Look:
    arrays = [None if tensor is None else plain(tensor.array) for tensor in tensors]
    return lambda: arrays


def _arrays(result: Any) -> Look:
    """The results of an operation's forward as arrays, since NumPy turns 0-d arrays into numbers."""
    arrays = [np.asarray(array) for array in plain(list(result) if isinstance(result, tuple) else [result])]
    return lambda: arrays


class _CheckedTrace(_Notes, Trace):
    """A trace that takes notes, and adds everything from outside to a state before anything is done to it."""

    def __init__(self, tensors: Sequence[Tensor], apart: bool, state: State) -> None:
        super().__init__(tensors, apart)
        self.state, self.notes = state, []

    def note(self, text: str, look: Look) -> None:
        self.notes.append((text, len(self.steps), look))

    def enter(self, tensor: Tensor) -> Recorded:
        self.state.add_all(_from_outside([tensor]))
        return super().enter(tensor)

    def outside(self, array: Array) -> Recorded:
        self.state.add(array)
        return super().outside(array)

    def guard(self, thing: Any, name: str) -> None:
        self.state.add_all(_from_outside([thing]))
        super().guard(thing, name)

    def grad_of(self, tensor: Tensor) -> Tensor | None:
        self.state.add_all(_from_outside([tensor]))
        return super().grad_of(tensor)

    def set_grad(self, tensor: Tensor, value: Tensor | None) -> None:
        self.state.add_all(_from_outside([tensor, value]))
        super().set_grad(tensor, value)

    def call(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        if function in self._run_by_us:
            return super().call(function, *args, **params)
        args = tuple([list(arg) if isinstance(arg, Iterator) else arg for arg in args])
        self.state.add_all(_from_outside([getattr(function, "__self__", None), *args, *params.values()]))
        return self.noted_call(function, args, params, lambda: super(_Notes, self).call(function, *args, **params))

    def hook(self, hook: Callable[[Any], Any], gradient: Tensor) -> Any:
        self._inside, inside = True, self._inside  # a watch does not know who calls the hook
        try:
            return super().hook(hook, gradient)
        finally:
            self._inside = inside

    def forward(self, node: Function, arrays: list[Any], settings: dict[str, Any]) -> Any:
        return self.noted_forward(node, arrays, lambda: super(_Notes, self).forward(node, arrays, settings))

    def backward(self, node: Function, grads: list[Any]) -> list[Any]:
        results: list[Any] = self.noted_backward(node, grads, lambda: super(_Notes, self).backward(node, grads))
        return results

    def accumulate(self, leaf: Tensor, gradient: Tensor, own: bool) -> None:
        self.noted_accumulate(leaf, gradient, lambda: super(_Notes, self).accumulate(leaf, gradient, own))


class _Watch(_Notes, Runner):
    """Takes notes of what a function does as written, and nothing else."""

    def __init__(self) -> None:
        self.notes = []

    def note(self, text: str, look: Look) -> None:
        self.notes.append((text, State([look()])))

    apply = Eager.apply

    def forward(self, node: Function, arrays: list[Any], settings: dict[str, Any]) -> Any:
        return self.noted_forward(node, arrays, lambda: self.below.forward(node, arrays, settings))

    def backward(self, node: Function, grads: list[Any]) -> list[Any]:
        results: list[Any] = self.noted_backward(node, grads, lambda: self.below.backward(node, grads))
        return results

    def accumulate(self, leaf: Tensor, gradient: Tensor, own: bool) -> None:
        self.noted_accumulate(leaf, gradient, lambda: self.below.accumulate(leaf, gradient, own))

    def read(self, owner: Any, name: str) -> Any:
        value = super().read(owner, name)
        return value if name != "hooks" or value is None else _Unwatched(self, value)

    def call(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        if function in (set_grad, assign_data, sharing):  # a trace does these itself
            return function(*args)
        args = tuple([list(arg) if isinstance(arg, Iterator) else arg for arg in args])

        def as_it_is() -> Any:
            mode.run = self.below
            try:
                return function(*args, **params)
            finally:
                mode.run = self

        return self.noted_call(function, args, params, as_it_is)


class _Unwatched:
    """The hooks of a leaf, as a walk calls them. What they do is not noted, since a trace calls them as a whole."""

    def __init__(self, watch: _Watch, hooks: Hooks) -> None:
        self._watch, self._hooks = watch, hooks

    def run(self, grads: list[Any]) -> None:
        self._watch._inside, inside = True, self._watch._inside
        try:
            self._hooks.run(grads)
        finally:
            self._watch._inside = inside


def _first_that_differs(
    function: Callable[..., Any],
    program: Program,
    args: tuple[Any, ...],
    params: dict[str, Any],
    tensors: Sequence[Tensor],
    state: State,
) -> str:
    """A sentence that names the first operation whose arguments or results differ from those as written."""
    watch = _Watch()
    with watch, contextlib.suppress(Exception):
        function(*args, **params)
    final = State(state.things)
    state.restore()
    try:
        return _compared(program, tensors, watch.notes)
    finally:
        final.restore()


def _compared(program: Program, tensors: Sequence[Tensor], as_written: list[tuple[str, State]]) -> str:
    notes = program.trace.notes
    count, number, done = sum([text.endswith("is given") for text, _, _ in notes]), 0, 0
    program.load(tensors)
    with no_grad(), np.errstate(all="ignore"):
        for (text, until, look), (text_as_written, there) in zip(notes, as_written):  # noqa: B905 - up to where they part
            number += text.endswith("is given")
            if text != text_as_written:
                return (
                    f"Operation {number} of {count} is another: compiled, the function compares {text}, as written "
                    f"{text_as_written}. Python chose otherwise when it was traced"
                )
            try:
                for step, its_args in program.steps[done:until]:
                    step(*its_args)
            except Exception as error:
                return f"Operation {number} of {count} raises {type(error).__name__}, in {text}: {error}"
            done = until
            found = State([look()]).difference(there, "")
            if found is not None:
                return f"The first difference is at operation {number} of {count}, in {text}: {found}"
    if len(notes) != len(as_written):
        return f"As written it has {len(as_written) // 2} operations, compiled {count}: Python chose otherwise"
    return f"All {count} operations are given and give the same: it is done outside of them"
