"""Derivatives: `backward`, `grad`, and functions whose derivative the user writes."""

from __future__ import annotations

from typing import Any

from . import function
from .derivatives import as_list, backward, grad
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

    Arguments that are not Tensors are passed on as they are; backward returns None for them.
    """

    _non_differentiable: tuple[int, ...] = ()

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the operation; nothing inside its forward is recorded."""
        node = cls()
        tensors = [arg if is_tensor(arg) else None for arg in args]
        recording = mode.grad and any(t is not None and t.requires_grad for t in tensors)
        node.needs_input_grad = tuple([recording and t is not None and t.requires_grad for t in tensors])
        with no_grad():
            result = cls.forward(node, *args)
            # An input that is returned is a view of itself: the result has a history of its own.
            outputs = tuple([o.alias() if any(o is t for t in tensors) else o for o in as_list(result)])
        if recording:
            node._link(tensors, [None if t is None else t.array for t in tensors], outputs, {})
            for output in outputs:
                if id(output.array) in node._non_differentiable:
                    output._requires_grad, output.grad_fn = False, None
        return outputs if isinstance(result, (tuple, list)) else outputs[0]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep Tensors for backward."""
        self.save(*[None if t is None else t.array for t in tensors])

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
