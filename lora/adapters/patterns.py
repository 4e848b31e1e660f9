"""Regular expressions from other people's files, matched with a time limit: a malicious one may never finish.

They have Python's syntax, since PEFT matches with `re`; the package `regex` takes the same syntax and a time limit.
"""

from __future__ import annotations

import re
import time
from typing import Any

import regex

from tinytorch.cli.errors import UserError

SECONDS = 3.0  # of CPU time; matching a name takes a few microseconds


def check_pattern(pattern: str) -> None:
    """UserError if a text is not a regular expression."""
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise UserError(f"{pattern!r} is not a regular expression: {error}") from None


class Matcher:
    """`re.match` and `re.fullmatch` with a limit: all calls of one matcher together take at most SECONDS."""

    def __init__(self) -> None:
        self._left = SECONDS

    def match(self, pattern: str, text: str) -> Any:
        return self._timed(regex.match, pattern, text)

    def fullmatch(self, pattern: str, text: str) -> Any:
        return self._timed(regex.fullmatch, pattern, text)

    def _timed(self, match: Any, pattern: str, text: str) -> Any:
        start = time.process_time()  # the clock that `regex` uses too
        try:
            return match(pattern, text, timeout=max(self._left, 1e-3))
        except TimeoutError:
            raise UserError(
                f"the expression {pattern!r} takes more than {SECONDS:g} seconds to match: "
                "write it without repetitions inside repetitions"
            ) from None
        except regex.error as error:  # valid by itself, but not within what PEFT puts around it
            raise UserError(f"{pattern!r} is not a regular expression: {error}") from None
        finally:
            self._left -= time.process_time() - start
