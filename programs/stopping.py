"""Ctrl-C without a step cut in two."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignal:
    """Within it, the first Ctrl-C only sets `requested`, so that no step is cut in two; the second one interrupts."""

    requested = False

    def __enter__(self) -> StopSignal:
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
