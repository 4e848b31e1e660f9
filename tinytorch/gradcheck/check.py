"""gradcheck and gradgradcheck: backward against differences, element by element or along random directions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..engine.tensor import wrap
from ..ops.common import is_tensor
from ..tensor import Tensor
from .differences import extrapolated
from .point import Point, Wanted, as_list, unit, vjp
from .report import Comparison, GradcheckError, GradcheckInputError, describe, judge, note_kinks
from .tolerances import Array, Tolerances

_SEED = 20160301  # the same cotangents and directions in every call, so that failures can be reproduced


def _same(a: Array, b: Array, tolerance: float) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True))


def _check_consistency(point: Point, rng: np.random.Generator, check_undefined_grad: bool) -> None:
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
    for (name, x, _), a, b in zip(point.wanted, first, second, strict=True):
        if not _same(a, b, nondet_tol):
            raise GradcheckError(
                f"{check}: backward is not deterministic: two walks of the same graph gave gradients of "
                f"{describe(name, x)} that differ by up to {np.abs(a - b).max():.3g} (nondet_tol={nondet_tol:g})"
            )
    for (name, x, _), grad in zip(point.wanted, point.vjp(point.split(np.zeros_like(c))), strict=True):
        if np.any(grad[np.isfinite(grad)] != 0):
            raise GradcheckError(
                f"{check}: backward of a zero gradient is not zero for {describe(name, x)}, but up to "
                f"{np.nanmax(np.abs(grad)):.6g}: J^T c is linear in c. Does backward add something that it does not "
                "multiply by the gradient of the output?"
            )
    for (name, x, _), a, b in zip(point.wanted, first, point.vjp(point.split(-c)), strict=True):
        if not np.allclose(a, -b, rtol=0, atol=max(nondet_tol, 1e-3 * np.nanmax(np.abs(a), initial=0)), equal_nan=True):
            raise GradcheckError(
                f"{check}: backward is not linear in the gradient that comes in: for the negative one, the gradient of "
                f"{describe(name, x)} is not the negative. Is it compared with something (as in g > 0), squared, or "
                "taken for the input?"
            )
    for k, cotangent in enumerate(point.split(c) if check_undefined_grad and len(point.outputs) > 1 else []):
        zeros = point.split(np.zeros_like(c))
        alone = [None] * k + [cotangent] + [None] * (len(zeros) - k - 1)
        zeros[k] = cotangent
        # Gradients arrive in a different order, so the last bits may differ.
        bits = 4096 * point.tolerances.precision
        pairs = zip(point.vjp(alone), point.vjp(zeros), strict=True)
        if not all(np.allclose(a, b, rtol=1e3 * bits, atol=max(nondet_tol, bits), equal_nan=True) for a, b in pairs):
            raise GradcheckError(
                f"{check}: when output {point.numbers[k]} alone is used, backward gives another gradient than with "
                "zeros for the other outputs: an output that nobody used must count as one with a zero gradient"
            )


def _comparison(
    point: Point, wanted: Wanted, columns: Sequence[int], analytic: Array, numeric: Array, c: Array | None = None
) -> Comparison:
    """What is to be judged: these columns of J, or of c^T J."""
    name, x, number = wanted

    def rows(t: float, j: int) -> Array:
        y = point.at(x, t * unit(j, x.numel()))
        return y if c is None else np.array([c @ y])

    def others() -> dict[str, Array]:
        alike = [other for other in point.wanted if other.x is not x and other.x.shape == x.shape]
        return {other.name: _columns(point, other.x)[0] for other in alike}

    return Comparison(
        point.check,
        name,
        number,
        x,
        columns,
        analytic,
        numeric,
        rows,
        point.row_name if c is None else lambda row: "(c . outputs)",
        point.row if c is None else None,
        float(np.abs(point.value[np.isfinite(point.value)]).max(initial=0)),
        any(y.requires_grad for y in point.outputs),
        others,
        [tuple(y.shape) for y in point.outputs],
        point.named_values,
    )


def _columns(point: Point, x: Tensor) -> tuple[Array, list[int]]:
    """The numeric Jacobian, and the columns where the slopes of both sides differ: at kinks, or in a sharp bend."""
    numeric = np.zeros((point.value.size, x.numel()))
    bent = []
    for j in range(x.numel()):
        below, above = point.sides(x, unit(j, x.numel()))
        numeric[:, j] = (above - below) / (2 * point.tolerances.eps)
        if _bends(point, below, above, numeric[:, j]):
            bent.append(j)
        if point.tolerances.extrapolated:
            numeric[:, j] = extrapolated(lambda t, j=j: point.at(x, t * unit(j, x.numel())))  # type: ignore[misc]
    return numeric, bent


def _bends(point: Point, below: Array, above: Array, slope: Array) -> bool:
    gap = np.abs(above - 2 * point.value + below) / point.tolerances.eps
    return bool((gap > point.tolerances.allowed(slope)).any())


def _compare_all(point: Point) -> None:
    """Slow mode: every element of every Jacobian."""
    size = point.value.size
    jacobians = [np.zeros((size, x.numel())) for _, x, _ in point.wanted]
    for k in range(size):
        for jacobian, row in zip(jacobians, point.vjp(point.split(unit(k, size))), strict=True):
            jacobian[k] = row
    for wanted, analytic in zip(point.wanted, jacobians, strict=True):
        numeric, bent = _columns(point, wanted.x)
        comparison = _comparison(point, wanted, range(wanted.x.numel()), analytic, numeric)
        judge(comparison, point.tolerances)
        note_kinks(comparison, bent, point.tolerances)


def _compare_projections(point: Point, rng: np.random.Generator) -> None:
    """Fast mode: c^T J v for each input. If that is wrong, bisecting v finds an element that is."""
    c = rng.standard_normal(point.value.size)

    def slope(x: Tensor, v: Array) -> float:
        if point.tolerances.extrapolated:
            return float(extrapolated(lambda t: np.array([c @ point.at(x, t * v)]))[0])
        return float(c @ point.slope(x, v))

    for wanted, grad in zip(point.wanted, point.vjp(point.split(c)), strict=True):
        name, x, _ = wanted
        v = rng.standard_normal(x.numel())

        def excess(part: Array, x: Tensor = x, grad: Array = grad, v: Array = v) -> float:
            """The error of c^T J v along some elements of v, as a multiple of the tolerance."""
            along = np.zeros_like(v)
            along[part] = v[part]
            return float(point.tolerances.excess(grad[part] @ v[part], slope(x, along)))

        part = np.arange(x.numel())
        if not part.size or excess(part) <= 1:
            continue
        while part.size > 1:
            part = max(np.array_split(part, 2), key=excess)
        numeric = np.array([[slope(x, unit(int(part[0]), x.numel()))]])
        judge(_comparison(point, wanted, part.tolist(), grad[part].reshape(1, 1), numeric, c), point.tolerances)
        raise GradcheckError(
            f"{point.check}: backward is wrong for {describe(name, x)}: c^T J v is {grad @ v:.9g} by backward and "
            f"{slope(x, v):.9g} by differences, but no single element is off by much: try slow mode"
        )


def run(make_point: Callable[[], Point], raise_exception: bool, check_undefined_grad: bool, fast_mode: bool) -> bool:
    """Check the point."""
    rng = np.random.default_rng(_SEED)
    try:
        with np.errstate(all="ignore"):
            point = make_point()
            point.fit()
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


def _parameters(func: Any) -> list[tuple[str, Tensor]]:
    """The parameters of a Module, by name."""
    return list(func.named_parameters()) if hasattr(func, "named_parameters") else []


@contextlib.contextmanager
def _buffers_kept(func: Any) -> Iterator[None]:
    """The buffers of a Module, such as running statistics, are afterwards what they were."""
    buffers = [buffer for _, buffer in func.named_buffers()] if hasattr(func, "named_buffers") else []
    before = [buffer.array.copy() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, old in zip(buffers, before, strict=True):
            buffer.array[...] = old


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

    inputs: a Tensor, or a tuple of anything; those Tensors in it that require grad are checked. func returns a
    Tensor or a tuple; outputs that do not require grad are left out (unless none does: then the derivatives must be
    0). If func is a Module, its parameters are checked as well, under their own names; its buffers are restored.

    All should be float64. Where something is float32 or float16, a warning says so, and eps, atol and rtol are raised
    to what that allows. If atol and rtol are below 1e-8, the differences are extrapolated to the step 0 (Richardson),
    which takes 24 calls in place of 2. Where an element is at a kink, and backward gives the mean of both slopes, it
    passes, and a KinkWarning says so (in slow mode).

    An element passes if |analytic - numeric| <= atol + rtol |numeric|. Also checked: outputs and
    gradients are reproducible (bit for bit, or within nondet_tol); a zero cotangent gives zero gradients, and the
    negative one their negative; an unused output counts as a zero cotangent (check_undefined_grad); no input is
    changed in place.

    With n elements in and m out, slow mode calls func 2n times and walks m times; fast mode does so twice
    and once, but may miss an error that is small compared with the whole.

    Raises GradcheckError, whose message and attributes name the worst element, and KinkError if the point is at a kink;
    with raise_exception=False it returns False instead. GradcheckInputError is always raised.
    """
    tolerances = Tolerances(eps, atol, rtol, nondet_tol)

    def point() -> Point:
        return Point("gradcheck", func, inputs, tolerances, parameters=_parameters(func))

    with _buffers_kept(func):
        return run(point, raise_exception, check_undefined_grad, fast_mode)


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

    def point() -> Point:
        first = Point("gradgradcheck", func, inputs, tolerances, parameters=parameters)
        if not any(y.requires_grad for y in first.outputs):
            raise GradcheckInputError("gradgradcheck: no output requires grad, so there is no backward to check")
        cotangents = _cotangents(first.outputs, grad_outputs, gen_non_contig_grad_outputs)
        n = len(first.inputs)
        places = [i for i, x in enumerate(first.inputs) if is_tensor(x) and x.requires_grad]

        named = [x for _, x, number in first.wanted if number is None]

        def backward_of_func(*args: Any, create_graph: bool) -> tuple[Any, ...]:
            results = as_list(func(*args[:n]))
            outputs = [results[k] for k in first.numbers]
            grads = vjp(outputs, args[n:], [*[args[i] for i in places], *named], create_graph)
            by_place = dict(zip(places, grads, strict=False))
            return (*[by_place.get(i) for i in range(n)], *grads[len(places) :])

        # Differences are taken of the unrecorded backward, which training runs: a fused operation has two.
        recorded, plain = partial(backward_of_func, create_graph=True), partial(backward_of_func, create_graph=False)
        return Point(
            "gradgradcheck",
            recorded,
            (*first.inputs, *cotangents),
            tolerances,
            parameters=parameters,
            values=plain,
            first=n,
        )

    tolerances, parameters = Tolerances(eps, atol, rtol, nondet_tol), _parameters(func)
    with _buffers_kept(func):
        return run(point, raise_exception, check_undefined_grad, fast_mode)


def _cotangents(outputs: Sequence[Tensor], given: Any, strided: bool) -> list[Any]:
    if given is None:
        rng = np.random.default_rng(_SEED + 1)
        return [
            wrap(rng.standard_normal((*y.shape, 1 + strided)).astype(y.dtype)[..., 0]).requires_grad_() for y in outputs
        ]
    cotangents = as_list(given)
    shapes, expected = [tuple(c.shape) for c in cotangents], [tuple(y.shape) for y in outputs]
    if shapes != expected:
        raise GradcheckInputError(
            f"gradgradcheck: grad_outputs have shapes {shapes}, the outputs {expected}: they must agree"
        )
    return cotangents
