"""Angles of positions against the formulas in float64; to the bit with transformers in test_llama_oracle.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lora.model.rope import RopeScaling, frequencies, tables
from tinytorch.cli.errors import UserError

D, THETA, LENGTH = 32, 10000.0, 64
PLAIN = THETA ** (-np.arange(0, D, 2) / D)


def speeds(scaling: RopeScaling, seen: int = 1) -> np.ndarray:
    found, amplitude = frequencies(D, THETA, scaling, LENGTH, seen)
    assert found.dtype == np.float32 and found.shape == (D // 2,)
    assert amplitude == 1 or scaling.rope_type == "yarn"
    return found


def test_default_and_linear() -> None:
    np.testing.assert_allclose(speeds(RopeScaling()), PLAIN, rtol=2e-7)
    np.testing.assert_allclose(speeds(RopeScaling("linear", 2.5)), PLAIN / 2.5, rtol=2e-7)


def test_dynamic_is_plain_up_to_the_trained_length_and_slows_down_beyond() -> None:
    scaling = RopeScaling("dynamic", 2.0)
    np.testing.assert_array_equal(speeds(scaling, LENGTH), speeds(RopeScaling()))
    base = THETA * (2 * 96 / LENGTH - 1) ** (D / (D - 2))
    np.testing.assert_allclose(speeds(scaling, 96), base ** (-np.arange(0, D, 2) / D), rtol=1e-6)


def test_llama3_keeps_short_waves_stretches_long_ones_and_goes_over_steadily() -> None:
    scaling = RopeScaling("llama3", 8.0, 512, 1.0, 4.0)
    found, waves = speeds(scaling), 2 * math.pi / PLAIN
    short, long = waves < 512 / 4, waves > 512
    assert short.any() and long.any() and not (short | long).all()
    np.testing.assert_allclose(found[short], PLAIN[short], rtol=2e-7)
    np.testing.assert_allclose(found[long], PLAIN[long] / 8, rtol=2e-7)
    between = ~(short | long)
    share = (512 / waves[between] - 1) / (4 - 1)
    np.testing.assert_allclose(found[between], PLAIN[between] * ((1 - share) / 8 + share), rtol=1e-6)


def test_yarn_keeps_fast_pairs_slows_slow_ones_and_lengthens_all() -> None:
    scaling = RopeScaling("yarn", 4.0, 512)
    found, amplitude = frequencies(D, THETA, scaling, LENGTH, 1)
    turns = 512 * PLAIN / (2 * math.pi)
    np.testing.assert_allclose(found[turns > 64], PLAIN[turns > 64], rtol=2e-7)
    np.testing.assert_allclose(found[turns < 0.5], PLAIN[turns < 0.5] / 4, rtol=2e-7)
    assert (np.diff(found / PLAIN) <= 1e-6).all()
    assert amplitude == pytest.approx(0.1 * math.log(4) + 1)
    cos, sin = tables(np.arange(3)[None], D, THETA, scaling, LENGTH, np.float64)
    np.testing.assert_allclose(cos**2 + sin**2, amplitude**2)


@pytest.mark.parametrize(
    ("size", "theta", "trained", "options"),
    [
        (32, 1e4, 512, {}),
        (32, 1e4, 512, {"truncate": False}),
        (64, 5e5, 4096, {"beta_fast": 8.0, "beta_slow": 2.0}),
        (16, 1e4, 16, {}),  # the passage begins before the first pair
        (16, 30.0, 10**6, {}),  # and ends after the last
        (8, 1e4, 64, {"beta_fast": 2.0, "beta_slow": 2.0, "truncate": False}),  # no passage, but a step
    ],
)
def test_yarn_pair_by_pair(size: int, theta: float, trained: int, options: dict[str, Any]) -> None:
    """Peng et al. 2023: between the pairs that turn beta_fast and beta_slow times over the trained length, a ramp."""
    found, _ = frequencies(size, theta, RopeScaling("yarn", 4.0, trained, **options), LENGTH, 1)
    first, last = (
        size * math.log(trained / (2 * math.pi * options.get(name, turns))) / (2 * math.log(theta))
        for name, turns in (("beta_fast", 32), ("beta_slow", 1))
    )
    if options.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    for i in range(size // 2):
        plain = theta ** (-2 * i / size)
        slowed = (i - first) / (last - first) if first != last else float(i > first)
        slowed = min(max(slowed, 0.0), 1.0)
        assert found[i] == pytest.approx(plain / 4 * slowed + plain * (1 - slowed), rel=1e-6), i


@pytest.mark.parametrize(
    ("given", "length", "expected"),
    [
        ({}, 64, RopeScaling()),
        ({"rope_type": "linear", "factor": 2}, 64, RopeScaling("linear", 2)),
        ({"type": "linear", "factor": 2.5}, 64, RopeScaling("linear", 2.5)),
        ({"type": "dynamic", "rope_type": "linear", "factor": 2.5}, 64, RopeScaling("linear", 2.5)),
        ({"rope_type": "dynamic", "factor": 2.0, "partial_rotary_factor": 1.0}, 64, RopeScaling("dynamic", 2.0)),
        ({"rope_type": "yarn", "factor": 4.0}, 64, RopeScaling("yarn", 4.0, 64)),
        (
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "truncate": False},
            64,
            RopeScaling("yarn", 4.0, 16, truncate=False),
        ),
        (
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
            32,
            RopeScaling("llama3", 8.0, 32, 1.0, 4.0),
        ),
        ({"rope_type": "linear", "factor": 2.0, "low_freq_factor": None}, 9, RopeScaling("linear", 2.0)),
    ],
)
def test_settings_are_read_and_written(given: dict[str, Any], length: int, expected: RopeScaling) -> None:
    assert RopeScaling.from_dict(given, length) == expected
    written = expected.to_dict()
    assert RopeScaling.from_dict(written or {}, 1) == expected
    assert (written is None) == (expected.rope_type == "default")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rope_type": "su"}, "rope type su is not supported: only default, linear, dynamic, llama3, yarn are"),
        ({"rope_type": "linear"}, "rope type linear needs factor"),
        ({"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0}, "rope type llama3 needs high_freq_factor"),
        ({"rope_type": "linear", "factor": "2"}, "factor of rope type linear is '2': expected a number"),
        ({"rope_type": "yarn", "factor": 2.0, "truncate": 1}, "truncate of rope type yarn is 1"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is not supported"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RopeScaling.from_dict(given, 64)


@pytest.mark.parametrize(
    ("given", "amplitude"),
    [
        (RopeScaling("yarn", 4.0, 512, attention_factor=1.25), 1.25),
        (RopeScaling("yarn", 1.0, 512), 1.0),
        (
            RopeScaling("yarn", 4.0, 512, mscale=2.0, mscale_all_dim=1.0),
            (0.2 * math.log(4) + 1) / (0.1 * math.log(4) + 1),
        ),
    ],
)
def test_the_amplitude_of_yarn(given: RopeScaling, amplitude: float) -> None:
    assert frequencies(D, THETA, given, LENGTH, 1)[1] == pytest.approx(amplitude)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tables(dtype: type) -> None:
    positions = np.array([[0, 1, 2], [-1, 0, 70]])
    cos, sin = tables(positions, D, THETA, RopeScaling(), LENGTH, dtype)
    assert cos.dtype == sin.dtype == dtype and cos.shape == sin.shape == (2, 3, D // 2)
    angles = positions[..., None] * speeds(RopeScaling()).astype(np.float64)
    tolerance = 1e-5 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(cos, np.cos(angles), rtol=0, atol=tolerance)
    np.testing.assert_allclose(sin, np.sin(angles), rtol=0, atol=tolerance)
