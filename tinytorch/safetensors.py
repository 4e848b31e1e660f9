"""The safetensors format: named arrays in a file that is mapped, not read (github.com/huggingface/safetensors).

A file is the length N of its header (8 bytes, little-endian), N bytes of JSON, and the arrays' bytes:

    {"__metadata__": {"format": "pt"}, "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}

Offsets count from the end of the header. Arrays are in C order, little-endian, without holes or overlaps. A file is
checked in full when it is opened; what is written is byte for byte what the reference writes.

Arrays are given and taken as stored: NumPy's types, and ml_dtypes' bfloat16 and float8, which NumPy lacks.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import atomic_write
from .safetensors_header import DTYPES, SafetensorError, read_header, write_header

__all__ = ["SafetensorError", "TensorSlice", "load", "load_file", "safe_open", "save", "save_file"]

Array = NDArray[Any]

_NAMES = {dtype.numpy: name for name, dtype in DTYPES.items() if dtype.numpy is not None}


# Reading ------------------------------------------------------------------------------------------


class _Map(mmap.mmap):
    """A mapped file that knows which file it is."""

    file: tuple[int, int]


# The files that arrays of ours still look into: an entry goes when the last such array does.
_maps: weakref.WeakSet[_Map] = weakref.WeakSet()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _map(path: str | os.PathLike[str]) -> bytes | _Map:
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size == 0:
            return b""  # which cannot be mapped
        mapped = _Map(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.file = _identity(status)
    _maps.add(mapped)
    return mapped


class TensorSlice:
    """A tensor of an open file, of which only what is indexed is read: `file.get_slice("weight")[:10]`."""

    def __init__(self, view: Array, dtype: str) -> None:
        self._view = view
        self._dtype = dtype

    def get_shape(self) -> list[int]:
        return list(self._view.shape)

    def get_dtype(self) -> str:
        """The dtype's name in the file, such as "BF16"."""
        return self._dtype

    def __getitem__(self, index: Any) -> Array:
        """The part that NumPy's indexing picks, a view where NumPy gives one."""
        part = np.asarray(self._view[index])
        # Other writers' files may begin their data anywhere, but compiled loops want aligned arrays.
        return part if part.flags.aligned else part.copy()


class _Reader:
    """The tensors in a file's content."""

    def __init__(self, buffer: bytes | mmap.mmap, where: str) -> None:
        self.header = read_header(buffer, where)
        self._buffer = buffer
        self._where = where

    def slice(self, name: str) -> TensorSlice:
        if name not in self.header.entries:
            raise SafetensorError(self._where, "TensorNotFound", f"there is no tensor '{name}'")
        entry = self.header.entries[name]
        dtype = DTYPES[entry.dtype].numpy
        if dtype is None:
            what = f"tensor '{name}' is {entry.dtype}, for which NumPy has no array"
            raise SafetensorError(self._where, "UnsupportedDtype", what)
        count = (entry.end - entry.begin) // dtype.itemsize
        flat = np.frombuffer(self._buffer, dtype, count, self.header.data + entry.begin)
        try:
            return TensorSlice(flat.reshape(entry.shape), entry.dtype)
        except ValueError as error:  # more than 64 dimensions, or a huge one beside a 0
            what = f"tensor '{name}' has a shape for which NumPy has no array: {error}"
            raise SafetensorError(self._where, "UnsupportedShape", what) from error

    def tensors(self) -> dict[str, Array]:
        return {name: self.slice(name)[...] for name in self.header.entries}


class safe_open:
    """A mapped safetensors file: `with safe_open(path) as file: file.get_tensor("weight")`.

    Opening reads and checks the header; a tensor's bytes are read when they are touched. Arrays are read-only
    (`.copy()` gives one to write to), and outlive the block: they keep the mapping alive.

    Raises SafetensorError where the file breaks a rule of the format, OSError where it cannot be opened.
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
        """The strings that the writer added; None where it added none."""
        return self._open().header.metadata

    def get_tensor(self, name: str) -> Array:
        """A tensor, as stored."""
        return self._open().slice(name)[...]

    def get_slice(self, name: str) -> TensorSlice:
        """A tensor to index, without reading the rest of it."""
        return self._open().slice(name)


def load_file(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The tensors of a file by name, in the order of their bytes; mapped and read-only, as `safe_open` gives them."""
    return _Reader(_map(path), os.fspath(path)).tensors()


def load(data: bytes) -> dict[str, Array]:
    """The tensors of a file's content by name, in the order of their bytes; read-only views of `data`."""
    return _Reader(data, "the given bytes").tensors()


# Writing ------------------------------------------------------------------------------------------


def save(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of a file that holds `tensors`: arrays of any strides and byte order, or Tensors.

    Raises SafetensorError for a name, a value or a dtype that the format has no place for.
    """
    header, arrays = _layout(tensors, metadata, "save")
    return b"".join([header, *map(_stored_bytes, arrays)])


def save_file(
    tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors` to `path`, atomically; of arrays that need reordering, one at a time is copied.

    Raises SafetensorError as `save` does, and where arrays that were loaded from `path` are still in use: they would
    go on showing the old file, and some systems cannot replace a mapped one.
    """
    where = os.fspath(path)
    header, arrays = _layout(tensors, metadata, where)
    if os.path.exists(path) and _identity(os.stat(path)) in [mapped.file for mapped in _maps]:
        what = "arrays loaded from this file are in use; copy and drop them, or write to another file"
        raise SafetensorError(where, "MappedFile", what)
    with atomic_write(path) as file:
        file.write(header)
        for array in arrays:
            file.write(_stored_bytes(array))


def _layout(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None, where: str) -> tuple[bytes, list[Array]]:
    """The file up to its data, and the arrays in the order of the file."""
    arrays = {name: _as_array(name, value, where) for name, value in tensors.items()}
    described = {
        name: (_NAMES[array.dtype.newbyteorder("<")], array.shape, array.nbytes) for name, array in arrays.items()
    }
    header, order = write_header(described, metadata, where)
    return header, [arrays[name] for name in order]


def _as_array(name: str, value: Any, where: str) -> Array:
    array = value.detach().numpy() if hasattr(value, "detach") else value
    if not isinstance(array, (np.ndarray, np.generic)):
        raise SafetensorError(where, "InvalidTensor", f"tensor '{name}' is a {type(value).__name__}, not an array")
    if array.dtype.newbyteorder("<") not in _NAMES:
        raise SafetensorError(where, "UnsupportedDtype", f"tensor '{name}' is {array.dtype}, which cannot be stored")
    return np.asarray(array)


def _stored_bytes(array: Array) -> memoryview:
    """The array's elements in C order, little-endian."""
    stored = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return stored.reshape(-1).view(np.uint8).data
