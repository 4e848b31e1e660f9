"""Distributions are those of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinytorch
from tinytorch.generation import sampling
from tinytorch.generation.sampling import Sampling

pytestmark = pytest.mark.oracle("torch", "transformers")

seeds = st.integers(0, 2**32 - 1)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal((3, 40))).astype(np.float32)
    logits[1] = np.round(logits[1])  # ties
    return logits, rng.integers(0, 40, (3, 10))


def theirs(name: str, *arguments: Any) -> Any:
    import torch
    import transformers

    processor = getattr(transformers.generation.logits_process, name)(*arguments)
    return lambda ids, logits: processor(torch.tensor(ids), torch.tensor(logits)).numpy()


@given(seed=seeds, k=st.integers(1, 50))
def test_top_k(seed: int, k: int) -> None:
    logits, ids = draw(seed)
    assert np.array_equal(sampling.top_k(logits, k), theirs("TopKLogitsWarper", k)(ids, logits))


@given(seed=seeds, p=st.floats(0.01, 0.99))
def test_top_p(seed: int, p: float) -> None:
    logits, ids = draw(seed)
    expected = theirs("TopPLogitsWarper", p)(ids, logits)
    ours = sampling.top_p(logits, p)
    # Which of equal logits are left out is not said there: the numbers that stay are the same.
    assert np.array_equal(np.sort(ours), np.sort(expected))
    assert np.array_equal(ours[[0, 2]], expected[[0, 2]])


@given(seed=seeds, p=st.floats(0, 1))
def test_min_p(seed: int, p: float) -> None:
    logits, ids = draw(seed)
    assert np.array_equal(sampling.min_p(logits, p), theirs("MinPLogitsWarper", p)(ids, logits))


@given(seed=seeds, penalty=st.floats(0.1, 5))
def test_repetition_penalty(seed: int, penalty: float) -> None:
    logits, ids = draw(seed)
    expected = theirs("RepetitionPenaltyLogitsProcessor", penalty)(ids, logits)
    ours = sampling.repetition_penalty(logits, ids, np.ones_like(ids), penalty)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_the_order_is_that_of_transformers() -> None:
    """All settings at once give the probabilities that transformers' own list of processors gives."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, **shape))
    settings = {"temperature": 0.6, "top_k": 12, "top_p": 0.8, "min_p": 0.07, "repetition_penalty": 1.4}
    config = GenerationConfig(do_sample=True, **settings)
    processors = model._get_logits_processor(generation_config=config, input_ids_seq_length=10, device="cpu")
    logits, ids = draw(1)
    expected = processors(torch.tensor(ids), torch.tensor(logits)).softmax(-1).numpy()
    counts = np.zeros((3, 40))
    n = 4000
    drawn = Sampling(**settings).choose(
        np.repeat(logits, n, axis=0), np.repeat(ids, n, axis=0), np.ones((3 * n, 10), np.int64), seeded()
    )
    np.add.at(counts, (np.repeat(np.arange(3), n), drawn), 1 / n)
    assert not counts[expected == 0].any()
    np.testing.assert_allclose(counts, expected, atol=0.03)


def seeded() -> tinytorch.Generator:
    generator = tinytorch.Generator()
    generator.manual_seed(0)
    return generator
