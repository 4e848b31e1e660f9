"""Adapters that mlx-lm wrote: adapter_config.json, with keys of its own, and adapters.safetensors.

Its matrices are the transposes of PEFT's, `.lora_a` (in, r) and `.lora_b` (r, out), so a mix-up in a square layer
would go unnoticed. DoRA's magnitude is `.m`, and the product is multiplied by `scale`, not by alpha / r.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lora.adapters.adapter_config import CONFIG_NAME, LoraConfig, read_config
from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import reading
from tinytorch.safetensors import load_file

Array = np.ndarray[Any, Any]

WEIGHTS_NAME = "adapters.safetensors"
_EMBEDDING = "model.embed_tokens"
_NAMES = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
_NAMES_OF_EMBEDDING = {"lora_a": "lora_embedding_A", "lora_b": "lora_embedding_B"}


def read_mlx(folder: Path, prefix: str, tied: bool) -> tuple[LoraConfig, dict[str, Array]]:
    """The configuration and the tensors as PEFT would have them, with names that begin with `prefix`.

    `tied` says whether the model's head is tied to the embedding. UserError if PEFT has no such adapter.
    """
    arrays = load_file(folder / WEIGHTS_NAME)
    layers = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
    config = _config(folder / CONFIG_NAME, list(layers))
    if _EMBEDDING in layers and tied:
        raise UserError(f"{folder} adapts a tied embedding, and with it the head, in mlx-lm: it cannot be imported")
    if _EMBEDDING in layers and config.use_dora:
        # mlx-lm's magnitudes belong to the rows of the table, PEFT's to its columns.
        raise UserError(f"{folder} has DoRA on the embedding, which mlx-lm defines differently: it cannot be imported")
    return config, {_converted(name, prefix): _transposed(array) for name, array in arrays.items()}


def _config(path: Path, layers: list[str]) -> LoraConfig:
    given = read_config(path)
    with reading(path):
        kind = given.get("fine_tune_type", "lora")
        if kind not in ("lora", "dora"):
            raise UserError(f"fine_tune_type is {json.dumps(kind)}: only lora and dora are adapters")
        values: Any = given.get("lora_parameters")
        if not isinstance(values, dict) or not all(isinstance(values.get(x), (int, float)) for x in ("rank", "scale")):
            raise UserError("lora_parameters must have a rank and a scale")
        rank, scale = values["rank"], values["scale"]
        return LoraConfig(
            r=rank,
            lora_alpha=scale * rank,
            lora_dropout=values.get("dropout", 0.0),
            target_modules=layers,
            use_dora=kind == "dora",
            base_model_name_or_path=given.get("model"),
        )


def _converted(name: str, prefix: str) -> str:
    layer, _, own = name.rpartition(".")
    names = _NAMES_OF_EMBEDDING if layer == _EMBEDDING else _NAMES
    return f"{prefix}{layer}.{names.get(own, own)}"


def _transposed(array: Array) -> Array:
    return np.ascontiguousarray(array.T)
