"""config.json: both forms of it, what is refused, what is kept; with transformers in test_llama_oracle.py."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

from lora.model.config import LlamaConfig
from lora.model.rope import RopeScaling
from lora.model.shapes import SHAPES
from tinytorch.cli.errors import UserError

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
    with pytest.warns(UserWarning, match="passed over: custom"):
        config = LlamaConfig.from_dict({**SMALL, "head_dim": 10, "pad_token_id": -1, "custom": {"a": [1]}})
    config.save(tmp_path, "float32")
    with pytest.warns(UserWarning, match="custom"):
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


def test_rope_scaling_beside_rope_parameters() -> None:
    """What model cards advise, added to a file of transformers 5; test_llama_oracle.py: so transformers takes it."""
    old = {name: value for name, value in SMALL.items() if name != "rope_theta"}
    scaling = {"type": "linear", "factor": 8.0}
    both = {**old, "transformers_version": "5.0.0", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    config = LlamaConfig.from_dict({**both, "rope_scaling": scaling})
    assert (config.rope_scaling, config.rope_theta) == (RopeScaling("linear", 8.0), 1e4)
    assert LlamaConfig.from_dict({**both, "rope_scaling": {}}).rope_scaling == RopeScaling()
    assert LlamaConfig.from_dict({**both, "rope_scaling": {**scaling, "rope_theta": 7.0}}).rope_theta == 7.0
    both["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5}
    assert LlamaConfig.from_dict({**both, "rope_theta": 9.0, "rope_scaling": scaling}).rope_theta == 9.0
    message = "rope_scaling takes the place of rope_parameters, and of its rope_theta 500000.0: add rope_theta to"
    assert message in refused(**{**both, "rope_theta": "absent"}, rope_scaling=scaling)


@pytest.mark.parametrize(
    "more", [{"hidden_act": "swish"}, {"architectures": ["LLaMAForCausalLM"]}, {"architectures": None}]
)
def test_old_spellings(more: dict[str, Any]) -> None:
    config = LlamaConfig.from_dict({**SMALL, **more})
    assert config == LlamaConfig.from_dict(SMALL)
    written = config.to_dict("float32")
    assert (written["hidden_act"], written["architectures"]) == ("silu", ["LlamaForCausalLM"])


# Keys of other families, with values that change what is computed, and with values that do not.
FOREIGN: list[tuple[str, list[Any], list[Any]]] = [
    ("embedding_multiplier", [12.0], [1, 1.0, None]),
    ("residual_multiplier", [0.22], [1.0]),
    ("logits_scaling", [8.0], [1]),
    ("attention_multiplier", [0.015625, "x"], [8**-0.5, None]),
    ("no_rope_layers", [[1, 0], "x"], [[1, 1], [], None]),
    ("no_rope_layer_interval", [4], [0, None]),
    ("sliding_window", [1024, "x"], [None, 0, 2048, 4096]),
    ("use_sliding_window", [True], [False]),
    ("layer_types", [["full_attention", "sliding_attention"]], [["full_attention"] * 2]),
    ("attn_logit_softcapping", [50.0], [None]),
    ("partial_rotary_factor", [0.5], [1.0]),
    ("rope_interleaved", [True], [False]),
    ("hidden_activation", ["gelu_pytorch_tanh"], ["silu", None]),
    ("num_local_experts", [8], [0, 1]),
    ("quantization", [{"group_size": 64, "bits": 4}], [None]),
]


@pytest.mark.parametrize(("name", "other", "neutral"), FOREIGN)
def test_settings_of_other_families(name: str, other: list[Any], neutral: list[Any]) -> None:
    """They would be read as a Llama's, and compute something else."""
    for value in other:
        assert f"{name} is {json.dumps(value)}: Llamas have no such setting" in refused(**{name: value})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in neutral:
            LlamaConfig.from_dict({**SMALL, name: value})


def test_a_window_that_is_not_used() -> None:
    LlamaConfig.from_dict({**SMALL, "sliding_window": 128, "use_sliding_window": False})


def test_settings_that_nobody_knows_are_named() -> None:
    with pytest.warns(UserWarning, match=r"settings that are passed over: colour, end\\x1b of\\x07 line$"):
        LlamaConfig.from_dict({**SMALL, "end\x1b\nof\x07\tline": 1, "colour": None, "use_cache": True})


