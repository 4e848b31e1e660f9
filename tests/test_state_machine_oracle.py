"""Any sequence of operations, views, writes, hooks and backward passes does what it does in PyTorch.

A machine keeps pairs of tensors, ours and PyTorch's, and changes both in the same way, step by step. After each step
every pair agrees in values, shape, flags and gradient, and what one side refuses the other refuses too. Two things may
differ. Ours may refuse what it cannot do yet (a GAP: then the step is not made); and PyTorch may refuse what is well
defined here (a LIBERTY: then the run ends, as the sides hold different values from there on). Never may both work and
differ.

What is compared must not depend on what an operation happens to save, and no value may grow, so the operations are few
and the numbers small.

Locally and in CI 200 runs of 30 steps. More: STATE_MACHINE_RUNS=5000 pytest tests/test_state_machine_oracle.py
"""

from __future__ import annotations

import copy
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import tinytorch

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

RUNS = int(os.environ.get("STATE_MACHINE_RUNS", "200"))
STEPS = 30

OURS, THEIRS = 0, 1
MODULES = (tinytorch, torch)

# What ours refuses where PyTorch works, by a part of the message.
GAPS = (
    "expanded, so that several elements lie in one place",  # fill_ and the like of expanded memory
    "or given other data, after it was saved",  # data assigned to what is no leaf
    "has already freed what it saved",  # other nodes save something than in PyTorch
)
# What PyTorch refuses where ours works.
LIBERTIES = (
    "unsupported operation: ",  # a write whose operands overlap in memory
    "has been detached in-place",  # a saved tensor after detach_()
    "modified inplace with grad mode enabled",  # a view from under no_grad that is only looked at
    "is a view and its base or another view of its base has been modified inplace",  # as above, of split and unbind
    "backward through the graph a second time",  # other nodes save something than in ours
    "INTERNAL ASSERT FAILED",  # PyTorch 2.13: a recorded write into what retained its gradient before detach_()
)


class HookError(Exception):
    """Raised by a hook on purpose."""


class Pair:
    """The same tensor on both sides."""

    def __init__(self, ours: Any, theirs: Any) -> None:
        self.sides = (ours, theirs)

    def __getitem__(self, side: int) -> Any:
        return self.sides[side]


class Hook(NamedTuple):
    kind: str
    tensor: Pair
    handles: tuple[Any, Any]
    logs: tuple[list[Any], list[Any]]


def tensor_on(side: int, values: Any, requires_grad: bool = False) -> Any:
    t = MODULES[side]
    return t.tensor(np.array(values, np.float64), dtype=t.float64, requires_grad=requires_grad)


SHAPES = ((), (1,), (2,), (3,), (2, 3), (3, 2), (1, 3))
NUMBERS = (-1.5, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0)

