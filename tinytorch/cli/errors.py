"""The exception for the user's mistakes; the command line prints it as one line and exits with code 2."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave is wrong. The message says what, and what to do about it.

    Not a ValueError, which tyro would take for a misspelled option and draw a box around.
    """


def printable(text: str) -> str:
    """Make a text that may come from a file safe for a terminal: on one line, without control characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
