"""What the site is made from: pages of operations, the README's parts, docstrings, links. Sphinx is not needed."""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from docs.generate import derivations, links, operations, readme, reference
from docs.generate.__main__ import LEFT_OUT, contents, refuse, replace, write_sources
from docs.generate.docstrings import as_markdown, as_rst
from tests.ops import checks
from tinytorch.cli.errors import UserError
from tinytorch.engine.function import Function
from tinytorch.ops.softmax import Softmax, SoftmaxBackward

ROOT = Path(__file__).parents[2]


def test_every_operation_has_a_page() -> None:
    assert set(operations.operations()) == set(checks.operations())
    index = derivations._index(sorted({operations.family_of(cls) for cls in operations.operations()}))
    for cls in operations.operations():
        assert f"]({operations.family_of(cls)}/{cls.__name__}.md)" in index


@pytest.mark.parametrize("cls", operations.operations(), ids=lambda cls: cls.__name__)
def test_names_resolve_and_examples_are_read_from_the_code(cls: Any) -> None:
    for name in operations.names_of(cls):
        owner, _, last = name.rpartition(".")
        place = torch.Tensor if owner == "tinytorch.Tensor" else importlib.import_module(owner)
        assert callable(getattr(place, last)), name
    examples = operations.examples_of(cls)
    assert len(examples) == len(cls.examples) and all(compile(e.code, "", "eval") for e in examples)
    for error in operations.examples_of(cls, "errors"):
        assert error.exception is not None and len(error.names) == len(error.shapes)


def test_names_are_those_that_a_user_calls() -> None:
    assert operations.names_of(Softmax) == (
        "tinytorch.softmax", "tinytorch.Tensor.softmax", "tinytorch.nn.functional.softmax"
    )  # fmt: skip
    assert operations.names_of(SoftmaxBackward) == () and operations.users_of(SoftmaxBackward) == [Softmax]


@pytest.mark.parametrize("name", ["Softmax", "SoftmaxBackward", "Split", "Equal", "Max"])
def test_a_page_shows_what_the_engine_computes(name: str) -> None:
    cls = next(cls for cls in operations.operations() if cls.__name__ == name)
    page = derivations.page_of(cls)
    code = "\n".join([line[4:] for line in page.splitlines() if line.startswith((">>> ", "... "))])
    code = code.partition("torch.randn")[0].rpartition("\n")[0]  # what it refuses comes below
    session: dict[str, Any] = {"torch": torch, "_gradient": getattr(inspect.getmodule(cls), "_gradient", None)}
    exec(code, session)
    results = [session[key] for key in ("dx",) if key in session]
    assert (cls.backward is None) == (not results)
    for result in results:
        assert repr(result) in page


def test_a_page_has_links_to_study_and_exercises() -> None:
    page = derivations.page_of(Softmax)
    assert 'href="../../study/softmax.html"' in page and "exercise softmax" in page
    assert "dL/dx_j = sum_i g_i y_i" in page and "<math" in page and "IndexError: Dimension out of range" in page


class Planted(Function):
    """y = x^2"""

    examples: Any = ((lambda t, x: Planted.apply(x), (3, 4)),)
    factor = 2.0

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return x * x

    # dy/dx = 2 x
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g * (x * Planted.factor)


def test_what_is_wrong_with_an_operation_gives_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for cached in (derivations._subjects, derivations._exercises):
        monkeypatch.setattr(derivations, cached.__name__, dict)
    assert "dy/dx = 2 x" in derivations.page_of(Planted)
    monkeypatch.setattr(Planted, "factor", 3.0)
    with pytest.raises(RuntimeError, match="backward is wrong"):
        derivations.page_of(Planted)
    monkeypatch.setattr(Planted, "__doc__", "")
    derivations.formula_of.cache_clear()
    with pytest.raises(ValueError, match="Planted has no docstring or no examples"):
        derivations.page_of(Planted)


def test_an_operation_that_is_only_named_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivations, "_exercises", lambda: {"Sofmax": ["softmax"]})
    with pytest.raises(ValueError, match="no operation is called Sofmax"):
        derivations.pages()


def test_the_readme_in_parts() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    pages = readme.pages(text)
    assert [page.partition("\n")[0] for page in pages.values()] == ["# tinytorch", "# Quickstart", "# The folders"]
    lines = [line.lstrip("#") for page in pages.values() for line in page.splitlines()]
    assert sorted(lines) == sorted([line.lstrip("#") for line in text.splitlines()])
    link = "see [a](../README.md#the-folders), [b](../README.md), [c](../bench/README.md), [d](README.md)"
    assert readme.redirected(link, "docs/a.md", text) == (
        "see [a](../the-folders.md#the-folders), [b](../index.md), [c](../bench/README.md), [d](README.md)"
    )
    with pytest.raises(ValueError, match=r"README\.md has no section The folders"):
        readme.pages("# a\n\n## Quickstart\n")


def test_docstrings_as_markup() -> None:
    text = "Of x_i and *args: `grad`.\n\n    y = x_i *\n\na: one\n    more\nb_: two\n\nwide   x\n  y   z"
    assert as_rst(text) == (
        "Of x\\_i and \\*args: ``grad``.\n\n::\n\n    y = x_i *\n\n- a: one\n  more\n- b\\_: two\n\n"
        "::\n\n    wide   x\n      y   z"
    )
    assert as_markdown("a[1] < b_: `c_`") == "a\\[1\\] \\< b\\_: `c_`"


