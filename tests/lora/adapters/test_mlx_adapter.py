"""Adapters of mlx-lm, whose layers are written out here as its own documentation and files have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch.nn as nn
from lora import Llama, load_adapter, merge, save_adapter
from tests.lora.adapters.test_attached import IDS, logits
from tests.lora.model.test_llama import make
from tinytorch import Tensor
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import save_file

SCALE, RANK = 20.0, 3
SQUARE, OTHER = "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj"


class MlxLinear(nn.Module):
    """x W^T + scale (x a) b + bias, the rows of DoRA divided by their lengths and multiplied by m."""

    def __init__(self, base: Any, a: Any, b: Any, m: Any = None) -> None:
        super().__init__()
        weight = base.weight.detach().array + SCALE * (a @ b).T
        if m is not None:
            weight *= (m / np.linalg.norm(weight, axis=1))[:, None]
        self.weight = Tensor(weight)
        self.bias = base.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class MlxEmbedding(nn.Module):
    """w[i] + scale a[i] b"""

    def __init__(self, base: Any, a: Any, b: Any) -> None:
        super().__init__()
        self.weight = Tensor(base.weight.detach().array + SCALE * a @ b)

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(ids, self.weight)


def write(folder: Path, kind: str, names: tuple[str, ...], **config: Any) -> Llama:
    """An adapter's folder, and a model with its layers in place."""
    rng = np.random.default_rng(0)
    model = make(attention_bias=True)
    arrays = {}
    for name in names:
        layer = model.get_submodule(name)
        rows, columns = layer.weight.shape
        embedding = isinstance(layer, nn.Embedding)
        sizes = (rows, columns) if embedding else (columns, rows)
        own = {"lora_a": (sizes[0], RANK), "lora_b": (RANK, sizes[1])} | ({"m": (rows,)} if kind == "dora" else {})
        values = {key: 0.05 * rng.standard_normal(shape).astype(np.float32) for key, shape in own.items()}
        arrays |= {f"{name}.{key}": value for key, value in values.items()}
        adapted: Any = MlxEmbedding if embedding else MlxLinear
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, adapted(layer, *values.values()))
    folder.mkdir(exist_ok=True)
    save_file(arrays, folder / "adapters.safetensors")
    parameters = {"rank": RANK, "scale": SCALE, "dropout": 0.0, "keys": ["self_attn.q_proj"]}
    values = {"fine_tune_type": kind, "num_layers": 2, "lora_parameters": parameters, "model": "some/model", **config}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return model


@pytest.mark.parametrize(
    ("kind", "names"),
    [("lora", (SQUARE, OTHER)), ("dora", (SQUARE, OTHER)), ("lora", ("model.embed_tokens", "lm_head"))],
)
def test_it_computes_what_mlx_does(kind: str, names: tuple[str, ...], tmp_path: Path) -> None:
    expected = logits(write(tmp_path, kind, names))
    model = load_adapter(make(attention_bias=True), tmp_path)
    assert np.abs(logits(make(attention_bias=True)) - expected).max() > 0.01
    np.testing.assert_allclose(logits(model), expected, atol=1e-5)
    save_adapter(model, tmp_path / "peft")
    np.testing.assert_array_equal(logits(load_adapter(make(attention_bias=True), tmp_path / "peft")), logits(model))
    np.testing.assert_allclose(merge(model)(IDS).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "names", "config", "message"),
    [
        ("full", (SQUARE,), {}, 'fine_tune_type is "full"'),
        ("lora", (SQUARE,), {"lora_parameters": {"rank": 3}}, "lora_parameters must have a rank and a scale"),
        ("lora", (SQUARE,), {"lora_parameters": None}, "lora_parameters must have a rank and a scale"),
        ("lora", (SQUARE,), {"lora_parameters": {"rank": 4, "scale": 1.0}}, "misshaped: .*q_proj.lora_A.weight is"),
        ("dora", ("model.embed_tokens",), {}, "DoRA on the embedding, which mlx-lm defines differently"),
    ],
)
def test_what_cannot_be_imported(
    kind: str, names: tuple[str, ...], config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, kind if kind != "dora" or "embed" not in names[0] else "lora", names, **config)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fine_tune_type": kind}))
    with pytest.raises(UserError, match=message):
        load_adapter(make(attention_bias=True), tmp_path)


def test_an_adapter_of_a_tied_embedding_is_the_heads_too_in_mlx(tmp_path: Path) -> None:
    write(tmp_path, "lora", ("model.embed_tokens",))
    with pytest.raises(UserError, match="tied"):
        load_adapter(make(tie_word_embeddings=True), tmp_path)
