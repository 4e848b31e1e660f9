from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tinytorch.cli.errors import UserError
from tinytorch.files import unfinished
from tinytorch.training.folders import locked, new_folder

ROOT = Path(__file__).parents[2]


def test_a_second_run_in_a_folder_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with locked(folder):
        (folder / "file").touch()
        us = f"process {os.getpid()} on {socket.gethostname()} is writing to {folder}: wait"
        with pytest.raises(UserError, match=us), locked(folder):
            pass
        code = f"import pathlib, tinytorch.training.folders as f\nwith f.locked(pathlib.Path({str(folder)!r})): pass"
        other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert f"process {os.getpid()} on" in other.stderr
    with locked(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = (
        f"import os; from pathlib import Path; from tinytorch.training.folders import locked\n"
        f"with locked(Path({str(tmp_path)!r})): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60)
    assert list(tmp_path.iterdir())  # its lock
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_what_killed_writes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "best", tmp_path / "other-run"):
        folder.mkdir(exist_ok=True)
        unfinished(folder / "a.json").touch()
        unfinished(folder / "model").mkdir()
        (unfinished(folder / "model2")).mkdir()
        for theirs in (".a.tmp", ".hidden", "a.0123abcd.tmp", ".a.0123abcg.tmp"):
            (folder / theirs).touch()
    with locked(tmp_path / "other-run"), locked(tmp_path):
        unfinished(tmp_path / "other-run" / "b").touch()  # another process may be writing that
        names = {folder: {path.name for path in folder.iterdir()} for folder in (tmp_path, tmp_path / "best")}
        with pytest.raises(UserError, match="is writing to"), locked(tmp_path):
            pass
        assert len(list((tmp_path / "other-run").glob(".b.*.tmp"))) == 1
    kept = {".a.tmp", ".hidden", "a.0123abcd.tmp", ".a.0123abcg.tmp"}
    assert names[tmp_path / "best"] == kept
    assert names[tmp_path] - {".run.lock", ".run.holder"} == kept | {"best", "other-run"}


def test_a_folder_that_got_no_file_is_not_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wrong"), locked(tmp_path / "a" / "b"):
        raise UserError("wrong")
    assert not list(tmp_path.iterdir())


def test_a_new_folder_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(ZeroDivisionError), new_folder(path) as folder:
        (folder / "a").write_text("a")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    unfinished(path).mkdir()  # of a process that was killed
    unfinished(tmp_path / "other").mkdir()
    unfinished(tmp_path / "out.json").touch()
    with new_folder(path) as folder:
        (folder / "a").write_text("a")
        assert not path.exists()
        with pytest.raises(UserError, match=f"is writing to {path}"), new_folder(path):
            pass
    assert (path / "a").read_text() == "a"
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(UserError, match="out exists: give a new or an empty folder"), new_folder(path):
        pass
    (path / "a").unlink()
    with new_folder(path) as folder:
        (folder / "b").write_text("b")
    assert [file.name for file in path.iterdir()] == ["b"]
