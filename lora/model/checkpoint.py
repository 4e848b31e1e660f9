"""Loading and saving a Llama in Hugging Face's format: config.json, and model.safetensors or its shards.

Whatever is wrong with a folder is found before the first weight is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tinytorch.nn as nn
from lora.model.config import LlamaConfig
from lora.model.folders import check_folder
from lora.model.generation_config import NAME as GENERATION
from lora.model.generation_config import encoded, load_generation_config
from lora.model.quantized import KEY, Quantization, dense_state, make_quantized, quantized_layers
from tinytorch import Tensor
from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import one_line
from tinytorch.safetensors import SafetensorError
from tinytorch.safetensors_shards import open_shards, save_shards

if TYPE_CHECKING:
    from lora.model.llama import Llama

Array = np.ndarray[Any, Any]

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
STORED = ("bfloat16", "float16", "float32", "float64")


def load(kind: type[Llama], folder: str | Path, dtype: str) -> Llama:
    """See `Llama.from_pretrained`."""
    if dtype not in ("float32", "float64", "auto"):
        raise UserError(f"dtype is {dtype!r}: it must be float32, float64 or auto")
    folder = Path(folder)
    check_folder(folder)
    config = LlamaConfig.load(folder)
    generation_config = load_generation_config(folder)
    check_sizes(config, folder)
    model = kind(config, initialize=False)
    if (quantization := Quantization.of(config.other)) is not None:
        make_quantized(model, quantization)
    _assign(model, check_tensors(model, folder), dtype)
    model.generation_config = generation_config
    return model


def save(model: Llama, folder: str | Path) -> None:
    """See `Llama.save_pretrained`."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder: choose another path to save to")
    config, state = model.config, model.state_dict()
    if KEY in config.other and quantized_layers(model):
        # Merged layers are no longer quantized, and a folder has either all layers quantized or none.
        config = replace(config, other={name: value for name, value in config.other.items() if name != KEY})
        state = dense_state(model)
    state = {name: tensor for name, tensor in state.items() if ".adapters." not in name}
    # A merged adapter unties the head.
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    if tied:
        del state[HEAD]
    try:
        config = replace(config, tie_word_embeddings=tied)
        companions = {"config.json": config.to_json(str(state[EMBEDDING].dtype))}
        if model.generation_config:
            companions[GENERATION] = encoded(model.generation_config)
        save_shards(state, folder, companions=companions)
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot save to {folder}: {error}") from None


@contextmanager
def _opened(folder: Path) -> Iterator[open_shards]:
    """Open the folder's one file or its shards; UserError if something is wrong with them."""
    try:
        with open_shards(folder) as file:
            yield file
    except (SafetensorError, OSError) as error:
        if any(folder.glob("pytorch_model*.bin")) and not any(folder.glob("*.safetensors")):
            advice = "its weights are pickles (pytorch_model.bin): convert them to safetensors"
        else:
            advice = "get the model's files anew, all of them"
        raise UserError(f"{one_line(str(error))}; {advice}") from None


def check_sizes(config: LlamaConfig, folder: Path) -> None:
    """UserError if the weights in a folder differ in size from config.json, judging by their headers alone.

    Called before a model is built, which would be as large as config.json says, and that may be anything.
    """
    with _opened(folder) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    C, D = config.hidden_size, config.head_dim
    layer = "model.layers.0"
    rows = {
        EMBEDDING: config.vocab_size,
        f"{layer}.self_attn.q_proj.weight": config.num_attention_heads * D,
        f"{layer}.self_attn.k_proj.weight": config.num_key_value_heads * D,
        f"{layer}.mlp.gate_proj.weight": config.intermediate_size,
        f"{layer}.mlp.down_proj.weight": C,
    }
    missing = rows.keys() - shapes.keys()
    if missing or config.num_hidden_layers > len(shapes):
        lacks = _some(missing) if missing else f"layers: there are {config.num_hidden_layers} in config.json"
        raise UserError(f"{folder} lacks {lacks}: config.json and weights must belong together")
    for name, expected in rows.items():
        # Quantized weights have the same number of rows, but not of columns.
        if shapes[name][:1] != (expected,):
            raise _misshapen(name, folder, shapes[name], f"{expected} rows")


def _misshapen(name: str, folder: Path, found: tuple[int, ...], expected: object) -> UserError:
    return UserError(f"{name} in {folder} has shape {found}, but config.json makes it {expected}")


def check_tensors(model: Llama, folder: Path) -> dict[str, Array]:
    """The model's tensors in a folder, memory-mapped, after checking that none is missing, unexpected or misshapen."""
    with _opened(folder) as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    own, frozen = model.state_dict(), dict(model.named_buffers())
    # Old checkpoints contain the rotary frequencies, which follow from config.json.
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
            raise _misshapen(name, folder, found, expected)
        dtype, allowed = str(stored[name].dtype), (str(tensor.dtype),) if name in frozen else STORED
        if dtype not in allowed:
            raise UserError(f"{name} in {folder} is {dtype}: take the weights in {', '.join(allowed)}")
    return {name: stored[name] for name in own}


def _some(names: Any) -> str:
    """The first few names, and how many more there are."""
    first, *rest = sorted(names)
    return f"{first} and {len(rest)} more" if rest else first


def _assign(model: Llama, state: Mapping[str, Array], dtype: str) -> None:
    """Assign arrays to the parameters: as they are, frozen, or as converted copies, trainable.

    Buffers, the codes and scales of quantized weights, are always assigned as they are.
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