def test_rope_settings_that_nobody_knows_are_named() -> None:
    scaling = {"type": "yarn", "factor": 2.0, "finetuned": True, "speed": 3}
    with pytest.warns(UserWarning, match="settings of rope type yarn that are passed over: speed$"):
        LlamaConfig.from_dict({**SMALL, "rope_scaling": scaling})


@pytest.mark.parametrize("given", [FOUR, FIVE, *SHAPES.values()])
def test_settings_of_llamas_give_no_warning(given: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LlamaConfig.from_dict(given)


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
        ({"architectures": 5}, "architectures is 5: expected a list of names"),
        ({"architectures": [5]}, "architecture 5 is not supported"),
        ({"model_type": ["llama"]}, "model_type ['llama'] is not supported"),
        ({"hidden_act": {}}, "hidden_act {} is not supported"),
        ({"eos_token_id": "x"}, 'eos_token_id is "x": expected a token\'s id, a list of ids or null'),
        ({"eos_token_id": 1.5}, "eos_token_id is 1.5: expected"),
        ({"eos_token_id": -5}, "eos_token_id is -5: expected"),
        ({"eos_token_id": True}, "eos_token_id is true: expected"),
        ({"eos_token_id": [1, [2]]}, "eos_token_id is [1, [2]]: expected"),
        ({"bos_token_id": 2**70}, f"bos_token_id is {2**70}: expected"),
        ({"num_hidden_layers": 2**70}, "num_hidden_layers is"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000: it must be at most"),
        ({"hidden_size": 2**60}, "it must be at most"),
        ({"rms_norm_eps": math.inf}, "rms_norm_eps is inf: it must be finite"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps is nan: it must be"),
        ({"rms_norm_eps": 10**400}, "it must be finite"),
        ({"initializer_range": -1.0}, "initializer_range is -1.0: it must be at least 0"),
        ({"attention_dropout": 1.0}, "attention_dropout is 1.0: it must be at least 0 and below 1"),
        ({"attention_dropout": math.nan}, "attention_dropout is nan"),
        ({"rope_theta": math.nan}, "rope_theta is nan"),
        ({"rope_theta": "1e4"}, 'rope_theta is "1e4": expected float'),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "factor of rope type linear is 0: it must be above 0"),
        ({"rope_scaling": {"type": "linear", "factor": math.nan}}, "factor of rope type linear is nan: expected"),
        ({"rope_scaling": {"type": "linear", "factor": -2}}, "factor of rope type linear is -2: expected"),
        ({"rope_scaling": {"type": "dynamic", "factor": True}}, "factor of rope type dynamic is True: expected"),
        ({"rope_scaling": {"type": "yarn", "factor": math.inf}}, "factor of rope type yarn is inf: expected"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "truncate": 1}}, "truncate of rope type yarn is 1: expected"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "attention_factor": 0}}, "rope type yarn gives no angles"),
        ({"rope_theta": 1.0, "rope_scaling": {"type": "yarn", "factor": 2.0}}, "yarn gives no angles for rope_theta 1"),
        (
            {"rope_scaling": {**LLAMA3, "rope_type": "llama3", "original_max_position_embeddings": 0.5}},
            "original_max_position_embeddings of rope type llama3 is 0.5: expected an integer above 0",
        ),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "full_attention of rope type default is not"),
    ],
)
def test_what_makes_no_model_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    assert message in refused(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no config.json"),
        (b"{", "cannot be read"),
        (b"[]", "holds no JSON object"),
        (b"{}", "vocab_size is"),
        (b"[" * 100_000, "cannot be read: .*recursion"),
        (b'{"a":' * 100_000, "cannot be read: .*recursion"),
        (b'{"a": "\\ud800"}', "cannot be read: .*surrogates not allowed"),
        (b'{"a": "\xff"}', "cannot be read: .*utf-8"),
        (b'{"vocab_size": ' + b"9" * 5000 + b"}", "cannot be read: .*limit"),
    ],
)
def test_a_file_that_says_nothing(text: bytes | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(UserError, match=message) as error:
        LlamaConfig.load(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
