"""An exercise before a student: checked, told what is wrong, and at last shown the library's own code."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cli.errors import UserError
from ..derivations import derivation_of, formula_of
from ..exercises import find
from ..notebook import preformatted
from .exercise import Exercise, Problem, command
from .judging import problems
from .progress import ANSWERS_AFTER, Progress, Standing, fingerprint
from .running import run_file
from .student import call


@dataclass(frozen=True)
class Report:
    """What a check has found. Printed, it says it."""

    ok: bool
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return preformatted(self.text)


class Task:
    """An exercise and how far the student is with it. Printed, it is what there is to do."""

    def __init__(self, exercise: Exercise, progress: Progress, call: str = "", folder: Path | None = None) -> None:
        self.exercise, self.progress = exercise, progress
        # How the student gets at the library's own code: where a call made the task, in Python too.
        self.shown_by = f"print({call}.solution())" if call else command(exercise.name, "--solution", folder=folder)

    def __repr__(self) -> str:
        return f"{self.exercise.title}\n\n{self.exercise.text}\n\ndef {self.exercise.signature}: ..."

    def check(self, function: Callable[..., Any]) -> Report:
        """Call a function with the inputs and then the gradient that comes in, as NumPy arrays, and judge the result.

        It returns the inputs' gradients, or whatever else the exercise asks for. Exceptions in it are not caught.
        """
        if not callable(function):
            raise TypeError(f"check takes a function, {self.exercise.signature}, not {type(function).__name__}")
        questions = self.exercise.questions()
        found = [call(function, question.arguments) for question in questions]
        return self._report(problems(self.exercise, questions, found), _code_of(function))

    def check_file(self, path: Path) -> Report:
        """Run a student's file in a process of its own, and judge what its function returns."""
        questions = self.exercise.questions()
        code = fingerprint(path.read_bytes().decode("utf-8", "replace"))
        run = run_file(self.exercise, questions, path)
        if run.unwritten:
            report = Report(False, f"{self.exercise.name}: nothing is written yet. {run.error}")
        elif run.error:
            report = Report(False, f"{self.exercise.name}: {run.error}")
        else:
            report = self._report(problems(self.exercise, questions, run.returned), code)
        if run.printed:
            shown = "\n".join([f"    {line}" for line in run.printed.splitlines()])
            return Report(report.ok, f"printed:\n{shown}\n{report.text}")
        return report

    def solution(self) -> str:
        """The library's own code, once the exercise is passed or was tried three times."""
        name = self.exercise.name
        standing = self.progress.standings().get(name, Standing())
        if not standing.may_see_the_solution:
            left = ANSWERS_AFTER - standing.tries
            tries = "1 more try" if left == 1 else f"{left} more tries"
            raise UserError(f"the solution of {name} is shown when it is passed, or after {tries}")
        return "\n".join([source_of(part) for part in self.exercise.solution])

    def _report(self, found: list[Problem], code: str) -> Report:
        name = self.exercise.name
        solution = f"The library's own code: {self.shown_by}"
        if not found:
            before = self.progress.record(name, True, code)[0].tries
            how = "at the first try" if not before else f"after {before} wrong tr{'y' if before == 1 else 'ies'}"
            return Report(True, f"{name}: right, {how}.\n{solution}")
        hinted = [problem for problem in found if problem.nudge]
        if not hinted:
            return Report(False, "\n".join([f"{name}: {problem.fact}" for problem in found]))
        standing, counts = self.progress.record(name, False, code)
        tries = standing.tries
        same = "" if counts else ", still: the code is the same as before, which is no new try"
        lines = [f"{name}: wrong, try {tries}{same}"]
        for problem in found:
            lines.append(f"  {problem.fact}")
            lines.append(f"  hint: {problem.nudge if tries == 1 else problem.mistake}")
        if tries > 1 and any(problem.mistake.startswith("no single") for problem in found):
            lines.append(f"  {self.exercise.nudge}")
        if tries >= ANSWERS_AFTER:
            lines += self._derivation()
            lines.append(solution)
        return Report(False, "\n".join(lines))

    def _derivation(self) -> list[str]:
        """What the operation's class says of itself."""
        operation = self.exercise.solution[0]
        if not hasattr(operation, "backward"):
            return []
        said = [formula_of(operation), *derivation_of(operation).splitlines()]
        return [f"  | {line}" for line in said if line]


def exercise(
    name: str, *, folder: str | os.PathLike[str] | None = None, progress: str | os.PathLike[str] | None = None
) -> Task:
    """An exercise to do in a notebook: `exercise("softmax").check(backward)`.

    folder: of exercises of your own (docs/exercises.md). progress: the file that keeps what was passed; else it is the
    one of `python -m tinytorch.study exercise`.
    """
    kept = Progress(None if progress is None else Path(progress))
    given = {"folder": folder, "progress": progress}
    settings = [f", {key}={os.fspath(path)!r}" for key, path in given.items() if path is not None]
    call = f"study.exercise({name!r}{''.join(settings)})"
    return Task(find(name, None if folder is None else Path(folder)), kept, call)


def _code_of(function: Callable[..., Any]) -> str:
    """The fingerprint of a function; nothing where its source is not known."""
    try:
        return fingerprint(inspect.getsource(function))
    except (OSError, TypeError):
        return ""


def source_of(part: Any) -> str:
    """The code of a class or function of the library, with the comments above it, and where it is."""
    part = inspect.unwrap(getattr(part, "py_func", part))
    return f"# {part.__module__}\n{inspect.getcomments(part) or ''}{inspect.getsource(part)}"
