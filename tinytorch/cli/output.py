"""Output that a program can do without: training continues when nobody reads it any more."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from rich.console import Console


def run_console() -> Console:
    """A console on stdout that falls silent, instead of ending the run, when stdout cannot be written to."""
    return Console(file=_Optional(sys.stdout))  # type: ignore[arg-type]


class _Optional:
    """A text stream that goes mute at the first failure, such as a closed pipe to `head` or a closed terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._go_mute()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._go_mute()

    def _go_mute(self) -> None:
        # The stream's buffer must go somewhere: Python flushes it again at exit, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
