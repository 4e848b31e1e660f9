"""tinytorch.safetensors_shards against transformers: either reads what the other has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.safetensors_shards import INDEX, open_shards, save_shards

pytestmark = pytest.mark.oracle("torch", "transformers")


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
    )


def state_of(model: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("size", [3000, 10**9])
def test_what_transformers_writes_is_read(model: Any, size: int, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size=size)
    assert (tmp_path / INDEX).exists() == (size == 3000)
    state = state_of(model)
    with open_shards(tmp_path) as file:
        assert file.keys() == sorted(state)
        assert file.metadata() == {"format": "pt"}
        for name, array in state.items():
            assert np.array_equal(file.get_tensor(name), array)


@pytest.mark.parametrize("size", [3000, 10**9])
def test_what_we_write_is_the_same_and_transformers_reads_it(model: Any, size: int, tmp_path: Path) -> None:
    state = state_of(model)
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    model.save_pretrained(theirs, max_shard_size=size)
    save_shards(state, ours, max_shard_size=size)
    for path in theirs.glob("*.safetensors"):
        assert (ours / path.name).read_bytes() == path.read_bytes()
    if size == 3000:
        index = json.loads((theirs / INDEX).read_text())
        del index["metadata"]["total_parameters"]
        assert (ours / INDEX).read_text() == json.dumps(index, indent=2, sort_keys=True) + "\n"
    (ours / "config.json").write_bytes((theirs / "config.json").read_bytes())
    loaded = type(model).from_pretrained(ours)
    for name, array in state_of(loaded).items():
        assert np.array_equal(state[name], array)
