"""Checkpoints in several safetensors files: shards, and an index that says which shard has which tensor.

    model-00001-of-00002.safetensors, model-00002-of-00002.safetensors
    model.safetensors.index.json: {"metadata": {"total_size": BYTES}, "weight_map": {TENSOR: FILE}}

A checkpoint that fits into one file is just `model.safetensors`. Names, order and index are as transformers reads and
writes them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .dtypes import DTypeLike
from .files import atomic_write, flush_folder
from .safetensors import LazyTensor, SafetensorError, TensorSlice, as_lazy, refuse_mapped, safe_open, save_file

__all__ = ["INDEX", "SINGLE", "open_shards", "save_shards"]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARD_SIZE = 5_000_000_000

_MAX_CONTAINERS = 100_000  # an index has three; others may add to it
_SHARD = re.compile(r"model-\d{5,}-of-\d{5,}\.safetensors")
_UNFINISHED = ".unfinished-"  # prefix of the folder in which shards are written


# Reading ------------------------------------------------------------------------------------------


class open_shards:
    """The tensors in a folder, in one file or several: `with open_shards(folder) as file: file.get_tensor("weight")`.

    The index is read and checked at once. A shard is opened when the first of its tensors is requested, and must have
    exactly the tensors that the index places there. If there are both `model.safetensors` and an index, the single
    file is read, as in transformers. For arrays, and after the block, `safe_open`'s rules apply.

    Raises SafetensorError for a folder without a checkpoint and for an index or a file that breaks a rule.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._files: dict[str, safe_open] = {}
        self._closed = False
        if (self._folder / SINGLE).exists():
            single = self._files[SINGLE] = safe_open(self._folder / SINGLE)
            self._places = dict.fromkeys(single.keys(), SINGLE)
        elif (self._folder / INDEX).exists():
            self._places = _read_index(self._folder / INDEX)
        else:
            raise _no_checkpoint(self._folder)

    def __enter__(self) -> open_shards:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed = True
        self._files.clear()

    def _open(self, shard: str) -> safe_open:
        if self._closed:
            raise ValueError("the checkpoint is closed; use it inside the with block")
        if shard not in self._files:
            path = self._folder / shard
            file = safe_open(path)
            _compare(file.keys(), {name for name, place in self._places.items() if place == shard}, path)
            self._files[shard] = file
        return self._files[shard]

    def _holder(self, name: str) -> safe_open:
        if name not in self._places:
            raise SafetensorError(str(self._folder), "TensorNotFound", f"there is no tensor '{name}'")
        return self._open(self._places[name])

    def keys(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._places)

    def metadata(self) -> dict[str, str] | None:
        """The strings that the writer added to the first file; None if it added none, or if there is no file."""
        shard = min(self._places.values(), default=SINGLE if SINGLE in self._files else None)
        return None if shard is None else self._open(shard).metadata()

    def get_tensor(self, name: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
        """A tensor as stored, or, if it is floating-point and `dtype` is given, converted to that."""
        return self._holder(name).get_tensor(name, dtype)

    def get_slice(self, name: str) -> TensorSlice:
        """A tensor that can be indexed without reading the rest of it."""
        return self._holder(name).get_slice(name)

    def get_bytes(self, name: str) -> NDArray[Any]:
        """A tensor's bytes as stored, (number of bytes,) uint8."""
        return self._holder(name).get_bytes(name)


def _no_checkpoint(folder: Path) -> SafetensorError:
    if not folder.is_dir():
        return SafetensorError(str(folder), "NoCheckpoint", "there is no such folder")
    what = f"there is neither {SINGLE} nor {INDEX}"
    if any(_SHARD.fullmatch(name) or name.startswith(_UNFINISHED) for name in os.listdir(folder)):
        what += ", but parts of a checkpoint whose writing was interrupted: write it again"
    return SafetensorError(str(folder), "NoCheckpoint", what)


def _read_index(path: Path) -> dict[str, str]:
    """Which file has which tensor, after checking that every file exists."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            raise ValueError("a key occurs twice in one JSON object")
        return mapping

    content = path.read_bytes()
    if content.count(b"{") + content.count(b"[") > _MAX_CONTAINERS:  # each takes many times its bytes in memory
        raise SafetensorError(str(path), "InvalidIndex", "more lists and objects than an index has")
    try:
        index = json.loads(content, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # ValueError includes text that is not UTF-8
        raise SafetensorError(str(path), "InvalidIndex", f"not JSON: {error}") from error
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise SafetensorError(str(path), "InvalidIndex", "no JSON object with an object 'weight_map'")
    for name, shard in places.items():
        # A name with a folder or a drive in it could lead anywhere.
        if not isinstance(shard, str) or shard in ("", ".", "..") or re.search(r"[/\\:\0]", shard):
            what = f"tensor '{name}' is placed in {shard!r}, which is not the name of a file beside the index"
            raise SafetensorError(str(path), "InvalidIndex", what)
    for shard in sorted(set(places.values())):
        if not os.path.isfile(path.parent / shard):  # this covers names that are too long for the system
            raise SafetensorError(str(path), "MissingShard", f"it names the file {shard}, which is not there")
    return places


def _compare(held: Iterable[str], placed: set[str], path: Path) -> None:
    """Check that a shard has the tensors that the index places in it."""
    held = set(held)
    problems = (placed - held, "places here, is missing"), (held - placed, "does not place here, is there")
    for names, problem in problems:
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            what = f"tensor '{min(names)}'{more}, which {INDEX} {problem}: they are of different checkpoints"
            raise SafetensorError(str(path), "IndexMismatch", what)


# Writing ------------------------------------------------------------------------------------------


def save_shards(
    tensors: Mapping[str, Any] | Iterable[LazyTensor],
    folder: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    max_shard_size: int = MAX_SHARD_SIZE,
    companions: Mapping[str, bytes] | None = None,
) -> list[str]:
    """Write `tensors` into `folder`, in files of at most `max_shard_size` bytes of tensors; return the files' names.

    Tensors are split in the given order; one that is larger than a shard gets its own. LazyTensors are made one at a
    time. `metadata` defaults to {"format": "pt"}, without which some versions of transformers refuse a file.
    `companions` are small files by name that describe the tensors, such as config.json: the folder never shows old
    ones beside new tensors, or new ones beside old tensors.

    An older checkpoint in the folder stays intact until the new one is written in full, beside it; then it is removed.
    If the process is killed while the files are exchanged, the folder has no index, and `open_shards` says so.

    Raises SafetensorError as `save_file` does, also if arrays from any older file of the checkpoint are in use.
    """
    folder = Path(folder)
    shards = _split(as_lazy(tensors, str(folder)), max_shard_size)
    metadata = {"format": "pt"} if metadata is None else metadata
    folder.mkdir(parents=True, exist_ok=True)
    old = _files_of_checkpoints(folder)
    for name in old:
        refuse_mapped(folder / name)
    for leftover in folder.glob(_UNFINISHED + "*"):  # from a write that was killed
        shutil.rmtree(leftover)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        for name, shard in shards.items():
            save_file(shard, unfinished / name, metadata)
        if len(shards) > 1:
            with atomic_write(unfinished / INDEX) as file:
                file.write(_index(shards))
        for name, content in (companions or {}).items():
            with atomic_write(unfinished / name) as file:
                file.write(content)
        _exchange(unfinished, folder, old, companions or {})
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return list(shards)


def _files_of_checkpoints(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if name in (SINGLE, INDEX) or _SHARD.fullmatch(name)}


def _split(tensors: list[LazyTensor], limit: int) -> dict[str, list[LazyTensor]]:
    """The files' names and their tensors, in transformers' order, in which a tensor over the limit overtakes others."""
    shards: list[list[LazyTensor]] = []
    current: list[LazyTensor] = []
    size = 0
    for tensor in tensors:
        if tensor.nbytes > limit:
            shards.append([tensor])
            continue
        if size + tensor.nbytes > limit:
            shards.append(current)
            current, size = [], 0
        current.append(tensor)
        size += tensor.nbytes
    if current or not shards:
        shards.append(current)
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    return {f"model-{i:05}-of-{len(shards):05}.safetensors": shard for i, shard in enumerate(shards, 1)}


def _exchange(unfinished: Path, folder: Path, old: set[str], companions: Mapping[str, bytes]) -> None:
    """Replace the old files by the new ones, so that no mixture of the two is ever visible."""
    new = set(os.listdir(unfinished)) - companions.keys()
    for name, content in companions.items():
        if (folder / name).exists() and (folder / name).read_bytes() != content:
            (folder / name).unlink()
            flush_folder(folder)
    if INDEX in new and not new.isdisjoint(old - {INDEX}):  # new files will have names that are in the old index
        (folder / INDEX).unlink(missing_ok=True)
        flush_folder(folder)
    for name in sorted(new - {INDEX}):
        os.replace(unfinished / name, folder / name)
    flush_folder(folder)
    if INDEX in new:
        os.replace(unfinished / INDEX, folder / INDEX)
        flush_folder(folder)
    for name in sorted(old - new):  # until the others are gone, a single file is read without them
        (folder / name).unlink()
    for name in companions:
        os.replace(unfinished / name, folder / name)
    flush_folder(folder)


def _index(shards: Mapping[str, list[LazyTensor]]) -> bytes:
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for shard in shards.values() for tensor in shard)},
        "weight_map": {tensor.name: file for file, shard in shards.items() for tensor in shard},
    }
    return (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()
