"""`compile`: a function that runs once as it is written, and from then on as the list of what that run did.

A training step of a small model spends more time in Python, on choosing, checking and linking, than in its kernels.
While shapes stay the same all of that comes out the same each time. So the first call records every kernel and NumPy
function, forward, backward and what changes parameters, with the memory they work in; the calls after it copy their
arguments there and run the list.

Three things are recorded as whole calls, to be made again as they are: what works on all parameters at once or keeps
counts in Python (an optimizer's step, clipping, a schedule), random draws, and operations whose code cannot be traced
down to its kernels, because it looks at values.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter, is_
from typing import Any

import numpy as np

from .dtypes import get_default_dtype
from .function import Function
from .kernels.gemm import get_matmul_backend
from .kernels.memory import empty
from .kernels.tape import Step, Tape, fill_all
from .kernels.traced import NotTraceable, Traced, plain
from .modes import mode, no_grad
from .tensor import Tensor

_PROGRAMS = 8  # kept for one function, those last used: as many as PyTorch compiles before it gives up


def compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, faster where Python takes longer than the arithmetic. Also a decorator.

        @tinytorch.compile
        def step(x, y):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

    A whole step belongs inside, with its backward: what it returns has no history. Arguments and results are Tensors,
    alone or in tuples, lists and dictionaries; other arguments must be hashable. The first call with shapes, dtypes
    and other arguments that are new traces the function, and so does one after a parameter got another array or
    another requires_grad, or a module another `training`. Each later call does what the traced one did: to the bit,
    with the parameters, gradients, optimizers and random numbers as they are then.

    What is done in Python alone happens while tracing only: printing, counting, choosing by a number; and what changes
    outside in Python alone, such as a module in another's place, is not noticed. Values cannot be read inside
    (`item()`, `float()`, `if tensor:`), nor may shapes depend on them: NotTraceable, a TypeError, says where. Arguments
    that require grad raise RuntimeError.
    """
    programs: list[tuple[Any, _Program]] = []  # the last used one first
    lock = threading.RLock()  # a program has one memory: calls from several threads take turns

    @functools.wraps(function, updated=())
    def compiled(*args: Any, **params: Any) -> Any:
        if mode.tape is not None:  # part of what is being traced
            return function(*args, **params)
        tensors: list[Tensor] = []
        key = _structure((args, params), tensors), mode.grad, mode.unfold, get_default_dtype(), get_matmul_backend()
        with lock:
            for place, (known, program) in enumerate(programs):
                if known == key and program.fits():
                    if place:
                        programs.insert(0, programs.pop(place))
                    return program.run([tensor.array for tensor in tensors])
            program = _Program()
            results = program.trace(function, args, params, tensors)
            programs.insert(0, (key, program))
            del programs[_PROGRAMS:]
            return results

    return compiled


def _structure(value: Any, tensors: list[Tensor]) -> Any:
    """What must be equal for two calls to do the same; the Tensors found are added to the list."""
    if isinstance(value, Tensor):
        if value._requires_grad:
            raise RuntimeError(
                f"an argument of a compiled function, {value.dtype} {tuple(value.shape)}, requires grad: what it "
                "returns has no history. Differentiate inside of the function, or pass detach()"
            )
        tensors.append(value)
        return Tensor, value.array.shape, value.array.dtype
    if isinstance(value, (tuple, list)):
        return type(value), *[_structure(item, tensors) for item in value]
    if isinstance(value, dict):
        return dict, *[(key, _structure(item, tensors)) for key, item in value.items()]
    if isinstance(value, np.ndarray):
        raise TypeError("a compiled function takes Tensors, not arrays: pass tinytorch.from_numpy(array)")
    hash(value)
    return type(value), value


