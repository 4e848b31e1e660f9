"""Greedy generation, a token at a time: ours with its cache of keys and values against PyTorch's uncached loop: P9."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.timing import OURS, Case
from bench.train import VOCABULARY, gpt_module

SECTION = "generate"
_TOKENS = 63  # from one token of prompt to the full context of 64


def cases(quick: bool) -> list[Case]:
    """Seconds a token of the nano-cpu preset, from an empty to a full context."""
    sides = {name: partial(_generation, name) for name in (OURS, "torch")}
    return [Case(SECTION, "nano-cpu, greedy, a token", sides, "P9", units=_TOKENS)]


def _generation(library: str) -> Callable[[], Any]:
    t: Any = importlib.import_module(library)
    t.manual_seed(0)
    net = gpt_module(library, "model").GPT(gpt_module(library, "config").GPTConfig(vocab_size=VOCABULARY)).eval()
    start = t.tensor(np.zeros((1, 1), np.int64))
    if library == OURS:
        return lambda: net.generate(start, _TOKENS, greedy=True)

    def uncached() -> Any:
        idx = start
        with t.no_grad():
            for _ in range(_TOKENS):
                idx = t.cat([idx, net.logits(idx)[:, -1].argmax(-1, keepdim=True)], dim=1)
        return idx

    return uncached
