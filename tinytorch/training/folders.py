"""Folders that one process at a time writes to."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from ..cli.errors import UserError
from ..files import flush_folder, remove_unfinished, unfinished

_LOCK = ".run.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create a run's folder if it is missing, and lock it against other processes until the block ends.

    UserError names the process that holds the lock. Whatever killed writes have left there is removed first. A folder
    that was created and stays empty is removed again.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _lock(folder / _LOCK, folder):
            remove_unfinished(folder)
            for sub in folder.iterdir():  # adapters and models; other runs have their own locks
                if sub.is_dir() and not (sub / _LOCK).exists():
                    remove_unfinished(sub)
            yield
    finally:
        with suppress(OSError):  # not empty
            for place in missing:
                place.rmdir()


@contextmanager
def new_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """A folder to write to, which becomes `path` when the block ends without an exception: all of it, or nothing.

    UserError if `path` exists and is not empty, unless `replace` is set, or if another process is writing it. Whatever
    a killed process has left is removed.
    """
    path = path.resolve()
    if path.exists() and not replace and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} exists: give a new or an empty folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path.with_name(f".{path.name}.lock"), path):
        remove_unfinished(path.parent, path.name)
        temporary, old = unfinished(path), unfinished(path)
        temporary.mkdir()
        try:
            yield temporary
            flush_folder(temporary)
            if path.exists():  # not every system lets a folder replace another
                path.rename(old) if replace else path.rmdir()
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        flush_folder(path.parent)


@contextmanager
def _lock(path: Path, what: Path) -> Iterator[None]:
    """Hold the lock file at `path`; if another process holds it, UserError says which one is writing to `what`."""
    holder = path.with_suffix(".holder")  # a separate file, since Windows lets nobody read a locked one
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        try:
            who = holder.read_text(encoding="utf-8").strip()
        except OSError:
            who = "another process"
        raise UserError(f"{who} is writing to {what}: wait for it, or give another --out") from None
    except NotImplementedError:  # filelock before version 4; later ones fall back on another lock
        raise UserError(f"the file system of {what} has no locks: give an --out on another one") from None
    try:
        with suppress(OSError):  # the next write reports a full disk
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        with suppress(OSError):  # Windows does not remove an open file: it stays there
            path.unlink()
        lock.release()
