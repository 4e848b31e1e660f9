"""Folders of Llamas: read, written, and all that can be wrong with one; transformers' are in test_llama_oracle.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from lora import Llama
from lora.model.config import LlamaConfig
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import load_file, save_file
from tinytorch.safetensors_shards import save_shards

SETTINGS: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
Q = "model.layers.1.self_attn.q_proj.weight"
IDS = np.arange(12).reshape(2, 6)


def make(**changes: Any) -> Llama:
    tinytorch.manual_seed(0)
    return Llama(LlamaConfig(**{**SETTINGS, **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def weights(folder: Path) -> dict[str, Any]:
    return {name: array.copy() for name, array in load_file(folder / WEIGHTS).items()}


def change_config(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **changes}))


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def refused(folder: Path, **options: Any) -> str:
    """The one line that says what is wrong; reading leaves the folder as it was."""
    before = listing(folder)
    with pytest.raises(UserError) as error:
        Llama.from_pretrained(folder, **options)
    assert listing(folder) == before
    message = str(error.value)
    assert "\n" not in message and str(folder) in message
    return message


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "auto"])
def test_what_is_saved_is_read_again(tied: bool, dtype: str, tmp_path: Path) -> None:
    model = make(tie_word_embeddings=tied, attention_bias=True)
    model.save_pretrained(tmp_path / "new" / "folder")
    assert ("lm_head.weight" in load_file(tmp_path / "new" / "folder" / WEIGHTS)) is not tied
    again = Llama.from_pretrained(str(tmp_path / "new" / "folder"), dtype=dtype)
    assert again.config == model.config
    for (name, a), (other, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        assert b.requires_grad is (dtype != "auto")
        assert str(b.dtype) == ("float64" if dtype == "float64" else "float32")
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy(), err_msg=name)
    assert (again.lm_head.weight is again.model.embed_tokens.weight) is tied
    np.testing.assert_allclose(model(IDS).detach().numpy(), again(IDS).detach().numpy(), rtol=0, atol=1e-6)


def test_auto_keeps_what_is_stored_without_a_copy(folder: Path) -> None:
    two_bytes = {name: array.astype(tinytorch.bfloat16) for name, array in weights(folder).items()}
    save_file(two_bytes, folder / WEIGHTS)
    model = Llama.from_pretrained(folder, dtype="auto")
    for name, parameter in model.named_parameters():
        assert parameter.dtype == tinytorch.bfloat16 and not parameter.requires_grad
        assert not parameter.array.flags.owndata and not parameter.array.flags.writeable, name
    assert model.dtype == tinytorch.float32
    logits = Llama.from_pretrained(folder)(IDS)  # the same weights, widened
    np.testing.assert_allclose(model(IDS).numpy(), logits.detach().numpy(), rtol=0, atol=1e-6)
    model.save_pretrained(folder.with_name("copy"))
    assert {str(array.dtype) for array in load_file(folder.with_name("copy") / WEIGHTS).values()} == {"bfloat16"}
    assert json.loads((folder.with_name("copy") / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_trainable_weights_are_not_the_file_s(folder: Path) -> None:
    before = listing(folder)
    model = Llama.from_pretrained(folder)
    optimizer = tinytorch.optim.SGD(model.parameters(), lr=1.0)
    model.loss(IDS, IDS).backward()
    optimizer.step()
    assert listing(folder) == before


def test_a_class_of_one_s_own_is_read_as_that(folder: Path) -> None:
    class Own(Llama):
        pass

    assert type(Own.from_pretrained(folder)) is Own


def test_shards_are_read(folder: Path) -> None:
    expected = Llama.from_pretrained(folder)(IDS).detach().numpy()
    assert len(save_shards(weights(folder), folder, max_shard_size=4000)) > 2
    assert not (folder / WEIGHTS).exists()
    np.testing.assert_array_equal(Llama.from_pretrained(folder)(IDS).detach().numpy(), expected)


def test_old_frequencies_are_left_aside(folder: Path) -> None:
    more = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32) for i in range(2)}
    save_file({**weights(folder), **more}, folder / WEIGHTS)
    assert len(Llama.from_pretrained(folder).state_dict()) == len(make().state_dict())


def test_a_tied_head_that_is_stored_too(folder: Path) -> None:
    stored = weights(folder)
    change_config(folder, tie_word_embeddings=True)
    save_file({**stored, "lm_head.weight": stored["model.embed_tokens.weight"]}, folder / WEIGHTS)
    model = Llama.from_pretrained(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    save_file(stored, folder / WEIGHTS)
    assert "set tie_word_embeddings to false" in refused(folder)


def without(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        save_file({key: array for key, array in weights(folder).items() if key != name}, folder / WEIGHTS)

    return damage


def with_tensor(name: str, array: Any) -> Callable[[Path], None]:
    return lambda folder: save_file({**weights(folder), name: array}, folder / WEIGHTS)


def truncated(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-10])


def without_a_shard(folder: Path) -> None:
    names = save_shards(weights(folder), folder, max_shard_size=4000)
    (folder / names[1]).unlink()


def as_pickles(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def config_with(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change_config(folder, **changes)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing tensor": (without(Q), f"lacks {Q}: config.json and weights must belong together"),
    "unexpected tensor": (with_tensor("model.extra", np.ones(3)), "has model.extra, for which config.json has no"),
    "wrong shape": (with_tensor(Q, np.ones((16, 15))), f"{Q} in "),
    "wrong dtype": (with_tensor(Q, np.ones((16, 16), np.int8)), "is int8: take the weights in"),
    "untied head absent": (without("lm_head.weight"), "has no lm_head.weight"),
    "truncated": (truncated, "get the model's files anew"),
    "missing shard": (without_a_shard, "which is not there; get the model's files anew"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), f"neither {WEIGHTS} nor {INDEX}"),
    "pickles": (as_pickles, "convert them to safetensors"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "more layers": (config_with(num_hidden_layers=3), "lacks model.layers.2.input_layernorm.weight and 8 more"),
    "a million layers": (config_with(num_hidden_layers=2**20), "lacks layers: there are 1048576 in config.json"),
    "a large vocabulary": (config_with(vocab_size=2**31), "model.embed_tokens.weight in "),
    "large vectors": (config_with(hidden_size=2**24, head_dim=4), "but config.json makes it 16777216 rows"),
    "many heads": (config_with(num_attention_heads=2**20, num_key_value_heads=1), "q_proj.weight in "),
    "a large feed-forward": (config_with(intermediate_size=2**28), "makes it 268435456 rows"),
    "fewer layers": (config_with(num_hidden_layers=1), "has model.layers.1.input_layernorm.weight and 8 more"),
    "architecture": (config_with(architectures=["GemmaForCausalLM"]), "architecture GemmaForCausalLM is"),
    "no rope_theta": (config_with(rope_theta=None, transformers_version="5.0.0"), "rope_theta is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(damage: str, folder: Path) -> None:
    change, message = DAMAGES[damage]
    change(folder)
    assert message in refused(folder)


@pytest.mark.parametrize("what", ["absent", "file"])
def test_a_path_that_is_no_folder(what: str, tmp_path: Path) -> None:
    path = tmp_path / "llama"
    if what == "file":
        path.write_text("weights")
    assert "is not a folder: give one that holds config.json" in refused(path)


def test_what_the_makers_say_of_writing_is_kept(folder: Path, tmp_path: Path) -> None:
    """Their list of ends goes before config.json's, as in transformers, and is saved with the model."""
    change_config(folder, eos_token_id=39)
    plain = Llama.from_pretrained(folder)
    ids = plain.generate(IDS[:1], 6, greedy=True).tolist()[0]
    content = {"eos_token_id": [39, ids[8]], "temperature": 0.5}
    (folder / "generation_config.json").write_text(json.dumps(content))
    model = Llama.from_pretrained(folder)
    expected = ids[: ids.index(ids[8], 6) + 1]
    assert model.generate(IDS[:1], 6, greedy=True).tolist()[0] == expected
    model.save_pretrained(tmp_path / "copy")
    assert Llama.from_pretrained(tmp_path / "copy").generation_config == content
    (folder / "generation_config.json").write_text('{"do_sample": true}')
    change_config(folder, eos_token_id=ids[8])
    assert Llama.from_pretrained(folder).generate(IDS[:1], 6, greedy=True).tolist()[0] == expected
    (folder / "generation_config.json").write_text('{"eos_token_id": "x"}')
    assert 'generation_config.json: eos_token_id is "x": expected' in refused(folder)


def test_a_tokenizer_may_have_more_tokens(folder: Path) -> None:
    """A matter for whoever gives texts to the model, not for the model."""
    added = [{"id": 40, "content": "[PAD]"}]
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}, "added_tokens": added}))
    np.testing.assert_array_equal(Llama.from_pretrained(folder)(IDS).detach().numpy(), make()(IDS).detach().numpy())


def test_other_dtypes_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match="dtype is 'bfloat16': it must be float32, float64 or auto"):
        Llama.from_pretrained(folder, dtype="bfloat16")


def test_saving_over_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="choose another path to save to"):
        make().save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"


def test_saving_over_weights_in_use_is_refused_and_writes_nothing(folder: Path) -> None:
    model = Llama.from_pretrained(folder, dtype="auto")
    before = listing(folder)
    with pytest.raises(UserError, match="in use"):
        model.save_pretrained(folder)
    assert listing(folder) == before
