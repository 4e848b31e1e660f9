"""Regular expressions that come with other people's files: one of them may take longer than the universe has been.

They are Python's, since PEFT matches with `re`; the package `regex`, which knows the same ones, can be given a limit.
"""

from __future__ import annotations

import re
import time
from typing import Any

import regex

from tinytorch.cli.errors import UserError

SECONDS = 3.0  # of the processor's time; a name takes some microseconds


def check_pattern(pattern: str) -> None:
    """UserError where a text is no regular expression."""
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise UserError(f"{pattern!r} is no regular expression: {error}") from None


class Matcher:
    """`re.match` and `re.fullmatch`, which take SECONDS at most in all the calls of one matcher together."""

    def __init__(self) -> None:
        self._left = SECONDS

    def match(self, pattern: str, text: str) -> Any:
        return self._timed(regex.match, pattern, text)

    def fullmatch(self, pattern: str, text: str) -> Any:
        return self._timed(regex.fullmatch, pattern, text)

    def _timed(self, match: Any, pattern: str, text: str) -> Any:
        start = time.process_time()  # which is what the package counts too
        try:
            return match(pattern, text, timeout=max(self._left, 1e-3))
        except TimeoutError:
            raise UserError(
                f"the expression {pattern!r} takes more than {SECONDS:g} seconds to match: "
                "write it without repetitions inside repetitions"
            ) from None
        except regex.error as error:  # what is an expression by itself, but not beside what PEFT puts around it
            raise UserError(f"{pattern!r} is no regular expression: {error}") from None
        finally:
            self._left -= time.process_time() - start
