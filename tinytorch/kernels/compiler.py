"""How kernels are compiled: a few decorators, one cache folder, one set of floating-point liberties.

`serial` compiles a function that runs on the calling thread (also from inside other kernels);
`inner` the same for one that Python never calls, `apart` for one whose results overlap nothing, too;
`c_function` one that is given addresses in place of arrays. Threads are started by `threads.parallel_for`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import types

from tinytorch.kernels.stack import on_large_stack
from tinytorch.kernels.wide_vectors import ApartCompiler, WideCompiler

F = TypeVar("F", bound=Callable[..., Any])

# What LLVM may assume. Not "nnan" or "ninf": masks hold infinities, and NaN must reach the user.
# Not "afn": exp and its like are written out in math.py, with a known error.
FASTMATH = {"contract", "reassoc", "arcp", "nsz"}


_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@cache
def cache_folder() -> str:
    """The folder of compiled kernels, named by a hash of every kernel's source.

    Numba recompiles a function when its own file changes, but not when a function that it calls
    in another file does. A new folder for each state of the sources closes that gap.
    NUMBA_CACHE_DIR, where set, is the parent; else the user's cache folder; else the temporary one.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for parent in _candidate_parents():
        folder = parent / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return tempfile.mkdtemp(prefix="tinytorch-")


def anything_compiled() -> bool:
    """Whether the cache folder holds a kernel: if not, the first calls take half a minute longer."""
    return next(Path(cache_folder()).rglob("*.nbc"), None) is not None


def _candidate_parents() -> list[Path]:
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR) / "tinytorch"]
    home = Path.home()
    if sys.platform == "win32":
        user = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        user = home / "Library" / "Caches"
    else:
        user = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return [user / "tinytorch", Path(tempfile.gettempdir()) / "tinytorch"]


@contextmanager
def _our_cache() -> Iterator[None]:
    """Numba's settings with our cache folder; the user's own are left as they were."""
    theirs = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder() if not os.environ.get("NUMBA_DISABLE_JIT") else theirs
    try:
        yield
    finally:
        numba.config.CACHE_DIR = theirs


def _compiled(function: F, pipeline_class: Any = WideCompiler, **options: Any) -> F:
    with _our_cache():
        compiled: Any = numba.njit(
            cache=True, error_model="numpy", fastmath=FASTMATH, pipeline_class=pipeline_class, **options
        )(function)
    if compiled is not function:  # as it is where Numba is told not to compile
        compiled._compile_for_args = on_large_stack(compiled._compile_for_args)
    return compiled  # type: ignore[no-any-return]


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
    with _our_cache():
        compile_it = numba.cfunc(
            types.void(*pointers), cache=True, error_model="numpy", fastmath=FASTMATH, pipeline_class=WideCompiler
        )
        compiled = on_large_stack(compile_it)(function)
    call: Any = ctypes.PYFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))(compiled.address)
    call.compiled = compiled  # whose code it is, and stays as long
    call.__name__ = function.__name__
    return call  # type: ignore[no-any-return]
