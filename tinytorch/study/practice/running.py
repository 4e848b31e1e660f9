"""Running a student's file in a process of its own, which may take only so long and print only so much."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .exercise import Exercise, Question
from .student import ANSWERS, QUESTIONS, read, write

SECONDS = 10.0  # that a file may take for all questions
PRINTED = 4000  # bytes of what it prints that are shown


@dataclass
class Run:
    """What came of it: what was returned, and which arguments were changed, for each question; or an error."""

    returned: list[tuple[Any, list[str]]] = field(default_factory=list)
    error: str = ""
    unwritten: bool = False  # whether the error says that nothing has been written yet
    printed: str = ""


def run_file(exercise: Exercise, questions: list[Question], path: Path) -> Run:
    """Call the function in a file with the arguments of each question."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder, QUESTIONS, [dict(question.arguments) for question in questions])
        program = [sys.executable, str(Path(__file__).with_name("student.py"))]
        process = subprocess.Popen(
            [*program, str(path.resolve()), exercise.function, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        printed = bytearray()
        reader = threading.Thread(target=_read, args=(process.stdout, printed), daemon=True)
        reader.start()
        late = False
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            process.kill()
            process.wait()
            reader.join(1)  # longer only where a process that the file has started holds the pipe
        run = _late() if late else _answers(folder, process.returncode)
    text = bytes(printed[:PRINTED]).decode("utf-8", "replace").rstrip()
    run.printed = text + ("\n... and more" if len(printed) > PRINTED else "")
    return run


def _late() -> Run:
    return Run(error=f"it has not ended within {SECONDS:g} seconds: is there a loop without an end?")


def _answers(folder: Path, code: int) -> Run:
    try:
        answers = read(folder, ANSWERS)
    except (OSError, ValueError, KeyError):
        return Run(error=f"its process ended with the exit code {code} before the function had returned")
    if "error" in answers:
        return Run(error=answers["error"], unwritten=answers["unwritten"])
    return Run([(returned, changed) for returned, changed in answers["returned"]])


def _read(stream: IO[bytes] | None, into: bytearray) -> None:
    """Read to the end, and keep the beginning: a process whose pipe is full would wait."""
    assert stream is not None
    with stream:
        while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
            if len(into) <= PRINTED:
                into += chunk
