"""Greedy texts are those of transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinytorch
from lora.commands.loading import load
from lora.model.generation import generate
from tinytorch.generation.sampling import Sampling

pytestmark = pytest.mark.oracle("torch", "transformers")

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
