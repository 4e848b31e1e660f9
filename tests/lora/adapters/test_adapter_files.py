"""Folders of adapters: there and back, and what is wrong with them; PEFT's are in test_attached_oracle.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from lora import Llama, LoraConfig, add_adapter, load_adapter, save_adapter
from tests.lora.adapters.test_attached import ALL, adapted, digests, logits, randomize, trained
from tests.lora.model.test_llama import make
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import load_file, save_file

FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"
A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
EMBEDDING = "base_model.model.model.embed_tokens.base_layer.weight"


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"bias": "all"}, {"rank_pattern": {"q_proj": 3}}])
def test_there_and_back(settings: dict[str, Any], tmp_path: Path) -> None:
    model = adapted(**settings)
    save_adapter(model, tmp_path / "new" / "folder")
    again = load_adapter(make(), tmp_path / "new" / "folder")
    np.testing.assert_array_equal(logits(again), logits(model))
    assert trained(again) == []
    again = load_adapter(make(), tmp_path / "new" / "folder", trainable=True)
    assert trained(again) == trained(model)
    save_adapter(again, tmp_path / "again")
    for name in (FILE, CONFIG):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "new" / "folder" / name).read_bytes()
    assert json.loads((tmp_path / "again" / CONFIG).read_text())["target_modules"] == ALL["target_modules"]


def test_a_name_is_of_the_model_not_of_the_file(tmp_path: Path) -> None:
    model = adapted()
    expected = logits(model)
    save_adapter(model, tmp_path)
    load_adapter(model, tmp_path, "other")
    np.testing.assert_array_equal(logits(model), expected)
    add_adapter(model, LoraConfig(), "third")
    model.set_adapter("other")
    np.testing.assert_array_equal(logits(model), expected)
    with pytest.raises(UserError, match="already an adapter named 'third'"):
        load_adapter(model, tmp_path, "third")
    with pytest.raises(UserError, match="no adapter named 'fourth'"):
        save_adapter(model, tmp_path, "fourth")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes_are_converted(dtype: str, tmp_path: Path) -> None:
    save_adapter(adapted(), tmp_path)
    arrays = {name: array.astype(getattr(tinytorch, dtype)) for name, array in load_file(tmp_path / FILE).items()}
    save_file(arrays, tmp_path / FILE)
    for model, wide in ((make(), "float32"), (make().double(), "float64")):
        load_adapter(model, tmp_path)
        parameter = model.model.layers[0].self_attn.q_proj.adapters["default"].lora_A
        assert str(parameter.dtype) == wide
        np.testing.assert_array_equal(parameter.numpy(), arrays[A].astype(wide))


def test_trained_biases_of_a_mapped_model(tmp_path: Path) -> None:
    """They are in the adapter's file; the model's, in two bytes and read-only, give way to ones to write to."""
    base = make(attention_bias=True)
    for parameter in base.parameters():
        parameter.data = parameter.data.to(tinytorch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    model = add_adapter(Llama.from_pretrained(tmp_path / "base", "auto"), LoraConfig(bias="all"))
    biases = [name for name in trained(model) if name.endswith("bias")]
    assert len(biases) == 2 * 4
    for name in biases:
        model.get_submodule(name.rpartition(".")[0]).bias.data[...] += 0.3
    save_adapter(model, tmp_path / "adapter")
    again = load_adapter(Llama.from_pretrained(tmp_path / "base", "auto"), tmp_path / "adapter")
    np.testing.assert_array_equal(logits(again), logits(model))
    assert trained(again) == []


Change = Callable[[dict[str, Any], dict[str, Any]], None]


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (lambda a, c: a.pop(A), [f"missing: {A}"]),
        (lambda a, c: a.update({"base_model.model.x": np.zeros(1)}), ["unexpected: base_model.model.x"]),
        (lambda a, c: a.update({A: a[A].T.copy()}), [f"misshaped: {A} is (32, 8), for the model it must be (8, 32)"]),
        (lambda a, c: a.update({A: a[A].astype(np.int32)}), [f"{A} is int32: it must be one of bfloat16, float16"]),
        (lambda a, c: a.update({EMBEDDING: a[EMBEDDING] + 1}), [f"{EMBEDDING} is not the model's"]),
        (lambda a, c: a.update({EMBEDDING: a[EMBEDDING][1:]}), [f"{EMBEDDING} is not the model's"]),
        (lambda a, c: c.update(r=4), [f"misshaped: {A} is (8, 32), for the model it must be (4, 32)", "; misshaped: "]),
        (lambda a, c: c.update(use_dora=True), ["missing: base_model.model.lm_head.lora_magnitude_vector; missing: "]),
        (lambda a, c: c.update(target_modules=["q_proj"]), ["unexpected: base_model.model.lm_head.lora_B.weight; "]),
        (lambda a, c: c.update(target_modules=["c_attn"]), ["target_modules ['c_attn']"]),
        (lambda a, c: c.update(peft_type="IA3"), [CONFIG, 'peft_type is "IA3"']),
    ],
)
def test_all_that_does_not_fit_is_listed(change: Change, messages: list[str], tmp_path: Path) -> None:
    save_adapter(adapted(), tmp_path)
    arrays, config = dict(load_file(tmp_path / FILE)), json.loads((tmp_path / CONFIG).read_text())
    change(arrays, config)
    model = make()
    before = digests(model)
    (tmp_path / "changed").mkdir()
    save_file(arrays, tmp_path / "changed" / FILE)
    (tmp_path / "changed" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError) as raised:
        load_adapter(model, tmp_path / "changed")
    for message in messages:
        assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert digests(model) == before
    assert list(model.state_dict()) == list(make().state_dict())
    assert len(trained(model)) == len(list(model.parameters()))


def test_copies_of_the_embedding_may_be_absent_or_rounded(tmp_path: Path) -> None:
    model = adapted()
    save_adapter(model, tmp_path)
    arrays = {name: array.copy() for name, array in load_file(tmp_path / FILE).items()}
    arrays[EMBEDDING] = arrays[EMBEDDING].astype(np.float16)
    del arrays["base_model.model.lm_head.base_layer.weight"]
    save_file(arrays, tmp_path / FILE)
    np.testing.assert_array_equal(logits(load_adapter(make(), tmp_path)), logits(model))


HEAD = "base_model.model.lm_head.weight"
TABLE = "base_model.model.model.embed_tokens.weight"


def test_copies_of_layers_that_have_no_adapter(tmp_path: Path) -> None:
    """PEFT writes them with save_embedding_layers=True, and by itself beside a vocabulary that was resized."""
    model = randomize(add_adapter(make(), LoraConfig(target_modules=["q_proj"])))
    save_adapter(model, tmp_path)
    base = make().state_dict()
    copies = {HEAD: base["lm_head.weight"].numpy(), TABLE: base["model.embed_tokens.weight"].numpy()}
    for some in ({HEAD: copies[HEAD]}, copies):
        save_file({**load_file(tmp_path / FILE), **some}, tmp_path / "with.safetensors")
        (tmp_path / "with.safetensors").replace(tmp_path / FILE)
        again = load_adapter(make(), tmp_path)
        np.testing.assert_array_equal(logits(again), logits(model))
        load_adapter(again, tmp_path, "beside another one")
    for changed in (copies[TABLE] + 1, np.concatenate([copies[TABLE], copies[TABLE][:8]])):
        save_file({**load_file(tmp_path / FILE), TABLE: changed}, tmp_path / "changed.safetensors")
        (tmp_path / "changed.safetensors").replace(tmp_path / FILE)
        with pytest.raises(UserError, match=f"{TABLE} is not the model's: the adapter was made for another one"):
            load_adapter(make(), tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "is not a folder: give the folder of an adapter"),
        ({CONFIG: "{}"}, f"has no {FILE}; get the adapter's files anew"),
        ({CONFIG: "{}", "adapter_model.bin": ""}, "its weights are a pickle: convert them to safetensors"),
        ({FILE: ""}, f"has no {CONFIG}"),
        ({FILE: "", CONFIG: '{"peft_type": "LORA"}'}, "get the adapter's files anew"),
    ],
)
def test_folders_that_hold_no_adapter(files: dict[str, str] | None, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load_adapter(make(), folder)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is not a folder: choose another path"):
        save_adapter(adapted(), tmp_path / "file")
    with pytest.raises(UserError, match="cannot save to"):
        save_adapter(adapted(), tmp_path / "file" / "below")
