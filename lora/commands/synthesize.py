"""Random weights in the shapes of a real model, to measure loading, memory and speed at its size."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal

import ml_dtypes
import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lora.model.config import LlamaConfig
from lora.model.shapes import SHAPES
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import LazyTensor
from tinytorch.safetensors_shards import save_shards
from tinytorch.training.folders import new_folder

Array = np.ndarray[Any, Any]

DTYPES = {"fp32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16), "fp16": np.dtype(np.float16)}

_QUANTILES = 65_536
_BLOCK = 2**18  # draws at a time, so that they and their table stay in the cache
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class SynthesizeConfig:
    """Write a checkpoint with random weights in the shapes of a real model, for measurements. It has no tokenizer."""

    like: Annotated[str, tyro.conf.arg(help=f"{', '.join(SHAPES)}, or a folder with a config.json.")] = "llama-3.2-1b"

    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Dtype of the weights."""

    out: Path | None = None
    """Folder to write; it must not exist yet, or be empty. By default runs/LIKE-DTYPE."""

    seed: int = 1337
    """Seed of the weights; the same seed gives the same files."""

    max_shard_size: str = "5GB"
    """The most weights in one file, in bytes or with a unit: KB, MB, GB, KiB, MiB, GiB."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}: it must not be negative")
        if self.shard_bytes <= 0:
            raise UserError(f"max_shard_size is {self.max_shard_size}: it must be positive")

    @property
    def shard_bytes(self) -> int:
        size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?b)?", self.max_shard_size.strip(), re.IGNORECASE)
        if size is None:
            raise UserError(f"max_shard_size is {self.max_shard_size!r}: give bytes or a size such as 5GB or 500MiB")
        return int(float(size[1]) * _UNITS[(size[2] or "").upper()])

    @property
    def folder(self) -> Path:
        return self.out or Path("runs") / f"{Path(self.like).name}-{self.dtype}"


def synthesize(options: SynthesizeConfig) -> int:
    """Run the command and return its exit code."""
    console = Console(soft_wrap=True)
    config = shape_of(options.like)
    shapes = weight_shapes(config)
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    size = count * DTYPES[options.dtype].itemsize
    console.print(f"{count:,} parameters, {size / 1e9:.2f} GB in {options.dtype}, to {options.folder}")
    started = time.perf_counter()
    with _progress(size) as advance:
        files = write(options, config, advance)
    console.print(f"{len(files)} file(s) of weights and config.json in {time.perf_counter() - started:.1f} s")
    console.print("There is no tokenizer for random weights: to read text, put one of the same vocabulary beside them.")
    return 0


def shape_of(like: str) -> LlamaConfig:
    """The configuration of a model in SHAPES, or in a folder; UserError if there is none."""
    if like in SHAPES:
        return LlamaConfig.from_dict(SHAPES[like])
    if not Path(like).is_dir():
        raise UserError(f"no shape {like!r} is known: give one of {', '.join(SHAPES)}, or a folder with a config.json")
    return LlamaConfig.load(Path(like))


def weight_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """The tensors of a checkpoint and their shapes, in transformers' order. A tied head is not stored."""
    C, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    linears = {
        **{"self_attn.q_proj": (queries, C), "self_attn.k_proj": (keys, C), "self_attn.v_proj": (keys, C)},
        **{"self_attn.o_proj": (C, queries)},
        **{"mlp.gate_proj": (inner, C), "mlp.up_proj": (inner, C), "mlp.down_proj": (C, inner)},
    }
    layer: dict[str, tuple[int, ...]] = {}
    for name, shape in linears.items():
        layer[f"{name}.weight"] = shape
        if config.mlp_bias if name.startswith("mlp") else config.attention_bias:
            layer[f"{name}.bias"] = shape[:1]
    layer |= {"input_layernorm.weight": (C,), "post_attention_layernorm.weight": (C,)}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, C)}
    for i in range(config.num_hidden_layers):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (C,)
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, C)
    return shapes


def write(options: SynthesizeConfig, config: LlamaConfig, advance: Callable[[int], None]) -> list[str]:
    """Write the folder, one tensor in memory at a time; `advance(bytes)` reports each. Returns the weights' files."""
    with new_folder(options.folder) as folder:
        tensors = list(_tensors(options, config, advance))
        _check_space(sum(tensor.nbytes for tensor in tensors), options.folder)
        files = save_shards(tensors, folder, max_shard_size=options.shard_bytes)
        config.save(folder, str(DTYPES[options.dtype]))
    return files


def _check_space(size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder.parent).free
    needed = size + 2**26  # headers, and some room to spare
    if free < needed:
        raise UserError(
            f"{folder} needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free: "
            "make room, or give an --out elsewhere"
        )


def _tensors(options: SynthesizeConfig, config: LlamaConfig, advance: Callable[[int], None]) -> Iterator[LazyTensor]:
    dtype = DTYPES[options.dtype]
    quantiles = _normal_quantiles(config.initializer_range).astype(dtype)

    def make(index: int, name: str, shape: tuple[int, ...]) -> Array:
        if name.endswith("norm.weight"):
            array = np.ones(shape, dtype)
        elif name.endswith(".bias"):
            array = np.zeros(shape, dtype)
        else:
            array = _draw(quantiles, shape, np.random.default_rng([options.seed, index]))
        advance(array.nbytes)
        return array

    for index, (name, shape) in enumerate(weight_shapes(config).items()):
        yield LazyTensor(name, shape, dtype, partial(make, index, name, shape))


def _normal_quantiles(deviation: float) -> Array:
    """The medians of 65,536 equally probable parts of a normal distribution, (65536,) float64."""
    inverse = NormalDist(0.0, deviation).inv_cdf
    return np.array([inverse((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)])


def _draw(quantiles: Array, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Elements of `quantiles`, drawn with equal probability: 16 random bits per weight, and no arithmetic."""
    array = np.empty(shape, quantiles.dtype)
    bits = np.dtype(f"u{quantiles.itemsize}")  # NumPy indexes integers faster than dtypes that are not its own
    table, flat = quantiles.view(bits), array.view(bits).reshape(-1)
    for begin in range(0, flat.size, _BLOCK):
        block = flat[begin : begin + _BLOCK]
        # mode="clip" because the default would make a copy; no index is out of range
        np.take(table, generator.integers(0, _QUANTILES, block.size, np.uint16), out=block, mode="clip")
    return array


@contextmanager
def _progress(size: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal; yields the function that advances it."""
    columns = TextColumn("weights"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("weights", total=size)
        yield lambda written: progress.advance(task, written)