UNARY: dict[str, Callable[[Any, Any], Any]] = {
    "neg": lambda t, x: -x,
    "times 2": lambda t, x: x * 2,
    "plus 1": lambda t, x: x + 1,
    "tanh": lambda t, x: x.tanh(),
    "exp": lambda t, x: (-x.tanh()).exp(),
    "sum": lambda t, x: x.sum(),
    "sum of rows": lambda t, x: x.sum(-1) if x.ndim else x.sum(),
    "mean": lambda t, x: x.mean(),
    "clone": lambda t, x: x.clone(),
    "copied rows": lambda t, x: x[[0, 0]] if x.ndim else x.clone(),
    "with itself": lambda t, x: x * x,
    "stack": lambda t, x: t.stack([x, x])[1],
    "softmax": lambda t, x: x.softmax(-1) if x.ndim else x.tanh(),
}
BINARY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda t, x, y: x + y,
    "sub": lambda t, x, y: x - y,
    "mul": lambda t, x, y: x * y,
    "matmul": lambda t, x, y: t.mm(x, y),
    "cat": lambda t, x, y: t.cat([x, y]),
    "where": lambda t, x, y: t.where(x.detach() > 0, x, y),
    "mul tanh": lambda t, x, y: x * y.tanh(),
    # Without the tanh PyTorch 2.13 lets both gradients share memory, and then adds twice to each.
    "stack": lambda t, x, y: t.stack([x, y]).tanh().sum(0),
}
VIEWS: dict[str, Callable[[Any, Any], Any]] = {
    "first": lambda t, x: x[0],
    "last": lambda t, x: x[..., -1],
    "tail": lambda t, x: x[1:],
    "step": lambda t, x: x[::2],
    "none": lambda t, x: x[None],
    "transpose": lambda t, x: x.transpose(0, -1),
    "flat": lambda t, x: x.reshape(-1),
    "column": lambda t, x: x.reshape(-1, 1),
    "expand": lambda t, x: x.expand(2, *x.shape),
    "split": lambda t, x: x.split(1)[0],
    "unbind": lambda t, x: x.unbind(0)[-1],
    "chunk": lambda t, x: x.chunk(2, -1)[0],
    "alias": lambda t, x: x.view_as(x),
    "detach": lambda t, x: x.detach(),
    "data": lambda t, x: x.data,
    "narrow": lambda t, x: x.narrow(0, 0, 1) if x.ndim else x[...],
    "squeeze": lambda t, x: x.squeeze(),
}
WRITES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add_": lambda t, x, y: x.add_(y),
    "mul_": lambda t, x, y: x.mul_(y),
    "sub_ 1": lambda t, x, y: x.sub_(1),
    "neg_": lambda t, x, y: x.neg_(),
    "copy_": lambda t, x, y: x.copy_(y),
    "fill_": lambda t, x, y: x.fill_(0.5),
    "zero_": lambda t, x, y: x.zero_(),
    "masked_fill_": lambda t, x, y: x.masked_fill_(x.detach() > 0, 0.25),
    "x[0] = number": lambda t, x, y: x.__setitem__(0 if x.ndim else ..., 0.5),
    "x[0] = y": lambda t, x, y: x.__setitem__(0 if x.ndim else ..., y),
    "x[...] = y": lambda t, x, y: x.__setitem__(..., y),
    "x[mask] = 1": lambda t, x, y: x.__setitem__(x.detach() < 0, 1.0),
    "iadd": lambda t, x, y: x.__iadd__(y),
    "x[0] += y.sum()": lambda t, x, y: row_added(x, y),
    "column *= y.sum()": lambda t, x, y: x[..., -1:].mul_(y.sum()) if x.ndim else x.mul_(y),
    "flat transposed": lambda t, x, y: x.transpose(0, -1)[None].squeeze(0).sub_(y.sum()) if x.ndim else x.sub_(y),
}


def row_added(x: Any, y: Any) -> None:
    x[0 if x.ndim else ...] += y.sum()


GRADIENTS = ("default", "ones", "expanded", "strided", "float32", "another")

ANY = 11
index = st.integers(0, ANY)


def anything(x: Any) -> bool:
    return True


def requires_grad(x: Any) -> bool:
    return bool(x.requires_grad)


def fits_into(x: Any) -> Callable[[Any], bool]:
    """Whether another can be broadcast to its shape."""
    return lambda y: _broadcast(x.shape, y.shape) == tuple(x.shape)


def fits_beside(x: Any) -> Callable[[Any], bool]:
    """Whether the two can be broadcast against each other."""
    return lambda y: _broadcast(x.shape, y.shape) is not None


def _broadcast(*shapes: Any) -> Any:
    try:
        return np.broadcast_shapes(*[tuple(shape) for shape in shapes])
    except ValueError:
        return None


