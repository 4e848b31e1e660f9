"""What tests.mutation plants, and where: by hand it is run, so that nothing else would notice if it planted nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation.__main__ import Copy, _subfolder
from tests.mutation.faults import Fault, faults_of
from tests.mutation.names import Names

SOURCE = '''
"""A docstring with 1 < 2."""
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sys

LIMIT = 4

class Thing:
    """Another, of 3."""
    examples = ((lambda t: t + 1, (3, 4)),)

    def method(self, x: "int | 1", n: int = 2, quiet: bool = False) -> "list[0]":
        if x < n and not quiet:
            raise ValueError(f"{x} is less than {n + 1}" + "!")
        for i in range(x):
            if i == LIMIT:
                continue
            self.total += max(x, -i)
        return [
            x,
            n,
        ][1:]
'''.lstrip()  # fmt: skip


def test_what_is_planted() -> None:
    planted = [(fault.before, fault.after) for fault in faults_of("thing.py", SOURCE.encode())]
    assert sorted(planted) == sorted([
        ("4", "5"), ("4", "3"),
        ("2", "3"), ("2", "1"),
        ("False", "True"),
        ("x < n", "(x <= n)"), ("x < n", "(x > n)"),
        ("x < n and not quiet", "(x < n or not quiet)"),
        ("x < n and not quiet", "(False)"), ("x < n and not quiet", "(True)"),
        ("not quiet", "(quiet)"),
        ('raise ValueError(f"{x} is less than {n + 1}" + "!")', "pass"),
        ("i == LIMIT", "(i != LIMIT)"), ("i == LIMIT", "(False)"), ("i == LIMIT", "(True)"),
        ("continue", "break"),
        ("self.total += max(x, -i)", "self.total -= max(x, -i)"), ("self.total += max(x, -i)", "pass"),
        ("max(x, -i)", "(max(x))"), ("max(x, -i)", "(min(x, -i))"),
        ("-i", "(i)"),
        ("1:", ":"),
        ("1", "2"), ("1", "0"),
    ])  # fmt: skip


@pytest.mark.parametrize(
    "path", ["tinytorch/engine/walk.py", "tinytorch/kernels/rope.py", "lora/adapters/merging.py", "gpt/model.py"]
)
def test_every_fault_changes_the_program_and_no_line_number(path: str) -> None:
    source = (Path(__file__).parents[1] / path).read_bytes()
    program = ast.dump(ast.parse(source))
    faults = faults_of(path, source)
    assert len(faults) > 30
    for fault in faults[::5]:
        text = fault.plant(source)
        assert ast.dump(ast.parse(text)) != program, fault
        assert text.count(b"\n") == source.count(b"\n"), fault


def by_text(text: str) -> Fault:
    return next(fault for fault in faults_of("thing.py", SOURCE.encode()) if fault.after == text)


def test_where_a_fault_may_be_seen() -> None:
    """The lines of the statement; what is made at import, where its name is used."""
    lines = SOURCE.splitlines()
    assert [lines[n - 1].strip() for n in by_text("(x <= n)").lines] == ["if x < n and not quiet:"]
    assert [lines[n - 1].strip() for n in by_text(":").lines] == ["return [", "x,", "n,", "][1:]"]
    assert (by_text("5").names, by_text("(quiet)").names) == (("LIMIT",), ("method",))


def test_uses_are_followed_by_name(tmp_path: Path) -> None:
    """From a constant through a function whose lines are not seen to run, to one whose are."""
    (tmp_path / "a.py").write_text("BASE = 1\nLIMIT = 2 * BASE\n\ndef kernel():\n    return LIMIT\n")
    (tmp_path / "b.py").write_text("import a\n\ndef caller():\n    return a.kernel()\n")
    names = Names(tmp_path, ["a.py", "b.py"])
    found, seen = names.users(["BASE"], lambda mention: mention.path == "b.py")
    assert [(mention.path, mention.line) for mention in found] == [("b.py", 4)]
    assert seen == {"BASE", "LIMIT", "kernel"}


def test_compiled_kernels_are_taken_from_every_folder_of_kernels(tmp_path: Path) -> None:
    copy = Copy.__new__(Copy)
    copy.tree, copy.kernels = tmp_path / "copy", tmp_path / "filled"
    for folder in ("kernels", "kernels/gemm"):
        for tree in (tmp_path / "tree", copy.tree):
            (tree / "tinytorch" / folder).mkdir(parents=True)
            (tree / "tinytorch" / folder / "__init__.py").touch()
        cached = tmp_path / "cache" / _subfolder(tmp_path / "tree" / "tinytorch" / folder / "__init__.py")
        cached.mkdir(parents=True)
        for name in ("pack.pack", "pack._stale"):
            (cached / f"{name}-12.py312.nbi").touch()
    copy._fill_from(tmp_path / "cache", tmp_path / "tree", {"_stale"})
    found = {path.relative_to(copy.kernels).as_posix() for path in copy.kernels.rglob("*.nbi")}
    folders = [copy.tree / "tinytorch" / folder / "__init__.py" for folder in ("kernels", "kernels/gemm")]
    assert found == {f"{_subfolder(folder)}/pack.pack-12.py312.nbi" for folder in folders}
