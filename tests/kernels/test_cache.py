"""Compiled kernels between processes: what is kept, and what of it is believed."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from tinytorch.kernels.compiler import serial
from tinytorch.kernels.machinery import cache

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="users and modes are POSIX's")


def total(x: Any) -> float:
    result = 0.0
    for i in range(len(x)):
        result += x[i]
    return result


def hits(function: Callable[..., Any] = total) -> int:
    """Whether what a process would do that calls the function finds it compiled; it is right either way."""
    kernel: Any = serial(function)
    assert kernel(np.arange(4.0)) == 6.0
    return sum(kernel.stats.cache_hits.values())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and nothing said yet."""
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(cache, "_said", set())
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_compiled_is_found_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert [hits(), hits(), hits()] == [0, 1, 1]
    assert [path.suffix for path in files(folder)] == [".nbc", ".nbi"]
    if os.name == "posix":
        assert {path.stat().st_mode & 0o777 for path in files(folder)} == {0o600}
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o700}
    assert not caplog.messages


class Bomb:
    def __reduce__(self) -> Any:
        return (os._exit, (3,))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "first byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a byte inside": lambda content: content[:100] + bytes([content[100] ^ 64]) + content[101:],
    "last byte": lambda content: content[:-1] + bytes([content[-1] ^ 128]),
    "a pickle": lambda content: pickle.dumps(Bomb()),
    "a pickle behind the hash": lambda content: content[:32] + pickle.dumps(Bomb()),
}


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_again_and_one_line_says_so(
    folder: Path, suffix: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    hits()
    path = next(path for path in files(folder) if path.suffix == suffix)
    content = path.read_bytes()
    path.write_bytes(DAMAGES[damage](content))
    assert hits() == 0
    assert caplog.messages == [f"tinytorch: a compiled kernel is damaged, and is compiled again: {path}"]
    assert hits() == 1
    assert len(files(folder)) == 2


def test_a_file_under_another_ones_name_is_damaged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    hits()
    index, code = sorted(files(folder), key=lambda path: path.suffix == ".nbc")
    code.write_bytes(index.read_bytes())
    assert hits() == 0
    assert "is damaged" in caplog.text


@posix
def test_what_others_may_have_written_is_not_believed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    hits()
    for path in files(folder):
        path.chmod(0o666)
    assert hits() == 0
    assert "is not this user's alone, and is compiled again" in caplog.text
    if os.geteuid() == 0:
        assert hits() == 1
        for path in files(folder):
            os.chown(path, 12345, -1)
        assert hits() == 0
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("failing", ["open", "replace", "makedirs"])
def test_where_nothing_can_be_kept_everything_works_and_one_line_says_so(
    folder: Path, failing: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        assert [hits(), hits()] == [0, 0]
    assert len(caplog.messages) == 1
    assert "is not kept, and the next process compiles it again: [Errno 28] No space left" in caplog.text
    assert not files(folder)


def find(parent: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """The folder that a new process would find, with NUMBA_CACHE_DIR set."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(parent))
    monkeypatch.setattr(cache, "_said", set())
    return cache.cache_folder.__wrapped__()


def test_the_folder_is_this_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = find(tmp_path, monkeypatch)
    assert folder is not None and folder.parent == tmp_path / "tinytorch"
    assert find(tmp_path, monkeypatch) == folder
    assert not caplog.messages
    if os.name != "posix":
        return
    assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o707, 0o755):
        folder.chmod(mode)
        assert find(tmp_path, monkeypatch) is None
        assert "is open to other users" in caplog.messages[-1]
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert find(tmp_path, monkeypatch) is None
    assert "is not a folder of this user's" in caplog.messages[-1]
    folder.unlink()
    folder.mkdir(0o700)
    if os.geteuid() == 0:
        os.chown(folder, 12345, -1)
        assert find(tmp_path, monkeypatch) is None
        assert "is not a folder of this user's" in caplog.messages[-1]


def test_without_a_folder_kernels_work_and_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert find(tmp_path / "file", monkeypatch) is None
    [message] = caplog.messages
    assert "compiled kernels are not kept, each process compiles its own: " in message
    assert message.endswith("; set NUMBA_CACHE_DIR to a folder of yours")
    assert str(tmp_path / "file") in message
    monkeypatch.setattr(cache, "cache_folder", lambda: None)
    assert [hits(), hits()] == [0, 0]


@posix
def test_without_a_home_there_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import pwd

    def unknown(uid: int) -> Any:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert find(tmp_path, monkeypatch) is not None
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "_said", set())
    assert cache.cache_folder.__wrapped__() is None
    assert "home" in caplog.text


def test_a_new_version_removes_the_kernels_of_those_long_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path / "tinytorch"
    old, used, theirs = (parent / name for name in ("kernels-0123456789abcdef", "kernels-0123456789abcdee", "corpora"))
    for folder in (old, used, theirs):
        (folder / "below").mkdir(parents=True)
    for folder in (old, theirs):
        os.utime(folder, (0, time.time() - 8 * 24 * 3600))
    folder = find(tmp_path, monkeypatch)
    assert sorted(parent.iterdir()) == sorted([folder, used, theirs])
    os.utime(folder, (0, 0))
    find(tmp_path, monkeypatch)
    assert time.time() - folder.stat().st_mtime < 3600


NESTED = """
from ..compiler import {decorator}
{imported}

@{decorator}
def {name}(x):
    return {body}
"""


def test_an_edited_kernel_in_a_folder_below_is_compiled_anew(tmp_path: Path) -> None:
    """Numba itself does not see it: the kernel that Python calls lies in a file that stays the same."""
    shutil.copytree(ROOT / "tinytorch", tmp_path / "tinytorch", ignore=shutil.ignore_patterns("__pycache__"))
    nested = tmp_path / "tinytorch" / "kernels" / "nested"
    nested.mkdir()
    (nested / "__init__.py").touch()
    called = {"decorator": "serial", "imported": "from .inside import inside", "name": "outside", "body": "inside(x)"}
    (nested / "outside.py").write_text(NESTED.format(**called))
    program = (
        "from tinytorch.kernels.nested.outside import outside; "
        "print(outside(2.0), sum(outside.stats.cache_hits.values()))"
    )
    # Python takes a file of the same size for the one that it has compiled to bytecode within the same second.
    ours = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**os.environ, **ours}
    found = []
    for factor in (3, 3, 5):
        inner = {"decorator": "inner", "imported": "", "name": "inside", "body": f"x * {factor}"}
        (nested / "inside.py").write_text(NESTED.format(**inner))
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    assert found == [["6.0", "0"], ["6.0", "1"], ["10.0", "0"]]


def test_where_nothing_may_be_compiled_one_line_says_so() -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    for arguments, code in ((["-c", "import tinytorch"], 1), (["-m", "gpt", "train"], 2), (["-m", "lora", "info"], 2)):
        ended = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == code
        message = "tinytorch's kernels cannot run uncompiled: unset NUMBA_DISABLE_JIT"
        assert ended.stderr.splitlines()[-1] == f"{'ImportError' if code == 1 else 'error'}: {message}"
        assert code == 1 or ended.stderr.count("\n") == 1
