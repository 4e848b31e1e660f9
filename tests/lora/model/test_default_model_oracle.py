"""The model that ships with the project gives in transformers the logits and the texts that it gives here."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from lora.commands.loading import load
from lora.model.default_model import default_model
from lora.model.generation import generate
from lora.model.llama import Llama
from tinytorch.generation.sampling import Sampling

pytestmark = pytest.mark.oracle("torch", "transformers")


def test_logits() -> None:
    import torch
    import transformers

    reference = transformers.AutoModelForCausalLM.from_pretrained(default_model(), dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(default_model())
    encoded = tokenizer(["The class statement", "An iterator is an object"], padding=True, return_tensors="pt")
    ids, mask = encoded["input_ids"].numpy(), encoded["attention_mask"].numpy()
    with torch.no_grad():
        expected = reference(**encoded).logits.numpy()
    for dtype in ("float32", "auto"):
        with tinytorch.no_grad():
            ours = Llama.from_pretrained(default_model(), dtype)(ids, mask).numpy()
        np.testing.assert_allclose(ours[mask == 1], expected[mask == 1], atol=2e-4)


def test_texts() -> None:
    import torch
    import transformers

    reference = transformers.AutoModelForCausalLM.from_pretrained(default_model(), dtype=torch.float32)
    model, tokenizer = load(default_model())
    ids = np.array([tokenizer.encode("The")])
    expected = reference.generate(torch.tensor(ids), do_sample=False, max_new_tokens=100)
    ours = generate(model, tinytorch.tensor(ids), 100, Sampling(greedy=True), eos_token_ids=tokenizer.eos_ids)
    assert ours.tolist() == expected.tolist()
