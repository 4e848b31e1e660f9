"""A program: what one call of a compiled function did, to be repeated with other arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.mode import mode
from ..tensor import Tensor
from .arguments import Results, check_unchanged, rebuilt, sharing
from .arrays import NotTraceable
from .outside import SHARES_MEMORY
from .trace import Trace


def run_steps(steps: Sequence[Any]) -> None:
    """Run the recorded steps, one after another. bench/profile.py has a version that times each."""
    for function, args in steps:
        function(*args)


class Program:
    """The steps of a traced call, the memory that they use, and the conditions under which they are right."""

    def __init__(self, trace: Trace) -> None:
        self.trace: Any = trace
        self.steps: list[Any] = []

    def record(
        self, function: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any], tensors: Sequence[Tensor]
    ) -> Any:
        """Make the call, and record it."""
        trace = self.trace
        given = rebuilt((args, params), trace.stand_in)
        try:
            with trace:
                result = function(*given[0], **given[1])
                check_unchanged((args, params), given, trace.stand_in)
                self._results = Results(result, trace.mirrors_by_memory())
                trace.finish()
        finally:
            trace.check(tensors)
        results = self._results()
        del given, result
        self.steps = trace.close()
        return results

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether the arguments and the state outside are as the trace assumed."""
        trace = self.trace
        if not trace.surroundings.is_as_it_was():
            return False
        if not trace.written and not trace.pattern:
            return True
        arrays = [tensor.array for tensor in tensors]
        if trace.written and not all([array.flags.writeable for array in arrays]):
            return False
        return bool(sharing(arrays) == trace.pattern)

    def run(self, tensors: Sequence[Tensor]) -> Any:
        """Run the program on these arguments, and return the results."""
        self.load(tensors)
        trace = self.trace
        recording, mode.grad = mode.grad, False
        versions = [mirror.outside._counter[0] for mirror in trace.watched]
        try:
            with np.errstate(all="ignore"):
                run_steps(self.steps)
        finally:
            mode.grad = recording
            if versions != [mirror.outside._counter[0] for mirror in trace.watched]:
                raise NotTraceable(SHARES_MEMORY)
            for mirror, rise in trace.written:
                mirror.store(rise)
        for thing, name, value in trace.surroundings.changes:
            setattr(thing, name, value)
        results = self._results()
        for mirror in trace.outsiders:
            mirror.outside = None
        return results

    def load(self, tensors: Sequence[Tensor]) -> None:
        """Copy the arguments to where the steps expect them."""
        trace = self.trace
        surroundings = trace.surroundings
        if surroundings.sensitive:
            surroundings.check_apart(tensors)
        if surroundings.leaves:
            surroundings.check_apart_from_gradients(tensors)
        for mirror in trace.outsiders:
            mirror.outside = None
        for mirror, tensor in zip(trace.inputs, tensors):  # noqa: B905 - as many, by the key; strict costs time
            mirror.outside = tensor
            np.copyto(mirror.array, tensor.array)
        for counter, rise in surroundings.rises:
            counter[0] += rise
