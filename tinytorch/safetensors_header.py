"""Reading and writing the header of a safetensors file, and its rules, checked in the reference's order.

The checks look at the header only. Sizes that it claims never cause an allocation; its length does, but that is checked
against the file's length first, and the checks take time and memory linear in it. As the format's description demands,
two rules are stricter than the reference's: a key that occurs twice in one JSON object is refused, and so is an entry
that is a JSON list.
"""

from __future__ import annotations

import json
import math
import mmap
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import ml_dtypes
import numpy as np

_PREFIX = 8  # the bytes of the header's own length
_MAX_HEADER = 100_000_000
_MAX_SIZE = 2**64 - 1
_MAX_DEPTH = 127  # of nested JSON, in the reference's parser
_METADATA = "__metadata__"


class SafetensorError(ValueError):
    """A file that breaks a rule of the format, or arrays that it cannot hold.

    The message is one line that names the file, the rule and the tensor; `rule` is the reference's name for the rule.
    """

    def __init__(self, where: str, rule: str, what: str) -> None:
        # A hostile name or shape may be as long as the file, and contain anything.
        what = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in what[:400]) + "..." * (len(what) > 400)
        super().__init__(f"{where}: {rule}: {what}")
        self.rule = rule


class Dtype(NamedTuple):
    bits: int
    numpy: np.dtype[Any] | None  # None: elements smaller than a byte, packed, which NumPy cannot hold


def _stored(dtype: Any) -> Dtype:
    little = np.dtype(dtype).newbyteorder("<")
    return Dtype(8 * little.itemsize, little)


# In the reference's order: a file has the tensors of the last dtype first, so that each begins aligned.
DTYPES = {
    "BOOL": _stored(np.bool_),
    "F4": Dtype(4, None),
    "F6_E2M3": Dtype(6, None),
    "F6_E3M2": Dtype(6, None),
    "U8": _stored(np.uint8),
    "I8": _stored(np.int8),
    "F8_E5M2": _stored(ml_dtypes.float8_e5m2),
    "F8_E4M3": _stored(ml_dtypes.float8_e4m3fn),
    "F8_E8M0": _stored(ml_dtypes.float8_e8m0fnu),
    "F8_E4M3FNUZ": _stored(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": _stored(ml_dtypes.float8_e5m2fnuz),
    "I16": _stored(np.int16),
    "U16": _stored(np.uint16),
    "F16": _stored(np.float16),
    "BF16": _stored(ml_dtypes.bfloat16),
    "I32": _stored(np.int32),
    "U32": _stored(np.uint32),
    "F32": _stored(np.float32),
    "C64": _stored(np.complex64),
    "F64": _stored(np.float64),
    "I64": _stored(np.int64),
    "U64": _stored(np.uint64),
}
_RANK = {name: rank for rank, name in enumerate(DTYPES)}


class Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    metadata: dict[str, str] | None
    entries: dict[str, Entry]  # in the order of their bytes
    data: int  # where the tensors' bytes begin in the file


def read_header(buffer: bytes | mmap.mmap, where: str) -> Header:
    """The header of the file that `buffer` holds, checked against every rule; `where` names it in errors."""
    size = len(buffer)
    if size < _PREFIX:
        raise SafetensorError(where, "HeaderTooSmall", f"{size} bytes, but the header's length alone takes {_PREFIX}")
    length = int.from_bytes(buffer[:_PREFIX], "little")
    if length > _MAX_HEADER:
        raise SafetensorError(where, "HeaderTooLarge", f"a header of {length} bytes; the limit is {_MAX_HEADER}")
    data = _PREFIX + length
    if data > size:
        raise SafetensorError(where, "InvalidHeaderLength", f"a header of {length} bytes in a file of {size}")
    try:
        text = buffer[_PREFIX:data].decode("utf-8")
    except UnicodeDecodeError as error:
        raise SafetensorError(where, "InvalidHeader", f"not UTF-8 at byte {_PREFIX + error.start}") from error
    metadata, entries = _parse(text, where)
    end = _check_layout(entries, where)
    if data + end != size:
        what = f"the header describes a file of {data + end} bytes, but it has {size}"
        raise SafetensorError(where, "MetadataIncompleteBuffer", what)
    return Header(metadata, entries, data)


def _parse(text: str, where: str) -> tuple[dict[str, str] | None, dict[str, Entry]]:
    """The header's metadata and entries, the latter sorted by offsets."""

    def refuse(what: str) -> NoReturn:
        raise SafetensorError(where, "InvalidHeaderDeserialization", what)

    header = _parse_json(text, refuse)
    if not isinstance(header, dict):
        refuse("the header is not a JSON object")
    metadata = header.pop(_METADATA, None)
    if metadata is not None and not isinstance(metadata, dict):
        refuse(f"{_METADATA} is not a JSON object")
    for key, value in (metadata or {}).items():
        if not isinstance(value, str):
            refuse(f"{_METADATA} has a value that is not a string, at '{key}'")
    entries = {name: _parse_entry(f"tensor '{name}'", entry, refuse) for name, entry in header.items()}
    return metadata, dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))


