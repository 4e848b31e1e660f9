"""Functions with a user-written derivative."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ..engine import function
from ..engine.mode import mode
from ..engine.tensor import wrap
from ..engine.views import OF_A_FUNCTION
from ..grad_mode import no_grad
from ..ops.common import is_tensor
from ..ops.writing import check_write, take_history
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

    Instead of a forward that gets ctx, there may be two methods: forward(x), and setup_context(ctx, inputs, output),
    which saves what backward needs.

    Arguments that are not Tensors are passed on unchanged; backward returns None for them. Results that are not
    Tensors, alone or in a tuple, are returned unchanged; backward gets None for them.
    """

    backward_shares = True
    on_tensors = True
    _non_differentiable: tuple[int, ...] = ()
    _dirty: tuple[Any, ...] = ()
    _materializes = True
    _places: Sequence[int | None] = ()  # each result's index among the node's outputs; None for non-Tensors
    _were_tensors: Sequence[bool] = ()  # whether each argument was a Tensor
    _versions: dict[int, list[int]] | None = None  # the version counter of a saved array's memory, by the array's id

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the operation; nothing inside its forward is recorded."""
        sets_up = cls._sets_up()
        if sets_up or kwargs:
            ctx = () if sets_up else (None,)
            bound = inspect.signature(cls.forward).bind(*ctx, *args, **kwargs)
            if sets_up or bound.kwargs:
                bound.apply_defaults()
            if bound.kwargs:
                raise TypeError(
                    f"{cls.__name__}.apply() takes no arguments by name alone, got {', '.join(bound.kwargs)}"
                )
            args = bound.args[len(ctx) :]
        return mode.run.apply(cls, args, {})

    @classmethod
    def _sets_up(cls) -> bool:
        """Whether forward gets no ctx, and setup_context does."""
        return cls.setup_context is not Function.setup_context

    @classmethod
    def run(cls, args: tuple[Any, ...]) -> Any:
        """Called by `mode.run`."""
        node = cls()
        tensors = [arg if is_tensor(arg) else None for arg in args]
        recording = mode.grad and any([t is not None and (t.grad_fn is not None or t.requires_grad) for t in tensors])
        node.needs_input_grad = tuple([recording and t is not None and t.requires_grad for t in tensors])
        with no_grad():
            if cls._sets_up():
                result = cls.forward(*args)
                cls.setup_context(node, args, result)
            else:
                result = cls.forward(node, *args)
            several = isinstance(result, tuple)
            given = result if several else (result,)
            dirty, node._dirty = node._dirty, ()
            node._check_dirty(dirty, tensors, given, recording)
            # An input that is returned becomes a view of itself, so that the result has its own history.
            results = [r.alias() if _among(r, tensors) and not _among(r, dirty) else r for r in given]
        if recording:
            # An input that was changed takes the history of its stand-in.
            made = [_stand_in(r) if _among(r, dirty) else r for r in results]
            node._link_results(tensors, dirty, made)
            for r, stand_in in zip(results, made, strict=True):
                if r is not stand_in:
                    take_history(r, stand_in)
        else:  # unrecorded, the result does not require grad, whatever its memory is
            results = [r.detach() if _among(r, dirty) and r.requires_grad else r for r in results]
        return tuple(results) if several else results[0]

    def _check_dirty(
        self, dirty: Sequence[Any], inputs: Sequence[Any], results: Sequence[Any], recording: bool
    ) -> None:
        """RuntimeError if something was marked dirty that is no input, not returned, or must not be changed."""
        for t in dirty:
            if not _among(t, inputs):
                raise RuntimeError(f"{self.name()}: mark_dirty is for arguments that forward changed in place")
            if not _among(t, results):
                raise RuntimeError(
                    "Some elements marked as dirty during the forward method were not returned as output. The inputs "
                    "that are modified inplace must all be outputs of the Function."
                )
            if recording:
                check_write(t, True)
            t._counter[0] += 1

    def _link_results(self, tensors: Sequence[Any], dirty: Sequence[Any], results: Sequence[Any]) -> None:
        """Make this node the history of the results that are Tensors."""
        outputs = tuple([r for r in results if is_tensor(r)])
        numbers = itertools.count()
        self._places = [next(numbers) if is_tensor(r) else None for r in results]
        self._were_tensors = [t is not None for t in tensors]
        # What was saved of an input that was changed is an output.
        arrays = [None if t is None or _among(t, dirty) else t.array for t in tensors]
        self.link(tensors, arrays, outputs, {})
        for output in outputs:
            if id(output.array) in self._non_differentiable:
                output._requires_grad, output._grad_fn = False, None
            if output._base is not None:
                output._refused, output._seen = OF_A_FUNCTION, output._counter[0]

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """Override this: compute the results from the arguments."""
        raise NotImplementedError(f"{type(ctx).__name__} has no forward: write it, a static method forward(ctx, ...)")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Override this to have a forward without ctx: save what backward needs of the arguments and the result."""

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Override this: return a gradient or None for each argument, given one for each result."""
        raise NotImplementedError(
            f"{type(ctx).__name__} has no backward: write it, a static method backward(ctx, ...), or call it under "
            "no_grad()"
        )

    def run_backward(self, grads: list[Any]) -> list[Any]:
        """Run backward, and check what it returns."""
        complete = self.complete(grads) if self._materializes else grads
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
        """Keep Tensors for backward. TypeError for anything else but None: keep that as an attribute."""
        for number, t in enumerate(tensors):
            if t is not None and not is_tensor(t):
                raise TypeError(
                    f"save_for_backward can only save Tensors, but argument {number} is {type(t).__name__}: keep it as "
                    "an attribute of ctx"
                )
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
        """What `save_for_backward` kept, empty until forward is over; a saved leaf is returned itself."""
        if not self.edges:
            return ()
        return tuple([self.as_tensor(record) for record in self.saved_records()])

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Declare that these outputs get no gradient."""
        self._non_differentiable = tuple([id(t.array) for t in tensors])

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Declare that forward changed these arguments in place; it must return them, and apply returns them, too."""
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for results that nothing depends on."""
        self._materializes = value

    @classmethod
    def name(cls) -> str:
        """The name of the node."""
        return f"{cls.__name__}Backward"


def _among(x: Any, tensors: Sequence[Any]) -> bool:
    """Whether this very Tensor is one of them."""
    return is_tensor(x) and any([x is t for t in tensors])


def _stand_in(tensor: Any) -> Any:
    """A Tensor with the same memory, and no history."""
    other = wrap(tensor.array)
    other._counter = tensor._counter
    return other


class _Refusal(Function):
    """x, which cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a backward that is not to be differentiated: written in NumPy, say. To do so all the same is an error.

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output): ...
    """

    @functools.wraps(backward)
    def once(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            results = backward(ctx, *grads)
        if not mode.grad or not any([is_tensor(g) and g.requires_grad for g in grads]):
            return results
        refused = [
            _Refusal.apply(r.detach().requires_grad_()) if is_tensor(r) else r
            for r in (results if isinstance(results, tuple) else (results,))
        ]
        return tuple(refused) if isinstance(results, tuple) else refused[0]

    return once
