"""Which layers an adapter is for; that PEFT chooses the same is in test_attached_oracle.py."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lora import LoraConfig, add_adapter
from lora.adapters.targets import find_targets
from tests.lora.model.test_llama import make
from tinytorch.cli.errors import UserError

PROJECTIONS = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]


def names(*projections: str, layers: tuple[int, ...] = (0, 1)) -> list[str]:
    return [f"model.layers.{i}.{name}" for i in layers for name in PROJECTIONS if name in projections]


ATTENTION = ("self_attn.q_proj", "self_attn.v_proj")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, names(*ATTENTION)),
        ({"target_modules": "all-linear"}, names(*PROJECTIONS)),
        ({"target_modules": "ALL-LINEAR", "exclude_modules": ["mlp.up_proj"]}, None),
        ({"target_modules": ["lm_head", "embed_tokens"]}, ["model.embed_tokens", "lm_head"]),
        ({"target_modules": ["proj"]}, []),  # whole parts of a name
        ({"target_modules": ["model.layers.1.mlp.up_proj"]}, names("mlp.up_proj", layers=(1,))),
        ({"target_modules": r".*\.1\.self_attn\.[qv]_proj"}, names(*ATTENTION, layers=(1,))),
        ({"target_modules": r"q_proj"}, []),  # an expression is for the whole name
        ({"exclude_modules": r".*0.*q_proj"}, [names(*ATTENTION)[1], *names(*ATTENTION, layers=(1,))]),
        ({"target_modules": list("q"), "layers_to_transform": 0}, []),
        ({"target_modules": ["q_proj", "v_proj"], "layers_to_transform": 1}, names(*ATTENTION, layers=(1,))),
        ({"target_modules": ["q_proj", "v_proj"], "layers_to_transform": []}, names(*ATTENTION)),
        (
            {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0, 5], "layers_pattern": ["h", "layers"]},
            names(*ATTENTION, layers=(0,)),
        ),
        (
            {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "(h|layers)"},
            names(ATTENTION[0], layers=(0,)),
        ),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "blocks"}, []),
        ({"target_modules": ["lm_head", "q_proj"], "layers_to_transform": 0}, [names(*ATTENTION)[0], "lm_head"]),
    ],
)  # fmt: skip
def test_targets(settings: dict[str, Any], expected: list[str] | None) -> None:
    if expected is None:
        expected = [name for name in names(*PROJECTIONS) if "up" not in name]
    config = LoraConfig(**settings)
    if expected:
        assert list(find_targets(make(), config)) == expected
    else:
        with pytest.raises(UserError, match="leave no layer"):
            find_targets(make(), config)


def test_the_same_layers_are_found_beside_another_adapter() -> None:
    model = add_adapter(make(), LoraConfig(target_modules=["q_proj", "embed_tokens"]))
    for wanted in ("all-linear", r".*_proj", ["q_proj", "embed_tokens"]):
        config = LoraConfig(target_modules=wanted)
        assert list(find_targets(model, config)) == list(find_targets(make(), config))


def test_patterns_for_rank_and_alpha() -> None:
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "k_proj"],
        rank_pattern={"layers.0.self_attn.q_proj": 2, r"^model\.layers\.0.*": 16, "proj": 1},
        alpha_pattern={"k_proj": 32},
    )
    found = {name[13:]: target[1:] for name, target in find_targets(make(), config).items()}
    assert found == {
        "0.self_attn.q_proj": (2, 4.0),
        "0.self_attn.k_proj": (16, 2.0),
        "1.self_attn.q_proj": (4, 2.0),
        "1.self_attn.k_proj": (4, 8.0),
    }


def test_what_cannot_be_adapted_is_named() -> None:
    with pytest.raises(UserError, match=r"model.layers.0.input_layernorm is a RMSNorm: only linear layers"):
        find_targets(make(), LoraConfig(target_modules=["q_proj", "input_layernorm"]))


ENDLESS = r"(?:.?){65000}(?:.?){65000}[Q!]"


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ENDLESS},
        {"exclude_modules": ENDLESS},
        {"rank_pattern": {ENDLESS: 1}},
        {"alpha_pattern": {ENDLESS: 1}},
        {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ENDLESS},
    ],
)
def test_expressions_that_take_too_long(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """All matches of a configuration together, so that a model of many layers takes no longer."""
    monkeypatch.setattr("lora.adapters.patterns.SECONDS", 0.2)
    start = time.process_time()
    with pytest.raises(UserError, match=r"takes more than 0\.2 seconds to match: write it without repetitions"):
        find_targets(make(), LoraConfig(**settings))
    assert time.process_time() - start < 5


def test_what_is_no_expression_beside_others() -> None:
    """A comment swallows what PEFT puts behind the expression."""
    config = LoraConfig(target_modules=["q_proj"], rank_pattern={"(?x) q_proj #": 2})
    with pytest.raises(UserError, match=r"q_proj #.*' is not a regular expression: missing \)"):
        find_targets(make(), config)
