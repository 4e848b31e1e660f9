"""`compile`: a function that runs once as it is written, and from then on as the list of what that run did.

A training step of a small model spends more time in Python, on choosing, checking and linking, than in its kernels.
While shapes stay the same all of that comes out the same each time. So the first call records every kernel and NumPy
function, forward, backward and what changes parameters, with the memory they work in; the calls after it copy their
arguments there and run the list.

Three things are recorded as whole calls, to be made again as they are: what works on all parameters at once or keeps
counts in Python (an optimizer's step, clipping, a schedule), random draws, and operations whose code cannot be traced
down to its kernels, because it looks at values.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from operator import attrgetter, eq, is_
from typing import Any

import numpy as np

from .compilation_arguments import Results, check_unchanged, owner, rebuilt, sharing, structure
from .compilation_trace import SHARES_MEMORY, Trace
from .dtypes import get_default_dtype
from .kernels.gemm import get_matmul_backend
from .kernels.stored import get_float32_matmul_precision
from .kernels.traced import NotTraceable
from .modes import mode, no_grad
from .tensor import Tensor

_PROGRAMS = 8  # kept for one function, those last used: as many as PyTorch compiles before it gives up


def compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, faster where Python takes longer than the arithmetic. Also a decorator.

        @tinytorch.compile
        def step(x, y):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

    A whole step belongs inside, with its backward: what it returns has no history. Arguments and results are Tensors,
    alone or in tuples, lists and dictionaries; other arguments must be hashable. The first call with shapes, dtypes
    and other arguments that are new traces the function, and so does one after a parameter got another array or
    another requires_grad, or a module another `training`. Each later call does what the traced one did: to the bit,
    with the parameters, gradients, optimizers and random numbers as they are then.

    What is done in Python alone happens while tracing only: printing, counting, choosing by a number; and what changes
    outside in Python alone, such as a module in another's place, is not noticed. Values cannot be read inside
    (`item()`, `float()`, `if tensor:`), nor may shapes depend on them: NotTraceable, a TypeError, says where. Arguments
    that require grad raise RuntimeError.
    """
    programs: list[tuple[Any, _Program]] = []  # the last used one first
    lock = threading.RLock()  # a program has one memory: calls from several threads take turns
    whole: list[str] = []

    @functools.wraps(function, updated=())
    def compiled(*args: Any, **params: Any) -> Any:
        if mode.tape is not None:  # part of what is being traced
            return function(*args, **params)
        tensors: list[Tensor] = []
        key = structure((args, params), tensors, {}), mode.grad, mode.unfold, *_settings()
        with lock:
            for place, (known, program) in enumerate(programs):
                if known == key and program.fits(tensors):
                    if place:
                        programs.insert(0, programs.pop(place))
                    return program.run(tensors)
            program = _Program()
            results = program.trace(function, args, params, tensors)
            whole.extend(program.whole)
            programs.insert(0, (key, program))
            del programs[_PROGRAMS:]
            return results

    compiled.whole = whole  # type: ignore[attr-defined]
    return compiled


def _settings() -> tuple[Any, ...]:
    return get_default_dtype(), get_matmul_backend(), get_float32_matmul_precision()


class _Program:
    """What one call of a function did."""

    def trace(self, function: Any, args: Any, params: Any, tensors: list[Tensor]) -> Any:
        """Make the call, and record it."""
        trace = self._trace = Trace(tensors)
        self.whole = trace.whole
        given = rebuilt((args, params), trace.stand_in)
        with trace:
            result = function(*given[0], **given[1])
            check_unchanged((args, params), given, trace.stand_in)
            self._results = Results(result, trace.mirrors_by_memory())
            trace.finish()
        self._check_apart(tensors)
        results = self._results()
        del given, result
        self._steps = trace.close()
        return results

    def fits(self, tensors: list[Tensor]) -> bool:
        """Whether arguments and the state outside are what the trace took for granted."""
        trace = self._trace
        for name, (things, values) in trace.guards.items():
            if not all(map(is_, map(attrgetter(name), things), values)):
                return False
        if not all(map(eq, *trace.lists)):
            return False
        if any([leaf._grad is not None for leaf in trace.without_grad]):
            return False
        if any([leaf._grad is None for leaf in trace.with_grad]):
            return False
        if not trace.written:
            return True
        arrays = [tensor.array for tensor in tensors]
        return sharing(arrays) == trace.pattern and all([array.flags.writeable for array in arrays])

    def run(self, tensors: list[Tensor]) -> Any:
        """What the function does to these arguments."""
        trace = self._trace
        self._check_apart(tensors)
        self._check_apart_from_gradients(tensors)
        for mirror, tensor in zip(trace.inputs, tensors, strict=True):
            mirror.outside = tensor
            np.copyto(mirror.array, tensor.array)
        for counter, rise in trace.rises:
            counter[0] += rise
        try:
            try:
                with no_grad(), np.errstate(all="ignore"):
                    for function, args in self._steps:
                        function(*args)
            finally:
                for mirror, rise in trace.written:
                    mirror.store(rise)
            for thing, name, value in trace.changes:
                setattr(thing, name, value)
            return self._results()
        finally:
            for mirror in trace.outsiders:
                mirror.outside = None

    def _check_apart(self, tensors: list[Tensor]) -> None:
        """NotTraceable where an argument lies in memory that changes while its copy would not, or the other way."""
        sensitive = self._trace.sensitive
        if sensitive:
            for tensor in tensors:
                for array in sensitive.get(id(owner(tensor.array)), ()):
                    if np.may_share_memory(array, tensor.array):
                        raise NotTraceable(SHARES_MEMORY)

    def _check_apart_from_gradients(self, tensors: list[Tensor]) -> None:
        if not tensors:
            return
        present = [leaf._grad.array for leaf in self._trace.leaves if leaf._grad is not None]
        if present:
            owners = {id(owner(tensor.array)) for tensor in tensors}
            for array in present:
                if id(array if array.base is None else array.base) in owners:
                    raise NotTraceable(SHARES_MEMORY)