def _parse_json(text: str, refuse: Callable[[str], NoReturn]) -> Any:
    """Parse JSON like the reference's parser, which is stricter than Python's about numbers and surrogates."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
            refuse(f"the key '{key}' occurs twice")
        return mapping

    def integer(digits: str) -> int | float:
        # -0, and what 64 bits cannot hold, become floats: not valid sizes, but allowed where keys are ignored.
        fits = len(digits) <= 20 and digits != "-0" and int(digits) <= _MAX_SIZE
        return int(digits) if fits else real(digits)

    def real(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(f"the number {digits} is out of range")

    def constant(name: str) -> NoReturn:
        refuse(f"{name} is not JSON")

    try:
        parsed = json.loads(
            text, object_pairs_hook=unique, parse_int=integer, parse_float=real, parse_constant=constant
        )
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")  # fails on half of a surrogate pair
    except json.JSONDecodeError as error:
        refuse(f"{error.msg} at character {error.pos} of the header")
    except UnicodeEncodeError:
        refuse("an escaped character is half of a surrogate pair")
    except RecursionError:
        refuse("nested too deeply")
    return parsed


_KEYS = ("dtype", "shape", "data_offsets")


def _parse_entry(tensor: str, entry: Any, refuse: Callable[[str], NoReturn]) -> Entry:
    if not isinstance(entry, dict):
        refuse(f"{tensor} is not described by a JSON object")
    for key in _KEYS:
        if key not in entry:
            refuse(f"{tensor} lacks '{key}'")
    if len(entry) > len(_KEYS) and not _is_within_depth(entry, _MAX_DEPTH - 1):
        refuse(f"{tensor} is nested too deeply")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        refuse(f"{tensor} has the unknown dtype {dtype!r}")
    if not _are_sizes(shape):
        refuse(f"{tensor} has the shape {shape!r}, which is not a list of whole numbers")
    if not _are_sizes(offsets) or len(offsets) != 2:
        refuse(f"{tensor} has the data_offsets {offsets!r}, which are not two whole numbers")
    return Entry(dtype, tuple(shape), *offsets)


def _is_within_depth(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested at most `depth` deep, counting `value` itself."""
    level = [value]
    while depth and level:
        depth -= 1
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
    return not level


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_layout(entries: Mapping[str, Entry], where: str) -> int:
    """Check that the sorted entries cover the data without a hole or an overlap; return its length."""
    position = 0
    for name, (dtype, shape, begin, end) in entries.items():
        tensor = f"tensor '{name}' of dtype {dtype} and shape {list(shape)}"
        if begin != position or end < begin:
            what = f"tensor '{name}' takes bytes {begin} to {end}; the tensors before it end at {position}"
            raise SafetensorError(where, "InvalidOffset", what)
        position = end
        bits = 1
        for factor in (*shape, DTYPES[dtype].bits):
            bits *= factor
            if bits > _MAX_SIZE:  # even if a later factor is 0, as in the reference
                raise SafetensorError(where, "ValidationOverflow", f"{tensor} has more bits than 64 bits can count")
        if bits % 8:
            raise SafetensorError(where, "MisalignedSlice", f"{tensor} ends within a byte")
        if end - begin != bits // 8:
            what = f"{tensor} needs {bits // 8} bytes, but takes bytes {begin} to {end}"
            raise SafetensorError(where, "TensorInvalidInfo", what)
    return position


def write_header(
    tensors: Mapping[str, tuple[str, tuple[int, ...], int]], metadata: Mapping[str, str] | None, where: str
) -> tuple[bytes, list[str]]:
    """The file up to its data, and the tensors' names in the order of the file.

    `tensors` has each tensor's dtype name, shape and number of bytes. The order is the reference's: by dtype, the last
    in DTYPES first, then by name. Spaces after the JSON make the data begin at a multiple of 8.
    """
    header: dict[str, Any] = {}
    if metadata is not None:
        if not all(isinstance(text, str) for item in metadata.items() for text in item):
            raise SafetensorError(where, "InvalidMetadata", "metadata maps strings to strings, nothing else")
        header[_METADATA] = dict(metadata)
    for name in tensors:
        if not isinstance(name, str) or name == _METADATA:
            raise SafetensorError(where, "InvalidName", f"{name!r} cannot name a tensor")
    order = sorted(tensors, key=lambda name: (-_RANK[tensors[name][0]], name))
    end = 0
    for name in order:
        dtype, shape, size = tensors[name]
        begin, end = end, end + size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise SafetensorError(where, "InvalidHeader", f"no UTF-8 for {error.object[error.start]!r}") from error
    text += b" " * (-len(text) % _PREFIX)
    if len(text) > _MAX_HEADER:
        raise SafetensorError(where, "HeaderTooLarge", f"a header of {len(text)} bytes; the limit is {_MAX_HEADER}")
    return len(text).to_bytes(_PREFIX, "little") + text, order
