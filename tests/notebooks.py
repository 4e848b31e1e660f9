"""The notebooks of docs/notebooks: the form in which they are committed, and running one without Jupyter.

    python -m tests.notebooks

writes all of them, or those that are named, in that form: as Jupyter itself writes them, but without outputs, counts
and whatever depends on the machine. A cell that Jupyter has given a random id gets one from the heading above it.
"""

from __future__ import annotations

import ast
import itertools
import json
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(path for path in FOLDER.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
RANDOM_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f-]+)?")  # as nbformat and JupyterLab make them


class NotebookError(Exception):
    """What is wrong with a notebook, and where."""


def canonical(text: str) -> str:
    """The notebook in the form in which it is committed."""
    notebook = json.loads(text)
    if (notebook.get("nbformat"), notebook.get("nbformat_minor", 0) >= 5) != (4, True):
        raise NotebookError("it is not of nbformat 4.5 or later: open and save it in a current JupyterLab")
    cells, taken = [], {cell["id"] for cell in notebook["cells"]}
    heading = "cell"
    for cell in notebook["cells"]:
        if cell["cell_type"] not in ("code", "markdown") or cell.get("attachments"):
            raise NotebookError(f"cell {cell['id']}: neither code nor Markdown, or with attachments")
        source = "".join(cell["source"])
        title = re.match(r"#+ (.*)", source) if cell["cell_type"] == "markdown" else None
        heading = "-".join(re.findall("[a-z0-9]+", title[1].lower())[:4]) if title else heading
        name = cell["id"]
        if RANDOM_ID.fullmatch(name):
            name = next(n for n in (f"{heading}-{k}" for k in itertools.count(1)) if n not in taken)
            taken.add(name)
        tags = cell["metadata"].get("tags")
        kept = {
            "cell_type": cell["cell_type"],
            "id": name,
            "metadata": {"tags": tags} if tags else {},
            "source": source.splitlines(keepends=True),
        }
        cells.append({**kept, "execution_count": None, "outputs": []} if cell["cell_type"] == "code" else kept)
    whole = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def cells(path: Path, kind: str = "code") -> Iterator[tuple[int, str]]:
    """The cells of one kind, each with its number, counted from 1 among all."""
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"], 1):
        if cell["cell_type"] == kind:
            yield number, "".join(cell["source"])


def problems(path: Path) -> Iterator[str]:
    """What is wrong with the form of a notebook."""
    text = path.read_text("utf-8")
    try:
        form = canonical(text)
    except (KeyError, TypeError, AttributeError, ValueError, NotebookError) as error:
        yield f"{path.name}: {type(error).__name__}: {error}"
        return
    if text != form:
        yield f"{path.name}: it has outputs, or another form: python -m tests.notebooks"
    ids = [cell["id"] for cell in json.loads(form)["cells"]]
    for name in dict.fromkeys(ids):
        if not ID.fullmatch(name):
            yield f"{path.name}: the id {name!r} is not of the form a-readable-name"
        if ids.count(name) > 1:
            yield f"{path.name}: the id {name!r} is there twice"
    asserts = 0
    for number, source in cells(path):
        try:
            asserts += sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source)))
        except SyntaxError as error:
            yield f"{path.name}, cell {number}: no Python (a magic?): {(error.text or '').strip()}"
    if not asserts:
        yield f"{path.name}: nothing in it is asserted"


def run(path: Path, max_steps: int | None = None, edited: Callable[[str], str] = str) -> dict[str, Any]:
    """Run the code in a fresh namespace, which is returned; a line `max_steps = N` is given a smaller number.

    Each cell is run as `edited` gives it back. Like Jupyter, this makes the text and the pictures that a cell's last
    expression is shown as.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, source in cells(path):
        if max_steps is not None:
            source = re.sub(r"^(max_steps = )([\d_]+)", rf"\1min(\2, {max_steps})", source, flags=re.M)
        source = edited(source)
        where = f"{path.name}, cell {number}"
        linecache.cache[where] = len(source), None, source.splitlines(keepends=True), where  # for inspect.getsource
        try:
            body = ast.parse(source, where)
            last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
            exec(compile(body, where, "exec"), names)
            if isinstance(last, ast.Expr):
                _show(eval(compile(ast.Expression(last.value), where, "eval"), names))
        except Exception as error:
            first = source.strip().partition("\n")[0]
            raise NotebookError(f"{where} ({first}): {type(error).__name__}: {error}") from error
    return names


def _show(value: Any) -> None:
    for method in ("__repr__", "_repr_html_", "_repr_svg_"):
        if hasattr(value, method) and not isinstance(value, type):
            getattr(value, method)()


def main(paths: list[str]) -> None:
    """Write notebooks, all unless some are named, in the form in which they are committed."""
    for path in map(Path, paths or NOTEBOOKS):
        text = path.read_text("utf-8")
        try:
            form = canonical(text)
        except (KeyError, TypeError, AttributeError, ValueError, NotebookError) as error:
            sys.exit(f"error: {path}: {error}")
        if form != text:
            path.write_text(form, "utf-8", newline="\n")
            print(f"{path}: written anew")


if __name__ == "__main__":
    main(sys.argv[1:])
