"""tinytorch.safetensors against the reference's package: the same bytes, the same verdicts."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.test_safetensors import DTYPES, MALFORMED, entry, file_of
from tinytorch.safetensors import SafetensorError, load, load_file, save
from tinytorch.safetensors_header import read_header

pytestmark = pytest.mark.oracle("safetensors")

# How the package words each rule.
RULES = {
    "header too small": "HeaderTooSmall",
    "header too large": "HeaderTooLarge",
    "invalid header length": "InvalidHeaderLength",
    "invalid UTF-8 in header": "InvalidHeader",
    "invalid JSON in header": "InvalidHeaderDeserialization",
    "invalid offset": "InvalidOffset",
    "overflow computing": "ValidationOverflow",
    "The slice is slicing for subbytes": "MisalignedSlice",
    "invalid shape, data type, or offset": "TensorInvalidInfo",
    "incomplete metadata": "MetadataIncompleteBuffer",
}
Verdict = tuple[str, dict[str, Any]]


def verdict_of_the_package(content: bytes) -> Verdict:
    import safetensors

    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing: ")
        return next(rule for words, rule in RULES.items() if reason.startswith(words)), {}
    return "accepted", {name: (info["dtype"], tuple(info["shape"]), bytes(info["data"])) for name, info in tensors}


def our_verdict(content: bytes) -> Verdict:
    try:
        header = read_header(content, "it")
    except SafetensorError as error:
        return error.rule if "occurs twice" not in str(error) else "key twice", {}
    data = content[header.data :]
    return "accepted", {name: (e.dtype, e.shape, data[e.begin : e.end]) for name, e in header.entries.items()}


def random_array(rng: np.random.Generator, dtype: Any) -> np.ndarray:
    shape = tuple(rng.integers(0, 4, rng.integers(0, 4)))
    return rng.integers(0, 2, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype).reshape(shape)


def test_bytes_are_those_of_the_package() -> None:
    from safetensors import numpy as package

    rng = np.random.default_rng(0)
    alphabet = list('ab.0_"\\/\n\t\x1f\x7fé日😀\u2028')
    for _ in range(300):
        tensors = {
            "".join(rng.choice(alphabet, rng.integers(0, 6))): random_array(rng, DTYPES[rng.integers(len(DTYPES))])
            for _ in range(rng.integers(1, 8))
        }
        # With two keys or more the package's order of the metadata changes from run to run.
        metadata = [None, {}, {"format": "pt"}][rng.integers(3)]
        assert save(tensors, metadata) == package.save(tensors, metadata)


def test_what_the_package_writes_is_read_and_the_other_way_round() -> None:
    from safetensors import numpy as package

    rng = np.random.default_rng(1)
    tensors = {f"{np.dtype(d)}": random_array(rng, d) for d in DTYPES if np.dtype(d).kind != "V"}
    tensors = {name: array for name, array in tensors.items() if "float8" not in name and "bfloat" not in name}
    metadata = {"a": "1", "b": "2", "é": "\n"}
    ours, theirs = load(package.save(tensors, metadata)), package.load(save(tensors, metadata))
    assert ours.keys() == theirs.keys() == tensors.keys()
    for name, array in tensors.items():
        for other in (ours[name], theirs[name]):
            assert other.dtype == array.dtype and np.array_equal(other, array)


@pytest.mark.oracle("torch")
def test_two_and_one_byte_floats_have_the_values_that_pytorch_reads(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    bits = torch.arange(256, dtype=torch.uint8)
    pairs = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    dtypes = "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"
    tensors = {name: (pairs if "16" in name else bits).clone().view(getattr(torch, name)) for name in dtypes}
    save_torch(tensors, tmp_path / "x.safetensors")
    for name, array in load_file(tmp_path / "x.safetensors").items():
        assert array.dtype.name == name
        expected = tensors[name].view(torch.uint8).numpy()
        assert np.array_equal(array.view(np.uint8), expected)
    for name, array in load_file(tmp_path / "x.safetensors", np.float32).items():
        assert array.dtype == np.float32
        assert np.array_equal(array, tensors[name].float().numpy(), equal_nan=True)


# Where we are stricter on purpose, and the package accepts.
STRICTER = {"a name twice", "an entry as a list"}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_break_the_same_rule(case: str) -> None:
    expected = "accepted" if case in STRICTER else MALFORMED[case][1]
    assert verdict_of_the_package(MALFORMED[case][0])[0] == expected


def mutate(content: bytes, draw: random.Random) -> bytes:
    """One to three small changes, most of them in the header, where the rules are."""
    mutated = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        header_end = min(8 + int.from_bytes(mutated[:8], "little"), len(mutated))
        place = draw.randrange(8, header_end) if header_end > 8 else 0
        digits = [i for i in range(8, header_end) if 48 <= mutated[i] < 58]
        keys = list(re.finditer(rb'"[^"\\]*":', mutated[8:header_end]))
        match draw.randrange(18):
            case 0:
                mutated[place] = draw.randrange(256)
            case 1:
                mutated[place] = ord(draw.choice('{}[],:"\\ \n0123456789-.eEtfnu'))
            case 2:
                resize(mutated, draw.randint(-9, 9))
            case 3 if digits:
                i = draw.choice(digits)
                number = draw.choice([b"0", b"-1", b"1.0", b"1e1", b"-0", b"00", str(2 ** draw.randrange(70)).encode()])
                mutated[i : i + 1] = number
                resize(mutated, len(number) - 1)
            case 4:
                del mutated[place]
                resize(mutated, -1)
            case 5:
                piece = draw.choice(
                    [b" ", b",", b'"x":1,', b"null", b"[", b"]", b"\\ud83d", b"\xc3\xa9", b"\xff", b"0"]
                )
                mutated[place:place] = piece
                resize(mutated, len(piece))
            case 6:
                del mutated[draw.randrange(len(mutated)) :]
            case 7:
                mutated += draw.randbytes(draw.randint(1, 9))
            case 8:
                mutated[draw.randrange(8)] = draw.choice([0, 1, 255])
            case 9 if digits:
                i = draw.choice(digits)
                number = b"%d,%d" % (2 ** draw.randrange(58, 64), draw.randrange(9))
                mutated[i : i + 1] = number
                resize(mutated, len(number) - 1)
            case 10 if keys:
                old, new = draw.choice(keys), draw.choice(keys)
                mutated[8 + old.start() : 8 + old.end()] = new[0]
                resize(mutated, len(new[0]) - len(old[0]))
            case _ if digits:
                mutated[draw.choice(digits)] = draw.randrange(48, 58)
        if len(mutated) < 9:
            break
    return bytes(mutated)


def resize(content: bytearray, change: int) -> None:
    """Let the header's length follow a change of the header."""
    length = max(0, int.from_bytes(content[:8], "little") + change)
    content[:8] = (length % 2**64).to_bytes(8, "little")


