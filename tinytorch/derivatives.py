"""`backward` and `grad`, which check their arguments and let the walk do the work, and `zero_grad`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .captures import gradients_at
from .engine.graph import Edge, collect
from .engine.runner import untraced
from .engine.tensor import edge_of, wrap
from .engine.walk import walk
from .kernels.launch import require_writable
from .ops.common import create, is_tensor

if TYPE_CHECKING:
    from .tensor import Tensor


def as_list(value: Any) -> list[Any]:
    """A list from a single Tensor, number or None, or from any iterable of them, such as `model.parameters()`."""
    return [value] if value is None or is_tensor(value) or not isinstance(value, Iterable) else list(value)


def _seeds(outputs: list[Tensor], gradients: Any) -> list[Tensor]:
    """The gradient to start from at each output: the given one, or 1 for a scalar."""
    given = [None] * len(outputs) if gradients is None else as_list(gradients)
    if len(given) != len(outputs):
        raise RuntimeError(f"{len(outputs)} outputs but {len(given)} gradients: give one for each")
    if not all([output._requires_grad for output in outputs]):
        raise RuntimeError("a tensor to differentiate does not require grad and does not have a grad_fn")
    return [_ones(o) if g is None else _given(o, g) for o, g in zip(outputs, given, strict=True)]


def _ones(output: Tensor) -> Tensor:
    if output.array.size != 1:
        raise RuntimeError(
            f"grad can be implicitly created only for scalar outputs, got shape {tuple(output.shape)}: "
            "pass gradient=, of that shape"
        )
    return _full_like(np.ones, output)


def _given(output: Tensor, gradient: Any) -> Tensor:
    """The user's gradient as a Tensor, in its output's dtype."""
    if not is_tensor(gradient):
        gradient = wrap(np.asarray(gradient, output.dtype))
    if gradient.array.shape != output.array.shape:
        raise RuntimeError(
            f"gradient has shape {tuple(gradient.shape)}, its output {tuple(output.shape)}: they must agree"
        )
    return gradient if gradient.array.dtype == output.array.dtype else gradient.to(output.dtype)


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the derivatives of `tensors`, weighted by `grad_tensors` (1 for a scalar), to the leaves' `.grad`."""
    outputs = as_list(tensors)
    roots = [edge_of(output) for output in outputs]
    seeds = _seeds(outputs, grad_tensors)
    retain = create_graph if retain_graph is None else retain_graph
    edges = None if inputs is None else _retaining(as_list(inputs))
    walk(roots, seeds, collect, wanted=edges, running=True, retain_graph=retain, create_graph=create_graph)


def _retaining(wanted: list[Tensor]) -> list[Edge]:
    """The edges at which the gradients of some inputs arrive; their `.grad` will keep them."""
    if not wanted:
        raise RuntimeError("inputs argument to backward cannot be empty: leave it out to reach every leaf")
    edges = []
    for i, tensor in enumerate(wanted):
        edges.append(_edge(i, tensor))
        tensor.retain_grad()  # for results, as in PyTorch; leaves collect theirs anyway
    return edges


def _full_like(make: Callable[..., Any], tensor: Tensor) -> Tensor:
    """A Tensor of ones or zeros in another's shape and dtype."""
    shape, dtype = tensor.array.shape, tensor.array.dtype
    return create(lambda: make(shape, dtype))


def _edge(i: int, tensor: Tensor) -> Edge:
    """The edge at which the gradient of input i arrives."""
    edge = edge_of(tensor)
    if not tensor.requires_grad:
        raise RuntimeError(f"input {i} of shape {tuple(tensor.shape)} does not require grad")
    return edge


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The derivatives of `outputs`, weighted by `grad_outputs`, with respect to each input. No `.grad` changes.

    create_graph records them, so that they can be differentiated again. An input that no output
    depends on is an error, unless allow_unused (then None) or materialize_grads (then zeros). only_inputs, which old
    programs pass, changes nothing; False warns.
    """
    if not only_inputs:
        warnings.warn(
            "only_inputs is ignored: grad never adds to the .grad of leaves. Call backward for that",
            FutureWarning,
            stacklevel=2,
        )
    outs, wanted = as_list(outputs), as_list(inputs)
    roots = [edge_of(output) for output in outs]
    seeds = _seeds(outs, grad_outputs)
    if materialize_grads and allow_unused is False:
        raise ValueError("materialize_grads=True fills in for unused inputs, so allow_unused cannot be False")
    retain = create_graph if retain_graph is None else retain_graph
    edges = [_edge(i, tensor) for i, tensor in enumerate(wanted)]
    found = gradients_at(edges, roots, seeds, retain_graph=retain, create_graph=create_graph)
    results = [found.get(edge) for edge in edges]
    if materialize_grads:
        results = [_full_like(np.zeros, t) if g is None else g for t, g in zip(wanted, results, strict=True)]
    elif not allow_unused and None in results:
        unused = results.index(None)
        raise RuntimeError(
            f"input {unused} was not used in the graph of the outputs: set allow_unused=True if that is meant"
        )
    return tuple(results)


@untraced
def zero_grad(parameters: Iterable[Tensor], set_to_none: bool) -> None:
    """Drop each gradient, or detach it and fill it with zeros."""
    for number, parameter in enumerate(parameters):
        if set_to_none:
            parameter._grad = None
        elif parameter.grad is not None:
            _fill_with_zeros(parameter.grad, number)


def _fill_with_zeros(gradient: Tensor, number: int) -> None:
    require_writable(gradient.array, f"zero_grad: the gradient of parameter {number}")
    if gradient.grad_fn is None:
        gradient.requires_grad_(False)
    else:
        gradient.detach_()
    gradient.zero_()
