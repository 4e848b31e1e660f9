"""A Llama from a folder in Hugging Face's format, and back: config.json, model.safetensors or its shards.

Everything that can be wrong with a folder is found before the first weight is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tinytorch.nn as nn
from lora.config import LlamaConfig
from lora.llama import Llama
from lora.quantized import KEY, Quantization, dense_state, make_quantized, quantized_layers
from programs.errors import UserError
from tinytorch import Tensor
from tinytorch.safetensors import SafetensorError
from tinytorch.safetensors_shards import SINGLE, open_shards, save_shards

Array = np.ndarray[Any, Any]

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
STORED = ("bfloat16", "float16", "float32", "float64")


def load(folder: str | Path, dtype: str = "float32") -> Llama:
    """See `Llama.from_pretrained`."""
    if dtype not in ("float32", "float64", "auto"):
        raise UserError(f"dtype is {dtype!r}: it must be float32, float64 or auto")
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder: give one that holds config.json and {SINGLE} "
            "(a model's name on Hugging Face must be downloaded first)"
        )
    config = LlamaConfig.load(folder)
    check_tokenizer(folder, config)
    model = Llama(config, initialize=False)
    if (quantization := Quantization.of(config.other)) is not None:
        make_quantized(model, quantization)
    _assign(model, check_tensors(model, folder), dtype)
    return model


def save(model: Llama, folder: str | Path) -> None:
    """See `Llama.save_pretrained`."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder: choose another path to save to")
    config, state = model.config, model.state_dict()
    if KEY in config.other and quantized_layers(model):
        # Merged layers are quantized no more, and a folder has all layers quantized or none.
        config = replace(config, other={name: value for name, value in config.other.items() if name != KEY})
        state = dense_state(model)
    state = {name: tensor for name, tensor in state.items() if ".adapters." not in name}
    # A merged adapter unties the head.
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    if tied:
        del state[HEAD]
    try:
        config = replace(config, tie_word_embeddings=tied)
        save_shards(state, folder, companions={"config.json": config.to_json(str(state[EMBEDDING].dtype))})
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot save to {folder}: {error}") from None


def check_tokenizer(folder: Path, config: LlamaConfig) -> None:
    """UserError where tokenizer.json, if there is one, has an id for which the embedding has no row."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return
    content = _read_json(path)
    try:
        vocabulary = content["model"]["vocab"]
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        highest = max([*ids, *(token["id"] for token in content.get("added_tokens") or ())], default=-1)
    except (KeyError, TypeError):
        raise UserError(f"{path} is not a tokenizer: get it anew") from None
    if highest >= config.vocab_size:
        raise UserError(
            f"{path} has tokens up to {highest}, but the embedding has {config.vocab_size} rows (vocab_size): "
            "take the tokenizer that belongs to the model"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}; get it anew") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; get it anew")
    return content


def _read(folder: Path) -> dict[str, Array]:
    """The tensors of the folder's one file or of its shards, mapped."""
    try:
        with open_shards(folder) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        if any(folder.glob("pytorch_model*.bin")) and not any(folder.glob("*.safetensors")):
            advice = "its weights are pickles (pytorch_model.bin): convert them to safetensors"
        else:
            advice = "get the model's files anew, all of them"
        raise UserError(f"{error}; {advice}") from None


def check_tensors(model: Llama, folder: Path) -> dict[str, Array]:
    """The model's tensors in a folder, mapped, once it is clear that nothing is missing, left over or misshapen."""
    stored = _read(folder)
    own, frozen = model.state_dict(), dict(model.named_buffers())
    # Old checkpoints keep the frequencies of the positions, which config.json gives.
    stored = {name: array for name, array in stored.items() if not name.endswith("rotary_emb.inv_freq")}
    if model.config.tie_word_embeddings:
        head = stored.pop(HEAD, None)
        del own[HEAD]
        if head is not None and EMBEDDING in stored and not np.array_equal(head, stored[EMBEDDING]):
            raise UserError(
                f"{folder} has an {HEAD} that differs from the embedding, but its config.json ties them: "
                "set tie_word_embeddings to false"
            )
    elif HEAD not in stored and EMBEDDING in stored:
        raise UserError(
            f"{folder} has no {HEAD}, but its config.json does not tie it to the embedding: "
            "set tie_word_embeddings to true, or get the file that holds it"
        )
    missing, unexpected = own.keys() - stored.keys(), stored.keys() - own.keys()
    if missing:
        raise UserError(f"{folder} lacks {_some(missing)}: config.json and weights must belong together")
    if unexpected:
        raise UserError(f"{folder} has {_some(unexpected)}, for which config.json has no place: is it another model's?")
    for name, tensor in own.items():
        found, expected = stored[name].shape, tuple(tensor.shape)
        if found != expected:
            raise UserError(f"{name} in {folder} has shape {found}, but config.json makes it {expected}")
        dtype, allowed = str(stored[name].dtype), (str(tensor.dtype),) if name in frozen else STORED
        if dtype not in allowed:
            raise UserError(f"{name} in {folder} is {dtype}: take the weights in {', '.join(allowed)}")
    return {name: stored[name] for name in own}


def _some(names: Any) -> str:
    """The first of some names, and how many more there are."""
    first, *rest = sorted(names)
    return f"{first} and {len(rest)} more" if rest else first


def _assign(model: Llama, state: Mapping[str, Array], dtype: str) -> None:
    """Put arrays in the places of parameters: as they are and frozen, or converted copies to train.

    Buffers, which are codes and scales of quantized weights, are always as they are.
    """
    frozen = dict(model.named_buffers())
    for name, array in state.items():
        path, _, attribute = name.rpartition(".")
        if name in frozen:
            setattr(model.get_submodule(path), attribute, Tensor(array))
            continue
        value = Tensor(array if dtype == "auto" else array.astype(dtype))
        setattr(model.get_submodule(path), attribute, nn.Parameter(value, requires_grad=dtype != "auto"))
    if model.config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
