"""Whole training steps: P2, P3 and P4, and how they grow with T, B, C and L."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinytorch
from bench.timing import OURS, Row, measure
from bench.twin import gpt_on_torch
from gpt import config as gpt_config
from gpt import model as gpt_model
from gpt import stages as gpt_stages

SECTION = "train"
VOCABULARY = 65


@dataclass(frozen=True)
class Step:
    """The size of a training step."""

    target: str
    B: int
    T: int
    L: int
    H: int
    C: int
    stage: str = ""
    """A stage of the lecture by name; the production model where empty."""

    def __str__(self) -> str:
        return f"{self.stage or 'gpt'} B{self.B} T{self.T} L{self.L} H{self.H} C{self.C}"


STEPS = [
    Step("P2", 12, 64, 4, 4, 128),
    Step("P3", 32, 8, 3, 4, 32, "layer-norm"),
    Step("P4", 8, 256, 6, 6, 384),
]


def run(against: list[str], turns: int, quick: bool) -> Iterator[Row]:
    """Measure the steps; `quick` leaves out the large one."""
    for step in STEPS[:2] if quick else STEPS:
        sides = {OURS: training_step(step, on_torch=False)}
        if "torch" in against:
            sides["torch"] = training_step(step, on_torch=True)
        yield measure(SECTION, str(step), sides, turns=turns, target=step.target, flops=flops(step))


def training_step(step: Step, on_torch: bool) -> Callable[[], Any]:
    """A call that runs one step: forward, backward, clipping, AdamW."""
    t: Any
    if on_torch:
        import torch as t

        config, model, stages = (gpt_on_torch(name) for name in ("config", "model", "stages"))
    else:
        t, config, model, stages = tinytorch, gpt_config, gpt_model, gpt_stages
    t.manual_seed(0)
    settings = config.GPTConfig(vocab_size=VOCABULARY, block_size=step.T, n_layer=step.L, n_head=step.H, n_embd=step.C)
    net = (stages.STAGES[step.stage] if step.stage else model.GPT)(settings)
    extra = {"fused": True} if on_torch else {}
    optimizer = t.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, **extra)
    generator = np.random.default_rng(0)
    ids, targets = (t.tensor(generator.integers(0, VOCABULARY, (step.B, step.T))) for _ in range(2))

    def call() -> None:
        _, loss = net(ids, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        t.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return call


def flops(step: Step) -> float:
    """Operations in the matrix products of a step: forward, and twice as many backward."""
    tokens = step.B * step.T
    layer = 2 * tokens * 12 * step.C * step.C + 4 * tokens * step.T * step.C / 2  # causal: half the scores
    return 3 * (step.L * layer + 2 * tokens * step.C * VOCABULARY)
