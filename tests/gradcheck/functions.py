"""What the tests of gradcheck check: a Function made of two lambdas, and inputs for it."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinytorch as torch


def tensor(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def function(forward: Any, backward: Any) -> Any:
    """A Function of forward(*xs), with the gradients backward(g, *xs)."""

    class Mine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *xs: Any) -> Any:
            ctx.save_for_backward(*xs)
            return forward(*xs)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(g, *ctx.saved_tensors)

    return Mine.apply
