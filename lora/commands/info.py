"""Describe a checkpoint and the memory it needs, from its configuration and the headers of its files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from lora.adapters.training_memory import FLOAT32, PROGRAM, PROGRAM_BYTES, TrainingSettings, training
from lora.commands.loading import check_fit
from lora.model.checkpoint import check_sizes
from lora.model.config import LlamaConfig
from lora.model.default_model import default_model
from lora.model.folders import check_folder
from lora.model.llama import Llama
from lora.text.tokenizer import TOKENIZERS, Tokenizer
from tinytorch.safetensors_header import DTYPES
from tinytorch.safetensors_shards import open_shards

PARTS = {
    "embedding": "embed_tokens.",
    "attention": "self_attn.",
    "feed-forward": "mlp.",
    "normalisation": "norm.",
    "head": "lm_head.",
}


@dataclass(frozen=True)
class InfoConfig:
    """Describe a checkpoint: its shape, its parameters by part and by dtype, and the memory that it needs.

    Only headers are read, so this takes a moment for a model of any size.
    """

    model: Path = field(default_factory=default_model)
    """Folder of a checkpoint; the default is the model that ships with the project."""

    adapter: Path | None = None
    """Folder of an adapter for that model."""

    training: Annotated[TrainingSettings, tyro.conf.arg(name="")] = field(default_factory=TrainingSettings)
    """The adapter to train."""


class Stored(NamedTuple):
    """A tensor, as a file's header describes it."""

    name: str
    dtype: str
    numbers: int
    nbytes: int


def info(config: InfoConfig) -> int:
    """Run the command and return its exit code."""
    folder = config.model
    check_folder(folder)
    shape = LlamaConfig.load(folder)
    check_sizes(shape, folder)
    tensors = stored_tensors(folder)
    tokenizer = None
    if any((folder / name).exists() for name in TOKENIZERS):  # a model may lack a tokenizer, but not have a wrong one
        tokenizer = Tokenizer.from_pretrained(folder)
        check_fit(tokenizer, shape.vocab_size, folder)
    console = Console(soft_wrap=True)
    console.print(_sentence(shape, tokenizer), markup=False, highlight=False)
    parameters = _table("parameters", "tensors", "numbers", "bytes")
    for part, pattern in PARTS.items():
        _row(parameters, part, [tensor for tensor in tensors if pattern in tensor.name])
    parameters.add_section()
    for dtype in sorted({tensor.dtype for tensor in tensors}):
        _row(parameters, dtype, [tensor for tensor in tensors if tensor.dtype == dtype])
    parameters.add_section()
    _row(parameters, "all", tensors)
    console.print(parameters)
    console.print(_memory("memory, to write or to train all weights", memory_by_part(shape, tensors)))
    lora_config = config.training.lora_config(config.adapter)
    total, trained, memory = training(shape, sum(tensor.nbytes for tensor in tensors), lora_config, config.training)
    console.print(_memory(f"memory, to train an adapter of rank {lora_config.r}", memory))
    share = f"{100 * trained / total:.2g}%"
    console.print(f"{trained:,} of {total:,} parameters are then trained ({share})", highlight=False)
    return 0


def stored_tensors(folder: Path) -> list[Stored]:
    """The tensors in a checkpoint's headers; SafetensorError if a file is missing, damaged or truncated."""
    with open_shards(folder) as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    found = []
    for name, part in parts.items():
        dtype, numbers = part.get_dtype(), math.prod(part.get_shape())
        found.append(Stored(name, dtype, numbers, numbers * DTYPES[dtype].bits // 8))
    return found


def memory_by_part(shape: LlamaConfig, tensors: list[Stored]) -> dict[str, int]:
    """Bytes in memory when the model generates, and when all of it is trained."""
    count = count_parameters(shape)
    a_position = 2 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim * FLOAT32
    return {
        PROGRAM: PROGRAM_BYTES,
        "weights as stored": sum(tensor.nbytes for tensor in tensors),
        "weights in float32": count * FLOAT32,
        f"keys and values of {shape.max_position_embeddings:,} positions": shape.max_position_embeddings * a_position,
        "gradients, to train all weights": count * FLOAT32,
        "AdamW's two means, to train all weights": 2 * count * FLOAT32,
    }


def count_parameters(shape: LlamaConfig) -> int:
    """The number of parameters of a model of that shape, in whatever dtype they are stored."""
    return sum(p.numel() for p in Llama(shape, initialize=False).parameters())  # unwritten memory costs nothing


def size(nbytes: int) -> str:
    """Bytes in human-readable form: 2.6 MB."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    power = min(int(math.log10(nbytes)) // 3, 4)
    return f"{nbytes / 1000**power:.3g} {' kMGT'[power]}B"


def _sentence(shape: LlamaConfig, tokenizer: Tokenizer | None) -> str:
    tied = "the head is the embedding" if shape.tie_word_embeddings else "a head of its own"
    scaling = "" if shape.rope_scaling.rope_type == "default" else f", {shape.rope_scaling.rope_type} positions"
    vocabulary = "no tokenizer"
    if tokenizer is not None:
        chat = "a chat template" if tokenizer.has_chat_template else "no chat template"
        vocabulary = f"{tokenizer.vocab_size:,} tokens, {chat}"
    return (
        f"Llama: {shape.num_hidden_layers} layers of {shape.hidden_size} channels, {shape.num_attention_heads} heads "
        f"of {shape.head_dim} ({shape.num_key_value_heads} of keys and values), feed-forward "
        f"{shape.intermediate_size}, {tied}; context {shape.max_position_embeddings:,}{scaling}; "
        f"{vocabulary}"
    )


def _table(title: str, *columns: str) -> Table:
    table = Table()
    table.add_column(title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _memory(title: str, parts: dict[str, int]) -> Table:
    table = _table(title, "bytes")
    for what, nbytes in parts.items():
        table.add_row(what, size(nbytes))
    return table


def _row(table: Table, name: str, tensors: list[Stored]) -> None:
    if tensors:
        numbers = sum(tensor.numbers for tensor in tensors)
        table.add_row(name, str(len(tensors)), f"{numbers:,}", size(sum(tensor.nbytes for tensor in tensors)))
