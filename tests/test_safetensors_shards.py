"""tinytorch.safetensors_shards by itself; test_safetensors_shards_oracle.py compares it with transformers."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tinytorch.safetensors import LazyTensor, SafetensorError, load_file, safe_open, save_file
from tinytorch.safetensors_shards import INDEX, SINGLE, open_shards, save_shards


def tensors_of(value: float, count: int = 4) -> dict[str, np.ndarray]:
    """`count` tensors of 16 bytes, named out of order."""
    return {f"t{-i % 10}": np.full(4, value + i, np.float32) for i in range(count)}


def read(folder: Path) -> dict[str, list[float]]:
    with open_shards(folder) as file:
        names = file.keys()
        return {name: file.get_tensor(name).tolist() for name in names}


def as_lists(tensors: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: array.tolist() for name, array in sorted(tensors.items())}


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_shards(tensors_of(0), tmp_path, max_shard_size=32)
    return tmp_path


def change_index(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))


# Writing -------------------------------------------------------------------------------------------


def test_shards_and_their_index(sharded: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert sorted(os.listdir(sharded)) == [first, second, INDEX]
    assert load_file(sharded / first).keys() == {"t0", "t9"}
    with safe_open(sharded / second) as file:
        assert file.metadata() == {"format": "pt"}
    expected = {
        "metadata": {"total_size": 64},
        "weight_map": {"t0": first, "t7": second, "t8": second, "t9": first},
    }
    assert (sharded / INDEX).read_text() == json.dumps(expected, indent=2) + "\n"


def test_a_tensor_over_the_limit_has_its_own_shard_and_overtakes(tmp_path: Path) -> None:
    sizes = {"a": 6, "b": 11, "c": 4, "d": 1}
    names = save_shards({name: np.zeros(size, np.int8) for name, size in sizes.items()}, tmp_path, max_shard_size=10)
    assert [sorted(load_file(tmp_path / name)) for name in names] == [["b"], ["a", "c"], ["d"]]


@pytest.mark.parametrize(
    ("sizes", "shards"),
    [
        ({"a": 10}, [["a"]]),
        ({"a": 11}, [["a"]]),
        ({"a": 4, "b": 6}, [["a", "b"]]),
        ({"a": 4, "b": 7}, [["a"], ["b"]]),
        ({"a": 4, "b": 10, "c": 4}, [["a"], ["b"], ["c"]]),  # as large as the limit, it waits its turn
        ({"a": 4, "b": 11, "c": 4}, [["b"], ["a", "c"]]),
        ({"a": 10, "b": 0, "c": 1}, [["a", "b"], ["c"]]),
    ],
    ids=str,
)
def test_exact_limits(sizes: dict[str, int], shards: list[list[str]], tmp_path: Path) -> None:
    names = save_shards({name: np.zeros(size, np.int8) for name, size in sizes.items()}, tmp_path, max_shard_size=10)
    assert [sorted(load_file(tmp_path / name)) for name in names] == shards


def test_what_fits_is_a_single_file(tmp_path: Path) -> None:
    assert save_shards(tensors_of(0), tmp_path / "new" / "folder", {"a": "b"}) == [SINGLE]
    assert os.listdir(tmp_path / "new" / "folder") == [SINGLE]
    with open_shards(tmp_path / "new" / "folder") as file:
        assert file.metadata() == {"a": "b"}
    assert save_shards({}, tmp_path / "empty") == [SINGLE]
    assert read(tmp_path / "empty") == {}


def test_lazy_tensors_are_made_one_at_a_time(tmp_path: Path) -> None:
    size = 2**20

    def make(i: int) -> Callable[[], np.ndarray]:
        return lambda: np.full(size, i, ml_dtypes.bfloat16)

    lazy = (LazyTensor(f"t{i}", (size,), ml_dtypes.bfloat16, make(i)) for i in range(10))
    tracemalloc.start()
    assert len(save_shards(lazy, tmp_path, max_shard_size=3 * 2 * size)) == 4
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * 2 * size
    with open_shards(tmp_path) as file:
        assert [float(file.get_tensor(f"t{i}")[-1]) for i in range(10)] == list(range(10))


@pytest.mark.parametrize(
    ("lazy", "message"),
    [
        ([LazyTensor("x", (2,), np.float32, lambda: np.zeros(3, np.float32))], "as float32 (3,), not float32 (2,)"),
        ([LazyTensor("x", (2,), np.float32, lambda: np.zeros(2))], "made as float64 (2,), not float32 (2,)"),
        ([LazyTensor("x", (2,), np.complex128, lambda: np.zeros(2))], "tensor 'x' is complex128"),
        ([LazyTensor("x", (), np.int8, lambda: np.int8(0))] * 2, "two tensors are named 'x'"),
    ],
)
def test_wrong_lazy_tensors_leave_nothing(lazy: list[LazyTensor], message: str, tmp_path: Path) -> None:
    with pytest.raises(SafetensorError) as caught:
        save_shards(lazy, tmp_path)
    assert message in str(caught.value)
    assert os.listdir(tmp_path) == []


OLD_AND_NEW = {"one": 4 * 16, "two": 2 * 16, "four": 16}


@pytest.mark.parametrize("old", OLD_AND_NEW)
@pytest.mark.parametrize("new", OLD_AND_NEW)
def test_killed_at_any_step_the_folder_is_old_or_new_or_says_so(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mixture, whatever the moment; written again, it is the new one and nothing else."""

    class Killed(BaseException):
        pass

    steps_left = 10**6

    def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal steps_left
            steps_left -= 1
            if steps_left < 0:  # and what would tidy up does nothing any more, either
                raise Killed
            return function(*arguments, **options)

        return step

    monkeypatch.setattr(os, "fsync", stopping(lambda descriptor: None))
    seen = []
    for steps in range(1_000):
        folder = tmp_path / str(steps)
        save_shards(tensors_of(0), folder, max_shard_size=OLD_AND_NEW[old])
        with monkeypatch.context() as patch:
            for name in ("replace", "unlink"):
                patch.setattr(os, name, stopping(getattr(os, name)))
            patch.setattr(shutil, "rmtree", stopping(shutil.rmtree))
            steps_left = steps
            try:
                save_shards(tensors_of(100), folder, max_shard_size=OLD_AND_NEW[new])
                break
            except Killed:
                pass
        steps_left = 10**6
        try:
            is_old, is_new = (read(folder) == as_lists(tensors_of(value)) for value in (0, 100))
            assert is_old != is_new
            seen.append("old" if is_old else "new")
        except SafetensorError as error:
            assert "interrupted" in str(error)
            assert old == new != "one"  # where the names are the same, a moment has to be without an index
            seen.append("none")
        save_shards(tensors_of(200), folder, max_shard_size=OLD_AND_NEW[new])
        assert read(folder) == as_lists(tensors_of(200))
        assert len(os.listdir(folder)) == (1 if new == "one" else 64 // OLD_AND_NEW[new] + 1)
    assert read(folder) == as_lists(tensors_of(100))
    assert seen == sorted(seen, key=["old", "none", "new"].index)
    assert {"old", "new"} <= set(seen)


def test_a_checkpoint_whose_arrays_are_in_use_is_not_overwritten(sharded: Path) -> None:
    with open_shards(sharded) as file:
        array = file.get_tensor("t0")
    before = read(sharded)
    with pytest.raises(SafetensorError, match="MappedFile"):
        save_shards({"t0": array}, sharded)
    assert read(sharded) == before and len(os.listdir(sharded)) == 3
    del array, file
    gc.collect()
    assert save_shards(tensors_of(7), sharded) == [SINGLE]
    assert os.listdir(sharded) == [SINGLE]


def test_other_files_stay(sharded: Path) -> None:
    for name in ("config.json", "adapter_model.safetensors", "model-1-of-2.safetensors"):
        (sharded / name).write_bytes(b"")
    save_shards(tensors_of(1), sharded)
    assert sorted(os.listdir(sharded)) == [
        "adapter_model.safetensors",
        "config.json",
        "model-1-of-2.safetensors",
        SINGLE,
    ]


# Reading -------------------------------------------------------------------------------------------


def test_the_reader_is_like_that_of_one_file(sharded: Path) -> None:
    with open_shards(sharded) as file:
        assert file.keys() == ["t0", "t7", "t8", "t9"]
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("t8").tolist() == [2.0] * 4
        assert file.get_tensor("t8", np.float16).dtype == np.float16
        assert file.get_slice("t9")[1:3].tolist() == [1.0] * 2
        assert file.get_bytes("t9").shape == (16,)
        with pytest.raises(SafetensorError, match="TensorNotFound: there is no tensor 't1'"):
            file.get_tensor("t1")
    for use in (file.metadata, lambda: file.get_tensor("t8")):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_a_shard_is_opened_when_it_is_needed(sharded: Path) -> None:
    with open_shards(sharded) as file:
        (sharded / "model-00002-of-00002.safetensors").write_bytes(b"short")
        assert file.get_tensor("t0").tolist() == [0.0] * 4
        with pytest.raises(SafetensorError, match=r"model-00002-of-00002\.safetensors: HeaderTooSmall"):
            file.get_tensor("t8")


def test_a_single_file_goes_before_an_index(sharded: Path) -> None:
    save_file({"only": np.zeros(1)}, sharded / SINGLE)
    assert read(sharded) == {"only": [0.0]}


def test_an_index_of_nothing(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text('{"weight_map": {}}')
    with open_shards(tmp_path) as file:
        assert file.keys() == [] and file.metadata() is None


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"{", "not JSON: "),
        (b"\xff", "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b'{"weight_map": {"t": "a", "t": "b"}}', "a key occurs twice"),
        (b"[" + b"{}," * 100_000 + b"0]", "more lists and objects than an index has"),
        (b"[]", "no JSON object with an object 'weight_map'"),
        (b"{}", "no JSON object with an object 'weight_map'"),
        (b'{"weight_map": ["t"]}', "no JSON object with an object 'weight_map'"),
        (b'{"weight_map": {"t": 1}}', "tensor 't' is placed in 1, which is not the name of a file"),
        *(
            (json.dumps({"weight_map": {"t": name}}).encode(), f"tensor 't' is placed in {name!r}")
            for name in ("", ".", "..", "../x", "/etc/passwd", "a/b", "..\\x", "C:x", "a\0b")
        ),
    ],
)
def test_a_wrong_index_is_refused(index: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index)
    with pytest.raises(SafetensorError) as caught:
        open_shards(tmp_path)
    assert caught.value.rule == "InvalidIndex"
    assert message in str(caught.value) and str(tmp_path / INDEX) in str(caught.value)


