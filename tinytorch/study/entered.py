"""Whether a runner is among those that this thread has entered."""

from __future__ import annotations

from ..engine.mode import mode
from ..engine.runner import EAGER, Runner


def is_entered(runner: Runner) -> bool:
    """Whether operations on this thread go through this runner."""
    present = mode.run
    while present is not EAGER and present is not runner:
        present = present.below
    return present is runner
