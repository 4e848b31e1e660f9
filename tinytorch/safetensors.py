"""The safetensors format: named arrays in a memory-mapped file (github.com/huggingface/safetensors).

A file consists of the length N of its header (8 bytes, little-endian), N bytes of JSON, and the arrays' bytes:

    {"__metadata__": {"format": "pt"}, "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}

Offsets count from the end of the header. Arrays are in C order, little-endian, without holes or overlaps. A file's
header is checked in full when it is opened; a written file is byte for byte what the reference implementation writes.

Arrays are read and written as stored, in NumPy's dtypes and ml_dtypes' bfloat16 and float8, which NumPy lacks. Given
a dtype, reading converts floating-point tensors. F4 and F6 are available as bytes only.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dtypes import DTypeLike
from .files import atomic_write
from .safetensors_header import DTYPES, Entry, SafetensorError, read_header, write_header

__all__ = ["LazyTensor", "SafetensorError", "TensorSlice", "load", "load_file", "safe_open", "save", "save_file"]

Array = NDArray[Any]

_NAMES = {dtype.numpy: name for name, dtype in DTYPES.items() if dtype.numpy is not None}


# Reading ------------------------------------------------------------------------------------------


class _Map(mmap.mmap):
    """A mapped file that knows which file it is."""

    file: tuple[int, int]


# The files that our arrays are still views of: an entry goes when the last such array does.
_maps: weakref.WeakSet[_Map] = weakref.WeakSet()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _map(path: str | os.PathLike[str]) -> bytes | _Map:
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size == 0:
            return b""  # an empty file cannot be mapped
        mapped = _Map(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.file = _identity(status)
    _maps.add(mapped)
    return mapped


class TensorSlice:
    """A tensor in an open file, of which only the indexed part is read: `file.get_slice("weight")[:10]`."""

    def __init__(self, view: Array, dtype: str) -> None:
        self._view = view
        self._dtype = dtype

    def get_shape(self) -> list[int]:
        return list(self._view.shape)

    def get_dtype(self) -> str:
        """The dtype's name in the file, such as "BF16"."""
        return self._dtype

    def __getitem__(self, index: Any) -> Array:
        """The part that NumPy's indexing selects, as a view where NumPy returns one."""
        part = np.asarray(self._view[index])
        # Files from other writers may begin their data anywhere, but compiled loops need aligned arrays.
        return part if part.flags.aligned else part.copy()


class _Reader:
    """Gives access to the tensors in a file's content."""

    def __init__(self, buffer: bytes | mmap.mmap, where: str) -> None:
        self.header = read_header(buffer, where)
        self._buffer = buffer
        self._where = where

    def _entry(self, name: str) -> Entry:
        if name not in self.header.entries:
            raise SafetensorError(self._where, "TensorNotFound", f"there is no tensor '{name}'")
        return self.header.entries[name]

    def bytes(self, name: str) -> Array:
        entry = self._entry(name)
        return np.frombuffer(self._buffer, np.uint8, entry.end - entry.begin, self.header.data + entry.begin)

    def slice(self, name: str) -> TensorSlice:
        entry = self._entry(name)
        dtype = DTYPES[entry.dtype].numpy
        if dtype is None:
            what = f"tensor '{name}' is {entry.dtype}, which NumPy lacks; take its bytes by safe_open's get_bytes(name)"
            raise SafetensorError(self._where, "UnsupportedDtype", what)
        try:
            return TensorSlice(self.bytes(name).view(dtype).reshape(entry.shape), entry.dtype)
        except ValueError as error:  # more than 64 dimensions, or a huge one together with a 0
            what = f"tensor '{name}' has a shape for which NumPy has no array: {error}"
            raise SafetensorError(self._where, "UnsupportedShape", what) from error

    def tensor(self, name: str, dtype: DTypeLike | None) -> Array:
        part = self.slice(name)
        floating = part.get_dtype().startswith(("F", "BF"))
        return part[...] if dtype is None or not floating else part[...].astype(dtype, copy=False)

    def tensors(self, dtype: DTypeLike | None) -> dict[str, Array]:
        return {name: self.tensor(name, dtype) for name in self.header.entries}


class safe_open:
    """A mapped safetensors file: `with safe_open(path) as file: file.get_tensor("weight")`.

    Opening reads and checks the header; a tensor's bytes are read when they are accessed. Arrays are read-only
    (`.copy()` makes a writable one), and outlive the block: they keep the mapping alive.

    Raises SafetensorError if the file breaks a rule of the format, OSError if it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._reader: _Reader | None = _Reader(_map(path), os.fspath(path))

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader = None

    def _open(self) -> _Reader:
        if self._reader is None:
            raise ValueError("the file is closed; use it inside the with block")
        return self._reader

    def keys(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._open().header.entries)

    def metadata(self) -> dict[str, str] | None:
        """The strings that the writer added; None if it added none."""
        return self._open().header.metadata

    def get_tensor(self, name: str, dtype: DTypeLike | None = None) -> Array:
        """A tensor as stored, or, if it is floating-point and `dtype` is given, converted to that."""
        return self._open().tensor(name, dtype)

    def get_slice(self, name: str) -> TensorSlice:
        """A tensor that can be indexed without reading the rest of it."""
        return self._open().slice(name)

    def get_bytes(self, name: str) -> Array:
        """A tensor's bytes as stored, (number of bytes,) uint8: the only way to read F4 and F6, which are packed."""
        return self._open().bytes(name)


