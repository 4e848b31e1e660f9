"""A function at a point, as a map between vectors, with what backward and what differences say of its derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..captures import gradients_at
from ..dtypes import is_floating
from ..engine.graph import leading, topological_order
from ..engine.tensor import edge_of, wrap
from ..ops.common import is_tensor
from ..tensor import Tensor
from ..warning import warn_user
from .report import GradcheckError, GradcheckInputError, describe, index_of, index_text
from .tolerances import Array, Tolerances, precision


class Wanted(NamedTuple):
    """A Tensor whose gradient is checked."""

    name: str  # "input 0", or of a module's parameter "2.weight"
    x: Tensor
    number: int | None  # its place among the inputs; None for a parameter


def as_list(value: Any) -> list[Any]:
    """A list, of one thing unless several are given."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def vjp(outputs: Sequence[Tensor], cotangents: Sequence[Any], inputs: Sequence[Tensor], create_graph: bool) -> Any:
    """J^T c for each input, or None if no output depends on it; outputs whose cotangent is None are left out."""
    pairs = [(edge_of(y), c) for y, c in zip(outputs, cotangents, strict=True) if c is not None]
    edges = [edge_of(x) for x in inputs]
    seeds = [c for _, c in pairs]
    found = gradients_at(edges, [e for e, _ in pairs], seeds, retain_graph=True, create_graph=create_graph)
    return [found.get(edge) for edge in edges]


