"""Distributions and greedy texts are those of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinytorch
from lora.commands.loading import load
from lora.model import generation
from lora.model.generation import Sampling, generate

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
    assert np.array_equal(generation.top_k(logits, k), theirs("TopKLogitsWarper", k)(ids, logits))


@given(seed=seeds, p=st.floats(0.01, 0.99))
def test_top_p(seed: int, p: float) -> None:
    logits, ids = draw(seed)
    expected = theirs("TopPLogitsWarper", p)(ids, logits)
    ours = generation.top_p(logits, p)
    # Which of equal logits are left out is not said there: the numbers that stay are the same.
    assert np.array_equal(np.sort(ours), np.sort(expected))
    assert np.array_equal(ours[[0, 2]], expected[[0, 2]])


@given(seed=seeds, p=st.floats(0, 1))
def test_min_p(seed: int, p: float) -> None:
    logits, ids = draw(seed)
    assert np.array_equal(generation.min_p(logits, p), theirs("MinPLogitsWarper", p)(ids, logits))


@given(seed=seeds, penalty=st.floats(0.1, 5))
def test_repetition_penalty(seed: int, penalty: float) -> None:
    logits, ids = draw(seed)
    expected = theirs("RepetitionPenaltyLogitsProcessor", penalty)(ids, logits)
    ours = generation.repetition_penalty(logits, ids, np.ones_like(ids), penalty)
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


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_texts(small_folder: Path, penalty: float) -> None:
    import torch
    import transformers

    reference = transformers.AutoModelForCausalLM.from_pretrained(small_folder, dtype=torch.float32)
    model, tokenizer = load(small_folder)
    ids = [tokenizer.encode("The dict"), [tokenizer.pad_id, *tokenizer.encode("If")]]
    width = max(map(len, ids))
    rows = np.array([[tokenizer.pad_id] * (width - len(row)) + row for row in ids])
    mask = (rows != tokenizer.pad_id).astype(np.int64)
    settings = {"max_new_tokens": 30, "eos_token_id": list(tokenizer.eos_ids), "pad_token_id": tokenizer.pad_id}
    for row in range(2):  # one at a time: transformers penalises the padding too
        kept = rows[row : row + 1, mask[row].argmax() :]
        expected = reference.generate(
            torch.tensor(kept), do_sample=False, repetition_penalty=penalty, **settings
        )
        ours = generate(
            model,
            tinytorch.tensor(kept),
            30,
            Sampling(greedy=True, repetition_penalty=penalty),
            eos_token_ids=tokenizer.eos_ids,
        )
        assert ours.tolist() == expected.tolist()
    if penalty == 1.0:
        expected = reference.generate(
            torch.tensor(rows), attention_mask=torch.tensor(mask), do_sample=False, **settings
        )
        ours = generate(
            model,
            tinytorch.tensor(rows),
            30,
            Sampling(greedy=True),
            attention_mask=tinytorch.tensor(mask),
            eos_token_ids=tokenizer.eos_ids,
            pad_token_id=tokenizer.pad_id,
        )
        assert ours.tolist() == expected.tolist()
