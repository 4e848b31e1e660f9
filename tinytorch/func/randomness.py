"""What random numbers do in a function that is called several times: nothing but an error, the same, or different."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..random import default_generator


def check_randomness(randomness: str) -> None:
    """RuntimeError unless it is one of the three."""
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")


@contextlib.contextmanager
def drawing(randomness: str) -> Iterator[None]:
    """With "error", RuntimeError if the default generator has moved."""
    before = _position()
    yield
    if randomness == "error" and _position() != before:
        raise RuntimeError(
            "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
            "randomness flags on vmap or perform the randomness operation out of vmap"
        )


def _position() -> Any:
    """Where the default generator is; plain numbers, which may be compared in a compiled function, too."""
    return default_generator.numpy_generator.bit_generator.state
