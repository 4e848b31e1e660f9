"""Ctrl-C without a step cut in two, and what else asks a program to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType

# What a terminal sends for Ctrl-C, what `kill`, Slurm and Docker send, and a terminal that is closed.
ALL = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopSignal:
    """Within it, a signal to end only sets `requested`, so that no step is cut in two; a second Ctrl-C interrupts.

    Of the others there may be several: a terminal that closes sends SIGHUP, and its shell once more. What the process
    was started to ignore, as by nohup, stays ignored. Only the main thread is told of signals: in another one nothing
    changes.
    """

    requested = False

    def __init__(self, *signals: signal.Signals) -> None:
        self._signals = signals or ALL

    def __enter__(self) -> StopSignal:
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in self._signals}
            self._previous = {s: handler for s, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
        for number in self._previous:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
