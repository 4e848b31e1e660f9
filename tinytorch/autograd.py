"""Derivatives: `backward`, `grad`, and functions whose derivative the user writes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from . import function
from .derivatives import backward, grad
from .gradcheck import GradcheckError, KinkError, gradcheck, gradgradcheck
from .modes import enable_grad, is_grad_enabled, mode, no_grad, set_grad_enabled
from .ops.common import is_tensor
from .tensor import Tensor

__all__ = [
    "Function", "backward", "grad",
    "GradcheckError", "KinkError", "gradcheck", "gradgradcheck",
    "enable_grad", "is_grad_enabled", "no_grad", "set_grad_enabled",
]  # fmt: skip


class Function(function.Function):
    """An operation of the user's own, in PyTorch's manner: both methods are given Tensors.

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

    Arguments that are not Tensors are passed on as they are; backward returns None for them. Results that are not
    Tensors, alone or in a tuple, come back as they are; backward is given None for them.
    """

    _non_differentiable: tuple[int, ...] = ()
    _places: Sequence[int | None] = ()  # of each result among the outputs of the node, None for what is no Tensor
    _were_tensors: Sequence[bool] = ()  # of the arguments
    _versions: dict[int, list[int]] | None = None  # by id of a saved array: the version counter of its memory

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the operation; nothing inside its forward is recorded."""
        node = cls()
        tensors = [arg if is_tensor(arg) else None for arg in args]
        for tensor in tensors if mode.grad else ():
            if tensor is not None:
                tensor._check_fresh()
        recording = mode.grad and any(t is not None and t.requires_grad for t in tensors)
        node.needs_input_grad = tuple([recording and t is not None and t.requires_grad for t in tensors])
        with no_grad():
            result = cls.forward(node, *args)
            several = isinstance(result, tuple)
            # An input that is returned is a view of itself: the result has a history of its own.
            results = [
                r.alias() if is_tensor(r) and any(r is t for t in tensors) else r
                for r in (result if several else (result,))
            ]
        if recording:
            outputs = tuple([r for r in results if is_tensor(r)])
            numbers = itertools.count()
            node._places = [next(numbers) if is_tensor(r) else None for r in results]
            node._were_tensors = [t is not None for t in tensors]
            node._link(tensors, [None if t is None else t.array for t in tensors], outputs, {})
            for output in outputs:
                if id(output.array) in node._non_differentiable:
                    output._requires_grad, output.grad_fn = False, None
        return tuple(results) if several else results[0]

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """To be written: the results, from the arguments."""
        raise NotImplementedError(f"{type(ctx).__name__} has no forward: write it, a static method forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """To be written: a gradient or None for each argument, from one for each result."""
        raise NotImplementedError(
            f"{type(ctx).__name__} has no backward: write it, a static method backward(ctx, ...), or call it under "
            "no_grad()"
        )

    def run_backward(self, grads: list[Any]) -> list[Any]:
        """What backward returns, if that is what it must return."""
        complete = self._complete(grads)
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
                    f"{self.name()} returned a gradient for argument {number}, which is no Tensor: expected None"
                )
        return results

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep Tensors for backward."""
        self._versions = {id(t.array): t._counter for t in tensors if t is not None}
        self.save(*[None if t is None else t.array for t in tensors])

    def _keep(self, array: Any, tensors: Any, arrays: list[Any], outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        record = super()._keep(array, tensors, arrays, outputs)
        if record[2] is None and self._versions and id(array) in self._versions:  # neither an argument nor a result
            counter = self._versions[id(array)]
            return array, None, counter, counter[0]
        return record

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept."""
        return self.saved

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These outputs get no gradient."""
        self._non_differentiable = tuple([id(t.array) for t in tensors])

    @classmethod
    def name(cls) -> str:
        """The name of the node."""
        return f"{cls.__name__}Backward"
