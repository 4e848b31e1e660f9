"""What the site is made from: pages of operations, the README's parts, docstrings, links. Sphinx is not needed."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from docs.generate import derivations, links, operations, readme, reference
from docs.generate.docstrings import as_markdown, as_rst
from tests.ops import checks
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
