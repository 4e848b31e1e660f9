"""Which exercises were passed, and after how many tries: a file of JSON, replaced as a whole."""

from __future__ import annotations

import ast
import hashlib
import json
import textwrap
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ...cli.errors import UserError
from ...cli.reading import read_object
from ...files import atomic_write

ANSWERS_AFTER = 3  # tries: then the library's own code is shown


class Standing(NamedTuple):
    """How an exercise stands."""

    tries: int = 0  # that were wrong
    passed: bool = False
    last: str = ""  # the fingerprint of the code of the last one

    @property
    def may_see_the_solution(self) -> bool:
        """Whether the library's own code gives nothing away any more."""
        return self.passed or self.tries >= ANSWERS_AFTER


class Progress:
    """The standing of all exercises, kept in a file: in the user's folder of data unless another one is given."""

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            import platformdirs  # which only this needs

            path = platformdirs.user_data_path("tinytorch") / "exercises.json"
        self.path = path

    def standings(self) -> dict[str, Standing]:
        """Of the exercises that were tried."""
        advice = "delete it, or name another file with --progress"
        try:
            kept = read_object(self.path, advice) if self.path.exists() else {}
            return {name: _standing(entry) for name, entry in kept.items()}
        except (TypeError, KeyError, AttributeError):
            raise UserError(f"{self.path} is no file of progress; {advice}") from None

    def record(self, name: str, passed: bool, code: str) -> tuple[Standing, bool]:
        """Count a try, if its code is another one than the last. The standing with it, and whether it counts.

        A warning where it cannot be kept.
        """
        standings = self.standings()
        before = standings.get(name, Standing())
        counts = not code or code != before.last
        standings[name] = Standing(before.tries + (counts and not passed), before.passed or passed, code)
        kept = {name: standing._asdict() for name, standing in standings.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path) as file:
                file.write(json.dumps(kept, indent=1).encode())
        except OSError as error:
            warnings.warn(f"the progress is not kept: {self.path}: {error.strerror}", stacklevel=2)
        return standings[name], counts


def fingerprint(source: str) -> str:
    """The same for code that differs in comments and spaces alone."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an invalid escape; the student's own process says so
        source = ast.dump(ast.parse(textwrap.dedent(source)))  # a lambda's line may be no statement by itself
    return hashlib.sha256(source.encode("utf-8", "replace")).hexdigest()[:16]


def _standing(entry: dict[str, object]) -> Standing:
    tries, passed, last = entry["tries"], entry["passed"], entry.get("last", "")
    if type(tries) is not int or type(passed) is not bool or type(last) is not str:
        raise TypeError
    return Standing(tries, passed, last)
