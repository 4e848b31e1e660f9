"""The one exception for mistakes of the user's making; the command line prints it as one line and exits with 2."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave is wrong. The message says what, and what to do about it.

    Not a ValueError: tyro would take that for a mistake in how an option is spelled and draw a box around it.
    """


def printable(text: str) -> str:
    """A text for a terminal, where a file may have written it: on one line, without control characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
