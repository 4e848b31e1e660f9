"""Generation with a Llama: the loop of `tinytorch.generation.stream`, with the model's own cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinytorch import Tensor
from tinytorch.generation.cache import KVCache
from tinytorch.generation.sampling import Ids, Sampling
from tinytorch.generation.stream import joined
from tinytorch.generation.stream import stream as stream_of

if TYPE_CHECKING:
    from lora.model.llama import Llama


def stream(
    model: Llama,
    input_ids: Tensor,
    max_new_tokens: int,
    sampling: Sampling,
    attention_mask: Tensor | None = None,
    cache: KVCache | None = None,
    **settings: Any,
) -> Iterator[Ids]:
    """Yield the tokens that follow input_ids (B, T), each (B,), as they are drawn; `settings` are the loop's.

    A `cache` (`model.make_cache`) that already holds the first positions of input_ids saves computing them again.
    """
    B, T = input_ids.shape
    seen = cache or model.make_cache(B, T + max_new_tokens)

    def next_logits(ids: Ids, mask: Ids | None) -> Tensor:
        return model(ids[:, seen.length :], mask, seen, logits_to_keep=1)[:, -1]

    mask = None if attention_mask is None else attention_mask.numpy()
    return stream_of(next_logits, input_ids.numpy(), max_new_tokens, sampling, mask, **settings)


def generate(model: Llama, input_ids: Tensor, max_new_tokens: int, sampling: Sampling, **settings: Any) -> Tensor:
    """Continue input_ids (B, T) to (B, T + N), N at most max_new_tokens; `settings` are those of `stream`."""
    return joined(input_ids.numpy(), stream(model, input_ids, max_new_tokens, sampling, **settings))
