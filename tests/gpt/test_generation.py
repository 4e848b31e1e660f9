from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from gpt.config import GPTConfig
from gpt.language_model import LanguageModel
from gpt.presets import build_model


@pytest.fixture(params=["bigram", "layer-norm", "gpt"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    tinytorch.manual_seed(0)
    model = build_model(request.param, GPTConfig(vocab_size=11, block_size=4, n_layer=1, n_head=2, n_embd=8))
    model.eval()
    return model


def generate(model: LanguageModel, idx: list[list[int]], n: int, seed: int = 0, **options: Any) -> np.ndarray:
    generator = tinytorch.Generator()
    generator.manual_seed(seed)
    return model.generate(tinytorch.tensor(idx), n, generator=generator, **options).numpy()


def test_generate_goes_on_beyond_the_context(model: LanguageModel) -> None:
    out = generate(model, [[1, 2], [3, 4]], 10)
    assert out.shape == (2, 12)
    assert np.array_equal(out[:, :2], [[1, 2], [3, 4]])
    assert out.min() >= 0
    assert out.max() < 11
    assert np.array_equal(generate(model, [[1, 2]], 0), [[1, 2]])


def test_generate_looks_at_the_last_block_only(model: LanguageModel) -> None:
    full = generate(model, [[9, 8, 7, 1, 2, 3, 4]], 5, greedy=True)
    cropped = generate(model, [[1, 2, 3, 4]], 5, greedy=True)
    assert np.array_equal(full[:, 3:], cropped)


def test_greedy_takes_the_largest_logit(model: LanguageModel) -> None:
    idx = generate(model, [[1, 2]], 1, greedy=True)
    logits = model(tinytorch.tensor([[1, 2]]))[0][0, -1].detach().numpy()
    assert idx[0, -1] == logits.argmax()


def test_the_seed_decides_the_text(model: LanguageModel) -> None:
    first, again, other = (generate(model, [[1]], 30, seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
