"""What gradcheck says of mistakes that are made by hand: the right hint, or none, but never a wrong one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
import tinytorch.nn.functional as F
from tests.gradcheck.functions import function, tensor
from tinytorch.autograd import GradcheckError, gradcheck

NONE = r"^Work this one element out by hand"
TARGETS = torch.tensor([1, 0, 3])
PLACES = torch.tensor([1, 0, 1])
TABLE = torch.tensor(np.random.default_rng(9).standard_normal((3, 5)))


def positive(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).random(shape) + 0.5, requires_grad=True)


def softmax(x: Any) -> Any:
    return x.softmax(-1)


def softmax_backward(g: Any, y: Any, dim: int = -1) -> Any:
    return y * (g - (g * y).sum(dim, keepdim=True))


def causal(x: Any) -> Any:
    hidden = torch.tensor(np.triu(np.ones(x.shape, bool), 1))
    return x.masked_fill(hidden, float("-inf")).softmax(-1)


def onehot() -> Any:
    return torch.tensor(np.eye(4)[TARGETS.numpy()])


def layer_norm(x: Any, w: Any) -> Any:
    return F.layer_norm(x, x.shape[-1:], w)


def normalised(x: Any) -> tuple[Any, Any]:
    inverse = 1 / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    return (x - x.mean(-1, keepdim=True)) * inverse, inverse


def layer_norm_dx(g: Any, x: Any, w: Any, paths: str = "mv", dim: int = -1, n: int | None = None) -> Any:
    z, inverse = normalised(x)
    dz = g * w

    def mean(t: Any) -> Any:
        return t.mean(dim, keepdim=True) if n is None else t.sum(dim, keepdim=True) / n

    dx = dz * 1
    if "m" in paths:
        dx = dx - mean(dz)
    if "v" in paths:
        dx = dx - z * mean(dz * z)
    return dx * inverse


def layer_norm_backward(**how: Any) -> Callable[..., Any]:
    return lambda g, x, w: (layer_norm_dx(g, x, w, **how), (g * normalised(x)[0]).sum(0))


def rms_norm(x: Any) -> Any:
    return x / (x * x).mean(-1, keepdim=True).sqrt()


def l2_norm(x: Any) -> Any:
    return x / (x * x).sum(-1, keepdim=True).sqrt()


def assigned(g: Any, w: Any) -> Any:
    dw = np.zeros(w.shape)
    dw[PLACES.numpy()] = g.numpy()
    return torch.tensor(dw)


def off_by_one(g: Any, w: Any) -> Any:
    dw = np.zeros(w.shape)
    np.add.at(dw, PLACES.numpy() + 1, g.numpy())
    return torch.tensor(dw)


def attention(q: Any, k: Any, v: Any) -> Any:
    return softmax(q @ k.T / q.shape[-1] ** 0.5) @ v


def attention_backward(
    g: Any, q: Any, k: Any, v: Any, sc: bool = True, fsc: bool = True, p_t: bool = True, inner: bool = True,
    swap: bool = False, kT: bool = False,
) -> Any:  # fmt: skip
    """sc, fsc: the scale in the backward and in p; p_t, kT: what is transposed; inner: softmax's sum."""
    scale = q.shape[-1] ** -0.5
    p = softmax(q @ k.T * (scale if fsc else 1))
    dp = g @ v.T
    ds = (softmax_backward(dp, p) if inner else p * dp) * (scale if sc else 1)
    dq, dk, dv = ds @ k, (ds @ q if kT else ds.T @ q), (p.T if p_t else p) @ g
    return (dk, dq, dv) if swap else (dq, dk, dv)


