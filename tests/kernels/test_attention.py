"""Attention in tiles against the formula in NumPy, float64, with the whole (T, S) matrix in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.kernels.attention.attention import attention, attention_backward, dropout_mask
from tinytorch.kernels.attention.backward import plain_attention_backward
from tinytorch.kernels.attention.forward import plain_attention
from tinytorch.kernels.threads import get_num_threads, max_threads, set_num_threads

Array = npt.NDArray[Any]
TOLERANCE = {np.float32: 4e-4, np.float64: 1e-12}  # dP - delta cancels where one key has all the weight


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads = get_num_threads()
    yield
    set_num_threads(threads)


@dataclass
class Case:
    """A problem: q, k, v, the gradient of the output, and the keyword arguments."""

    q: Array
    k: Array
    v: Array
    grad: Array
    options: dict[str, Any] = field(default_factory=dict)

    def run(self) -> tuple[Array, ...]:
        """out, log-sum-exp, dq, dk, dv from the kernels."""
        out, stats = attention(self.q, self.k, self.v, **self.options)
        with np.errstate(divide="ignore"):
            lse = stats[0] + np.log(stats[1])
        return out, lse, *attention_backward(self.grad, self.q, self.k, self.v, out, stats, **self.options)


def make(
    seed: int = 0,
    B: int = 2,
    H: int = 2,
    group: int = 1,
    T: int = 5,
    S: int = 7,
    D: int = 4,
    Dv: int = 4,
    dtype: Any = np.float32,
    layout: str = "bhtd",
    **options: Any,
) -> Case:
    rng = np.random.default_rng(seed)

    def draw(heads: int, positions: int, size: int) -> Array:
        if layout == "bhtd":
            return rng.standard_normal((B, heads, positions, size)).astype(dtype)
        if layout == "bthd":  # a projection's output
            return rng.standard_normal((B, positions, heads, size)).astype(dtype).transpose(0, 2, 1, 3)
        if layout == "slice":  # a part of a fused projection's output
            x = rng.standard_normal((B, positions, 3, heads, size)).astype(dtype)
            return x[:, :, 1].transpose(0, 2, 1, 3)
        if layout == "strided":  # the last axis not contiguous
            return rng.standard_normal((B, heads, size, positions)).astype(dtype).swapaxes(2, 3)
        return rng.standard_normal((B, heads, positions, size)).astype(dtype)[:, ::-1, ::-1]  # negative strides

    q, k, v, grad = draw(H * group, T, D), draw(H, S, D), draw(H, S, Dv), draw(H * group, T, Dv)
    return Case(q, k, v, grad, options)


def reference(case: Case) -> tuple[Array, ...]:
    """What Case.run returns, from the formula."""
    q, k, v, grad = (x.astype(np.float64) for x in (case.q, case.k, case.v, case.grad))
    options = {"mask": None, "causal": False, "scale": None, "dropout": 0.0, "seed": 0} | case.options
    (B, H, T, D), (heads, S) = q.shape, k.shape[1:3]
    group = H // heads
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scale = D**-0.5 if options["scale"] is None else options["scale"]
    scores = scale * q @ k.swapaxes(2, 3)
    if options["mask"] is not None:
        mask = options["mask"]
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if options["causal"]:
        scores = np.where(np.arange(T)[:, None] >= np.arange(S), scores, -np.inf)
    largest = scores.max(axis=3, keepdims=True, initial=-np.inf)
    largest = np.where(largest == -np.inf, 0, largest)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.exp(scores - largest)
        total = p.sum(axis=3, keepdims=True)
        lse = (largest + np.log(total))[..., 0]
        p = np.where(total == 0, 0, p / total)
    rate = options["dropout"]
    z = dropout_mask(options["seed"], rate, B, H, T, S) / (1 - rate) if rate else np.ones_like(p)
    dp = z * (grad @ v.swapaxes(2, 3))
    ds = p * (dp - (p * dp).sum(axis=3, keepdims=True))
    dk = (scale * ds.swapaxes(2, 3) @ q).reshape(B, heads, group, S, D).sum(axis=2)
    dv = ((p * z).swapaxes(2, 3) @ grad).reshape(B, heads, group, S, v.shape[3]).sum(axis=2)
    return (p * z) @ v, lse, scale * ds @ k, dk, dv


def check(case: Case, looser: float = 1.0) -> None:
    dtype = case.q.dtype.type
    for name, ours, theirs in zip(("out", "lse", "dq", "dk", "dv"), case.run(), reference(case), strict=True):
        assert ours.dtype == dtype, name
        assert ours.shape == theirs.shape, name
        finite = np.abs(theirs[np.isfinite(theirs)])
        tolerance = looser * TOLERANCE[dtype] * max(1.0, finite.max(initial=0))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("arguments", [
    {"T": 3, "S": 5, "D": 3, "Dv": 2, "group": 2},
    {"T": 20, "S": 17, "D": 5, "Dv": 4, "H": 1, "group": 3, "layout": "slice"},
    {"T": 33, "S": 40, "D": 2, "Dv": 3, "B": 1, "H": 1},
])  # fmt: skip
def test_what_the_plain_loops_say(arguments: dict[str, Any], dtype: Any) -> None:
    case = make(**arguments, dtype=dtype)
    (B, H, T, D), S = case.q.shape, case.k.shape[2]
    rng = np.random.default_rng(T)
    mask = np.where(rng.random((B, H, T, S)) < 0.7, rng.standard_normal((B, H, T, S)), -np.inf)
    mask[:, 0, 1] = -np.inf  # a row that may attend to nothing
    case.options["mask"] = mask.astype(dtype)
    q, k, v, grad = (x.astype(np.float64) for x in (case.q, case.k, case.v, case.grad))
    out, top, total = plain_attention(q, k, v, case.options["mask"], D**-0.5)
    gradients = plain_attention_backward(grad, q, k, v, out, top, total, case.options["mask"], D**-0.5)
    with np.errstate(divide="ignore"):
        exact = (out, top + np.log(total), *gradients)
    for ours, theirs in zip(case.run(), exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype])


sizes = st.one_of(st.integers(1, 9), st.integers(10, 70), st.sampled_from([31, 32, 33, 63, 64, 65, 128, 129, 150]))


@given(
    seed=st.integers(0, 99), B=st.integers(1, 2), H=st.integers(1, 3), group=st.integers(1, 3), T=sizes, S=sizes,
    D=st.one_of(st.integers(1, 9), st.sampled_from([15, 16, 17, 32, 64, 80, 128])),
    Dv=st.one_of(st.integers(1, 9), st.sampled_from([32, 33, 64, 128])),
    dtype=st.sampled_from([np.float32, np.float64]),
    layout=st.sampled_from(["bhtd", "bthd", "slice", "strided", "negative"]),
    causal=st.booleans(), scale=st.sampled_from([None, 0.0, -0.3, 1.0]), dropout=st.sampled_from([0.0, 0.0, 0.25]),
    mask_shape=st.sampled_from([None, None, "TS", "1S", "T1", "B1TS", "BHTS", "H1S"]), boolean=st.booleans(),
)  # fmt: skip
@settings(max_examples=250)
def test_matches_the_formula(mask_shape: str | None, boolean: bool, **arguments: Any) -> None:
    case = make(**arguments)
    if mask_shape is not None:
        lengths = {"B": case.q.shape[0], "H": case.q.shape[1], "T": case.q.shape[2], "S": case.k.shape[2], "1": 1}
        rng = np.random.default_rng(arguments["seed"])
        mask: Array = rng.random([lengths[axis] for axis in mask_shape]) < 0.6
        if not boolean:
            mask = np.where(mask, rng.standard_normal(mask.shape), -np.inf).astype(case.q.dtype)
        case.options["mask"] = mask
    check(case)


def test_many_tiles() -> None:
    check(make(T=700, S=900, D=33, Dv=20, H=1, B=1, layout="slice", causal=True, dropout=0.1, seed=4))
    check(make(T=300, S=1000, D=64, Dv=64, H=1, group=4, B=1, layout="bthd", dtype=np.float64))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("T", "S"), [(0, 5), (5, 0), (0, 0), (1, 1), (1, 300), (300, 1)])
def test_few_positions(T: int, S: int, causal: bool) -> None:
    check(make(T=T, S=S, causal=causal))


@given(
    seed=st.integers(0, 99), T=st.integers(1, 4), S=st.integers(1, 200), group=st.integers(1, 6), D=st.integers(1, 80),
    Dv=st.integers(1, 80), dtype=st.sampled_from([np.float32, np.float64]), layout=st.sampled_from(["bthd", "slice"]),
    causal=st.booleans(), mask=st.sampled_from(["none", "boolean", "float"]),
)  # fmt: skip
@settings(max_examples=60)
def test_generation(mask: str, **arguments: Any) -> None:
    """A few queries have a kernel of their own."""
    case = make(**arguments)
    if mask != "none":
        allowed: Array = np.random.default_rng(arguments["seed"]).random((arguments["T"], arguments["S"])) < 0.5
        case.options["mask"] = allowed if mask == "boolean" else np.where(allowed, 0.5, -np.inf)
    check(case)


def test_empty_batch() -> None:
    check(make(B=0))


def test_layout_of_results() -> None:
    """What the next linear layer needs is a view, not a copy."""
    for name, x in zip(("out", "lse", "dq", "dk", "dv"), make(T=20, S=20).run(), strict=True):
        if name != "lse":
            assert x.transpose(0, 2, 1, 3).flags.c_contiguous, name


@pytest.mark.parametrize("boolean", [True, False])
def test_rows_that_see_nothing(boolean: bool) -> None:
    case = make(T=70, S=90)
    mask: Array = np.random.default_rng(1).random((70, 90)) < 0.5
    mask[[0, 3, 40]] = False
    case.options["mask"] = mask if boolean else np.where(mask, 0, -np.inf).astype(np.float32)
    check(case)
    out, lse, dq, _, _ = case.run()
    for x in (out, dq):
        assert not x[:, :, [0, 3, 40]].any()
    assert (lse[:, :, [0, 3, 40]] == -np.inf).all()


@pytest.mark.parametrize("T", [3, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_with_the_lowest_number_added(T: int, dtype: Any) -> None:
    """Their scores drown: such a row averages all values, forward and backward."""
    mask = np.zeros((T, 90), dtype)
    mask[1] = np.finfo(dtype).min
    case = make(T=T, S=90, mask=mask, dtype=dtype)
    case.grad[:, :, [0, *range(2, T)]] = 0
    out, _, dq, dk, dv = case.run()
    near = {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(out[:, :, 1], case.v.mean(axis=2), **near)
    np.testing.assert_allclose(dv, np.broadcast_to(case.grad[:, :, 1:2] / 90, dv.shape), **near)
    u = np.einsum("bhd,bhjd->bhj", case.grad[:, :, 1], case.v)
    ds = (u - u.mean(axis=2, keepdims=True)) / 90 * case.q.shape[3] ** -0.5
    np.testing.assert_allclose(dq[:, :, 1], np.einsum("bhj,bhjd->bhd", ds, case.k), **near)
    np.testing.assert_allclose(dk, ds[..., None] * case.q[:, :, 1:2], **near)


def test_read_only_inputs_and_masks() -> None:
    case = make(T=40, S=40, mask=np.broadcast_to(np.arange(40) % 3 > 0, (40, 40)))
    case.q.flags.writeable = False
    check(case)


def test_large_scores() -> None:
    """exp(1000) overflows, exp(-1000) is 0: the running maximum is what keeps the rows right."""
    case = make(T=70, S=200, D=16, scale=1.0, dtype=np.float64)
    case.q *= 300
    check(case, looser=1000)  # the rounding of a score, not of a probability
    check(make(T=70, S=200, mask=np.linspace(-3000, 3000, 200, dtype=np.float32)), looser=100)


def test_not_a_number() -> None:
    case = make(T=70, S=70)
    case.q[:, :, 3] = np.nan
    out, stats = attention(case.q, case.k, case.v)
    assert np.isnan(out[:, :, 3]).all() and np.isnan(stats[1, :, :, 3]).all()
    assert np.isfinite(np.delete(out, 3, axis=2)).all()

    case = make(T=70, S=70, causal=True)
    case.k[:, :, 50] = np.nan
    out, _ = attention(case.q, case.k, case.v, causal=True)
    assert np.isfinite(out[:, :, :50]).all()
    assert np.isnan(out[:, :, 50:]).all()
    out, _ = attention(case.q, case.k, case.v, mask=np.arange(70) != 50)
    assert np.isfinite(out).all()

    case = make(T=5, S=70)
    case.v[:, :, 50, 0] = np.inf
    out, _ = attention(case.q, case.k, case.v)
    assert (out[..., 0] == np.inf).all() and np.isfinite(out[..., 1:]).all()


def test_infinite_score() -> None:
    """inf - inf: not a number, as in a softmax over the whole row."""
    for T in (2, 20):
        case = make(T=T, S=70)
        case.k[:, :, 60] = np.inf
        case.q[:] = np.abs(case.q)
        out, _ = attention(case.q, case.k, case.v)
        assert np.isnan(out).all()


@pytest.mark.skipif(max_threads() < 2, reason="one core")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype: Any) -> None:
    for case in (
        make(T=300, S=300, D=24, B=3, H=2, group=2, dtype=dtype, causal=True, dropout=0.2, seed=1),
        make(T=50, S=500, D=40, B=1, H=1, dtype=dtype),
    ):
        set_num_threads(1)
        one = case.run()
        set_num_threads(2)
        for _ in range(3):
            for a, b in zip(one, case.run(), strict=True):
                np.testing.assert_array_equal(a, b)


def test_dropout_mask() -> None:
    B, H, T, S, p = 2, 3, 200, 300, 0.3
    kept = dropout_mask(5, p, B, H, T, S)
    assert kept.shape == (B, H, T, S) and kept.dtype == bool
    # Binomial: within five standard deviations, for the whole, and for rows and columns of all heads.
    for axes in ((0, 1, 2, 3), (0, 1, 2), (0, 1, 3), (2, 3)):
        count = np.prod([kept.shape[axis] for axis in axes])
        deviation = np.sqrt(p * (1 - p) / count)
        assert np.abs(kept.mean(axis=axes) - (1 - p)).max() < 5 * deviation
    # No correlation between heads, seeds, neighbouring rows or columns.
    z = (kept - (1 - p)) / np.sqrt(p * (1 - p))
    other = (dropout_mask(6, p, B, H, T, S) - (1 - p)) / np.sqrt(p * (1 - p))
    pairs = [(z[0], z[1]), (z[:, 0], z[:, 1]), (z, other), (z[:, :, 1:], z[:, :, :-1]), (z[..., 1:], z[..., :-1])]
    pairs += [(z[..., 2:], z[..., :-2]), (z[:, :, 1:, 1:], z[:, :, :-1, :-1]), (z[..., :200], z[..., :200].mT)]
    rows, columns = np.triu_indices(200, 1)
    pairs[-1] = (pairs[-1][0][:, :, rows, columns], pairs[-1][1][:, :, rows, columns])
    for a, b in pairs:
        assert abs((a * b).mean()) < 5 / np.sqrt(a.size)
    np.testing.assert_array_equal(dropout_mask(5, p, 1, H, 7, S), kept[:1, :, :7])
    assert dropout_mask(5, 0.0, 1, 1, 9, 9).all()
    assert not dropout_mask(5, 1.0, 1, 1, 9, 9).any()


def test_everything_dropped() -> None:
    out, _, dq, dk, dv = make(T=40, S=40, dropout=1.0).run()
    for x in (out, dq, dk, dv):
        assert not x.any()


def test_dropout_keeps_the_mean() -> None:
    case = make(T=8, S=400, D=8, Dv=8, B=1)
    case.v[:] = 1
    mean = np.mean([attention(case.q, case.k, case.v, dropout=0.5, seed=s)[0].mean() for s in range(50)])
    assert abs(mean - 1) < 0.02


_MEMORY = """
import numpy as np
from tinytorch.training.memory import peak_memory
from tinytorch.kernels.attention.attention import attention, attention_backward
def step(T):
    q, k, v, grad = np.random.default_rng(0).standard_normal((4, 1, 1, T, 8)).astype(np.float32)
    out, stats = attention(q, k, v, causal=True)
    attention_backward(grad, q, k, v, out, stats, causal=True)
    return peak_memory()
