"""The tape of a compiled function: what a call does, operations, their gradients, and functions called as they are."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import compilation_steps as steps
from .compilation_arguments import is_traced, rebuilt, sharing, tensors_in, written
from .compilation_mirrors import OutsideTape
from .compilation_outside import SHARES_MEMORY
from .function import Function
from .kernels.traced import NotTraceable, plain
from .modes import mode
from .tensor import Tensor


class Trace(OutsideTape):
    """Records a call while it is made: it stands at `mode.tape`, and in for `mode.quietly`."""

    def __init__(self, tensors: Sequence[Tensor], apart: bool = False) -> None:
        super().__init__(tensors, apart)
        self.whole: list[str] = []  # operations that could not be traced
        self._born: dict[int, int] = {}  # by id of a node: the number of steps before it
        self._pinned: list[Any] = []  # arrays whose memory must last until the trace ends

    def __enter__(self) -> Trace:
        super().__enter__()
        self._quietly, mode.quietly, mode.tape = mode.quietly, self._forward, self
        return self

    def __exit__(self, *exception: object) -> None:
        mode.quietly, mode.tape = self._quietly, None
        self.written = written(self.inputs)
        self.surroundings.find_written(self._outside.values(), bool(self._calls), bool(self.written))
        self._gave_history = self.surroundings.take_histories_back()
        self._changed_by_others = any([m.outside._counter[0] != m.outside_version for m in self.inputs])
        for mirror, rise in written(self.mirrors):
            mirror.store(rise)
        super().__exit__(*exception)

    # ------------------------------------------------------------------ functions that are called as they are

    def call(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """Call a function untraced, now and at each run. Tensors that it returns are filled again each time."""
        args = tuple([list(arg) if isinstance(arg, Iterator) else arg for arg in args])  # read once, used each time
        step = steps.Call(function)
        inside: dict[int, tuple[Tensor, Tensor]] = {}  # by id: a Tensor of the function's own, what stands for it

        def settled(tensor: Tensor) -> Tensor:
            if not is_traced(tensor):
                return tensor
            if id(tensor) not in inside:
                inside[id(tensor)] = tensor, Tensor(plain(tensor.array))
                step.places.append((inside[id(tensor)][1], self._mirrors.get(id(tensor))))
            return inside[id(tensor)][1]

        step.args, step.params = rebuilt((args, params), settled)
        for tensor in tensors_in((args, params)) if not self._calls else ():
            self.surroundings.note_grad(tensor)
        mirrors = [*self._gradients.values(), *[mirror for _, mirror in step.places if mirror is not None]]
        self._store(mirrors)
        self._calls.append((len(self.steps), step))
        result, given = self._untraced(step.call)
        known = {id(tensor): tensor for tensor in tensors_in((step.args, step.params))}  # what it may hand back
        for tensor, place in inside.values():
            known[id(given[id(place)])] = tensor
            if id(tensor) not in self._mirrors:  # it may have been written to
                self.enter(tensor).root.writes += 1
                tensor._counter[0] += given[id(place)]._counter[0]

        def kept(tensor: Tensor) -> Tensor:
            out = None if id(tensor) in known else self.filled(tensor.array)
            step.outs.append(plain(out))
            return known[id(tensor)] if out is None else Tensor(out)

        steps.check_no_number(result, function)
        result = rebuilt(result, kept)
        self.steps.append((step, ()))
        self._store(mirrors)
        self._load(mirrors)
        return result

    def hook(self, hooks: Any, hook: Callable[[Any], Any], gradient: Tensor) -> Any:
        """What a hook makes of a gradient. One that a leaf from outside has is called at each call, as it is."""
        if not self.surroundings.has_hooks(hooks):
            return hook(gradient)
        if mode.grad:
            raise NotTraceable("a hook of a Tensor from outside cannot be differentiated in a compiled function")
        return self.call(hook, gradient)

    def _untraced(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        versions = self.surroundings.versions()
        mode.quietly, mode.tape = self._quietly, None
        try:
            with self.paused(
                "a function that is called as it is, such as an optimizer's step or a hook, works on Tensors that the "
                "compiled function made: they must be its arguments"
            ):
                return function(*args, **params)
        finally:
            mode.quietly, mode.tape = self._forward, self
            self.surroundings.let_pass(versions)  # each call counts them itself

    # ------------------------------------------------------------------ operations

    def _forward(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """In place of `mode.quietly`: the forward of an operation, or a NumPy function."""
        mark, draws = len(self.steps), len(self._draws)
        if args:
            self._born[id(args[0])] = mark
        try:
            return self._quietly(function, *args, **params)
        except NotTraceable:
            if not args or not isinstance(args[0], Function):
                raise
        self._undo(mark, draws)
        return self._whole_forward(function, args[0], args[1:], params)

    def _undo(self, mark: int, draws: int) -> None:
        """Forget what an operation has recorded before it turned out that it cannot be traced."""
        del self.steps[mark:]
        for stream, state in reversed(self._draws[draws:]):
            stream.state = state

    def _whole_forward(self, function: Callable[..., Any], node: Any, args: Any, params: Any) -> Any:
        """The forward of an operation as one step, on a node of its own that is there for its backward."""
        self.whole.append(type(node).__name__)
        ctx = type(node)()
        ctx.needs_input_grad = node.needs_input_grad
        values, params = plain(args), plain(params)
        results = self._untraced(self._quietly, function, ctx, *values, **params)
        several = type(results) is tuple
        arrays = [np.asarray(result) for result in (results if several else (results,))]
        if node.view and any(np.may_share_memory(array, values[0]) for array in arrays):
            raise NotTraceable(f"{node.name()} gives a view, and cannot be traced")
        outs = [self.filled(array) for array in arrays]
        known = {id(value): arg for value, arg in zip(values, args, strict=True)}
        known |= {id(array): out for array, out in zip(arrays, outs, strict=True)}
        vars(node).update(vars(ctx))
        node._saved = tuple([known.get(id(array), array) for array in ctx._saved])
        node.replayed = ctx
        self._pinned += [args, outs]  # which the backward of ctx may look at
        self.steps.append((steps.forward_again, (function, ctx, values, params, plain(outs))))
        return tuple(outs) if several else outs[0]

    def seeds(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The gradients that a walk starts from."""
        return [g if g._requires_grad or is_traced(g) else Tensor(self.enter(g)) for g in gradients]

    def backward(self, node: Any, grads: list[Any]) -> list[Any]:
        """In place of `node.run_backward`."""
        if isinstance(node, Tensor):
            if is_traced(node):
                return node.run_backward(grads)
            if grads[0] is not None and node._requires_grad:
                self.accumulate(node, grads[0])
            return []
        self._watch_saved(node)
        if node.replayed is None:
            mark, draws = len(self.steps), len(self._draws)
            try:
                results: list[Any] = node.run_backward(list(grads))
                return results
            except NotTraceable:
                self._undo(mark, draws)
        if mode.grad:
            raise NotTraceable(f"the second derivative of {type(node).__name__} cannot be traced")
        self.whole.append(node.name())
        ctx = node.replayed
        if ctx is None:
            ctx = type(node)()
            own = {name: plain(value) for name, value in vars(node).items() if name not in ("edges", "hooks")}
            vars(ctx).update(own)
            ctx._saved = steps.records([plain(record[0]) for record in node._saved_records()])
        else:
            vars(ctx).update({"metadata": node.metadata, "_params": plain(getattr(node, "_params", {}))})
            ctx._saved = steps.records(ctx._saved)
        values = [None if grad is None else plain(grad.array) for grad in grads]
        found = self._untraced(steps.backward_again, ctx, values)
        outs = [None if array is None else self.filled(array) for array in found]
        self.steps.append((steps.fill_from, (plain(outs), steps.backward_again, ctx, values)))
        return [None if out is None else Tensor(out) for out in outs]

    def _watch_saved(self, node: Function) -> None:
        """What a node has saved of Tensors from outside must not be changed by a call in between, in no run."""
        for _, _, counter, _ in node._saved_records() if node._saved else ():
            if self.surroundings.counts(counter):
                for place, step in self._calls:
                    if place >= self._born.get(id(node), 0):
                        step.watched.append(counter)

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """The function has returned."""
        self._store(list(self._gradients.values()))
        self.surroundings.check_hooks()
        gradients = {id(mirror) for mirror in self._gradients.values()}
        # Arguments that nobody else may change meanwhile. Where nothing is called, nobody does.
        self.watched = [mirror for mirror in self.inputs if self._calls and id(mirror) not in gradients]

    def check(self, tensors: Sequence[Tensor]) -> None:
        """NotTraceable if what the function did, also one that raised, is not what it would have done to the arguments.

        Or if it has given a Tensor from outside a history, which that would not have after later calls.
        """
        for mirror in self.inputs:
            tensor = mirror.tensor
            if tensor._requires_grad or tensor._grad is not None:
                raise NotTraceable(
                    f"a compiled function makes an argument, {tensor.dtype} {tuple(tensor.shape)}, require grad or "
                    "gives it a history: work on x.detach().requires_grad_(), or on a clone()"
                )
        for tensor in self._gave_history:
            raise NotTraceable(
                f"a compiled function writes what has a history into a Tensor from outside, {tensor.dtype} "
                f"{tuple(tensor.shape)}: detach() what is written, or do it under no_grad()"
            )
        self.surroundings.check_apart(tensors)
        not_apart = self.written and self.pattern != sharing([tensor.array for tensor in tensors])
        if not_apart or self._changed_by_others:
            raise NotTraceable(SHARES_MEMORY)

    def close(self) -> list[Any]:
        """The steps. NotTraceable if a Tensor that the function made is kept outside, where it would not change."""
        self.outsiders = self.mirrors
        for mirror in self.outsiders:
            mirror.forget()
        for held in (self._pinned, self._mirrors, self._gradients):
            held.clear()
        recorded = super().close()
        self.surroundings.close(recorded, self.kept)
        if self.alive:
            gc.collect()
        if self.alive:
            array = next(iter(self.alive.values()))
            raise NotTraceable(
                f"a Tensor that a compiled function made, {array.dtype} {array.shape}, is kept outside of it, where "
                "later calls would not find it, or returned in something other than tuples, lists and dictionaries: "
                "return it, or write it into a Tensor that is there before, with copy_()"
            )
        return recorded
