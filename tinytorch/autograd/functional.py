"""Derivatives of functions at a point: Jacobians, Hessians, and their products with a vector, as in PyTorch.

Rows of a Jacobian J are walks with unit gradients. J^T v, the vjp, is one walk. J v, the jvp, is two: u -> J^T u is
linear in u, so the derivative of that function, which a walk of the first walk's graph gives, is J (`jvp`).
A Hessian H is the Jacobian of the gradient, so v^T H (`vhp`) is two walks, and H v (`hvp`) three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..creation import zeros, zeros_like
from ..derivatives import grad
from ..grad_mode import enable_grad, is_grad_enabled, set_grad_enabled
from ..ops.common import is_tensor
from ..ops.joining import stack
from ..tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = tuple[Tensor, ...]

_NO_VECTOR = (
    "The vector v can only be None if the input to the user-provided function is a single Tensor with a single element."
)


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(*inputs), and the product J^T v of its Jacobian with a vector v of the outputs' shapes.

    v may be left out if there is one output with one element. An input that the outputs do not depend on gets zeros;
    with strict, that is an error. With create_graph, the results can be differentiated.
    """
    with enable_grad():
        several, xs = _as_tuple(inputs, "inputs", "vjp")
        xs = _fresh(xs, create_graph, True)
        of_tuple, outputs = _as_tuple(func(*xs), "outputs of the user-provided function", "vjp")
        _check_outputs(outputs, strict)
        vs = _vector(v, outputs, of_tuple, create_graph, "vjp")
        if vs is None and (len(outputs) != 1 or outputs[0].numel() != 1):
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single Tensor with a single "
                "element."
            )
    with set_grad_enabled(create_graph or is_grad_enabled()):
        products = _filled(_walk(outputs, xs, vs, create_graph), xs, strict, create_graph, "The output")
    return _given_out(outputs, of_tuple, create_graph), _given_out(products, several, create_graph)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(*inputs), and the product J v of its Jacobian with a vector v of the inputs' shapes.

    v may be left out if there is one input with one element. Otherwise like `vjp`, but each operation must be twice
    differentiable, since this takes the derivative of u -> J^T u with respect to u.
    """
    with enable_grad():
        several, xs = _as_tuple(inputs, "inputs", "jvp")
        xs = _fresh(xs, create_graph, True)
        vs = _vector(v, xs, several, create_graph, "jvp")
        if vs is None and (len(xs) != 1 or xs[0].numel() != 1):
            raise RuntimeError(_NO_VECTOR)
        of_tuple, outputs = _as_tuple(func(*xs), "outputs of the user-provided function", "jvp")
        _check_outputs(outputs, strict)
        us = tuple(zeros_like(y, requires_grad=True) for y in outputs)  # J^T u is linear in u, so that any will do
        pulled = _walk(outputs, xs, us, True)
        for i, found in enumerate(pulled if strict else ()):
            if found is None:
                _independent("The output", i)
            if not found.requires_grad:
                raise RuntimeError(
                    f"The gradient with respect to input {i} is independent of the inputs of the user-provided "
                    "function. This is not allowed in strict mode."
                )
    with set_grad_enabled(create_graph or is_grad_enabled()):
        products = _walk(pulled, us, vs, create_graph)
        for i, found in enumerate(products if strict else ()):
            if found is None:
                raise RuntimeError(
                    f"The gradient with respect to the input is independent of entry {i} in the grad_outputs when "
                    "using the double backward trick to compute forward mode gradients. This is not allowed in "
                    "strict mode."
                )
        filled = _filled(products, outputs, strict, create_graph, "The output")
    return _given_out(outputs, of_tuple, create_graph), _given_out(filled, of_tuple, create_graph)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(*inputs), which is one number, and the product v^T H of a vector v of the inputs' shapes with its Hessian.

    v may be left out if there is one input with one element. Otherwise like `vjp`.
    """
    several, xs, vs, y, gradient = _gradient(func, inputs, v, create_graph, strict, "vhp")
    with set_grad_enabled(create_graph or is_grad_enabled()):
        filled = _filled(_walk(gradient, xs, vs, create_graph), xs, strict, create_graph, "The jacobian")
    return _given_out((y,), False, create_graph), _given_out(filled, several, create_graph)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(*inputs), which is one number, and the product H v of its Hessian with a vector v of the inputs' shapes.

    H is symmetric where the second derivatives are continuous: then `vhp` gives the same, with a walk less, and this
    one needs a third derivative of each operation.
    """
    several, xs, vs, y, gradient = _gradient(func, inputs, v, create_graph, strict, "hvp")
    with enable_grad():
        us = tuple(zeros_like(x, requires_grad=True) for x in xs)
        pulled = _walk(gradient, xs, us, True)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        products = _walk(pulled, us, vs, create_graph)
        for i, found in enumerate(products if strict else ()):
            if found is None:
                raise RuntimeError(
                    f"The hessian of the user-provided function is independent of entry {i} in the grad_jacobian. This "
                    "is not allowed in strict mode as it prevents from using the double backward trick to replace "
                    "forward mode AD."
                )
        filled = _filled(products, xs, strict, create_graph, "The jacobian")
    return _given_out((y,), False, create_graph), _given_out(filled, several, create_graph)


def _gradient(
    func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool, name: str
) -> tuple[bool, Tensors, Tensors | None, Tensor, tuple[Any, ...]]:
    """What both Hessian products begin with: the inputs, v, the number that func returns, and its gradient."""
    with enable_grad():
        several, xs = _as_tuple(inputs, "inputs", name)
        xs = _fresh(xs, create_graph, True)
        vs = _vector(v, xs, several, create_graph, name)
        if vs is None and (len(xs) != 1 or xs[0].numel() != 1):
            raise RuntimeError(_NO_VECTOR)
        y = _number(func(*xs), strict, name)
        gradient = _walk((y,), xs, None, True)
        for i, found in enumerate(gradient if strict else ()):
            if found is None:
                _independent("The output", i)
            _check_bent(found, i)
    return several, xs, vs, y, gradient


def _number(result: Any, strict: bool, name: str) -> Tensor:
    """What a function returns that has a Hessian: one Tensor with one element."""
    of_tuple, outputs = _as_tuple(result, "outputs of the user-provided function", name)
    _check_outputs(outputs, strict)
    if of_tuple:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
    return outputs[0]


def _check_bent(gradient: Tensor, i: int) -> None:
    """For strict mode: the gradient itself must depend on the input."""
    if not gradient.requires_grad:
        raise RuntimeError(
            "While computing the hessian, found that the jacobian of the user-provided function with respect to input "
            f"{i} is independent of the input. This is not allowed in strict mode. You should ensure that your "
            "function is twice differentiable and that the jacobian depends on the inputs (this would be violated by a "
            "linear function for example)."
        )


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian: of a Tensor with respect to a Tensor one Tensor, of the output's shape followed by the input's.

    If func returns a tuple, or the inputs are one, a tuple, first over outputs, then over inputs. vectorize and
    strategy say in PyTorch how it is computed, row by row or all at once; here it is always row by row.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    if strategy == "forward-mode":
        _check_forward_mode(create_graph, strict, vectorize)
    elif vectorize and strict:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. "
            "Please either set `strict=False` or `vectorize=False`."
        )
    with enable_grad():
        several, xs = _as_tuple(inputs, "inputs", "jacobian")
        xs = _fresh(xs, create_graph, True)
        of_tuple, outputs = _as_tuple(func(*xs), "outputs of the user-provided function", "jacobian")
        _check_outputs(outputs, strict)
        rows = [_jacobian_of(y, i, xs, create_graph, strict) for i, y in enumerate(outputs)]
    found = tuple(_given_out(row, several, create_graph) for row in rows)
    return found if of_tuple else found[0]


def _jacobian_of(output: Tensor, i: int, xs: Tensors, create_graph: bool, strict: bool) -> Tensors:
    """The Jacobian of output number i with respect to each input."""
    rows: list[list[Tensor]] = [[] for _ in xs]
    flat = output.reshape(-1)
    for j in range(output.numel()):
        for number, (x, found) in enumerate(zip(xs, _walk((flat[j],), xs, None, create_graph, True), strict=True)):
            if strict and found is None:
                raise RuntimeError(
                    f"Output {i} of the user-provided function is independent of input {number}. This is not allowed "
                    "in strict mode."
                )
            if strict and create_graph and not found.requires_grad:
                _independent("The jacobian", number, " when create_graph=True")
            rows[number].append(zeros_like(x) if found is None else found)
    return tuple(
        stack(row).reshape(*output.shape, *x.shape) if row else zeros(*output.shape, *x.shape, dtype=x.dtype)
        for x, row in zip(xs, rows, strict=True)
    )


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a func that returns one number: the Jacobian of its gradient.

    One Tensor of the input's shape twice; for a tuple of inputs a tuple of tuples. Arguments as in `jacobian`.
    """
    several, xs = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def number(*args: Any) -> Any:
        return _number(func(*args), strict, "hessian").squeeze()

    def gradient(*args: Any) -> Any:
        found = jacobian(number, args, create_graph=True)
        for i, row in enumerate(found if strict else ()):
            _check_bent(row, i)
        return found

    found = jacobian(gradient, xs, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if several else found[0][0]


def _check_forward_mode(create_graph: bool, strict: bool, vectorize: bool) -> None:
    for name, refused in (("create_graph", create_graph), ("strict", strict)):
        if refused:
            raise (NotImplementedError if name == "create_graph" else RuntimeError)(
                f'torch.autograd.functional.jacobian: `{name}=True` and `strategy="forward-mode"` are not supported '
                f'together (yet). Please either set `{name}=False` or `strategy="reverse-mode"`.'
            )
    if not vectorize:
        raise NotImplementedError(
            "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for "
            "`vectorize=True`."
        )


def _as_tuple(value: Any, what: str, name: str) -> tuple[bool, Tensors]:
    """Whether it is a tuple, and the Tensors as one."""
    several = isinstance(value, tuple)
    values: tuple[Any, ...] = value if several else (value,)
    for i, one in enumerate(values):
        if not is_tensor(one):
            place = f"value at index {i}" if several else f"given {what}"
            raise TypeError(
                f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the {place} has type "
                f"{type(one)}."
            )
    return several, values


def _fresh(tensors: Tensors, create_graph: bool, wanted: bool) -> Tensors:
    """New Tensors, so that what the function reaches in another way is not the same; part of a graph if asked for."""
    return tuple(
        t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_(wanted) for t in tensors
    )


def _check_outputs(outputs: Tensors, strict: bool) -> None:
    for i, y in enumerate(outputs if strict else ()):
        if not y.requires_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs must be computed in "
                "a differentiable manner from the input when running in strict mode."
            )


