"""The production model against the same model written in PyTorch: same weights, same batches, float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinytorch
from gpt.config import GPTConfig, TrainConfig
from gpt.model import GPT
from tinytorch.nn.utils import clip_grad_norm_
from tinytorch.training.run import make_optimizer

pytestmark = pytest.mark.oracle

STEPS = 20
TRAINING = TrainConfig(learning_rate=1e-3, weight_decay=0.1, beta1=0.9, beta2=0.99)


class Twin:
    """nanoGPT's forward in PyTorch functions on a dict of parameters; attention written out."""

    def __init__(self, config: GPTConfig, weights: dict[str, np.ndarray]) -> None:
        import torch

        self.config = config
        self.p = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
        if config.tied_head:
            self.p["transformer.wte.weight"] = self.p["lm_head.weight"]

    def parameters(self) -> list[Any]:
        return list({id(p): p for p in self.p.values()}.values())  # a shared one once

    def linear(self, x: Any, name: str) -> Any:
        from torch.nn import functional as F

        return F.linear(x, self.p[f"{name}.weight"], self.p.get(f"{name}.bias"))

    def norm(self, x: Any, name: str) -> Any:
        from torch.nn import functional as F

        return F.layer_norm(x, x.shape[-1:], self.p[f"{name}.weight"], self.p.get(f"{name}.bias"), 1e-5)

    def attention(self, x: Any, name: str) -> Any:
        import torch

        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.config.n_head, -1).transpose(1, 2)
            for part in self.linear(x, f"{name}.c_attn").split(C, dim=2)
        )
        scores = q @ k.transpose(-2, -1) * (C // self.config.n_head) ** -0.5
        scores = scores.masked_fill(torch.ones(T, T).triu(1) == 1, float("-inf"))
        y = scores.softmax(-1) @ v
        return self.linear(y.transpose(1, 2).reshape(B, T, C), f"{name}.c_proj")

    def __call__(self, idx: np.ndarray, targets: np.ndarray) -> tuple[Any, Any]:
        import torch
        from torch.nn import functional as F

        ids = torch.tensor(idx)
        x = self.p["transformer.wte.weight"][ids] + self.p["transformer.wpe.weight"][: ids.shape[1]]
        for i in range(self.config.n_layer):
            block = f"transformer.h.{i}"
            x = x + self.attention(self.norm(x, f"{block}.ln_1"), f"{block}.attn")
            hidden = F.gelu(self.linear(self.norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc"))
            x = x + self.linear(hidden, f"{block}.mlp.c_proj")
        logits = self.linear(self.norm(x, "transformer.ln_f"), "lm_head")
        return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), torch.tensor(targets).view(-1))


def batches(config: GPTConfig, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, config.vocab_size, (2, 2, config.block_size))) for _ in range(n)]  # type: ignore[misc]


@pytest.fixture(autouse=True)
def one_thread_for_torch() -> Iterator[None]:
    """Two pools of threads that spin on the same few cores would only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "config",
    [
        GPTConfig(),  # nano-cpu
        GPTConfig(vocab_size=31, block_size=17, n_layer=2, n_head=3, n_embd=24, bias=True, tied_head=False),
    ],
    ids=["nano-cpu", "bias-untied"],
)
def test_loss_gradients_and_20_steps_in_float64(config: GPTConfig) -> None:
    import torch

    tinytorch.manual_seed(0)
    ours = GPT(config).double()
    weights = {name: value.numpy().copy() for name, value in ours.state_dict().items()}
    twin = Twin(config, weights)

    optimizer = make_optimizer(ours, TRAINING)
    theirs = twin.parameters()
    groups = [
        {"params": [p for p in theirs if p.dim() >= 2], "weight_decay": TRAINING.weight_decay},
        {"params": [p for p in theirs if p.dim() < 2], "weight_decay": 0.0},
    ]
    their_optimizer = torch.optim.AdamW(
        groups, lr=TRAINING.learning_rate, betas=(TRAINING.beta1, TRAINING.beta2), eps=1e-8
    )
    worst_gradient = worst_loss = 0.0
    for step, (idx, targets) in enumerate(batches(config, STEPS)):
        optimizer.zero_grad()
        their_optimizer.zero_grad()
        logits, loss = ours(tinytorch.tensor(idx), tinytorch.tensor(targets))
        their_logits, their_loss = twin(idx, targets)
        assert loss is not None
        assert loss.dtype == tinytorch.float64
        loss.backward()
        their_loss.backward()
        worst_loss = max(worst_loss, abs(loss.item() - their_loss.item()))
        if step == 0:
            np.testing.assert_allclose(logits.detach().numpy(), their_logits.detach().numpy(), rtol=0, atol=1e-9)
            ours_by_name = dict(ours.named_parameters())
            assert len(ours_by_name) == len(theirs)
            for name, parameter in ours_by_name.items():
                gradient, expected = parameter.grad.numpy(), twin.p[name].grad.numpy()
                worst_gradient = max(worst_gradient, np.abs(gradient - expected).max() / np.abs(expected).max())
        clip_grad_norm_(ours.parameters(), 1.0)
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        optimizer.step()
        their_optimizer.step()
    print(f"largest difference: loss {worst_loss:.1e}, gradient {worst_gradient:.1e} relative")
    assert worst_loss < 1e-9
    assert worst_gradient < 1e-9
