"""Merging and unmerging; PEFT's merged weights are in test_attached_oracle.py, quantized bases in test_quantize.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from lora import Llama, LoraConfig, add_adapter, merge, unmerge
from lora.adapters.attached import lora_layers
from tests.lora.adapters.test_attached import ALL, IDS, adapted, digests, logits, randomize
from tests.lora.model.test_llama import make
from tinytorch.cli.errors import UserError

VARIANTS: list[dict[str, Any]] = [{}, {"use_dora": True}, {"use_rslora": True, "lora_alpha": 1}]


def stored(dtype: str, folder: Path, **settings: Any) -> Llama:
    """A model as it lies in a mapped file of this dtype."""
    model = make(**settings)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(getattr(tinytorch, dtype))
    model.save_pretrained(folder)
    return Llama.from_pretrained(folder, "auto")


@pytest.mark.parametrize("settings", VARIANTS)
def test_merged_it_computes_the_same(settings: dict[str, Any]) -> None:
    model = adapted(**settings)
    before, base = logits(model), digests(model)
    assert merge(model) is model
    np.testing.assert_allclose(logits(model), before, atol=1e-5)
    changed = {name for name, digest in digests(model).items() if digest != base[name]}
    assert changed == {f"{name}.weight" for name in lora_layers(model)}
    assert unmerge(model) is model
    assert digests(model) == base
    np.testing.assert_array_equal(logits(model), before)


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_two_bytes_are_rounded_once(dtype: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """The merged weight is the nearest of its dtype to that in float32; unmerging finds every bit again."""
    model = randomize(add_adapter(stored(dtype, tmp_path), LoraConfig(**ALL, **settings)))
    before, base = logits(model), digests(model)
    wide = make()
    wide.load_state_dict({name: t for name, t in model.state_dict().items() if ".adapters." not in name})
    add_adapter(wide, LoraConfig(**ALL, **settings))
    wide.load_state_dict(model.state_dict())
    np.testing.assert_allclose(logits(wide), before, atol=1e-5)
    merge(model)
    expected = {name: tensor.numpy() for name, tensor in merge(wide).state_dict().items() if ".adapters." not in name}
    for name, tensor in model.state_dict().items():
        if ".adapters." not in name:
            assert str(tensor.dtype) == dtype
            near = expected[name].astype(tensor.dtype)  # but where the two sums fall on either side of a middle
            assert (near != tensor.numpy()).mean() < 1e-2, name
            np.testing.assert_allclose(near.astype(np.float32), tensor.numpy().astype(np.float32), rtol=2.0**-7)
    assert digests(unmerge(model)) == base
    np.testing.assert_array_equal(logits(model), before)


def test_merging_twice_is_merging_once() -> None:
    model = merge(adapted())
    once = digests(model)
    assert digests(merge(model)) == once
    unmerge(unmerge(model))
    assert digests(merge(model)) == once


def test_another_adapter_is_set_on_the_base() -> None:
    model = adapted()
    first, base = logits(model), digests(model)
    add_adapter(model, LoraConfig(), "other")
    other = logits(randomize(model, "other"))
    merge(model)
    model.set_adapter("default")
    assert digests(model) == base
    np.testing.assert_array_equal(logits(model), first)
    merge(model)
    model.set_adapter("other")
    np.testing.assert_array_equal(logits(model), other)


def test_what_was_trained_since_is_merged() -> None:
    model = merge(adapted())
    before = digests(model)
    model.loss(IDS, IDS)
    unmerge(model)
    model.loss(IDS, IDS).backward()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data - 0.1 * parameter.grad
    after = logits(model)
    assert digests(merge(model)) != before
    np.testing.assert_allclose(logits(model), after, atol=1e-5)


@pytest.mark.parametrize("wanted", ["embed_tokens", "lm_head"])
def test_a_tied_head_is_untied_while_merged(wanted: str, tmp_path: Path) -> None:
    """An adapter on one of the two is none on the other, merged or not, in memory or in a folder."""
    model = randomize(add_adapter(make(tie_word_embeddings=True), LoraConfig(target_modules=[wanted])))
    before = logits(model)
    merge(model)
    np.testing.assert_allclose(logits(model), before, atol=1e-5)
    model.save_pretrained(tmp_path / "merged")
    again = Llama.from_pretrained(tmp_path / "merged")
    assert not again.config.tie_word_embeddings
    np.testing.assert_array_equal(logits(again), logits(model))
    unmerge(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path / "base")
    assert digests(Llama.from_pretrained(tmp_path / "base")) == digests(make(tie_word_embeddings=True))
    np.testing.assert_array_equal(logits(model), before)


def test_a_saved_model_is_the_base_or_the_merged_one(tmp_path: Path) -> None:
    model = adapted()
    model.save_pretrained(tmp_path / "base")
    assert digests(Llama.from_pretrained(tmp_path / "base")) == digests(make())
    merge(model).save_pretrained(tmp_path / "merged")
    assert digests(Llama.from_pretrained(tmp_path / "merged")) == digests(model)


def test_biases_stay_with_the_merged_layers() -> None:
    model = randomize(add_adapter(make(attention_bias=True), LoraConfig(bias="lora_only", use_dora=True)))
    bias = model.model.layers[0].self_attn.q_proj.bias
    bias.data = bias.data + 1
    before = logits(model)
    merge(model)
    assert model.model.layers[0].self_attn.q_proj.bias is bias
    np.testing.assert_allclose(logits(model), before, atol=1e-5)


def test_what_is_not_finite_is_not_merged() -> None:
    model = adapted()
    model.lm_head.adapters["default"].lora_B.data[3, 0] = float("nan")
    before = digests(model)
    with pytest.raises(UserError, match="the merged weight of lm_head is not finite: the adapter 'default' is broken"):
        merge(model)
    assert digests(model) == before
