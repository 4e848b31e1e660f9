from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from tinytorch.files import atomic_write
from tinytorch.safetensors import save, save_file


def full(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_names_the_file_and_what_was_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        save_file({"a": np.zeros(100, np.float32)}, path)
    assert caught.value.filename == str(path)
    size = len(save({"a": np.zeros(100, np.float32)}))
    assert f"No space left on device ({size:,} bytes are needed, " in caught.value.strerror
    assert caught.value.strerror.endswith(" bytes are free)")
    with pytest.raises(OSError, match=r"No space left on device \([\d,]+ bytes are free\)"), atomic_write(path):
        pass
    assert not list(tmp_path.iterdir())


def test_other_errors_name_the_file_too_and_those_about_other_files_stay(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "a"
    with pytest.raises(FileNotFoundError) as caught, atomic_write(path):
        pass
    assert (caught.value.filename, caught.value.strerror) == (str(path), os.strerror(errno.ENOENT))
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "b"):
        open(tmp_path / "missing")  # noqa: SIM115
    assert caught.value.filename == str(tmp_path / "missing")
    assert not list(tmp_path.iterdir())
