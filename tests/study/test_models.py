"""A trace of what users have: a block of the GPT, a LoRA layer, a whole step of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from gpt.config import GPTConfig
from gpt.model import GPT, Block
from lora.adapters.layers import LoraLinear
from tests.study.test_why import assert_explained
from tinytorch import nn, study
from tinytorch.study.recording import Opening


def gpt_config() -> GPTConfig:
    return GPTConfig(block_size=4, vocab_size=7, n_layer=1, n_head=2, n_embd=4, dropout=0.1)


@pytest.mark.parametrize("unfold", [True, False])
def test_a_block_of_the_gpt(unfold: bool) -> None:
    torch.manual_seed(0)
    block, x = Block(gpt_config(), 0), torch.randn(2, 4, 4)
    with study.trace(block, unfold=unfold) as t:
        loss = block(x).square().mean()
    t.backward(loss)
    names = {value.name for value in t.values}
    assert {name for name, _ in block.named_parameters()} <= names
    for name, parameter in block.named_parameters():
        assert t[name].grad.tolist() == parameter.grad.tolist()
    assert {"q", "k", "v"} <= names
    line = t["linear_1"].step.line
    assert line.file.endswith("gpt/model.py") and line.function == "forward" and "self.c_attn(x)" in line.source
    found = t.check(most=3)
    assert found.ok and {row.status for row in found.rows} == {"ok"}, found
    assert assert_explained(t, 1e-4) > 200


def test_a_gpt_and_a_step_of_its_training() -> None:
    torch.manual_seed(0)
    model = GPT(gpt_config())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    idx = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 1]])

    def step() -> Any:
        _, loss = model(idx, idx)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return [p.array.tobytes() for p in model.parameters()]

    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    with Opening():
        plain = step()
    model.load_state_dict(state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    torch.manual_seed(1)
    with study.trace(model) as t:
        assert step() == plain
    assert t["lm_head.weight"].grad.tolist() == model.lm_head.weight.grad.tolist()
    assert t["lm_head.weight"].value.tolist() == state["lm_head.weight"].tolist()  # as it was in the forward
    assert t.svg() and t.table().rows


def test_a_lora_layer() -> None:
    torch.manual_seed(0)
    base = nn.Linear(3, 4)
    base.requires_grad_(False)
    layer = LoraLinear(base)
    layer.add("mine", 2, 0.5, 0.0, False, torch.float32)
    layer.active = "mine"
    layer.initialize("mine", True)
    layer.adapters.requires_grad_(True)
    x = torch.tensor(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32))
    for unfold in (True, False):
        with study.trace(layer, unfold=unfold) as t:
            loss = layer(x).square().sum()
        t.backward(loss)
        a, b = t["adapters.mine.lora_A"], t["adapters.mine.lora_B"]
        assert not a.grad.array.any() and b.grad.array.all()
        assert t.why("adapters.mine.lora_A[1,2]").total == 0 and t.why("adapters.mine.lora_B[1,1]").terms
        assert t["weight"].gradient is None and t.check().ok
