"""The commands: `python -m tinytorch.study SUBJECT` makes a page, `why | table | check | svg | dot SUBJECT` print.

`exercise` is in practice/commands.py.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..cli.errors import UserError
from ..cli.options import parse
from ..files import atomic_write
from .page.pages import write_page, write_site
from .practice.commands import Exercise
from .subjects import SUBJECTS, Sizes, trace_of
from .trace import Trace

SUBJECT = f"{', '.join(SUBJECTS)}, or MODULE:FUNCTION, which is yours, takes nothing and returns its loss"


@dataclass(frozen=True)
class Settings:
    """What is looked at."""

    subject: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SUBJECT", help=SUBJECT)]
    T: int = 4
    """length in time, or the number of rows"""
    D: int = 3
    """size of a head, or of a row"""
    heads: int = 1
    """of attention"""
    causal: bool = False
    """whether attention is"""
    seed: int = 0
    """of the numbers that are drawn"""
    unfold: bool = True
    """whether fused operations run as the elementary ones that they stand for"""

    @property
    def sizes(self) -> Sizes:
        """For the subject."""
        return Sizes(self.T, self.D, self.causal, self.seed, self.unfold, self.heads)

    def trace(self) -> Trace:
        """The subject, traced and walked."""
        return trace_of(self.subject, self.sizes)


@dataclass(frozen=True)
class Page(Settings):
    """Make a page to step through in a browser: one file that needs nothing else. "page" itself may be left out."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """the file to write, instead of SUBJECT.html here"""
    open: bool = False
    """show it in the browser"""

    def run(self) -> int:
        out = self.out or Path(f"{self.subject.replace(':', '.')}.html")
        write_page(self.subject, self.sizes, out)
        print(f"{out}: open it in a browser")
        if self.open:
            webbrowser.open(out.resolve().as_uri())
        return 0


@dataclass(frozen=True)
class Site:
    """Make the pages of all subjects, and an index.html that shows a path through them."""

    folder: tyro.conf.Positional[Path]
    """where to"""

    def run(self) -> int:
        print(f"{write_site(self.folder)[-1]}: open it in a browser")
        return 0


@dataclass(frozen=True)
class Why(Settings):
    """Take one number apart, of a gradient, or with --forward of a value: why attention "dq[1,0]"."""

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[NUMBER]")] = "loss"
    """a name and an element, as "dscores[2,1]"; the names are in the table of SUBJECT"""
    depth: int = 1
    """how many steps to go"""
    forward: bool = False
    """the value in place of the gradient"""

    def run(self) -> int:
        print(self.trace().why(self.what, depth=self.depth, forward=self.forward))
        return 0


@dataclass(frozen=True)
class Table(Settings):
    """List the values with what made them, their gradients and the lines."""

    def run(self) -> int:
        print(self.trace().table())
        return 0


@dataclass(frozen=True)
class Check(Settings):
    """Put finite differences beside every gradient. The exit code is 1 where one is wrong."""

    def run(self) -> int:
        found = self.trace().check()
        print(found)
        return 0 if found.ok else 1


@dataclass(frozen=True)
class Svg(Settings):
    """Draw the graph."""

    out: Path | None = None
    """the file to write; else it is printed"""

    def run(self) -> int:
        return _write(self.trace().svg(), self.out)


@dataclass(frozen=True)
class Dot(Settings):
    """Write the graph for Graphviz."""

    out: Path | None = None
    """the file to write; else it is printed"""

    def run(self) -> int:
        return _write(self.trace().dot(), self.out)


def _write(text: str, out: Path | None) -> int:
    if out is None:
        print(text)
    else:
        with atomic_write(out) as file:
            file.write(text.encode())
    return 0


def run(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        arguments = ["page", *arguments]
    commands: Any = reduce(or_, [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items()])
    command = parse(commands, "python -m tinytorch.study", "Follow a gradient number by number.", arguments)
    sys.path.insert(0, os.getcwd())  # where a user's module is
    try:
        code: int = command.run()
        return code
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(str(error)) from error


COMMANDS: dict[str, Any] = {
    "page": Page, "why": Why, "table": Table, "check": Check, "svg": Svg, "dot": Dot, "site": Site,
    "exercise": Exercise,
}  # fmt: skip
