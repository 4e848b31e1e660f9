"""histogram in float32, at edges and at values that lie on an edge; what every operation is tested for is elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch

X = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
NAN, INF = float("nan"), float("inf")

CALLS: dict[str, Any] = {
    "of a hundred": lambda t, x: t.histogram(x),
    "density": lambda t, x: t.histogram(x, density=True),
    "method": lambda t, x: x.histogram(7),
    "range": lambda t, x: t.histogram(x, bins=4, range=(-0.5, 2)),
    "no element": lambda t, x: t.histogram(x, 3, range=(50, 60)),
    "density of none": lambda t, x: t.histogram(x, 3, range=(50, 60), density=True),
    "empty range": lambda t, x: t.histogram(x, 3, range=(0.25, 0.25)),
    "edges": lambda t, x: t.histogram(x, t.tensor([-1.0, 0.0, 0.0, 2.0], dtype=x.dtype)),
    "weight": lambda t, x: t.histogram(x, 5, weight=x.abs()),
    "weight and density": lambda t, x: t.histogram(x, 5, weight=x.abs(), density=True),
    "on the edges": lambda t, x: t.histogram(t.tensor([0.0, 1.0, 2.0, 3.0]), 3),
    "tenths": lambda t, x: t.histogram(t.arange(10.0) / 10, 10, range=(0.0, 1.0)),
    "not numbers": lambda t, x: t.histogram(t.tensor([1.0, NAN, 0.5, INF, -INF]), 3, range=(0.0, 1.0)),
    "not numbers between edges": lambda t, x: t.histogram(t.tensor([1.0, NAN, 0.5, INF]), t.tensor([0.0, 1.0])),
    "one number": lambda t, x: t.histogram(t.tensor(2.0), 3),
    "equal ones": lambda t, x: t.histogram(t.ones(4), 2, density=True),
    "nothing": lambda t, x: t.histogram(t.zeros(0), 2),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.mark.oracle
@every_call
def test_as_pytorch(call: Any) -> None:
    import torch

    for dtype in (np.float32, np.float64):
        ours = call(tinytorch, tinytorch.tensor(X.astype(dtype)))
        theirs = call(torch, torch.tensor(X.astype(dtype)))
        for y, z in ((ours.hist, theirs.hist), (ours.bin_edges, theirs.bin_edges)):
            assert f"torch.{y.dtype}" == str(z.dtype)
            np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("density", [False, True])
def test_as_numpy(density: bool) -> None:
    hist, edges = tinytorch.histogram(tinytorch.tensor(X), 12, density=density)
    expected, expected_edges = np.histogram(X, 12, density=density)
    np.testing.assert_allclose(hist.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(edges.numpy(), expected_edges, rtol=1e-6)
    assert hist.dtype == edges.dtype == tinytorch.float32


def test_the_result_has_no_history_and_its_own_memory() -> None:
    x, edges = tinytorch.tensor(X, requires_grad=True), tinytorch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    found = tinytorch.histogram(x, edges, weight=x.abs(), density=True)
    assert not found.hist.requires_grad and not found.bin_edges.requires_grad
    with tinytorch.no_grad():
        found.bin_edges.zero_()
    assert edges.tolist() == [-1, 0, 1]
