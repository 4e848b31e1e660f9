"""The Makefile, with an environment that is there already and an interpreter that prints what it is asked to run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(folder: Path, *arguments: str, user: int = 1000) -> subprocess.CompletedProcess[str]:
    """Run make as a user, with an environment in a folder."""
    programs = {"python": 'echo "ran $@"', "id": f"echo {user}"}
    (folder / "bin").mkdir(exist_ok=True)
    for name, line in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / "bin" / name).chmod(0o755)
    for extra in ("gpt", "study", "notebooks"):
        (folder / f".installed-{extra}").touch()
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = ["make", "-C", str(ROOT), f"VENV={folder}", f"DEMO={folder / 'run'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False)


def test_notebooks_as_root_say_how(tmp_path: Path) -> None:
    jupyter = "ran -m jupyterlab --LabApp.default_url=/lab/tree/docs/notebooks"
    assert f"{jupyter}\n" in make(tmp_path, "notebooks").stdout
    refused = make(tmp_path, "notebooks", user=0)
    assert refused.returncode == 2 and "make notebooks LAB=--allow-root\n" in refused.stderr
    assert "ran" not in refused.stdout
    assert f"{jupyter} --allow-root\n" in make(tmp_path, "notebooks", "LAB=--allow-root", user=0).stdout
    assert f"{jupyter} --no-browser\n" in make(tmp_path, "notebooks", "LAB=--no-browser").stdout


def test_what_to_do_next_leads_further(tmp_path: Path) -> None:
    shown = make(tmp_path, "demo").stdout
    attend = f"python -m gpt attend --out {tmp_path / 'run'} --prompt 'The class '"
    for command in (attend, "make study; make notebooks"):
        assert command in shown.partition("What to do next:")[2]
    shown = make(tmp_path, "study", "SITE=none").stdout
    for command in ("tinytorch.study exercise\n", "tinytorch.study why attention 'dq[1,0]'\n", "make notebooks\n"):
        assert command in shown.partition("What to do next:")[2]


def test_help_has_every_target() -> None:
    targets = (ROOT / "Makefile").read_text("utf-8").partition(".PHONY: help ")[2].partition("\n")[0].split()
    shown = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    assert [target for target in targets if f"make {target} " not in shown] == []
