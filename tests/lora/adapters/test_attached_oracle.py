"""Ours beside PEFT: logits, files in both directions, training, merged weights, over the grid of bench.parity_peft."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.parity import TOLERANCE, batch, difference, their_model
from bench.parity_peft import BASE, RANKS, TARGETS, VARIANTS, array, compare, quiet, their_adapter
from lora import Llama, LoraConfig, add_adapter, add_weighted_adapter, load_adapter, merge, save_adapter
from lora.adapters.adapter_files import WEIGHTS_NAME, adapter_state
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import load_file

pytestmark = [
    pytest.mark.oracle("torch", "transformers", "peft"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

IDS = batch("none")[0][:, :24]


@pytest.fixture(autouse=True)
def one_thread_for_torch() -> Iterator[None]:
    """Two pools of threads that spin on the same few cores would only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Every pair of targets and variant; the ranks and dtypes in turn. The whole grid is bench.parity_peft's.
PAIRS = list(itertools.product(TARGETS, VARIANTS))
CASES = [(*pair, list(RANKS)[i % len(RANKS)], list(TOLERANCE)[i % 2]) for i, pair in enumerate(PAIRS)]


@pytest.mark.parametrize(("targets", "variant", "rank", "dtype"), CASES)
def test_grid(targets: str, variant: str, rank: str, dtype: str) -> None:
    errors = compare(dtype, **TARGETS[targets], **VARIANTS[variant], **RANKS[rank])
    assert max(errors) <= TOLERANCE[dtype], errors


