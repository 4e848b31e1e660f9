"""How fast text was generated, and how much faster the memory would allow.

Every new token reads all weights once, so on a machine that computes fast enough, tokens per second times the bytes of
the weights come close to the memory's bandwidth.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tinytorch.kernels.threads import get_num_threads

T = TypeVar("T")


@dataclass
class Speed:
    """Tokens and seconds, for prompts and for the tokens generated after them."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    tokens: int = 0
    seconds: float = 0.0

    def timed(self, prompt_tokens: int, steps: Iterable[T]) -> Iterator[T]:
        """Yield the same steps and time them: the first computes the prompt, each later one a single token. The
        caller's time between steps does not count."""
        started = time.perf_counter()
        for i, step in enumerate(steps):
            seconds = time.perf_counter() - started
            if i == 0:
                self.prompt_tokens += prompt_tokens
                self.prompt_seconds += seconds
            else:
                self.tokens += 1
                self.seconds += seconds
            yield step
            started = time.perf_counter()

    def report(self, weight_bytes: int, bandwidth: float | None = None) -> str:
        """One line of text; `bandwidth` is what the machine can read, in bytes per second."""
        parts = [f"prompt: {self.prompt_tokens} tokens, {_rate(self.prompt_tokens, self.prompt_seconds):,.0f} tokens/s"]
        rate = _rate(self.tokens, self.seconds)
        parts.append(f"text: {self.tokens} tokens, {rate:,.1f} tokens/s")
        if self.tokens:
            parts.append(f"{rate * weight_bytes / 1e9:.2f} GB/s of weights read")
            if bandwidth:
                parts.append(f"the memory gives {bandwidth / 1e9:.1f} GB/s: {bandwidth / weight_bytes:,.1f} tokens/s")
        return "; ".join(parts)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def read_bandwidth(size: int = 1 << 28) -> float:
    """Bytes per second that this process's threads can read from memory: the best of five passes over `size` bytes."""
    threads = get_num_threads()
    parts = np.array_split(np.zeros(size // 4, dtype=np.float32), threads)
    for part in parts:
        part[:] = 1.0  # pages that were never written would not be read
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(np.max, parts))  # NumPy releases the interpreter lock, so they run in parallel
            best = max(best, size / (time.perf_counter() - started))
    return best
