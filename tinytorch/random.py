"""Random numbers: generators whose state can be saved, and a default generator for calls without one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .dtypes import DTypeLike, check_device, finfo
from .engine.mode import mode
from .engine.runner import untraced
from .engine.tensor import wrap
from .ops.common import elements_of

if TYPE_CHECKING:
    from .tensor import Tensor


class Generator:
    """A stream of random numbers (NumPy's PCG64), seeded afresh unless `manual_seed` is called."""

    def __init__(self, device: Any = "cpu") -> None:
        check_device(device)
        self._seed = 0
        self.seed()

    @untraced
    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of this seed; negative seeds wrap around at 2**64. RuntimeError unless it is an integer."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise RuntimeError(f"manual_seed expected an integer, but got {type(seed).__name__}")
        self._seed = int(seed)
        self.numpy_generator = np.random.Generator(np.random.PCG64(self._seed % 2**64))
        return self

    @untraced
    def seed(self) -> int:
        """Start a stream from the operating system's entropy; returns the seed."""
        self.manual_seed(secrets.randbits(63))
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._seed

    def draw(self, function: Callable[[np.random.Generator], Any]) -> Any:
        """The array that a function draws from the stream; a compiled function draws a new one at each call."""
        drawn: Tensor = mode.run.call(self._drawn, function)
        return drawn.array

    def _drawn(self, function: Callable[[np.random.Generator], Any]) -> Tensor:
        return wrap(np.asarray(function(self.numpy_generator)))

    def seed_of_kernel(self) -> Any:
        """A seed for a kernel that generates its own random numbers: a 0-d array, int64."""
        return self.draw(lambda stream: stream.integers(0, 2**63))

    def uniform(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """An array of numbers in [0, 1), spaced so that the dtype holds them exactly: none is rounded up to 1."""
        if dtype in (np.float32, np.float64):
            return self.draw(lambda stream: stream.random(shape, dtype))
        steps = round(2 / float(finfo(dtype).eps))
        return (self.draw(lambda stream: stream.integers(0, steps, shape)) / steps).astype(dtype)

    @untraced
    def get_state(self) -> Tensor:
        """The position in the stream, as a uint8 tensor that contains JSON."""
        state = {"seed": self._seed, "stream": self.numpy_generator.bit_generator.state}
        text = json.dumps(state, sort_keys=True, default=int).ljust(256)  # one length: a compiled function reads it
        return wrap(np.frombuffer(text.encode(), np.uint8).copy())

    @untraced
    def set_state(self, new_state: Any) -> Generator:
        """Continue from a state that `get_state` returned; ValueError if it is not such a state."""
        try:
            state = json.loads(bytes(elements_of(new_state)))
            stream = np.random.PCG64(0)
            stream.state = state["stream"]
            self._seed = int(state["seed"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not the state of a generator: {error}") from None
        self.numpy_generator = np.random.Generator(stream)
        return self


default_generator = Generator()


def generator_or_default(generator: Generator | None) -> Generator:
    """The generator that a call names, or else the default one; TypeError for anything else, such as a seed."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"generator must be a torch.Generator, not {type(generator).__name__}")
    return generator


def manual_seed(seed: int) -> Generator:
    """Seed the default generator: the same seed gives the same numbers. Any number is taken, and truncated."""
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seed the default generator from the operating system's entropy; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's position in its stream."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Restore a state of the default generator that `get_rng_state` returned."""
    default_generator.set_state(new_state)
