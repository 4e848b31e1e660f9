"""Random small programs of views, in-place writes and operations, run with PyTorch and with tinytorch.

tinytorch may refuse a program that PyTorch runs (an in-place operation on a view, a view taken
before its base changed), but where it answers, values and gradients of both orders must agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import tinytorch

pytestmark = pytest.mark.oracle

SHAPE = (2, 3)

# Each instruction reads registers by number (modulo how many there are) and may append a register.
UNARY = {
    "square": lambda t, x: x * x,
    "scale": lambda t, x: x * 3,
    "exp": lambda t, x: (x * 0.1).exp(),
    "tanh": lambda t, x: x.tanh(),
    "sigmoid": lambda t, x: x.sigmoid(),
    "softmax": lambda t, x: x.softmax(-1),
    "gelu": lambda t, x: t.nn.functional.gelu(x),
    "log_softmax": lambda t, x: x.log_softmax(0),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x, x.shape[-1:]),
    "sum rows": lambda t, x: x.sum(-1, keepdim=True),
    "clone": lambda t, x: x.clone(),
    "detach": lambda t, x: x.detach(),
    "take": lambda t, x: x[[0, 0]] if x.shape[0] > 1 else x[[0]],
    "plus detached": lambda t, x: x + x.detach() * 2,
    "times detached": lambda t, x: x * x.detach(),
    "contiguous": lambda t, x: x.contiguous(),
}
VIEWS = {
    "row": lambda t, x: x[0:1],
    "last": lambda t, x: x[-1:],
    "columns": lambda t, x: x[:, 1:] if x.ndim > 1 else x[1:],
    "transpose": lambda t, x: x.transpose(0, -1),
    "view": lambda t, x: x.view(-1, 1),
    "expand": lambda t, x: x[:1].expand(2, x.shape[1]),
    "split": lambda t, x: x.split(1, 0)[-1],
    "unsqueeze": lambda t, x: x.unsqueeze(0)[0],
    "alias": lambda t, x: x.view_as(x),
}
BINARY = {
    "add": lambda t, a, b: a + b,
    "sub": lambda t, a, b: a - b,
    "mul": lambda t, a, b: a * b,
    "div": lambda t, a, b: a / (b * b + 1),
    "matmul": lambda t, a, b: a @ b.mT,
    "where": lambda t, a, b: t.where(a > b, a, b),
    "cat": lambda t, a, b: t.cat([a, b], 0),
}
IN_PLACE = {
    "add_": lambda t, a, b: a.add_(b),
    "mul_": lambda t, a, b: a.mul_(b),
    "sub_": lambda t, a, b: a.sub_(0.5),
    "exp_": lambda t, a, b: a.mul_(0.1).exp_(),
    "tanh_": lambda t, a, b: a.tanh_(),
    "copy_": lambda t, a, b: a.copy_(b),
    "zero_": lambda t, a, b: a.zero_(),
    "fill_": lambda t, a, b: a.fill_(2.5),
    "masked_fill_": lambda t, a, b: a.masked_fill_(b > 0, 1.5),
    "set row": lambda t, a, b: a.__setitem__(0, b[0]),
    "set element": lambda t, a, b: a.__setitem__((0, 0), b[0, 0] * 2),
    "set number": lambda t, a, b: a.__setitem__((slice(None), 0), 4.0),
    "set indexed": lambda t, a, b: a.__setitem__(t.tensor([0]), b[:1]),
    "add to row": lambda t, a, b: a[0].add_(b[0]),
    "detach and add": lambda t, a, b: a.detach().add_(b.detach()),
    "detach_": lambda t, a, b: a.detach_(),
    "retain_grad": lambda t, a, b: a.retain_grad() if a.requires_grad else None,
}
NO_GRAD = {f"no_grad {name}": op for name, op in IN_PLACE.items() if name not in ("detach_", "retain_grad")}
INSTRUCTIONS = {**UNARY, **VIEWS, **BINARY, **IN_PLACE, **NO_GRAD}

instruction = st.tuples(
    st.sampled_from(["value", "value", "view", "in place"]).flatmap(
        lambda kind: st.sampled_from(
            sorted({"value": {**UNARY, **BINARY}, "view": VIEWS, "in place": {**IN_PLACE, **NO_GRAD}}[kind])
        )
    ),
    st.integers(0, 7),
    st.integers(0, 7),
)
programs = st.lists(instruction, min_size=2, max_size=9)


class Refused(Exception):
    """An instruction raised."""


def run(t: Any, program: list[tuple[str, int, int]], second: bool) -> list[Any]:
    """Values of all registers, gradients of the leaves, retained gradients and, where asked, second derivatives."""
    data = np.random.default_rng(0).standard_normal((3, *SHAPE))
    leaves = [t.tensor(data[0], requires_grad=True), t.tensor(data[1], requires_grad=True)]
    registers = [*leaves, t.tensor(data[2]), leaves[0] * 1, t.zeros(*SHAPE, dtype=t.float64)]
    for name, i, j in program:
        a, b = registers[i % len(registers)], registers[j % len(registers)]
        op = INSTRUCTIONS[name]
        try:
            if name in UNARY or name in VIEWS:
                registers.append(op(t, a))
            elif name in BINARY:
                registers.append(op(t, a, b))
            elif name in NO_GRAD:
                with t.no_grad():
                    op(t, a, b.clone())
            else:
                op(t, a, b.clone())
        except (RuntimeError, IndexError, ValueError) as error:
            raise Refused(f"{name}: {error}") from error
    loss: Any = 0
    rng = np.random.default_rng(1)
    try:
        for register in registers:
            weights = t.tensor(rng.standard_normal(tuple(register.shape)))
            loss = loss + (register * weights).sum()
        if not loss.requires_grad:
            return [loss.tolist()]
        results = [r.tolist() for r in registers] + [loss.tolist()]
        if not second:
            loss.backward()
            for r in registers:
                grad = r.grad if r.is_leaf or r.retains_grad else None
                results.append(None if grad is None else grad.tolist())
        else:
            first = t.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
            results += [None if g is None else g.tolist() for g in first]
            total: Any = 0
            for g in first:
                if g is not None:
                    total = total + (g * g * t.tensor(data[2])).sum()
            again = [None, None]
            if getattr(total, "requires_grad", False):
                again = t.autograd.grad(total, leaves, allow_unused=True)
            results += [None if g is None else g.tolist() for g in again]
        return results
    except (RuntimeError, IndexError, ValueError) as error:
        raise Refused(str(error)) from error


def same(a: Any, b: Any) -> bool:
    """Equal, where no gradient is the same as one of zeros."""
    a, b = (0.0 if x is None else x for x in (a, b))
    return np.allclose(a, b, rtol=1e-7, atol=1e-10, equal_nan=True)


def compare(program: list[tuple[str, int, int]], second: bool) -> None:
    import torch

    try:
        ours = run(tinytorch, program, second)
    except Refused as refusal:
        try:
            run(torch, program, second)
        except Refused:
            event("both refuse")
            return
        event("tinytorch alone refuses")
        event("refused: " + str(refusal)[:60])
        return
    try:
        theirs = run(torch, program, second)
    except Refused as refusal:
        event("PyTorch alone refuses")
        event("PyTorch refuses: " + str(refusal)[:90])
        return
    event("both answer")
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert same(a, b), f"result {i} of {len(ours)}: tinytorch {a}, PyTorch {b}"


@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
@given(programs)
def test_first(program: list[tuple[str, int, int]]) -> None:
    compare(program, second=False)


@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
@given(programs)
def test_second(program: list[tuple[str, int, int]]) -> None:
    compare(program, second=True)
