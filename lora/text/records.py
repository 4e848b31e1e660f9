"""The records of a file: JSON lines, a JSON array, or a table (.csv, .tsv) whose first line names its columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinytorch.cli.errors import UserError

Record = dict[str, Any]
TABLES = {".csv": ",", ".tsv": "\t"}  # the delimiter of cells
PLAIN = (".txt", ".md")
LARGEST_CELL = 2**31 - 1  # characters; the csv module's own limit is 131,072


def read_text(path: Path) -> str:
    """A file's text, with its line ends; UserError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): convert it first") from None
    except IsADirectoryError:
        files = ", ".join(sorted(file.name for file in path.glob("*.jsonl"))) or "it has no .jsonl"
        raise UserError(f"{path} is a folder: give --data one file of it, and --val-data another ({files})") from None
    except FileNotFoundError:
        raise UserError(
            f"cannot read {path}: there is no such file (a data set on Hugging Face must be downloaded first)"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def records(path: Path) -> Iterator[tuple[str, Record]]:
    """Each record, with its place: "file, line 3"."""
    text = read_text(path)
    if path.suffix.lower() in TABLES:
        yield from _rows(path, text)
    elif text.lstrip().startswith("["):
        yield from _items(path, text)
    else:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                where = f"{path}, line {number}"
                yield where, _object(_parsed(where, line), where)


def _rows(path: Path, text: str) -> Iterator[tuple[str, Record]]:
    csv.field_size_limit(LARGEST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=TABLES[path.suffix.lower()], strict=True)
    names: list[str] | None = None
    try:
        for cells in rows:
            if not cells:
                continue
            if names is None:
                names = cells
            elif len(cells) != len(names):
                raise UserError(
                    f"{path}, line {rows.line_num}: it has {len(cells)} cells, the first line names {len(names)} "
                    f'columns: put cells with "{TABLES[path.suffix.lower()]}" or line ends in them in double quotes'
                )
            else:
                yield f"{path}, line {rows.line_num}", dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: it is not a table ({error})") from None


def _items(path: Path, text: str) -> Iterator[tuple[str, Record]]:
    try:
        items = json.loads(text)
    except ValueError as error:
        if "Extra data" in str(error):  # lines that are arrays
            raise UserError(f"{path}, line 1: it is not a JSON object") from None
        raise UserError(f"{path}: it begins like a JSON array but is not one ({error})") from None
    except RecursionError:
        raise UserError(f"{path}: it is JSON nested too deep to be a record") from None
    for number, item in enumerate(items, start=1):
        yield f"{path}, item {number}", _object(item, f"{path}, item {number}")


def _parsed(where: str, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        plain = " or ".join(PLAIN)
        raise UserError(f"{where}: it is not JSON ({error}); plain text to learn belongs in a {plain} file") from None
    except RecursionError:
        raise UserError(f"{where}: it is JSON nested too deep to be a record") from None


def _object(value: Any, where: str) -> Record:
    if not isinstance(value, dict):
        raise UserError(f"{where}: it is not a JSON object")
    return value