def _vector(v: Any, like: Tensors, several: bool, create_graph: bool, name: str) -> Tensors | None:
    """v as a tuple of Tensors of the shapes that it must have."""
    if v is None:
        return None
    _, vs = _as_tuple(v, "v", name)
    if len(vs) != len(like):
        if several:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(vs)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for i, (one, other) in enumerate(zip(vs, like, strict=True)):
        if one.shape != other.shape:
            entry = f"Entry {i} in " if several else ""
            raise RuntimeError(f"{entry}v has invalid size: should be {other.shape} but got {one.shape}.")
    return _fresh(vs, create_graph, False)


def _walk(
    outputs: Sequence[Any], inputs: Tensors, vs: Tensors | None, create_graph: bool, retain_graph: bool | None = None
) -> tuple[Any, ...]:
    """The gradient of each input, None where no output depends on it; outputs that do not require grad are left out."""
    pairs = [
        (y, v) for y, v in zip(outputs, vs or [None] * len(outputs), strict=True) if y is not None and y.requires_grad
    ]
    if not pairs:
        return (None,) * len(inputs)
    ys, seeds = zip(*pairs, strict=True)
    return grad(ys, inputs, seeds, retain_graph=retain_graph, create_graph=create_graph, allow_unused=True)


def _independent(what: str, i: int, when: str = "") -> NoReturn:
    raise RuntimeError(
        f"{what} of the user-provided function is independent of input {i}. This is not allowed in strict mode{when}."
    )


def _filled(grads: tuple[Any, ...], like: Tensors, strict: bool, create_graph: bool, what: str) -> Tensors:
    """The gradients, with zeros for None; in strict mode an error for what does not depend on an input."""
    derivative = "The hessian" if what == "The jacobian" else "The jacobian"
    for i, found in enumerate(grads if strict else ()):
        if found is None:
            _independent(what, i)
        if create_graph and not found.requires_grad:
            _independent(derivative, i, " when create_graph=True")
    return tuple(zeros_like(t) if found is None else found for t, found in zip(like, grads, strict=True))


def _given_out(results: Tensors, several: bool, create_graph: bool) -> Any:
    """The results, without history unless asked for, in a tuple unless there is one."""
    found = results if create_graph else tuple(t.detach() for t in results)
    return found if several else found[0]
