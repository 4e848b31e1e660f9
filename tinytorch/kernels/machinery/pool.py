"""Numba's pool of threads, which `threads.parallel_for` runs kernels on: how it is loaded, and what a fork does to it.

No thread starts at import: GNU's OpenMP, which Numba uses on Linux, starts its threads at the first kernel that runs on
several. A forked child has only the thread that forked. OpenMP would wait there for the other threads for ever, so
Numba ends such a child. Before a fork, the forking thread's pool is therefore ended, which takes some microseconds;
parent and child each start a new one when they need it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba

# How often an idle thread of GNU's OpenMP looks for work before it sleeps. This many looks take a fifth of a
# millisecond, or a whole one on processors that pause longer between two looks. The default, fifteen times as many,
# costs two thirds of the speed next to two busy programs; sleeping at once costs a fifth if there are none.
_LOOKS = "20000"
_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # a user who has set one of them knows better
_SOFT = 1  # omp_pause_soft in omp.h: end the threads, keep the settings

_LIBRARIES = {"omp": "omppool", "tbb": "tbbpool", "workqueue": "workqueue"}
_ended = False  # whether the pool of the forking thread has been ended
_alone = False  # whether this process is a child that cannot start a pool of its own


@contextmanager
def _fewer_looks() -> Iterator[None]:
    """Put the setting into the environment while the library is loaded, which reads it there."""
    if any(name in os.environ for name in _SETTINGS):
        yield
        return
    os.environ[_SETTINGS[0]] = _LOOKS
    try:
        yield
    finally:
        del os.environ[_SETTINGS[0]]


def _load() -> Any:
    """Load the pool, which makes its entry points known to the linker before any kernel is loaded."""
    with _fewer_looks():
        numba.get_num_threads()
    return importlib.import_module(f"numba.np.ufunc.{_LIBRARIES[numba.threading_layer()]}")


_library = _load()
# OpenMP has the first from GCC 9 on. Both functions keep the interpreter's lock.
_end: Any = getattr(ctypes.PyDLL(_library.__file__), "omp_pause_resource_all", None)
_register = ctypes.PYFUNCTYPE(None, ctypes.c_int)(_library.launch_threads)


def max_threads() -> int:
    """The size of the pool (NUMBA_NUM_THREADS where set, else the number of cores)."""
    return 1 if _alone else int(numba.config.NUMBA_NUM_THREADS)


def _before_fork() -> None:
    global _ended
    _ended = _end is not None and _end(_SOFT) == 0


def _in_child() -> None:
    """Tell Numba that this process may use the pool, with one thread if the old pool could not be ended."""
    global _alone
    if not _ended:
        _alone = True
        numba.set_num_threads(1)
    _register(max_threads())


if getattr(_library, "openmp_vendor", "") == "GNU":  # other pools handle forks themselves
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
