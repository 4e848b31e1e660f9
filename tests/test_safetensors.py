"""tinytorch.safetensors by itself; test_safetensors_oracle.py compares it with the reference."""

from __future__ import annotations

import gc
import json
import math
import mmap
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinytorch.safetensors import SafetensorError, load, load_file, safe_open, save, save_file

DTYPES = [
    *(np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64),
    *(np.float16, np.float32, np.float64, np.complex64, ml_dtypes.bfloat16),
    *(ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz),
    ml_dtypes.float8_e8m0fnu,
]


def file_of(header: Any, data: bytes = b"") -> bytes:
    """A file with any header, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str = "I32", shape: Any = (2, 2), offsets: Any = (0, 16), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# What is written -----------------------------------------------------------------------------------


def test_golden_bytes() -> None:
    assert save({"test": np.zeros((2, 2), np.int32)}) == (
        b'@\0\0\0\0\0\0\0{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}    ' + bytes(16)
    )
    assert save({}) == b"\x08\0\0\0\0\0\0\0{}      "


def test_order_is_by_type_then_by_name_whatever_the_order_given() -> None:
    tensors = {
        "b": np.ones(1, np.float32),
        "a": np.ones(1, np.float32),
        "z": np.ones(1, np.int64),
        "flag": np.ones(3, np.bool_),
        "half": np.ones(1, ml_dtypes.bfloat16),
    }
    content = save(tensors, {"format": "pt"})
    assert list(load(content)) == ["z", "a", "b", "half", "flag"]
    assert content == save(dict(reversed(tensors.items())), {"format": "pt"})
    assert content[8:].startswith(b'{"__metadata__":{"format":"pt"},"z":')


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_keeps_its_bits(dtype: type) -> None:
    bits = np.random.default_rng(0).integers(0, 256, 16 * np.dtype(dtype).itemsize, np.uint8)
    array = (bits % 2 if dtype is np.bool_ else bits).view(dtype).reshape(4, 4)
    assert same_bits(load(save({"x": array}))["x"], array)


arrays = st.sampled_from([np.float32, np.float64, np.int64, np.int16, np.uint8, np.bool_, np.complex64]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__")


@given(st.dictionaries(names, arrays, max_size=4), st.none() | st.dictionaries(names, names, max_size=3), st.data())
def test_round_trip(tensors: dict[str, np.ndarray], metadata: dict[str, str] | None, data: st.DataObject) -> None:
    """Any names, shapes, strides and byte orders come back as the same values, in native order."""
    given_tensors = {}
    for name, array in tensors.items():
        change = data.draw(st.sampled_from(["none", "transpose", "reverse", "big-endian"]))
        if change == "transpose":
            array = array.T
        elif change == "reverse":
            array = np.flip(array)
        elif change == "big-endian":
            array = array.astype(array.dtype.newbyteorder(">"))
        given_tensors[name] = array
    content = save(given_tensors, metadata)
    loaded = load(content)
    assert set(loaded) == set(given_tensors)
    for name, array in given_tensors.items():
        assert same_bits(loaded[name], array.astype(array.dtype.newbyteorder("=")))
        assert loaded[name].flags.c_contiguous and loaded[name].flags.aligned
    assert int.from_bytes(content[:8], "little") % 8 == 0


def test_numpy_scalars_and_tensors_of_other_kinds_are_taken() -> None:
    class Tensor:
        def detach(self) -> Tensor:
            return self

        def numpy(self) -> np.ndarray:
            return np.arange(3.0)

    loaded = load(save({"scalar": np.float32(2.5), "tensor": Tensor()}))
    assert loaded["scalar"].shape == () and loaded["scalar"] == 2.5
    assert loaded["tensor"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"x": np.zeros(1, np.complex128)}, None, "UnsupportedDtype: tensor 'x' is complex128"),
        ({"x": np.array(["a"])}, None, "UnsupportedDtype: tensor 'x' is <U1"),
        ({"x": np.array([None])}, None, "UnsupportedDtype: tensor 'x' is object"),
        ({"x": np.zeros(2, ml_dtypes.int4)}, None, "UnsupportedDtype: tensor 'x' is int4"),
        ({"x": [1.0]}, None, "InvalidTensor: tensor 'x' is a list, not an array"),
        ({"__metadata__": np.zeros(1)}, None, "InvalidName: '__metadata__' cannot name a tensor"),
        ({1: np.zeros(1)}, None, "InvalidName: 1 cannot name a tensor"),
        ({"\ud800": np.zeros(1)}, None, "InvalidHeader: no UTF-8 for '\\ud800'"),
        ({}, {"step": 1}, "InvalidMetadata"),
    ],
)
def test_what_the_format_has_no_place_for_is_refused(tensors: Any, metadata: Any, message: str) -> None:
    with pytest.raises(SafetensorError) as caught:
        save(tensors, metadata)
    assert message in str(caught.value)


def test_a_header_over_the_limit_is_refused_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytorch.safetensors_header._MAX_HEADER", 48)
    assert len(save({}, {"k": "v" * 20})) == 8 + 48
    with pytest.raises(SafetensorError, match="HeaderTooLarge: a header of 56 bytes; the limit is 48"):
        save({}, {"k": "v" * 30})


# What is read --------------------------------------------------------------------------------------

ONE_RANGE = {f"t{i}": entry("F32", [2, 2], [0, 16]) for i in range(10)}
MALFORMED = {
    "no bytes": (b"", "HeaderTooSmall"),
    "7 bytes": (bytes(7), "HeaderTooSmall"),
    "huge length": (b"<\0\0\0\0\xff\xff\xff", "HeaderTooLarge"),
    "length over the limit": ((100_000_001).to_bytes(8, "little") + b"{}", "HeaderTooLarge"),
    "header past the end": (b"<\0\0\0\0\0\0\0", "InvalidHeaderLength"),
    "length 1000 in a small file": ((1000).to_bytes(8, "little") + b'{"a":1}', "InvalidHeaderLength"),
    "not UTF-8": (file_of(b"\xff"), "InvalidHeader"),
    "not JSON": (file_of(b"{"), "InvalidHeaderDeserialization"),
    "empty header": (file_of(b""), "InvalidHeaderDeserialization"),
    "a list": (file_of([]), "InvalidHeaderDeserialization"),
    "NUL padding": (file_of(b"{}\0\0"), "InvalidHeaderDeserialization"),
    "unknown dtype": (file_of({"t": entry("F128")}, bytes(16)), "InvalidHeaderDeserialization"),
    "dtype in lower case": (file_of({"t": entry("i32")}, bytes(16)), "InvalidHeaderDeserialization"),
    "negative shape": (file_of({"t": entry(shape=[-2, -2])}, bytes(16)), "InvalidHeaderDeserialization"),
    "float shape": (file_of({"t": entry(shape=[2.0, 2])}, bytes(16)), "InvalidHeaderDeserialization"),
    "true in a shape": (file_of({"t": entry(shape=[True, 4])}, bytes(16)), "InvalidHeaderDeserialization"),
    "shape over 64 bits": (file_of({"t": entry(shape=[2**64])}, bytes(16)), "InvalidHeaderDeserialization"),
    "-0": (file_of(b'{"t":{"dtype":"U8","shape":[1],"data_offsets":[-0,1]}}', b"x"), "InvalidHeaderDeserialization"),
    "three offsets": (file_of({"t": entry(offsets=[0, 16, 16])}, bytes(16)), "InvalidHeaderDeserialization"),
    "no shape": (file_of({"t": {"dtype": "U8", "data_offsets": [0, 1]}}, b"x"), "InvalidHeaderDeserialization"),
    "metadata not a string": (file_of({"__metadata__": {"step": 1}}), "InvalidHeaderDeserialization"),
    "NaN": (file_of(b'{"t":{"dtype":"U8","x":NaN,"shape":[0],"data_offsets":[0,0]}}'), "InvalidHeaderDeserialization"),
    "1e999": (
        file_of(b'{"t":{"dtype":"U8","x":1e999,"shape":[0],"data_offsets":[0,0]}}'),
        "InvalidHeaderDeserialization",
    ),
    "lists in lists": (
        file_of({"t": entry("U8", [0], [0, 0], x=json.loads("[" * 126 + "]" * 126))}),
        "InvalidHeaderDeserialization",
    ),
    "half a surrogate pair": (file_of(b'{"__metadata__":{"a":"\\ud800"}}'), "InvalidHeaderDeserialization"),
    "a name twice": (
        file_of(
            b'{"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        ),
        "InvalidHeaderDeserialization",
    ),
    "an entry as a list": (file_of({"t": ["U8", [1], [0, 1]]}, b"x"), "InvalidHeaderDeserialization"),
    "ten names on one range": (file_of(ONE_RANGE, bytes(16)), "InvalidOffset"),
    "a hole at the start": (file_of({"t": entry(offsets=[4, 20])}, bytes(20)), "InvalidOffset"),
    "a hole": (file_of({"a": entry("U8", [1], [0, 1]), "b": entry("U8", [1], [2, 3])}, bytes(3)), "InvalidOffset"),
    "end before begin": (
        file_of({"a": entry("U8", [4], [0, 4]), "b": entry("U8", [4], [4, 0])}, bytes(4)),
        "InvalidOffset",
    ),
    "elements overflow": (file_of({"t": entry(shape=[2, 2**64 - 2])}, bytes(16)), "ValidationOverflow"),
    "bits overflow": (file_of({"t": entry(shape=[2, 2**63 - 1])}, bytes(16)), "ValidationOverflow"),
    "overflow before a zero": (file_of({"t": entry(shape=[2**63, 4, 0], offsets=[0, 0])}), "ValidationOverflow"),
    "four bits": (file_of({"t": entry("F4", [1, 3], [0, 2])}, bytes(2)), "MisalignedSlice"),
    "two bytes for two F4": (file_of({"t": entry("F4", [1, 2], [0, 2])}, bytes(2)), "TensorInvalidInfo"),
    "too few bytes": (file_of({"t": entry(offsets=[0, 4])}, bytes(4)), "TensorInvalidInfo"),
    "trailing bytes": (file_of({"t": entry()}, bytes(16) + b"polyglot"), "MetadataIncompleteBuffer"),
    "truncated": (file_of({"t": entry()}, bytes(14)), "MetadataIncompleteBuffer"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused_by_the_right_rule(case: str, tmp_path: Path) -> None:
    content, rule = MALFORMED[case]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    for refuse in (lambda: load(content), lambda: load_file(path), lambda: safe_open(path)):
        with pytest.raises(SafetensorError) as caught:
            refuse()
        assert caught.value.rule == rule
        assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_error_about_a_tensor_names_it() -> None:
    with pytest.raises(SafetensorError, match=r"tensor 'model\.norm' of dtype I32 and shape \[2, 2\] needs 16 bytes"):
        load(file_of({"model.norm": entry(offsets=[0, 4])}, bytes(4)))


@pytest.mark.parametrize(
    ("header", "data", "shapes"),
    [
        (b'{"t":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}    ', bytes(16), {"t": (2, 2)}),
        (b' \n\t\r{"t":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}', bytes(16), {"t": (2, 2)}),
        ({"t": entry(shape=[2, 0], offsets=[0, 0])}, b"", {"t": (2, 0)}),
        ({"t": entry(shape=[], offsets=[0, 4])}, bytes(4), {"t": ()}),
        ({}, b"", {}),
        ({"__metadata__": None}, b"", {}),
        ({"t": entry(extra=[1e3, {"x": 2**64}])}, bytes(16), {"t": (2, 2)}),
        ({"t": entry(extra=json.loads("[" * 125 + "]" * 125))}, bytes(16), {"t": (2, 2)}),
        (
            {"b": entry("U8", [0], [1, 1]), "a": entry("U8", [1], [0, 1]), "c": entry("U8", [1], [1, 2])},
            bytes(2),
            {"a": (1,), "b": (0,), "c": (1,)},
        ),
    ],
)
def test_unusual_files_are_read(header: Any, data: bytes, shapes: dict[str, tuple[int, ...]]) -> None:
    assert {name: array.shape for name, array in load(file_of(header, data)).items()} == shapes


def test_data_that_begins_unaligned_is_given_aligned(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    values = np.arange(4, dtype=np.float64)
    path.write_bytes(file_of(json.dumps({"t": entry("F64", [4], [0, 32])}).encode().ljust(67), values.tobytes()))
    with safe_open(path) as file:
        for array in (file.get_tensor("t"), file.get_slice("t")[1:3], load_file(path)["t"]):
            assert array.flags.aligned
        assert file.get_slice("t")[1:3].tolist() == [1.0, 2.0]
        assert file.get_tensor("t").tolist() == values.tolist()


@pytest.mark.parametrize("shape", [[1] * 65, [0, 2**63]])
def test_a_shape_beyond_numpy_is_an_error_of_that_tensor_only(shape: list[int]) -> None:
    size = 0 if 0 in shape else 1
    with pytest.raises(SafetensorError, match="UnsupportedShape: tensor 't'"):
        load(file_of({"t": entry("U8", shape, [0, size])}, bytes(size)))


def test_packed_types_are_checked_but_not_given_as_arrays(tmp_path: Path) -> None:
    path = tmp_path / "packed.safetensors"
    path.write_bytes(file_of({"q": entry("F4", [4], [0, 2]), "s": entry("U8", [1], [2, 3])}, b"ab\x07"))
    with safe_open(path) as file:
        assert file.get_tensor("s").tolist() == [7]
        with pytest.raises(SafetensorError, match="UnsupportedDtype: tensor 'q' is F4"):
            file.get_tensor("q")
        assert file.get_bytes("q").tobytes() == b"ab"


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (np.float16, [1.5, -0.0, 65504.0, 6e-8, np.inf]),
        (ml_dtypes.bfloat16, [1.5, -0.0, 3.39e38, 1e-40, np.inf]),
        (ml_dtypes.float8_e4m3fn, [1.5, -0.0, 448.0, 2.0**-9, np.nan]),
        (ml_dtypes.float8_e5m2, [1.5, -0.0, 57344.0, 2.0**-16, -np.inf]),
        (np.float64, [1.5, -0.0, 1e300]),
    ],
)
def test_floats_are_converted_where_that_is_asked_for(dtype: type, values: list[float], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    array = np.array(values).astype(dtype)
    with np.errstate(over="ignore"):
        expected = array.astype(np.float32)
    save_file({"x": array, "ids": np.arange(3), "mask": np.array([True])}, path)
    with safe_open(path) as file, np.errstate(over="ignore"):
        found = [load_file(path, np.float32), load(path.read_bytes(), "float32")]
        found.append({name: file.get_tensor(name, np.float32) for name in ("x", "ids", "mask")})
        assert same_bits(file.get_tensor("x"), array)
    for tensors in found:
        assert same_bits(tensors["x"], expected)
        assert tensors["x"].flags.writeable
        assert tensors["ids"].dtype == np.int64 and tensors["mask"].dtype == np.bool_


def test_what_needs_no_conversion_stays_mapped(checkpoint: Path) -> None:
    assert not load_file(checkpoint, np.float32)["weight"].flags.writeable


def test_many_names_on_one_range_are_refused() -> None:
    content = file_of({f"t{i}": entry("F32", [2, 2], [0, 16]) for i in range(20_000)}, bytes(16))
    with pytest.raises(SafetensorError, match="InvalidOffset"):
        load(content)


def test_claimed_sizes_cost_no_memory() -> None:
    tracemalloc.start()
    for content in (
        file_of({"t": entry("F32", [2**40, 2**10], [0, 2**52])}),
        (99_999_999).to_bytes(8, "little") + b"{}",
        (2**63).to_bytes(8, "little") + b"{}",
        file_of({"t": entry("U8", [2**62, 0], [0, 0]), "u": entry("U8", [2**62], [0, 2**62])}),
    ):
        with pytest.raises(SafetensorError):
            load(content)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_long_names_do_not_make_long_messages() -> None:
    with pytest.raises(SafetensorError) as caught:
        load(file_of({"n" * 10_000: entry(offsets=[4, 20])}, bytes(20)))
    assert len(str(caught.value)) < 600


def test_names_of_any_characters_make_one_line() -> None:
    with pytest.raises(SafetensorError) as caught:
        load(file_of({"a\n\x1b[2J\u2028\u202e": entry(offsets=[4, 20])}, bytes(20)))
    assert str(caught.value).isprintable()
    assert r"'a\n\x1b[2J\u2028\u202e'" in str(caught.value)


@given(st.binary(max_size=80).filter(lambda noise: b"{" not in noise), st.integers(0, 100))
def test_bytes_that_are_no_file_are_refused(noise: bytes, length: int) -> None:
    for content in (noise, length.to_bytes(8, "little") + noise, file_of(noise)):
        with pytest.raises(SafetensorError):
            load(content)


names = st.text(max_size=3)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
arrays = st.tuples(st.sampled_from(DTYPES), shapes).flatmap(
    lambda pair: st.binary(min_size=8 * math.prod(pair[1]), max_size=8 * math.prod(pair[1])).map(
        lambda data: np.frombuffer(data, np.uint8)[: math.prod(pair[1]) * np.dtype(pair[0]).itemsize]
        .view(pair[0])
        .reshape(pair[1])
    )
)


@given(st.dictionaries(names, arrays, max_size=3), st.data())
def test_one_changed_byte_is_refused_or_changes_what_it_says(tensors: dict[str, np.ndarray], data: Any) -> None:
    """A file that is whole is read; of one with a byte changed, taken away or added, what is read is what it says."""
    content = save(tensors)
    found = load(content)
    assert found.keys() == tensors.keys()
    assert all(same_bits(found[name], array) for name, array in tensors.items())
    place = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["changed", "taken away", "added"]))
    new = data.draw(st.binary(min_size=1, max_size=1)) if kind != "taken away" else b""
    changed = content[:place] + new + content[place + (kind != "added") :]
    try:
        found = load(changed)
    except SafetensorError:
        return
    assert kind == "changed"  # no other leaves the lengths right
    header = 8 + int.from_bytes(changed[:8], "little")
    for name, entry in json.loads(changed[8:header]).items():
        begin, end = entry["data_offsets"]
        assert found[name].tobytes() == changed[header + begin : header + end]
        assert list(found[name].shape) == entry["shape"]
    if place >= header:
        assert {name: array.shape for name, array in found.items()} == {n: a.shape for n, a in tensors.items()}


# Files ---------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file(
        {"weight": np.arange(12, dtype=np.float32).reshape(3, 4), "bias": np.ones(3, np.float16)}, path, {"step": "7"}
    )
    return path


def test_a_file_is_what_save_gives(checkpoint: Path) -> None:
    tensors = load_file(checkpoint)
    assert checkpoint.read_bytes() == save(tensors, {"step": "7"})
    assert os.listdir(checkpoint.parent) == [checkpoint.name]


def test_safe_open(checkpoint: Path) -> None:
    with safe_open(checkpoint) as file:
        assert file.keys() == ["bias", "weight"]
        assert file.metadata() == {"step": "7"}
        part = file.get_slice("weight")
        assert (part.get_shape(), part.get_dtype()) == ([3, 4], "F32")
        assert part[1:, ::2].tolist() == [[4.0, 6.0], [8.0, 10.0]]
        assert part[-1, 0].shape == () and part[-1, 0] == 8.0
        with pytest.raises(IndexError):
            part[3]
        with pytest.raises(SafetensorError, match="there is no tensor 'head'") as caught:
            file.get_tensor("head")
        assert str(checkpoint) in str(caught.value)
        weight = file.get_tensor("weight")
    assert weight.sum() == 66.0  # the array outlives the block
    with pytest.raises(ValueError, match="closed"):
        file.keys()


def test_no_metadata_is_none(tmp_path: Path) -> None:
    save_file({}, tmp_path / "empty.safetensors")
    with safe_open(tmp_path / "empty.safetensors") as file:
        assert file.metadata() is None and file.keys() == []


def test_arrays_are_the_mapped_file_itself(checkpoint: Path) -> None:
    array = load_file(checkpoint)["weight"]
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_tensor_costs_no_memory_until_it_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    size = 64 * 2**20
    save_file({"x": np.zeros(size, np.uint8)}, path)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    before = resident()
    array = load_file(path)["x"]
    assert resident() - before < size // 8
    assert array.sum() == 0
    assert resident() - before > size // 2


def test_a_file_whose_arrays_are_in_use_is_not_overwritten(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    part = load_file(checkpoint)["weight"][1:]
    for tensors in ({"weight": part}, {"other": np.zeros(1)}):
        with pytest.raises(SafetensorError, match="MappedFile: arrays loaded from this file are in use"):
            save_file(tensors, checkpoint)
    assert checkpoint.read_bytes() == before
    save_file({"weight": part}, checkpoint.with_name("other.safetensors"))
    copy = part.copy()
    del part
    gc.collect()
    save_file({"weight": copy}, checkpoint)
    assert load_file(checkpoint)["weight"].tolist() == copy.tolist()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checkpoint.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_file({"x": np.zeros(3)}, checkpoint)
    assert checkpoint.read_bytes() == before
    assert os.listdir(checkpoint.parent) == [checkpoint.name]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        save_file({}, tmp_path / "x.safetensors")
    finally:
        os.umask(old)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_file(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError):
        save_file({}, tmp_path / "no folder" / "x.safetensors")