def fits_operation(name: str, x: Any) -> Callable[[Any], bool]:
    if name == "matmul":
        return lambda y: x.ndim == y.ndim == 2 and x.shape[1] == y.shape[0]  # of vectors ours takes several nodes
    if name in ("cat", "stack"):
        return lambda y: x.shape[1:] == y.shape[1:] if name == "cat" and x.ndim == y.ndim > 0 else x.shape == y.shape
    return fits_beside(x)


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.quiet = warnings.catch_warnings()
        self.quiet.__enter__()
        warnings.simplefilter("ignore")
        self.restart()

    def teardown(self) -> None:
        self.quiet.__exit__(None, None, None)
        for hook in self.hooks:  # PyTorch's tensors and their hooks are a cycle
            hook.handles[THEIRS].remove()

    # ------------------------------------------------------------------ making one step on both sides

    def pick(self, number: int, fits: Callable[[Any], bool] = anything) -> Pair:
        """One that means the same on both sides.

        Of those that fit what it is for, if there are any; the last number stands for any at all, to be refused.
        """
        chosen = [pair for pair in self.pool if not severed(pair)]
        fitting = [pair for pair in chosen if fits(pair[OURS])] if number < ANY else []
        return (fitting or chosen)[number % len(fitting or chosen)]

    def add(self, made: Any) -> None:
        """A new pair, unless its values are large; one in the place of an older one where there are many."""
        ours, theirs = made
        if float(np.abs(ours.array).max(initial=0)) > 1e4:
            return
        if len(self.pool) >= 12:
            del self.pool[len(self.pool) // 2]
        self.pool.append(Pair(ours, theirs))

    def both(self, run: Callable[[Any, int], Any], walks: bool = False) -> Any:
        """run(module, side) on both; what both return, or None where both refuse, or ours does for now."""
        ours, refused = self.attempt(run, OURS)
        gap = next((text for text in GAPS if text in str(refused)), None)
        if gap is not None and not walks:  # nothing has changed yet
            event(f"gap: {gap}")
            return None
        theirs, expected = self.attempt(run, THEIRS)
        if isinstance(refused, HookError) and isinstance(expected, HookError):
            raise HookError
        if refused is None and expected is None:
            return ours, theirs
        liberty = next((text for text in LIBERTIES if text in str(expected)), None)
        if expected is None or refused is None:
            # One side has gone on, so the two hold different values from here on.
            assert refused is None or gap, f"ours refuses what PyTorch does: {refused!r}"
            assert expected is None or liberty, f"PyTorch refuses: {expected!r}"
            event(f"gap: {gap}" if expected is None else f"liberty: {liberty}")
            self.over = True
        else:
            assert isinstance(refused, type(expected)), f"{refused!r}, PyTorch: {expected!r}"
            event("both refuse")
        return None

    @staticmethod
    def attempt(run: Callable[[Any, int], Any], side: int) -> tuple[Any, Exception | None]:
        try:
            return run(MODULES[side], side), None
        except Exception as error:
            return None, error

    def step(self, run: Callable[[Any, int], Any], keep: bool = True) -> Any:
        """One on both sides; what is made goes into the pool."""
        made = self.both(run)
        if made is not None and keep:
            self.add(made)
        return made

    def walk(self, run: Callable[[Any, int], Any], retain: bool) -> Any:
        """A step that walks the graph, which may stop in the middle: then what was added to `.grad` is dropped."""
        if any(hook.kind == "raise" for hook in self.hooks) and not retain:
            return None  # what is freed by the time depends on the order of the nodes
        for hook in self.hooks:
            for log in hook.logs:
                log.clear()
        try:
            made = self.both(run, walks=True)
        except HookError:
            event("a hook raised")
            self.drop_gradients()
            for hook in [hook for hook in self.hooks if hook.kind == "raise"]:
                self.remove(hook)
            return self.walk(run, retain)  # the graph is as it was
        if made is None:
            self.forget_gradients()
            return None
        for hook in self.hooks:
            same_list(*hook.logs)
        return made

    def forget_gradients(self) -> None:
        for pair in self.pool:
            for tensor in pair.sides:
                tensor.grad = None

    def drop_gradients(self) -> None:
        """Also from the pool: what was added to them by then depends on the order of the nodes."""
        gradients = [pair[OURS].grad.array for pair in self.pool if pair[OURS].grad is not None]
        self.pool = [p for p in self.pool if not any([np.shares_memory(p[OURS].array, g) for g in gradients])]
        if not self.pool:
            self.restart()
        self.forget_gradients()

    def remove(self, hook: Hook) -> None:
        self.hooks.remove(hook)
        for handle in hook.handles:
            handle.remove()

    # ------------------------------------------------------------------ tensors

    @rule(shape=st.sampled_from(SHAPES), numbers=st.lists(st.sampled_from(NUMBERS), min_size=6, max_size=6),
          requires_grad=st.booleans())  # fmt: skip
    def make(self, shape: tuple[int, ...], numbers: list[float], requires_grad: bool) -> None:
        values = np.resize(numbers, shape)
        self.step(lambda t, side: tensor_on(side, values, requires_grad))

    @rule(i=index, name=st.sampled_from(sorted(UNARY)), grad=st.sampled_from([True, True, True, False]))
    def unary(self, i: int, name: str, grad: bool) -> None:
        x = self.pick(i)
        self.step(lambda t, side: under(t, grad, lambda: UNARY[name](t, x[side])))

    @rule(i=index, j=index, name=st.sampled_from(sorted(BINARY)), grad=st.sampled_from([True, True, True, False]))
    def binary(self, i: int, j: int, name: str, grad: bool) -> None:
        x = self.pick(i)
        y = self.pick(j, fits_operation(name, x[OURS]))
        self.step(lambda t, side: under(t, grad, lambda: BINARY[name](t, x[side], y[side])))

    @rule(i=index, name=st.sampled_from(sorted(VIEWS)), grad=st.sampled_from([True, True, False]))
    def view(self, i: int, name: str, grad: bool) -> None:
        x = self.pick(i)
        self.step(lambda t, side: under(t, grad, lambda: VIEWS[name](t, x[side])))

    @rule(i=index, j=index, name=st.sampled_from(sorted(WRITES)), grad=st.booleans())
    def write(self, i: int, j: int, name: str, grad: bool) -> None:
        candidates = [pair for pair in self.pool if writable(pair[OURS], grad)] if i < ANY else self.pool
        x = (candidates or self.pool)[i % len(candidates or self.pool)]
        y = self.pick(j, fits_into(x[OURS]))
        apart = not np.shares_memory(x[OURS].array, y[OURS].array)

        def run(t: Any, side: int) -> None:
            WRITES[name](t, x[side], y[side] if apart else y[side].clone())

        self.step(lambda t, side: under(t, grad, lambda: run(t, side)), keep=False)
        self.pool = [pair for pair in self.pool if np.abs(pair[OURS].array).max(initial=0) <= 1e4]
        if all(severed(pair) for pair in self.pool):
            self.restart()

    @rule(i=index, j=index)
    def assign_data(self, i: int, j: int) -> None:
        x = self.pick(i)
        y = self.pick(j, lambda y: y.shape == x[OURS].shape)
        if x[OURS].shape == y[OURS].shape and x[OURS]._base is None and x[OURS].is_leaf:
            self.step(lambda t, side: setattr(x[side], "data", y[side].detach().clone()), keep=False)
            # Its views are views no more, which to PyTorch they are, of memory that they do not share.
            self.pool = [pair for pair in self.pool if pair[OURS]._base is not x[OURS]]

    @rule(i=index, flag=st.booleans())
    def toggle(self, i: int, flag: bool) -> None:
        x = self.pick(i, lambda x: x.is_leaf)
        turned_on = flag and not x[OURS].requires_grad
        self.step(lambda t, side: x[side].requires_grad_(flag), keep=False)
        if turned_on:
            # What was saved of it before requires grad from now on in PyTorch's second derivatives, and not in ours.
            self.pool = [pair for pair in self.pool if severed(pair) or pair[OURS].is_leaf]
            self.forget_gradients()

    @rule(i=index)
    def detach_in_place(self, i: int) -> None:
        x = self.pick(i)
        for hook in [hook for hook in self.hooks if hook.tensor is x]:
            self.remove(hook)  # in PyTorch it would be there again if the tensor became a leaf
        self.step(lambda t, side: x[side].detach_(), keep=False)

    @rule(i=index, j=index)
    def deepcopy(self, i: int, j: int) -> None:
        x, y = self.pick(i), self.pick(j)
        made = self.step(lambda t, side: copy.deepcopy([x[side], y[side]]), keep=False)
        if made is not None:
            for pair in zip(*made, strict=True):
                self.add(pair)

    @rule(i=index)
    def shallow_copy(self, i: int) -> None:
        x = self.pick(i)
        self.step(lambda t, side: copy.copy(x[side]))

    # ------------------------------------------------------------------ gradients

    @rule(
        i=index,
        retain=st.sampled_from([True, True, True, False]),
        create=st.booleans(),
        wanted=st.one_of(st.none(), st.lists(index, min_size=1, max_size=3)),
        gradient=st.sampled_from(GRADIENTS),
        k=index,
    )
    def backward(self, i: int, retain: bool, create: bool, wanted: Any, gradient: str, k: int) -> None:
        y, inputs = self.pick(i, requires_grad), self.ends(wanted)
        other = self.pick(k, lambda x: x.shape == y[OURS].shape)

        def run(t: Any, side: int) -> None:
            g = given(side, y[side], gradient, other[side])
            chosen = None if inputs is None else [x[side] for x in inputs]
            y[side].backward(g, retain_graph=retain, create_graph=create, inputs=chosen)

        self.walk(run, retain)

    @rule(i=index, j=index, create=st.booleans(), inputs=st.lists(index, min_size=1, max_size=3))
    def backward_of_two(self, i: int, j: int, create: bool, inputs: Any) -> None:
        """One gradient for both, the same memory."""
        x = self.pick(i, requires_grad)
        y = self.pick(j, lambda y: y.requires_grad and y.shape == x[OURS].shape)

        def run(t: Any, side: int) -> None:
            outputs = [x[side], y[side]]
            g = t.ones_like(x[side])
            t.autograd.backward(outputs, [g, g], retain_graph=True, create_graph=create)

        self.walk(run, True)

    @rule(i=index, inputs=st.lists(index, min_size=1, max_size=3), create=st.booleans(), allow_unused=st.booleans(),
          retain=st.sampled_from([True, True, True, False]), gradient=st.sampled_from(GRADIENTS), k=index)  # fmt: skip
    def grad(
        self, i: int, inputs: Any, create: bool, allow_unused: bool, retain: bool, gradient: str, k: int
    ) -> None:
        y, wanted = self.pick(i, requires_grad), self.ends(inputs)
        other = self.pick(k, lambda x: x.shape == y[OURS].shape)

        def run(t: Any, side: int) -> Any:
            g = given(side, y[side], gradient, other[side])
            chosen = [x[side] for x in wanted]
            options = {"retain_graph": retain, "create_graph": create, "allow_unused": allow_unused}
            return t.autograd.grad(y[side], chosen, g, **options)

        made = self.walk(run, retain)
        if made is not None:
            same_list(*made)
            for ours, theirs in zip(*made, strict=True):
                # Gradients may share memory with each other or with what was given, in other ways than PyTorch's.
                if ours is not None and ours.any():
                    self.add((ours * 1, theirs * 1))

    def ends(self, numbers: Any) -> Any:
        return None if numbers is None else [self.pick(number, requires_grad) for number in numbers]

    @rule(i=index)
    def take_gradient(self, i: int) -> None:
        x = self.pick(i, lambda x: x.grad is not None)
        if x[OURS].grad is not None and x[OURS].grad.any():
            self.add((x[OURS].grad, x[THEIRS].grad))

    @rule(i=index, how=st.sampled_from(["None", "zeros", "another"]), j=index)
    def set_gradient(self, i: int, how: str, j: int) -> None:
        x = self.pick(i, lambda x: x.grad is not None)
        y = self.pick(j, lambda y: y.shape == x[OURS].shape)

        def run(t: Any, side: int) -> None:
            if how == "None":
                x[side].grad = None
            elif how == "zeros" and x[side].grad is not None:
                t.optim.SGD([t.zeros(1)], lr=1.0)
                x[side].grad.detach_().zero_()
            elif how == "another" and y[side].shape == x[side].shape:
                x[side].grad = y[side].detach().clone()

        self.step(run, keep=False)

    @rule(i=index)
    def retain_grad(self, i: int) -> None:
        x = self.pick(i, requires_grad)
        self.step(lambda t, side: x[side].retain_grad(), keep=False)

    @rule(i=index)
    def two_threads(self, i: int) -> None:
        """Ours on two threads, PyTorch's twice: sums of two, in either order."""
        y = self.pick(i, requires_grad)
        if self.hooks:
            return

        def run(t: Any, side: int) -> None:
            failures: list[Exception] = []

            def once() -> None:
                try:
                    y[side].backward(t.ones_like(y[side]), retain_graph=True)
                except Exception as error:
                    failures.append(error)

            if side == OURS:
                threads = [threading.Thread(target=once) for _ in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            else:
                once()
                once()
            if failures:
                raise failures[0]

        self.walk(run, True)

    # ------------------------------------------------------------------ hooks

    @precondition(lambda self: len(self.hooks) < 5)
    @rule(i=index, kind=st.sampled_from(["look", "scale", "raise", "backward", "remove", "register"]))
    def hook(self, i: int, kind: str) -> None:
        x = self.pick(i, requires_grad)
        logs: tuple[list[Any], list[Any]] = [], []
        handles: list[Any] = [None, None]
        inner = [tensor_on(side, [0.5, -1.0], requires_grad=True) for side in (OURS, THEIRS)]

        def run(t: Any, side: int) -> Any:
            def called(g: Any) -> Any:
                logs[side].append(None if g is None else g.detach().clone())
                if kind == "raise":
                    raise HookError
                if kind == "backward":
                    with t.enable_grad():
                        (inner[side] * inner[side]).sum().backward()
                elif kind == "remove":
                    handles[side].remove()
                elif kind == "register":
                    x[side].register_hook(lambda g: None)
                return None if g is None or kind in ("look", "register") else g * 0.5

            handles[side] = x[side].register_hook(called)
            return handles[side]

        if self.step(run, keep=False) is not None:
            self.hooks.append(Hook(kind, x, (handles[OURS], handles[THEIRS]), logs))
            if kind == "backward":
                self.add(inner)

    @precondition(lambda self: self.hooks)
    @rule(i=index)
    def unhook(self, i: int) -> None:
        self.remove(self.hooks[i % len(self.hooks)])

    # ------------------------------------------------------------------ after each step

    @invariant()
    def agree(self) -> None:
        assert tinytorch.is_grad_enabled() and torch.is_grad_enabled()
        if self.over:
            self.restart()
        for pair in self.pool:
            ours, theirs = pair.sides
            same(ours, theirs)
            same(ours.grad, theirs.grad)
            if severed(pair):
                continue
            assert ours.requires_grad == theirs.requires_grad, (ours, theirs)
            assert ours.is_leaf == theirs.is_leaf, (ours, theirs)
            assert ours.retains_grad == theirs.retains_grad, (ours, theirs)
            if ours.grad is not None and ours.grad.any():  # one of zeros may have a history or none
                assert ours.grad.requires_grad == theirs.grad.requires_grad, (ours.grad, theirs.grad)

    def restart(self) -> None:
        """From a leaf, a constant and a result."""
        self.over = False
        self.pool: list[Pair] = []
        self.hooks: list[Hook] = []
        rows = [[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]]
        self.add([tensor_on(side, rows, requires_grad=True) for side in (OURS, THEIRS)])
        self.add([tensor_on(side, [1.0, -0.5, 0.5]) for side in (OURS, THEIRS)])
        self.add([self.pool[0][side] * 1 for side in (OURS, THEIRS)])


def under(t: Any, grad: bool, run: Callable[[], Any]) -> Any:
    with t.set_grad_enabled(grad):
        return run()


def given(side: int, y: Any, kind: str, other: Any) -> Any:
    """A gradient for y."""
    t = MODULES[side]
    if kind == "default":
        return None if y.numel() == 1 else t.full(y.shape, 0.5, dtype=t.float64)
    if kind == "ones":
        return t.ones_like(y)
    if kind == "expanded":
        return t.full((), 0.5, dtype=t.float64).expand(y.shape)
    if kind == "strided":
        return t.full((*y.shape, 2), 0.5, dtype=t.float64)[..., 0]
    if kind == "float32":
        return t.full(y.shape, 0.5, dtype=t.float32)
    # Of whatever shape. PyTorch 2.13 may keep it as a leaf's .grad, and then adds to the other tensor.
    return other.detach() if side == OURS else other.detach().clone()


def writable(ours: Any, grad: bool) -> bool:
    """Whether it is no leaf that requires grad, or may be written all the same; and no expanded one."""
    return ours.array.flags.writeable and not (grad and ours._grad_fn is None and ours.requires_grad)


def severed(pair: Pair) -> bool:
    """Whether it is a view of what requires grad, but without its history.

    It was made under no_grad, or before its base required one, or its base does no longer. PyTorch says that it
    requires grad, though its gradient goes nowhere, and refuses even to say so once its memory has changed; ours
    requires none.
    """
    ours, theirs = pair.sides
    try:
        nowhere = theirs.requires_grad and (theirs.is_leaf or (theirs._is_view() and not theirs._base.requires_grad))
        return theirs._is_view() and nowhere and not ours.requires_grad
    except RuntimeError as error:
        assert any(text in str(error) for text in LIBERTIES), error
        return True


def same(ours: Any, theirs: Any) -> None:
    assert (ours is None) == (theirs is None), f"{ours}, PyTorch: {theirs}"
    if ours is not None:
        expected = theirs.detach().numpy()
        assert ours.array.shape == expected.shape and ours.array.dtype == expected.dtype, f"{ours}, PyTorch: {theirs}"
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(ours.array, expected, rtol=1e-9, atol=1e-9 * scale)


def same_list(ours: Any, theirs: Any) -> None:
    assert len(ours) == len(theirs), (ours, theirs)
    for a, b in zip(ours, theirs, strict=True):
        same(a, b)


Machine.TestCase.settings = settings(
    phases=[__import__("hypothesis").Phase.generate],
    max_examples=RUNS,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize="STATE_MACHINE_RUNS" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase
