"""Functions with a user-written derivative."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ..engine import function
from ..engine.mode import mode
from ..engine.views import OF_A_FUNCTION
from ..grad_mode import no_grad
from ..ops.common import is_tensor
from ..tensor import Tensor


class Function(function.Function):
    """A user's own operation, as in PyTorch: both methods get Tensors.

        class Cube(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x * x

            @staticmethod
            def backward(ctx, grad_output):
                (x,) = ctx.saved_tensors
                return grad_output * 3 * x * x

        y = Cube.apply(x)

    Arguments that are not Tensors are passed on unchanged; backward returns None for them. Results that are not
    Tensors, alone or in a tuple, are returned unchanged; backward gets None for them.
    """

    backward_shares = True
    on_tensors = True
    _non_differentiable: tuple[int, ...] = ()
    _places: Sequence[int | None] = ()  # each result's index among the node's outputs; None for non-Tensors
    _were_tensors: Sequence[bool] = ()  # whether each argument was a Tensor
    _versions: dict[int, list[int]] | None = None  # the version counter of a saved array's memory, by the array's id

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the operation; nothing inside its forward is recorded."""
        return mode.run.apply(cls, args, {})

    @classmethod
    def run(cls, args: tuple[Any, ...]) -> Any:
        """Called by `mode.run`."""
        node = cls()
        tensors = [arg if is_tensor(arg) else None for arg in args]
        recording = mode.grad and any([t is not None and (t.grad_fn is not None or t.requires_grad) for t in tensors])
        node.needs_input_grad = tuple([recording and t is not None and t.requires_grad for t in tensors])
        with no_grad():
            result = cls.forward(node, *args)
            several = isinstance(result, tuple)
            # An input that is returned becomes a view of itself, so that the result has its own history.
            results = [
                r.alias() if is_tensor(r) and any(r is t for t in tensors) else r
                for r in (result if several else (result,))
            ]
        if recording:
            outputs = tuple([r for r in results if is_tensor(r)])
            numbers = itertools.count()
            node._places = [next(numbers) if is_tensor(r) else None for r in results]
            node._were_tensors = [t is not None for t in tensors]
            node.link(tensors, [None if t is None else t.array for t in tensors], outputs, {})
            for output in outputs:
                if id(output.array) in node._non_differentiable:
                    output._requires_grad, output._grad_fn = False, None
                if output._base is not None:
                    output._refused, output._seen = OF_A_FUNCTION, output._counter[0]
        return tuple(results) if several else results[0]

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """Override this: compute the results from the arguments."""
        raise NotImplementedError(f"{type(ctx).__name__} has no forward: write it, a static method forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Override this: return a gradient or None for each argument, given one for each result."""
        raise NotImplementedError(
            f"{type(ctx).__name__} has no backward: write it, a static method backward(ctx, ...), or call it under "
            "no_grad()"
        )

    def run_backward(self, grads: list[Any]) -> list[Any]:
        """Run backward, and check what it returns."""
        complete = self.complete(grads)
        result = type(self).backward(self, *[None if place is None else complete[place] for place in self._places])
        results = list(result) if isinstance(result, tuple) else [result]
        while len(results) > len(self.edges) and results[-1] is None:
            results.pop()
        for number, (gradient, was_tensor) in enumerate(zip(results, self._were_tensors)):  # noqa: B905 - see the walk
            if gradient is None:
                continue
            if not is_tensor(gradient):
                raise RuntimeError(
                    f"{self.name()} returned {type(gradient).__name__} as gradient {number}: expected a Tensor or None"
                )
            if not was_tensor:
                raise RuntimeError(
                    f"{self.name()} returned a gradient for argument {number}, which is not a Tensor: expected None"
                )
        return results

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep Tensors for backward."""
        self._versions = {id(t.array): t._counter for t in tensors if t is not None}
        self.save(*[None if t is None else t.array for t in tensors])

    def link(self, inputs: Any, arrays: Sequence[Any], outputs: tuple[Any, ...], settings: dict[str, Any]) -> None:
        """Make this node the history of its outputs; what it saved may be neither an argument nor a result."""
        super().link(inputs, arrays, outputs, settings)
        for i, record in enumerate(self._saved):
            counter = (self._versions or {}).get(id(record[0])) if record[2] is None else None
            if counter is not None:
                self._saved[i] = record[0], record[1], counter, counter[0]

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept; a saved leaf is returned itself."""
        return tuple([self.as_tensor(record) for record in self.saved_records()])

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Declare that these outputs get no gradient."""
        self._non_differentiable = tuple([id(t.array) for t in tensors])

    @classmethod
    def name(cls) -> str:
        """The name of the node."""
        return f"{cls.__name__}Backward"
