"""Quantize the weights of a checkpoint to 8 or 4 bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import Progress

from lora.commands.info import size, stored_tensors
from lora.model.checkpoint import check_sizes, check_tensors
from lora.model.config import LlamaConfig
from lora.model.default_model import default_model
from lora.model.folders import check_folder
from lora.model.llama import Llama
from lora.model.quantized import KEY, Quantization, quantized_layers
from tinytorch.cli.errors import UserError
from tinytorch.dtypes import DTypeLike, bfloat16, float32, float64
from tinytorch.quantization import QuantizedWeight, layout, scale_arrays
from tinytorch.safetensors import LazyTensor
from tinytorch.safetensors_shards import open_shards, save_shards
from tinytorch.training.folders import new_folder

Array = np.ndarray[Any, Any]

# The files besides weights and config.json that a quantized model needs too.
COMPANIONS = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "generation_config.json", "training.json",
)  # fmt: skip


@dataclass(frozen=True)
class QuantizeConfig:
    """Write a checkpoint with quantized weights, for all other commands: it is smaller, and generates faster.

    All Linear layers but the head are quantized; the head, the embedding and the norms are written in 16 bits.
    """

    out: Path
    """Folder to write; it must not exist yet, or be empty."""

    model: Path = field(default_factory=default_model)
    """Folder of a checkpoint; the default is the model that ships with the project."""

    scheme: Literal["int8", "nf4"] = "nf4"
    """int8: 8 bits per number; nf4: 4 bits (QLoRA's NF4, with double quantization)."""

    group_size: int | None = None
    """With int8, how many numbers of a row share a scale: a power of two, at least 64; by default the whole row."""


def quantize(config: QuantizeConfig) -> int:
    """Run the command and return its exit code."""
    console = Console(soft_wrap=True)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("quantizing", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        quantize_folder(config.model, config.out, config.scheme, config.group_size, report)
    before, after = (sum(tensor.nbytes for tensor in stored_tensors(folder)) for folder in (config.model, config.out))
    console.print(f"{size(before)} of weights are {size(after)} in {config.scheme}, in {config.out}", highlight=False)
    return 0


def quantize_folder(
    source: str | Path,
    target: str | Path,
    scheme: str,
    group_size: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Quantize the Llama in the folder `source` into the new folder `target`; returns the files' names.

    Only one tensor at a time is in memory. Tensors that are not quantized are written in bfloat16, or unchanged if
    they have 16 bits. `report(done, total)` is called after each tensor. UserError names a bad folder or setting.
    """
    source, target = Path(source), Path(target)
    check_folder(source)
    config = LlamaConfig.load(source)
    if KEY in config.other:
        raise UserError(f"{source} is quantized already: take the model it was made from")
    quantization = Quantization(scheme, group_size).checked()
    check_sizes(config, source)
    model = Llama(config, initialize=False)
    names, weights = list(check_tensors(model, source)), {f"{name}.weight" for name in quantized_layers(model)}
    tensors = list(_tensors(source, names, weights, quantization))
    done = 0

    def made(tensor: LazyTensor) -> Array:
        nonlocal done
        array: Array = tensor.make()
        done += 1
        report(done, len(tensors))
        return array

    with new_folder(target) as folder:
        files = save_shards([tensor._replace(make=partial(made, tensor)) for tensor in tensors], folder)
        for name in COMPANIONS:
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
        replace(config, other={**config.other, KEY: quantization.to_dict()}).save(folder, "bfloat16")
    return files


def _tensors(
    source: Path, names: list[str], weights: set[str], quantization: Quantization
) -> Iterator[LazyTensor]:
    """The tensors of the new checkpoint. Each opens the old one only when it is made, so that no page stays mapped."""
    scheme, group_size = quantization
    with open_shards(source) as file:
        for name in names:
            array = file.get_tensor(name)
            if name in weights:
                for suffix, (dtype, shape) in layout(scheme, array.shape, group_size).items():
                    make = partial(_quantized, source, name, suffix, quantization)
                    yield LazyTensor(name + suffix, shape, np.dtype(dtype), make)
            else:
                stored = bfloat16 if array.dtype in (float32, float64) else array.dtype
                yield LazyTensor(name, array.shape, stored, partial(_read, source, name, stored))


def _read(source: Path, name: str, dtype: DTypeLike | None = None) -> Array:
    with open_shards(source) as file:
        return file.get_tensor(name, dtype)


def _quantized(source: Path, name: str, suffix: str, quantization: Quantization) -> Array:
    """One of a weight's arrays. Scales are written long before codes, and cheaper to compute again than to keep."""
    array = _read(source, name)
    try:
        if suffix:
            return scale_arrays(array, *quantization)[suffix]
        return QuantizedWeight.quantize(array, *quantization).codes
    except ValueError as error:
        raise UserError(f"{name} in {source}: {error}") from None
