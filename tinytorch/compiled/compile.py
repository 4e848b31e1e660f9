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
from typing import Any

from ..dtypes import get_default_dtype
from ..engine.mode import mode
from ..engine.runner import EAGER
from ..kernels.gemm.gemm import get_matmul_backend
from ..kernels.stored.stored import get_float32_matmul_precision
from ..tensor import Tensor
from .arguments import structure
from .check import checked_call
from .program import Program
from .trace import Trace

_PROGRAMS = 8  # kept for one function, those last used: as many as PyTorch compiles before it gives up


def compile(function: Callable[..., Any] | None = None, *, check: bool = False) -> Any:
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
    and other arguments that are new traces the function, and so does one whose arguments are the same Tensor, or share
    memory that is written to, where others did not; one after a parameter got another array, hook or requires_grad,
    or a module another `training`. Each later call does what the traced one did: to the bit, with the parameters,
    gradients, optimizers and random numbers as they are then.

    What is done in Python alone happens while tracing only: printing, counting, choosing by a number; and what changes
    outside in Python alone, such as a module in another's place, is not noticed. NotTraceable, a TypeError, says what
    cannot be done at each call: values that are read inside (`item()`, `float()`, `if tensor:`), shapes that depend on
    them, a Tensor kept outside in place of another, `.data` assigned, arguments that share memory with what is written
    to outside. Arguments that require grad raise RuntimeError.

    With `check`, each call is also made as the function is written, from the same beginning: RuntimeError where
    results, errors or what is left outside (arguments, parameters, gradients, the state of optimizers and generators)
    differ in a bit, with the first operation that does. That takes several times as long, and a copy of all of it.

    `compiled.whole` lists the operations that could not be traced, and are called as they are.
    """
    if function is None:
        return functools.partial(compile, check=check)
    written = function
    programs: list[tuple[Any, Program]] = []  # the last used one first
    lock = threading.RLock()  # a program has one memory: calls from several threads take turns
    busy = False
    whole: list[str] = []

    @functools.wraps(written, updated=())
    def compiled(*args: Any, **params: Any) -> Any:
        if mode.run is not EAGER:  # another runner is to see what is done, or this is part of what is being traced
            return written(*args, **params)
        tensors: list[Tensor] = []
        key = structure((args, params), tensors, {}), mode.grad, *_settings()
        nonlocal busy
        with lock:
            if busy:  # a call from within, by a hook
                return written(*args, **params)
            busy = True
            try:
                return call(key, tensors, args, params)
            finally:
                busy = False

    def call(key: Any, tensors: list[Tensor], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        program = None
        for place, (known, candidate) in enumerate(programs):
            if known == key and candidate.fits(tensors):
                if place:
                    programs.insert(0, programs.pop(place))
                program = candidate
                break
        if program is not None and not check:
            return program.run(tensors)
        traced = program is None
        apart = traced and any([known == key and not candidate.trace.written for known, candidate in programs])
        if check:
            program, results = checked_call(written, program, args, params, tensors, apart)
        else:
            program = Program(Trace(tensors, apart))
            results = program.record(written, args, params, tensors)
        if traced:
            whole.extend(program.trace.whole)
            programs.insert(0, (key, program))
            del programs[_PROGRAMS:]
        return results

    compiled.whole = whole  # type: ignore[attr-defined]
    return compiled


def _settings() -> tuple[Any, ...]:
    return get_default_dtype(), get_matmul_backend(), get_float32_matmul_precision()
