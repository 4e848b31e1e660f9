"""adamw against its formula in NumPy and against PyTorch; norm, scale and zero; errors; exact bits."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.kernels.optim import ArrayList, adam_coefficients, adamw, grad_norm, scale, zero
from tinytorch.kernels.threads import get_num_threads, set_num_threads

Array = npt.NDArray[np.floating]
dtypes = st.sampled_from([np.float32, np.float64])
# Scalars, empty arrays, arrays that share a range with others, and arrays of several ranges.
sizes = st.lists(st.sampled_from([(), (0,), (1,), (7,), (3, 5), (129,), (16384,), (200, 170)]), max_size=9)
LR, BETA1, BETA2, EPS = 1e-2, 0.9, 0.95, 1e-8


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)


def draw(rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], dtype: Any) -> list[Array]:
    return [np.array(rng.standard_normal(shape), dtype) for shape in shapes]


class Adam:
    """Parameters with their state, stepped by the kernel."""

    def __init__(self, params: list[Array]) -> None:
        self.params = params
        self.lists = [ArrayList(arrays) for arrays in (params, *([np.zeros_like(p) for p in params] for _ in "mv"))]
        self.step_count = 0

    def step(self, grads: list[Array], decays: list[float], decoupled: bool, factor: float = 1.0) -> None:
        self.step_count += 1
        rows = [adam_coefficients(self.step_count, LR, BETA1, BETA2, EPS, decay, decoupled) for decay in decays]
        params, m, v = self.lists
        adamw(params, ArrayList(grads), m, v, np.array(rows).reshape(-1, 7), factor)


def reference_step(p: Array, g: Array, m: Array, v: Array, step: int, decay: float, decoupled: bool) -> None:
    """In place, in float64, in the order of the papers."""
    if decoupled:
        p *= 1 - LR * decay
    else:
        g = g + decay * p
    m[...] = BETA1 * m + (1 - BETA1) * g
    v[...] = BETA2 * v + (1 - BETA2) * g * g
    p -= LR * (m / (1 - BETA1**step)) / (np.sqrt(v / (1 - BETA2**step)) + EPS)


@given(sizes, dtypes, st.booleans(), st.sampled_from([1.0, 0.25]), st.integers(0, 2**32 - 1))
def test_adamw(shapes: list[tuple[int, ...]], dtype: Any, decoupled: bool, factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    params = draw(rng, shapes, dtype)
    expected = [p.astype(np.float64) for p in params]
    m, v = [np.zeros_like(p) for p in expected], [np.zeros_like(p) for p in expected]
    decays = [0.1 * (k % 3) for k in range(len(shapes))]
    optimizer = Adam(params)
    for step in range(1, 4):
        # Of the parameters' signs, so that no sum cancels: Adam divides by sizes, which magnifies what rounding left.
        grads = [np.abs(g) * np.sign(p) for g, p in zip(draw(rng, shapes, dtype), expected, strict=True)]
        grads = [np.array(g, dtype) for g in grads]
        before = [g.copy() for g in grads]
        optimizer.step(grads, decays, decoupled, factor)
        for k, grad in enumerate(grads):
            np.testing.assert_array_equal(grad, before[k])
            reference_step(expected[k], factor * grad.astype(np.float64), m[k], v[k], step, decays[k], decoupled)
    tolerance = 1e-5 if dtype is np.float32 else 1e-13
    for p, e in zip(params, expected, strict=True):
        np.testing.assert_allclose(p, e, rtol=tolerance, atol=tolerance)


@pytest.mark.oracle
@pytest.mark.parametrize("decoupled", [True, False])
def test_adamw_is_pytorchs(decoupled: bool) -> None:
    import torch

    rng = np.random.default_rng(0)
    shapes = [(64, 33), (33,), ()]
    params = draw(rng, shapes, np.float64)
    there = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params]
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    theirs = kind(there, lr=LR, betas=(BETA1, BETA2), eps=EPS, weight_decay=0.1)
    ours = Adam(params)
    for _ in range(20):
        grads = draw(rng, shapes, np.float64)
        ours.step(grads, [0.1] * 3, decoupled)
        for p, g in zip(there, grads, strict=True):
            p.grad = torch.from_numpy(g)
        theirs.step()
    for p, q in zip(params, there, strict=True):
        np.testing.assert_allclose(p, q.detach().numpy(), rtol=1e-12, atol=1e-13)


@given(sizes, dtypes, st.integers(0, 2**32 - 1))
def test_norm_scale_zero(shapes: list[tuple[int, ...]], dtype: Any, seed: int) -> None:
    arrays = draw(np.random.default_rng(seed), shapes, dtype)
    before = [a.copy() for a in arrays]
    where = ArrayList(arrays)
    flat = np.concatenate([np.zeros(0), *(a.astype(np.float64).ravel() for a in arrays)])
    np.testing.assert_allclose(grad_norm(where), np.sqrt((flat**2).sum()), rtol=1e-14)
    scale(where, 0.3)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b * dtype(0.3))
    zero(where)
    assert not any(a.any() for a in arrays)


def test_norm_of_extremes() -> None:
    # Squares of these overflow or underflow in float32.
    for value in (1e30, 1e-30):
        norm = grad_norm(ArrayList([np.full(10000, value, np.float32)]))
        np.testing.assert_allclose(norm, 100 * value, rtol=1e-6)
    assert math.isnan(grad_norm(ArrayList([np.array([1.0, np.nan])])))
    assert grad_norm(ArrayList([np.array([1.0, np.inf])])) == math.inf
    assert grad_norm(ArrayList([])) == 0


def test_array_list_knows_its_arrays() -> None:
    a, b = np.ones(3), np.ones(3)
    where = ArrayList.of([a, b])
    assert ArrayList.of([a, b]).addresses is where.addresses
    for others in ([b, a], [a], [a, b.copy()], []):
        again = ArrayList.of(others)
        assert again.addresses is not where.addresses
        assert again.addresses.tolist() == [other.ctypes.data for other in others]


def test_array_list_of_arrays_that_are_gone_is_forgotten() -> None:
    for size in range(1, 50):  # new arrays, of which some lie where others lay
        arrays = [np.full(size, 2.0) for _ in range(3)]
        assert grad_norm(ArrayList.of(arrays)) == pytest.approx(2 * np.sqrt(3 * size))
        alive = weakref.ref(arrays[0])
        del arrays
        assert alive() is None


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"expected one dtype, got \['float32', 'float64'\]"):
        ArrayList([np.ones(3), np.ones(3, np.float32)])
    with pytest.raises(ValueError, match=r"array 1, shape \(3, 2\), is not C-contiguous"):
        ArrayList([np.ones(3), np.ones((2, 3)).T])
    p, short = ArrayList([np.ones(3)]), ArrayList([np.ones(2)])
    row = np.array([adam_coefficients(1, LR, BETA1, BETA2, EPS, 0.0, True)])
    with pytest.raises(ValueError, match="exp_avgs differ from params"):
        adamw(p, p, short, p, row)
    with pytest.raises(ValueError, match=r"expected coefficients \(1, 7\), got \(1, 3\)"):
        adamw(p, p, p, p, row[:, :3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype: Any) -> None:
    shapes = [(300, 200), (5,), (77, 1001)]
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        rng = np.random.default_rng(0)
        params, grads = draw(rng, shapes, dtype), draw(rng, shapes, dtype)
        optimizer = Adam(params)
        optimizer.step(grads, [0.1] * 3, True)
        results.append([*params, np.array(grad_norm(ArrayList(grads)))])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
