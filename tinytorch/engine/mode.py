"""What holds for one thread: whether operations are recorded, and which runner they go through."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import numpy as np


class _Mode(threading.local):
    """What holds for one thread."""

    grad = True  # operations record what backward needs
    run: Any  # the Runner that all work goes through (runner.py)
    packing: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None  # saved_tensors_hooks (saved.py)
    dropped: list[Any] | None = None  # what is left of a graph that is being dropped (graph.py)

    def __init__(self) -> None:
        # Calls a function where NumPy does not warn of infinities and NaN: log(0), 1/0, overflow. Running in a
        # context made once takes a tenth of np.errstate's time. Not to be nested.
        quiet = contextvars.copy_context()
        quiet.run(np.seterr, all="ignore")
        self.quietly: Callable[..., Any] = quiet.run


mode = _Mode()