class Point:
    """A function at a point, as a map between vectors: the outputs that require grad, one after another."""

    def __init__(
        self,
        check: str,
        func: Callable[..., Any],
        inputs: Any,
        tolerances: Tolerances,
        *,
        parameters: Sequence[tuple[str, Tensor]] = (),
        values: Callable[..., Any] | None = None,
        first: int | None = None,
    ) -> None:
        self.check = check
        self.values = func if values is None else values  # the function whose differences are taken
        self.tolerances = tolerances
        self.inputs = as_list(inputs)
        self.first = first  # in gradgradcheck, the function's own number of inputs; cotangents follow
        given = [Wanted(self.name(i), x, i) for i, x in enumerate(self.inputs) if is_tensor(x)]
        named = [Wanted(name, x, None) for name, x in parameters if not any(x is y.x for y in given)]
        self.wanted = [wanted for wanted in (*given, *named) if wanted.x.requires_grad]
        self._check_inputs()
        self._before = [(name, x, x.array.copy()) for name, x, _ in (*given, *named)]
        results = as_list(func(*self.inputs))
        self.check_unmodified("the function")
        floats = [k for k, y in enumerate(results) if is_tensor(y) and is_floating(y.dtype)]
        self.numbers = [k for k in floats if results[k].requires_grad] or floats
        self.outputs: list[Tensor] = [results[k] for k in self.numbers]
        self.value = self()

    def name(self, i: int) -> str:
        """input 0, ...; in gradgradcheck also grad_output 0, ..."""
        n = len(self.inputs) if self.first is None else self.first
        return f"input {i}" if i < n else f"grad_output {i - n}"

    def named_values(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """The inputs and the outputs that are of floats, by their names."""
        inputs = {self.name(i): x for i, x in enumerate(self.inputs) if is_tensor(x) and is_floating(x.dtype)}
        inputs.update({name: x for name, x, number in self.wanted if number is None})
        what = "output" if self.first is None else "grad_input"
        outputs = {f"{what} {number}": y for number, y in zip(self.numbers, self.outputs, strict=True)}
        return tuple({name: x.array.astype(np.float64) for name, x in of.items()} for of in (inputs, outputs))  # type: ignore[return-value]

    def _vector(self, results: list[Any]) -> Array:
        return np.concatenate([np.zeros(0), *[results[k].array.reshape(-1).astype(np.float64) for k in self.numbers]])

    def __call__(self) -> Array:
        """y for the current values of the inputs."""
        return self._vector(as_list(self.values(*self.inputs)))

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
        return [wrap(piece.reshape(y.shape).astype(y.dtype)) for piece, y in zip(pieces, self.outputs, strict=True)]

    def vjp(self, cotangents: Sequence[Any]) -> list[Array]:
        """J^T c by backward, one vector for each input that requires grad."""
        grads = vjp(self.outputs, cotangents, [x for _, x, _ in self.wanted], create_graph=False)
        for (name, x, _), grad in zip(self.wanted, grads, strict=True):
            if grad is not None and (grad.shape != x.shape or grad.dtype != x.dtype):
                raise GradcheckError(
                    f"{self.check}: the gradient of {describe(name, x)} is {grad.dtype} {tuple(grad.shape)}: "
                    "it must have the input's shape and dtype"
                )
        return [
            np.zeros(x.numel()) if grad is None else grad.array.reshape(-1).astype(np.float64)
            for (_, x, _), grad in zip(self.wanted, grads, strict=True)
        ]

    def row(self, k: int) -> tuple[int, tuple[int, ...]]:
        """Where y_k is: the output's number, and the index in it."""
        for number, y in zip(self.numbers, self.outputs, strict=True):
            if k < y.numel():
                return number, index_of(k, y)
            k -= y.numel()
        raise IndexError(k)

    def row_name(self, k: int) -> str:
        """The name of y_k, such as "output 0[1, 2]"."""
        number, index = self.row(k)
        return f"{'output' if self.first is None else 'grad_input'} {number}{index_text(index)}"

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
        for n, (name, x, _) in enumerate(self.wanted):
            what = f"{self.check}: {describe(name, x)}"
            if x.numel() and any(
                stride == 0 and size > 1 for stride, size in zip(x.array.strides, x.shape, strict=True)
            ):
                raise GradcheckInputError(
                    f"{what} has elements that overlap in memory (from expand or broadcast_to), so one cannot be moved "
                    "alone. Call .clone() on it"
                )
            if not x.array.flags.writeable:
                raise GradcheckInputError(f"{what} is in read-only memory, so it cannot be moved. Call .clone() on it")
            for other_name, other, _ in self.wanted[:n]:
                if other is not x and np.shares_memory(x.array, other.array):
                    raise GradcheckInputError(
                        f"{what} shares memory with {describe(other_name, other)}, so one cannot be moved alone. "
                        "Call .clone() on one of them"
                    )

    def fit(self) -> None:
        """Widen the tolerances where something is coarser than float64, and warn of that; refuse what is too coarse."""
        found = self._coarsest()
        if found is None:
            return
        dtype, what = found
        fitted = self.tolerances.fitted(dtype)
        double = "call .double() on inputs (before requires_grad_()), constants and the model"
        if fitted is None:
            raise GradcheckInputError(
                f"{self.check}: {what}: in {dtype} the rounding of finite differences drowns any derivative. For a "
                f"check, {double}"
            )
        magnitude = float(np.abs(self.value[np.isfinite(self.value)]).max(initial=0))
        self.tolerances = fitted._replace(atol=max(fitted.atol, fitted.noise(magnitude)))
        warn_user(
            f"{self.check}: {what}, which is not double precision. The check is a rough one, with "
            f"eps={self.tolerances.eps:g}, atol={self.tolerances.atol:.2g}, rtol={self.tolerances.rtol:g}: for a sharp "
            f"one, {double}"
        )

    def _coarsest(self) -> tuple[Any, str] | None:
        """The coarsest dtype among the inputs, the outputs and the operations between them, and where it is."""
        found = [(x.dtype, f"{name} is {x.dtype}") for name, x, _ in self.wanted]
        found += [(y.dtype, f"output {k} is {y.dtype}") for k, y in zip(self.numbers, self.outputs, strict=True)]
        order, _ = topological_order([edge_of(y)[0] for y in self.outputs])
        between = leading(order, {edge_of(x)[0] for _, x, _ in self.wanted})
        for node in [node for node in order if node in between]:
            found += [(dtype, f"{node.name()} gives {dtype} {shape}") for shape, dtype in node.metadata]
        coarse = [entry for entry in found if is_floating(entry[0]) and entry[0] != np.float64]
        return min(coarse, key=lambda entry: -precision(entry[0]), default=None)

    def sides(self, x: Tensor, v: Array) -> tuple[Array, Array]:
        """y a step below and a step above, along v."""
        h = self.tolerances.eps
        return self.at(x, -h * v), self.at(x, h * v)

    def slope(self, x: Tensor, v: Array) -> Array:
        """J v, by the central difference."""
        below, above = self.sides(x, v)
        return (above - below) / (2 * self.tolerances.eps)


def unit(j: int, n: int) -> Array:
    """The vector of n zeros but for a 1 at j."""
    e = np.zeros(n)
    e[j] = 1
    return e
