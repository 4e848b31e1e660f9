"""python -m bench.engine_size: how much of the engine there is to read, and how much of it one call enters.

Lines of code exclude blank lines, comments and docstrings. For a call, every entry into a Python function of this
project is counted, once everything is warm. The tape's folder is the code that records for `compile`; a mention outside
it is a word of code that is there only for its sake.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.options import parser_of

_ROOT = Path(__file__).parents[1]
_OLD_ENGINE = ("modes.py", "function.py", "walk.py", "tensor.py")  # before there was a folder
_TAPE = ("compiled/", "compilation", "kernels/tape.py", "kernels/traced.py")
_MENTIONS = re.compile(
    r"mode\.tape|\bARRAYS\b|\barray_of\b|\.of\(|\barrays_too\b|\bowned\(|\blike=|(?<!def )\blaunch\("
)
_CALLS = {
    "(a*a).sum().backward()": "(x * x).sum().backward()",
    "x.softmax(-1), backward(g)": "x.softmax(-1).backward(g)",
}
_PROBE = """
import json, sys
import tinytorch
folder = sys.argv[1]
found = []
for call in json.loads(sys.argv[2]):
    x, g = tinytorch.ones(3, 4, requires_grad=True), tinytorch.ones(3, 4)
    run = eval("lambda: " + call, {"x": x, "g": g})
    run()
    x.grad = None
    entered = []
    def note(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(folder) and code.co_name[:1] + code.co_name[-1:] != "<>":
            entered.append((code.co_filename, code.co_firstlineno))
    sys.setprofile(note)
    run()
    sys.setprofile(None)
    found.append([len(entered), len(set(entered)), len({name for name, _ in entered})])
print(json.dumps(found))
"""  # a comprehension is a function in some versions of Python only, so names <like this> do not count


def main() -> None:
    """Print the sizes of this tree and, beside them, those of another revision."""
    parser = parser_of(__doc__)
    parser.add_argument("--against", metavar="REVISION", help="a revision that git knows, such as 65ca756")
    against = parser.parse_args().against
    columns = {"this tree": measure(_ROOT)}
    if against is not None:
        with checked_out(against) as root:
            columns = {against: measure(root), **columns}
    table = Table("", *columns)
    for column in range(1, len(columns) + 1):
        table.columns[column].justify = "right"
    names = dict.fromkeys(name for rows in columns.values() for name in rows)
    for name in sorted(names, key=lambda name: name.partition(":")[0] != "engine"):  # both layouts' files together
        table.add_row(name, *[rows.get(name, "-") for rows in columns.values()])
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    console.print("The circle of this tree:", ", ".join(sorted(circle(_ROOT / "tinytorch"))) or "none")


def measure(root: Path) -> dict[str, str]:
    """Name and value of each line of the table, for one tree."""
    package = root / "tinytorch"
    imports = {"largest import circle, modules": str(len(circle(package)))}
    return {**_engine(package), **_entered(root), **_mentions(package), **imports}


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A folder with the files of another revision, for the length of the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tree"
        git = ["git", "-C", str(_ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), revision], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


# ---------------------------------------------------------------------- lines


def code_lines(source: str) -> dict[int, str]:
    """The lines of code by number, without comments; docstrings are left out."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        may_have_one = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if may_have_one and ast.get_docstring(node, clean=False) is not None:
            documented |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines, code = source.splitlines(), {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            code.update({n: lines[n - 1][: token.start[1]] for n in code if n == token.start[0]})
        elif token.string.strip() and token.type != tokenize.ENDMARKER:
            code.update({n: lines[n - 1] for n in range(token.start[0], token.end[0] + 1) if n not in documented})
    return code


def _engine(package: Path) -> dict[str, str]:
    folder = package / "engine"
    files = sorted(folder.glob("*.py")) if folder.is_dir() else [package / name for name in _OLD_ENGINE]
    counts = {path.relative_to(package).as_posix(): len(code_lines(path.read_text("utf-8"))) for path in files}
    total = {"engine, lines of code": str(sum(counts.values()))}
    return total | {f"engine: {name}": str(count) for name, count in counts.items()}


def _mentions(package: Path) -> dict[str, str]:
    found: Counter[str] = Counter()
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        if not name.startswith(_TAPE):
            folder = name.partition("/")[0] + "/" if "/" in name else "tinytorch/*.py"
            code = code_lines(path.read_text("utf-8")).values()
            found[folder] += sum([len(_MENTIONS.findall(line)) for line in code])
    total = {"mentions of the tape outside": str(sum(found.values()))}
    return total | {f"mentions: {folder}": str(count) for folder, count in sorted(found.items()) if count}


# ---------------------------------------------------------------------- calls


def _entered(root: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(root / "tinytorch"), json.dumps(list(_CALLS.values()))],
        env={**os.environ, "PYTHONPATH": str(root)}, cwd=root, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    return {
        f"{name}: entered, different, files": f"{entered}, {different}, {files}"
        for name, (entered, different, files) in zip(_CALLS, found, strict=True)
    }


# ---------------------------------------------------------------------- imports


def circle(package: Path) -> set[str]:
    """The largest set of modules that import each other, indirectly or for types alone; without the package's name."""
    names = {_module(package, path): path for path in package.rglob("*.py")}
    graph = {name: set(_imported(name, path, names)) - {name} for name, path in names.items()}
    found = max(_components(graph), key=len)
    return {name.partition(".")[2] or name for name in found} if len(found) > 1 else set()


def _module(package: Path, path: Path) -> str:
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(name: str, path: Path, names: dict[str, Path]) -> Iterator[str]:
    """What a module imports when it is imported, or for its types, except the packages that it is in."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _at_module_level(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from [alias.name for alias in node.names if alias.name in names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                if f"{base}.{alias.name}" in names:
                    yield f"{base}.{alias.name}"
                elif base in names:
                    yield base


def _at_module_level(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from _at_module_level(child)


def _components(graph: dict[str, set[str]]) -> list[set[str]]:
    """For each module, the set of modules that it reaches and that reach it."""
    reached = {name: _reachable(graph, name) for name in graph}
    return [{name, *[other for other in reached[name] if name in reached[other]]} for name in graph]


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        new = graph[left.pop()] - found
        found |= new
        left += new
    return found


if __name__ == "__main__":
    main()
