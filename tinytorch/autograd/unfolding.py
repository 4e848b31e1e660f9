"""Unfolding: every operation that has a composite runs as its elementary operations."""

from __future__ import annotations

from typing import Any

from ..engine.function import Function
from ..engine.mode import mode
from ..engine.runner import Runner
from ..grad_mode import Switch


class Unfolding(Runner):
    """The runner of `unfold`."""

    changes_operations = True

    def apply(self, operation: type[Function], inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run the composite, whose own operations pass through here too."""
        if operation.composite is None:
            return super().apply(operation, inputs, settings)
        return operation.composite(*inputs, **settings)


class unfold(Switch):
    """Study mode: inside, every operation that has a composite runs as its composite. Context manager and decorator.

    The graph then contains each step (see `Tensor.grad_fn`), and backward goes through each.
    """

    def _recreate_cm(self) -> unfold:
        return unfold()

    def __enter__(self) -> None:
        Unfolding().__enter__()

    def __exit__(self, *exception: object) -> None:
        mode.run.__exit__(*exception)
