"""The folder of an adapter, as PEFT reads and writes it: adapter_config.json and adapter_model.safetensors.

Of a layer `model.layers.0.self_attn.q_proj`, after the prefix "base_model.model.":

    .lora_A.weight (r, in)    .lora_B.weight (out, r)    .lora_magnitude_vector (out,), for DoRA
    .lora_embedding_A (r, V)  .lora_embedding_B (C, r)   .base_layer.weight, a copy     of an embedding
    .base_layer.bias, or .bias where the layer has no adapter, of biases that were trained
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lora import mlx_adapter
from lora.adapter_config import CONFIG_NAME, LoraConfig
from lora.adapters import check_known, lora_layers, place_adapter, trained_biases
from lora.layers import LoraLayer, kind
from lora.llama import Llama
from lora.quantized import QuantizedLinear
from lora.targets import find_targets
from programs.errors import UserError
from tinytorch import Tensor
from tinytorch.files import atomic_write, flush_folder, unfinished
from tinytorch.safetensors import SafetensorError, load_file, refuse_mapped, save_file

Array = np.ndarray[Any, Any]

WEIGHTS_NAME = "adapter_model.safetensors"
PREFIX = "base_model.model."
EMBEDDINGS = ("embed_tokens", "lm_head")  # layers whose own weight is kept beside an adapter's
FLOATS = ("bfloat16", "float16", "float32", "float64")


def save_adapter(model: Llama, folder: str | Path, name: str = "default") -> None:
    """Write an adapter to a folder that PEFT reads too. UserError where it cannot be written.

    An adapter that the folder holds stays as it is until the new one is written in full, beside it. Killed while the
    files are exchanged, the folder has no configuration, and `load_adapter` says so.
    """
    check_known(model, name)
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder: choose another path to save to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder, adapter_state(model, name), model.peft_config[name].to_json())
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot save to {folder}: {error}") from None


def _replace(folder: Path, state: dict[str, Tensor], config: bytes) -> None:
    weights, settings = folder / WEIGHTS_NAME, folder / CONFIG_NAME
    refuse_mapped(weights)
    new = unfinished(weights)
    try:
        save_file(state, new, {"format": "pt"})
        with atomic_write(settings) as file:
            file.write(config)
            file.flush()
            if settings.exists() and settings.read_bytes() != config:  # not new weights under an old scaling
                settings.unlink()
                flush_folder(folder)
            os.replace(new, weights)
            flush_folder(folder)
    finally:
        new.unlink(missing_ok=True)


def adapter_state(model: Llama, name: str) -> dict[str, Tensor]:
    """The tensors of an adapter under their names in the file, sharing memory with the model."""
    layers = {path: layer for path, layer in lora_layers(model).items() if name in layer.adapters}
    state = {}
    for path, layer in layers.items():
        for own, parameter in layer.adapters[name].named_parameters():
            state[f"{PREFIX}{path}.{layer.names_in_file[own]}"] = parameter.detach()
        if path.endswith(EMBEDDINGS) and not isinstance(layer.base, QuantizedLinear):
            state[f"{PREFIX}{path}.base_layer.weight"] = layer.base.weight.detach()
    for path, module in trained_biases(model, model.peft_config[name], layers).items():
        state[_bias(path, layers)] = module.bias.detach()
    return state


def _bias(path: str, adapted: Container[str]) -> str:
    return f"{PREFIX}{path}.base_layer.bias" if path in adapted else f"{PREFIX}{path}.bias"


def load_adapter(model: Llama, folder: str | Path, name: str = "default", trainable: bool = False) -> Llama:
    """Add an adapter that PEFT, mlx-lm or `save_adapter` wrote, and make it the active one; returns the model.

    Its tensors are converted to the dtype that the model computes in. UserError, with the model as it was, lists what
    the folder lacks, has too much, or has in another shape than the model's.
    """
    folder = Path(folder)
    config, arrays = _read(folder, model.config.tie_word_embeddings)
    config = replace(config, inference_mode=not trainable)
    _check(model, config, arrays, folder)
    place_adapter(model, config, name)
    for key, tensor in adapter_state(model, name).items():
        if not key.endswith(".base_layer.weight"):
            tensor.array[...] = arrays[key]
    return model


def _read(folder: Path, tied: bool) -> tuple[LoraConfig, dict[str, Array]]:
    """The configuration in a folder of PEFT's or mlx-lm's, and its tensors, under PEFT's names."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of an adapter")
    path = folder / WEIGHTS_NAME
    try:
        if path.exists():
            return LoraConfig.load(folder), load_file(path)
        if (folder / mlx_adapter.WEIGHTS_NAME).exists():
            return mlx_adapter.read_mlx(folder, PREFIX, tied)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{error}; get the adapter's files anew") from None
    pickled = (folder / "adapter_model.bin").exists()
    advice = "its weights are a pickle: convert them to safetensors" if pickled else "get the adapter's files anew"
    raise UserError(f"{folder} has no {WEIGHTS_NAME}; {advice}")


def _check(model: Llama, config: LoraConfig, arrays: Mapping[str, Array], folder: Path) -> None:
    """UserError listing everything for which folder and model do not fit."""
    targets = find_targets(model, config)
    expected: dict[str, tuple[int, ...]] = {}
    copies: dict[str, Any] = {}  # of weights of the base
    for path, target in targets.items():
        base: Any = target.layer.base if isinstance(target.layer, LoraLayer) else target.layer
        adapted = kind(base)
        for own, shape in adapted.shapes(base, target.r, config.use_dora).items():
            expected[f"{PREFIX}{path}.{adapted.names_in_file[own]}"] = shape
        if path.endswith(EMBEDDINGS):
            copies[f"{PREFIX}{path}.base_layer.weight"] = base
    for path, module in trained_biases(model, config, targets).items():
        expected[_bias(path, targets)] = module.bias.shape
    found = {name: array.shape for name, array in arrays.items() if name not in copies}
    problems = [f"missing: {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected: {name}" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        if found[name] != tuple(expected[name]):
            problems.append(f"misshaped: {name} is {found[name]}, for the model it must be {tuple(expected[name])}")
        elif str(arrays[name].dtype) not in FLOATS:
            problems.append(f"{name} is {arrays[name].dtype}: it must be one of {', '.join(FLOATS)}")
    problems += [
        f"{name} is not the model's: the adapter was made for another one"
        for name, base in copies.items()
        if name in arrays and not _is_copy(arrays[name], base)
    ]
    if problems:
        raise UserError(f"{folder} does not fit the model; " + "; ".join(problems))


def _is_copy(array: Array, base: Any) -> bool:
    """Whether an array holds the base's weight, in whatever dtype."""
    if isinstance(base, QuantizedLinear):
        return True  # a quantized weight is not the one that it was made of
    weight = base.weight.detach().array
    narrow = min((array.dtype, weight.dtype), key=lambda dtype: dtype.itemsize)
    return array.shape == weight.shape and np.array_equal(array.astype(narrow), weight.astype(narrow))
