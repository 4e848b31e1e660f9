"""The recording runner: operations, their gradients, and functions called as they are become steps of a tape."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..creation import sharing
from ..engine.function import Function
from ..engine.hooks import Hooks
from ..engine.mode import mode
from ..engine.runner import Eager, Runner
from ..engine.tensor import set_grad, wrap
from ..random import Generator
from ..tensor import Tensor, assign_data
from . import steps
from .arguments import is_traced, rebuilt, tensors_in, written
from .arguments import sharing as sharing_pattern
from .arrays import NotTraceable, Recorded, plain
from .mirrors import OutsideTape
from .outside import SHARES_MEMORY
from .tape import check_known


class Trace(OutsideTape, Runner):
    """Records a call while it is made, in place of the current runner."""

    changes_operations = True

    def __init__(self, tensors: Sequence[Tensor], apart: bool = False) -> None:
        super().__init__(tensors, apart)
        self.whole: list[str] = []  # operations that could not be traced
        self._born: dict[int, int] = {}  # by id of a node: the number of steps before it
        self._replayed: dict[int, Any] = {}  # by id of a node: the node, and the one that its step uses
        self._pinned: list[Any] = []  # arrays whose memory must be kept until the trace ends
        self._draws: list[tuple[Any, Any]] = []  # streams of random numbers, and their state before each draw
        self._run_by_us: dict[Any, Callable[..., Any]] = {}  # functions that the trace runs itself

    def again(self) -> Trace:
        """Return self: a checkpoint's function runs a second time within the same trace."""
        return self

    def admit(self, runner: Runner) -> None:
        """Admit only runners that change operations: a mere observer would see this one call, and none after it."""
        if not runner.changes_operations:
            raise NotTraceable(
                f"{type(runner).__name__} inside a compiled function would see the first call alone: use it around "
                "the call, where the function runs as it is written"
            )

    def __enter__(self) -> Trace:
        OutsideTape.__enter__(self)
        Runner.__enter__(self)
        self.entry = self.enter
        self._run_by_us = {
            set_grad: self.set_grad,
            assign_data: self.assign_data,
            sharing: lambda array: wrap(self.outside(array).view()),
        }
        return self

    def __exit__(self, *exception: object) -> None:
        Runner.__exit__(self, *exception)
        self.entry, self._run_by_us = None, {}  # they and the trace refer to each other
        self.written = written(self.inputs)
        self.surroundings.find_written(self._outside.values(), bool(self._calls), bool(self.written))
        self._gave_history = self.surroundings.take_histories_back()
        self._changed_by_others = any([m.outside._counter[0] != m.outside_version for m in self.inputs])
        for mirror, rise in written(self.mirrors):
            mirror.store(rise)
        OutsideTape.__exit__(self, *exception)

    # ------------------------------------------------------------------ functions that are called as they are

    def call(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """Call a function untraced, now and at each run. The Tensors that it returns are filled each time."""
        if function in self._run_by_us:
            return self._run_by_us[function](*args)
        args = tuple([list(arg) if isinstance(arg, Iterator) else arg for arg in args])  # read once, used each time
        step = steps.Call(function)
        drawing = getattr(function, "__self__", None)
        if isinstance(drawing, Generator):
            stream = drawing.numpy_generator.bit_generator
            self._draws.append((stream, stream.state))
        inside: dict[int, tuple[Tensor, Tensor]] = {}  # by id: one of the function's own Tensors, and its stand-in

        def settled(tensor: Tensor) -> Tensor:
            if not is_traced(tensor):
                return tensor
            if id(tensor) not in inside:
                inside[id(tensor)] = tensor, wrap(plain(tensor.array))
                step.places.append((inside[id(tensor)][1], self._mirrors.get(id(tensor))))
            return inside[id(tensor)][1]

        step.args, step.params = rebuilt((args, params), settled)
        for tensor in tensors_in((args, params)) if not self._calls else ():
            self.surroundings.note_grad(tensor)
        mirrors = [*self._gradients.values(), *[mirror for _, mirror in step.places if mirror is not None]]
        self._store(mirrors)
        self._calls.append((len(self.steps), step))
        result, given = self._untraced(step.call)
        known = {id(tensor): tensor for tensor in tensors_in((step.args, step.params))}  # arguments that it may return
        for tensor, place in inside.values():
            known[id(given[id(place)])] = tensor
            if id(tensor) not in self._mirrors:  # it may have been written to
                self.enter(tensor).root.writes += 1
                tensor._counter[0] += given[id(place)]._counter[0]

        def kept(tensor: Tensor) -> Tensor:
            out = None if id(tensor) in known else self.filled(tensor.array)
            step.outs.append(plain(out))
            kept: Tensor = known[id(tensor)] if out is None else wrap(out)
            return kept

        steps.check_no_number(result, function)
        result = rebuilt(result, kept)
        self.steps.append((step, ()))
        self._store(mirrors)
        self._load(mirrors)
        return result

    def read(self, owner: Any, name: str) -> Any:
        """Read a piece of Python state: a call that finds another value there is traced again."""
        if name == "_grad":
            return self.grad_of(owner)
        if name == "array":
            return self.enter(owner)
        value = getattr(owner, name)
        if is_traced(owner):
            return value
        self.guard(owner, name)
        if isinstance(value, list):
            self.guard_list(value)
        if name == "_hooks":  # of a module that is called, and may check whether it is training
            self.guard(owner, "training")
        if name == "hooks" and value is not None:
            self.guard_list(value.functions)
            return _HooksFromOutside(self, value)
        if name == "_post_accumulate_hooks" and value:
            return [(partial(self.call, hook),) for (hook,) in value]
        return value

    def hook(self, hook: Callable[[Any], Any], gradient: Tensor) -> Any:
        """The result of a hook on a gradient, for a leaf from outside: the hook is called at each call, as it is."""
        if mode.grad:
            raise NotTraceable("a hook of a Tensor from outside cannot be differentiated in a compiled function")
        return self.call(hook, gradient)

    def _untraced(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        versions = self.surroundings.versions()
        run, mode.run = mode.run, self.below
        try:
            with self.paused(
                "a function that is called as it is, such as an optimizer's step or a hook, works on Tensors that the "
                "compiled function made: they must be its arguments"
            ):
                return function(*args, **params)
        finally:
            mode.run = run
            self.surroundings.let_pass(versions)  # each call increments them itself

    # ------------------------------------------------------------------ operations

    apply = Eager.apply

    def forward(self, node: Function, arrays: list[Any], settings: dict[str, Any]) -> Any:
        """Record the forward as steps or, if it depends on values, as a single step."""
        mark = self._mark()
        self._born[id(node)] = len(self.steps)
        try:
            results = Eager.forward(self, node, arrays, settings)
            if any([type(array) is Recorded for array in arrays]):
                check_known(results if type(results) is tuple else (results,))
        except NotTraceable:
            self._undo(mark)
            return self._whole_forward(node, arrays, settings)
        if any([type(array) is Recorded for array in arrays]):
            return results
        if type(results) is tuple:
            return tuple([self._anew(result) for result in results])
        return self._anew(results)

    def _anew(self, array: Any) -> Any:
        """An array that an operation made from nothing: each call makes it again."""
        return array if type(array) is Recorded else self.constant(np.asarray(array))

    def _mark(self) -> tuple[int, int, int]:
        return len(self.steps), len(self._calls), len(self._draws)

    def _undo(self, mark: tuple[int, int, int]) -> None:
        """Undo what an operation has recorded and drawn before it turned out to be untraceable."""
        recorded, called, drawn = mark
        del self.steps[recorded:], self._calls[called:]
        for stream, state in reversed(self._draws[drawn:]):
            stream.state = state

    def _whole_forward(self, node: Function, args: Sequence[Any], settings: dict[str, Any]) -> Any:
        """The forward of an operation as one step, on a separate node, which its backward uses."""
        self.whole.append(type(node).__name__)
        ctx = type(node)()
        ctx.needs_input_grad = node.needs_input_grad
        values = plain(list(args))
        results = self._untraced(self.below.forward, ctx, values, settings)
        several = type(results) is tuple
        arrays = [np.asarray(result) for result in (results if several else (results,))]
        if node.view and any(np.may_share_memory(array, values[0]) for array in arrays):
            raise NotTraceable(f"{node.name()} gives a view, and cannot be traced")
        outs = [self.filled(array) for array in arrays]
        known = {id(value): arg for value, arg in zip(values, args, strict=True)}
        known |= {id(array): out for array, out in zip(arrays, outs, strict=True)}
        vars(node).update(vars(ctx))
        node._saved = tuple([known.get(id(array), array) for array in ctx._saved])
        self._replayed[id(node)] = node, ctx
        self._pinned += [args, outs]  # which ctx's backward may read
        self.steps.append((steps.forward_again, (self.below.forward, ctx, values, settings, plain(outs))))
        return tuple(outs) if several else outs[0]

    def accumulate(self, leaf: Tensor, gradient: Tensor, own: bool) -> None:
        """Add a gradient to a leaf's, which may be from outside."""
        if is_traced(leaf):
            leaf._accumulate(gradient, own)
        else:
            self.accumulate_outside(leaf, gradient)

    def backward(self, node: Function, grads: list[Any]) -> list[Any]:
        """Record the backward as steps, or as one step if the forward was one or the backward depends on values."""
        grads = [g if g is None or is_traced(g) or g._requires_grad else wrap(self.enter(g)) for g in grads]
        self._watch_saved(node)
        _, ctx = self._replayed.get(id(node), (None, None))
        if ctx is None:
            mark = self._mark()
            try:
                results: list[Any] = node.run_backward(list(grads))
                return results
            except NotTraceable:
                self._undo(mark)
        if mode.grad:
            raise NotTraceable(f"the second derivative of {type(node).__name__} cannot be traced")
        self.whole.append(node.name())
        if ctx is None:
            ctx = type(node)()
            own = {name: plain(value) for name, value in vars(node).items() if name not in ("edges", "hooks")}
            vars(ctx).update(own)
            ctx._saved = steps.records([plain(record[0]) for record in node.saved_records()])
        else:
            vars(ctx).update({"metadata": node.metadata, "settings": plain(getattr(node, "settings", {}))})
            ctx._saved = steps.records(ctx._saved)
        values = [None if grad is None else plain(grad.array) for grad in grads]
        found = self._untraced(steps.backward_again, ctx, values)
        outs = [None if array is None else self.filled(array) for array in found]
        self.steps.append((steps.fill_from, (plain(outs), steps.backward_again, ctx, values)))
        return [None if out is None else wrap(out) for out in outs]

    def _watch_saved(self, node: Function) -> None:
        """Ensure that no untraced call, in any run, changes what a node has saved from Tensors outside."""
        for record in node.saved_records() if node._saved else ():
            if record[2] is not None and self.surroundings.counts(record[2]):
                for place, step in self._calls:
                    if place >= self._born.get(id(node), 0):
                        step.watched.append(record[2])

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """Note that the function has returned."""
        self._store(list(self._gradients.values()))
        self.surroundings.check_hooks()
        gradients = {id(mirror) for mirror in self._gradients.values()}
        # Arguments that nothing else may change meanwhile. If no function is called, nothing does.
        self.watched = [mirror for mirror in self.inputs if self._calls and id(mirror) not in gradients]

    def check(self, tensors: Sequence[Tensor]) -> None:
        """NotTraceable if what the function did, even if it raised, differs from what it would have done to the
        arguments.

        Also if it has given a Tensor from outside a history, which later calls would not do.
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
        not_apart = self.written and self.pattern != sharing_pattern([tensor.array for tensor in tensors])
        if not_apart or self._changed_by_others:
            raise NotTraceable(SHARES_MEMORY)

    def close(self) -> list[Any]:
        """Return the steps. NotTraceable if a Tensor made by the function is kept outside, where it would not vary."""
        self.outsiders = self.mirrors
        for mirror in self.outsiders:
            mirror.forget()
        for held in (self._pinned, self._mirrors, self._gradients, self._replayed):
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


class _HooksFromOutside:
    """The hooks of a leaf from outside, as a walk calls them: each as a whole."""

    def __init__(self, trace: Trace, hooks: Hooks) -> None:
        self._trace, self._hooks = trace, hooks

    def run(self, grads: list[Any]) -> None:
        """As Hooks does."""
        hooks = Hooks()
        hooks.functions = [(number, partial(self._trace.hook, hook)) for number, hook in self._hooks.functions]
        hooks.run(grads)
