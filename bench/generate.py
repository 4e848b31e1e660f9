"""Greedy generation, one token at a time: ours with its KV cache against an uncached loop in PyTorch (P9)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.timing import OURS, Case
from bench.train import VOCABULARY, gpt_module

SECTION = "generate"
_CONTEXT, _TOKENS = 64, 16  # the tokens generated, which fill the context


def cases(quick: bool) -> list[Case]:
    """Seconds per token for the nano-cpu preset, as its context of 64 fills up; ours include reading the prompt."""
    sides = {name: partial(generation, name) for name in (OURS, "torch")}
    return [Case(SECTION, "nano-cpu, greedy, a token at T 48 to 64", sides, "P9", units=_TOKENS)]


def generation(library: str) -> Callable[[], Any]:
    """A call that returns the tokens (1, 64), beginning with those of the prompt."""
    t: Any = importlib.import_module(library)
    t.manual_seed(0)
    net = gpt_module(library, "model").GPT(gpt_module(library, "config").GPTConfig(vocab_size=VOCABULARY)).eval()
    start = t.tensor(np.zeros((1, _CONTEXT - _TOKENS), np.int64))
    if library == OURS:
        return lambda: net.generate(start, _TOKENS, greedy=True)

    def uncached() -> Any:
        idx = start
        with t.no_grad():
            for _ in range(_TOKENS):
                idx = t.cat([idx, net.logits(idx)[:, -1].argmax(-1, keepdim=True)], dim=1)
        return idx

    return uncached
