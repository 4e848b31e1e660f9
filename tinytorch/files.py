"""Atomic writes: a file is either the old one or the new one, never half of it."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | os.PathLike[str], size: int | None = None) -> Iterator[BinaryIO]:
    """A binary file to write to, which replaces `path` when the block ends without an exception.

    It is written beside `path`, flushed to disk and renamed; then the folder is flushed, since the new name is the
    folder's data. After an exception nothing is left behind and `path` is as it was. An OSError names `path`; if the
    disk is full it says how much is free and, given `size`, how many bytes are needed.
    """
    path = Path(path)
    temporary = unfinished(path)
    try:
        # Not from tempfile, whose files belong to the owner alone, whatever the umask.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            raise OSError(error.errno, _reason(error, path, size), str(path)) from error
        raise
    flush_folder(path.parent)


def _reason(error: OSError, path: Path, size: int | None) -> str:
    said = error.strerror or str(error)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return said
    needed = "" if size is None else f"{size:,} bytes are needed, "
    return f"{said} ({needed}{shutil.disk_usage(path.parent).free:,} bytes are free)"


def unfinished(path: Path) -> Path:
    """A temporary name beside `path`; `remove_unfinished` recognises such names."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def remove_unfinished(folder: Path, name: str | None = None) -> None:
    """Remove what killed writes of one file, or of all, have left in a folder. No write may be in progress."""
    pattern = rf"\.{'.+' if name is None else re.escape(name)}\.[0-9a-f]{{8}}\.tmp"
    for path in folder.iterdir():
        if re.fullmatch(pattern, path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def flush_folder(folder: str | os.PathLike[str]) -> None:
    """Flush a folder's list of files and their names to disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:  # whose message lacks the folder
            raise OSError(error.errno, error.strerror, str(folder)) from error
        finally:
            os.close(descriptor)
