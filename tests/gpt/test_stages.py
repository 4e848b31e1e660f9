from __future__ import annotations

import math

import numpy as np
import pytest

import tinytorch
from gpt.config import GPTConfig
from gpt.language_model import LanguageModel
from gpt.presets import ARCHITECTURES, PRESETS, build_model
from gpt.stages import Block, Head, MultiHead, ProjectedMultiHead
from tinytorch import Tensor

PARAMETERS = {
    "bigram": 4_225,
    "one-head": 7_553,
    "four-heads": 7_553,
    "feed-forward": 8_609,
    "blocks": 41_921,
    "layer-norm": 42_369,
    "scaled": 10_788_929,
    "nano-cpu": 804_096,
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameter_counts(name: str, count: int) -> None:
    preset = PRESETS[name]
    assert build_model(preset.architecture, preset.model).num_parameters() == count


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    tinytorch.manual_seed(1)
    return build_model(request.param, GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=16))


def random_ids(seed: int, shape: tuple[int, ...]) -> Tensor:
    return tinytorch.tensor(np.random.default_rng(seed).integers(0, 11, shape))


def test_loss_is_the_mean_negative_log_likelihood(model: LanguageModel) -> None:
    idx, targets = random_ids(0, (3, 8)), random_ids(1, (3, 8))
    logits, loss = model(idx, targets)
    assert logits.shape == (3, 8, 11)
    z = logits.detach().numpy().astype(np.float64)
    log_probabilities = z - np.log(np.exp(z).sum(-1, keepdims=True))
    expected = -np.mean([log_probabilities[b, t, targets.numpy()[b, t]] for b in range(3) for t in range(8)])
    assert loss is not None
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert model(idx)[1] is None


def test_a_later_character_does_not_change_earlier_logits(model: LanguageModel) -> None:
    idx = random_ids(0, (2, 8)).numpy()
    before = model(tinytorch.tensor(idx))[0].detach().numpy()
    for t in range(8):
        changed = idx.copy()
        changed[:, t] = (changed[:, t] + 1) % 11
        after = model(tinytorch.tensor(changed))[0].detach().numpy()
        np.testing.assert_allclose(after[:, :t], before[:, :t], rtol=1e-5, atol=1e-6)
        assert not np.allclose(after[:, t], before[:, t], atol=1e-4)


def test_every_parameter_gets_a_gradient(model: LanguageModel) -> None:
    _, loss = model(random_ids(0, (4, 8)), random_ids(1, (4, 8)))
    assert loss is not None
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert np.abs(parameter.grad.numpy()).max() > 0, name


@pytest.mark.parametrize("stage", ["one-head", "four-heads", "feed-forward", "blocks", "layer-norm"])
def test_the_last_logits_depend_on_every_earlier_character(stage: str) -> None:
    tinytorch.manual_seed(1)
    model = build_model(stage, GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=16))
    idx = random_ids(0, (1, 8)).numpy()
    before = model(tinytorch.tensor(idx))[0][0, -1].detach().numpy()
    for t in range(8):
        changed = idx.copy()
        changed[:, t] = (changed[:, t] + 1) % 11
        assert not np.allclose(model(tinytorch.tensor(changed))[0][0, -1].detach().numpy(), before, atol=1e-6)


def head_by_loops(head: Head, x: np.ndarray, source: np.ndarray, causal: bool) -> np.ndarray:
    """Attention as a sum over pairs of positions, each written out."""
    wq, wk, wv = (layer.weight.detach().numpy().astype(np.float64) for layer in (head.query, head.key, head.value))
    B, T, _ = x.shape
    out = np.zeros((B, T, wq.shape[0]))
    for b in range(B):
        for t in range(T):
            seen = range(t + 1) if causal else range(source.shape[1])
            weights = [math.exp((wq @ x[b, t]) @ (wk @ source[b, s]) / math.sqrt(wq.shape[0])) for s in seen]
            for s in seen:
                out[b, t] += weights[s] / sum(weights) * (wv @ source[b, s])
    return out


@pytest.mark.parametrize("kind", ["decoder", "encoder", "cross"])
@pytest.mark.parametrize("heads", [1, 4])
def test_attention_against_loops(kind: str, heads: int) -> None:
    tinytorch.manual_seed(2)
    rng = np.random.default_rng(3)
    attention = MultiHead(12, heads, block_size=9, causal=kind == "decoder")
    x = rng.standard_normal((2, 5, 12)).astype(np.float32)
    source = rng.standard_normal((2, 9, 12)).astype(np.float32) if kind == "cross" else None
    got = attention(tinytorch.tensor(x), None if source is None else tinytorch.tensor(source))
    expected = [head_by_loops(head, x, x if source is None else source, kind == "decoder") for head in attention.heads]
    assert got.shape == (2, 5, 12)
    np.testing.assert_allclose(got.detach().numpy(), np.concatenate(expected, axis=-1), rtol=1e-4, atol=1e-5)


def test_projection_mixes_the_heads() -> None:
    tinytorch.manual_seed(2)
    rng = np.random.default_rng(3)
    attention = ProjectedMultiHead(12, 3, block_size=9, causal=False)
    x, source = (rng.standard_normal((2, T, 12)).astype(np.float32) for T in (5, 7))
    heads = np.concatenate([head_by_loops(head, x, source, False) for head in attention.heads], axis=-1)
    weight, bias = attention.proj.weight.detach().numpy(), attention.proj.bias.detach().numpy()
    got = attention(tinytorch.tensor(x), tinytorch.tensor(source))
    np.testing.assert_allclose(got.detach().numpy(), heads @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_causal_cross_attention_is_refused() -> None:
    x = tinytorch.zeros(1, 3, 4)
    with pytest.raises(ValueError, match="causal=False"):
        Head(4, 4, block_size=3)(x, x)


def test_a_block_adds_to_what_came_in() -> None:
    block = Block(GPTConfig(block_size=4, n_head=2, n_embd=8))
    for parameter in block.parameters():
        tinytorch.nn.init.zeros_(parameter)
    x = tinytorch.tensor(np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float32))
    np.testing.assert_array_equal(block(x).detach().numpy(), x.numpy())
