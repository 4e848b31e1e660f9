"""A profiler: for each operation its time, its arithmetic, and the memory it keeps for backward.

    with tinytorch.profiler.profile() as prof:
        model(x).sum().backward()
    print(prof.key_averages().table(sort_by="self_cpu_time_total"))
    prof.export_chrome_trace("trace.json")  # for chrome://tracing or ui.perfetto.dev
"""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import profiler_flops
from .engine.function import Function
from .engine.mode import mode
from .engine.runner import EAGER, Runner
from .engine.saved import Packed
from .engine.tensor import Tensor
from .files import atomic_write
from .ops.fused import FusedFunction
from .profiler_table import Average, Averages


@dataclass(slots=True)
class Event:
    """One application of an operation, one backward of a node, or one call that works on Python state."""

    name: str
    parent: Event | None  # the event that it happened inside
    thread: int
    input_shapes: list[tuple[int, ...] | None]
    start: float = 0.0  # microseconds since the profile was created
    cpu_time_total: float = 0.0  # microseconds, as in PyTorch
    flops: int = 0
    saved: int = 0  # bytes that its node keeps for backward
    operations: int = 0  # that ran inside it; their arithmetic is not counted again
    inside: float = 0.0  # microseconds of the events inside it

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds, without the events inside."""
        return self.cpu_time_total - self.inside


class profile:
    """Inside it, each operation, backward and call leaves an Event. Compiled functions run as written.

    Only the thread that entered is profiled. Other threads may enter the same profile, and add their events to it. What
    an operation saves for backward is counted in bytes of memory that nothing else would keep: not the memory of leaves
    and other Tensors from outside, only once if several nodes save the same, and not what a backward saves for itself,
    as checkpointing does when it recomputes. The profile holds none of that memory itself.
    """

    def __init__(self) -> None:
        self.memory = _Memory()
        self._began = time.perf_counter()
        self._events: list[Event] = []

    def __enter__(self) -> profile:
        runner = mode.run
        while runner is not EAGER:
            if getattr(runner, "profile", None) is self:
                raise RuntimeError("this profile is already active on this thread: make another one")
            runner = runner.below
        Profiling(self).__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        mode.run.__exit__(*exception)

    def now(self) -> float:
        """Microseconds since the profile was created."""
        return 1e6 * (time.perf_counter() - self._began)

    def add(self, event: Event) -> None:
        """Add an event that has ended."""
        self._events.append(event)

    def events(self) -> list[Event]:
        """The events that have ended, in the order in which they began."""
        return sorted(self._events, key=lambda event: event.start)

    def key_averages(self) -> Averages:
        """The events combined by name, in the order in which the names first occurred."""
        found: dict[str, Average] = {}
        for event in self.events():
            average = found.setdefault(event.name, Average(event.name))
            average.count += 1
            average.self_cpu_time_total += event.self_cpu_time_total
            average.flops += event.flops
            average.saved += event.saved
            if all([above.name != event.name for above in _above(event)]):  # else the outer one's time includes it
                average.cpu_time_total += event.cpu_time_total
        return Averages(found.values())

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events as JSON for chrome://tracing and ui.perfetto.dev."""
        process = os.getpid()
        events = [
            {
                "name": event.name, "ph": "X", "cat": "cpu_op", "pid": process, "tid": event.thread,
                "ts": event.start, "dur": event.cpu_time_total,
                "args": {"Input Dims": event.input_shapes, "flops": event.flops, "saved bytes": event.saved},
            }
            for event in self.events()
        ]  # fmt: skip
        with atomic_write(path) as file:
            file.write(json.dumps({"displayTimeUnit": "ms", "traceEvents": events}).encode())


def _above(event: Event) -> Iterator[Event]:
    """The events that this one is inside."""
    above = event.parent
    while above is not None:
        yield above
        above = above.parent


