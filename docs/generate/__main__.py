"""Builds the site: python -m docs.generate docs/site"""

from __future__ import annotations

import argparse
import shutil
import string
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tinytorch.study.page.pages import PATH, write_site

from . import derivations, readme, reference
from .links import faults

ROOT = Path(__file__).parents[2]
CONTENTS = """
```{toctree}
:hidden:
:caption: Start

quickstart
docs/reading
docs/engine_in_150_lines
docs/engine
the-folders
```

```{toctree}
:hidden:
:caption: Study

docs/looking
docs/by-hand
docs/averaging
docs/exercises
study-pages
```

```{toctree}
:hidden:
:caption: Notebooks
$notebooks
```

```{toctree}
:hidden:
:caption: Operations

operations/index
docs/operations
docs/functions
docs/kernels
docs/compile
```

```{toctree}
:hidden:
:caption: Reference

api/index
CHANGELOG
CONTRIBUTING
bench/README
bench/results/README
bench/results/avx2/README
bench/results/llama
bench/results/llama-decoding
data/README
```
"""


def write_sources(folder: Path) -> None:
    """What Sphinx reads: the repository's pages where they are in it, and those that are generated."""
    text = (ROOT / "README.md").read_text("utf-8")
    for name in ("tinytorch", "gpt", "lora"):  # for links to their files
        (folder / name).symlink_to(ROOT / name)
    for name in ("docs", "bench", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("site", "generate", "__pycache__"))
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    copied = ("*.md", "docs/**/*.md", "docs/**/*.ipynb", "bench/**/*.md", "data/*.md")
    for path in [path for pattern in copied for path in folder.glob(pattern)]:
        page = readme.redirected(path.read_text("utf-8"), path.relative_to(folder).as_posix(), text)
        if path.suffix == ".md" and not page.startswith("# "):  # tables that bench has written
            page = f"# Results: {path.parent.name if path.stem == 'README' else path.stem}\n\n{page}"
        path.write_text(page, "utf-8")
    _write(folder, readme.pages(text))
    with (folder / "index.md").open("a", encoding="utf-8") as file:
        file.write(_contents())
    (folder / "study-pages.md").write_text(_study(), "utf-8")
    _write(folder / "operations", derivations.pages())
    _write(folder / "api", reference.pages())


def _contents() -> str:
    """The contents, with the notebooks that there are."""
    found = [path for path in (ROOT / "docs").glob("notebooks/**/*") if path.suffix in (".ipynb", ".md")]
    files = [path.relative_to(ROOT).with_suffix("") for path in found]
    notebooks = [path.as_posix() for path in sorted(files, key=lambda path: (len(path.parts), path))]
    return string.Template(CONTENTS).substitute(notebooks="\n".join(["", *notebooks]))


def _write(folder: Path, pages: Mapping[str, str]) -> None:
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


def _study() -> str:
    """The list of the study pages, which are HTML already."""
    items = [f'1. <a href="study/{name}.html">{chapter.title}</a>: {chapter.about}' for name, chapter in PATH.items()]
    about = "Small computations to step through in the browser, forward and backward, number by number. Take them in "
    return "\n".join(["# Backward, number by number", "", f"{about}this order:", "", *items, ""])


def build(out: Path) -> None:
    """Build the site into a folder, in place of what is there. SystemExit where anything is wrong with it."""
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as folder:
        source, html = Path(folder) / "source", Path(folder) / "html"
        source.mkdir()
        write_sources(source)
        options = ["-q", "-W", "--keep-going", "-n", "-b", "html", "-c", str(ROOT / "docs"), "-d", f"{folder}/doctrees"]
        if build_main([*options, str(source), str(html)]):
            sys.exit("the site has not been built: see the warnings above")
        write_site(html / "study")
        wrong = faults(html)
        if wrong:
            sys.exit("\n".join(["the site has links that lead nowhere:", *wrong]))
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(html, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Build the documentation site.")
    parser.add_argument("out", type=Path, help="the folder to write, such as docs/site; what is in it is replaced")
    build(parser.parse_args().out)
