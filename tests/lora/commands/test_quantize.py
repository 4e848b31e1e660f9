"""Folders of quantized models: written tensor by tensor, read, computed with, saved again."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from lora import LoraConfig, add_adapter, merge
from lora.__main__ import main
from lora.commands.loading import bytes_read_a_token
from lora.commands.quantize import quantize_folder
from lora.model.config import LlamaConfig
from lora.model.llama import Llama
from lora.model.quantized import Quantization, QuantizedLinear
from tinytorch import nn
from tinytorch.cli.errors import UserError
from tinytorch.quantization import QuantizedWeight
from tinytorch.safetensors import load_file, save_file

SETTINGS: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 72,
    "intermediate_size": 200,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "attention_bias": True,
}
KINDS = [("int8", None), ("int8", 64), ("nf4", None)]
kinds = pytest.mark.parametrize(("scheme", "group_size"), KINDS)
WEIGHTS = "model.safetensors"
Q = "model.layers.1.self_attn.q_proj.weight"
IDS = np.arange(12).reshape(2, 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in bfloat16, with a companion."""
    tinytorch.manual_seed(0)
    Llama(LlamaConfig(**SETTINGS, initializer_range=0.2)).to(tinytorch.bfloat16).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").write_text("{}")
    return tmp_path / "model"


@kinds
def test_what_a_quantized_folder_holds(scheme: str, group_size: int | None, folder: Path) -> None:
    target = folder.parent / "quantized"
    assert quantize_folder(folder, target, scheme, group_size) == [WEIGHTS]
    old, new = load_file(folder / WEIGHTS), load_file(target / WEIGHTS)
    for name, array in old.items():
        if name.endswith("_proj.weight"):
            expected = QuantizedWeight.quantize(array, scheme, group_size)
            for suffix, part in expected.arrays().items():
                np.testing.assert_array_equal(new[name + suffix], part)
        else:
            assert new[name].dtype == tinytorch.bfloat16
            np.testing.assert_array_equal(new[name].view(np.uint16), array.view(np.uint16))
    config = json.loads((target / "config.json").read_text())
    expected_config = {"quant_method": "tinytorch", "scheme": scheme, "group_size": group_size}
    assert config["quantization_config"] == expected_config
    assert (target / "generation_config.json").read_text() == "{}"


@kinds
@pytest.mark.parametrize("dtype", ["auto", "float32", "float64"])
def test_a_quantized_model_computes_with_what_its_codes_stand_for(
    scheme: str, group_size: int | None, dtype: str, folder: Path
) -> None:
    quantize_folder(folder, folder.parent / "quantized", scheme, group_size)
    model = Llama.from_pretrained(folder.parent / "quantized", dtype=dtype)
    reference = Llama.from_pretrained(folder, dtype="float64")
    count = 0
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLinear):
            reference.get_submodule(name).weight.data = tinytorch.tensor(layer.quantized.dequantize(np.float64))
            assert layer.weight.dtype in (np.int8, np.uint8)
            count += 1
    assert count == 14
    assert not any("proj.weight" in name for name, _ in model.named_parameters())
    expected = reference(IDS).detach().numpy()
    np.testing.assert_allclose(model(IDS).detach().numpy(), expected, atol=1e-9 if dtype == "float64" else 2e-4)
    cache = model.make_cache(2)
    steps = [model(IDS[:, t : t + 1], cache=cache).numpy() for t in range(6)]
    np.testing.assert_allclose(np.concatenate(steps, 1), expected, atol=1e-9 if dtype == "float64" else 2e-4)


@kinds
def test_gradients_pass_through_frozen_layers(scheme: str, group_size: int | None, folder: Path) -> None:
    """To a norm in front of them, which is trained: as through the numbers that the codes stand for."""
    quantize_folder(folder, folder.parent / "quantized", scheme, group_size)
    model = Llama.from_pretrained(folder.parent / "quantized", dtype="float64")
    reference = Llama.from_pretrained(folder, dtype="float64")
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLinear):
            reference.get_submodule(name).weight.data = tinytorch.tensor(layer.quantized.dequantize(np.float64))
    for each in (model, reference):
        each.loss(IDS, IDS).backward()
    ours, theirs = (each.model.layers[0].input_layernorm.weight.grad.numpy() for each in (model, reference))
    assert abs(theirs).max() > 1e-4
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


