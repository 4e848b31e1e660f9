"""Packing: rows that hold several texts, each computed as if it were alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from lora.model.llama import Context, Llama
from lora.model.rope import tables
from tinytorch import Tensor


def packed_hidden_states(model: Llama, input_ids: Tensor, texts: Tensor) -> Tensor:
    """The input of the head, (B, T, C), for ids (B, T) with several texts in a row, numbered by `texts` (B, T).

    A token sees its own text up to itself, and its position counts from that text's first token.
    """
    numbers: Any = texts.array
    T = numbers.shape[1]
    begins = np.zeros(numbers.shape, np.int64)
    begins[:, 1:] = np.where(numbers[:, 1:] != numbers[:, :-1], np.arange(1, T), 0)
    config = model.config
    cos, sin = tables(
        np.arange(T) - np.maximum.accumulate(begins, axis=1),  # (B, T)
        config.head_dim,
        config.rope_theta,
        config.rope_scaling,
        config.max_position_embeddings,
        model.dtype,
    )
    same = np.tri(T, dtype=np.bool_) & (numbers[:, None, :, None] == numbers[:, None, None, :])  # (B, 1, T, T)
    return model.model(input_ids, Context(Tensor(cos), Tensor(sin), Tensor(same), None))