def test_the_reference_has_what_is_public() -> None:
    pages = reference.pages()
    assert ".. autofunction:: tinytorch.softmax\n" in pages["tinytorch.rst"]
    assert ".. autoclass:: tinytorch.nn.LayerNorm\n" in pages["tinytorch.nn.rst"]
    assert "usage: python -m gpt sample" in pages["gpt-help.rst"]
    node = pages["tinytorch.autograd.graph.rst"]  # a class that is exported under another name alone
    assert ".. py:class:: tinytorch.autograd.graph.Node\n\n   A node of the graph" in node and "Hooked" not in node
    assert "   .. automethod:: tinytorch.autograd.graph.Node.register_hook\n" in node
    text = "\n".join(pages.values())
    assert "numpy" not in {name.partition(".")[0] for name in text.split() if name.startswith("numpy.")}
    for name in reference.MODULES:
        if name != "tinytorch.Tensor":
            found = reference.public(importlib.import_module(name))
            assert found and not any(key.startswith("_") or isinstance(value, np.dtype) for key, value in found.items())


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top-of-it">a</h1><a href="b.html#here">1</a><a href="b.html#there">2</a><a href="c.html">3</a>'
        '<a href="#top-of-it">4</a><a href="https://example.org/x">5</a><a href="https://localhost">6</a>'
        '<script src="https://cdn.example.org/a.js"></script><img src="data:image/png;base64,">', "utf-8",
    )  # fmt: skip
    (tmp_path / "b.html").write_text('<p id="here">b</p>', "utf-8")
    assert links.faults(tmp_path) == [
        "a.html: b.html#there: that page has no such anchor",
        "a.html: c.html leads nowhere",
        "a.html: https://localhost is no address",
        "a.html: needs https://cdn.example.org/a.js, which is on another host",
    ]


def site_in(folder: Path, project: str = "tinytorch") -> Path:
    """A folder with what Sphinx writes first."""
    folder.mkdir()
    (folder / "objects.inv").write_bytes(f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n".encode())
    (folder / "index.html").write_text("old")
    return folder


def test_only_a_site_of_ours_is_replaced(tmp_path: Path) -> None:
    refuse(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty")
    refuse(site_in(tmp_path / "site"))
    (tmp_path / "made" / "study").mkdir(parents=True)
    (tmp_path / "made" / "study" / "index.html").touch()  # as `make study` leaves it
    refuse(tmp_path / "made")
    (tmp_path / "made" / "mine.txt").touch()
    (tmp_path / "studies" / "study").mkdir(parents=True)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".git").touch()
    (tmp_path / "file").touch()
    others = [site_in(tmp_path / "other", "tinytorches"), *(tmp_path / n for n in ("made", "studies", "hidden"))]
    for folder in (*others, tmp_path, Path("/")):
        with pytest.raises(UserError, match="holds files that are no site of tinytorch, and is left as it is"):
            refuse(folder)
    with pytest.raises(UserError, match="is no folder"):
        refuse(tmp_path / "file")
    assert (tmp_path / "other" / "index.html").read_text() == "old"


def test_the_root_of_a_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    with pytest.raises(UserError, match="is the root of a file system, which cannot be replaced"):
        refuse(tmp_path)


def test_what_is_refused_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    ran = subprocess.run([sys.executable, "-m", "docs.generate", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1 and ran.stderr.startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_the_new_site_takes_the_place_of_the_old_one_or_nothing_changes(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, new = site_in(tmp_path / "site"), site_in(tmp_path / "new")
    (new / "index.html").write_text("new")
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self == new:
            raise error
        return rename(self, target)

    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(Path, "rename", fails)
        replace(out, new, tmp_path / "old")
    assert (out / "index.html").read_text() == "old" and not (tmp_path / "old").exists()
    replace(out, new, tmp_path / "old")
    assert (out / "index.html").read_text() == "new" and (tmp_path / "old" / "index.html").read_text() == "old"
    replace(tmp_path / "elsewhere", out, tmp_path / "older")
    assert (tmp_path / "elsewhere" / "index.html").read_text() == "new"


def test_the_contents_have_notebooks_but_not_what_jupyterlab_hides(tmp_path: Path) -> None:
    folder = tmp_path / "docs" / "notebooks"
    shutil.copytree(ROOT / "docs" / "notebooks", folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    before = contents(tmp_path)
    assert "docs/notebooks/1-from-a-scalar-to-a-tensor\n" in before
    checkpoints = folder / ".ipynb_checkpoints"
    checkpoints.mkdir()
    shutil.copy(folder / "1-from-a-scalar-to-a-tensor.ipynb", checkpoints)
    shutil.copytree(folder, tmp_path / "copy" / "docs" / "notebooks", ignore=shutil.ignore_patterns(*LEFT_OUT))
    assert contents(tmp_path / "copy") == before


def test_a_full_disk_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = [(f"docs/{name}.md", f"source/{name}.md", f"[Errno 28] No space left: {name}") for name in "ab"]
    monkeypatch.setattr(shutil, "copytree", lambda *_, **__: (_ for _ in ()).throw(shutil.Error(failed)))
    with pytest.raises(UserError, match=r"^\[Errno 28\] No space left: a$"):
        write_sources(tmp_path)