print(-step(256) + step(8192))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_memory_is_linear() -> None:
    """The scores of 8192 positions alone would take 256 MB; q, k, v, the results and tiles take a few."""
    run = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 32 * 2**20


def test_errors() -> None:
    q, k, v = (np.zeros((1, 4, 3, 8), np.float32) for _ in range(3))
    with pytest.raises(ValueError, match="four axes"):
        attention(q[0], k[0], v[0])
    with pytest.raises(TypeError, match="float32 or all float64"):
        attention(q.astype(np.float64), k, v)
    with pytest.raises(ValueError, match="not a multiple of 3"):
        attention(q, k[:, :3], v[:, :3])
    with pytest.raises(ValueError, match="do not fit"):
        attention(q, k[..., :7], v)
    with pytest.raises(ValueError, match="size of a head"):
        attention(q[..., :0], k[..., :0], v)
    with pytest.raises(ValueError, match="between 0 and 1"):
        attention(q, k, v, dropout=1.5)
    with pytest.raises(ValueError, match="mask"):
        attention(q, k, v, mask=np.ones((3, 4), bool))
    with pytest.raises(ValueError, match="grad"):
        attention_backward(q[:, :2], q, k, v, *attention(q, k, v))


@pytest.mark.oracle
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("T", "D"), [(64, 32), (200, 64)])
def test_matches_pytorch(T: int, D: int, causal: bool) -> None:
    import torch

    case = make(T=T, S=T, D=D, Dv=D, H=4, layout="slice", causal=causal)
    q, k, v = (torch.from_numpy(np.ascontiguousarray(x)).requires_grad_() for x in (case.q, case.k, case.v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    out.backward(torch.from_numpy(np.ascontiguousarray(case.grad)))
    ours = case.run()
    for a, b in zip((ours[0], *ours[2:]), (out.detach(), q.grad, k.grad, v.grad), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("T", [1, 20, 70])
def test_gradients_of_thirds_of_one_array_lie_as_these_do(T: int) -> None:
    """So that nothing need be put together for the product that made q, k and v."""
    apart = make(B=8, H=2, T=T, S=T, D=4, Dv=4, causal=True)
    apart.k, apart.v = apart.q * 0.7 + 0.1, apart.q[::-1].copy()
    one = np.empty((8, T, 3, 2, 4), np.float32)
    for i, x in enumerate((apart.q, apart.k, apart.v)):
        one[:, :, i] = x.transpose(0, 2, 1, 3)
    thirds = [one[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    together = Case(*thirds, apart.grad, apart.options)
    for ours, expected in zip(together.run(), apart.run(), strict=True):
        np.testing.assert_array_equal(ours, expected)
    dq, dk, dv = together.run()[2:]
    assert dq.base is dk.base is dv.base and dq.base.shape == (8, T, 3, 2, 4)
    for i, gradient in enumerate((dq, dk, dv)):
        np.testing.assert_array_equal(dq.base[:, :, i].transpose(0, 2, 1, 3), gradient)
