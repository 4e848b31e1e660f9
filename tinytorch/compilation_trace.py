"""The tape of a compiled function, which knows of Tensors, operations, gradients and the state outside of it."""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import compilation_steps as steps
from .compilation_arguments import Mirror, bounds, layout, owner, rebuilt, sharing, tensors_in
from .function import Function
from .kernels.tape import Tape
from .kernels.traced import NotTraceable, Traced, plain
from .modes import mode
from .tensor import Tensor

Array = np.ndarray[Any, Any]


class Trace(Tape):
    """What a call does, while it does it: it stands at `mode.tape`, and in for `mode.quietly`.

    A Tensor from outside is worked on where it lies, and guarded: a call that finds it elsewhere is traced anew. What
    may be another at each call, an argument or a gradient, has a Mirror.
    """

    def __init__(self, tensors: Sequence[Tensor], apart: bool = False) -> None:
        """The arguments. Whether they may be taken apart where they share memory, since they are not written to."""
        super().__init__()
        # What must be as it was: by the name of an attribute, objects and its value in each; lists and what they held.
        self.guards: dict[str, tuple[list[Any], list[Any]]] = {}
        self.lists: tuple[list[Any], list[Any]] = [], []
        self.without_grad: list[Tensor] = []
        self.with_grad: list[Tensor] = []
        self.leaves: list[Tensor] = []  # whose .grad, as it is before, is read or added to
        self.whole: list[str] = []  # operations that could not be traced
        self.calls = False  # whether a function is called untraced, which may do anything to what is outside
        self._guarded: set[tuple[int, str]] = set()
        self._had_grad: dict[int, bool] = {}  # by id of a leaf from outside
        self._touched: set[int] = set()  # ids of the leaves from outside whose .grad was read, written or added to
        self._versions: dict[int, list[Any]] = {}  # version counters of what is outside, and the version before
        self._histories: dict[int, tuple[Tensor, Any]] = {}  # of what is outside: its grad_fn before
        self._mirrors: dict[int, Mirror] = {}  # by id of the Tensor inside
        self._gradients: dict[int, Mirror] = {}  # of what is or was the .grad of a leaf: by id of the Tensor outside
        self._gave_history: list[Tensor] = []  # Tensors from outside that were given a history, and lost it again
        self._born: dict[int, int] = {}  # by id of a node: the number of steps before it
        self._calls: list[tuple[int, steps.Call]] = []  # how many steps are before them
        self._hooks: set[int] = set()  # ids of the lists of hooks that leaves from outside have
        self._pinned: list[Any] = []  # arrays whose memory must last until the trace ends
        self._draws: list[tuple[Any, Any]] = []  # streams of random numbers, and their state before each draw
        self.pattern = () if apart else sharing([tensor.array for tensor in tensors])
        self._arguments: dict[int, Mirror] = {}  # by id of the Tensor outside
        self.inputs = self._inputs(tensors)

    def __enter__(self) -> Trace:
        super().__enter__()
        self._quietly, mode.quietly, mode.tape = mode.quietly, self._forward, self
        return self

    def __exit__(self, *exception: object) -> None:
        mode.quietly, mode.tape = self._quietly, None
        self._find_what_is_written()
        self.changed_meanwhile = any([m.outside._counter[0] != m.outside_version for m in self.inputs])
        for mirror, rise in _written(self.mirrors):
            mirror.store(rise)
        for tensor, history in self._histories.values():
            if tensor.grad_fn is not history:  # the trace's own nodes are of no use outside
                self._gave_history.append(tensor)
                tensor.grad_fn, tensor._requires_grad, tensor.output_nr = history, history is not None, 0
        super().__exit__(*exception)

    # ------------------------------------------------------------------ what is outside

    def _inputs(self, tensors: Sequence[Tensor]) -> list[Mirror]:
        """Where the arguments are copied to: laid out as they are, and sharing memory as they do."""
        traced: dict[int, Traced] = {}
        for group in self.pattern:
            arrays = [tensors[i].array for i, _, _ in group]
            first = arrays[0].ctypes.data - group[0][1]
            memory = self.empty(max([bounds(array)[1] for array in arrays]) - first, np.uint8)
            for array, (i, start, strides) in zip(arrays, group, strict=True):
                own = np.ndarray(array.shape, array.dtype, memory.value, start, strides)
                traced[i] = Traced(self, own, memory)
        counters: dict[int, list[int]] = {}
        for i, tensor in enumerate(tensors):
            array = tensor.array
            if i not in traced:
                placed = layout(array) or (0,)
                traced[i] = self.empty(array.shape, array.dtype, placed[1:] or None, placed[0])
            mirror = Mirror(traced[i], tensor)
            if traced[i].base is not None:
                mirror.tensor._counter = counters.setdefault(id(tensor._counter), mirror.tensor._counter)
            mirror.load()
            self._arguments[id(tensor)] = self._mirrors[id(mirror.tensor)] = mirror
        return list(self._arguments.values())

    def mirrors_by_memory(self) -> dict[int, list[Mirror]]:
        """All mirrors, by id of whose memory they lie in."""
        result: dict[int, list[Mirror]] = {}
        for mirror in self.mirrors:
            result.setdefault(id(mirror.root), []).append(mirror)
        return result

    @property
    def mirrors(self) -> list[Mirror]:
        """Of arguments and of gradients."""
        return list({id(mirror): mirror for mirror in (*self._gradients.values(), *self.inputs)}.values())

    def stand_in(self, argument: Tensor) -> Tensor:
        """What the function gets in place of an argument."""
        tensor: Tensor = self._arguments[id(argument)].tensor
        return tensor

    def guard(self, thing: Any, name: str) -> None:
        """Trace again once the attribute is another object. To be called before the function changes it."""
        if (id(thing), name) not in self._guarded and not is_traced(thing):
            self._guarded.add((id(thing), name))
            things, values = self.guards.setdefault(name, ([], []))
            things.append(thing)
            values.append(getattr(thing, name))

    def guard_list(self, held: list[Any]) -> None:
        """Trace again once the list holds other things."""
        if not any(held is known for known in self.lists[0]):
            self.lists[0].append(held)
            self.lists[1].append(held.copy())

    def enter(self, tensor: Tensor) -> Traced:
        """The array of a Tensor, traced if it comes from outside."""
        array: Any = tensor.array
        if type(array) is Traced:
            return array
        if mode.grad and tensor.grad_fn is not None:
            raise NotTraceable(
                f"a Tensor from outside, {tensor.dtype} {tuple(tensor.shape)}, has a history, which cannot be walked "
                "at each call: compute it inside of the compiled function, or detach() it"
            )
        self.guard(tensor, "array")
        self.guard(tensor, "_requires_grad")
        if tensor._requires_grad and tensor.grad_fn is None:
            self.guard(tensor, "hooks")
            self._note_grad(tensor)
            if tensor.hooks is not None:
                self._hooks.add(id(tensor.hooks.functions))
                self.guard_list(tensor.hooks.functions)
        self._versions.setdefault(id(tensor._counter), [tensor._counter, tensor._counter[0]])
        self._histories.setdefault(id(tensor), (tensor, tensor.grad_fn))
        return self.outside(array)

    def assign_data(self, tensor: Tensor) -> None:
        """The function is about to give a Tensor other memory."""
        if not is_traced(tensor) or id(tensor) in self._mirrors:
            raise NotTraceable(
                f"a compiled function assigns .data of a Tensor from outside, {tensor.dtype} {tuple(tensor.shape)}, "
                "which would have other memory at each call: write into it, with copy_() under no_grad()"
            )

    def draw(self, generator: Any, function: Callable[[Any], Any]) -> Any:
        """An array that a function draws from a generator, at each call anew."""
        stream = generator.numpy_generator.bit_generator
        self._draws.append((stream, stream.state))
        return self.capture(lambda: np.asarray(function(generator.numpy_generator)), (), {})

    # ------------------------------------------------------------------ gradients of leaves from outside

    def grad_of(self, tensor: Tensor) -> Tensor | None:
        """What the function finds in `tensor.grad`."""
        gradient = tensor._grad
        if is_traced(tensor):
            mirror = self._mirrors.get(id(tensor))
            if gradient is None and mirror is not None and mirror.outside._grad is not None:
                raise NotTraceable("a compiled function reads .grad of an argument: pass it as another argument")
            return gradient
        self._note_grad(tensor)
        if self._touch_grad(tensor) and id(tensor) in self._had_grad:
            (self.with_grad if self._had_grad[id(tensor)] else self.without_grad).append(tensor)
        if gradient is None:
            self.steps.append((steps.expect_no_grad, (tensor,)))
            return None
        mirror = self._gradients.get(id(gradient))
        if mirror is None:
            if gradient._requires_grad:
                raise NotTraceable("a gradient from outside requires grad: a compiled function cannot differentiate it")
            mirror = self._mirror_gradient(Mirror(self._memory_of_gradient(gradient), gradient))
        self.record(steps.find_grad, tensor, mirror)
        inside: Tensor = mirror.tensor
        return inside

    def set_grad(self, tensor: Tensor, value: Tensor | None) -> None:
        """`tensor.grad = value`, at each call."""
        if is_traced(tensor):
            tensor._grad = value
            return
        self._touched.add(id(tensor))
        if value is None or not is_traced(value):
            self.record(setattr, tensor, "_grad", value)
            return
        if value._requires_grad:
            raise NotTraceable("a compiled function sets .grad to what has a history: detach() it")
        mirror = self._mirrors.get(id(value))
        if mirror is None:  # made by the function: each call leaves a Tensor of its own, or a view of another
            traced = self.enter(value)
            mirror = Mirror(traced, Tensor(traced.value), value)
            whole = [other for other in self.mirrors if other.root is traced.root]
            if whole:
                self.record(steps.renew_view, mirror, whole[0], value._counter is whole[0].tensor._counter)
            else:
                self.record(steps.renew, mirror)
            mirror.sync()
        self._mirror_gradient(mirror)
        self.record(steps.set_grad, tensor, mirror)

    def accumulate(self, leaf: Tensor, gradient: Tensor) -> None:
        """Add what arrived at a leaf from outside to its .grad, as `backward` does."""
        if mode.grad and gradient._requires_grad:
            raise NotTraceable(
                "backward(create_graph=True) in a compiled function leaves gradients that have a history: take them "
                "from autograd.grad(..., create_graph=True)"
            )
        self._touch_grad(leaf)
        mirrors = [] if leaf._grad is None else self._mirrors_of_memory(leaf._grad)
        self._store(mirrors)
        self.record(steps.accumulate, leaf, self.enter(gradient), mode.grad)
        self._load(mirrors)

    def _note_grad(self, leaf: Tensor) -> None:
        """Whether it had a gradient before: known as long as nothing was called that may have changed that."""
        if not self.calls:
            self._had_grad.setdefault(id(leaf), leaf._grad is not None)

    def _touch_grad(self, leaf: Tensor) -> bool:
        """Whether this is the first that the function has to do with the leaf's gradient."""
        if id(leaf) in self._touched:
            return False
        self._touched.add(id(leaf))
        self.leaves.append(leaf)
        gradient = leaf._grad
        if gradient is not None and any(np.may_share_memory(gradient.array, m.outside.array) for m in self.inputs):
            raise NotTraceable(SHARES_MEMORY)
        return True

    def _mirrors_of_memory(self, gradient: Tensor) -> list[Mirror]:
        return [m for m in self._gradients.values() if np.may_share_memory(m.outside.array, gradient.array)]

    def _memory_of_gradient(self, gradient: Tensor) -> Traced:
        """Where a gradient from outside is worked on: where others are that lie in the same memory."""
        known = self._mirrors_of_memory(gradient)
        if not known:
            return self.filled(gradient.array)
        self._store(known)
        array = known[0].outside.array
        if (array.ctypes.data, array.strides) != (gradient.array.ctypes.data, gradient.array.strides):
            raise NotTraceable("a gradient from outside is a part of another, which a compiled function cannot follow")
        return Traced(self, known[0].array.view(), known[0].root)

    def _mirror_gradient(self, mirror: Mirror) -> Mirror:
        self._mirrors[id(mirror.tensor)] = self._gradients[id(mirror.outside)] = mirror
        return mirror

    def _store(self, mirrors: Sequence[Mirror]) -> None:
        """Let what is outside be what was written here."""
        for mirror, rise in _written(mirrors):
            self.record(mirror.store, rise)
        for mirror in mirrors:
            mirror.sync()

    def _load(self, mirrors: Sequence[Mirror]) -> None:
        """Let what is here be what it is outside, with a new version if that has changed."""
        for mirror in mirrors:
            self.record(mirror.load)
            mirror.tensor._counter[0] += mirror.outside._counter[0] - mirror.outside_version
        for mirror in mirrors:
            mirror.sync()

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
        for tensor in tensors_in((args, params)):
            self._note_grad(tensor)
        self.calls = True
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
        if id(hooks) not in self._hooks:
            return hook(gradient)
        if mode.grad:
            raise NotTraceable("a hook of a Tensor from outside cannot be differentiated in a compiled function")
        return self.call(hook, gradient)

    def _untraced(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        before = [(version, version[0][0]) for version in self._versions.values()]
        mode.quietly, mode.tape = self._quietly, None
        try:
            with self.paused(
                "a function that is called as it is, such as an optimizer's step or a hook, works on Tensors that the "
                "compiled function made: they must be its arguments"
            ):
                return function(*args, **params)
        finally:
            mode.quietly, mode.tape = self._forward, self
            for version, count in before:
                version[1] += version[0][0] - count  # which each call counts by itself

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
            if id(counter) in self._versions:
                for place, step in self._calls:
                    if place >= self._born.get(id(node), 0):
                        step.watched.append(counter)

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """What each run does besides its steps; NotTraceable if it would take more.

        `rises`: version counters, and by how much they rise. `written`: Mirrors to be stored, and likewise. `changes`:
        what else the function left otherwise than it was.
        """
        self._store(list(self._gradients.values()))
        self._check_hooks()
        self.rises = [(counter, counter[0] - before) for counter, before in self._versions.values()]
        self.rises = [(counter, rise) for counter, rise in self.rises if rise]

    def _find_what_is_written(self) -> None:
        """`sensitive`: memory that no argument may share, as it or the argument is written to, by its owner."""
        self.written = _written(self.inputs)
        gradients = {id(mirror) for mirror in self._gradients.values()}
        # Arguments that nobody but the function may change meanwhile; where nothing is called, nobody does.
        self.watched = [mirror for mirror in self.inputs if self.calls and id(mirror) not in gradients]
        self.sensitive: dict[int, list[Array]] = {}
        self._written_outside: list[Tensor] = []
        of_tensors: set[int] = set()
        tensors, arrays = self.guards.get("array", ([], []))
        for tensor, array in zip(tensors, arrays, strict=True):
            of_tensors.add(id(array))
            if self.outside(array).writes:
                self._written_outside.append(tensor)
            if self.written or self.outside(array).writes or (self.calls and tensor._requires_grad):
                self.sensitive.setdefault(id(owner(array)), []).append(array)
        others = [traced for traced in self._outside.values() if id(traced.value) not in of_tensors]
        self._written_arrays = [traced.value for traced in others if traced.writes]
        for array in self._written_arrays:
            self.sensitive.setdefault(id(owner(array)), []).append(array)

    def check_histories(self) -> None:
        """NotTraceable if the function has given a Tensor from outside a history, which it would not have later."""
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

    def _check_hooks(self) -> None:
        leaves, hooks = self.guards.get("hooks", ([], []))
        new = [leaf.hooks for leaf, before in zip(leaves, hooks, strict=True) if leaf.hooks is not before]
        if any(hooks is not None and hooks.functions for hooks in new) or self.lists[0] != self.lists[1]:
            raise NotTraceable("a compiled function registers a hook with what is outside: do it before, once")

    def close(self) -> list[Any]:
        """The steps. NotTraceable if a Tensor that the function made is kept outside, where it would not change."""
        self.outsiders = self.mirrors
        for mirror in self.outsiders:
            mirror.forget()
        self._pinned.clear()
        self._mirrors.clear()
        self._gradients.clear()
        steps = super().close()
        self._forget_what_is_gone()
        self._check_made_inside(steps)
        self.changes = [
            (thing, name, getattr(thing, name))
            for name in ("_requires_grad", "training")
            for thing, value in zip(*self.guards.get(name, ([], [])), strict=True)
            if getattr(thing, name) is not value
        ]
        if self.alive:
            gc.collect()
        if self.alive:
            array = next(iter(self.alive.values()))
            raise NotTraceable(
                f"a Tensor that a compiled function made, {array.dtype} {array.shape}, is kept outside of it, where "
                "later calls would not find it, or returned in something other than tuples, lists and dictionaries: "
                "return it, or write it into a Tensor that is there before, with copy_()"
            )
        return steps

    def _forget_what_is_gone(self) -> None:
        """No guards of Tensors that nobody else refers to: constants that the function made, which nothing changes.

        NotTraceable if the function has written to one of them, since it would find there what the last call left.
        """
        written = [weakref.ref(tensor) for tensor in self._written_outside]
        shapes = [(tensor.dtype, tuple(tensor.shape)) for tensor in self._written_outside]
        kept = {
            name: [(weakref.ref(thing), value) for thing, value in zip(*guards, strict=True)]
            for name, guards in self.guards.items()
        }
        self.guards.clear()
        self._histories.clear()
        self._written_outside.clear()
        for reference, (dtype, shape) in zip(written, shapes, strict=True):
            if reference() is None:
                raise NotTraceable(_MADE_OF_AN_ARRAY.format(f"a Tensor that it writes to, {dtype} {shape},"))
        for name, references in kept.items():
            pairs = [(reference(), value) for reference, value in references]
            pairs = [(thing, value) for thing, value in pairs if thing is not None]
            self.guards[name] = [thing for thing, _ in pairs], [value for _, value in pairs]

    def _check_made_inside(self, steps: list[Any]) -> None:
        """NotTraceable if a leaf with a gradient, or an array that was written to, is nobody's but the function's."""
        ours = {id(held) for guards in self.guards.values() for held in guards} | {id(self.kept)}
        ours |= {id(held) for held in (self.leaves, self.without_grad, self.with_grad, self._written_arrays)}
        ours |= {id(held) for held in self.sensitive.values()}
        waiting: list[Any] = [*steps]
        while waiting:
            part = waiting.pop()
            ours.add(id(part))
            if isinstance(part, functools.partial):
                waiting += [part.args, part.keywords]
            elif isinstance(part, (tuple, list, dict)):
                waiting += part.values() if isinstance(part, dict) else part

        def is_ours(thing: Any) -> bool:
            return all(id(held) in ours or isinstance(held, types.FrameType) for held in gc.get_referrers(thing))

        tensors, before = self.guards.get("_requires_grad", ([], []))
        new = {id(tensor) for tensor, required in zip(tensors, before, strict=True) if not required}
        for leaf in self.leaves:
            if id(leaf) in new and is_ours(leaf):
                raise NotTraceable(_MADE_OF_AN_ARRAY.format(f"a leaf, {leaf.dtype} {tuple(leaf.shape)},"))
        for array in self._written_arrays:
            if is_ours(array) and (owner(array) is array or is_ours(owner(array))):
                what = f"a Tensor that it writes to, {array.dtype} {array.shape},"
                raise NotTraceable(_MADE_OF_AN_ARRAY.format(what))


_MADE_OF_AN_ARRAY = (
    "a compiled function makes {} of a NumPy array, which would be the same at each call: make it with "
    "tinytorch.tensor(), or outside"
)
SHARES_MEMORY = (
    "an argument of a compiled function shares memory with a Tensor from outside, or its gradient, that the function "
    "writes to: pass a clone()"
)


def is_traced(thing: Any) -> bool:
    """Whether it is a Tensor that a function which is being traced has made."""
    return isinstance(thing, Tensor) and type(thing.array) is Traced  # type: ignore[comparison-overlap]


def _written(mirrors: Sequence[Mirror]) -> list[tuple[Mirror, int]]:
    """Those to be stored, with the rise of their versions, which several may have in common."""
    counted: set[int] = set()
    result = []
    for mirror in {id(mirror): mirror for mirror in mirrors}.values():
        if mirror.written():
            result.append((mirror, 0 if id(mirror.tensor._counter) in counted else mirror.rise()))
            counted.add(id(mirror.tensor._counter))
    return result
