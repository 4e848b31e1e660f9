"""From a stream of tokens to text that can be shown: whole characters, without the strings that end the text."""

from __future__ import annotations

from collections.abc import Sequence

from lora.text.tokenizer import IncrementalDecoder, Tokenizer


class TextStream:
    """The text of ids that arrive one at a time, up to the first of the `stop` strings, which is left out.

    `push` returns new text that cannot become part of a stop string; `flush` returns the rest after the last id.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._decoder = IncrementalDecoder(tokenizer)
        self._stop = [string for string in stop if string]
        self._held = ""
        self.stopped = False  # whether a stop string has been found

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
    """The length of the longest suffix of `text` that `string` starts with."""
    return next(n for n in range(min(len(text), len(string)), -1, -1) if text.endswith(string[:n]))
