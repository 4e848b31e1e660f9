"""How kernels are compiled: a few decorators, one cache folder, one set of fast-math flags.

`serial` compiles a function that runs on the calling thread (other kernels may call it, too);
`inner` compiles one that only kernels call, `apart` an inner one whose results overlap no other array, and
`c_function` one that takes addresses instead of arrays. `threads.parallel_for` runs kernels on several threads.
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
    raise ImportError("tinytorch's kernels cannot run uncompiled: unset NUMBA_DISABLE_JIT", name="tinytorch")

F = TypeVar("F", bound=Callable[..., Any])

# What LLVM may assume. Not "nnan" or "ninf": masks hold infinities, and NaN must reach the user.
# Not "afn": exp and similar functions are written out in math.py, with a known error.
FASTMATH = {"contract", "reassoc", "arcp", "nsz"}


_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def anything_compiled() -> bool:
    """Whether the cache folder holds a kernel: if not, the first calls take half a minute longer."""
    folder = cache_folder()
    return folder is not None and next(Path(folder).rglob("*.nbc"), None) is not None


def _compiled(function: F, pipeline_class: Any = WideCompiler, **options) -> F:
    compile_it = numba.njit(error_model="numpy", fastmath=FASTMATH, pipeline_class=pipeline_class, **options)
    compiled: Any = compile_it(function)
    compiled._cache = kernel_cache(function)
    compiled._compile_for_args = on_large_stack(compiled._compile_for_args)
    return compiled


def serial(function: F) -> F:
    """Compile a kernel that runs on one thread."""
    return _compiled(function)


def inner(function: F) -> F:
    """Compile a kernel that only kernels call. Without entry points for Python and C it takes a third less time."""
    return _compiled(function, **_INNER)


def apart(function: F) -> F:
    """Compile an `inner` kernel whose results overlap none of its other arrays: its loops can write several in vectors.

    Without this promise LLVM makes two versions of a loop that writes, and runs the one without vectors if the result
    begins less than a few vectors behind an operand. A sum that the loop adds up on the way then has other bits: such
    a loop needs the promise.
    """
    return _compiled(function, ApartCompiler, **_INNER)


def c_function(function: Callable[..., None], *pointers) -> Callable[..., None]:
    """Compile a kernel that takes a few pointers; Python calls it with addresses in a tenth of a microsecond.

    It holds the interpreter's lock, as all kernels do.
    """
    # This does what numba.cfunc does, except for the cache.
    signature = sigutils.normalize_signature(types.void(*pointers))
    options = {"error_model": "numpy", "fastmath": FASTMATH}
    compiled: Any = CFunc(function, signature, locals={}, options=options, pipeline_class=WideCompiler)
    compiled._cache = kernel_cache(function)
    on_large_stack(compiled.compile)()
    call: Any = ctypes.PYFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))(compiled.address)
    call.compiled = compiled  # keeps the code in memory as long as the function lives
    call.__name__ = function.__name__
    return call
