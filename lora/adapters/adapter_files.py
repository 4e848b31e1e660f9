"""An adapter's folder, as PEFT reads and writes it: adapter_config.json and adapter_model.safetensors.

For a layer `model.layers.0.self_attn.q_proj`, the names that follow "base_model.model." and the layer's name:

    .lora_A.weight (r, in)    .lora_B.weight (out, r)    .lora_magnitude_vector (out,), for DoRA
    .lora_embedding_A (r, V)  .lora_embedding_B (C, r)   of an embedding
    .base_layer.bias, or .bias where the layer has no adapter, of biases that were trained
    .base_layer.weight, or .weight where the layer has no adapter, a copy of an embedding's or the head's
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lora.adapters import mlx_adapter
from lora.adapters.adapter_config import CONFIG_NAME, LoraConfig
from lora.adapters.attached import check_known, lora_layers, place_adapter, trained_biases
from lora.adapters.layers import LoraLayer, kind
from lora.adapters.targets import find_targets
from lora.model.llama import Llama
from lora.model.quantized import QuantizedLinear
from lora.model.training_record import FILE, encoded, remember
from tinytorch import Tensor
from tinytorch.cli.errors import UserError, printable
from tinytorch.cli.reading import one_line, read_object, reading
from tinytorch.files import atomic_write, flush_folder, unfinished
from tinytorch.safetensors import SafetensorError, load_file, refuse_mapped, save_file

Array = np.ndarray[Any, Any]

WEIGHTS_NAME = "adapter_model.safetensors"
PREFIX = "base_model.model."
EMBEDDINGS = ("embed_tokens", "lm_head")  # layers whose own weight an adapter's file may hold too
SHOWN = 12  # the most problems that one error lists
FLOATS = ("bfloat16", "float16", "float32", "float64")


def save_adapter(
    model: Llama, folder: str | Path, name: str = "default", training: Mapping[str, Any] | None = None
) -> None:
    """Write an adapter to a folder that PEFT can read too, along with a record of its training.

    An adapter already in the folder stays intact until the new one is written in full, beside it. If the process is
    killed while the files are exchanged, the folder has no configuration, and `load_adapter` says so. Raises UserError
    if it cannot be written.
    """
    check_known(model, name)
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder: choose another path to save to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder, adapter_state(model, name), model.peft_config[name].to_json(), training)
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot save to {folder}: {error}") from None


def _replace(folder: Path, state: dict[str, Tensor], config: bytes, training: Mapping[str, Any] | None) -> None:
    weights, settings, record = folder / WEIGHTS_NAME, folder / CONFIG_NAME, folder / FILE
    described = {settings: config, record: b"" if training is None else encoded(training)}
    refuse_mapped(weights)
    new = unfinished(weights)
    try:
        save_file(state, new, {"format": "pt"})
        with atomic_write(settings) as file:
            file.write(config)
            file.flush()
            if any(path.exists() and path.read_bytes() != content for path, content in described.items()):
                settings.unlink(missing_ok=True)  # so that new weights are never read with the old scaling
                flush_folder(folder)
            if training is not None:
                remember(folder, training)
            else:  # a record left by an earlier adapter does not describe this one
                record.unlink(missing_ok=True)
            os.replace(new, weights)
            flush_folder(folder)
    finally:
        new.unlink(missing_ok=True)


def adapter_state(model: Llama, name: str) -> dict[str, Tensor]:
    """The tensors of an adapter by their names in the file, sharing memory with the model."""
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

    Its tensors are converted to the dtype that the model computes in. If tensors are missing, unexpected or of the
    wrong shape, a UserError lists them and the model stays as it was.
    """
    folder = Path(folder)
    config, arrays = _read(folder, model.config.tie_word_embeddings)
    if trainable and config.init_lora_weights == "mica":
        raise UserError(f"{folder} was made by MiCA, which trains A alone: it can be used, but not trained further")
    config = replace(config, inference_mode=not trainable)
    with reading(folder):
        _check(model, config, arrays, folder)
    place_adapter(model, config, name)
    for key, tensor in adapter_state(model, name).items():
        if not key.endswith(".base_layer.weight"):
            tensor.array[...] = arrays[key]
    return model


def _read(folder: Path, tied: bool) -> tuple[LoraConfig, dict[str, Array]]:
    """The configuration and tensors in a folder written by PEFT or mlx-lm, under PEFT's names."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of an adapter")
    path = folder / WEIGHTS_NAME
    try:
        if path.exists():
            config = LoraConfig.load(folder)
            return (_with_tied_head(config) if tied and _ties(folder) else config), load_file(path)
        if (folder / mlx_adapter.WEIGHTS_NAME).exists():
            return mlx_adapter.read_mlx(folder, PREFIX, tied)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{one_line(str(error))}; get the adapter's files anew") from None
    pickled = (folder / "adapter_model.bin").exists()
    advice = "its weights are a pickle: convert them to safetensors" if pickled else "get the adapter's files anew"
    raise UserError(f"{folder} has no {WEIGHTS_NAME}; {advice}")


def _ties(folder: Path) -> bool:
    return read_object(folder / CONFIG_NAME).get("ensure_weight_tying") is True


def _with_tied_head(config: LoraConfig) -> LoraConfig:
    """With ensure_weight_tying, PEFT adapts a tied head along with the embedding but lists only the embedding."""
    names = config.target_modules
    if not isinstance(names, list) or not any(name.split(".")[-1] == "embed_tokens" for name in names):
        return config
    return replace(config, target_modules=list(dict.fromkeys([*names, "lm_head"])))


def _check(model: Llama, config: LoraConfig, arrays: Mapping[str, Array], folder: Path) -> None:
    """UserError that lists everything in which folder and model disagree."""
    targets = find_targets(model, config)
    expected: dict[str, tuple[int, ...]] = {}
    copies: dict[str, Any] = {}  # copies of the base's weights
    for path, target in targets.items():
        base: Any = target.layer.base if isinstance(target.layer, LoraLayer) else target.layer
        adapted = kind(base)
        for own, shape in adapted.shapes(base, target.r, config.use_dora).items():
            expected[f"{PREFIX}{path}.{adapted.names_in_file[own]}"] = shape
    for path in ("model.embed_tokens", "lm_head"):
        layer: Any = model.get_submodule(path)
        name = "base_layer.weight" if path in targets else "weight"
        copies[f"{PREFIX}{path}.{name}"] = layer.base if isinstance(layer, LoraLayer) else layer
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
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise UserError(printable(f"{folder} does not fit the model; " + "; ".join(problems[:SHOWN] + more)))


def _is_copy(array: Array, base: Any) -> bool:
    """Whether an array is a copy of the base's weight, in any dtype."""
    if isinstance(base, QuantizedLinear):
        return True  # a quantized weight cannot be compared with the one it was made from
    weight = base.weight.detach().array
    narrow = min((array.dtype, weight.dtype), key=lambda dtype: dtype.itemsize)
    return array.shape == weight.shape and np.array_equal(array.astype(narrow), weight.astype(narrow))
