"""The loop that writes: logits of what comes next, a token drawn from them, and again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np

import tinytorch
from tinytorch import Tensor

from .sampling import Ids, Sampling

# From all tokens so far (B, T), and which of them are padding (0 in (B, T); None for none), to the logits (B, V) of the
# next. A model's cache knows which of them it has seen.
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
    """Yield the next tokens of ids (B, T), each (B,), as they are drawn.

    The mask (B, T) is 0 for padding, which goes to the left. A row is done after one of eos_token_ids, which is still
    given; what follows in that row is pad_token_id. The stream ends when all rows are done. `likeliest_first` is as of
    `Sampling.choose`.
    """
    if mask is not None and not mask[:, -1].all():
        raise ValueError("attention_mask ends in padding: pad on the left, so that a row goes on from its last token")
    ends = np.array(sorted(eos_token_ids), dtype=np.int64)
    done = np.zeros(len(ids), dtype=bool)
    for _ in range(max_new_tokens):
        with tinytorch.no_grad():
            logits = next_logits(ids, mask).numpy()
        drawn = sampling.choose(logits, ids, mask, generator, likeliest_first)
        tokens = np.where(done, pad_token_id, drawn)
        yield tokens
        done |= np.isin(tokens, ends)
        if done.all():
            return
        ids = np.concatenate([ids, tokens[:, None]], axis=1)
        if mask is not None:
            mask = np.concatenate([mask, np.ones_like(tokens[:, None])], axis=1)


def joined(ids: Ids, steps: Iterable[Ids]) -> Tensor:
    """The tokens (B, T) and all that a stream gives, (B, T + N)."""
    return tinytorch.tensor(np.concatenate([ids, *[step[:, None] for step in steps]], axis=1))
