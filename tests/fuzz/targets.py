"""What reads files that others wrote: a folder as it should be, which of its files are damaged, and who reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

import tinytorch
from gpt.config import GPTConfig, TrainConfig
from gpt.presets import build_model
from gpt.run import load_model
from lora import Llama, LoraConfig, add_adapter, load_adapter, save_adapter
from lora.commands.quantize import quantize_folder
from lora.model.checkpoint import check_sizes
from lora.model.config import LlamaConfig
from lora.model.default_model import default_model
from lora.model.foreign_settings import MATTERS
from lora.model.rope import RopeScaling
from lora.text.chat_template import ChatTemplate
from lora.text.data import load_data
from lora.text.tokenizer import Tokenizer
from tests.fuzz.templates import template
from tests.fuzz.trees import damaged, mutated, written
from tinytorch.safetensors import load_file, save_file
from tinytorch.safetensors_shards import INDEX, SINGLE, save_shards
from tinytorch.training import checkpoint, metrics

TALK = [{"role": "user", "content": "What is <s> a dict?\n"}, {"role": "assistant", "content": "A 😀 mapping. "}]
TEXTS = ("", "The dict", " two  spaces\n\n\ttab ", "naïve Ω 日本 😀", "<|begin_of_text|>a<|eot_id|>", "a" * 500)
SHAPE: dict[str, Any] = {
    "vocab_size": 1536, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
KEYS = [
    *(f.name for settings in (LlamaConfig, RopeScaling, LoraConfig) for f in fields(settings)), *MATTERS,
    "architectures", "model_type", "hidden_act", "rope_parameters", "quantization_config", "quant_method", "scheme",
    "group_size", "eos_token_id", "bos_token_id", "type", "added_tokens_decoder", "added_tokens", "chat_template",
    "eos_token", "pad_token", "legacy", "content", "id", "special", "peft_type", "modules_to_save", "lora_parameters",
    "fine_tune_type", "rank", "scale", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "vocab",
    "merges", "truncation", "padding", "dtype", "shape", "data_offsets", "__metadata__", "weight_map", "iter", "loss",
    "messages", "role", "prompt", "completion", "text", "config", "tensors", "sha256", "format", "vocabulary",
]  # fmt: skip


class Target(NamedTuple):
    """Something to damage and to read. `make` gives the folder as it should be, once."""

    make: Callable[[Path], None]
    files: tuple[str, ...]  # one of them is damaged
    read: Callable[[Path], object]
    damage: Callable[[bytes, Random], bytes]


def _json(content: bytes, rng: Random) -> bytes:
    return written(mutated(json.loads(content), rng, KEYS), rng)


def _lines(content: bytes, rng: Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    if rng.random() < 0.2:
        return damaged(content, rng)
    line = written(mutated(json.loads(lines[place]), rng, KEYS), rng, wide=False)
    lines[place] = line.replace(b"\n", b" ") + rng.choice((b"\n", b"\n", b"\r\n", b""))
    return b"".join(lines)


def _header(content: bytes, rng: Random) -> bytes:
    """Of a safetensors file; its length is mostly told as it is then."""
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.3:
        return damaged(content, rng)
    # The names of real headers take as much memory as they do: twenty times their bytes.
    tree = rng.random() < 0.8
    header = written(mutated(json.loads(header), rng, KEYS), rng, wide=False) if tree else damaged(header, rng)
    told = len(header) if rng.random() < 0.9 else rng.choice((0, 7, len(header) + 1, 10**8, 2**63, 2**64 - 1))
    return told.to_bytes(8, "little") + header + (damaged(data, rng) if data and rng.random() < 0.2 else data)


def _template(content: bytes, rng: Random) -> bytes:
    text = template(rng) if rng.random() < 0.9 else damaged(content, rng).decode("utf-8", "ignore")
    return text.encode()


# What folders hold ----------------------------------------------------------------------------------


def _tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(default_model() / name, folder / name)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 4], "pad_token_id": 5}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"unk_token": {"content": "<unk>", "lstrip": False}}))
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m['content'] }}\n{% endfor %}")


def _model(folder: Path, **changes: Any) -> None:
    tinytorch.manual_seed(0)
    Llama(LlamaConfig(**{**SHAPE, **changes})).save_pretrained(folder)
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    content = json.loads((folder / "config.json").read_text())
    content |= {"eos_token_id": [1, 4], "rope_scaling": scaling, "sliding_window": None, "use_cache": True}
    (folder / "config.json").write_text(json.dumps(content))


def _quantized(folder: Path) -> None:
    _model(folder / "whole", hidden_size=64, intermediate_size=64)
    quantize_folder(folder / "whole", folder / "new", "nf4")
    shutil.rmtree(folder / "whole")
    for path in (folder / "new").iterdir():
        path.rename(folder / path.name)
    (folder / "new").rmdir()


def _shards(folder: Path) -> None:
    _model(folder)
    save_shards({name: array.copy() for name, array in load_file(folder / SINGLE).items()}, folder, max_shard_size=2000)


def _adapter(folder: Path) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 1}, alpha_pattern={"q": 4})
    save_adapter(add_adapter(_small(), config), folder)


def _mlx_adapter(folder: Path) -> None:
    name = "model.layers.0.self_attn.q_proj"
    arrays = {f"{name}.lora_a": np.ones((8, 2), np.float32), f"{name}.lora_b": np.ones((2, 8), np.float32)}
    save_file(arrays, folder / "adapters.safetensors")
    parameters = {"rank": 2, "scale": 1.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]}
    content = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters, "model": "some/model"}
    (folder / "adapter_config.json").write_text(json.dumps(content))


def _small() -> Llama:
    return Llama(LlamaConfig(**SHAPE), initialize=False)


def _run(folder: Path) -> None:
    config = TrainConfig(out=folder, model=GPTConfig(vocab_size=3, block_size=4, n_layer=1, n_head=1, n_embd=4))
    weights = build_model(config.architecture, config.model).state_dict()
    values = {"config": config.to_json(), "vocabulary": "abc", "iteration": 1, "best_val_loss": 1.0, "seconds": 1.0}
    checkpoint.save(folder, "best", {f"model.{name}": p.numpy() for name, p in weights.items()}, values)


def _metrics(folder: Path) -> None:
    records = [{"iter": i, "loss": 2.5, "lr": 0.1, "grad_norm": 1.0} for i in range(3)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))


def _data(folder: Path) -> None:
    _tokenizer(folder)
    records: list[Any] = [{"text": "a"}, {"prompt": "a", "completion": "b"}, {"messages": TALK}]
    (folder / "data.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))


# Who reads them -------------------------------------------------------------------------------------


def _use_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    tokenizer.restrict(1536)
    for text in TEXTS:
        tokenizer.decode(tokenizer.encode(text))
    if tokenizer.has_chat_template:
        tokenizer.apply_chat_template(TALK, add_generation_prompt=True)


def _use_model(folder: Path) -> None:
    Llama.from_pretrained(folder, "auto")
    check_sizes(LlamaConfig.load(folder), folder)


def _use_template(folder: Path) -> None:
    ChatTemplate((folder / "chat_template.jinja").read_text("utf-8"), {"eos_token": "</s>"}).render(TALK)


TARGETS = {
    "config": Target(_model, ("config.json", "generation_config.json"), _use_model, _json),
    "quantized": Target(_quantized, ("config.json",), _use_model, _json),
    "weights": Target(_model, (SINGLE,), _use_model, _header),
    "file": Target(_model, (SINGLE,), lambda folder: load_file(folder / SINGLE), _header),
    "index": Target(_shards, (INDEX,), _use_model, _json),
    "tokenizer": Target(_tokenizer, ("tokenizer.json",), _use_tokenizer, _json),
    "tokenizer settings": Target(
        _tokenizer, ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json"), _use_tokenizer,
        _json,
    ),
    "template": Target(_tokenizer, ("chat_template.jinja",), _use_template, _template),
    "template's bytes": Target(_tokenizer, ("chat_template.jinja",), _use_tokenizer, damaged),
    "adapter": Target(_adapter, ("adapter_config.json",), lambda folder: load_adapter(_small(), folder), _json),
    "adapter's weights": Target(
        _adapter, ("adapter_model.safetensors",), lambda folder: load_adapter(_small(), folder), _header
    ),
    "mlx adapter": Target(_mlx_adapter, ("adapter_config.json",), lambda folder: load_adapter(_small(), folder), _json),
    "run": Target(_run, ("best.json",), lambda folder: load_model(folder, "best"), _json),
    "metrics": Target(_metrics, ("metrics.jsonl",), lambda folder: metrics.read(folder / "metrics.jsonl"), _lines),
    "data": Target(
        _data, ("data.jsonl",), lambda folder: load_data(folder / "data.jsonl", Tokenizer.from_pretrained(folder), 64),
        _lines,
    ),
}  # fmt: skip
