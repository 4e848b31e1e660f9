"""LoraConfig and adapter_config.json; what PEFT makes of it is in test_attached_oracle.py."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

from lora import LoraConfig
from lora.adapters.adapter_config import CONFIG_NAME
from tinytorch.cli.errors import UserError

MINIMUM = {"peft_type": "LORA", "target_modules": ["q_proj"]}


def test_the_minimum_takes_pefts_defaults() -> None:
    config = LoraConfig.from_dict(MINIMUM)
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (8, 8, 0.0, "none")
    assert not (config.use_rslora or config.use_dora or config.inference_mode)
    assert config.rank_pattern == config.alpha_pattern == {}


def test_a_file_comes_back(tmp_path: Path) -> None:
    config = LoraConfig(
        r=3,
        lora_alpha=4.5,
        target_modules=r".*_proj",
        exclude_modules=["lm_head"],
        rank_pattern={"q_proj": 2},
        use_rslora=True,
        bias="all",
        task_type=None,
        base_model_name_or_path="some/model",
    )
    (tmp_path / CONFIG_NAME).write_bytes(config.to_json())
    values = json.loads((tmp_path / "adapter_config.json").read_text())
    assert list(values) == sorted(values)
    assert (values["peft_type"], values["inference_mode"], values["task_type"]) == ("LORA", True, None)
    assert LoraConfig.load(tmp_path) == LoraConfig(**{**vars(config), "inference_mode": True})


def test_nulls_are_defaults() -> None:
    config = LoraConfig.from_dict({**MINIMUM, "rank_pattern": None, "lora_dropout": None, "modules_to_save": None})
    assert (config.rank_pattern, config.lora_dropout) == ({}, 0.0)


def test_unknown_keys_warn_and_known_ones_do_not() -> None:
    with pytest.warns(UserWarning, match="ignored in the adapter's configuration: colour, shape"):
        LoraConfig.from_dict({**MINIMUM, "shape": 1, "colour": "red"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LoraConfig.from_dict({**MINIMUM, "peft_version": "0.20", "loftq_config": {}, "use_qalora": False})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "IA3"}, 'peft_type is "IA3": only LORA'),
        ({"peft_type": None}, "peft_type is null"),
        ({"modules_to_save": ["lm_head"]}, r'modules_to_save is \["lm_head"\]: it is not supported'),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is true"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the weights of the base too: "),
        ({"init_lora_weights": "pissa_niter_16"}, "'pissa_niter_16', which changes the weights of the base too"),
        ({"init_lora_weights": "olora"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "'loftq', which changes the weights"),
        ({"init_lora_weights": "evening"}, "'evening': it must be true, false, gaussian, eva, orthogonal or mica"),
        ({"init_lora_weights": 1}, "init_lora_weights is 1: it must be true, false"),
        ({"r": True}, "r is True: a rank is an integer above 0"),
        ({"r": 2**70}, "a rank is an integer above 0"),
        ({"lora_alpha": math.nan}, "lora_alpha is nan: it must be a finite number"),
        ({"lora_alpha": math.inf}, "lora_alpha is inf: it must be a finite number"),
        ({"lora_alpha": True}, "lora_alpha is True: it must be a finite number"),
        ({"lora_alpha": "x"}, "lora_alpha is 'x': it must be a finite number"),
        ({"lora_alpha": 10**400}, "it must be a finite number"),
        ({"alpha_pattern": {"q_proj": -math.inf}}, r"alpha_pattern is {'q_proj': -inf}: it must map"),
        ({"alpha_pattern": ["q_proj"]}, r"alpha_pattern is \['q_proj'\]: it must map patterns to"),
        ({"rank_pattern": {"q_proj": math.nan}}, "rank_pattern is {'q_proj': nan}"),
        ({"lora_dropout": math.nan}, "lora_dropout is nan: it must be at least 0"),
        ({"lora_dropout": False}, "lora_dropout is False"),
        ({"use_rslora": "false"}, "use_rslora is 'false': it must be true or false"),
        ({"use_dora": 0}, "use_dora is 0: it must be true or false"),
        ({"inference_mode": "no"}, "inference_mode is 'no'"),
        ({"target_modules": {"q_proj": 1}}, "target_modules is {'q_proj': 1}: it must be a list of names"),
        ({"target_modules": ["q_proj", 1]}, r"target_modules is \['q_proj', 1\]"),
        ({"exclude_modules": 3}, "exclude_modules is 3"),
        ({"layers_to_transform": [0, 1.0]}, r"layers_to_transform is \[0, 1.0\]: it must be the number of a layer"),
        ({"layers_to_transform": 0, "layers_pattern": 3}, "layers_pattern is 3"),
        ({"base_model_name_or_path": 3}, "base_model_name_or_path is 3: it must be a text or null"),
        ({"r": 0}, "r is 0: a rank is an integer above 0"),
        ({"rank_pattern": {"q_proj": 2.5}}, "rank_pattern is {'q_proj': 2.5}"),
        ({"lora_dropout": 1.0}, "lora_dropout is 1.0"),
        ({"bias": ["all"]}, "bias is"),
        ({"bias": "some"}, "bias is 'some': it must be none, all or lora_only"),
        ({"target_modules": "q_proj("}, r"'q_proj\(' is not a regular expression"),
        ({"target_modules": "q_proj", "layers_to_transform": 1}, "need target_modules as a list"),
        ({"layers_pattern": "layers"}, "layers_pattern needs layers_to_transform"),
    ],
)
def test_what_makes_no_sense_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LoraConfig.from_dict({**MINIMUM, **values})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no adapter_config.json"),
        ("{", "cannot be read"),
        ("[]", "holds no JSON object"),
        ('{"peft_type": "LORA", "lora_dropout": "much"}', "adapter_config.json: lora_dropout is 'much': it must be"),
        ('{"peft_type": "LORA", "r": "8"}', "adapter_config.json: r is '8'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        LoraConfig.load(tmp_path)


@pytest.mark.parametrize("how", ["eva", "orthogonal", "mica", "Gaussian"])
def test_other_beginnings_are_read(how: str) -> None:
    config = LoraConfig.from_dict({**MINIMUM, "init_lora_weights": how, "eva_config": {"rho": 2.0}})
    assert config.init_lora_weights == how


def test_scaling() -> None:
    assert LoraConfig(lora_alpha=16).scaling(4, 16) == 4.0
    assert LoraConfig(use_rslora=True).scaling(4, 16) == 8.0