def differ_by_chance(content: bytes) -> bool:
    """Whether two tensors have one range: the package's order of those, and so the rule it names, is random."""
    entries = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    ranges = [tuple(entry["data_offsets"]) for name, entry in entries.items() if name != "__metadata__"]
    return len(set(ranges)) < len(ranges)


def test_verdicts_on_mutated_files_are_those_of_the_package() -> None:
    """20,000 files, each judged by both; `pytest -s` shows how many verdicts agree."""
    seeds = [
        save({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.int8), "c": np.zeros((), ml_dtypes.bfloat16)}),
        save({"w": np.zeros((3, 0, 2)), "é": np.ones(1, np.uint16)}, {"format": "pt", "n": "1"}),
        file_of({"q": entry("F4", [2, 2], [0, 2]), "r": entry("F6_E2M3", [4], [2, 5])}, bytes(5)),
        save({}),
    ]
    draw = random.Random(20_000)
    verdicts: Counter[str] = Counter()
    comparison: Counter[str] = Counter()
    for _ in range(20_000):
        content = mutate(draw.choice(seeds), draw)
        ours, theirs = our_verdict(content), verdict_of_the_package(content)
        verdicts[ours[0]] += 1
        comparison[compare(ours, theirs, content)] += 1
        assert not comparison["differ"], (content, ours, theirs)
    print(f"\n20,000 mutated files: {dict(comparison)}\nour verdicts: {dict(verdicts.most_common())}")
    assert comparison["agree"] > 19_900
    assert set(verdicts) == {"accepted", "key twice", *RULES.values()}
    assert verdicts["accepted"] > 1_000


def compare(ours: Verdict, theirs: Verdict, content: bytes) -> str:
    if ours == theirs:
        return "agree"
    if ours[0] == "key twice":  # which the package refuses in the entry of a tensor, but not elsewhere
        verdicts = {"InvalidHeaderDeserialization": "agree", "accepted": "a key twice, accepted by the package"}
        return verdicts.get(theirs[0], "a key twice, refused by the package for what follows from it")
    if "accepted" not in (ours[0], theirs[0]) and differ_by_chance(content):
        return "refused by both, by a rule that the package picks at random"
    return "differ"
