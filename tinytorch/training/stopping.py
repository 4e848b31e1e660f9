"""Stopping on Ctrl-C, and on other signals to end, without cutting a step in two."""

from __future__ import annotations

import signal
import threading
from types import FrameType

# Sent by Ctrl-C in a terminal; by `kill`, Slurm and Docker; and by a terminal that is closed.
ALL = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopSignal:
    """A context where a signal to end only sets `requested`, so that no step is cut in two; a second Ctrl-C interrupts.

    The others may come more than once: a terminal that closes sends SIGHUP, and so does its shell. Signals that the
    process was started to ignore, as by nohup, stay ignored. Only the main thread receives signals, so in any other
    thread nothing changes.
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
