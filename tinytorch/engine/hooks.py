"""Hooks: functions of the user's that are called while gradients pass through the graph. Order as in PyTorch.

At a node, those of its output Tensors come first (`Tensor.register_hook`, `retain_grad` last), then `register_prehook`,
the node's own work, and `register_hook`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away again."""

    def __init__(self, hooks: list[Any], entry: Any) -> None:
        self._hooks, self._entry = hooks, entry

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        # By identity: one function may be registered twice.
        self._hooks[:] = [entry for entry in self._hooks if entry is not self._entry]


class Hooks:
    """Of the Tensors that are outputs of a node: functions are called, then Tensors keep their gradients."""

    def __init__(self) -> None:
        self.functions: list[tuple[int, Callable[[Any], Any]]] = []  # (output number, function), in their order
        # Output number to the Tensor that retains its gradient: weakly, as the node must not hold its outputs.
        self.retaining: dict[int, weakref.ref[Any]] = {}

    def run(self, grads: list[Any]) -> None:
        """Those that are registered now: what a hook adds or removes counts from the next walk on."""
        for number, hook in list(self.functions):
            grad = grads[number]  # None of an output that nothing depends on, as in PyTorch
            replaced = hook(grad)
            if replaced is not None:
                grads[number] = _checked(replaced, grad)
        for number, reference in list(self.retaining.items()):
            grad, tensor = grads[number], reference()
            if grad is not None and tensor is not None:
                tensor.keep_grad(grad)


def _checked(replaced: Any, grad: Any) -> Any:
    """What a hook returned, if it can take the place of its gradient."""
    if grad is None:
        raise RuntimeError("a hook returned a gradient for an output that has none: it must return None there")
    if not hasattr(replaced, "requires_grad"):
        raise TypeError(f"a hook must return a Tensor or None, not {type(replaced).__name__}")
    if (replaced.array.shape, replaced.array.dtype) != (grad.array.shape, grad.array.dtype):
        raise RuntimeError(
            f"a hook replaced a gradient, {grad.dtype} {tuple(grad.shape)}, by {replaced.dtype} "
            f"{tuple(replaced.shape)}: shape and dtype must stay"
        )
    return replaced


class Hooked:
    """A node of the graph, as far as its hooks go."""

    hooks: Hooks | None = None  # of its outputs
    _prehooks: list[tuple[Callable[..., Any]]] | None = None
    _posthooks: list[tuple[Callable[..., Any]]] | None = None

    def register_prehook(self, hook: Callable[[tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call `hook(grad_outputs)` before the node runs; what it returns, unless None, takes their place."""
        if self._prehooks is None:
            self._prehooks = []
        return registered(self._prehooks, hook)

    def register_hook(self, hook: Callable[[tuple[Any, ...], tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after that; what it returns, unless None, replaces grad_inputs."""
        if self._posthooks is None:
            self._posthooks = []
        return registered(self._posthooks, hook)

    def before(self, grads: list[Any]) -> list[Any]:
        """The gradients of the outputs, as the prehooks leave them."""
        for (hook,) in list(self._prehooks or ()):
            grads = _replaced(hook, grads, hook(tuple(grads)))
        return grads

    def after(self, results: list[Any], grads: tuple[Any, ...]) -> list[Any]:
        """The gradients of the inputs, as the hooks leave them."""
        for (hook,) in list(self._posthooks or ()):
            results = _replaced(hook, results, hook(tuple(results), grads))
        return results


def registered(hooks: list[Any], hook: Any) -> RemovableHandle:
    """Put a hook at the end of a list of them: each in a tuple of its own, as one may be registered twice."""
    hooks.append((hook,))
    return RemovableHandle(hooks, hooks[-1])


def _replaced(hook: Any, grads: list[Any], result: Any) -> list[Any]:
    if result is None:
        return grads
    if not isinstance(result, tuple):
        raise TypeError(f"{hook!r} must return a tuple of gradients or None, not {type(result).__name__}")
    if len(result) != len(grads):
        raise RuntimeError(f"{hook!r} returned {len(result)} gradients in place of {len(grads)}")
    return [new if old is None or new is None else _checked(new, old) for new, old in zip(result, grads, strict=True)]
