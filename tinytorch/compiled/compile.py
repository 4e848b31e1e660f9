"""`compile`: a function that runs once as written, and from then on as a list of what that run did.

A training step of a small model spends more time in Python, on choosing, checking and linking, than in its kernels.
As long as shapes stay the same, the outcome of all that is the same each time. So the first call records every kernel
and NumPy function, in forward, backward and parameter updates, with the memory they use; later calls copy their
arguments there and run the list.

Three things are recorded as whole calls, to be repeated as they are: functions that work on all parameters at once or
count in Python (an optimizer's step, clipping, a schedule), random draws, and operations that cannot be traced down to
their kernels because they depend on values.
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

_PROGRAMS = 8  # kept per function, the last used ones: as many as PyTorch compiles before giving up


def compile(function: Callable[..., Any] | None = None, *, check: bool = False) -> Any:
    """The same function, but faster if Python takes longer than the arithmetic. Also a decorator.

        @tinytorch.compile
        def step(x, y):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

    A whole step belongs inside, with its backward: results have no history. Arguments and results are Tensors, alone
    or in tuples, lists and dictionaries; other arguments must be hashable. A call with new shapes, dtypes or other
    arguments traces the function. So does a call whose arguments are the same Tensor, or share memory that is written
    to, if they did not before, and a call after a parameter got another array, hook or requires_grad, or a module
    another `training`. Every other call does what the traced one did, with the same bits as the function as written,
    and with the parameters, gradients, optimizers and random numbers as they are then.

    Other Python code runs only while tracing: printing, counting, choosing by a number. Changes outside in Python
    alone, such as a replaced module, are not noticed. NotTraceable, a TypeError, is raised for anything that cannot be
    repeated at each call: reading values inside (`item()`, `float()`, `if tensor:`), shapes that depend on them,
    assigning a Tensor to something outside, assigning `.data`, and arguments that share memory with something outside
    that is written to. Arguments that require grad raise RuntimeError.

    With `check`, each call is also made as written, from the same state: a RuntimeError names the first operation that
    differs if results, errors or the state left outside (arguments, parameters, gradients, optimizers, generators)
    differ in any bit. That takes several times as long, and a copy of all that state.

    `compiled.whole` lists the operations that could not be traced and are called as they are.
    """
    if function is None:
        return functools.partial(compile, check=check)
    written = function
    programs: list[tuple[Any, Program]] = []  # most recently used first
    lock = threading.RLock()  # a program has one memory: calls from several threads take turns
    busy = False
    whole: list[str] = []

    @functools.wraps(written, updated=())
    def compiled(*args: Any, **params: Any) -> Any:
        if mode.run is not EAGER:  # another runner must see what is done, or this is being traced
            return written(*args, **params)
        tensors: list[Tensor] = []
        key = structure((args, params), tensors, {}), mode.grad, *_settings()
        nonlocal busy
        with lock:
            if busy:  # a call from inside, by a hook
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
