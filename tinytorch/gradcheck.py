"""Is a backward the derivative of its forward? gradcheck compares it with finite differences of the forward.

Seen as vectors, a function f takes x in R^n to y in R^m, and its derivative is the Jacobian
J_kj = dy_k/dx_j. Backward knows J from one side, as the map c -> J^T c. The forward knows it from the
other: a step h along v gives

    (f(x + h v) - f(x - h v)) / 2h = J v + O(h^2)

With h = 1e-6 the error is about 1e-9 in float64 (h^2 from the series, 1e-16/h from rounding); in float32
it would drown the derivative. Slow mode compares J element by element: rows from backward with
c = e_k, columns from steps along v = e_j. Fast mode compares one number for each input, c^T J v with
random c and v.

At a kink (relu at 0) there is no J: the slopes below and above differ, and the central difference is
their mean. gradcheck distinguishes this from a wrong backward, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .captures import gradients_at
from .dtypes import float64, is_floating
from .engine.graph import leading, topological_order
from .engine.tensor import edge_of, wrap
from .gradcheck_report import (
    Array,
    Comparison,
    GradcheckError,
    GradcheckInputError,
    KinkError,
    Tolerances,
    describe,
    index_text,
    judge,
)
from .ops.common import is_tensor
from .tensor import Tensor

__all__ = ["GradcheckError", "GradcheckInputError", "KinkError", "gradcheck", "gradgradcheck"]

_SEED = 20160301  # the same cotangents and directions in every call, so that failures can be reproduced


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _vjp(outputs: Sequence[Tensor], cotangents: Sequence[Any], inputs: Sequence[Tensor], create_graph: bool) -> Any:
    """J^T c for each input, or None if no output depends on it; outputs whose cotangent is None are left out."""
    pairs = [(edge_of(y), c) for y, c in zip(outputs, cotangents, strict=True) if c is not None]
    edges = [edge_of(x) for x in inputs]
    seeds = [c for _, c in pairs]
    found = gradients_at(edges, [e for e, _ in pairs], seeds, retain_graph=True, create_graph=create_graph)
    return [found.get(edge) for edge in edges]


class _Point:
    """A function at a point, as a map between vectors: the outputs that require grad, one after another."""

    def __init__(
        self,
        check: str,
        func: Callable[..., Any],
        inputs: Any,
        tolerances: Tolerances,
        values: Callable[..., Any] | None = None,
        first: int | None = None,
    ) -> None:
        self.check = check
        self.values = func if values is None else values  # the function whose differences are taken
        self.tolerances = tolerances
        self.inputs = _list(inputs)
        self.first = first  # in gradgradcheck, the function's own number of inputs; cotangents follow
        self.wanted = [(self.name(i), x) for i, x in enumerate(self.inputs) if is_tensor(x) and x.requires_grad]
        self._check_inputs()
        self._before = [(self.name(i), x, x.array.copy()) for i, x in enumerate(self.inputs) if is_tensor(x)]
        results = _list(func(*self.inputs))
        self.check_unmodified("the function")
        floats = [k for k, y in enumerate(results) if is_tensor(y) and is_floating(y.dtype)]
        self.numbers = [k for k in floats if results[k].requires_grad] or floats
        self.outputs: list[Tensor] = [results[k] for k in self.numbers]
        for k, y in zip(self.numbers, self.outputs, strict=True):
            if y.dtype != float64:
                raise GradcheckInputError(
                    f"{check}: output {k} is {y.dtype}, too coarse for finite differences: something inside the "
                    "function leaves float64. Keep all of it there: call .double() on constants and parameters"
                )
        self.value = self()

    def name(self, i: int) -> str:
        """input 0, ...; in gradgradcheck also grad_output 0, ..."""
        n = len(self.inputs) if self.first is None else self.first
        return f"input {i}" if i < n else f"grad_output {i - n}"

    def _vector(self, results: list[Any]) -> Array:
        return np.concatenate([np.zeros(0), *[results[k].array.reshape(-1) for k in self.numbers]])

    def __call__(self) -> Array:
        """y for the current values of the inputs."""
        return self._vector(_list(self.values(*self.inputs)))

    def at(self, x: Tensor, step: Array) -> Array:
        """y with one input moved, in place, since the function may also reach it in another way."""
        here = x.array.copy()
        try:
            x.array[...] = here + step.reshape(here.shape)
            return self()
        finally:
            x.array[...] = here

    def split(self, c: Array) -> list[Any]:
        """Split a vector into one cotangent for each output."""
        ends = np.cumsum([y.numel() for y in self.outputs])
        pieces = [c[end - y.numel() : end] for y, end in zip(self.outputs, ends, strict=True)]
        return [wrap(piece.reshape(y.shape)) for piece, y in zip(pieces, self.outputs, strict=True)]

    def vjp(self, cotangents: Sequence[Any]) -> list[Array]:
        """J^T c by backward, one vector for each input that requires grad."""
        grads = _vjp(self.outputs, cotangents, [x for _, x in self.wanted], create_graph=False)
        for (name, x), grad in zip(self.wanted, grads, strict=True):
            if grad is not None and (grad.shape != x.shape or grad.dtype != x.dtype):
                raise GradcheckError(
                    f"{self.check}: the gradient of {describe(name, x)} is {grad.dtype} {tuple(grad.shape)}: "
                    "it must have the input's shape and dtype"
                )
        return [
            np.zeros(x.numel()) if grad is None else np.array(grad.array).reshape(-1)
            for (_, x), grad in zip(self.wanted, grads, strict=True)
        ]

    def row_name(self, k: int) -> str:
        """The name of y_k, such as "output 0[1, 2]"."""
        for number, y in zip(self.numbers, self.outputs, strict=True):
            if k < y.numel():
                what = "output" if self.first is None else "grad_input"
                return f"{what} {number}{index_text(k, y)}"
            k -= y.numel()
        raise IndexError(k)

    def check_unmodified(self, culprit: str) -> None:
        """Check that the inputs still have their original values."""
        for name, x, before in self._before:
            if not np.array_equal(x.array, before, equal_nan=is_floating(x.dtype)):
                x.array[...] = before
                raise GradcheckError(
                    f"{self.check}: {culprit} changed {describe(name, x)} in place (it has been restored): "
                    "let it work on a clone(), or use the out-of-place operation"
                )

    def _check_inputs(self) -> None:
        if not self.wanted:
            raise GradcheckInputError(
                f"{self.check}: none of the {len(self.inputs)} inputs requires grad, so there is no gradient to check: "
                "call .requires_grad_() on those that should have one"
            )
        for n, (name, x) in enumerate(self.wanted):
            what = f"{self.check}: {describe(name, x)}"
            if x.dtype != float64:
                raise GradcheckInputError(
                    f"{what} must be float64: in {x.dtype} the rounding error of finite differences drowns the "
                    "derivative. Call .double() on it before requires_grad_() (and on a model: model.double())"
                )
            if x.numel() and any(
                stride == 0 and size > 1 for stride, size in zip(x.array.strides, x.shape, strict=True)
            ):
                raise GradcheckInputError(
                    f"{what} has elements that overlap in memory (from expand or broadcast_to), so one cannot be moved "
                    "alone. Call .clone() on it"
                )
            if not x.array.flags.writeable:
                raise GradcheckInputError(f"{what} is in read-only memory, so it cannot be moved. Call .clone() on it")
            for other_name, other in self.wanted[:n]:
                if other is not x and np.shares_memory(x.array, other.array):
                    raise GradcheckInputError(
                        f"{what} shares memory with {describe(other_name, other)}, so one cannot be moved alone. "
                        "Call .clone() on one of them"
                    )

    def coarse(self) -> str | None:
        """An operation between the inputs and the outputs that is not in float64."""
        order, _ = topological_order([edge_of(y)[0] for y in self.outputs])
        between = leading(order, {edge_of(x)[0] for _, x in self.wanted})
        for node in [node for node in order if node in between]:
            for shape, dtype in node.metadata:
                if is_floating(dtype) and dtype != float64:
                    return f"{node.name()} gives {dtype} {shape}"
        return None

    def slope(self, x: Tensor, v: Array) -> Array:
        """J v, by the central difference."""
        h = self.tolerances.eps
        return (self.at(x, h * v) - self.at(x, -h * v)) / (2 * h)

    def judge(
        self, name: str, x: Tensor, columns: Any, analytic: Array, numeric: Array, c: Array | None = None
    ) -> None:
        """Raise unless these columns of J, or of c^T J, agree."""

        def rows(t: float, j: int) -> Array:
            y = self.at(x, t * _unit(j, x.numel()))
            return y if c is None else np.array([c @ y])

        comparison = Comparison(
            self.check,
            name,
            x,
            columns,
            analytic,
            numeric,
            rows,
            self.row_name if c is None else lambda row: "(c . outputs)",
            float(np.abs(self.value).max(initial=0)),
            any(y.requires_grad for y in self.outputs),
            self.coarse,
        )
        judge(comparison, self.tolerances)


def _unit(j: int, n: int) -> Array:
    e = np.zeros(n)
    e[j] = 1
    return e


def _same(a: Array, b: Array, tolerance: float) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True))


def _check_consistency(point: _Point, rng: np.random.Generator, check_undefined_grad: bool) -> None:
    """Check what any backward must satisfy, whatever the derivative is."""
    check, nondet_tol = point.check, point.tolerances.nondet_tol
    if not _same(point.value, point(), nondet_tol):
        raise GradcheckError(
            f"{check}: the function is not deterministic: two calls with the same inputs gave different outputs. If it "
            "draws random numbers (dropout), seed them inside the function or switch them off"
        )
    c = rng.standard_normal(point.value.size)
    first, second = point.vjp(point.split(c)), point.vjp(point.split(c))
    point.check_unmodified("backward")
    for (name, x), a, b in zip(point.wanted, first, second, strict=True):
        if not _same(a, b, nondet_tol):
            raise GradcheckError(
                f"{check}: backward is not deterministic: two walks of the same graph gave gradients of "
                f"{describe(name, x)} that differ by up to {np.abs(a - b).max():.3g} (nondet_tol={nondet_tol:g})"
            )
    for (name, x), grad in zip(point.wanted, point.vjp(point.split(np.zeros_like(c))), strict=True):
        if np.any(grad[np.isfinite(grad)] != 0):
            raise GradcheckError(
                f"{check}: backward of a zero gradient is not zero for {describe(name, x)}, but up to "
                f"{np.nanmax(np.abs(grad)):.6g}: J^T c is linear in c. Does backward add something that it does not "
                "multiply by the gradient of the output?"
            )
    for k, cotangent in enumerate(point.split(c) if check_undefined_grad and len(point.outputs) > 1 else []):
        zeros = point.split(np.zeros_like(c))
        alone = [None] * k + [cotangent] + [None] * (len(zeros) - k - 1)
        zeros[k] = cotangent
        # Gradients arrive in a different order, so the last bits may differ.
        pairs = zip(point.vjp(alone), point.vjp(zeros), strict=True)
        if not all(np.allclose(a, b, rtol=1e-9, atol=max(nondet_tol, 1e-12), equal_nan=True) for a, b in pairs):
            raise GradcheckError(
                f"{check}: when output {point.numbers[k]} alone is used, backward gives another gradient than with "
                "zeros for the other outputs: an output that nobody used must count as one with a zero gradient"
            )


def _compare_all(point: _Point) -> None:
    """Slow mode: every element of every Jacobian."""
    size = point.value.size
    jacobians = [np.zeros((size, x.numel())) for _, x in point.wanted]
    for k in range(size):
        for jacobian, row in zip(jacobians, point.vjp(point.split(_unit(k, size))), strict=True):
            jacobian[k] = row
    for (name, x), analytic in zip(point.wanted, jacobians, strict=True):
        numeric = np.zeros_like(analytic)
        for j in range(x.numel()):
            numeric[:, j] = point.slope(x, _unit(j, x.numel()))
        point.judge(name, x, range(x.numel()), analytic, numeric)


def _compare_projections(point: _Point, rng: np.random.Generator) -> None:
    """Fast mode: c^T J v for each input. If that is wrong, bisecting v finds an element that is."""
    c = rng.standard_normal(point.value.size)
    for (name, x), grad in zip(point.wanted, point.vjp(point.split(c)), strict=True):
        v = rng.standard_normal(x.numel())

        def excess(part: Array, x: Tensor = x, grad: Array = grad, v: Array = v) -> float:
            """The error of c^T J v along some elements of v, as a multiple of the tolerance."""
            along = np.zeros_like(v)
            along[part] = v[part]
            return float(point.tolerances.excess(grad[part] @ v[part], c @ point.slope(x, along)))

        part = np.arange(x.numel())
        if not part.size or excess(part) <= 1:
            continue
        while part.size > 1:
            part = max(np.array_split(part, 2), key=excess)
        numeric = np.array([[c @ point.slope(x, _unit(int(part[0]), x.numel()))]])
        point.judge(name, x, part.tolist(), grad[part].reshape(1, 1), numeric, c)
        raise GradcheckError(
            f"{point.check}: backward is wrong for {describe(name, x)}: c^T J v is {grad @ v:.9g} by backward and "
            f"{c @ point.slope(x, v):.9g} by differences, but no single element is off by much: try slow mode"
        )


def _run(make_point: Callable[[], _Point], raise_exception: bool, check_undefined_grad: bool, fast_mode: bool) -> bool:
    rng = np.random.default_rng(_SEED)
    try:
        with np.errstate(all="ignore"):
            point = make_point()
            _check_consistency(point, rng, check_undefined_grad)
            if fast_mode:
                _compare_projections(point, rng)
            else:
                _compare_all(point)
    except GradcheckError as error:
        if raise_exception or isinstance(error, GradcheckInputError):
            raise
        return False
    return True


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    fast_mode: bool = False,
) -> bool:
    """Compare the gradients that backward computes for func(*inputs) with finite differences; True if they agree.

    inputs: a Tensor, or a tuple of anything; those Tensors in it that require grad are checked, and must
    be float64. func returns a Tensor or a tuple; outputs that do not require grad are left out (unless
    none does: then the derivatives must be 0).

    An element passes if |analytic - numeric| <= atol + rtol |numeric|. Also checked: outputs and
    gradients are reproducible (bit for bit, or within nondet_tol); a zero cotangent gives zero gradients; an
    unused output counts as a zero cotangent (check_undefined_grad); no input is changed in place.

    With n elements in and m out, slow mode calls func 2n times and walks m times; fast mode does so twice
    and once, but may miss an error that is small compared with the whole.

    Raises GradcheckError, whose message names the worst element, and KinkError if the point is at a kink;
    with raise_exception=False it returns False instead. GradcheckInputError is always raised.
    """
    tolerances = Tolerances(eps, atol, rtol, nondet_tol)
    return _run(lambda: _Point("gradcheck", func, inputs, tolerances), raise_exception, check_undefined_grad, fast_mode)


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    fast_mode: bool = False,
) -> bool:
    """gradcheck of the backward itself: of the function (x, c) -> J(x)^T c, in both its arguments.

    grad_outputs are the cotangents c, one for each output that requires grad; random unless given (and
    strided, with gen_non_contig_grad_outputs). Otherwise like gradcheck.
    """

    def point() -> _Point:
        first = _Point("gradgradcheck", func, inputs, tolerances)
        if not any(y.requires_grad for y in first.outputs):
            raise GradcheckInputError("gradgradcheck: no output requires grad, so there is no backward to check")
        cotangents = _cotangents(first.outputs, grad_outputs, gen_non_contig_grad_outputs)
        n = len(first.inputs)
        places = [i for i, x in enumerate(first.inputs) if is_tensor(x) and x.requires_grad]

        def backward_of_func(*args: Any, create_graph: bool) -> tuple[Any, ...]:
            results = _list(func(*args[:n]))
            outputs = [results[k] for k in first.numbers]
            grads = dict(zip(places, _vjp(outputs, args[n:], [args[i] for i in places], create_graph), strict=True))
            return tuple(grads.get(i) for i in range(n))

        # Differences are taken of the unrecorded backward, which training runs: a fused operation has two.
        recorded, plain = partial(backward_of_func, create_graph=True), partial(backward_of_func, create_graph=False)
        return _Point("gradgradcheck", recorded, (*first.inputs, *cotangents), tolerances, values=plain, first=n)

    tolerances = Tolerances(eps, atol, rtol, nondet_tol)
    return _run(point, raise_exception, check_undefined_grad, fast_mode)


def _cotangents(outputs: Sequence[Tensor], given: Any, strided: bool) -> list[Any]:
    if given is None:
        rng = np.random.default_rng(_SEED + 1)
        return [wrap(rng.standard_normal((*y.shape, 1 + strided))[..., 0]).requires_grad_() for y in outputs]
    cotangents = _list(given)
    shapes, expected = [tuple(c.shape) for c in cotangents], [tuple(y.shape) for y in outputs]
    if shapes != expected:
        raise GradcheckInputError(
            f"gradgradcheck: grad_outputs have shapes {shapes}, the outputs {expected}: they must agree"
        )
    return cotangents
