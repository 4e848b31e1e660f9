"""Greedy generation, a token at a time: ours with its cache of keys and values against PyTorch's uncached loop: P9."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinytorch
from bench.timing import OURS, Row, measure
from bench.train import VOCABULARY
from bench.twin import gpt_on_torch
from gpt import config as gpt_config
from gpt import model as gpt_model

SECTION = "generate"


def run(against: list[str], turns: int, quick: bool) -> Iterator[Row]:
    """Seconds a token of the nano-cpu preset, from an empty to a full context of 64."""
    sides = {OURS: _generation(on_torch=False)}
    if "torch" in against:
        sides["torch"] = _generation(on_torch=True)
    row = measure(SECTION, "nano-cpu, greedy, a token", sides, turns=turns, target="P9")
    row.seconds = {side: seconds / _TOKENS for side, seconds in row.seconds.items()}
    yield row


_TOKENS = 63  # from one token of prompt to the full context


def _generation(on_torch: bool) -> Callable[[], Any]:
    t: Any
    if on_torch:
        import torch as t

        config, model = gpt_on_torch("config"), gpt_on_torch("model")
    else:
        t, config, model = tinytorch, gpt_config, gpt_model
    t.manual_seed(0)
    net = model.GPT(config.GPTConfig(vocab_size=VOCABULARY)).eval()
    start = t.tensor(np.zeros((1, 1), np.int64))
    if not on_torch:
        return lambda: net.generate(start, _TOKENS, greedy=True)

    def uncached() -> Any:
        idx = start
        with t.no_grad():
            for _ in range(_TOKENS):
                idx = t.cat([idx, net.logits(idx)[:, -1].argmax(-1, keepdim=True)], dim=1)
        return idx

    return uncached
