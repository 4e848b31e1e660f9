"""How kernels are compiled: a few decorators, one cache folder, one set of floating-point liberties.

`serial` compiles a function that runs on the calling thread (also from inside other kernels);
`inner` the same for one that Python never calls, `apart` for one whose results overlap nothing, too;
`c_function` one that is given addresses in place of arrays. Threads are started by `threads.parallel_for`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import types
from numba.core import sigutils
from numba.core.ccallback import CFunc

from tinytorch.kernels.machinery.cache import cache_folder, kernel_cache
from tinytorch.kernels.machinery.stack import on_large_stack
from tinytorch.kernels.machinery.wide_vectors import ApartCompiler, WideCompiler

if numba.config.DISABLE_JIT:
    raise ImportError("tinytorch's kernels are compiled, and nothing else: unset NUMBA_DISABLE_JIT", name="tinytorch")

F = TypeVar("F", bound=Callable[..., Any])

# What LLVM may assume. Not "nnan" or "ninf": masks hold infinities, and NaN must reach the user.
# Not "afn": exp and its like are written out in math.py, with a known error.
FASTMATH = {"contract", "reassoc", "arcp", "nsz"}


_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def anything_compiled() -> bool:
    """Whether the cache folder holds a kernel: if not, the first calls take half a minute longer."""
    folder = cache_folder()
    return folder is not None and next(Path(folder).rglob("*.nbc"), None) is not None


def _compiled(function: F, pipeline_class: Any = WideCompiler, **options: Any) -> F:
    compile_it = numba.njit(error_model="numpy", fastmath=FASTMATH, pipeline_class=pipeline_class, **options)
    compiled: Any = compile_it(function)
    compiled._cache = kernel_cache(function)
    compiled._compile_for_args = on_large_stack(compiled._compile_for_args)
    return compiled


def serial(function: F) -> F:
    """Compile a kernel that runs on one thread."""
    return _compiled(function)


def inner(function: F) -> F:
    """Compile a kernel that only kernels call: without entries for Python and C, in two thirds of the time."""
    return _compiled(function, **_INNER)


def apart(function: F) -> F:
    """Compile an `inner` kernel whose results overlap no other of its arrays: its loops may write several, in vectors.

    Without this promise LLVM makes two loops of one that writes, and enters the one without vectors where the result
    begins less than a few vectors behind an operand. A sum that it adds up on the way has other bits then: such a loop
    needs the promise.
    """
    return _compiled(function, ApartCompiler, **_INNER)


def c_function(function: Callable[..., None], *pointers: Any) -> Callable[..., None]:
    """Compile a kernel of a few pointers, which Python calls with addresses in a tenth of a microsecond.

    It holds the interpreter's lock, as all kernels do.
    """
    # As numba.cfunc does it, but for the cache.
    signature = sigutils.normalize_signature(types.void(*pointers))
    options = {"error_model": "numpy", "fastmath": FASTMATH}
    compiled: Any = CFunc(function, signature, locals={}, options=options, pipeline_class=WideCompiler)
    compiled._cache = kernel_cache(function)
    on_large_stack(compiled.compile)()
    call: Any = ctypes.PYFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))(compiled.address)
    call.compiled = compiled  # whose code it is, and stays as long
    call.__name__ = function.__name__
    return call
