"""The trap that the exercises begin with: checked with ones, a backward of softmax that returns zeros is right."""

from __future__ import annotations

import numpy as np

import tinytorch as torch

from ...mistakes import Array

X = ((0.2, 1.0, -0.4), (1.5, 0.3, 0.7))


def trap() -> str:
    """The trap, with numbers that are computed now."""
    x = torch.tensor(np.array(X), requires_grad=True)
    p = x.softmax(-1)
    random = np.random.default_rng(0).standard_normal(p.shape).round(1)
    zeros = np.zeros(p.shape)
    lines = ["A trap first. Somebody has written a backward of p = softmax(x), of each row:", ""]
    lines += ["    def backward(x, g):", "        return 0 * x", ""]
    lines += ["and checks it with L = p.sum(), so that g = dL/dp is all ones:"]
    for about, g in (("", np.ones(p.shape)), ("With random numbers in g:", random)):
        (right,) = torch.autograd.grad(p, [x], torch.tensor(g), retain_graph=True)
        off = float(np.abs(zeros - right.numpy()).max())
        verdict = "off by nothing: it passes." if off < 1e-12 else f"off by up to {off:.4f}: it is found out."
        lines += [about] * bool(about)
        lines += ["", *_rows("g", g), *_rows("the right dx", right.numpy()), *_rows("its dx", zeros)]
        lines += [f"    {verdict}", ""]
    lines += ["A row of p adds up to 1 whatever x is, so its sum tells nothing of the backward."]
    lines += ["That is why every exercise is checked with a random g; so should your own code be."]
    return "\n".join(lines)


def _rows(name: str, array: Array) -> list[str]:
    """Named rows, to four decimals; minus zero is zero."""
    rows = ["  ".join([f"{number:7.4f}" for number in row]) for row in array.round(4) + 0.0]
    return [f"    {name if i == 0 else '':12}  {row}" for i, row in enumerate(rows)]