# The forward, a wrong backward of (g, *inputs), the inputs, and what is said of it.
MISTAKES: dict[str, tuple[Any, Any, tuple[Any, ...], str]] = {
    "softmax sum over other axis, square": (
        softmax,
        lambda g, x: softmax_backward(g, softmax(x), 0),
        (tensor(4, 4),),
        r"depend on what lies along dimension 0, by .* along dimension 1: something runs over the wrong",
    ),
    "softmax sum over other axis": (
        softmax,
        lambda g, x: softmax_backward(g, softmax(x), 0),
        (tensor(3, 4),),
        r"depend on what lies along dimension 0, by .* along dimension 1: something runs over the wrong",
    ),
    "softmax sum over everything": (
        softmax,
        lambda g, x: softmax(x) * (g - (g * softmax(x)).sum()),
        (tensor(3, 4),),
        r"along dimension 0 too, by differences they do not: a sum runs over too much",
    ),
    "softmax of other axis": (
        softmax,
        lambda g, x: softmax_backward(g, x.softmax(0), 0),
        (tensor(4, 4),),
        r"depend on what lies along dimension 0, by .* along dimension 1: something runs over the wrong",
    ),
    "softmax diag": (
        softmax,
        lambda g, x: g * softmax(x) * (1 - softmax(x)),
        (tensor(3, 4),),
        r"each output depends on its own element alone, .* along dimension 1: a path or a sum is missing",
    ),
    "softmax sum of g alone": (
        softmax,
        lambda g, x: softmax(x) * (g - g.sum(-1, keepdim=True)),
        (tensor(3, 4),),
        NONE,
    ),
    "softmax mean": (
        softmax,
        lambda g, x: softmax(x) * (g - (g * softmax(x)).mean(-1, keepdim=True)),
        (tensor(3, 4),),
        r"another element than its own, it is 0\.25 times",
    ),
    "softmax factor y forgotten": (
        softmax,
        lambda g, x: g - (g * softmax(x)).sum(-1, keepdim=True),
        (tensor(3, 4),),
        r"Each of them lacks output 0 as a factor",
    ),
    "softmax input for output": (
        softmax,
        lambda g, x: softmax_backward(g, x),
        (tensor(3, 4),),
        NONE,
    ),
    "softmax plus": (
        softmax,
        lambda g, x: softmax(x) * (g + (g * softmax(x)).sum(-1, keepdim=True)),
        (tensor(3, 4),),
        r"Between an output and another element than its own, the sign is wrong",
    ),
    "log_softmax no sum": (
        lambda x: x.log_softmax(-1),
        lambda g, x: g - softmax(x) * g,
        (tensor(3, 4),),
        r"each output depends on its own element alone, .* along dimension 1: a path or a sum is missing",
    ),
    "log_softmax sum of other axis": (
        lambda x: x.log_softmax(-1),
        lambda g, x: g - softmax(x) * g.sum(0, keepdim=True),
        (tensor(4, 4),),
        r"depend on what lies along dimension 0, by .* along dimension 1: something runs over the wrong",
    ),
    "log_softmax no softmax": (
        lambda x: x.log_softmax(-1),
        lambda g, x: g - g.sum(-1, keepdim=True),
        (tensor(3, 4),),
        NONE,
    ),
    "matmul b not transposed": (
        lambda a, b: a @ b,
        lambda g, a, b: (g @ b, a.T @ g),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        r"^Its Jacobian is the transpose of the right one: a factor is not transposed",
    ),
    "matmul a not transposed": (
        lambda a, b: a @ b,
        lambda g, a, b: (g @ b.T, a @ g),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        r"^Its Jacobian is the transpose of the right one: a factor is not transposed",
    ),
    "matmul order": (
        lambda a, b: a @ b,
        lambda g, a, b: (b.T @ g, a.T @ g),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        r"the right one with the dimensions in another order: factors stand in the wrong order",
    ),
    "matmul order of b": (
        lambda a, b: a @ b,
        lambda g, a, b: (g @ b.T, g @ a.T),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        r"the right one with the dimensions in another order: factors stand in the wrong order",
    ),
    "matmul g transposed": (
        lambda a, b: a @ b,
        lambda g, a, b: (g.T @ b.T, a.T @ g),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        r"^It would be right if the gradient that comes in had its dimensions in another order",
    ),
    "matmul swapped": (
        lambda a, b: a @ b,
        lambda g, a, b: (a.T @ g, g @ b.T),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        r"^For a random gradient that comes in, a repair fits: it is the gradient of input 1: two are swapped, or one",
    ),
    "matmul own factor": (
        lambda a, b: a @ b,
        lambda g, a, b: (g @ a.T, a.T @ g),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        NONE,
    ),
    "linear w not transposed": (
        lambda x, w: x @ w.T,
        lambda g, x, w: (g @ w.T, g.T @ x),
        (tensor(3, 4), tensor(4, 4, seed=1)),
        r"^Its Jacobian is the transpose of the right one: a factor is not transposed",
    ),
    "linear dw transposed": (
        lambda x, w: x @ w.T,
        lambda g, x, w: (g @ w, x.T @ g),
        (tensor(3, 4), tensor(4, 4, seed=1)),
        r"it is transposed",
    ),
    "layernorm no variance": (
        layer_norm,
        layer_norm_backward(paths="zm"),
        (tensor(3, 6), tensor(6, seed=1)),
        r"goes with the input less its mean, along dimension 1: the path through a variance",
    ),
    "layernorm no mean": (
        layer_norm,
        layer_norm_backward(paths="zv"),
        (tensor(3, 6), tensor(6, seed=1)),
        r"the same all along dimension 1: the path through a sum or mean",
    ),
    "layernorm neither": (
        layer_norm,
        layer_norm_backward(paths="z"),
        (tensor(3, 6), tensor(6, seed=1)),
        r"each output depends on its own element alone, .* along dimension 1: a path or a sum is missing",
    ),
    "layernorm sums": (
        layer_norm,
        layer_norm_backward(n=1),
        (tensor(3, 6), tensor(6, seed=1)),
        r"another element than its own, it is (6|1\.2) times .* Or: .*mean and the variance",
    ),
    "layernorm n-1": (
        layer_norm,
        layer_norm_backward(n=5),
        (tensor(3, 6), tensor(6, seed=1)),
        r"another element than its own, it is (6|1\.2) times .* Or: .*mean and the variance",
    ),
    "layernorm other axis": (
        layer_norm,
        layer_norm_backward(dim=0),
        (tensor(6, 6), tensor(6, seed=1)),
        r"depend on what lies along dimension 0, by .* along dimension 1: something runs over the wrong",
    ),
    "layernorm no w": (
        layer_norm,
        lambda g, x, w: (layer_norm_dx(g, x, 1), (g * normalised(x)[0]).sum(0)),
        (tensor(3, 6), tensor(6, seed=1)),
        r"Each of them lacks input 1 as a factor",
    ),
    "layernorm no inverse": (
        layer_norm,
        lambda g, x, w: (layer_norm_dx(g, x, w) / normalised(x)[1], (g * normalised(x)[0]).sum(0)),
        (tensor(3, 6), tensor(6, seed=1)),
        r"a factor that is the same all along dimension 1: .* such as a norm",
    ),
    "layernorm dw with x": (
        layer_norm,
        lambda g, x, w: (layer_norm_dx(g, x, w), (g * x).sum(0)),
        (tensor(3, 6), tensor(6, seed=1)),
        NONE,
    ),
    "layernorm no affine, no variance": (
        lambda x: F.layer_norm(x, (6,)),
        lambda g, x: layer_norm_dx(g, x, 1, paths="zm"),
        (tensor(3, 6),),
        r"goes with the input less its mean, along dimension 1: the path through a variance",
    ),
    "rms_norm no norm": (
        rms_norm,
        lambda g, x: g / (x * x).mean(-1, keepdim=True).sqrt(),
        (tensor(3, 6),),
        r"each output depends on its own element alone, .* along dimension 1: a path or a sum is missing",
    ),
    "l2 norm no norm": (
        l2_norm,
        lambda g, x: g / (x * x).sum(-1, keepdim=True).sqrt(),
        (tensor(3, 6),),
        r"each output depends on its own element alone, .* along dimension 1: a path or a sum is missing",
    ),
    "center no mean": (
        lambda x: x - x.mean(0),
        lambda g, x: g * 1,
        (tensor(4, 3),),
        r"each output depends on its own element alone, .* along dimension 0: a path or a sum is missing",
    ),
    "mean 1/n": (
        lambda x: x.mean(),
        lambda g, x: g.expand_as(x),
        (tensor(4, 3),),
        r"12 times .* may be 12, where 12 is the number of elements of input 0",
    ),
    "mean row 1/n": (
        lambda x: x.mean(-1),
        lambda g, x: g[:, None].expand_as(x),
        (tensor(4, 3),),
        r"3 times .* may be 3, where 3 is the size of dimension 1 of input 0",
    ),
    "mean wrong n": (
        lambda x: x.mean(-1),
        lambda g, x: g[:, None].expand_as(x) / 4,
        (tensor(4, 3),),
        r"0\.75 times .* factor is wrong",
    ),
    "sum wrong broadcasting, square": (
        lambda x: x.sum(-1),
        lambda g, x: g.expand_as(x),
        (tensor(4, 4),),
        r"it is transposed",
    ),
    "var n": (
        lambda x: x.var(-1),
        lambda g, x: g[:, None] * 2 * (x - x.mean(-1, keepdim=True)) / 5,
        (tensor(3, 5),),
        r"0\.8 times .* factor is wrong",
    ),
    "var factor 2": (
        lambda x: x.var(-1),
        lambda g, x: g[:, None] * (x - x.mean(-1, keepdim=True)) / 4,
        (tensor(3, 5),),
        r"0\.5 times .* factor is wrong",
    ),
    "var no mean": (
        lambda x: x.var(-1),
        lambda g, x: g[:, None] * 2 * x / 4,
        (tensor(3, 5),),
        r"the same all along dimension 1: the path through a sum or mean",
    ),
    "square factor 2": (
        lambda x: x * x,
        lambda g, x: g * x,
        (tensor(3, 4),),
        r"0\.5 times",
    ),
    "tanh output": (
        lambda x: x.tanh(),
        lambda g, x: g * (1 - x * x),
        (tensor(3, 4),),
        NONE,
    ),
    "tanh not squared": (
        lambda x: x.tanh(),
        lambda g, x: g * (1 - x.tanh()),
        (tensor(3, 4),),
        NONE,
    ),
    "sigmoid": (
        lambda x: x.sigmoid(),
        lambda g, x: g * x * (1 - x),
        (tensor(3, 4),),
        NONE,
    ),
    "sigmoid no y": (
        lambda x: x.sigmoid(),
        lambda g, x: g * (1 - x.sigmoid()),
        (tensor(3, 4),),
        r"Each of them lacks output 0 as a factor",
    ),
    "exp input": (
        lambda x: x.exp(),
        lambda g, x: g * x,
        (tensor(3, 4),),
        r"It is the gradient that comes in times input 0, in the place of times the derivative",
    ),
    "exp chain": (
        lambda x: (3 * x).exp(),
        lambda g, x: g * (3 * x).exp(),
        (tensor(3, 4),),
        r"0\.3333 times .* may be 1/3, where 3 is the size of dimension 0 of input 0",
    ),
    "log output": (
        lambda x: x.log(),
        lambda g, x: g / x.log(),
        (positive(3, 4),),
        NONE,
    ),
    "sqrt": (
        lambda x: x.sqrt(),
        lambda g, x: g * 0.5 * x.sqrt(),
        (positive(3, 4),),
        r"has input 0 as a factor that should not be there. Or: .* with output 0, and should be divided",
    ),
    "reciprocal sign": (
        lambda x: 1 / x,
        lambda g, x: g / (x * x),
        (positive(3, 4),),
        r"a sign is wrong",
    ),
    "relu of g": (
        lambda x: x.relu(),
        lambda g, x: g * (g > 0),
        (tensor(3, 4),),
        r"not linear in the gradient that comes in",
    ),
    "relu no mask": (
        lambda x: x.relu(),
        lambda g, x: g * 1,
        (tensor(3, 4),),
        r"Is a mask missing",
    ),
    "relu inverted": (
        lambda x: x.relu(),
        lambda g, x: g * (x < 0),
        (tensor(3, 4),),
        r"is a mask inverted",
    ),
    "mul own": (
        lambda a, b: a * b,
        lambda g, a, b: (g * a, g * b),
        (tensor(3, 4), tensor(3, 4, seed=1)),
        r"times input 0, in the place of .* Or: .*it is the gradient of input 1: two are swapped, or one",
    ),
    "div sign": (
        lambda a, b: a / b,
        lambda g, a, b: (g / b, g * a / (b * b)),
        (tensor(3, 4), positive(3, 4, seed=1)),
        r"a sign is wrong",
    ),
    "div b": (
        lambda a, b: a / b,
        lambda g, a, b: (g / b, -g * a / b),
        (tensor(3, 4), positive(3, 4, seed=1)),
        r"Each of them has input 1 as a factor that should not be there",
    ),
    "sub sign": (
        lambda a, b: a - b,
        lambda g, a, b: (g, g * 1),
        (tensor(3, 4), tensor(3, 4, seed=1)),
        r"a sign is wrong",
    ),
    "bias sum dim, square": (
        lambda x, b: x + b,
        lambda g, x, b: (g, g.sum(1)),
        (tensor(4, 4), tensor(4, seed=1)),
        r"^It would be right if the gradient that comes in had its dimensions in another order",
    ),
    "bias mean": (
        lambda x, b: x + b,
        lambda g, x, b: (g, g.mean(0)),
        (tensor(3, 4), tensor(4, seed=1)),
        r"0\.3333 times .* 1/3, where 3 is the size of dimension 0 of the output",
    ),
    "bias one row": (
        lambda x, b: x + b,
        lambda g, x, b: (g, g[0] * 1),
        (tensor(3, 4), tensor(4, seed=1)),
        r"Backward gives 0 .* overwritten",
    ),
    "scale sum dim": (
        lambda x, b: x * b,
        lambda g, x, b: (g * b, (g * x).sum(1)),
        (tensor(4, 4), tensor(4, seed=1)),
        NONE,
    ),
    "scale x forgotten": (
        lambda x, b: x * b,
        lambda g, x, b: (g * b, g.sum(0)),
        (tensor(3, 4), tensor(4, seed=1)),
        r"Each of them lacks input 0 as a factor",
    ),
    "cross_entropy 1/n": (
        lambda x: F.cross_entropy(x, TARGETS),
        lambda g, x: g * (softmax(x) - onehot()),
        (tensor(3, 4),),
        r"3 times .* may be 3, where 3 is the size of dimension 0 of input 0",
    ),
    "cross_entropy 1/c": (
        lambda x: F.cross_entropy(x, TARGETS),
        lambda g, x: g * (softmax(x) - onehot()) / 4,
        (tensor(3, 4),),
        r"0\.75 times .* factor is wrong",
    ),
    "cross_entropy no onehot": (
        lambda x: F.cross_entropy(x, TARGETS),
        lambda g, x: g * softmax(x) / 3,
        (tensor(3, 4),),
        NONE,
    ),
    "cross_entropy sign": (
        lambda x: F.cross_entropy(x, TARGETS),
        lambda g, x: -g * (softmax(x) - onehot()) / 3,
        (tensor(3, 4),),
        r"a sign is wrong",
    ),
    "cross_entropy target off by one": (
        lambda x: F.cross_entropy(x, TARGETS),
        lambda g, x: g * (softmax(x) - onehot().roll(1, 1)) / 3,
        (tensor(3, 4),),
        NONE,
    ),
    "cross_entropy no softmax": (
        lambda x: F.cross_entropy(x, TARGETS),
        lambda g, x: -g * onehot() / 3,
        (tensor(3, 4),),
        NONE,
    ),
    "embedding assigned": (
        lambda w: w[PLACES],
        lambda g, w: assigned(g, w),
        (tensor(4, 3),),
        r"Backward gives 0 .* overwritten",
    ),
    "embedding off by one": (
        lambda w: w[PLACES],
        lambda g, w: off_by_one(g, w),
        (tensor(4, 3),),
        r"the rows are shifted by one: each stands where the next one belongs",
    ),
    "roll forward again": (
        lambda x: x.roll(1, 0),
        lambda g, x: g.roll(1, 0),
        (tensor(5, 3),),
        r"^Its Jacobian is the transpose of the right one: a factor is not transposed",
    ),
    "shift off by one": (
        lambda x: x[1:],
        lambda g, x: torch.cat([g, torch.zeros(1, 3, dtype=torch.float64)]),
        (tensor(5, 3),),
        r"the rows are shifted by one: each stands where the one before belongs",
    ),
    "cumsum not reversed": (
        lambda x: x.cumsum(0),
        lambda g, x: g.cumsum(0),
        (tensor(5, 3),),
        r"^Its Jacobian is the transpose of the right one: a factor is not transposed",
    ),
    "flip": (
        lambda x: x.flip(0),
        lambda g, x: g * 1,
        (tensor(5, 3),),
        r"numbers are right, but in other places.* Or: .*reverse order",
    ),
    "transpose": (
        lambda x: x.T * 1,
        lambda g, x: g * 1,
        (tensor(4, 4),),
        r"it is transposed",
    ),
    "permute": (
        lambda x: x.permute(1, 2, 0) * 1,
        lambda g, x: g.permute(1, 2, 0) * 1,
        (tensor(3, 3, 3),),
        r"its dimensions are in another order: transpose\(1, 2, 0\) puts them right",
    ),
    "reshape": (
        lambda x: x.T.reshape(4, 4),
        lambda g, x: g.reshape(4, 4) * 1,
        (tensor(4, 4),),
        r"it is transposed",
    ),
    "cat order": (
        lambda a, b: torch.cat([a, b]),
        lambda g, a, b: (g[3:] * 1, g[:3] * 1),
        (tensor(3, 4), tensor(3, 4, seed=1)),
        r"^For a random gradient that comes in, a repair fits: it is the gradient of input 1: two are swapped, or one",
    ),
    "causal no mask": (
        causal,
        lambda g, x: softmax_backward(g, softmax(x)),
        (tensor(4, 4),),
        NONE,
    ),
    "attention no scale": (
        attention,
        lambda g, *a: attention_backward(g, *a, sc=False),
        (tensor(3, 4), tensor(3, 4, seed=1), tensor(3, 4, seed=2)),
        r"2 times .* may be sqrt\(4\), where 4 is the size of dimension 1 of input 0",
    ),
    "attention scale forgotten in p": (
        attention,
        lambda g, *a: attention_backward(g, *a, fsc=False),
        (tensor(3, 4), tensor(3, 4, seed=1), tensor(3, 4, seed=2)),
        NONE,
    ),
    "attention p not transposed": (
        attention,
        lambda g, *a: attention_backward(g, *a, p_t=False),
        (tensor(3, 4), tensor(3, 4, seed=1), tensor(3, 4, seed=2)),
        r"^Its Jacobian is the transpose of the right one: a factor is not transposed",
    ),
    "attention no inner sum": (
        attention,
        lambda g, *a: attention_backward(g, *a, inner=False),
        (tensor(3, 4), tensor(3, 4, seed=1), tensor(3, 4, seed=2)),
        NONE,
    ),
    "attention swapped": (
        attention,
        lambda g, *a: attention_backward(g, *a, swap=True),
        (tensor(3, 4), tensor(3, 4, seed=1), tensor(3, 4, seed=2)),
        r"^For a random gradient that comes in, a repair fits: it is the gradient of input 1: two are swapped, or one",
    ),
    "attention ds not transposed": (
        attention,
        lambda g, *a: attention_backward(g, *a, kT=True),
        (tensor(3, 4), tensor(3, 4, seed=1), tensor(3, 4, seed=2)),
        r"along dimension 0 too, by backward they do not",
    ),
    "max to all": (
        lambda x: x.amax(-1),
        lambda g, x: g[:, None].expand_as(x),
        (tensor(3, 4),),
        r"Is a mask missing",
    ),
    "gelu": (
        lambda x: F.gelu(x),
        lambda g, x: g * ((1 + (x / 2**0.5).erf()) / 2),
        (tensor(3, 4),),
        NONE,
    ),
    "silu": (
        lambda x: F.silu(x),
        lambda g, x: g * x.sigmoid(),
        (tensor(3, 4),),
        NONE,
    ),
    "pow": (
        lambda x: x**3,
        lambda g, x: g * 3 * x**3,
        (positive(3, 4),),
        r"Each of them has input 0 as a factor that should not be there",
    ),
    "abs": (
        lambda x: x.abs(),
        lambda g, x: g * 1,
        (tensor(3, 4),),
        r"a sign is wrong",
    ),
    "g added": (
        lambda x: x.sin(),
        lambda g, x: g * x.cos() + g,
        (tensor(3, 4),),
        r"^The error is 1 times the gradient that comes in",
    ),
    "logsumexp": (
        lambda x: x.logsumexp(-1),
        lambda g, x: g[:, None] * x.exp(),
        (tensor(3, 4),),
        NONE,
    ),
    "residual path": (
        lambda x, w: x + (x @ w).tanh(),
        lambda g, x, w: ((g * (1 - (x @ w).tanh() ** 2)) @ w.T, x.T @ (g * (1 - (x @ w).tanh() ** 2))),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        r"^The error is 1 times the gradient that comes in",
    ),
    "residual other": (
        lambda x, w: x + (x @ w).tanh(),
        lambda g, x, w: (g, x.T @ (g * (1 - (x @ w).tanh() ** 2))),
        (tensor(4, 4), tensor(4, 4, seed=1)),
        r"each output depends on its own element alone, .* along dimension 1: a path or a sum is missing",
    ),
    "bmm b not transposed": (
        lambda a, b: a @ b,
        lambda g, a, b: (g @ b, a.transpose(1, 2) @ g),
        (tensor(2, 3, 3), tensor(2, 3, 3, seed=1)),
        r"^Its Jacobian is the transpose of the right one: a factor is not transposed",
    ),
    "norm of everything": (
        lambda x: (x * x).sum().sqrt(),
        lambda g, x: g * x,
        (tensor(3, 5),),
        r"a constant factor is wrong. It is output 0\.",
    ),
    "norm of rows": (
        lambda x: (x * x).sum(-1).sqrt(),
        lambda g, x: g[:, None] * x / (x * x).sum(-1, keepdim=True),
        (tensor(3, 5),),
        r"^Each of them lacks output 0 as a factor",
    ),
    "where, one mask twice": (
        lambda a, b: torch.where(a.detach() > 0, a, b),
        lambda g, a, b: (g * (a > 0), g * (a > 0)),
        (tensor(3, 4), tensor(3, 4, seed=1)),
        r"it is the gradient of input 0: two are swapped, or one is there twice",
    ),
    "a sum of squares beside a product": (
        lambda x: (x**2).sum() + (x * TABLE).sum(),
        lambda g, x: g * TABLE,
        (tensor(3, 5),),
        r"goes with the input, along dimension 1: a path .* such as one through a norm or a sum of squares",
    ),
    "relu of a product without its mask": (
        lambda x, w: (x @ w).relu(),
        lambda g, x, w: (g @ w.T, x.T @ g),
        (tensor(3, 4), tensor(4, 5, seed=1)),
        r"Is a mask missing",
    ),
    "repeat without its sum": (
        lambda x: x.repeat(2, 1),
        lambda g, x: g[:3] * 1,
        (tensor(3, 4),),
        r"Backward gives 0 .* overwritten",
    ),
    "batchnorm no variance": (
        lambda x: (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt(),
        lambda g, x: (g - g.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt(),
        (tensor(6, 3),),
        r"goes with the input less its mean, along dimension 0: the path through a variance",
    ),
    "sin for cos": (lambda x: x.sin(), lambda g, x: g * x.sin(), (tensor(3, 4),), r"times output 0, in the place of"),
    "squared error without the target": (
        lambda x: ((x - TABLE) ** 2).mean(),
        lambda g, x: g * 2 * x / 15,
        (tensor(3, 5),),
        NONE,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_its_hint_or_none(name: str) -> None:
    forward, backward, inputs, hint = MISTAKES[name]
    with pytest.raises(GradcheckError) as caught:
        gradcheck(function(forward, backward), inputs)
    said = str(caught.value).splitlines()[-1]
    assert re.search(hint, said), said


def test_a_factor_that_is_a_size_in_one_shape_is_none_in_another() -> None:
    """Two times the square, whose hint must not be sure that sqrt(4) is meant."""
    wrong = function(lambda x: x * x, lambda g, x: g * x)
    said = []
    for shape in ((3, 4), (3, 5)):
        with pytest.raises(GradcheckError) as caught:
            gradcheck(wrong, tensor(*shape))
        said.append(str(caught.value).splitlines()[-1])
    both = "the size of dimension 1 of input 0 or the size of dimension 1 of the output"
    assert said[0].endswith(f"It may be 1/sqrt(4), where 4 is {both}: try another shape to know.")
    assert said[1].endswith("a constant factor is wrong.")


def test_patterns_are_found_in_any_numbers() -> None:
    """None of these is a matter of chance in one input."""
    for seed in range(1, 6):
        for name in (
            "layernorm no variance",
            "layernorm no mean",
            "matmul b not transposed",
            "softmax factor y forgotten",
        ):
            forward, backward, inputs, hint = MISTAKES[name]
            others = [tensor(*x.shape, seed=10 * seed + i) for i, x in enumerate(inputs)]
            with pytest.raises(GradcheckError) as caught:
                gradcheck(function(forward, backward), tuple(others))
            assert re.search(hint, str(caught.value).splitlines()[-1]), name
