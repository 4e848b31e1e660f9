"""What an operation is: a forward on arrays and, beside it, a backward on Tensors.

    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            return ctx.save(np.exp(x))

        @staticmethod
        def backward(ctx, grad):
            (y,) = ctx.saved
            return grad * y

`Exp.apply(tensor)` makes the node, which is the `ctx` of both methods, runs the forward, and links
the node to its inputs where a gradient is wanted. A node holds its inputs' nodes and what the
forward saved, never its own outputs: there are no cycles, and dropping the last result frees the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .kernels.traced import ARRAYS
from .modes import mode
from .walk import LINKS, Edge, Hooks, Links, walk

if TYPE_CHECKING:
    from .tensor import Tensor

Array = np.ndarray[Any, Any]
_FREED: Any = object()  # in place of what was saved, once backward has used it


class Function:
    """One operation, and one node of the graph each time it is applied.

    Positional arguments of `apply` are Tensors (or None), keyword arguments are parameters that
    have no gradient. `backward` returns one gradient per positional argument, None where there is
    none; it need not undo broadcasting or cast dtypes, the walk does.
    """

    make_tensor: ClassVar[Callable[..., Tensor]]  # the Tensor class, set by tensor.py, so imports point one way
    view: ClassVar[bool] = False  # whether outputs may share memory with the first input
    # Whether backward serves arrays as well as Tensors: it is made of operators between them, methods that both have,
    # and `of`; not of numbers, beside which an array of bfloat16 is widened. Where nothing is recorded, it then gets
    # arrays: a Tensor for each step takes longer than a small step.
    arrays_too: ClassVar[bool] = False
    # What the tests check, see docs/operations.md: (call, *shapes), and (call, *shapes, exception, message)
    examples: ClassVar[Sequence[tuple[Any, ...]]] = ()
    long_examples: ClassVar[Sequence[tuple[Any, ...]]] = ()
    errors: ClassVar[Sequence[tuple[Any, ...]]] = ()

    needs_input_grad: Sequence[bool] = ()
    edges: Sequence[Edge | None] = ()
    links = 0  # to the nearest node below whose edges are Links, by the longest way
    metadata: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...] = ()
    output_count = 1
    hooks: Hooks | None = None
    replayed: Function | None = None  # in a compiled function: the node of the runs after the trace
    _saved: Any = ()

    # The two methods of an operation are static, with the node as their first argument `ctx`.
    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __init_subclass__(cls) -> None:
        if "backward" in vars(cls):  # says for itself what it serves, whatever the class it derives from does
            cls.arrays_too = vars(cls).get("arrays_too", False)

    @classmethod
    def apply(cls, *tensors: Any, **params: Any) -> Tensor:
        """Run the operation on Tensors; the result is a Tensor, or a tuple of them where forward gives a tuple."""
        node = cls()
        arrays: list[Any] = []
        needs: list[bool] = []
        grad, tape = mode.grad, mode.tape
        recording = False
        for t in tensors:
            if t is None:
                arrays.append(None)
                needs.append(False)
                continue
            arrays.append(t.array if tape is None else tape.enter(t))
            if grad and t._base is not None:
                t._check_fresh()
            if grad and t._requires_grad:
                needs.append(True)
                recording = True
            else:
                needs.append(False)
        node.needs_input_grad = needs
        try:
            result = mode.quietly(cls.forward, node, *arrays, **params)
        except np.exceptions.AxisError as error:
            raise IndexError(f"{cls.__name__}: {error}; {_describe(arrays)}") from None
        except ValueError as error:
            raise RuntimeError(f"{cls.__name__}: {error}; {_describe(arrays)}") from error
        make_tensor = cls.make_tensor
        several = type(result) is tuple
        outputs = tuple([make_tensor(array) for array in result]) if several else (make_tensor(result),)
        if cls.view:
            for output in outputs:
                output._share_memory_of(tensors[0], arrays[0])
        if recording:
            node._link(tensors, arrays, outputs, params)
        return outputs if several else outputs[0]  # type: ignore[return-value]

    @classmethod
    def of(cls, *operands: Any, **params: Any) -> Any:
        """The operation inside a backward that serves both: the forward alone of arrays, `apply` of Tensors."""
        if mode.grad:
            make_tensor = cls.make_tensor
            return cls.apply(*[make_tensor(x) if type(x) in ARRAYS else x for x in operands], **params)
        node = cls()
        node.needs_input_grad = (False,) * len(operands)
        return cls.forward(node, *operands, **params)

    def _link(self, tensors: Any, arrays: list[Any], outputs: tuple[Any, ...], params: dict[str, Any]) -> None:
        """Make this node the history of its outputs."""
        # A leaf stands for itself: it has no grad_fn, and output_nr 0.
        edges = [
            (t.grad_fn or t, t.output_nr) if needs else None
            for t, needs in zip(tensors, self.needs_input_grad)  # noqa: B905 - one for one; strict costs time
        ]
        links = 0
        for edge in edges:
            if edge is not None and edge[0].links >= links:
                links = edge[0].links + 1
        if links < LINKS:
            self.edges, self.links = tuple(edges), links
        else:
            self.edges = Links(edges)
        self.metadata = tuple([(o.array.shape, o.array.dtype) for o in outputs])
        self.output_count = len(outputs)
        for number, output in enumerate(outputs):
            if output.array.dtype.kind not in "biu":
                output._requires_grad = True
                output.grad_fn = self
                output.output_nr = number
        if self._saved:
            self._saved = [self._keep(array, tensors, arrays, outputs) for array in self._saved]
        if mode.nodes is not None:
            mode.nodes.append(self)

    def _keep(self, array: Any, tensors: Any, arrays: list[Any], outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """(array, where it came from, version counter, version): a leaf, ~i for input i, or an output's number.

        Never the input's Tensor, to which in-place operations and detach_() give another history, nor its node, which
        the edges alone hold.
        """
        if array is None:
            return None, None, None, 0
        for i, candidate in enumerate(arrays):
            if candidate is array:
                tensor = tensors[i]
                counter, edge = tensor._counter, self.edges[i]
                source = None if edge is None else tensor if tensor.grad_fn is None else ~i
                return array, source, counter, counter[0]
        for number, output in enumerate(outputs):
            if output.array is array:
                return array, number, output._counter, output._counter[0]
        if array.base is not None:  # maybe a view of one of them: a change of its memory counts all the same
            for tensor, whole in zip((*tensors, *outputs), (*arrays, *[o.array for o in outputs]), strict=True):
                if tensor is not None and shares_memory(array, whole):
                    return array, None, tensor._counter, tensor._counter[0]
        return array, None, None, 0

    def save(self, *arrays: Any) -> Any:
        """Keep arrays for backward: the only way an array survives the forward.

        Returns the first, so that `return ctx.save(y)` reads well.
        """
        for a in arrays:
            if type(a) not in ARRAYS and a is not None:
                # NumPy returns a scalar where an array of no dimensions is meant.
                arrays = tuple([a if a is None or type(a) in ARRAYS else np.asarray(a) for a in arrays])
                break
        self._saved = arrays
        return arrays[0]

    def _saved_records(self) -> list[tuple[Any, ...]]:
        if self._saved is _FREED:
            raise RuntimeError(
                f"{self.name()} has already freed what it saved: this graph was walked before. Pass retain_graph=True "
                "to the first backward() or grad() to walk it again"
            )
        if callable(self._saved):  # a checkpoint: it brings back what was saved
            self._saved()
        records: list[tuple[Any, ...]] = self._saved
        for _, _, counter, version in records:
            if counter is not None and counter[0] != version:
                return [self._present(*record) for record in records]
        return records

    def _present(self, array: Any, source: Any, counter: Any, version: int) -> tuple[Any, ...]:
        """The record if its memory is as it was; of a leaf that was given other data, one of these; or RuntimeError."""
        if counter is None or counter[0] == version:
            return array, source, counter, version
        if source is not None and not isinstance(source, int):
            leaf = source
            replaced = leaf._counter is not counter and leaf._counter[0] == version
            if replaced and (leaf.array.shape, leaf.array.dtype) == (array.shape, array.dtype):
                return leaf.array, source, leaf._counter, version
        what = f"output {source}" if isinstance(source, int) and source >= 0 else "an input"
        raise RuntimeError(
            f"{what} of {self.name()}, {_describe([array])}, was modified by an in-place operation, or given other "
            f"data, after it was saved for backward: it is at version {counter[0]}, expected version {version}. Use "
            "the out-of-place operation, or clone() before the change"
        )

    def set_aside(self, tensor: Any) -> None:
        """Turn what was saved of a tensor into a copy: an in-place operation is about to write its result there."""
        if callable(self._saved):  # a checkpoint's: to be computed again, whatever happens to the tensor
            return
        for i, (array, source, _, _) in enumerate(self._saved):
            if array is tensor.array:
                self._saved[i] = array.copy(), source, None, 0

    @property
    def saved(self) -> tuple[Any, ...]:
        """What `save` kept, as Tensors that still have their place in the graph; as arrays for a backward on arrays."""
        if self.arrays_too and not mode.grad:
            return self._saved_arrays()
        return tuple([self._as_tensor(*record) for record in self._saved_records()])

    def _saved_arrays(self) -> tuple[Any, ...]:
        return tuple([record[0] for record in self._saved_records()])

    def _as_tensor(self, array: Any, source: Any, counter: Any, version: int) -> Any:
        if array is None:
            return None
        leaf = source is not None and not isinstance(source, int)
        if leaf and (source.array is array or _stands_for(array, source)):
            return source
        tensor = self.make_tensor(array)
        if counter is not None:
            tensor._counter = counter
        if mode.grad and source is not None:
            node, number = (source, 0) if leaf else (self, source) if source >= 0 else self.edges[~source]
            tensor._requires_grad, tensor.grad_fn, tensor.output_nr = True, node, number
        return tensor

    def release(self) -> None:
        """Drop what was saved."""
        if self._saved:
            self._saved = _FREED

    def run_backward(self, grads: list[Any]) -> list[Any]:
        """Gradients of the outputs to gradients of the inputs, as Tensors."""
        if self.arrays_too and not mode.grad:
            return self._run_on_arrays(grads)
        result = type(self).backward(self, *self._complete(grads))
        return list(result) if type(result) is tuple else [result]

    def _run_on_arrays(self, grads: list[Any]) -> list[Any]:
        result = type(self).backward(self, *[grad.array for grad in self._complete(grads)])
        if type(result) is not tuple:
            result = (result,)
        make_tensor = self.make_tensor
        return [None if array is None else make_tensor(array) for array in result]

    def _complete(self, grads: list[Any]) -> list[Any]:
        """With zeros for the outputs that nothing depends on. A single output always has its gradient here."""
        if len(grads) == 1:
            return grads
        return [
            self.make_tensor(np.zeros(shape, dtype)) if grad is None else grad
            for grad, (shape, dtype) in zip(grads, self.metadata, strict=True)
        ]

    @classmethod
    def name(cls) -> str:
        """The name of the node, as PyTorch prints it: AddBackward0."""
        return f"{cls.__name__}Backward0"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes of the inputs, with the number of the output used: (None, 0) where no gradient flows.

        A leaf appears as the Tensor itself.
        """
        return tuple([(None, 0) if edge is None else edge for edge in self.edges])

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class FusedFunction(Function):
    """An operation in one or two kernels, with the elementary operations it stands for beside it.

    `forward` and `backward` are on arrays. `composite(*tensors, **params)` states the same in
    elementary operations: it is what to read, what tests compare with, what `unfold` runs, and what
    is differentiated when the backward itself is recorded (`create_graph`), so that derivatives of
    any order exist. Its inputs are those that forward saved; the backward does not depend on the
    value of an input that was not saved, so zeros stand in for it.
    """

    composite: ClassVar[Callable[..., Any]]
    _params: dict[str, Any]
    _inputs: tuple[tuple[tuple[int, ...], np.dtype[Any]] | None, ...] = ()

    @classmethod
    def apply(cls, *tensors: Any, **params: Any) -> Tensor:
        """Run the kernels, or in study mode the composite."""
        if mode.unfold:
            unfolded: Tensor = cls.composite(*tensors, **params)
            return unfolded
        return super().apply(*tensors, **params)

    def _link(self, tensors: Any, arrays: list[Any], outputs: tuple[Any, ...], params: dict[str, Any]) -> None:
        saved = self._saved
        super()._link(tensors, arrays, outputs, params)
        self._params = params
        self._inputs = tuple([None if a is None else (a.shape, a.dtype) for a in arrays])
        places = {id(array): i for i, array in enumerate(saved)}
        self._sources = [None if a is None else places.get(id(a)) for a in arrays]

    _sources: Sequence[int | None] = ()  # for each input, its place among what was saved

    @property
    def saved(self) -> tuple[Any, ...]:
        """What `save` kept, as arrays."""
        return self._saved_arrays()

    def run_backward(self, grads: list[Any]) -> list[Any]:
        """Kernels on arrays; or, when gradients are recorded, the derivative of the composite."""
        if mode.grad:
            return self._differentiate_composite(grads)
        return self._run_on_arrays(grads)

    def _differentiate_composite(self, grads: list[Any]) -> list[Any]:
        records = self._saved_records() if self._saved else []
        inputs: list[Any] = []
        for meta, place in zip(self._inputs, self._sources, strict=True):
            if meta is None:
                inputs.append(None)
            elif place is not None:
                # An alias, so that the walk below ends here even where one input depends on another.
                inputs.append(self._as_tensor(*records[place]).alias())
            else:
                inputs.append(self.make_tensor(np.broadcast_to(np.zeros((), meta[1]), meta[0])))
        for tensor, needs in zip(inputs, self.needs_input_grad, strict=True):
            if needs and not tensor._requires_grad:
                tensor.requires_grad_()
        outputs = type(self).composite(*inputs, **self._params)
        outputs = outputs if type(outputs) is tuple else (outputs,)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o._requires_grad]
        wanted = [t.edge if needs else None for t, needs in zip(inputs, self.needs_input_grad, strict=True)]
        found = walk(
            [o.edge for o, _ in pairs],
            [g for _, g in pairs],
            captures=[edge for edge in wanted if edge is not None],
            retain_graph=True,
            create_graph=True,
        )
        return [None if edge is None else found.get(edge) for edge in wanted]


def shares_memory(view: Array, base: Array) -> bool:
    """Whether one array is a view of the other, or both are of a third."""
    return view.base is not None and (view.base is base or view.base is base.base)


def _stands_for(array: Any, leaf: Tensor) -> bool:
    """Whether an array is what a compiled function works on in place of a leaf's, and the leaf's place is asked for."""
    return mode.tape is not None and mode.grad and mode.tape.enter(leaf) is array


def _describe(arrays: Sequence[Any]) -> str:
    """dtypes and shapes, for messages."""
    return ", ".join("None" if a is None else f"{a.dtype} {tuple(a.shape)}" for a in arrays)
