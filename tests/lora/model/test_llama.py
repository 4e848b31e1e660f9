"""The model by itself: names, first weights, the cache, padding, the loss; comparisons are in test_llama_oracle.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
import tinytorch.nn as nn
from lora import Llama
from lora.model.config import LlamaConfig
from lora.model.rope import RopeScaling
from tinytorch.nn import functional as F

CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    other={"eos_token_id": [2, 3]},
)
rng = np.random.default_rng(0)
IDS = rng.integers(0, 50, (2, 12))


def make(**changes: Any) -> Llama:
    tinytorch.manual_seed(0)
    return Llama(LlamaConfig(**{**vars(CONFIG), **changes}))


def close(a: Any, b: Any, tolerance: float = 2e-6) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=0, atol=tolerance)


def test_names_are_those_of_hugging_face() -> None:
    layer = [f"self_attn.{x}_proj.weight" for x in "qkvo"] + [f"mlp.{x}_proj.weight" for x in ("gate", "up", "down")]
    layer += ["input_layernorm.weight", "post_attention_layernorm.weight"]
    layers = [f"model.layers.{i}.{name}" for i in range(2) for name in layer]
    expected = ["model.embed_tokens.weight", *layers, "model.norm.weight", "lm_head.weight"]
    model = make()
    assert [name for name, _ in model.named_parameters()] == expected
    assert list(model.state_dict()) == expected
    assert [name for name, _ in make(tie_word_embeddings=True).named_parameters()] == expected[:-1]
    biases = {name for name, _ in make(attention_bias=True, mlp_bias=True).named_parameters() if name.endswith("bias")}
    assert biases == {name.replace("weight", "bias") for name in layers if "proj" in name}


def test_first_weights_are_normal_with_the_range_of_the_configuration() -> None:
    model = make(initializer_range=0.5, attention_bias=True, pad_token_id=7, vocab_size=400)
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        assert parameter.requires_grad
        assert values.dtype == np.float32
        if name.endswith("bias"):
            assert not values.any()
        elif values.ndim == 1:
            assert (values == 1).all()
        else:
            assert abs(values.mean()) < 0.1
            assert 0.45 < values.std() < 0.55, name
    assert not model.model.embed_tokens.weight[7].detach().numpy().any()


def test_the_same_seed_draws_the_same_weights() -> None:
    for (name, a), (_, b) in zip(make().named_parameters(), make().named_parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy(), err_msg=name)


SCALINGS = [
    RopeScaling(),
    RopeScaling("linear", factor=2.0),
    RopeScaling("llama3", 8.0, original_max_position_embeddings=16, low_freq_factor=1.0, high_freq_factor=4.0),
    RopeScaling("yarn", 4.0, original_max_position_embeddings=16),
]


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling.rope_type)
def test_a_cache_changes_nothing(scaling: RopeScaling) -> None:
    model = make(rope_scaling=scaling)
    whole = model(IDS)
    cache = model.make_cache(2, capacity=3)  # which must grow twice
    parts = [model(IDS[:, i:j], cache=cache) for i, j in ((0, 4), (4, 5), (5, 6), (6, 11), (11, 12))]
    assert cache.length == 12
    assert cache.capacity >= 12
    close(tinytorch.cat(parts, dim=1), whole)
    assert not parts[0].requires_grad


def test_a_cache_goes_back() -> None:
    model = make()
    cache = model.make_cache(2)
    model(IDS, cache=cache)
    cache.length = 5
    close(model(IDS[:, 5:7], cache=cache), model(IDS[:, :7])[:, 5:])


def test_the_last_logits_alone() -> None:
    model = make()
    whole = model(IDS)
    close(model(IDS, logits_to_keep=2), whole[:, -2:])
    assert model(IDS, cache=model.make_cache(2), logits_to_keep=1).shape == (2, 1, 50)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    """A row of a padded batch has the logits that it has alone, and its gradient."""
    model = make().double()
    ids, mask = np.zeros((2, 12), np.int64), np.zeros((2, 12), np.int64)
    rows = [IDS[0, :12], IDS[1, :7]]
    places = [slice(12 - len(row), None) if side == "left" else slice(len(row)) for row in rows]
    for i, (row, place) in enumerate(zip(rows, places, strict=True)):
        ids[i, place], mask[i, place] = row, 1
    together = model(ids, mask)
    parts = [together[i, place] for i, place in enumerate(places)]
    sum((part * part).sum() for part in parts).backward()
    gradients = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    model.zero_grad()
    alone = [model(row[None])[0] for row in rows]
    sum((part * part).sum() for part in alone).backward()
    for part, expected in zip(parts, alone, strict=True):
        close(part, expected, 1e-13)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(gradients[name], p.grad.numpy(), rtol=0, atol=1e-12, err_msg=name)


def test_a_padded_batch_goes_on_with_a_cache() -> None:
    model = make()
    ids = IDS.copy()
    ids[1, :5] = 0
    mask = (np.arange(12) >= [[0], [5]]).astype(np.int64)
    whole = model(ids, mask)
    cache = model.make_cache(2)
    first = model(ids[:, :8], mask[:, :8], cache)
    close(first[1, 5:], whole[1, 5:8])
    close(model(ids[:, 8:10], mask[:, :10], cache), whole[:, 8:10])  # with the mask of all positions
    close(model(ids[:, 10:], cache=cache), whole[:, 10:])  # or without: the new ones are tokens


def test_the_loss_shifts_by_one_and_ignores_minus_100() -> None:
    model = make()
    labels = IDS.copy()
    labels[0, :6] = -100
    logits = model(IDS).detach()
    expected = F.cross_entropy(
        tinytorch.cat([logits[0, 5:11], logits[1, :11]]), tinytorch.tensor(np.concatenate([IDS[0, 6:], IDS[1, 1:]]))
    )
    close(model.loss(IDS, labels), expected)


def test_a_padding_token_has_no_gradient() -> None:
    model = make(pad_token_id=int(IDS[0, 0]))
    model.loss(IDS, IDS).backward()
    gradient = model.model.embed_tokens.weight.grad.numpy()
    assert not gradient[IDS[0, 0]].any()
    assert gradient[IDS[0, 1]].any()


def test_a_linear_can_be_replaced_by_name() -> None:
    class Doubled(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base = base

        def forward(self, x: tinytorch.Tensor) -> tinytorch.Tensor:
            return self.base(x) * 2

    model = make()
    expected = make()
    for name, module in list(model.named_modules()):
        if name.endswith(("q_proj", "down_proj", "lm_head")):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Doubled(module))
            expected.get_submodule(name).weight.data *= 2
    close(model(IDS), expected(IDS))


def test_generate_stops_at_an_end_of_the_configuration() -> None:
    model = make()
    out = model.generate(IDS, 5, greedy=True)
    expected = IDS
    for _ in range(5):
        expected = np.concatenate([expected, model(expected).argmax(dim=-1).numpy()[:, -1:]], axis=1)
    np.testing.assert_array_equal(out.numpy(), expected)
    ends = Llama(LlamaConfig(**{**vars(CONFIG), "other": {"eos_token_id": int(expected[0, 12])}}))
    ends.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(ends.generate(IDS[:1], 5, greedy=True).numpy(), expected[:1, :13])


def test_dropout_of_attention_is_for_training_only() -> None:
    model = make(attention_dropout=0.5)
    assert not np.array_equal(model(IDS).detach().numpy(), model(IDS).detach().numpy())
    model.eval()
    close(model(IDS), make().eval()(IDS), 0)


def test_two_bytes_are_computed_with_in_float32() -> None:
    model = make()
    for module in model.modules():
        if isinstance(module, nn.RMSNorm) or module is model.model.embed_tokens:
            module.weight = nn.Parameter(module.weight.detach().to(tinytorch.bfloat16), requires_grad=False)
    rounded = make()
    for name, parameter in rounded.named_parameters():
        if "norm" in name or "embed" in name:
            parameter.data = parameter.data.to(tinytorch.bfloat16).float()
    assert model.dtype == tinytorch.float32
    close(model(IDS), rounded(IDS), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IDS[0],), r"input_ids have shape \(12,\): expected \(B, T\)"),
        ((IDS, np.ones((2, 11))), r"attention_mask has shape \(2, 11\): expected \(2, 12\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()(*arguments)


def test_a_cache_of_another_batch_is_named() -> None:
    model = make()
    with pytest.raises(ValueError, match="input_ids hold 2 sequences, the cache 3"):
        model(IDS, cache=model.make_cache(3))
