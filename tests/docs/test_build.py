"""Small sites, built as the whole one is: what is told of a mistake in a page, and Ctrl-C. Needs the extra `docs`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from docs.generate.__main__ import ROOT, run_sphinx
from tests.notebooks import METADATA

for module in ("sphinx", "myst_nb", "furo", "latex2mathml"):
    pytest.importorskip(module)


def source_of(folder: Path, page: str = "", code: str = "") -> Path:
    """What Sphinx reads: a page, and a notebook with one cell of code."""
    source = folder / "source"
    source.mkdir()
    listed = "```{toctree}\n:hidden:\na\n```\n" if code else ""
    (source / "index.md").write_text(f"# Title\n\n{listed}\n{page}\n", "utf-8")
    if code:
        title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A"}
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": code, "outputs": [], "execution_count": None}
        notebook = {"cells": [title, cell], "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
        (source / "a.ipynb").write_text(json.dumps(notebook), "utf-8")
    return source


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (r"$a_i \bogus b$", r"index.md:4: WARNING: latex2mathml does not know \bogus, in the formula a_i \bogus b"),
        ("$$\nx^\n$$", "WARNING: latex2mathml: MissingSuperScriptOrSubscriptError, in the formula x^"),
        (r"$\frac{1$", r"index.md:4: WARNING: as many { as } are needed, in the formula \frac{1"),
        (r"$\begin{aligning} x \end{aligning}$", r"index.md:4: WARNING: latex2mathml does not know \begin{aligning}"),
        (r"$\begin{aligned} x &= y \\ z &= \begin{cases} x \\ y \end{cases} \end{aligned}$", None),
        (r"$\{ x_i \mid i \}, \arg \frac{1}{2}$", None),
    ],
)
def test_formulas(page: str, says: str | None, tmp_path: Path) -> None:
    said = run_sphinx(source_of(tmp_path, page), tmp_path / "html", tmp_path / "more")
    assert said is None if says is None else said is not None and says in said and said.count("\n") == 0


def test_a_notebook_that_raises_is_named_with_its_cell(tmp_path: Path) -> None:
    said = run_sphinx(source_of(tmp_path, code="numbers = []\nnumbers[3]"), tmp_path / "html", tmp_path / "more")
    assert said is not None and "a.ipynb: WARNING: " in said and "numbers[3]" in said
    assert "IndexError" in said and "list index out of range" in said


def test_ctrl_c_ends_it_with_nothing_left_behind(tmp_path: Path) -> None:
    touch = f"pathlib.Path({str(tmp_path / 'runs')!r}).touch()"
    source = source_of(tmp_path, code=f"import pathlib, time\n{touch}\ntime.sleep(99)")
    program = (
        "import sys; from pathlib import Path; from docs.generate import __main__ as site; from tinytorch.cli import "
        f"command_line; site.write_sources = lambda folder: folder.rmdir() or Path({str(source)!r}).rename(folder); "
        "sys.exit(command_line.exit_code(lambda: site.main(sys.argv[1:]), 'docs'))"
    )
    out = tmp_path / "site"
    (out / "study").mkdir(parents=True)
    (out / "study" / "index.html").write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(out)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    limit = time.monotonic() + 60
    while not (tmp_path / "runs").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "\ninterrupted\n" and process.returncode == 130
    assert (out / "study" / "index.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "site"]
