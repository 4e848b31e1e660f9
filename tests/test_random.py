"""Generators, and the distributions drawn from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch as torch

DRAWS = (
    lambda g: torch.rand(5, generator=g),
    lambda g: torch.randn(5, generator=g),
    lambda g: torch.randint(100, (5,), generator=g),
    lambda g: torch.randperm(20, generator=g),
    lambda g: torch.normal(0.0, 1.0, (5,), generator=g),
    lambda g: torch.bernoulli(torch.full((50,), 0.5), generator=g),
    lambda g: torch.multinomial(torch.ones(50), 10, generator=g),
    lambda g: torch.multinomial(torch.ones(50), 10, True, generator=g),
    lambda g: torch.empty(5).normal_(generator=g),
    lambda g: torch.empty(5).uniform_(generator=g),
    lambda g: torch.empty(50).bernoulli_(generator=g),
)


@pytest.mark.parametrize("draw", DRAWS)
def test_the_same_seed_gives_the_same_numbers(draw: Any) -> None:
    torch.manual_seed(1)
    default = [draw(None).tolist() for _ in range(2)]
    state = torch.get_rng_state()
    own = torch.Generator().manual_seed(1)
    assert [draw(own).tolist() for _ in range(2)] == default and default[0] != default[1]
    assert torch.equal(torch.get_rng_state(), state)  # the default generator was not touched
    torch.manual_seed(2)
    assert draw(None).tolist() != default[0]


@pytest.mark.parametrize("draw", DRAWS)
def test_state_is_saved_and_restored(draw: Any) -> None:
    generator = torch.Generator()
    draw(generator)
    state = generator.get_state()
    assert state.dtype == torch.uint8 and state.ndim == 1
    expected = [draw(generator).tolist() for _ in range(3)]
    for other in (generator, torch.Generator()):
        other.set_state(state)
        assert [draw(other).tolist() for _ in range(3)] == expected
        assert other.initial_seed() == generator.initial_seed()


def test_the_default_generator_has_a_state_too() -> None:
    torch.manual_seed(7)
    assert torch.initial_seed() == 7
    state = torch.get_rng_state()
    first = torch.rand(3).tolist()
    torch.set_rng_state(state)
    assert torch.rand(3).tolist() == first
    assert torch.seed() == torch.initial_seed() != 7
    assert torch.manual_seed(-1).initial_seed() == -1


@pytest.mark.parametrize("state", [torch.zeros(3, dtype=torch.uint8), torch.tensor(list(b"{}"), dtype=torch.uint8)])
def test_a_state_that_is_none_is_refused_and_changes_nothing(state: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    with pytest.raises(ValueError, match="not the state"):
        generator.set_state(state)
    assert (
        torch.rand(2, generator=generator).tolist()
        == torch.rand(2, generator=torch.Generator().manual_seed(3)).tolist()
    )


def test_generators_are_independent_and_on_the_cpu() -> None:
    assert (
        torch.rand(3, generator=torch.Generator("cpu")).tolist() != torch.rand(3, generator=torch.Generator()).tolist()
    )
    with pytest.raises(RuntimeError, match="cuda"):
        torch.Generator(device="cuda")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rand_is_below_1_in_every_dtype(dtype: Any) -> None:
    x = torch.rand(200_000, dtype=dtype, generator=torch.Generator().manual_seed(0)).double().numpy()
    assert x.min() >= 0 and x.max() < 1
    counts = np.histogram(x, 8, (0, 1))[0]
    assert ((counts - 25_000) ** 2 / 25_000).sum() < 30  # chi squared, 7 degrees of freedom: p < 1e-4
    filled = torch.empty(200_000, dtype=dtype).uniform_(generator=torch.Generator().manual_seed(0))
    assert filled.min().item() >= 0 and filled.max().item() < 1


def test_moments() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, generator=generator)
    assert abs(x.mean().item()) < 0.02 and abs(x.std().item() - 1) < 0.02
    y = torch.normal(torch.full((100_000,), 3.0), torch.full((100_000,), 2.0), generator=generator)
    assert abs(y.mean().item() - 3) < 0.03 and abs(y.std().item() - 2) < 0.03
    z = torch.randint(-2, 3, (100_000,), generator=generator)
    assert sorted(set(z.tolist())) == [-2, -1, 0, 1, 2] and abs(z.float().mean().item()) < 0.03
    assert sorted(torch.randperm(100, generator=generator).tolist()) == list(range(100))
    assert abs(torch.bernoulli(torch.full((100_000,), 0.3), generator=generator).mean().item() - 0.3) < 0.01


WEIGHTS = [0.0, 1.0, 0.0, 2.0, 5.0, 0.0]


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_multinomial_with_replacement(scale: float) -> None:
    weights = torch.tensor([WEIGHTS, WEIGHTS[::-1]]) * scale
    counts = np.stack([
        np.bincount(row, minlength=6)
        for row in torch.multinomial(weights, 80_000, True, generator=torch.Generator().manual_seed(0)).numpy()
    ])  # fmt: skip
    expected = np.array([WEIGHTS, WEIGHTS[::-1]]) * 10_000
    assert (counts[expected == 0] == 0).all()
    drawn = expected > 0
    assert ((counts[drawn] - expected[drawn]) ** 2 / expected[drawn]).sum() < 25  # 4 degrees of freedom: p < 1e-4


def test_multinomial_without_replacement() -> None:
    """The first draw has the probabilities of the weights, the second those of the weights that are left."""
    weights = torch.tensor([WEIGHTS] * 40_000)
    drawn = torch.multinomial(weights, 3, generator=torch.Generator().manual_seed(0)).numpy()
    assert (np.sort(drawn, axis=1) == [1, 3, 4]).all()
    first = np.bincount(drawn[:, 0], minlength=6) / 40_000
    np.testing.assert_allclose(first, np.array(WEIGHTS) / 8, atol=0.01)
    second = np.bincount(drawn[drawn[:, 0] == 4, 1], minlength=6)
    np.testing.assert_allclose(second / second.sum(), [0, 1 / 3, 0, 2 / 3, 0, 0], atol=0.01)


class _Largest(torch.Generator):
    """Draws the largest number below 1, each time."""

    def draw(self, function: Any) -> Any:
        return np.full(np.shape(super().draw(function)), np.nextafter(1, 0))


def test_multinomial_never_draws_beyond_the_last_weight() -> None:
    """The running sum may end below the sum, where a draw can come to lie between them."""
    weights = np.full(1000, 0.1)
    assert weights.cumsum()[-1] < weights.sum() * np.nextafter(1, 0)  # else this test shows nothing
    for tail in ([], [0.0, 0.0]):
        drawn = torch.multinomial(torch.tensor([*weights, *tail], dtype=torch.float64), 3, True, generator=_Largest())
        assert drawn.tolist() == [999] * 3


def test_multinomial_shapes() -> None:
    assert torch.multinomial(torch.tensor(WEIGHTS), 1).shape == (1,)
    assert torch.multinomial(torch.ones(3, 4), 2).shape == (3, 2)
    assert torch.multinomial(torch.ones(0, 4), 2, True).shape == (0, 2)
    assert torch.multinomial(torch.tensor([0.0, 3.0]), 5, replacement=True).tolist() == [1] * 5


def test_a_seed_is_an_integer_of_64_bits_whatever_its_sign() -> None:
    def draws(seed: int) -> Any:
        return torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist()

    assert draws(-1) == draws(2**64 - 1) != draws(1)
    assert draws(2**64 + 5) == draws(5)
    generator = torch.Generator()
    assert generator.manual_seed(9) is generator and generator.initial_seed() == 9
    assert generator.seed() == generator.initial_seed() != 9
    assert 0 <= generator.seed() < 2**63


def test_new_generators_are_seeded_afresh() -> None:
    seeds = {torch.Generator().initial_seed() for _ in range(4)}
    assert len(seeds) == 4


@pytest.mark.parametrize(("dtype", "steps"), [(torch.float16, 2**11), (torch.bfloat16, 2**8)])
def test_uniform_numbers_in_two_bytes_are_whole_steps(dtype: Any, steps: int) -> None:
    """All of them, each as probable: down to 0, and up to the last below 1."""
    x = torch.rand(200_000, dtype=dtype, generator=torch.Generator().manual_seed(0)).double().numpy() * steps
    assert (x == np.round(x)).all() and (x.min(), x.max()) == (0, steps - 1)


def test_uniform_numbers_are_numpys() -> None:
    """What the stream is: NumPy's PCG64 of the seed, in the dtype that is asked for."""
    for dtype in (np.float32, np.float64):
        expected = np.random.Generator(np.random.PCG64(5)).random((2, 3), dtype)
        found = torch.rand(2, 3, dtype=dtype, generator=torch.Generator().manual_seed(5))
        np.testing.assert_array_equal(found.numpy(), expected)


def test_seeds_of_kernels() -> None:
    generator = torch.Generator().manual_seed(0)
    seeds = [generator.seed_of_kernel() for _ in range(200)]
    assert {(seed.shape, seed.dtype.name) for seed in seeds} == {((), "int64")}
    values = [int(seed) for seed in seeds]
    assert len(set(values)) == 200 and min(values) >= 0 and max(values) > 2**62