class Profiling(Runner):
    """One thread's part of a profile."""

    def __init__(self, profile: profile) -> None:
        self.profile = profile
        self._thread = threading.get_native_id()
        self._open: Event | None = None  # the innermost that has not ended
        self._temporary = False  # in a backward that is not recorded: what it saves is freed when it ends

    def apply(self, operation: type[Function], inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Apply the operation within an event of its name."""
        tensors = [t if hasattr(t, "array") else None for t in inputs]  # a user's Function may get other objects too
        memory = self.profile.memory
        memory.note_inputs(tensors)
        event = self._begin(operation.__name__.lstrip("_"), tensors)
        try:
            results = self.below.apply(operation, inputs, settings)
        finally:
            self._end(event)
        outputs = [t for t in (results if isinstance(results, tuple) else (results,)) if hasattr(t, "array")]
        if not event.operations and not operation.on_tensors:
            event.flops = profiler_flops.of_forward(operation, tensors, outputs, settings)
        if event.parent is not None:
            event.parent.operations += 1
        memory.note_made(outputs)
        if not self._temporary:
            nodes = {id(t._grad_fn): t._grad_fn for t in outputs if t._grad_fn is not None}
            event.saved = sum([memory.newly_kept(node) for node in nodes.values()])
        return results

    def backward(self, node: Function, grads: list[Any]) -> list[Any]:
        """Run the node's backward within an event of its name."""
        event = self._begin(node.name(), grads)
        temporary, self._temporary = self._temporary, not mode.grad
        try:
            results: list[Any] = self.below.backward(node, grads)
        finally:
            self._temporary = temporary
            self._end(event)
        if isinstance(node, FusedFunction) and not mode.grad:  # else it is differentiated as its composite
            event.flops = profiler_flops.of_backward(node, [g for g in grads if g is not None], results)
        self.profile.memory.note_made([result for result in results if result is not None])
        return results

    def call(self, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """Call the function within an event of its name."""
        event = self._begin(getattr(function, "__qualname__", type(function).__name__), ())
        try:
            result = self.below.call(function, *args, **params)
        finally:
            self._end(event)
        if hasattr(result, "array"):
            self.profile.memory.note_made([result])
        return result

    def accumulate(self, leaf: Tensor, gradient: Tensor, own: bool) -> None:
        """Accumulate within an event."""
        event = self._begin("AccumulateGrad", (gradient,))
        try:
            self.below.accumulate(leaf, gradient, own)
        finally:
            self._end(event)

    def _begin(self, name: str, inputs: Iterable[Any]) -> Event:
        shapes = [None if t is None else tuple(t.array.shape) for t in inputs]
        self._open = event = Event(name, self._open, self._thread, shapes)
        event.start = self.profile.now()
        return event

    def _end(self, event: Event) -> None:
        event.cpu_time_total = self.profile.now() - event.start
        self._open = parent = event.parent
        if parent is not None:
            parent.inside += event.cpu_time_total
        self.profile.add(event)


class _Memory:
    """Which memory came from outside, and which some node keeps, by the id of the array that owns it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: _Owners = weakref.WeakValueDictionary()  # made by an operation inside the profile
        self._outside: _Owners = weakref.WeakValueDictionary()
        self._kept: _Owners = weakref.WeakValueDictionary()

    def note_made(self, tensors: Iterable[Any]) -> None:
        """Note the results of an operation."""
        for tensor in tensors:
            owner = _owner(tensor.array)
            self._made[id(owner)] = owner

    def note_inputs(self, tensors: Iterable[Any]) -> None:
        """Note the inputs of an operation: leaves that were not made inside, and parameters, come from outside."""
        for tensor in tensors:
            if tensor is not None and tensor._grad_fn is None:
                owner = _owner(tensor.array)
                if tensor._requires_grad or id(owner) not in self._made:
                    self._outside[id(owner)] = owner

    def newly_kept(self, node: Function) -> int:
        """Bytes of memory that this node keeps and no earlier one kept."""
        size = 0
        with self._lock:
            for array in _kept_by(node):
                owner = _owner(array)
                if id(owner) not in self._outside and id(owner) not in self._kept:
                    self._kept[id(owner)] = owner
                    size += owner.nbytes
        return size


_Owners = weakref.WeakValueDictionary[int, np.ndarray[Any, Any]]


def _owner(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array whose memory this one is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _kept_by(node: Function) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays that a node saved; for a packed one, those that its packing hook is known to keep."""
    for record in node._saved if isinstance(node._saved, list) else ():
        kept = record[0]
        if isinstance(kept, Packed):
            keeps = getattr(getattr(kept.unpack, "__self__", None), "keeps", list)  # a checkpoint keeps its arguments
            yield from [tensor.array for tensor in keeps()]
            kept = getattr(kept.packed, "array", kept.packed)
        if isinstance(kept, np.ndarray):
            yield kept
