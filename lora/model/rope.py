"""The angles of rotary position embeddings: a frequency for each pair of a head, for transformers' rope types.

Everything is computed in float32, step by step as in transformers: models were trained with these roundings.
B batch, T time, D size of a head.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import one_line
from tinytorch.dtypes import DTypeLike

Floats = NDArray[np.floating[Any]]

_NEEDED = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
}
TYPES = tuple(_NEEDED)
_MOST = 1e6  # the largest value of a setting, so that nothing overflows


@dataclass(frozen=True)
class RopeScaling:
    """How to extend the context beyond the trained length, under transformers' names; 0 if a type lacks it."""

    rope_type: str = "default"
    factor: float = 0.0
    original_max_position_embeddings: int = 0
    low_freq_factor: float = 0.0
    high_freq_factor: float = 0.0
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], length: int) -> RopeScaling:
        """Build from rope_parameters or rope_scaling; length is the model's max_position_embeddings."""
        given = dict(given)
        old_name = given.pop("type", "default")
        rope_type = given.setdefault("rope_type", old_name)
        if rope_type not in TYPES:
            raise UserError(f"rope type {rope_type} is not supported: only {', '.join(TYPES)} are")
        if given.pop("partial_rotary_factor", 1.0) != 1.0:
            raise UserError("partial_rotary_factor is not supported: only whole heads are rotated")
        for name in _NEEDED[rope_type]:
            if given.get(name) is None:
                raise UserError(f"rope type {rope_type} needs {name}: add it to rope_scaling")
        if rope_type in ("llama3", "yarn") and given.get("original_max_position_embeddings") is None:
            given["original_max_position_embeddings"] = length
        own = {f.name for f in fields(cls)}
        unknown = sorted(given.keys() - own - {"finetuned"})
        for name in unknown:
            if isinstance(given[name], (dict, list)):
                raise UserError(f"{name} of rope type {rope_type} is not supported: all layers and pairs rotate alike")
        if unknown:
            what = f"settings of rope type {rope_type} that are passed over: {', '.join(unknown)}"
            warnings.warn(one_line(f"config.json has {what}"), stacklevel=2)
        return cls(**{name: value for name, value in given.items() if name in own and value is not None})

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "rope_type" or value == f.default:
                continue
            what = f"{f.name} of rope type {self.rope_type} is {value!r}"
            if f.name == "truncate":
                good, expected = isinstance(value, bool), "true or false"
            elif f.name == "original_max_position_embeddings":
                good, expected = type(value) is int and 0 < value <= 2**31, "an integer above 0"
            else:
                good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST
                expected = "a number, at least 0"
            if not good:
                raise UserError(f"{what}: expected {expected}")
        for name in _NEEDED[self.rope_type]:
            if not getattr(self, name):
                raise UserError(f"{name} of rope type {self.rope_type} is {getattr(self, name)}: it must be above 0")

    def to_dict(self) -> dict[str, Any] | None:
        """The content of rope_scaling: the settings in use, or None if nothing is scaled."""
        if self.rope_type == "default":
            return None
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def check_frequencies(head_dim: int, theta: float, scaling: RopeScaling, length: int) -> None:
    """UserError if the settings, though each may be valid by itself, together give no angles."""
    with np.errstate(all="ignore"):
        for seen in (1, 2 * length):
            try:
                speeds, amplitude = frequencies(head_dim, theta, scaling, length, seen)
                good = bool(np.isfinite(speeds).all()) and 0 < amplitude < math.inf
            except (ArithmeticError, ValueError):
                good = False
            if not good:
                raise UserError(
                    f"rope type {scaling.rope_type} gives no angles for rope_theta {theta:g}, head_dim {head_dim} and "
                    "its own settings: correct rope_scaling"
                )


def tables(
    positions: NDArray[np.integer[Any]],
    head_dim: int,
    theta: float,
    scaling: RopeScaling,
    length: int,
    dtype: DTypeLike,
) -> tuple[Floats, Floats]:
    """cos and sin, (B, T, D/2), for positions (B, T); length is the model's max_position_embeddings."""
    speeds, amplitude = frequencies(head_dim, theta, scaling, length, int(positions.max(initial=0)) + 1)
    angles = positions[..., None].astype(dtype) * speeds.astype(dtype)  # (B, T, D/2)
    return np.cos(angles) * amplitude, np.sin(angles) * amplitude