def test_a_missing_shard_is_named_with_the_index(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(SafetensorError, match=r"index\.json: MissingShard: it names the file model-00002-of-00002"):
        open_shards(sharded)


def test_a_name_too_long_for_a_file_is_of_none(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"t": "x" * 9999}}))
    with pytest.raises(SafetensorError, match=r"MissingShard: it names the file x{300,}\.\.\.$"):
        open_shards(tmp_path)


def test_a_tensor_that_its_shard_lacks(sharded: Path) -> None:
    change_index(sharded, lambda index: index["weight_map"].update(t5="model-00002-of-00002.safetensors"))
    with open_shards(sharded) as file:
        assert file.get_tensor("t0").tolist() == [0.0] * 4
        with pytest.raises(SafetensorError, match=r"00002\.safetensors: IndexMismatch: tensor 't5', .* is missing"):
            file.get_tensor("t8")


def test_a_tensor_that_the_index_does_not_name(sharded: Path) -> None:
    change_index(sharded, lambda index: index["weight_map"].pop("t0"))
    with open_shards(sharded) as file, pytest.raises(SafetensorError, match=r"'t0', which .* does not place here"):
        file.get_tensor("t9")


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(SafetensorError, match=r"NoCheckpoint: there is neither model\.safetensors nor .*json$"):
        open_shards(tmp_path)
    with pytest.raises(SafetensorError, match="NoCheckpoint: there is no such folder"):
        open_shards(tmp_path / "none")