@kinds
def test_a_quantized_model_is_saved_as_it_is(scheme: str, group_size: int | None, folder: Path) -> None:
    quantize_folder(folder, folder.parent / "quantized", scheme, group_size)
    Llama.from_pretrained(folder.parent / "quantized", dtype="auto").save_pretrained(folder.parent / "again")
    for name in (WEIGHTS, "config.json"):
        assert (folder.parent / "again" / name).read_bytes() == (folder.parent / "quantized" / name).read_bytes()


def test_float32_is_quantized_too_and_the_rest_of_it_becomes_bfloat16(folder: Path) -> None:
    Llama.from_pretrained(folder).save_pretrained(folder.parent / "wide")
    for name in ("wide", "model"):
        quantize_folder(folder.parent / name, folder.parent / f"{name}-nf4", "nf4")
    wide, narrow = ((folder.parent / f"{name}-nf4" / WEIGHTS).read_bytes() for name in ("wide", "model"))
    assert wide == narrow


def test_the_bytes_that_a_token_reads(folder: Path) -> None:
    quantize_folder(folder, folder.parent / "quantized", "int8")
    arrays = load_file(folder.parent / "quantized" / WEIGHTS)
    model = Llama.from_pretrained(folder.parent / "quantized", dtype="auto")
    expected = sum(a.nbytes for a in arrays.values()) - arrays["model.embed_tokens.weight"].nbytes
    assert bytes_read_a_token(model) == expected


def test_one_tensor_at_a_time_is_in_memory(tmp_path: Path) -> None:
    """Sixteen layers of 4 MB each in float32: what is held is a few times the largest of their weights."""
    settings = {**SETTINGS, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 16}
    Llama(LlamaConfig(**settings)).save_pretrained(tmp_path / "model")
    quantize_folder(tmp_path / "model", tmp_path / "first", "nf4")
    tracemalloc.start()
    quantize_folder(tmp_path / "model", tmp_path / "second", "nf4")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The skeleton of the model counts with its full size, but none of its pages is ever touched.
    skeleton = sum(p.array.nbytes for p in Llama(LlamaConfig(**settings), initialize=False).parameters())
    assert skeleton > 50 * 2**20
    assert peak < skeleton + 20 * 2**20


def test_a_layer_made_of_a_linear() -> None:
    tinytorch.manual_seed(0)
    linear = nn.Linear(100, 30)
    for scheme, group_size in KINDS:
        layer = QuantizedLinear.from_linear(linear, Quantization(scheme, group_size))
        x = tinytorch.randn(5, 100)
        expected = x.numpy() @ layer.quantized.dequantize().T + linear.bias.detach().numpy()
        np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)
        assert f"in_features=100, out_features=30, bias=True, scheme={scheme}" in repr(layer)
        other = QuantizedLinear(100, 30, True, Quantization(scheme, group_size))
        other.load_state_dict(layer.state_dict())
        np.testing.assert_array_equal(other(x).detach().numpy(), layer(x).detach().numpy())
        np.testing.assert_allclose(layer.double()(x.double()).detach().numpy(), expected, atol=1e-5)


