"""Which layers of a model are adapted, and with which rank, by PEFT's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import tinytorch.nn as nn
from lora.adapters.adapter_config import DEFAULT_TARGETS, LoraConfig
from lora.adapters.layers import LoraLayer, LowRank, supports
from lora.adapters.patterns import Matcher
from tinytorch.cli.errors import UserError

V = TypeVar("V")

ALL_LINEAR = "all-linear"
HEAD = "lm_head"


class Target(NamedTuple):
    """A layer to adapt."""

    layer: nn.Module  # as it is in the model, perhaps already adapted
    r: int
    scaling: float


def find_targets(model: nn.Module, config: LoraConfig) -> dict[str, Target]:
    """The targets by name, in the model's order. UserError if there are none, or one that cannot be adapted."""
    targets, matcher = {}, Matcher()
    for name, layer in _layers(model).items():
        if _is_target(config, name, layer, matcher):
            if not supports(layer):
                raise UserError(f"{name} is a {type(layer).__name__}: only linear layers and embeddings can be adapted")
            r = _by_pattern(config.rank_pattern, name, config.r, matcher)
            alpha = _by_pattern(config.alpha_pattern, name, config.lora_alpha, matcher)
            targets[name] = Target(layer, r, config.scaling(r, alpha))
    if not targets:
        wanted = config.target_modules or list(DEFAULT_TARGETS)
        raise UserError(
            f"target_modules {wanted!r}, exclude_modules and layers_to_transform leave no layer: "
            "name layers as the model does, such as q_proj"
        )
    return targets


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """All modules by name, with adapted layers as a whole, without the modules inside them."""
    layers: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if name and not name.endswith(".adapters") and not isinstance(module, LowRank):
            layers.setdefault(name, module)
    return layers


def _is_target(config: LoraConfig, name: str, layer: nn.Module, matcher: Matcher) -> bool:
    """Whether the layer of this name is to be adapted."""
    excluded = config.exclude_modules
    if excluded and (matcher.fullmatch(excluded, name) if isinstance(excluded, str) else _ends_with(name, excluded)):
        return False
    wanted = DEFAULT_TARGETS if config.target_modules is None else config.target_modules
    if isinstance(wanted, str):
        if wanted.lower() == ALL_LINEAR:
            return name != HEAD and _is_linear(layer)
        return matcher.fullmatch(wanted, name) is not None
    if name in wanted:  # a full name already includes the layer's number
        return True
    return _ends_with(name, wanted) and _is_in_layers(config, name, matcher)


def _is_linear(layer: nn.Module) -> bool:
    inner = layer.base if isinstance(layer, LoraLayer) else layer
    return supports(inner) and not isinstance(inner, nn.Embedding)


def _ends_with(name: str, ends: list[str] | tuple[str, ...]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _is_in_layers(config: LoraConfig, name: str, matcher: Matcher) -> bool:
    numbers, patterns = config.layers_to_transform, config.layers_pattern
    if numbers is None or numbers == []:
        return True
    before = [r"[^.]*"] if not patterns else [patterns] if isinstance(patterns, str) else patterns
    # The first number in the name: "model.layers.3.self_attn.q_proj" is in layer 3.
    start = r".*?\." if not patterns else r"(?:^|.*?\.)"
    found = next((match for each in before if (match := matcher.match(rf"{start}{each}\.(?P<idx>\d+)\.", name))), None)
    return found is not None and int(found["idx"]) in ([numbers] if isinstance(numbers, int) else numbers)


def _by_pattern(patterns: Mapping[str, V], name: str, default: V, matcher: Matcher) -> V:
    return next((value for key, value in patterns.items() if matcher.match(rf"(.*\.)?({key})$", name)), default)