@pytest.mark.parametrize("targets", TARGETS)
def test_files_are_the_same(targets: str, tmp_path: Path) -> None:
    """The tensors to the last bit, under the same names; and what is in the configuration, PEFT understands."""
    from peft import LoraConfig as TheirConfig

    settings = {**TARGETS[targets], "use_dora": True, "bias": "all"}
    with quiet():
        their_adapter(their_model(tmp_path / "base", "float32", **BASE), settings).save_pretrained(tmp_path / "theirs")
        model = load_adapter(Llama.from_pretrained(tmp_path / "base"), tmp_path / "theirs")
        save_adapter(model, tmp_path / "ours")
        ours, theirs = (TheirConfig.from_pretrained(tmp_path / side) for side in ("ours", "theirs"))
    for name, value in vars(theirs).items():
        if name not in ("auto_mapping", "peft_version", "runtime_config"):
            assert getattr(ours, name) == value, name
    found, expected = (load_file(tmp_path / side / WEIGHTS_NAME) for side in ("ours", "theirs"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


@pytest.mark.parametrize("how", ["eva", "orthogonal", "mica"])
def test_adapters_that_began_otherwise(how: str, tmp_path: Path) -> None:
    """They are plain A and B; PEFT, too, gives with them what it gives where the configuration says true."""
    import torch

    settings = {"init_lora_weights": how, "target_modules": ["q_proj", "up_proj"]}
    with quiet():
        theirs = their_adapter(their_model(tmp_path / "base", "float32"), settings)
        theirs.save_pretrained(tmp_path / "theirs")
        ours = load_adapter(Llama.from_pretrained(tmp_path / "base"), tmp_path / "theirs")
        assert difference(array(ours(IDS)), array(theirs(torch.from_numpy(IDS)).logits)) < 1e-5
        save_adapter(ours, tmp_path / "ours")
        from peft import PeftModel

        again = PeftModel.from_pretrained(their_model(tmp_path / "base", "float32"), str(tmp_path / "ours"))
    assert again.peft_config["default"].init_lora_weights == how
    assert difference(array(ours(IDS)), array(again(torch.from_numpy(IDS)).logits)) < 1e-5
    if how == "mica":
        with pytest.raises(UserError, match="was made by MiCA, which trains A alone"):
            load_adapter(ours, tmp_path / "theirs", "other", trainable=True)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("targets", [["q_proj"], ["v_proj", "lm_head"], ["embed_tokens"]])
def test_embeddings_that_peft_saves_too(targets: list[str], tied: bool, tmp_path: Path) -> None:
    import torch

    settings = {"target_modules": targets}
    theirs = their_adapter(their_model(tmp_path / "base", "float32", tie_word_embeddings=tied), settings)
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs", save_embedding_layers=True)
    names = [name for name in load_file(tmp_path / "theirs" / WEIGHTS_NAME) if "lora_" not in name]
    assert len(names) == (1 if targets == ["embed_tokens"] or "lm_head" in targets else 2), names
    ours = load_adapter(Llama.from_pretrained(tmp_path / "base"), tmp_path / "theirs")
    assert difference(array(ours(IDS)), array(theirs(torch.from_numpy(IDS)).logits)) < 1e-5


@pytest.mark.parametrize("targets", TARGETS)
def test_our_new_adapters_are_where_theirs_are(targets: str, tmp_path: Path) -> None:
    """Names, shapes, what is trained; and what an adapter of PEFT begins with, zeros and magnitudes."""
    settings = {**TARGETS[targets], **VARIANTS["DoRA, own biases"]}
    base = their_model(tmp_path / "base", "float32", **BASE)
    ours = add_adapter(Llama.from_pretrained(tmp_path / "base"), LoraConfig(**settings))
    from peft import LoraConfig as TheirConfig
    from peft import get_peft_model

    with quiet():
        theirs = get_peft_model(base, TheirConfig(**settings))
        theirs.save_pretrained(tmp_path / "theirs")
    expected, found = load_file(tmp_path / "theirs" / WEIGHTS_NAME), adapter_state(ours, "default")
    assert {name: array.shape for name, array in expected.items()} == {
        name: tuple(tensor.shape) for name, tensor in found.items()
    }
    trained = sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    assert sum(p.numel() for p in ours.parameters() if p.requires_grad) == trained
    for name, tensor in found.items():
        if not name.endswith(("lora_A.weight", "lora_embedding_B")):  # which are random
            np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("dora", [False, True])
def test_stored_in_bfloat16_as_peft_in_float32(dora: bool, tmp_path: Path) -> None:
    """The base in two bytes gives what PEFT gives with the same numbers widened; merged, it is rounded to two bytes."""
    import torch
    from transformers import LlamaForCausalLM

    settings = {"target_modules": ["q_proj", "down_proj", "embed_tokens"], "use_dora": dora, "r": 4}
    their_model(tmp_path / "wide", "float32", **BASE).to(torch.bfloat16).save_pretrained(tmp_path / "base")
    with quiet():
        base = LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32, attn_implementation="eager")
        theirs = their_adapter(base, settings)
        theirs.save_pretrained(tmp_path / "theirs")
    ours = load_adapter(Llama.from_pretrained(tmp_path / "base", "auto"), tmp_path / "theirs")
    out = array(theirs(torch.from_numpy(IDS)).logits)
    assert difference(array(ours(IDS)), out) < 1e-5
    expected = theirs.merge_and_unload().state_dict()
    state = merge(ours).state_dict()
    for name, tensor in expected.items():
        rounded = tensor.to(torch.bfloat16).float().numpy()
        ulp = np.abs(rounded).max() * 2.0**-8  # where our sum and theirs fall on two sides of a middle
        assert str(state[name].dtype) == "bfloat16"
        np.testing.assert_allclose(state[name].numpy().astype(np.float32), rounded, rtol=2.0**-7, atol=ulp * 1e-4)


def test_the_merged_folder_is_read_by_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    settings = {"target_modules": ["embed_tokens", "v_proj"]}
    theirs = their_adapter(their_model(tmp_path / "base", "float32", tie_word_embeddings=True), settings)
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs")
    ours = load_adapter(Llama.from_pretrained(tmp_path / "base"), tmp_path / "theirs")
    merge(ours).save_pretrained(tmp_path / "merged")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "merged", attn_implementation="eager")
    assert not again.config.tie_word_embeddings
    expected = array(theirs(torch.from_numpy(IDS)).logits)
    assert difference(array(again(torch.from_numpy(IDS)).logits), expected) < 1e-5


