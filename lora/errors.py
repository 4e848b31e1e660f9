"""The one exception for mistakes of the user's making; the command line prints it as one line and exits with 2."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave is wrong. The message says what, and what to do about it, in one line."""
