"""What `python -m tinytorch.study` can look at: small computations, traced and walked. Their code stands for a user's.

T time, D size of a head, or of whatever there is one size of.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

import tinytorch as torch
import tinytorch.nn as nn
from tinytorch import Tensor
from tinytorch.nn import functional as F

from .trace import Trace


@dataclass(frozen=True)
class Sizes:
    """How large a subject is, and what is drawn for it."""

    T: int = 4
    D: int = 3
    causal: bool = False
    seed: int = 0
    unfold: bool = True
    heads: int = 1

    def draw(self, *shape: int) -> Tensor:
        """Normally distributed numbers that want a gradient, with one decimal, none 0: as one would write them."""
        drawn = np.round(torch.randn(*shape, dtype=torch.float32).array.astype(np.float64), 1)
        drawn = np.where(drawn == 0, 0.1, drawn)
        return torch.tensor(drawn, dtype=torch.get_default_dtype(), requires_grad=True)


def attention(sizes: Sizes) -> Trace:
    """y = softmax(q k^T / sqrt(D)) v, and the sum of its squares: of one head as matrices, else with heads in front."""
    heads = (sizes.heads,) if sizes.heads > 1 else ()
    q, k, v = [sizes.draw(*heads, sizes.T, sizes.D) for _ in range(3)]
    hidden = torch.tensor(np.triu(np.ones((sizes.T, sizes.T), np.bool_), 1))
    with Trace(unfold=sizes.unfold) as t:
        scores = q @ k.mT / math.sqrt(sizes.D)
        masked = scores.masked_fill(hidden, -math.inf) if sizes.causal else scores
        p = masked.softmax(-1)
        y = p @ v
        loss = y.square().sum()
    t.backward(loss)
    return t


def head(sizes: Sizes) -> Trace:
    """A head of a GPT with its projections, fused attention, and the sum of its squares."""
    x = sizes.draw(1, 1, sizes.T, sizes.D)
    query, key, value = [nn.Linear(sizes.D, sizes.D, bias=False) for _ in range(3)]
    with Trace(unfold=sizes.unfold) as t:
        q, k, v = query(x), key(x), value(x)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=sizes.causal)
        loss = y.square().sum()
    t.backward(loss)
    return t


def linear(sizes: Sizes) -> Trace:
    """y = x w^T + b, and the sum of its squares."""
    x, w, b = sizes.draw(sizes.T, sizes.D), sizes.draw(2, sizes.D), sizes.draw(2)
    with Trace(unfold=sizes.unfold) as t:
        y = F.linear(x, w, b)
        loss = y.square().sum()
    t.backward(loss)
    return t


def softmax(sizes: Sizes) -> Trace:
    """p = softmax(x) of each row, and the sum of its squares."""
    x = sizes.draw(sizes.T, sizes.D)
    with Trace(unfold=sizes.unfold) as t:
        p = x.softmax(-1)
        loss = p.square().sum()
    t.backward(loss)
    return t


def layernorm(sizes: Sizes) -> Trace:
    """Each row to mean 0 and variance 1, times w plus b, and the sum of its cubes."""
    x, w, b = sizes.draw(sizes.T, sizes.D), sizes.draw(sizes.D), sizes.draw(sizes.D)
    with Trace(unfold=sizes.unfold) as t:
        y = F.layer_norm(x, (sizes.D,), w, b)
        loss = (y**3).sum()
    t.backward(loss)
    return t


def cross_entropy(sizes: Sizes) -> Trace:
    """The loss of T scores of D classes."""
    logits = sizes.draw(sizes.T, sizes.D)
    target = torch.randint(0, sizes.D, (sizes.T,))
    with Trace(unfold=sizes.unfold) as t:
        loss = F.cross_entropy(logits, target)
    t.backward(loss)
    return t


def gelu(sizes: Sizes) -> Trace:
    """y = gelu(x), and its sum."""
    x = sizes.draw(sizes.T, sizes.D)
    with Trace(unfold=sizes.unfold) as t:
        y = F.gelu(x)
        loss = y.sum()
    t.backward(loss)
    return t


def embedding(sizes: Sizes) -> Trace:
    """Rows of a table, the first of them twice, and the sum of their squares."""
    weight = sizes.draw(sizes.T, sizes.D)
    index = torch.arange(sizes.T) // 2
    with Trace(unfold=sizes.unfold) as t:
        y = F.embedding(index, weight)
        loss = y.square().sum()
    t.backward(loss)
    return t


def block(sizes: Sizes) -> Trace:
    """A block of a transformer with one head: attention and an MLP, each after a norm and beside a residual."""
    x = sizes.draw(1, sizes.T, sizes.D)
    ln_1, ln_2 = nn.LayerNorm(sizes.D), nn.LayerNorm(sizes.D)
    c_attn, c_proj = nn.Linear(sizes.D, 3 * sizes.D), nn.Linear(sizes.D, sizes.D)
    mlp = nn.Sequential(nn.Linear(sizes.D, 4 * sizes.D), nn.GELU(), nn.Linear(4 * sizes.D, sizes.D))
    with Trace(unfold=sizes.unfold) as t:
        q, k, v = [part.unsqueeze(1) for part in c_attn(ln_1(x)).split(sizes.D, dim=2)]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=sizes.causal).squeeze(1)
        middle = x + c_proj(y)
        out = middle + mlp(ln_2(middle))
        loss = out.square().mean()
    t.backward(loss)
    return t


def lora(sizes: Sizes) -> Trace:
    """A frozen Linear with a low-rank adapter at its start, where B is 0, and the sum of its squares."""
    x, A = sizes.draw(sizes.T, sizes.D), sizes.draw(2, sizes.D)
    W, B = sizes.draw(sizes.D, sizes.D).detach(), torch.zeros(sizes.D, 2, requires_grad=True)
    with Trace(unfold=sizes.unfold) as t:
        h = x @ A.mT
        y = x @ W.mT + h @ B.mT
        loss = y.square().sum()
    t.backward(loss)
    return t


SUBJECTS: dict[str, Callable[[Sizes], Trace]] = {
    function.__name__: function
    for function in (attention, head, linear, softmax, layernorm, cross_entropy, gelu, embedding, block, lora)
}


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """New Tensors have float64, as numbers that a page computes again have."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def trace_of(subject: str, sizes: Sizes) -> Trace:
    """The trace of a subject, or of "module:function", which is called without arguments and returns its loss."""
    if min(sizes.T, sizes.D) < 1:
        raise ValueError(f"T and D must be at least 1, got {sizes.T} and {sizes.D}")
    if sizes.heads < 1 or (sizes.heads > 1 and subject != "attention"):
        raise ValueError(f"heads must be at least 1, and is for the subject attention alone, got {sizes.heads}")
    torch.manual_seed(sizes.seed)
    if subject in SUBJECTS:
        return SUBJECTS[subject](sizes)
    module, colon, name = subject.partition(":")
    if not colon:
        raise LookupError(f"no subject {subject!r}: take one of {', '.join(SUBJECTS)}, or module:function of your own")
    try:
        function: Any = getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise LookupError(f"there is no module {module!r} here or among what is installed") from None
    if not callable(function):
        raise LookupError(f"the module {module} has no function {name!r}")
    with Trace(unfold=sizes.unfold) as t:
        loss = function()
    if not isinstance(loss, Tensor):
        raise TypeError(f"{subject} must return the Tensor to go backward from, not {type(loss).__name__}")
    t.backward(loss)
    return t
