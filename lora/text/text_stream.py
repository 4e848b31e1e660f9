"""From a stream of tokens to text that can be shown: whole characters, and nothing of what ends the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import tinytorch
from lora.model.generation import stream
from lora.model.llama import Llama
from lora.text.tokenizer import IncrementalDecoder, Tokenizer
from tinytorch.generation.sampling import Ids, Sampling


class TextStream:
    """Text of ids that come one at a time, up to the first of the `stop` strings, which is not given.

    `push` gives the new text that can no longer become part of a stop string; `flush` the rest, when no more ids come.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._decoder = IncrementalDecoder(tokenizer)
        self._stop = [string for string in stop if string]
        self._held = ""
        self.stopped = False  # a stop string has come

    def push(self, id: int) -> str:
        return self._show(self._decoder.push(id))

    def flush(self) -> str:
        shown = self._show(self._decoder.flush())
        rest, self._held = self._held, ""
        return shown + rest

    def _show(self, new: str) -> str:
        if self.stopped:
            return ""
        self._held += new
        found = [place for place in map(self._held.find, self._stop) if place >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = max((_overlap(self._held, string) for string in self._stop), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown


def _overlap(text: str, string: str) -> int:
    """Length of the longest end of `text` that `string` begins with."""
    return next(n for n in range(min(len(text), len(string)), -1, -1) if text.endswith(string[:n]))


def continue_texts(
    model: Llama,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    sampling: Sampling,
    stop: Sequence[str] = (),
    generator: tinytorch.Generator | None = None,
) -> list[str]:
    """What follows each of the prompts, computed together: the shorter ones are padded on the left."""
    rows = [tokenizer.encode(prompt) for prompt in prompts]
    longest = max(map(len, rows))
    pad = tokenizer.pad_id or 0
    ids = np.array([[pad] * (longest - len(row)) + row for row in rows])  # (B, T)
    mask = np.array([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    texts = [TextStream(tokenizer, stop) for _ in rows]
    shown = [""] * len(rows)
    finished = np.zeros(len(rows), dtype=bool)

    def is_done(tokens: Ids) -> np.ndarray:
        for i, token in enumerate(tokens.tolist()):
            if not finished[i]:
                shown[i] += texts[i].push(token)
                finished[i] = texts[i].stopped or token in tokenizer.eos_ids
        return finished

    steps = stream(
        model,
        tinytorch.tensor(ids),
        max_new_tokens,
        sampling,
        attention_mask=tinytorch.tensor(mask),
        eos_token_ids=tokenizer.eos_ids,
        pad_token_id=pad,
        generator=generator,
        is_done=is_done,
    )
    for _ in steps:  # what they are goes through is_done
        pass
    return [before + text.flush() for before, text in zip(shown, texts, strict=True)]
