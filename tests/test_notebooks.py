"""Each notebook of docs/notebooks has the form in which they are committed, and runs from first cell to last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import platformdirs
import pytest

import tinytorch as torch
from tests.notebooks import FOLDER, METADATA, NOTEBOOKS, NotebookError, canonical, cells, main, problems, run

STEPS = 200  # of each long loop

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(FOLDER)))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a notebook sets for the whole process is set back, and nothing is kept in the user's folders."""
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_: tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    with plt.rc_context(), np.printoptions():
        yield
    plt.close("all")
    torch.set_rng_state(state)
    torch.set_default_dtype(dtype)
    torch.set_printoptions(profile="default")


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 4


@notebooks
def test_its_form(path: Path) -> None:
    assert list(problems(path)) == []


@notebooks
def test_its_links_lead_somewhere(path: Path) -> None:
    for number, source in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#\s]+)", source):
            assert "://" in target or (path.parent / target).exists(), (number, target)


@notebooks
def test_it_runs(path: Path, desk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    run(path, STEPS)


# ---------------------------------------------------------------------------------------- the test itself


def written(folder: Path, *sources: str, **changes: object) -> Path:
    """A notebook with these cells of code, after a heading."""
    heading = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": ["# The Title, in Words\n", "Text."]}
    empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    code = [{**empty, "id": f"code-{k}", "source": source} for k, source in enumerate(sources)]
    notebook = {"cells": [heading, *code], "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5, **changes}
    path = folder / "a.ipynb"
    path.write_text(canonical(json.dumps(notebook)), "utf-8")
    return path


def test_a_failing_cell_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "x = 0", "y = 2\nassert x == y, 'they differ'")
    with pytest.raises(NotebookError, match=r"^a\.ipynb, cell 3 \(y = 2\): AssertionError: they differ$"):
        run(path)


def test_what_a_cell_shows_is_made(tmp_path: Path) -> None:
    source = "class Shown:\n    def _repr_html_(self):\n        return 1 / 0\nassert Shown\nShown()"
    with pytest.raises(NotebookError, match=r"cell 2 \(class Shown:\): ZeroDivisionError"):
        run(written(tmp_path, source))


def test_the_number_of_steps_is_replaced_and_sources_are_known(tmp_path: Path) -> None:
    source = "import inspect\nmax_steps = 10_000  # the lecture's\ndef f(): pass"
    path = written(tmp_path, source, "inspect.getsource(f)")
    assert run(path, 7)["max_steps"] == 7
    assert run(path)["max_steps"] == run(path, 20_000)["max_steps"] == 10_000


def test_forms_that_are_not_committed(tmp_path: Path) -> None:
    path = written(tmp_path, "assert True")
    right = path.read_text("utf-8")
    assert list(problems(path)) == []
    output = {"output_type": "stream", "name": "stdout", "text": "1"}
    path.write_text(right.replace('"outputs": []', f'"outputs": [{json.dumps(output)}]'))
    assert "outputs" in "".join(problems(path))
    main([str(path)])
    assert path.read_text("utf-8") == right
    path.write_text(right.replace("code-0", "Code 0"))
    assert "'Code 0' is not of the form" in "".join(problems(path))
    path.write_text(right.replace("code-0", "title"))
    assert "'title' is there twice" in "".join(problems(path))
    path.write_text(right.replace("assert True", "%matplotlib inline"))
    found = list(problems(path))
    assert found == ["a.ipynb, cell 2: no Python (a magic?): %matplotlib inline", "a.ipynb: nothing in it is asserted"]
    path.write_text(right.replace('"nbformat_minor": 5', '"nbformat_minor": 4'))
    assert "not of nbformat 4.5" in "".join(problems(path))
    path.write_text(right.replace('"code"', '"raw"'))
    assert "cell code-0: neither code nor Markdown" in "".join(problems(path))


def test_random_ids_become_readable(tmp_path: Path) -> None:
    path = written(tmp_path, "assert True", "1", "2")
    text = path.read_text("utf-8")
    form = canonical(text.replace("code-0", "4f2c99aa").replace("code-2", "5b0cb8ae-1b1e-4c3b-9a53-7b1f0f0a2c11"))
    ids = [cell["id"] for cell in json.loads(form)["cells"]]
    assert ids == ["title", "the-title-in-words-1", "code-1", "the-title-in-words-2"]
    assert canonical(form) == form
