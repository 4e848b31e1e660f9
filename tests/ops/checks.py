"""What every operation must satisfy. Each check is given an example and raises AssertionError or RuntimeError."""

from __future__ import annotations

import contextlib
import inspect
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest

import tinytorch
from tinytorch.autograd import gradcheck, gradgradcheck
from tinytorch.engine.function import Function
from tinytorch.engine.graph import topological_order
from tinytorch.ops.fused import FusedFunction

LONG = 10_000  # what 16 bits cannot count to: beyond 2048 in float16, and 256 in bfloat16, adding 1 changes nothing
TOLERANCE = {"float64": 1e-10, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
WIDENS_ON_PURPOSE = {"To"}
DIFFERENTIATES = {"SoftmaxBackward", "LogSoftmaxBackward"}  # their examples do, so that their inputs require grad


class Example:
    """One example of an operation: a call that runs under tinytorch and torch alike, and the shapes it takes."""

    def __init__(self, cls: Any, number: Any, call: Callable[..., Any], shapes: Sequence[tuple[int, ...]]) -> None:
        self.cls, self.number, self.call, self.shapes = cls, number, call, tuple(shapes)
        self.id = f"{cls.__name__}-{number}"

    def __str__(self) -> str:
        return self.id

    def at(self, edge: str) -> Example:
        """The same on arrays without dimensions or elements: "0d", or "no_3", where sizes of 3 are 0."""
        size = None if edge == "0d" else int(edge.removeprefix("no_"))
        shapes = [() if size is None else tuple(0 if n == size else n for n in shape) for shape in self.shapes]
        return Example(self.cls, self.number, self.call, shapes)

    def arrays(self, dtype: Any = np.float64, strided: bool = False) -> list[Any]:
        """Normally distributed, the same ones each time; strided ones are transposed and have gaps."""
        rng = np.random.default_rng(zlib.crc32(self.id.encode()))
        drawn = [rng.standard_normal(shape) for shape in self.shapes]
        if strided:
            drawn = [np.repeat(a.T[..., None], 2, -1)[..., 0].T for a in drawn]
        return [a.astype(dtype, order="K") if not strided else _strided(a, dtype) for a in drawn]


    def positive_arrays(self, dtype: Any = np.float64) -> list[Any]:
        """Between 0.25 and 0.75, rounded to the dtype: sums of them grow with each step, and fit float16."""
        rng = np.random.default_rng(zlib.crc32(self.id.encode()))
        return [rng.uniform(0.25, 0.75, shape).astype(dtype) for shape in self.shapes]


class Refused(Example):
    """One error input of an operation: a call that must raise, the class of what it raises, a piece of the message.

    `unlike` says where PyTorch differs and why, None where it raises an exception of the same class or a parent class.
    """

    def __init__(self, cls: Any, number: int, call: Callable[..., Any], rest: Sequence[Any]) -> None:
        place = next(i for i, part in enumerate(rest) if isinstance(part, type))
        super().__init__(cls, number, call, rest[:place])
        self.exception, self.message = rest[place : place + 2]
        (self.unlike,) = rest[place + 2 :] or (None,)


def _strided(a: Any, dtype: Any) -> Any:
    wide = np.empty((*reversed(a.shape), 2), dtype)
    wide[..., 0] = a.T
    return wide[..., 0].T


def operations(package: str = "tinytorch") -> list[Any]:
    """Every operation that a package defines, wherever it is in the tree of classes; `_Names` are machinery."""

    def below(cls: Any) -> Iterator[Any]:
        for sub in cls.__subclasses__():
            yield sub
            yield from below(sub)

    bases = {"tinytorch.engine.function", "tinytorch.autograd.function", "tinytorch.ops.fused"}
    found = {cls for cls in below(Function) if cls.__module__.startswith(package) and cls.__module__ not in bases}
    found = {cls for cls in found if not cls.__name__.startswith("_")}
    return sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


def has_gradient(cls: Any) -> bool:
    """Whether an operation has a backward: comparisons, tests and what gives places have none."""
    return cls.backward is not None


def examples_of(cls: Any) -> list[Example]:
    """The examples of an operation, which must be its own and not its base class's."""
    assert vars(cls).get("examples"), f"{cls.__module__}.{cls.__name__} has no examples: see docs/operations.md"
    return [Example(cls, i, call, shapes) for i, (call, *shapes) in enumerate(cls.examples)]


def long_examples_of(cls: Any) -> list[Example]:
    """Of an operation that sums: its own, or its examples with each of their sizes in turn LONG, where that runs."""
    stated = vars(cls).get("long_examples", ())
    own = [Example(cls, f"{i}-long", call, shapes) for i, (call, *shapes) in enumerate(stated)]
    if own or not sums_of(cls):
        return own
    found = []
    for example in examples_of(cls):
        for size in sorted({n for shape in example.shapes for n in shape if n > 1}):
            shapes = [tuple(LONG if n == size else n for n in shape) for shape in example.shapes]
            long = Example(cls, f"{example.id.rpartition('-')[2]}-long_{size}", example.call, shapes)
            if all(np.prod(shape) < LONG**2 for shape in long.shapes):
                with contextlib.suppress(RuntimeError, IndexError, ValueError):
                    outputs_of_positive(long)
                    found.append(long)
    return found


def outputs_of_positive(example: Example) -> tuple[list[Any], list[Any]]:
    """Inputs of positive numbers in float64, and the outputs."""
    inputs = tensors(example.positive_arrays())
    return inputs, listed(example.call(tinytorch, *inputs))


def sums_of(cls: Any) -> set[str]:
    """Where an operation sums, in any of its examples: forward, or backward of an input."""
    return {what for example in examples_of(cls) for what, n in longest_sums(example).items() if n > 1}


def longest_sums(example: Example) -> dict[str, int]:
    """How many elements of one input go into one element of an output; and how many elements of the outputs, whose
    gradients are summed, one element of each input goes into. Of large tensors, the first and the last element count.
    """
    inputs, outputs = outputs_of_positive(example)
    outputs = [y for y in outputs if y.requires_grad]
    found = {"forward": 0, **{f"backward of input {i}": 0 for i in range(len(inputs))}}
    for y in outputs:
        for place in _places(y):
            seed = np.zeros(y.shape)
            seed.reshape(-1)[place] = 1
            grads = tinytorch.autograd.grad(
                y, inputs, tinytorch.from_numpy(seed), retain_graph=True, materialize_grads=True
            )
            found["forward"] = max(found["forward"], *[np.count_nonzero(g.array) for g in grads])
    for i, x in enumerate(inputs):
        for place in _places(x):
            arrays = example.positive_arrays()
            arrays[i].reshape(-1)[place] += 1e-3
            changed = [y for y in listed(example.call(tinytorch, *tensors(arrays))) if y.requires_grad]
            count = sum(np.count_nonzero(y.array != z.array) for y, z in zip(outputs, changed, strict=True))
            found[f"backward of input {i}"] = max(found[f"backward of input {i}"], count)
    return found


def _places(x: Any) -> Sequence[int]:
    return range(x.numel()) if x.numel() <= 60 else (0, -1)


def errors_of(cls: Any) -> list[Refused]:
    """The error inputs of an operation, which must be its own; () where its public functions take all there is."""
    if "errors" not in vars(cls):
        assert not has_conditions(cls), f"{cls.__module__}.{cls.__name__} states no errors: see docs/operations.md"
        return []
    return [Refused(cls, i, call, rest) for i, (call, *rest) in enumerate(cls.errors)]


def has_conditions(cls: Any) -> bool:
    """Whether an operation has more than one input, or parameters, which might not fit: `forward(ctx, x)` has none."""
    return len(inspect.signature(cls.forward).parameters) > 2


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def tensors(arrays: Sequence[Any]) -> list[Any]:
    return [tinytorch.from_numpy(a).requires_grad_() for a in arrays]


def nodes_of(outputs: Sequence[Any]) -> list[Any]:
    """The nodes of the graph behind some outputs, without the leaves."""
    nodes, _ = topological_order([y.grad_fn for y in outputs if y.grad_fn is not None])
    return [node for node in nodes if isinstance(node, Function)]


def cotangents(outputs: Sequence[Any], seed: int = 0) -> list[Any]:
    """Random arrays in the shapes and dtypes of the outputs."""
    rng = np.random.default_rng(seed)
    return [
        np.asarray(rng.standard_normal(tuple(y.shape))).astype(str(y.dtype).removeprefix("torch.")) for y in outputs
    ]


def assert_close(actual: Any, expected: Any, what: str, tolerance: float) -> None:
    """Equal up to a part of the largest element; shapes, NaN and infinities must agree."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    finite = b[np.isfinite(b)]
    scale = max(1.0, float(np.abs(finite).max(initial=0)))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def gradients(outputs: Sequence[Any], inputs: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
    """Arrays: J^T c for each input, zeros where nothing flows."""
    pairs = [(y, tinytorch.from_numpy(c)) for y, c in zip(outputs, seeds, strict=True) if y.requires_grad]
    grads = tinytorch.autograd.grad(
        [y for y, _ in pairs], inputs, [c for _, c in pairs], retain_graph=True, materialize_grads=True
    )
    return [g.array for g in grads]


# ---------------------------------------------------------------------- the checks


def check_some_example_runs_it(cls: Any) -> None:
    """The graph of an example holds the operation, or without a gradient it runs: else its tests would test another."""
    for example in examples_of(cls):
        with mock.patch.object(cls, "forward", staticmethod(mock.Mock(wraps=cls.forward))):
            outputs = listed(example.call(tinytorch, *tensors(example.arrays(np.float32))))
            ran = not has_gradient(cls) and cls.forward.called
        if ran or any(type(node) is cls for node in nodes_of(outputs)):
            return
    raise AssertionError(f"no example of {cls.__name__} runs it")


def check_gradients(example: Example, strided: bool = False) -> None:
    inputs = tuple(tensors(example.arrays(strided=strided)))
    assert gradcheck(lambda *xs: example.call(tinytorch, *xs), inputs, rtol=1e-5, atol=1e-7)


def check_second_derivatives(example: Example, strided: bool = False) -> None:
    inputs = tuple(tensors(example.arrays(strided=strided)))
    assert gradgradcheck(
        lambda *xs: example.call(tinytorch, *xs),
        inputs,
        rtol=1e-5,
        atol=1e-7,
        gen_non_contig_grad_outputs=strided,
        fast_mode=sum(x.numel() for x in inputs) > 60,
    )


def check_dtypes(example: Example, dtype: Any = np.float32) -> None:
    """Nothing widens in silence: neither outputs nor what backward itself returns, before the walk casts it."""
    inputs = tensors(example.arrays(dtype))
    outputs = listed(example.call(tinytorch, *inputs))
    for y in outputs:
        assert y.dtype == dtype or y.dtype.kind in "iub" or example.cls.__name__ in WIDENS_ON_PURPOSE, (
            f"{y.dtype} output"
        )
    for node in nodes_of(outputs):
        if type(node) is example.cls:
            seeds = [tinytorch.from_numpy(np.ones(shape, meta)) for shape, meta in node.metadata]
            for recording in (False, True):  # on arrays where the operation can, on Tensors
                with tinytorch.set_grad_enabled(recording):
                    grads = node.run_backward(list(seeds))
                for grad, edge in zip(grads, node.edges, strict=True):
                    if grad is not None and edge is not None and example.cls.__name__ not in WIDENS_ON_PURPOSE:
                        expected = edge[0].metadata[edge[1]][1]
                        assert grad.dtype == expected, f"{node.name()}: {grad.dtype} gradient of a {expected} input"
    for grad in gradients(outputs, inputs, cotangents(outputs)):
        assert grad.dtype == dtype, f"{grad.dtype} gradient"


def check_shares(example: Example) -> bool:
    """Whether backward returns memory that is not its own: a gradient that it was given, an input, what was saved, an
    array or an element twice. Only an operation that says so may, and no fused one.
    """
    inputs = tensors(example.arrays(np.float32))
    shared = False
    for node in nodes_of(listed(example.call(tinytorch, *inputs))):
        if type(node) is not example.cls:
            continue
        seeds = [np.ones(shape, dtype) for shape, dtype in node.metadata]
        others = [*seeds, *[x.array for x in inputs], *[a for a in arrays_saved(node) if a is not None]]
        with tinytorch.no_grad():
            grads = node.run_backward([tinytorch.from_numpy(seed) for seed in seeds])
        for grad in grads:
            if grad is not None:
                repeats = bool(grad.numel()) and 0 in grad.array.strides  # as an expanded array
                shared |= repeats or any(np.may_share_memory(grad.array, other) for other in others)
                others.append(grad.array)
    says_so = example.cls.backward_shares
    assert not shared or says_so, f"{example.id}: backward shares memory: copy, or say backward_shares = True"
    assert not says_so or not issubclass(example.cls, FusedFunction), f"{example.id}: a fused operation shares nothing"
    return shared


def arrays_saved(node: Any) -> list[Any]:
    return [record[0] for record in node._saved]


def check_saves(example: Example) -> None:
    """No array survives the forward but what is saved, nor a Tensor: neither as a setting nor as an attribute."""

    def holds(value: Any) -> bool:
        if isinstance(value, (list, tuple, dict)):
            return any(map(holds, value.values() if isinstance(value, dict) else value))
        return isinstance(value, (np.ndarray, tinytorch.Tensor))

    for node in nodes_of(listed(example.call(tinytorch, *tensors(example.arrays())))):
        if type(node) is example.cls:
            held = {name for name, value in vars(node).items() if name not in ("_saved", "edges") and holds(value)}
            assert not held, f"{example.id} holds arrays in {held}: save them"


def check_composite(example: Example, dtype: Any) -> None:
    """Kernels and composite agree, in value and gradient; and `unfold` leaves no node of the operation."""
    tolerance = TOLERANCE[np.dtype(dtype).name]
    arrays = example.arrays(dtype)
    inputs = tensors(arrays)
    outputs = listed(example.call(tinytorch, *inputs))
    with tinytorch.unfold():
        steps = tensors(arrays)
        unfolded = listed(example.call(tinytorch, *steps))
    if example.cls.composite is not None:
        assert not any(type(node) is example.cls for node in nodes_of(unfolded)), "not unfolded"
    seeds = cotangents(outputs)
    for y, z in zip(outputs, unfolded, strict=True):
        assert y.dtype == z.dtype, f"fused {y.dtype}, composite {z.dtype}"
        assert_close(y.array, z.array, "value", tolerance)
    fused, composite = gradients(outputs, inputs, seeds), gradients(unfolded, steps, seeds)
    for i, (a, b) in enumerate(zip(fused, composite, strict=True)):
        assert_close(a, b, f"gradient of input {i}", tolerance)


def check_long_examples(cls: Any) -> None:
    """Whatever the examples sum over, the long examples sum over thousands: a maximum takes of LONG about half."""
    long = {what for example in long_examples_of(cls) for what, n in longest_sums(example).items() if n >= LONG // 3}
    short = sorted(sums_of(cls) - long)
    assert not short, f"{cls.__name__} sums in {short}: give long_examples, see docs/operations.md"


def results_of(example: Example, arrays: Sequence[Any], dtype: Any) -> Iterator[tuple[str, Any]]:
    """Each output, and each input's gradient for positive cotangents rounded to the dtype."""
    inputs = tensors(arrays)
    outputs = listed(example.call(tinytorch, *inputs))
    for i, y in enumerate(outputs):
        yield f"output {i}", y.array
    seeds = [c.astype(y.array.dtype) for c, y in zip(positive_cotangents(outputs, dtype), outputs, strict=True)]
    for i, grad in enumerate(gradients(outputs, inputs, seeds)):
        yield f"gradient of input {i}", grad


def positive_cotangents(outputs: Sequence[Any], dtype: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.uniform(0.25, 0.75, tuple(y.shape)).astype(dtype) for y in outputs]


def errors_in_two_bytes(example: Example, dtype: Any) -> Iterator[tuple[str, float, float]]:
    """For each output and gradient: its name, its largest error, and what that may be: a few units in the last place
    of its largest element. What is right is what float64 gives for the same numbers.
    """
    arrays = example.positive_arrays(dtype)
    exact = results_of(example, [a.astype(np.float64) for a in arrays], dtype)
    for (name, result), (_, right) in zip(results_of(example, arrays, dtype), exact, strict=True):
        assert result.dtype == dtype, f"{name} is {result.dtype}"
        with np.errstate(over="ignore"):
            expected = right.astype(dtype).astype(np.float64)
        finite = np.isfinite(expected)
        result = result.astype(np.float64)
        np.testing.assert_array_equal(result[~finite], expected[~finite])
        largest = float(np.abs(expected[finite]).max(initial=0))
        error = float(np.abs(result - right)[finite].max(initial=0))
        yield name, error, 4 * float(tinytorch.finfo(dtype).eps) * largest + 1e-6


def check_long(example: Example, dtype: Any) -> None:
    """Sums of thousands of elements in two bytes have the error of a few roundings: they are formed in four."""
    for name, error, allowed in errors_in_two_bytes(example, dtype):
        assert error <= allowed, f"{example.id}, {dtype}: {name} is off by {error:.3g}, allowed {allowed:.3g}"


def check_second_walk(example: Example) -> None:
    """A second backward raises if something was saved, and gives the same again with retain_graph."""
    inputs = tensors(example.arrays())
    outputs = [y for y in listed(example.call(tinytorch, *inputs)) if y.requires_grad]
    seeds = [tinytorch.from_numpy(c) for c in cotangents(outputs)]
    saved = any(node._saved for node in nodes_of(outputs))
    tinytorch.autograd.backward(outputs, seeds, retain_graph=True)
    first = [x.grad.array.copy() for x in inputs]
    tinytorch.autograd.backward(outputs, seeds)
    for x, grad in zip(inputs, first, strict=True):
        np.testing.assert_array_equal(x.grad.array, 2 * grad)
    try:
        tinytorch.autograd.backward(outputs, seeds)
    except RuntimeError as error:
        assert saved and "retain_graph" in str(error), error
    else:
        assert not saved, "a second walk over freed arrays must raise"


def check_compiled(
    example: Example, dtype: Any = np.float32, second: bool = False, looks_at_values: bool = False
) -> None:
    """Compiled, it gives the same bits as as it is written: when it is traced, and for other numbers after that.

    So with arguments, and with Tensors from outside in their place: constants, leaves that require grad, and views of
    such leaves. Down to its kernels, unless it looks at values.
    """

    def outputs_and_gradients(leaves: Sequence[Any], view: Callable[[Any], Any] = lambda x: x) -> Any:
        outputs = listed(example.call(tinytorch, *[view(x) for x in leaves]))
        if not any(x.requires_grad for x in leaves):
            return outputs
        if not any(y.requires_grad for y in outputs):
            return outputs
        outputs = [y for y in outputs if y.requires_grad]
        seeds = [tinytorch.from_numpy(c).requires_grad_(second) for c in cotangents(outputs)]
        grads = list(tinytorch.autograd.grad(outputs, leaves, seeds, create_graph=second, materialize_grads=True))
        if not second:
            return outputs + grads
        curved = [g for g in grads if g.requires_grad]
        curvature = [tinytorch.from_numpy(c) for c in cotangents(curved, seed=1)]
        return grads + list(
            tinytorch.autograd.grad(curved, [*leaves, *seeds], curvature, materialize_grads=True) if curved else ()
        )

    first = example.arrays(dtype)
    other = [np.asarray(a[::-1].copy() if a.ndim else a / 2) for a in first]
    constants, leaves, transposed = ([tinytorch.from_numpy(a.copy()) for a in first] for _ in range(3))
    transposed = [x.T.clone() for x in transposed]
    for leaf in (*leaves, *transposed):
        leaf.requires_grad_()
    functions: dict[str, Callable[..., Any]] = {
        "arguments": lambda *xs: outputs_and_gradients([x.clone().requires_grad_() for x in xs]),
        "leaves from outside": lambda: outputs_and_gradients(leaves),
        "views of leaves from outside": lambda: outputs_and_gradients(transposed, lambda x: x.T),
    }
    if not second and example.cls.__name__ not in DIFFERENTIATES:
        functions["constants from outside"] = lambda: outputs_and_gradients(constants)
    for what, function in functions.items():
        compiled: Any = tinytorch.compile(function)
        for arrays in (first, other, first):
            for x, y, z, a in zip(constants, leaves, transposed, arrays, strict=True):
                x.array[...], y.array[...], z.array[...] = a, a, a.T
            inputs = [tinytorch.from_numpy(a) for a in arrays] if what == "arguments" else []
            expected = function(*inputs)
            for i, (a, b) in enumerate(zip(compiled(*inputs), expected, strict=True)):
                assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{what}, result {i}"
                np.testing.assert_array_equal(a.array, b.array, err_msg=f"{what}, result {i}")
        assert looks_at_values or not compiled.whole, f"{what}: {compiled.whole} could not be traced"


def check_refused(error: Refused) -> None:
    """The call raises exactly the exception stated, with the piece of its message, also in float32."""
    for dtype in (np.float64, np.float32):
        with pytest.raises(error.exception, match=re.escape(error.message)) as raised:
            error.call(tinytorch, *tensors(error.arrays(dtype)))
        assert raised.type is error.exception, f"{raised.type.__name__}, which is a {error.exception.__name__}"


# ---------------------------------------------------------------------- against PyTorch


def check_refused_by_pytorch(error: Refused) -> None:
    """PyTorch raises the exception too, or one of a parent class; or `unlike` says what it does."""
    import torch

    try:
        error.call(torch, *[torch.from_numpy(a).requires_grad_() for a in error.arrays()])
    except Exception as theirs:
        # What PyTorch has not implemented, as for a dtype, is an error of its own, which `except RuntimeError` catches.
        expected = RuntimeError if type(theirs) is NotImplementedError else type(theirs)
        alike = issubclass(error.exception, expected)
        what = f"PyTorch raises {type(theirs).__name__}: {theirs}"
    else:
        alike, what = False, "PyTorch accepts this"
    assert alike != bool(error.unlike), f"{what}; stated: {error.exception.__name__}, {error.unlike or 'as PyTorch'}"


def check_as_accurate_as_pytorch(example: Example, arrays: Sequence[Any], dtype: Any) -> None:
    """In two bytes no output or gradient is off by more than a unit in the last place, or twice what PyTorch's is."""
    exact = results_of(example, [a.astype(np.float64) for a in arrays], dtype)
    both = zip(exact, results_of(example, arrays, dtype), _results_in_pytorch(example, arrays, dtype), strict=True)
    for (name, right), (_, ours), theirs in both:
        finite = np.isfinite(right) & np.isfinite(theirs)
        unit = float(tinytorch.finfo(dtype).eps) * float(np.abs(right[finite]).max(initial=0)) + 1e-6
        error, allowed = (np.abs(a.astype(np.float64) - right)[finite].max(initial=0) for a in (ours, theirs))
        assert error <= max(2 * allowed, unit), (
            f"{example.id}, {dtype}: {name} is off by {error:.3g}, PyTorch's by {allowed:.3g}, a unit is {unit:.3g}"
        )


def _results_in_pytorch(example: Example, arrays: Sequence[Any], dtype: Any) -> list[Any]:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    inputs = [_torch_tensor(a).requires_grad_() for a in arrays]
    with sdpa_kernel(SDPBackend.MATH):
        outputs = listed(example.call(torch, *inputs))
        seeds = [_torch_tensor(c) for c in positive_cotangents(outputs, dtype)]
        pairs = [(y, c.to(y.dtype)) for y, c in zip(outputs, seeds, strict=True) if y.requires_grad]
        grads = torch.autograd.grad([y for y, _ in pairs], inputs, [c for _, c in pairs], materialize_grads=True)
    return [array_of(z) for z in (*outputs, *grads)]


def _torch_tensor(a: Any) -> Any:
    import torch

    if a.dtype.name == "bfloat16":
        return torch.from_numpy(a.astype(np.float32)).bfloat16()
    return torch.from_numpy(a.copy())


def check_oracle(example: Example, dtype: Any, second: bool = True) -> None:
    """Value, dtype, gradient and second derivative are PyTorch's."""
    compare_with_torch(example.call, example.arrays(dtype), second=second)


def compare_with_torch(
    call: Callable[..., Any], arrays: Sequence[Any], second: bool = False, tolerance: float | None = None
) -> None:
    """Run a call under both, where floating arrays require grad: outputs, dtypes and gradients must agree."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def theirs(a: Any) -> Any:
        return _torch_tensor(a) if isinstance(a, np.ndarray) else a

    ours_in = [tinytorch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arrays]
    theirs_in = [theirs(a) for a in arrays]
    places = [
        i for i, a in enumerate(arrays) if isinstance(a, np.ndarray) and tinytorch.from_numpy(a).is_floating_point()
    ]
    for i in places:
        ours_in[i].requires_grad_()
        theirs_in[i].requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        ours, expected = listed(call(tinytorch, *ours_in)), listed(call(torch, *theirs_in))
        assert len(ours) == len(expected), f"{len(ours)} outputs, PyTorch has {len(expected)}"
        for k, (y, z) in enumerate(zip(ours, expected, strict=True)):
            if not isinstance(z, torch.Tensor):
                assert y == z, f"output {k} is {y!r}, PyTorch's {z!r}"
                continue
            assert f"torch.{y.dtype}" == str(z.dtype), f"output {k} is {y.dtype}, PyTorch's {z.dtype}"
            assert y.requires_grad == z.requires_grad, f"output {k} requires_grad {y.requires_grad}, PyTorch's not"
            assert_close(y.array, array_of(z), f"output {k}", tolerance or TOLERANCE.get(str(y.dtype), 0))
        pairs = [(y, z) for y, z in zip(ours, expected, strict=True) if isinstance(z, torch.Tensor) and z.requires_grad]
        if not pairs:
            return
        seeds = cotangents([y for y, _ in pairs])
        our_seeds = [tinytorch.from_numpy(c).requires_grad_() for c in seeds]
        their_seeds = [theirs(c).requires_grad_() for c in seeds]
        our_x, their_x = [ours_in[i] for i in places], [theirs_in[i] for i in places]
        options = {"create_graph": second, "materialize_grads": True}
        our_grads = tinytorch.autograd.grad([y for y, _ in pairs], our_x, our_seeds, **options)
        their_grads = torch.autograd.grad([z for _, z in pairs], their_x, their_seeds, **options)
        _compare(our_grads, their_grads, "gradient", tolerance)
        # A gradient that is 0 everywhere may have no history on either side.
        chosen = [i for i, g in enumerate(their_grads) if g.requires_grad and (our_grads[i].requires_grad or g.any())]
        chosen = chosen if second else []
        if not chosen:
            return
        curvature = cotangents([our_grads[i] for i in chosen], seed=1)
        options = {"materialize_grads": True}
        ours_2 = [our_grads[i] for i in chosen], [*our_x, *our_seeds], [tinytorch.from_numpy(c) for c in curvature]
        theirs_2 = [their_grads[i] for i in chosen], [*their_x, *their_seeds], [theirs(c) for c in curvature]
        _compare(
            tinytorch.autograd.grad(*ours_2, **options),
            torch.autograd.grad(*theirs_2, **options),
            "second derivative",
            tolerance,
        )


def assert_same_error(call: Callable[..., Any], arrays: Sequence[Any]) -> None:
    """Both refuse, with the same class of exception, and ours has something to say."""
    import torch

    def error_of(t: Any, values: Sequence[Any]) -> Any:
        try:
            result = call(t, *values)
        except Exception as error:
            return error
        raise AssertionError(f"{t.__name__} accepts this: {result}")

    theirs = error_of(torch, [torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in arrays])
    ours = error_of(tinytorch, [tinytorch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arrays])
    assert isinstance(ours, type(theirs)), f"{type(ours).__name__}: {ours}; PyTorch: {type(theirs).__name__}: {theirs}"
    assert len(str(ours)) > 10, str(ours)


def _compare(ours: Any, theirs: Any, what: str, tolerance: float | None) -> None:
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert f"torch.{a.dtype}" == str(b.dtype), f"{what} of input {i} is {a.dtype}, PyTorch's {b.dtype}"
        assert_close(a.array, array_of(b), f"{what} of input {i}", tolerance or TOLERANCE[str(a.dtype)])


def array_of(z: Any) -> Any:
    """A torch tensor's array."""
    z = z.detach()
    return (z.float() if str(z.dtype) == "torch.bfloat16" else z).numpy(force=True)
