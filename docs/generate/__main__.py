"""Builds the site: python -m docs.generate docs/site"""

from __future__ import annotations

import argparse
import os
import shutil
import string
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from tinytorch.cli.command_line import exit_code
from tinytorch.cli.errors import UserError
from tinytorch.study.page.pages import PATH, write_site

from . import derivations, readme, reference
from .links import faults

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("site", "generate", "__pycache__", ".*")  # and what JupyterLab hides: its checkpoints
PROJECT = b"# Project: tinytorch"  # as Sphinx writes it into objects.inv
# What a notebook's kernel says when it starts is for who has a server. A user's own profile has no part in the site.
KERNEL = 'get_config().IPKernelApp.log_level = "ERROR"\n'
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
        try:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
        except shutil.Error as error:  # of all files at once, as of a full disk
            raise UserError(error.args[0][0][2]) from error
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
        file.write(contents(folder))
    (folder / "study-pages.md").write_text(_study(), "utf-8")
    _write(folder / "operations", derivations.pages())
    _write(folder / "api", reference.pages())


def contents(folder: Path) -> str:
    """The contents, with the notebooks that there are."""
    found = [path for path in folder.glob("docs/notebooks/**/*") if path.suffix in (".ipynb", ".md")]
    files = [path.relative_to(folder).with_suffix("") for path in found]
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


def refuse(out: Path) -> None:
    """UserError where there is anything but a site of ours in the place of the site."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is no folder; name one for the site, such as docs/site")
    found = {path.name for path in out.iterdir()}
    from_study = found <= {"study"} and all((out / name / "index.html").is_file() for name in found)  # make study
    inventory = out / "objects.inv"
    if not from_study and not (inventory.is_file() and PROJECT in inventory.read_bytes()[:200].splitlines()):
        raise UserError(f"{out} holds files that are no site of tinytorch, and is left as it is; name another folder")
    if out.is_mount():
        raise UserError(f"{out} is the root of a file system, which cannot be replaced; name a folder in it")


def build(out: Path) -> None:
    """Build the site into a folder, in place of the site that is there. SystemExit where anything is wrong with it.

    It is built beside that folder, and takes its place when it is whole.
    """
    import_module("sphinx")  # or it is said that it is not installed
    refuse(out)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside,
    ):
        print("Building the site, and running the notebooks for it: some minutes", flush=True)
        source, html = Path(folder) / "source", Path(beside) / "new"
        source.mkdir()
        write_sources(source)
        said = run_sphinx(source, html, Path(folder))
        if said is not None:
            sys.exit(f"{said}\nthe site has not been built: see above. {out} is as it was")
        write_site(html / "study")
        wrong = faults(html)
        if wrong:
            sys.exit("\n".join(["the site has links that lead nowhere:", *wrong]))
        replace(out, html, Path(beside) / "old")


def run_sphinx(source: Path, html: Path, folder: Path) -> str | None:
    """Have Sphinx write the pages; what it says where it fails. The folder is for what is needed in the meantime.

    In a process of its own: nbclient, which runs the notebooks in it, takes Ctrl-C for itself and fails at length.
    """
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text(KERNEL, "utf-8")
    options = ["-q", "-W", "--keep-going", "-n", "-b", "html", "-c", str(ROOT / "docs"), "-d", str(folder / "doctrees")]
    process = subprocess.Popen(
        [sys.executable, "-m", "sphinx", *options, str(source), str(html)],
        cwd=ROOT,  # the settings import from it
        env={**os.environ, "IPYTHONDIR": str(profile.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        said = process.communicate()[0]
    except BaseException:  # Ctrl-C
        process.terminate()
        process.communicate()  # until it and its kernel have ended, and write no more
        raise
    return said.rstrip() if process.returncode else None


def replace(out: Path, new: Path, old: Path) -> None:
    """Put a folder in the place of another one, if there is one, which is moved away; all or nothing."""
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except BaseException:  # Ctrl-C too
        if old.exists():
            old.rename(out)
        raise


def main(arguments: list[str]) -> int:
    """Build the site that the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Build the documentation site.")
    parser.add_argument("out", type=Path, help="the folder to write, such as docs/site; a site in it is replaced")
    out = parser.parse_args(arguments).out
    build(out)
    print(f"{out / 'index.html'}: open it in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "docs"))
