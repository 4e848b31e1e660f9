"""A stack that is large enough to compile on: the main thread's, or that of a thread started for the purpose."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_BYTES = 16 << 20  # the compiler needs more than the 256 KB, or less, that threads have on some systems
_setting = threading.Lock()


def on_large_stack(function: F) -> F:
    """Make a function run on a thread with a large stack if it is called on another thread than the main one."""

    @functools.wraps(function)
    def call(*args, **params) -> Any:
        if threading.current_thread() is threading.main_thread():
            return function(*args, **params)
        result: Future[Any] = Future()
        with _setting:
            before = threading.stack_size(_BYTES)
            try:
                threading.Thread(target=_run, args=(result, function, args, params)).start()
            finally:
                threading.stack_size(before)
        return result.result()

    return call  # type: ignore[return-value]


def _run(result: Future[Any], function: Callable[..., Any], args, params) -> None:
    try:
        result.set_result(function(*args, **params))
    except BaseException as error:
        result.set_exception(error)
