"""The figures in README.md and docs/reading.md are right, and bench.reading counts what a call enters."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tinytorch
from bench.engine_size import code_lines
from bench.reading import count, entered, path_of_a_step

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reading.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
ROWS = re.findall(r"^\| `([\w/]+\.py)` \|(?: ((?:`[\w.]+`(?:, )?)*) ?\|)? (\d+) \|", PAGE, re.M)


def test_the_page_has_its_rows() -> None:
    assert len(ROWS) == len(re.findall(r"^\| `[\w/]+\.py`", PAGE, re.M)) > 15


@pytest.mark.parametrize(("path", "names", "said"), ROWS, ids=lambda value: value.replace("`", ""))
def test_lines_of_code(path: str, names: str, said: str) -> None:
    source = (ROOT / path).read_text("utf-8")
    lines = set(code_lines(source))
    if names:
        nodes = [node_of(ast.parse(source), name.split(".")) for name in re.findall(r"`([\w.]+)`", names)]
        lines = {n for n in lines for node in nodes if first_line(node) <= n <= (node.end_lineno or 0)}
    assert_near(len(lines), said)


def test_the_sum() -> None:
    said = re.search(r"about ([\d,]+) lines in all", PAGE)
    assert said is not None
    assert_near(sum(int(lines) for _, _, lines in ROWS), said[1])


def test_the_readme_says_what_is_small_and_what_is_not() -> None:
    reading = re.search(r"^\| the afternoon's reading.* \| ([\d,]+) \|$", README, re.M)
    assert reading is not None
    assert_near(sum(int(lines) for _, _, lines in ROWS), reading[1])
    folders = re.findall(r"^\| `([\w/]+)/`.* \| ([\d,]+) \|$", README, re.M)
    named = {folder for folder, _ in folders}
    assert {"tinytorch/engine", "tinytorch/ops", "tinytorch/kernels", "gpt", "lora"} <= named
    for folder, said in folders:
        files = (ROOT / folder).rglob("*.py")
        assert_near(sum(len(code_lines(file.read_text("utf-8"))) for file in files), said)


def test_the_path_of_a_step() -> None:
    found = path_of_a_step()
    functions, lines = (sum(counts) for counts in zip(*found.values(), strict=True))
    said = re.search(r"\*\*(\d+) functions in (\d+) files, ([\d,]+) lines", PAGE)
    assert said is not None
    for number, text in zip((functions, len(found), lines), said.groups(), strict=True):
        assert_near(number, text)
    first_screen = re.search(r"enters (\d+) Python functions in (\d+) files", README)
    assert first_screen is not None and first_screen.groups() == said.groups()[:2]
    assert {"gpt/model.py", "tinytorch/engine/walk.py", "tinytorch/optim/adam.py"} <= set(found)


def test_the_path_by_folder() -> None:
    rows = re.findall(r"^\| `([\w/]+/)` \| (\d+) \| (\d+) \| (\d+) \|", PAGE, re.M)
    counts = {folder: [0, 0, 0] for folder, *_ in rows}
    for name, (functions, lines) in path_of_a_step().items():
        innermost = max([folder for folder in counts if name.startswith(folder)], key=len)
        counts[innermost] = [n + more for n, more in zip(counts[innermost], (1, functions, lines), strict=True)]
    for folder, *said in rows:
        for number, text in zip(counts[folder], said, strict=True):
            assert_near(number, text)


def test_what_a_call_enters() -> None:
    x = tinytorch.ones(3, requires_grad=True)
    names = {code.co_name for code in entered(lambda: x.exp().sum().backward())}
    assert {"exp", "apply", "forward", "backward", "walk"} <= names
    assert not [name for name in names if name.startswith("<")]
    kernel = {code.co_name for code in entered(lambda: x.softmax(-1))}
    assert "softmax" in kernel and "_softmax" not in kernel  # which is compiled


def test_lines_of_what_was_entered() -> None:
    from tinytorch.ops.elementwise import exp

    assert count({exp.__code__}) == {"tinytorch/ops/elementwise.py": (1, 2)}


def assert_near(number: int, said: str) -> None:
    """Within a tenth, or two lines of what is short."""
    off = abs(number - int(said.replace(",", "")))
    assert off <= max(2, number // 10), f"it says {said}, but it is {number}"


def node_of(tree: ast.AST, path: list[str]) -> ast.ClassDef | ast.FunctionDef:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == path[0]:
            return node_of(node, path[1:]) if path[1:] else node
    raise AssertionError(f"there is no {path[0]}")


def first_line(node: ast.ClassDef | ast.FunctionDef) -> int:
    return min([node.lineno, *[decorator.lineno for decorator in node.decorator_list]])
