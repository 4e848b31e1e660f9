"""The command `python -m tinytorch.study exercise`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from ...cli.errors import UserError
from ..exercises import find, names
from .exercise import command
from .progress import Progress, Standing
from .task import Task
from .trap import trap

WAIT = 0.2  # seconds between two looks at a file that is watched
MISSED = 5  # looks at which it was not there: then that is said


@dataclass(frozen=True)
class Exercise:
    """List the exercises; with NAME, write NAME.py to fill in; with check FILE, say whether it is right.

    The exit code of a check is 1 where something is wrong.
    """

    what: tyro.conf.Positional[tuple[str, ...]] = ()
    """nothing, or NAME, or check FILE"""
    watch: bool = False
    """check FILE again at each save, until it is right"""
    solution: bool = False
    """show the library's own code of NAME, once it is passed or was tried three times"""
    folder: Path | None = None
    """exercises of your own, one file each: see docs/exercises.md"""
    progress: Path | None = None
    """the file that keeps what was passed; else it is in your folder of data"""

    def run(self) -> int:
        checks = len(self.what) == 2 and self.what[0] == "check"
        if len(self.what) > 1 and not checks:
            raise UserError(f"expected nothing, NAME or check FILE, not {' '.join(self.what)!r}")
        if self.what == ("check",):
            raise UserError("which file is to be checked? python -m tinytorch.study exercise check FILE")
        if self.watch and not checks:
            raise UserError("--watch goes with check FILE")
        if self.solution and (checks or not self.what):
            raise UserError("--solution goes with the NAME of an exercise")
        progress = Progress(self.progress)
        if checks:
            path = Path(self.what[1])
            if not path.is_file():
                raise UserError(f"there is no file {path}")
            if path.stem not in names(self.folder):
                raise UserError(
                    f"{path} is checked as the exercise of its name, and there is no exercise {path.stem!r}: give the "
                    "file the name that it was written with"
                )
            code = _watch(self._task(path.stem), path) if self.watch else _check(self._task(path.stem), path)
            if code == 0:
                print(_next(names(self.folder), self.folder, progress))
            return code
        if not self.what:
            _list(names(self.folder), self.folder, progress)
        elif self.solution:
            print(self._task(self.what[0]).solution())
        else:
            _begin(self._task(self.what[0]), self.folder)
        return 0

    def _task(self, name: str) -> Task:
        return Task(find(name, self.folder), Progress(self.progress), folder=self.folder)


def _list(known: list[str], folder: Path | None, progress: Progress) -> None:
    """The trap, and below it all exercises with how they stand."""
    standings = progress.standings()
    print(trap(), end="\n\n")
    table = Table("", "name", "exercise", "so far", box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(known, 1):
        table.add_row(str(number), name, find(name, folder).title, _so_far(standings.get(name, Standing())))
    console = Console(markup=False)
    console.print(table)
    print(f"\n{_next(known, folder, progress)}")


def _next(known: list[str], folder: Path | None, progress: Progress) -> str:
    """How far the student is, and how to go on."""
    standings = progress.standings()
    left = [name for name in known if not standings.get(name, Standing()).passed]
    how = f"Next: {command(left[0], folder=folder)}" if left else "That is all of them."
    return f"{len(known) - len(left)} of {len(known)} passed. {how}"


def _so_far(standing: Standing) -> str:
    wrong = f"{standing.tries} wrong tr{'y' if standing.tries == 1 else 'ies'}" if standing.tries else ""
    if standing.passed:
        return f"passed, {wrong}" if wrong else "passed"
    return wrong


def _begin(task: Task, folder: Path | None) -> None:
    """Write the file to fill in, unless there is one."""
    path = Path(f"{task.exercise.name}.py")
    check = command("check", str(path), folder=folder)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(task.exercise.file(check))
    except FileExistsError:
        raise UserError(
            f"{path} is there already, and is left as it is: check it with "
            f"`{check}`, or move it away to begin anew"
        ) from None
    print(f"{task}\n\nWritten to {path}. Check it with: {check}")


def _check(task: Task, path: Path) -> int:
    report = task.check_file(path)
    print(report.text, flush=True)
    return 0 if report.ok else 1


def _watch(task: Task, path: Path) -> int:
    """Check at each save, until it is right."""
    seen, gone = None, 0
    while True:
        try:
            state = path.stat()
            now = state.st_mtime_ns, state.st_size, state.st_ino
            if now != seen:
                if _check(task, path) == 0:
                    return 0
                seen, gone = now, 0
                print(f"-- waiting for {path} to be saved; Ctrl-C ends", flush=True)
        except FileNotFoundError:  # an editor is about to put the new one in its place, or it is gone
            seen, gone = None, gone + 1
            if gone == MISSED:
                print(f"-- there is no file {path} any more: waiting for it; Ctrl-C ends", flush=True)
        time.sleep(WAIT)
