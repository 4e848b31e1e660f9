"""Kernels whose loop is spread over the threads in the simplest way: by elements, or by rows.

    @over_elements                                          @over_rows
    def _relu(start, stop, worker, x, y): ...               def _softmax(start, stop, worker, x, y): ...

The decorated loop computes elements, or rows, `start` to `stop`. Python calls `_relu(x, y)`, which runs the loop over
all elements of its first array, or all rows of its first array (N, C). Results must not overlap other arguments.
"""

from __future__ import annotations

from collections.abc import Callable

from .compiler import apart, serial
from .launch import launched
from .threads import parallel_for

GRAIN = 8192  # elements that a thread takes at a time; fewer are not worth a second thread


def over_elements(loop: Callable[..., None]) -> Callable[..., None]:
    """Make a kernel that runs `loop` over the elements of its first array."""
    body = apart(loop)

    def launch(*args) -> None:
        parallel_for(body, args[0].size, GRAIN, args)

    return _named(launch, loop)


def over_rows(loop: Callable[..., None]) -> Callable[..., None]:
    """Make a kernel that runs `loop` over the rows of its first array, (N, C)."""
    body = apart(loop)

    def launch(*args) -> None:
        parallel_for(body, args[0].shape[0], GRAIN // (args[0].shape[1] + 1) + 1, args)

    return _named(launch, loop)


def _named(launch: Callable[..., None], loop: Callable[..., None]) -> Callable[..., None]:
    """Compile the launch, and give it the loop's name."""
    launch.__name__, launch.__qualname__ = loop.__name__, f"{loop.__module__}.{loop.__name__}"
    launch.__module__, launch.__doc__ = loop.__module__, loop.__doc__
    return launched(serial(launch))
