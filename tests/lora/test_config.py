"""config.json: both forms of it, what is refused, what is kept; with transformers in test_llama_oracle.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora.config import LlamaConfig
from lora.rope import RopeScaling
from programs.errors import UserError

SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "rope_theta": 10000.0,
}
# What transformers 4.45 and 5 write for Llama 3.2, the sizes aside.
LLAMA3 = {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192}
FOUR = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008],
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {**LLAMA3, "rope_type": "llama3"},
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0",
    "use_cache": True,
    "vocab_size": 128256,
}
FIVE = {name: value for name, value in FOUR.items() if name not in ("rope_scaling", "rope_theta", "torch_dtype")}
FIVE |= {
    "dtype": "bfloat16",
    "transformers_version": "5.0.0",
    "rope_parameters": {**LLAMA3, "rope_theta": 500000.0, "rope_type": "llama3"},
}


def refused(**changes: Any) -> str:
    given = {**SMALL, **changes}
    with pytest.raises(UserError) as error:
        LlamaConfig.from_dict({name: value for name, value in given.items() if value != "absent"})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("given", [FOUR, FIVE], ids=["4.x", "5.x"])
def test_both_forms_say_the_same(given: dict[str, Any]) -> None:
    config = LlamaConfig.from_dict(given)
    assert config.rope_theta == 500000.0
    assert config.rope_scaling == RopeScaling("llama3", 32.0, 8192, 1.0, 4.0)
    assert (config.num_key_value_heads, config.head_dim, config.rms_norm_eps) == (8, 64, 1e-5)
    assert config.tie_word_embeddings
    assert config.eos_token_ids == (128001, 128008)
    written = config.to_dict("bfloat16")
    assert {name: value for name, value in FOUR.items() if name != "transformers_version"} == {
        name: value for name, value in written.items() if name != "pad_token_id"
    }
    assert LlamaConfig.from_dict(written) == config


def test_what_is_left_out_has_the_defaults_of_transformers() -> None:
    config = LlamaConfig.from_dict(SMALL)
    assert (config.num_key_value_heads, config.head_dim) == (4, 8)
    assert (config.rms_norm_eps, config.max_position_embeddings, config.initializer_range) == (1e-6, 2048, 0.02)
    assert not (config.tie_word_embeddings or config.attention_bias or config.mlp_bias)
    assert config.rope_scaling == RopeScaling()
    assert config.pad_token_id is None and config.eos_token_ids == ()
    assert LlamaConfig.from_dict({**SMALL, "num_key_value_heads": None, "head_dim": None}) == config


def test_a_saved_configuration_is_read_again(tmp_path: Path) -> None:
    config = LlamaConfig.from_dict({**SMALL, "head_dim": 10, "pad_token_id": -1, "custom": {"a": [1]}})
    config.save(tmp_path, "float32")
    assert LlamaConfig.load(tmp_path) == config
    assert json.loads((tmp_path / "config.json").read_text())["custom"] == {"a": [1]}


def test_the_base_of_the_positions() -> None:
    old = {name: value for name, value in SMALL.items() if name != "rope_theta"}
    assert LlamaConfig.from_dict(old).rope_theta == 10000.0  # Llama 1 and 2, before there was a choice
    assert LlamaConfig.from_dict({**old, "transformers_version": "4.30.0"}).rope_theta == 10000.0
    assert LlamaConfig.from_dict({**old, "rope_parameters": {"rope_type": "default", "rope_theta": 7}}).rope_theta == 7
    assert LlamaConfig.from_dict({**old, "rope_theta": 5, "rope_parameters": {"rope_type": "default"}}).rope_theta == 5
    five = {"transformers_version": "5.1.0"}
    for more in (five, {**five, "rope_parameters": {"rope_type": "default"}}, {"rope_parameters": {}}):
        assert "rope_theta is missing: add" in refused(rope_theta="absent", **more)


def test_the_old_name_of_the_rope_type() -> None:
    scaling = LlamaConfig.from_dict({**SMALL, "rope_scaling": {"type": "linear", "factor": 4}}).rope_scaling
    assert scaling == RopeScaling("linear", 4)


@pytest.mark.parametrize("rope_type", ["llama3", "yarn"])
def test_the_trained_length_is_by_default_the_length(rope_type: str) -> None:
    given = {"rope_type": rope_type, "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = LlamaConfig.from_dict({**SMALL, "max_position_embeddings": 99, "rope_scaling": given})
    assert config.rope_scaling.original_max_position_embeddings == 99


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "architecture MistralForCausalLM is not supported"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification is not supported"),
        ({"model_type": "qwen2"}, "model_type qwen2 is not supported: only llama is"),
        ({"hidden_act": "gelu"}, "hidden_act gelu is not supported: only silu is"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope type longrope is not supported: only"),
        ({"rope_parameters": {"rope_type": "axial", "rope_theta": 1e4}}, "rope type axial is not supported"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope type linear needs factor"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}}, "needs high_freq_factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": "2"}}, "factor of rope type linear is '2': expected"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor is not"),
        ({"rope_scaling": 2.0}, "rope_scaling is 2.0: expected an object"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization gptq is not supported"),
        ({"vocab_size": "absent"}, "vocab_size is missing"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "32"}, 'hidden_size is "32": expected int'),
        ({"num_hidden_layers": True}, "num_hidden_layers is true: expected int"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1: expected bool"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0: it must be positive"),
        ({"num_key_value_heads": 3}, "must be a multiple of num_key_value_heads, 3"),
        ({"num_key_value_heads": -1}, "num_key_value_heads is -1: it must be positive"),
        ({"head_dim": 7}, "head_dim is 7: rotary embeddings turn pairs"),
        ({"rope_theta": 0}, "rope_theta is 0.0: it must be positive"),
        ({"pad_token_id": 100}, "pad_token_id is 100, but vocab_size is 100"),
    ],
)
def test_what_makes_no_model_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    assert message in refused(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "has no config.json"), ("{", "cannot be read"), ("[]", "holds no JSON object"), ("{}", "vocab_size is")],
)
def test_a_file_that_says_nothing(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        LlamaConfig.load(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
