"""The queries that scripts make to torch.cuda before they fall back to the CPU."""

from __future__ import annotations


def is_available() -> bool:
    """False: there is no GPU support."""
    return False


def device_count() -> int:
    """0: there is no GPU support."""
    return 0


def manual_seed_all(seed: int) -> None:
    """Do nothing: random numbers come from the default generator, see `tinytorch.manual_seed`."""