@pytest.mark.parametrize("combination", ["linear", "cat"])
def test_weighted_sums(combination: str, tmp_path: Path) -> None:
    import torch

    settings = {"target_modules": ["q_proj", "embed_tokens", "up_proj"], "lora_alpha": 12}
    theirs = their_adapter(their_model(tmp_path / "base", "float32"), settings)
    ours = Llama.from_pretrained(tmp_path / "base")
    from peft import LoraConfig as TheirConfig

    theirs.add_adapter("other", TheirConfig(target_modules=["q_proj", "k_proj"], use_rslora=True))
    for name, parameter in theirs.named_parameters():
        if ".other." in name:
            parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    with quiet():
        theirs.save_pretrained(tmp_path)
    load_adapter(ours, tmp_path)
    load_adapter(ours, tmp_path / "other", "other")
    given = (["default", "other"], [0.7, -0.4])
    theirs.base_model.add_weighted_adapter(*given, "sum", combination)
    theirs.set_adapter("sum")
    add_weighted_adapter(ours, *given, "sum", combination)
    ours.set_adapter("sum")
    expected = array(theirs(torch.from_numpy(IDS)).logits)
    assert difference(array(ours(IDS)), expected) < 1e-5
    theirs.set_adapter("other")
    ours.set_adapter("other")
    assert difference(array(ours(IDS)), array(theirs(torch.from_numpy(IDS)).logits)) < 1e-5
    with theirs.disable_adapter(), ours.disable_adapter():
        assert difference(array(ours(IDS)), array(theirs(torch.from_numpy(IDS)).logits)) < 1e-5


def test_dora_with_dropout_takes_all_products_with_the_dropped_input(tmp_path: Path, monkeypatch: Any) -> None:
    """Both drop the same elements here: those where the input is negative."""
    import torch

    import tinytorch.nn.functional as F

    settings = {"use_dora": True, "lora_dropout": 0.5, "target_modules": ["q_proj"], "layers_to_transform": [0]}
    theirs = their_adapter(their_model(tmp_path / "base", "float32", **BASE), settings).train()
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs")
    ours = load_adapter(Llama.from_pretrained(tmp_path / "base"), tmp_path / "theirs").train()
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x.clamp(min=0) * 2)
    monkeypatch.setattr(F, "dropout", lambda x, p, training: F.relu(x) * 2 if p and training else x)
    expected = array(theirs(torch.from_numpy(IDS)).logits)
    assert difference(array(ours(IDS)), expected) < 1e-5
    assert difference(array(ours.eval()(IDS)), expected) > 1e-2


@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "embed_tokens"], ["lm_head", "embed_tokens"]], ids=str)
def test_a_head_that_is_adapted_with_the_embedding(targets: list[str], tmp_path: Path) -> None:
    """ensure_weight_tying, of which PEFT lists the embedding's name alone."""
    with quiet():
        base = their_model(tmp_path / "base", "float32", **BASE, tie_word_embeddings=True)
        settings = {"target_modules": targets, "ensure_weight_tying": True}
        theirs = their_adapter(base, settings)
        theirs.save_pretrained(tmp_path / "theirs")
        ours = load_adapter(Llama.from_pretrained(tmp_path / "base"), tmp_path / "theirs")
        assert difference(array(ours(IDS)), array(theirs(input_ids=torch_ids()).logits)) <= TOLERANCE["float32"]
        save_adapter(ours, tmp_path / "ours")
        again = load_adapter(Llama.from_pretrained(tmp_path / "base"), tmp_path / "ours")
    np.testing.assert_array_equal(array(ours(IDS)), array(again(IDS)))


def torch_ids() -> Any:
    import torch

    return torch.tensor(IDS)
