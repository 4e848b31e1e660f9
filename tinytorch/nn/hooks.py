"""Hooks on modules, called before forward, after it, and when gradients reach the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.function import Function
from ..engine.hooks import RemovableHandle
from ..engine.mode import mode
from ..engine.views import OF_A_FUNCTION, note_view
from ..ops.common import Array
from ..tensor import Tensor

if TYPE_CHECKING:
    from .module import Module

Gradients = tuple["Tensor | None", ...]


class Hook(NamedTuple):
    """A registered hook: kind is "forward_pre", "forward" or "backward"."""

    kind: str
    function: Callable[..., Any]
    with_kwargs: bool


class Hooked:
    """Registration of a module's hooks."""

    _hooks: list[Hook]

    def _add_hook(self, hook: Hook, prepend: bool) -> RemovableHandle:
        mode.run.read(self, "_hooks")
        self._hooks.insert(0 if prepend else len(self._hooks), hook)
        return RemovableHandle(self._hooks, hook)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args) before forward; its result, unless None, replaces args.

        With with_kwargs the hook is called as hook(module, args, kwargs) and returns both or None.
        """
        return self._add_hook(Hook("forward_pre", hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args, output) after forward; its result, unless None, replaces output.

        With with_kwargs the hook is called as hook(module, args, kwargs, output).
        """
        return self._add_hook(Hook("forward", hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call hook(module, grad_input, grad_output) when the gradients of the module's inputs are
        known; its result, unless None, replaces grad_input. Both are tuples of Tensors or None,
        one for each positional input and each output."""
        return self._add_hook(Hook("backward", hook, False), prepend)


class _Tap(Function):
    """The identity on several tensors, whose backward passes their gradients to `observe`.

    The result of observe, unless None, replaces the gradients.
    """

    backward_shares = True
    observe: Callable[[Gradients], Gradients | None]

    @staticmethod
    def forward(ctx: _Tap, *arrays: Array, observe: Callable[[Gradients], Gradients | None]) -> Any:
        ctx.observe = observe
        return tuple([array.view() for array in arrays])

    @staticmethod
    def backward(ctx: _Tap, *grads: Tensor) -> Any:
        replaced = ctx.observe(grads)
        return grads if replaced is None else replaced


def _tap(values: tuple[Any, ...], observe: Callable[[Gradients], Gradients | None]) -> tuple[Any, ...]:
    """The values, with those tensors that require grad passed through one _Tap.

    observe gets a gradient or None for every value. If no tensor requires grad, the values are returned unchanged.
    """
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]
    if not places:
        return values

    def show(grads: Gradients) -> Gradients | None:
        of_value = dict(zip(places, grads, strict=True))
        replaced = observe(tuple(of_value.get(i) for i in range(len(values))))
        return None if replaced is None else tuple(replaced[i] for i in places)

    tapped = list(values)
    for i, output in zip(places, _Tap.apply(*[values[i] for i in places], observe=show), strict=True):
        note_view(output, values[i], values[i].array, _Tap, {}, None)
        output._refused = OF_A_FUNCTION
        tapped[i] = output
    return tuple(tapped)


class _BackwardCall:
    """One call of a module, for its backward hooks: waits for grad_output, then for grad_input."""

    def __init__(self, module: Module, hooks: list[Callable[..., Any]]) -> None:
        self.module = module
        self.hooks = hooks
        self.grad_output: Gradients = ()

    def tap_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        tapped = _tap(args, self._inputs_ready)
        self.inputs = len(args)
        self.reaches_inputs = tapped is not args
        return tapped

    def tap_outputs(self, output: Any) -> Any:
        if isinstance(output, tuple):
            return _tap(output, self._outputs_ready)
        return _tap((output,), self._outputs_ready)[0]

    def _outputs_ready(self, grad_output: Gradients) -> None:
        self.grad_output = grad_output
        if not self.reaches_inputs:  # no gradient of the inputs will come
            self._inputs_ready((None,) * self.inputs)

    def _inputs_ready(self, grad_input: Gradients) -> Gradients:
        for hook in self.hooks:
            result = hook(self.module, grad_input, self.grad_output)
            if result is not None:
                result = result if isinstance(result, tuple) else (result,)
                if len(result) != len(grad_input):
                    raise RuntimeError(
                        f"a backward hook of {type(self.module).__name__} returned {len(result)} gradients "
                        f"for {len(grad_input)} inputs"
                    )
                grad_input = result
        return grad_input


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """forward(*args, **kwargs) with every hook of the module around it, in the order of registration."""
    registered = list(module._hooks)
    for hook in registered:
        if hook.kind == "forward_pre":
            if hook.with_kwargs:
                result = hook.function(module, args, kwargs)
                if result is not None:
                    if not (isinstance(result, tuple) and len(result) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
                            f"{type(result).__name__} from a hook of {type(module).__name__}"
                        )
                    args, kwargs = result
            else:
                result = hook.function(module, args)
                if result is not None:
                    args = result if isinstance(result, tuple) else (result,)
    backward = [hook.function for hook in registered if hook.kind == "backward"] if mode.grad else []
    call = _BackwardCall(module, backward) if backward else None
    if call is not None:
        args = call.tap_inputs(args)
    output = module.forward(*args, **kwargs)
    for hook in registered:
        if hook.kind == "forward":
            extra = (args, kwargs) if hook.with_kwargs else (args,)
            result = hook.function(module, *extra, output)
            output = output if result is None else result
    return output if call is None else call.tap_outputs(output)
