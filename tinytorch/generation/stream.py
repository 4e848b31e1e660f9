"""The loop that generates: compute the next token's logits, draw from them, repeat."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np

import tinytorch
from tinytorch import Tensor

from .sampling import Ids, Sampling

# A function from all tokens so far (B, T), and their mask (B, T), 0 for padding (or None if there is none), to the next
# token's logits (B, V). If it has a cache, that knows which tokens it has seen.
NextLogits = Callable[[Ids, Ids | None], Tensor]


def stream(
    next_logits: NextLogits,
    ids: Ids,
    max_new_tokens: int,
    sampling: Sampling,
    mask: Ids | None = None,
    eos_token_ids: Collection[int] = (),
    pad_token_id: int = 0,
    generator: tinytorch.Generator | None = None,
    likeliest_first: bool = False,
) -> Iterator[Ids]:
    """Yield the tokens that follow ids (B, T), each (B,), as they are drawn.

    The mask (B, T) is 0 for padding, which goes on the left. A row is done after one of eos_token_ids, which is still
    yielded; pad_token_id fills it from then on. The stream ends when all rows are done. For `likeliest_first`, see
    `Sampling.choose`.
    """
    if mask is not None and not mask[:, -1].all():
        raise ValueError("attention_mask ends in padding: pad on the left, so that a row continues from its last token")
    ends = np.array(sorted(eos_token_ids), dtype=np.int64)
    done = np.zeros(len(ids), dtype=bool)
    for _ in range(max_new_tokens):
        with tinytorch.no_grad():
            logits = next_logits(ids, mask).numpy()
        drawn = sampling.choose(logits, ids, mask, generator, likeliest_first)
        tokens = np.where(done, pad_token_id, drawn) if ends.size else drawn
        yield tokens
        if ends.size:
            done |= (tokens[:, None] == ends).any(axis=1)
            if done.all():
                return
        ids = np.concatenate([ids, tokens[:, None]], axis=1)
        if mask is not None:
            mask = np.concatenate([mask, np.ones_like(tokens[:, None])], axis=1)


def joined(ids: Ids, steps: Iterable[Ids]) -> Tensor:
    """The tokens (B, T) followed by all that a stream yields, (B, T + N)."""
    return tinytorch.tensor(np.concatenate([ids, *[step[:, None] for step in steps]], axis=1))