def load_file(path: str | os.PathLike[str], dtype: DTypeLike | None = None) -> dict[str, Array]:
    """The tensors of a file by name, in the order of their bytes; mapped and read-only, as from `safe_open`.

    With a `dtype`, floating-point tensors of other dtypes are converted to it, which reads and copies them.
    """
    return _Reader(_map(path), os.fspath(path)).tensors(dtype)


def load(data: bytes, dtype: DTypeLike | None = None) -> dict[str, Array]:
    """The tensors in a file's content by name, like `load_file`; they are views of `data` unless converted."""
    return _Reader(data, "the given bytes").tensors(dtype)


# Writing ------------------------------------------------------------------------------------------


class LazyTensor(NamedTuple):
    """A tensor that is made when it is written, so that only one at a time needs to be in memory."""

    name: str
    shape: tuple[int, ...]
    dtype: DTypeLike
    make: Callable[[], Array]

    @property
    def nbytes(self) -> int:
        itemsize: int = np.dtype(self.dtype).itemsize
        return math.prod(self.shape) * itemsize


def save(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of a file with `tensors`: arrays with any strides and byte order, or Tensors.

    Raises SafetensorError for a name, a value or a dtype that the format does not allow.
    """
    return b"".join(_content(as_lazy(tensors, "save"), metadata, "save"))


def save_file(
    tensors: Mapping[str, Any] | Iterable[LazyTensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `tensors` to `path`, atomically; one at a time is made, or copied if it needs reordering.

    Raises SafetensorError as `save` does, and if arrays that were loaded from `path` are still in use: they would still
    show the old file, and some systems cannot replace a mapped file.
    """
    where = os.fspath(path)
    lazy = as_lazy(tensors, where)
    content = _content(lazy, metadata, where)
    header = next(content)
    size = memoryview(header).nbytes + sum(tensor.nbytes for tensor in lazy)
    refuse_mapped(path)
    with atomic_write(path, size) as file:
        file.write(header)
        for part in content:
            file.write(part)


def refuse_mapped(path: str | os.PathLike[str]) -> None:
    """Raise SafetensorError if arrays that were loaded from `path` are in use."""
    if os.path.exists(path) and _identity(os.stat(path)) in [mapped.file for mapped in _maps]:
        what = "arrays loaded from this file are in use; copy and drop them, or write to another file"
        raise SafetensorError(os.fspath(path), "MappedFile", what)


def as_lazy(tensors: Mapping[str, Any] | Iterable[LazyTensor], where: str) -> list[LazyTensor]:
    """Named tensors as LazyTensors; for those that are LazyTensors already, dtypes and names are checked."""
    if not isinstance(tensors, Mapping):
        tensors = list(tensors)
        for tensor in tensors:
            _check_dtype(tensor.name, np.dtype(tensor.dtype), where)
        twice = [name for name, count in Counter(tensor.name for tensor in tensors).items() if count > 1]
        if twice:
            raise SafetensorError(where, "InvalidName", f"two tensors are named '{twice[0]}'")
        return tensors
    arrays = {name: _as_array(name, value, where) for name, value in tensors.items()}
    return [LazyTensor(name, array.shape, array.dtype, partial(np.asarray, array)) for name, array in arrays.items()]


def _as_array(name: str, value: Any, where: str) -> Array:
    array = value.detach().numpy() if hasattr(value, "detach") else value
    if not isinstance(array, (np.ndarray, np.generic)):
        raise SafetensorError(where, "InvalidTensor", f"tensor '{name}' is a {type(value).__name__}, not an array")
    _check_dtype(name, array.dtype, where)
    return np.asarray(array)


def _check_dtype(name: str, dtype: np.dtype[Any], where: str) -> None:
    if dtype.newbyteorder("<") not in _NAMES:
        raise SafetensorError(where, "UnsupportedDtype", f"tensor '{name}' is {dtype}, which cannot be stored")


def _content(
    tensors: list[LazyTensor], metadata: Mapping[str, str] | None, where: str
) -> Iterator[bytes | memoryview]:
    """Yield the file up to its data, then each tensor's data in the order of the file."""
    by_name = {tensor.name: tensor for tensor in tensors}
    headings = {
        name: (_NAMES[np.dtype(tensor.dtype).newbyteorder("<")], tensor.shape, tensor.nbytes)
        for name, tensor in by_name.items()
    }
    header, order = write_header(headings, metadata, where)
    yield header
    for name in order:
        tensor = by_name[name]
        array = tensor.make()
        described, made = (f"{np.dtype(x.dtype)} {tuple(x.shape)}" for x in (tensor, array))
        if described != made:
            raise SafetensorError(where, "InvalidTensor", f"tensor '{name}' is made as {made}, not {described}")
        yield _stored_bytes(array)


def _stored_bytes(array: Array) -> memoryview:
    """The array's elements in C order, little-endian."""
    stored = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return stored.reshape(-1).view(np.uint8).data