def _rebuilt(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """A structure with other Tensors."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        items = [_rebuilt(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: _rebuilt(item, change) for key, item in value.items()}
    return value


class _Program:
    """What one call of a function did."""

    def trace(self, function: Any, args: Any, params: Any, tensors: list[Tensor]) -> Any:
        """Make the call, and record it."""
        trace = _Trace()
        inputs = {id(tensor): trace.empty(tensor.array.shape, tensor.array.dtype) for tensor in tensors}
        for tensor in tensors:
            np.copyto(inputs[id(tensor)].value, tensor.array)
        self.inputs = [inputs[id(tensor)].value for tensor in tensors]
        args, params = _rebuilt((args, params), lambda tensor: Tensor(inputs[id(tensor)]))
        with trace:
            results = function(*args, **params)
            self.results = _rebuilt(results, lambda tensor: Tensor(plain(trace.enter(tensor))))
        self._trace = trace
        self._steps = trace.close()
        return self._copied()

    def fits(self) -> bool:
        """Whether the state outside is what the trace took for granted."""
        for name, (things, values) in self._trace.guards.items():
            if not all(map(is_, map(attrgetter(name), things), values)):
                return False
        return True

    def run(self, arrays: list[Any]) -> Any:
        """What the function does to these arguments."""
        for own, array in zip(self.inputs, arrays, strict=True):
            np.copyto(own, array)
        with no_grad(), np.errstate(all="ignore"):
            _run(self._steps)
        return self._copied()

    def _copied(self) -> Any:
        return _rebuilt(self.results, lambda tensor: Tensor(tensor.array.copy()))


def _run(steps: list[Step]) -> None:
    for function, args in steps:
        function(*args)


class _Trace(Tape):
    """The tape of a function, which knows of Tensors, operations and gradients. It stands in for `mode.quietly`."""

    def __init__(self) -> None:
        super().__init__()
        # What must still hold: by the name of an attribute, objects and its value in each.
        self.guards: dict[str, tuple[list[Any], list[Any]]] = {}
        self._guarded: set[tuple[int, str]] = set()
        self._grads: dict[int, _Gradient] = {}  # by id of the leaf

    def __enter__(self) -> _Trace:
        super().__enter__()
        self._quietly, mode.quietly, mode.tape = mode.quietly, self._forward, self
        return self

    def __exit__(self, *exception: object) -> None:
        mode.quietly, mode.tape = self._quietly, None
        for gradient in self._grads.values():
            gradient.settle()
        super().__exit__(*exception)

    def guard(self, thing: Any, name: str) -> None:
        """Trace again once the attribute is another object."""
        if (id(thing), name) not in self._guarded:
            self._guarded.add((id(thing), name))
            things, values = self.guards.setdefault(name, ([], []))
            things.append(thing)
            values.append(getattr(thing, name))

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
        return self.outside(array)

    def gradient_of(self, leaf: Tensor) -> None:
        """The function reads `leaf.grad`: what it holds must be what the trace finds in it."""
        if id(leaf) not in self._grads:
            self.guard(leaf, "_grad")

    def call(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """Call a function untraced, now and at each run. Tensors that it returns are filled again each time."""
        args = tuple([list(arg) if isinstance(arg, Iterator) else arg for arg in args])  # read once, used each time
        self.kept += [args, params]
        args, params = _rebuilt((args, params), _settled)
        results = self._untraced(function, *args, **params)
        again = functools.partial(function, *args, **params)
        if not isinstance(results, Tensor):
            self.steps.append((again, ()))
            return results
        out = self.filled(results.array)
        self.steps.append((_fill, (out.value, again)))
        self.kept.append(out)
        return Tensor(out)

    def _untraced(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        mode.quietly, mode.tape = self._quietly, None
        for gradient in self._grads.values():
            gradient.settle()
        try:
            return function(*args, **params)
        finally:
            mode.quietly, mode.tape = self._forward, self
            for gradient in self._grads.values():
                gradient.resume()

    # ------------------------------------------------------------------ operations

    def _forward(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """In place of `mode.quietly`: the forward of an operation, or a NumPy function."""
        mark = len(self.steps)
        try:
            return self._quietly(function, *args, **params)
        except Exception:
            del self.steps[mark:]
            if not args or not isinstance(args[0], Function):
                raise
        return self._whole_forward(function, args[0], args[1:], params)

    def _whole_forward(self, function: Callable[..., Any], node: Any, args: Any, params: Any) -> Any:
        """The forward of an operation as one step, on a node of its own that is there for its backward."""
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
        self.kept += [args, outs]
        self.steps.append((_forward_again, (function, ctx, values, params, plain(outs))))
        return tuple(outs) if several else outs[0]

    def seeds(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The gradients that a walk starts from."""
        return [g if g._requires_grad or _is_traced(g) else Tensor(self.enter(g)) for g in gradients]

    def backward(self, node: Any, grads: list[Any]) -> list[Any]:
        """In place of `node.run_backward`."""
        if isinstance(node, Tensor):
            if _is_traced(node):
                return node.run_backward(grads)
            if grads[0] is not None and node._requires_grad:
                self._accumulate(node, grads[0].array)
            return []
        if node.replayed is None:
            mark = len(self.steps)
            try:
                results: list[Any] = node.run_backward(list(grads))
                return results
            except Exception:
                del self.steps[mark:]
        if mode.grad:
            raise NotTraceable(f"the second derivative of {type(node).__name__} cannot be traced")
        ctx = node.replayed
        if ctx is None:
            ctx = type(node)()
            vars(ctx).update({name: plain(value) for name, value in vars(node).items()})
            ctx._saved = _records([plain(record[0]) for record in node._saved_records()])
            self.kept.append(list(vars(node).values()))
        else:
            vars(ctx).update({"metadata": node.metadata, "_params": plain(getattr(node, "_params", {}))})
            ctx._saved = _records(ctx._saved)
        self.kept.append(grads)
        values = [None if grad is None else plain(grad.array) for grad in grads]
        found = self._untraced(_backward_again, ctx, values)
        outs = [None if array is None else self.filled(array) for array in found]
        self.kept.append(outs)
        self.steps.append((_fill_from, (plain(outs), _backward_again, ctx, values)))
        return [None if out is None else Tensor(out) for out in outs]

    def _accumulate(self, leaf: Tensor, array: Any) -> None:
        gradient = self._grads.get(id(leaf))
        if gradient is None:
            # Memory of its own: what other steps may use does not last from one run to the next.
            gradient = self._grads[id(leaf)] = _Gradient(leaf, self.outside(empty(leaf.array.shape, leaf.array.dtype)))
        gradient.settle()
        self.record(gradient.add, array)
        gradient.resume()


def _is_traced(tensor: Tensor) -> bool:
    array: Any = tensor.array
    return type(array) is Traced


def _settled(tensor: Tensor) -> Tensor:
    """A Tensor for the outside: of the memory behind a traced one."""
    return Tensor(plain(tensor.array)) if _is_traced(tensor) else tensor


class _Gradient:
    """The gradient of a leaf: memory that stays, as a Tensor for the outside and as one for the trace."""

    def __init__(self, leaf: Tensor, traced: Traced) -> None:
        self.leaf = leaf
        self.traced, self.own = Tensor(traced), Tensor(traced.value)

    def settle(self) -> None:
        """As the outside wants it."""
        if self.leaf._grad is self.traced:
            self.leaf._grad = self.own

    def resume(self) -> None:
        """As the trace wants it."""
        if self.leaf._grad is self.own:
            self.leaf._grad = self.traced

    def add(self, array: Any) -> None:
        """Add to what the leaf holds, as `backward` does."""
        leaf, own = self.leaf, self.own.array
        present = leaf._grad
        if present is None:
            np.copyto(own, array)
        else:
            np.add(present.array, array, out=own)
        leaf._grad = self.own


def _fill(out: Any, function: Callable[[], Tensor]) -> None:
    np.copyto(out, function().array)


def _records(saved: Any) -> list[Any]:
    return [(array, None, None, 0) for array in saved]


def _forward_again(function: Any, ctx: Any, values: Any, params: Any, outs: Any) -> None:
    results = function(ctx, *values, **params)
    fill_all(outs, results if type(results) is tuple else (results,), type(ctx).__name__)
    ctx._saved = _records(ctx._saved)


def _backward_again(ctx: Any, values: Any) -> Any:
    results = ctx.run_backward([None if value is None else Tensor(value) for value in values])
    return [None if result is None else result.array for result in results]


def _fill_from(outs: Any, function: Any, ctx: Any, values: Any) -> None:
    fill_all(outs, function(ctx, values), ctx.name())
