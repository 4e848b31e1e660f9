"""Where compiled kernels are kept between processes, and how little of what is found there is trusted.

Numba keeps machine code and pickles: whoever writes them can run code as this user. So the folder must be this user's
alone, and so must each file in it. A file must match the hash that it begins with, or one bad byte would break every
start. What cannot be read is compiled again, what cannot be written is not kept, and one line in the log says so.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import pickle
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    NullCache,
    UserProvidedCacheLocator,
)

_UNUSED_DAYS = 7  # after which the kernels of other versions are removed
_HASH_BYTES = 32
_log = logging.getLogger("tinytorch")  # goes to stderr where nobody has said otherwise


@cache
def cache_folder() -> Path | None:
    """The folder of compiled kernels, named by a hash of every kernel's source; None if there cannot be one.

    Numba recompiles a function when its own file changes, but not when a function that it calls in another file does.
    A new folder for each state of the sources, and of the compiler, closes that gap. Its parent is NUMBA_CACHE_DIR, if
    that is set, or else the user's cache folder.
    """
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    sources = Path(__file__).parents[1]
    for source in sorted(sources.rglob("*.py")):
        digest.update(source.relative_to(sources).as_posix().encode() + source.read_bytes())
    try:
        parent = _parent()
        folder = parent / f"kernels-{digest.hexdigest()[:16]}"
        is_new = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_own(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user's home is unknown
        advice = "set NUMBA_CACHE_DIR to a folder of yours"
        _say_once("not kept", f"compiled kernels are not kept, each process compiles its own: {error}; {advice}")
        return None
    if is_new:
        _remove_unused(parent)
    with suppress(OSError):  # read-only, perhaps
        os.utime(folder)
    return folder


def kernel_cache(function: Callable[..., Any]) -> Any:
    """Return a cache for one of Numba's dispatchers."""
    return NullCache() if cache_folder() is None else _KernelCache(function)


def _parent() -> Path:
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR).absolute() / "tinytorch"
    if sys.platform == "win32":
        user = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        user = Path.home() / "Library" / "Caches"
    else:
        user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user) / "tinytorch"


def _check_own(folder: Path) -> None:
    """Raise PermissionError if another user may read or write the folder."""
    if os.name != "posix":
        return  # the user's own folders are private there
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a folder of this user's")
    if status.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to other users: remove it, or close it if you trust what it holds")


def _remove_unused(parent: Path) -> None:
    """Remove the kernels of versions that have not been started for a while."""
    with suppress(OSError):
        for folder in parent.iterdir():
            unused = time.time() - folder.stat().st_mtime > _UNUSED_DAYS * 24 * 3600
            if unused and re.fullmatch("kernels-[0-9a-f]{16}", folder.name):
                shutil.rmtree(folder, ignore_errors=True)


_said: set[str] = set()


def _say_once(kind: str, message: str) -> None:
    if kind not in _said:
        _said.add(kind)
        _log.warning("tinytorch: %s", message)


class _Locator(UserProvidedCacheLocator):  # type: ignore[misc]
    """Numba's names for subfolders and files, in our folder."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file = file
        self._lineno = function.__code__.co_firstlineno
        self._cache_path = str(cache_folder() / self.get_suitable_cache_subpath(file))

    def ensure_cache_path(self) -> None:
        os.makedirs(self._cache_path, mode=0o700, exist_ok=True)


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any]) -> None:  # Numba's own looks for a folder
        file = inspect.getfile(function)
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function, file)
        self._filename_base = self.get_filename_base(
            f"{Path(file).stem}.{function.__qualname__}", getattr(sys, "abiflags", "")
        )


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """The files of one function: an index of signatures, and the code for each. All begin with a hash of the rest."""

    def _load_index(self) -> dict[Any, str]:
        content = self._read(self._index_name)
        if content is None:
            return {}
        stamp, overloads = pickle.loads(content)
        return overloads if stamp == self._source_stamp else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_name, self._dump((self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        content = self._read(name)
        return None if content is None else pickle.loads(content)

    def _save_data(self, name: str, data) -> None:
        self._write(name, self._dump(data))

    def _read(self, name: str) -> bytes | None:
        """Return what was written to a file, or None unless this user wrote it and it is whole."""
        path = self._data_path(name)
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            _say_once("damaged", f"a compiled kernel cannot be read, and is compiled again: {error}")
            return None
        ours = os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)
        if not ours or _hash(name, content[_HASH_BYTES:]) != content[:_HASH_BYTES]:
            what = "is damaged" if ours else "is not this user's alone"
            _say_once("damaged", f"a compiled kernel {what}, and is compiled again: {path}")
            return None
        return content[_HASH_BYTES:]

    def _write(self, name: str, content: bytes) -> None:
        path = self._data_path(name)
        temporary = f"{path}.{secrets.token_hex(4)}.tmp"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_hash(name, content) + content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _hash(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + content).digest()


class _KernelCache(FunctionCache):  # type: ignore[misc]
    _impl_class = _Impl

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, locator.get_source_stamp())

    def _index_key(self, sig, codegen) -> Any:
        # As the folder stands for the sources, a name identifies a function. Numba would also hash what a closure
        # holds, and a kernel in there has another hash in each process.
        return sig, codegen.magic_tuple()

    def save_overload(self, sig, data) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say_once("not kept", f"a compiled kernel is not kept, and the next process compiles it again: {error}")
