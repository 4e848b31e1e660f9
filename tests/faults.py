"""File-system calls that fail, or in the middle of which the process is killed, one after the other."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WRITING = ("open", "write", "flush", "fsync", "replace", "rename", "mkdir")
REMOVING = ("unlink", "rmdir", "rmtree")


class Killed(BaseException):
    """What stands for SIGKILL: after it nothing tidies up."""


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """The process dies at that call: it and all after it raise Killed."""
    calls = 0

    def before(name: str, path: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > number:
            raise Killed

    with _each_call(before, (*WRITING, *REMOVING)):
        yield


@contextmanager
def full_from(number: int) -> Iterator[None]:
    """From that call on the disk is full: files can be removed but not written."""
    calls = 0

    def before(name: str, path: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > number:  # as the system does, with the name where the call was given one
            named = isinstance(path, (str, Path))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([str(path)] if named else []))

    with _each_call(before, WRITING):
        yield


@contextmanager
def _each_call(before: Callable[[str, Any], None], names: tuple[str, ...]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:

        def watch(module: Any, name: str) -> None:
            function = getattr(module, name)

            def call(*arguments: Any, **options: Any) -> Any:
                before(name, arguments[0])
                return function(*arguments, **options)

            patch.setattr(module, name, call)

        for name in names:
            if name not in ("open", "write", "flush"):
                watch(shutil if name == "rmtree" else os, name)
        whole_open = builtins.open

        def watched_open(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not set(mode) & set("wxa+"):
                return whole_open(file, mode, *arguments, **options)
            before("open", file)
            return _Watched(whole_open(file, mode, *arguments, **options), before)

        patch.setattr(builtins, "open", watched_open)
        yield


class _Watched:
    """A file whose writes are watched."""

    def __init__(self, file: Any, before: Callable[[str, Any], None]) -> None:
        self._file, self._before = file, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: Any) -> Any:
        self._before("write", None)
        return self._file.write(content)

    def flush(self) -> None:
        self._before("flush", None)
        self._file.flush()

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
