"""Whole training steps: P2, P3 and P4."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.timing import OURS, Case
from bench.twin import gpt_on_torch

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
    """A stage of the lecture by name; the production model if empty."""

    def __str__(self) -> str:
        return f"{self.stage or 'gpt'} B{self.B} T{self.T} L{self.L} H{self.H} C{self.C}"


STEPS = [
    Step("P2", 12, 64, 4, 4, 128),
    Step("P3", 32, 8, 3, 4, 32, "layer-norm"),
    Step("P4", 8, 256, 6, 6, 384),
]


def cases(quick: bool) -> list[Case]:
    """The steps; `quick` leaves out the large one."""
    steps = STEPS[:2] if quick else STEPS
    return [case for step in steps for case in (step_case(SECTION, step), _uncompiled(step))]


def step_case(section: str, step: Step) -> Case:
    """A training step, here and in PyTorch; ours compiled, as in the trainer."""
    sides = {name: partial(training_step, step, name) for name in (OURS, "torch")}
    return Case(section, str(step), sides, step.target, flops=flops(step))


def _uncompiled(step: Step) -> Case:
    """Both sides as written."""
    sides = {name: partial(training_step, step, name, False) for name in (OURS, "torch")}
    return Case(SECTION, f"{step}, not compiled", sides, flops=flops(step))


def gpt_module(library: str, name: str) -> Any:
    """The module `gpt.<name>`, as it is or on PyTorch."""
    return gpt_on_torch(name) if library == "torch" else importlib.import_module(f"gpt.{name}")


def training_step(step: Step, library: str, compiled: bool = True) -> Callable[[], Any]:
    """A call that runs one step: forward, backward, clipping, AdamW. PyTorch's is never compiled."""
    return model_and_step(step, library, compiled)[1]


def model_and_step(step: Step, library: str, compiled: bool = True) -> tuple[Any, Callable[[], Any]]:
    """The model, and the call that trains it."""
    t: Any = importlib.import_module(library)
    t.manual_seed(0)
    settings = gpt_module(library, "config").GPTConfig(
        vocab_size=VOCABULARY, block_size=step.T, n_layer=step.L, n_head=step.H, n_embd=step.C
    )
    if step.stage:
        net = gpt_module(library, "stages").STAGES[step.stage](settings)
    else:
        net = gpt_module(library, "model").GPT(settings)
    extra = {"fused": True} if library == "torch" else {}
    optimizer = t.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, **extra)
    generator = np.random.default_rng(0)
    ids, targets = (t.tensor(generator.integers(0, VOCABULARY, (step.B, step.T))) for _ in range(2))

    def call(ids: Any, targets: Any) -> None:
        _, loss = net(ids, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        t.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    if compiled and library == OURS:
        call = t.compile(call)
    return net, lambda: call(ids, targets)


def flops(step: Step) -> float:
    """Operations in the matrix products of a step: forward, and twice as many backward."""
    tokens = step.B * step.T
    layer = 2 * tokens * 12 * step.C * step.C + 4 * tokens * step.T * step.C / 2  # causal: half the scores
    return 3 * (step.L * layer + 2 * tokens * step.C * VOCABULARY)
