"""Settings by name: nanoGPT's two character-level runs, the demo's, and the lecture's seven stages."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from gpt.config import GPTConfig, TrainConfig
from gpt.language_model import LanguageModel
from gpt.model import GPT
from gpt.stages import STAGES
from tinytorch.cli.errors import UserError
from tinytorch.training.corpora import PROSE

ARCHITECTURES: dict[str, type[LanguageModel]] = {"gpt": GPT, **STAGES}

# The validation loss that each stage reaches on tiny Shakespeare, rounded up.
EXPECTED_LOSS = {
    "bigram": 2.49,
    "one-head": 2.4,
    "four-heads": 2.28,
    "feed-forward": 2.27,
    "blocks": 2.08,
    "layer-norm": 2.06,
    "scaled": 1.48,
}


def _stage(name: str, learning_rate: float = 1e-3, max_iters: int = 5000) -> TrainConfig:
    """The lecture's loop: a constant learning rate, PyTorch's default AdamW, no clipping."""
    return TrainConfig(
        preset=name,
        architecture=name,
        model=GPTConfig(block_size=8, n_layer=3, n_head=4, n_embd=32),
        batch_size=32,
        max_iters=max_iters,
        learning_rate=learning_rate,
        min_lr=learning_rate,
        warmup_iters=0,
        beta2=0.999,
        weight_decay=0.01,
        grad_clip=0.0,
        eval_interval=500,
        eval_iters=200,
    )


_ALL = [
    TrainConfig(preset="nano-cpu"),
    # The text is small and the time short: four times nanoGPT's learning rate, and half as large evaluations.
    TrainConfig(preset="demo", data=PROSE.name, learning_rate=4e-3, max_iters=3000, eval_interval=150, eval_iters=20),
    TrainConfig(
        preset="nano-gpu",
        model=GPTConfig(block_size=256, n_layer=6, n_head=6, n_embd=384, dropout=0.2),
        batch_size=64,
        max_iters=5000,
        eval_iters=200,
    ),
    _stage("bigram", learning_rate=1e-2, max_iters=3000),
    _stage("one-head"),
    _stage("four-heads"),
    _stage("feed-forward"),
    _stage("blocks"),
    _stage("layer-norm"),
    replace(
        _stage("scaled", learning_rate=3e-4),
        model=GPTConfig(block_size=256, n_layer=6, n_head=6, n_embd=384, dropout=0.2),
        batch_size=64,
    ),
]
PRESETS = {config.preset: replace(config, out=Path("runs") / config.preset) for config in _ALL}


def get_preset(name: str) -> TrainConfig:
    """The settings called `name`; a UserError suggests the nearest name, or lists all of them, where there are none."""
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(PRESETS)}"
    raise UserError(f"no preset is called {name!r}: {hint}")


def build_model(architecture: str, config: GPTConfig) -> LanguageModel:
    """A new model of the class called `architecture`, its weights drawn from the global generator."""
    return ARCHITECTURES[architecture](config)
