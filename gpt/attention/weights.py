"""Where a model looks as it goes through a text, what each character costs it, and which characters it holds for alike.

B batch, T time, C channels, H heads, D = C/H head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import tinytorch
import tinytorch.nn as nn
from gpt.language_model import LanguageModel
from gpt.model import CausalSelfAttention
from gpt.stages import Bigram, Head, MultiHead
from tinytorch import Tensor
from tinytorch.cli.errors import UserError
from tinytorch.nn import functional as F

Array = npt.NDArray[Any]

MOST = 4_000_000  # weights of a page, which takes up to 11 MB: more would be slow, and nobody reads them


class Looks(NamedTuple):
    """What a model did with a text of T characters."""

    weights: Array  # (layers, H, T, T): how much of what a head hands to position t comes from position s
    losses: Array  # (T - 1,): the cross-entropy of the second and of each later character, in nats


class Neighbor(NamedTuple):
    """A character whose row of the embedding points nearly where another one's does."""

    id: int
    cosine: float


def look(model: LanguageModel, ids: list[int]) -> Looks:
    """Let a model in evaluation mode read a text.

    UserError if the model has no attention or computes NaN, or if the text has too many characters.
    """
    layers = _layers(model)
    _check_length(len(ids), model.config.block_size, _heads(layers))
    found: list[list[Array]] = [[] for _ in layers]
    handles = [handle for layer, heads in zip(layers, found, strict=True) for handle in _watch(layer, heads.append)]
    try:
        with tinytorch.no_grad():
            logits = model.logits(tinytorch.tensor([ids]))[0]  # (T, V)
            losses = F.cross_entropy(logits[:-1], tinytorch.tensor(ids[1:], dtype=tinytorch.int64), reduction="none")
    finally:
        for handle in handles:
            handle.remove()
    looks = Looks(np.array([np.concatenate(heads) for heads in found]), losses.numpy())
    if not all(np.isfinite(numbers).all() for numbers in looks):
        raise UserError("the model computes NaN or infinite numbers from this text: its training has diverged")
    return looks


def _layers(model: LanguageModel) -> Sequence[nn.Module]:
    """The modules with all heads of a layer, from the first layer on."""
    if isinstance(model, Bigram):
        raise UserError("a bigram model has no attention to show: it looks at the last character only")
    modules = list(model.modules())
    layers = [module for module in modules if isinstance(module, (CausalSelfAttention, MultiHead))]
    return layers or [module for module in modules if isinstance(module, Head)]


def _heads(layers: Sequence[nn.Module]) -> int:
    """How many heads there are in all layers."""
    return sum(layer.n_head if isinstance(layer, CausalSelfAttention) else len(_plain(layer)) for layer in layers)


def _plain(layer: nn.Module) -> list[Head]:
    """The heads of a stage's layer."""
    return [module for module in layer.modules() if isinstance(module, Head)]


def _check_length(T: int, block_size: int, heads: int) -> None:
    what = f"the prompt has {T:,} characters"
    if block_size < T:
        raise UserError(f"{what}, and the model's context is of {block_size:,}: give a shorter one")
    if heads * T * (T + 1) // 2 > MOST:
        longest = (math.isqrt(1 + 8 * (MOST // heads)) - 1) // 2
        raise UserError(f"{what}; of {heads:,} heads a page shows up to {longest:,}: give a shorter one")


def _watch(layer: nn.Module, keep: Callable[[Array], None]) -> list[Any]:
    """Hooks that hand the weights of a layer's heads, (H, T, T) or (1, T, T) of one head after another, to `keep`."""
    if isinstance(layer, CausalSelfAttention):
        n_head = layer.n_head
        return [layer.c_attn.register_forward_hook(lambda _, inputs, qkv: keep(weights_of(qkv, n_head).numpy()[0]))]
    # Evaluation drops nothing: what goes through a stage's dropout are the weights.
    return [head.dropout.register_forward_hook(lambda _, inputs, w: keep(w.numpy())) for head in _plain(layer)]


def weights_of(qkv: Tensor, n_head: int) -> Tensor:
    """softmax(q k^T / sqrt(D)), which the fused attention does not keep, from the output of c_attn (B, T, 3C)."""
    B, T, _ = qkv.shape
    q, k, _ = (part.view(B, T, n_head, -1).transpose(1, 2) for part in qkv.chunk(3, dim=2))  # (B, H, T, D)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, H, T, T)
    later = tinytorch.tril(tinytorch.ones(T, T)) == 0
    return F.softmax(scores.masked_fill(later, float("-inf")), dim=-1)


def embedding(model: LanguageModel) -> Array:
    """The vectors (V, C) of the characters."""
    first = next(module for module in model.modules() if isinstance(module, nn.Embedding))  # the other is of positions
    return first.weight.detach().numpy()


def nearest(table: Array, count: int = 5) -> list[list[Neighbor]]:
    """For each row of a table (V, C) the others that have the largest cosine with it, the largest first."""
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), np.finfo(table.dtype).tiny)
    found = []
    for i, row in enumerate(unit):
        cosines = unit @ row
        others = [int(j) for j in np.argsort(-cosines, kind="stable")[: count + 1] if j != i]
        found.append([Neighbor(j, float(cosines[j])) for j in others[:count]])
    return found
