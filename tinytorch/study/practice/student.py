"""Calling the student's function: where it is, or for a file in a process of its own, of which this is the program.

Nothing but NumPy is imported here, so that the process starts at once.
"""

from __future__ import annotations

import json
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MEMORY = 4 << 30  # bytes that a file may fill, where the system can limit them
LARGEST = 10_000_000  # elements of an array that is handed back
LONGEST = 500  # characters of an error that are shown
QUESTIONS, ANSWERS = "questions", "answers"  # the names of the files, .json and .npz, by which the processes talk


class Foreign:
    """What is no answer, and what kind of thing it is."""

    def __init__(self, what: str) -> None:
        self.what = what


def called(value: Any) -> str:
    """What kind of thing a value is, in a word or two."""
    if value is None or isinstance(value, Foreign):
        return "None" if value is None else value.what
    name = type(value).__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """What the function returns, and which of its arguments it has changed. It is given copies."""
    given = {name: x.copy() if isinstance(x, np.ndarray) else x for name, x in arguments.items()}
    returned = function(*given.values())
    arrays = [name for name, x in arguments.items() if isinstance(x, np.ndarray)]
    return returned, [name for name in arrays if not np.array_equal(arguments[name], given[name], equal_nan=True)]


def encode(value: Any, arrays: list[Any], depth: int = 0) -> Any:
    """As JSON; arrays go into a list, and are referred to by their number."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind not in "biufcSU" or array.size > LARGEST:
            return {"foreign": f"an array of dtype {array.dtype} and shape {array.shape}"}
        arrays.append(array)
        return {"array": len(arrays) - 1}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if isinstance(value, (list, tuple)) and depth < 10:
        return {type(value).__name__: [encode(part, arrays, depth + 1) for part in value]}
    if isinstance(value, dict) and depth < 10:
        return {"dict": [[encode(part, arrays, depth + 1) for part in pair] for pair in value.items()]}
    return {"foreign": called(value)}


def decode(coded: Any, arrays: Any) -> Any:
    """What was encoded."""
    ((kind, content),) = coded.items()
    if kind == "array":
        return arrays[f"arr_{content}"]
    if kind in ("list", "tuple"):
        parts = [decode(part, arrays) for part in content]
        return parts if kind == "list" else tuple(parts)
    if kind == "dict":
        return {decode(key, arrays): decode(value, arrays) for key, value in content}
    return Foreign(content) if kind == "foreign" else content


def write(folder: Path, name: str, value: Any) -> None:
    """Encode something into two files of that name."""
    arrays: list[Any] = []
    coded = encode(value, arrays)
    np.savez(folder / f"{name}.npz", *arrays)
    (folder / f"{name}.json").write_text(json.dumps(coded), encoding="utf-8")


def read(folder: Path, name: str) -> Any:
    """Decode what is in two files of that name."""
    coded = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
        return decode(coded, arrays)


def answered(path: Path, function: str, questions: list[dict[str, Any]]) -> dict[str, Any]:
    """{"returned": [[what it returned, what it changed], ...]} or {"error": text, "unwritten": whether it is that}."""
    try:
        module = types.ModuleType(path.stem)
        module.__file__ = str(path)
        sys.modules[path.stem] = module
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        found = getattr(module, function, None)
        if not callable(found):
            return {"error": f"{path.name} defines no function {function!r}", "unwritten": False}
        return {"returned": [list(call(found, arguments)) for arguments in questions]}
    except BaseException as error:  # SystemExit too: what ends the file ends the check, and is said
        return {"error": _told(error, path), "unwritten": type(error) is NotImplementedError}


def _told(error: BaseException, path: Path) -> str:
    """The line of the student's file where it happened, and what."""
    what = traceback.format_exception_only(type(error), error)[-1].strip()[:LONGEST]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path.name}, line {error.lineno}: {(error.text or '').strip()}\n  {what}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"{path.name}, line {frames[-1].lineno}: {frames[-1].line}\n  " if frames else f"{path.name}: "
    return place + what


def main(path: Path, function: str, folder: Path) -> None:
    """Answer the questions in a folder."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    beside_this = str(Path(__file__).parent)
    sys.path[:] = [str(path.parent), *[place for place in sys.path if place != beside_this]]  # as for any program there
    write(folder, ANSWERS, answered(path, function, read(folder, QUESTIONS)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
