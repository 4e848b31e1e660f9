"""Fused operations: kernels on arrays, each with its composite of elementary operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..captures import gradients_at
from ..engine.function import Function
from ..engine.mode import mode
from ..engine.tensor import edge_of, wrap


class FusedFunction(Function):
    """An operation in one or two kernels, with its composite of elementary operations.

    `forward` and `backward` work on arrays. `composite(*tensors, **settings)` says the same in elementary operations:
    it is what to read, what tests compare with, what unfolding runs, and what is differentiated when the backward
    itself is recorded (`create_graph`), so that derivatives of any order exist. Its inputs are those that forward
    saved; the backward does not depend on the value of an input that was not saved, so zeros stand in for it.
    """

    composite: ClassVar[Callable[..., Any]]
    settings: dict[str, Any]  # those it was applied with, once it is linked
    # For each input its shape, its dtype, and its index among the saved arrays.
    _inputs: Sequence[tuple[tuple[int, ...], np.dtype[Any], int | None] | None] = ()

    def link(self, inputs: Any, arrays: Sequence[Any], outputs: tuple[Any, ...], settings: dict[str, Any]) -> None:
        """Make this node the history of its outputs, and record what its composite will get."""
        places = {id(array): i for i, array in enumerate(self._saved)}
        super().link(inputs, arrays, outputs, settings)
        self.settings = settings
        self._inputs = [None if a is None else (a.shape, a.dtype, places.get(id(a))) for a in arrays]

    @property
    def saved(self) -> tuple[Any, ...]:
        """What `save` kept, as arrays."""
        return tuple([record[0] for record in self.saved_records()])

    def run_backward(self, grads: list[Any]) -> list[Any]:
        """Kernels on arrays; or, when gradients are recorded, the derivative of the composite."""
        if mode.grad:
            return self._differentiate_composite(grads)
        complete = grads if len(grads) == 1 else self.complete(grads)
        result = type(self).backward(self, *[grad.array for grad in complete])  # type: ignore[misc]
        return [None if a is None else wrap(a) for a in (result if type(result) is tuple else (result,))]

    def _differentiate_composite(self, grads: list[Any]) -> list[Any]:
        records = self.saved_records() if self._saved else []
        inputs: list[Any] = []
        for kept in self._inputs:
            if kept is None:
                inputs.append(None)
            elif kept[2] is not None:
                # An alias, so that the walk below ends here even if one input depends on another.
                inputs.append(self.as_tensor(records[kept[2]]).alias())
            else:
                inputs.append(wrap(np.broadcast_to(np.zeros((), kept[1]), kept[0])))
        for tensor, needs in zip(inputs, self.needs_input_grad, strict=True):
            if needs and not tensor._requires_grad:
                tensor.requires_grad_()
        outputs = type(self).composite(*inputs, **self.settings)
        outputs = outputs if type(outputs) is tuple else (outputs,)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o._requires_grad]
        wanted = [edge_of(t) if needs else None for t, needs in zip(inputs, self.needs_input_grad, strict=True)]
        found = gradients_at(
            [edge for edge in wanted if edge is not None],
            [edge_of(o) for o, _ in pairs],
            [g for _, g in pairs],
            retain_graph=True,
            create_graph=True,
        )
        return [None if edge is None else found.get(edge) for edge in wanted]
