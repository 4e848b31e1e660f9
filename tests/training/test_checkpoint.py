from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tinytorch.cli.errors import UserError
from tinytorch.training import checkpoint

OLD = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}
NEW = {"a": np.ones((2, 3), dtype=np.float32)}


def test_save_replaces_and_leaves_one_pair(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "last", OLD, {"iteration": 1})
    checkpoint.save(tmp_path, "best", OLD, {"iteration": 1})
    checkpoint.save(tmp_path, "last", NEW, {"iteration": 2})
    tensors, values = checkpoint.load(tmp_path, "last")
    assert np.array_equal(tensors["a"], NEW["a"])
    assert values["iteration"] == 2
    assert checkpoint.load(tmp_path, "best")[1]["iteration"] == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"] * 2 + [".safetensors"] * 2


def test_the_same_tensors_with_other_values(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "last", OLD, {"iteration": 1})
    checkpoint.save(tmp_path, "last", OLD, {"iteration": 2})
    assert checkpoint.load(tmp_path, "last")[1]["iteration"] == 2


@pytest.mark.parametrize("dies_at", ["_sha256", "atomic_write"])
def test_a_death_halfway_leaves_the_old_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str) -> None:
    checkpoint.save(tmp_path, "last", OLD, {"iteration": 1})
    with monkeypatch.context() as patch:

        def die(*arguments: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(checkpoint, dies_at, die)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, "last", NEW, {"iteration": 2})
    tensors, values = checkpoint.load(tmp_path, "last")
    assert np.array_equal(tensors["a"], OLD["a"])
    assert values["iteration"] == 1
    checkpoint.save(tmp_path, "last", NEW, {"iteration": 2})  # and the leftovers go
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_may_be_replaced_while_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `sample` may meet one of a run that goes on."""
    checkpoint.save(tmp_path, "last", OLD, {"iteration": 1})
    whole = checkpoint._sha256

    def replaced(path: Path) -> str:
        monkeypatch.setattr(checkpoint, "_sha256", whole)
        checkpoint.save(tmp_path, "last", NEW, {"iteration": 2})
        return whole(path)

    monkeypatch.setattr(checkpoint, "_sha256", replaced)
    tensors, values = checkpoint.load(tmp_path, "last")
    assert np.array_equal(tensors["a"], NEW["a"])
    assert values["iteration"] == 2


def test_tensors_that_no_json_names_are_removed_unless_it_cannot_be_read(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "last", OLD, {})
    orphans = [tmp_path / f"{name}-0123456789ab.safetensors" for name in ("best", "last")]
    theirs = tmp_path / "last-mine.safetensors"
    for path in (*orphans, theirs):
        path.touch()
    text = (tmp_path / "last.json").read_text()
    (tmp_path / "last.json").write_text(text[:-3])
    checkpoint.remove_orphans(tmp_path)
    assert [path.exists() for path in orphans] == [False, True]
    (tmp_path / "last.json").write_text(text)
    checkpoint.remove_orphans(tmp_path)
    assert not orphans[1].exists()
    assert theirs.exists()
    assert np.array_equal(checkpoint.load(tmp_path, "last")[0]["a"], OLD["a"])


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint .*last\.json: train first"):
        checkpoint.load(tmp_path, "last")


def test_a_damaged_json(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "last", OLD, {})
    text = (tmp_path / "last.json").read_text()
    for damaged in ("", text[:-3], "[]", "{}"):
        (tmp_path / "last.json").write_text(damaged)
        with pytest.raises(UserError, match=r"last\.json is damaged"):
            checkpoint.load(tmp_path, "last")


def test_a_damaged_or_missing_tensor_file(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "last", OLD, {})
    path = next(tmp_path.glob("*.safetensors"))
    content = path.read_bytes()
    for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{path.name} is damaged"):
            checkpoint.load(tmp_path, "last")
    path.unlink()
    with pytest.raises(UserError, match=f"names {path.name}, which is not there"):
        checkpoint.load(tmp_path, "last")


def test_another_format_version(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "last", OLD, {})
    values = json.loads((tmp_path / "last.json").read_text())
    (tmp_path / "last.json").write_text(json.dumps({**values, "format": 2}))
    with pytest.raises(UserError, match="has format 2, this program reads 1"):
        checkpoint.load(tmp_path, "last")
