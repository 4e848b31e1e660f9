"""The options of a program, which tyro builds from the classes of its settings, and help that fits the terminal."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from contextlib import redirect_stdout
from typing import Any, TextIO

import tyro


def parse(settings: Any, program: str, description: str, arguments: list[str]) -> Any:
    """Parse the arguments into an instance of one of the classes in `settings`; without arguments, print the help."""
    with redirect_stdout(_Folding(sys.stdout)):
        return tyro.cli(settings, prog=program, description=description, args=arguments or ["--help"])


class _Folding:
    """A text stream that folds its lines between words.

    tyro fits the table of options to the terminal, but not the usage and the descriptions.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        width = shutil.get_terminal_size().columns
        self._stream.write("\n".join(_fold(line, width) for line in text.split("\n")))
        return len(text)


def _fold(line: str, width: int) -> str:
    if len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= width:  # colours take no room
        return line
    return textwrap.fill(
        line,
        width,
        subsequent_indent="  " if line.startswith("- ") or "usage:" in line else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
