"""The same seed gives the same bits, whatever the number of threads, and twice in a row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest

import tinytorch
from gpt.config import GPTConfig
from gpt.model import GPT
from tinytorch.kernels.threads import max_threads
from tinytorch.nn.utils import clip_grad_norm_

STEPS = 50
CONFIG = GPTConfig(vocab_size=65, block_size=48, n_layer=2, n_head=3, n_embd=96, dropout=0.1)


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    threads = tinytorch.get_num_threads()
    yield
    tinytorch.set_num_threads(threads)


def trained(threads: int) -> tuple[list[float], str]:
    """The losses, and a digest of all parameters' bits after training."""
    tinytorch.set_num_threads(threads)
    tinytorch.manual_seed(0)
    model = GPT(CONFIG)
    optimizer = tinytorch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = np.random.default_rng(0).integers(0, 65, (STEPS, 2, 8, 48))  # (step, inputs and targets, B, T)
    losses = []
    for inputs, targets in batches:
        _, loss = model(tinytorch.tensor(inputs), tinytorch.tensor(targets))
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    bits = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return losses, hashlib.sha256(bits).hexdigest()


def test_twice_in_a_row() -> None:
    assert trained(max_threads()) == trained(max_threads())


@pytest.mark.skipif(max_threads() < 2, reason="needs two cores")
def test_one_thread_or_two() -> None:
    assert trained(1) == trained(2)