def frequencies(head_dim: int, theta: float, scaling: RopeScaling, length: int, seen: int) -> tuple[Floats, float]:
    """The angle of each pair from one position to the next, float32 (D/2), and a factor for cos and sin.

    length is the model's max_position_embeddings, `seen` the number of positions in use.
    """
    return _FREQUENCIES[scaling.rope_type](head_dim, theta, scaling, length, seen)


def _default(head_dim: int, theta: float, *_: Any) -> tuple[Floats, float]:
    """theta^(-2i/D). Su et al. 2021."""
    return 1 / _powers(head_dim, theta), 1.0


def _powers(head_dim: int, theta: float) -> Floats:
    """theta^(2i/D), float32 (D/2), correctly rounded: closer to PyTorch's result than NumPy's own power."""
    exponents = np.arange(0, head_dim, 2).astype(np.float32) / np.float32(head_dim)
    powers: Floats = np.power(theta, exponents.astype(np.float64)).astype(np.float32)
    return powers


def _linear(head_dim: int, theta: float, scaling: RopeScaling, *_: Any) -> tuple[Floats, float]:
    """Positions divided by the factor. Chen et al. 2023, arXiv:2306.15595."""
    plain, amplitude = _default(head_dim, theta)
    return plain / scaling.factor, amplitude


def _dynamic(head_dim: int, theta: float, scaling: RopeScaling, length: int, seen: int) -> tuple[Floats, float]:
    """A base that grows with the sequence once it is longer than in training ("NTK-aware scaling")."""
    if seen > length:
        stretch = np.float32(scaling.factor * seen) / np.float32(length) - np.float32(scaling.factor - 1)
        theta = float(np.float32(theta) * np.float32(float(stretch) ** (head_dim / (head_dim - 2))))
    return _default(head_dim, theta)


def _llama3(head_dim: int, theta: float, scaling: RopeScaling, *_: Any) -> tuple[Floats, float]:
    """Low frequencies divided by the factor, high ones kept, a linear transition between. Llama 3.1, 2024."""
    # Python's numbers take the dtype of the arrays they meet, float32.
    factor, low, high = scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor
    trained = scaling.original_max_position_embeddings
    plain, amplitude = _default(head_dim, theta)
    wavelength = 2 * math.pi / plain
    smooth = (trained / wavelength - low) / (high - low)
    between = (1 - smooth) * plain / factor + smooth * plain
    scaled = np.where(wavelength > trained / low, plain / factor, between)
    return np.where(wavelength < trained / high, plain, scaled), amplitude


def _yarn(head_dim: int, theta: float, scaling: RopeScaling, *_: Any) -> tuple[Floats, float]:
    """As llama3, with the transition by number of turns, and longer vectors. Peng et al. 2023, arXiv:2309.00071."""
    factor, trained = scaling.factor, scaling.original_max_position_embeddings

    def pair_that_turns(times: float) -> float:
        """The index of the pair that makes this many turns over the trained length."""
        return head_dim * math.log(trained / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_that_turns(scaling.beta_fast or 32), pair_that_turns(scaling.beta_slow or 1)
    if scaling.truncate is not False:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low if high != low else 0.001
    kept = 1 - np.clip((np.arange(head_dim // 2, dtype=np.float32) - low) / width, 0, 1)
    powers = _powers(head_dim, theta)
    speeds = 1 / (factor * powers) * (1 - kept) + 1 / powers * kept
    amplitude = scaling.attention_factor
    if amplitude is None:
        amplitude = _amplitude(factor, 1.0)
        if scaling.mscale and scaling.mscale_all_dim:
            amplitude = _amplitude(factor, scaling.mscale) / _amplitude(factor, scaling.mscale_all_dim)
    return speeds, amplitude


def _amplitude(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


_FREQUENCIES = {"default": _default, "linear": _linear, "dynamic": _dynamic, "llama3": _llama3, "yarn": _yarn}