def refused(folder: Path, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        Llama.from_pretrained(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folders_that_are_damaged(folder: Path) -> None:
    quantized = folder.parent / "quantized"
    quantize_folder(folder, quantized, "nf4")
    config = json.loads((quantized / "config.json").read_text())

    def configured(**changes: Any) -> str:
        wrong = {**config, "quantization_config": {**config["quantization_config"], **changes}}
        (quantized / "config.json").write_text(json.dumps(wrong))
        return refused(quantized)

    assert "'int3': it must be one of int8, nf4" in configured(scheme="int3")
    assert "group_size is 128: in nf4 it is 64" in configured(group_size=128)
    assert "power of two" in configured(scheme="int8", group_size=100)
    assert "quantization gptq is not supported" in configured(quant_method="gptq")
    assert "lacks" in configured(scheme="int8")
    (quantized / "config.json").write_text(json.dumps(config))
    arrays = {name: array.copy() for name, array in load_file(quantized / WEIGHTS).items()}
    for change, message in (
        ({Q: arrays[Q].view(np.int8)}, f"{Q} in {quantized} is int8: take the weights in uint8"),
        ({Q: arrays[Q][:, :32]}, f"{Q} in {quantized} has shape (64, 32), but config.json makes it (64, 64)"),
        ({f"{Q}_absmax_scale": arrays[f"{Q}_absmax_scale"].astype(np.float64)}, "is float64: take the weights in"),
    ):
        (quantized / WEIGHTS).unlink()
        save_file({**arrays, **change}, quantized / WEIGHTS)
        assert message in refused(quantized)


def test_what_cannot_be_quantized(folder: Path) -> None:
    target = folder.parent / "quantized"

    def refused_to_write(source: Path, *options: Any) -> str:
        with pytest.raises(UserError) as error:
            quantize_folder(source, target, *options)
        return str(error.value)

    assert "'int3'" in refused_to_write(folder, "int3")
    assert "power of two" in refused_to_write(folder, "int8", 3)
    assert not target.exists()
    quantize_folder(folder, target, "nf4")
    assert "exists" in refused_to_write(folder, "nf4")
    assert "is quantized already" in refused_to_write(target, "nf4")
    shutil.rmtree(target)
    arrays = {name: array.copy() for name, array in load_file(folder / WEIGHTS).items()}
    arrays[Q][3, 4] = np.nan
    save_file(arrays, folder / WEIGHTS)
    assert f"{Q} in {folder}: " in refused_to_write(folder, "nf4")
    assert not (target / WEIGHTS).exists()
    assert not (target / "config.json").exists()


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder.parent / "out"
    options = ["--model", str(folder), "--out", str(out), "--scheme", "int8", "--group-size", "64"]
    assert main(["quantize", *options]) == 0
    assert f"in int8, in {out}" in capsys.readouterr().out.replace("\n", " ")
    layer = Llama.from_pretrained(out, dtype="auto").get_submodule("model.layers.0.mlp.up_proj")
    assert layer.quantization == Quantization("int8", 64)
    assert main(["quantize", *options]) == 2
    assert "exists: give a new or an empty folder" in capsys.readouterr().err


@kinds
@pytest.mark.parametrize("use_dora", [False, True])
def test_adapters_on_quantized_layers(scheme: str, group_size: int | None, use_dora: bool, folder: Path) -> None:
    """QLoRA: adapters are trained as on the numbers that the codes stand for; merged layers are bfloat16."""
    quantize_folder(folder, folder.parent / "quantized", scheme, group_size)
    quantized = Llama.from_pretrained(folder.parent / "quantized", dtype="auto")
    dense = Llama.from_pretrained(folder)
    for name, layer in quantized.named_modules():
        if isinstance(layer, QuantizedLinear):
            dense.get_submodule(name).weight.data = tinytorch.tensor(layer.quantized.dequantize())
    config = LoraConfig(r=2, target_modules="all-linear", use_dora=use_dora)
    for model in (quantized, dense):
        tinytorch.manual_seed(1)
        add_adapter(model, config)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert len(trained) == 14 * (3 if use_dora else 2)
        for name, parameter in trained.items():
            if name.endswith("lora_B"):
                nn.init.normal_(parameter, std=0.1)
        model.loss(IDS, IDS).backward()
    ours, theirs = ({n: p.grad.numpy() for n, p in m.named_parameters() if p.requires_grad} for m in (quantized, dense))
    for name, grad in theirs.items():
        np.testing.assert_allclose(ours[name], grad, rtol=1e-3, atol=1e-5, err_msg=name)
    before = quantized(IDS).detach().numpy()
    np.testing.assert_allclose(before, dense(IDS).detach().numpy(), atol=1e-3)
    merge(quantized)
    np.testing.assert_allclose(quantized(IDS).detach().numpy(), before, atol=0.1 * abs(before).max())
    quantized.save_pretrained(folder.parent / "merged")
    again = Llama.from_pretrained(folder.parent / "merged", dtype="auto")
    assert not any(isinstance(layer, QuantizedLinear) for layer in again.modules())
    np.testing.assert_array_equal(again(IDS).detach().numpy(), quantized(IDS).detach().numpy())


def test_what_is_merged_in_part_is_saved_in_bfloat16(folder: Path) -> None:
    quantize_folder(folder, folder.parent / "quantized", "nf4")
    model = Llama.from_pretrained(folder.parent / "quantized", dtype="auto")
    add_adapter(model, LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(folder.parent / "again")
    assert load_file(folder.parent / "again" / WEIGHTS)[Q].dtype == np.uint8
    merge(model)
    model.save_pretrained(folder.parent / "merged")
    arrays = load_file(folder.parent / "merged" / WEIGHTS)
    assert {str(array.dtype) for array in arrays.values()} == {"bfloat16"}
    assert arrays.keys() == load_file(folder / WEIGHTS).keys()
    up = model.get_submodule("model.layers.0.mlp.up_proj").quantized.dequantize(tinytorch.bfloat16)
    np.testing.assert_array_equal(arrays["model.layers.0.mlp.up_proj.weight"].view(np.uint16), up.view(np.uint16))
