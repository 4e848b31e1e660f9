"""The adapters of a model: adding, activating, disabling and combining them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import tinytorch.nn as nn
from lora.adapters.adapter_config import DEFAULT_TARGETS, LoraConfig
from lora.adapters.layers import LoraLayer, LowRank, kind
from lora.adapters.merging import unmerge
from lora.adapters.targets import find_targets
from lora.model.llama import Llama
from tinytorch import Tensor
from tinytorch.cli.errors import UserError


def lora_layers(model: Llama) -> dict[str, LoraLayer]:
    """The layers that have adapters, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def add_adapter(model: Llama, config: LoraConfig, name: str = "default") -> Llama:
    """Freeze the model, give it a new adapter, and make it the active one; returns the model.

    Then only the adapter has `requires_grad` (unless config.inference_mode), and the biases that config.bias names.
    Raises UserError if the name is taken, the config fits no layer, or the adapter cannot be initialised.
    """
    config.check_can_begin()
    place_adapter(model, config, name)
    for layer in lora_layers(model).values():
        if name in layer.adapters:
            layer.initialize(name, config.init_lora_weights)
    return model


def place_adapter(model: Llama, config: LoraConfig, name: str) -> None:
    """`add_adapter` without the initialisation: the values are zeros, to be overwritten."""
    _check_new_name(model, name)
    targets = find_targets(model, config)
    if not model.peft_config:
        model.requires_grad_(False)
    for path, (found, r, scaling) in targets.items():
        if isinstance(found, LoraLayer):
            layer = found
        else:
            layer = kind(found)(found)
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, layer)
        layer.add(name, r, scaling, config.lora_dropout, config.use_dora, model.dtype)
    # As in PEFT, a saved configuration always names its targets.
    wanted = list(DEFAULT_TARGETS) if config.target_modules is None else config.target_modules
    model.peft_config[name] = replace(config, target_modules=wanted)
    set_adapter(model, name)


def _check_new_name(model: Llama, name: str) -> None:
    if name in model.peft_config:
        raise UserError(f"there is already an adapter named {name!r}: choose another name")
    if not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise UserError(f"an adapter cannot be named {name!r}: choose a word without dots")


def check_known(model: Llama, *names: str) -> None:
    """UserError that names the first of these adapters that the model does not have."""
    unknown = [name for name in names if name not in model.peft_config]
    if unknown:
        raise UserError(f"there is no adapter named {unknown[0]!r}: there are {sorted(model.peft_config)}")


def set_adapter(model: Llama, name: str) -> None:
    """See `Llama.set_adapter`."""
    check_known(model, name)
    unmerge(model)
    config = model.peft_config[name]
    for layer in lora_layers(model).values():
        layer.active = name if name in layer.adapters else None
        for other, adapter in layer.adapters.items():
            adapter.requires_grad_(other == name and not config.inference_mode)
    _choose_biases(model, name)


def trained_biases(model: Llama, config: LoraConfig, adapted: Collection[str]) -> dict[str, Any]:
    """The modules whose biases an adapter of the layers `adapted` trains: as in PEFT, the base's own, not copies."""
    if config.bias == "none":
        return {}
    return {
        name: module
        for name, module in model.named_modules()
        if module._parameters.get("bias") is not None and (config.bias == "all" or name in adapted)
    }


def _choose_biases(model: Llama, name: str) -> None:
    """Make exactly those biases of the base require gradients that the adapter trains."""
    config = model.peft_config[name]
    adapted = [path for path, layer in lora_layers(model).items() if name in layer.adapters]
    own = trained_biases(model, config, adapted)
    for path, module in model.named_modules():
        bias = module._parameters.get("bias")
        if bias is None:
            continue
        if path in own and (bias.dtype != model.dtype or not bias.array.flags.writeable):
            # In the mapped file it is read-only.
            module.bias = bias = nn.Parameter(Tensor(bias.array.astype(model.dtype)))
        bias.requires_grad_(path in own and not config.inference_mode)


@contextmanager
def disable_adapter(model: Llama) -> Iterator[None]:
    """See `Llama.disable_adapter`."""
    layers = list(lora_layers(model).values())
    before = [layer.enabled for layer in layers]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enabled = enabled


def add_weighted_adapter(
    model: Llama, adapters: Sequence[str], weights: Sequence[float], name: str, combination_type: str = "linear"
) -> Llama:
    """Make a new adapter, frozen and inactive, from a weighted sum of others; returns the model.

    "cat" gives exactly the weighted sum of what they add to the weights; its rank is the sum of their ranks. "linear"
    sums their A and their B, each scaled by the square root of the weight: it needs adapters of equal rank, keeps that
    rank, and is only an approximation. Raises UserError for adapters that cannot be added up.
    """
    if combination_type not in ("linear", "cat"):
        raise UserError(f"combination_type is {combination_type!r}: it must be linear or cat")
    if not adapters or len(adapters) != len(weights):
        raise UserError(f"{len(adapters)} adapters and {len(weights)} weights: give one for each, and at least one")
    check_known(model, *adapters)
    _check_new_name(model, name)
    configs = [model.peft_config[adapter] for adapter in adapters]
    if any(config.use_dora for config in configs):
        raise UserError("adapters with DoRA cannot be added up: their sum has no magnitudes; merge them one by one")
    ranks = [max([config.r, *config.rank_pattern.values()]) for config in configs]
    if combination_type == "linear" and len(set(ranks)) > 1:
        raise UserError(f"the adapters have ranks {ranks}: linear needs adapters of equal rank; use cat")
    layers = {path: layer for path, layer in lora_layers(model).items() if any(a in layer.adapters for a in adapters)}
    r = ranks[0] if combination_type == "linear" else sum(ranks)
    config = LoraConfig(r=r, lora_alpha=r, target_modules=list(layers), inference_mode=True)
    combine = _linear if combination_type == "linear" else _concatenated
    model.peft_config[name] = config
    for layer in layers.values():
        present = [(each, weight) for each, weight in zip(adapters, weights, strict=True) if each in layer.adapters]
        parts = [(layer.adapters[each], weight) for each, weight in present]
        combine(layer.add(name, r, 1.0, 0.0, False, model.dtype).requires_grad_(False), parts)
    return model


def _concatenated(target: LowRank, parts: list[tuple[LowRank, float]]) -> None:
    """sum_i w_i s_i B_i A_i = [B_1 B_2 ...] [w_1 s_1 A_1; w_2 s_2 A_2; ...]; rows beyond the rank stay zero."""
    begin = 0
    for adapter, weight in parts:
        end = begin + adapter.r
        target.lora_A.array[begin:end] = weight * adapter.scaling * adapter.lora_A.array
        target.lora_B.array[:, begin:end] = adapter.lora_B.array
        begin = end


def _linear(target: LowRank, parts: list[tuple[LowRank, float]]) -> None:
    """sum_i sign_i sqrt|w_i s_i| A_i and sum_i sqrt|w_i s_i| B_i, where sign_i is the sign of w_i s_i."""
    for adapter, weight in parts:
        factor = weight * adapter.scaling
        root = math.sqrt(abs(factor))
        target.lora_A.array[...] += math.copysign(root, factor) * adapter.lora_A.array
        target.lora_B.array[...] += root * adapter.lora_B.array
