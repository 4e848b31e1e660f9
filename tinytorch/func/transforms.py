"""The transforms of reverse mode: a function's gradient, its Jacobian row by row, and J^T at a point."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from ..creation import zeros, zeros_like
from ..derivatives import grad as gradients
from ..dtypes import is_floating
from ..engine.graph import topological_order
from ..engine.tensor import edge_of
from ..grad_mode import enable_grad, is_grad_enabled
from ..ops.common import is_tensor
from ..ops.joining import stack
from ..tensor import Tensor
from .trees import leaves, rebuilt, structure

Argnums = int | tuple[int, ...]


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that computes the gradient of func, which returns one number, in the arguments `argnums`.

    With has_aux, func returns (number, anything), and the new function (gradient, anything).
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that computes the gradient as `grad` does, and the value: (gradient, value or (value, aux))."""

    @functools.wraps(func)
    def both(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            inside = Inside(args, argnums)
            value, aux = with_aux(func(*inside.args, **kwargs), has_aux, "grad_and_value(f)(*args)")
            if not is_tensor(value):
                raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(value)}")
            if value.ndim:
                raise RuntimeError(
                    "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
                    f"{value.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            found = rebuilt(inside.wanted, iter(_walk([value], inside.leaves, None, True, True)))
            found, value, aux = (inside.outside(tree) for tree in (found, value, aux))
        return found, ((value, aux) if has_aux else value)

    return both


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """func(*primals), and the function that makes of cotangents, in the form of the outputs, J^T times them.

    The function returns a tuple, one entry for each of the primals. With has_aux, func returns (outputs, anything),
    and this (outputs, function, anything).
    """
    return _vjp(func, primals, None, has_aux)


def _vjp(func: Callable[..., Any], primals: tuple[Any, ...], argnums: Argnums | None, has_aux: bool) -> tuple[Any, ...]:
    with enable_grad():
        inside = Inside(primals, argnums)
        outputs, aux = with_aux(func(*inside.args), has_aux, "vjp(f, *primals)")
        flat = checked(outputs, "vjp(f, *primals)")
        for y in flat:
            if not is_floating(y.dtype):
                raise RuntimeError(
                    "vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got Tensor with dtype "
                    f"{y.dtype}"
                )
        results, aux = inside.outside(outputs), inside.outside(aux)

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        """J^T times the cotangents; its graph is recorded where recording is on."""
        if structure(cotangents) != structure(outputs):
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                f"function. cotangents: {structure(cotangents)}, primal output: {structure(outputs)}"
            )
        create = is_grad_enabled() if create_graph is None else create_graph
        found = _walk(flat, inside.leaves, list(leaves(cotangents)), retain_graph, create)
        return inside.outside(rebuilt(inside.wanted, iter(found)))

    return (results, vjp_fn, aux) if has_aux else (results, vjp_fn)


def jacrev(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """The function that computes the Jacobian of func in the arguments `argnums`, row by row.

    Of the form of the outputs, in each of whose places is the form of the arguments, in each of whose places is a
    Tensor of the output's shape followed by the argument's. chunk_size says in PyTorch how many rows are computed at
    once; here each is computed alone.
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def jacobian(*args: Any) -> Any:
        outputs, vjp_fn, *aux = _vjp(func, args, argnums, has_aux)
        wanted = sliced(args, argnums)
        flat, xs = list(leaves(outputs)), list(leaves(wanted))
        found = []
        with enable_grad():
            for number, y in enumerate(flat):
                rows = []
                for j in range(y.numel()):
                    seeds = [zeros_like(other) for other in flat]
                    seeds[number].reshape(-1).array[j] = 1
                    rows.append(list(leaves(vjp_fn(rebuilt(outputs, iter(seeds)), create_graph=True))))
                of_inputs = [
                    stack([row[i] for row in rows]).reshape(*y.shape, *x.shape)
                    if rows
                    else zeros(*y.shape, *x.shape, dtype=x.dtype)
                    for i, x in enumerate(xs)
                ]
                found.append(rebuilt(wanted, iter(of_inputs)))
        result = rebuilt(outputs, iter(found))
        return (result, aux[0]) if has_aux else result

    return jacobian


class _Call:
    """A call of a transform, which the leaves know that are there for it alone."""

    over = False


class Inside:
    """The arguments as a function sees them that is differentiated: new Tensors, which require grad."""

    def __init__(self, args: tuple[Any, ...], argnums: Argnums | None) -> None:
        self._call = _Call()
        places = range(len(args)) if argnums is None else _places(argnums, len(args))
        entered = {i: rebuilt(args[i], (self._enter(x) for x in leaves(args[i]))) for i in places}
        self.args = tuple(entered.get(i, arg) for i, arg in enumerate(args))
        self.wanted = self.args if argnums is None else sliced(self.args, argnums)
        self.leaves = list(leaves(self.wanted))
        self.own([x for x in self.leaves if x.is_leaf])

    def own(self, tensors: Iterable[Any]) -> None:
        """Count leaves among those that are there for this call alone."""
        for x in tensors:
            x.transform = self._call

    @staticmethod
    def _enter(x: Any) -> Any:
        if not is_tensor(x):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
        return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()

    def outside(self, tree: Any) -> Any:
        """Results as the caller sees them: with a history only if it leads to something else that requires grad.

        Leaves of other calls that are over, such as those of a jvp in this function, lead to nothing either.
        """
        self._call.over = True
        return rebuilt(tree, (self._leave(x) for x in leaves(tree)))

    def _leave(self, x: Any) -> Any:
        if not is_tensor(x) or not x.requires_grad:
            return x
        order, uses = topological_order([edge_of(x)[0]])
        ends = [node.variable for node in (*order, *uses) if hasattr(node, "variable")]
        return x.detach() if all(hasattr(leaf, "transform") and leaf.transform.over for leaf in ends) else x


def pulled_back(
    outputs: list[Any], inputs: list[Any], seeds: list[Any] | None, retain: bool, create: bool
) -> list[Tensor | None]:
    """The gradient of each input, None where no output depends on it."""
    pairs = [(y, c) for y, c in zip(outputs, seeds or [None] * len(outputs), strict=True) if y.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    ys, cs = zip(*pairs, strict=True)
    return list(gradients(ys, inputs, cs, retain_graph=retain, create_graph=create, allow_unused=True))


def _walk(outputs: list[Any], inputs: list[Any], seeds: list[Any] | None, retain: bool, create: bool) -> list[Tensor]:
    """The gradient of each input, zeros where no output depends on it."""
    found = pulled_back(outputs, inputs, seeds, retain, create)
    return [zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def checked(outputs: Any, name: str) -> list[Any]:
    """What is in the outputs of a function: Tensors, and at least one."""
    flat = list(leaves(outputs))
    if not flat or flat == [None]:
        raise RuntimeError(f"{name}: Expected f to be a function that has non-empty output (got output = {flat})")
    for y in flat:
        if not is_tensor(y):
            raise RuntimeError(f"{name}: expected f(*primals) to return only tensors, got unsupported type {type(y)}")
    return flat


def with_aux(result: Any, has_aux: bool, name: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result


def _places(argnums: Any, count: int) -> list[int]:
    """The positions of arguments, counted from the front."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    found = []
    for n in argnums if isinstance(argnums, tuple) else (argnums,):
        if not isinstance(n, int):
            raise RuntimeError(f"argnum must be int, got: {type(n)}")
        if not -count <= n < count:
            raise RuntimeError(f"Got argnum={n}, but only {count} positional inputs")
        found.append(n % count)
    if not found:
        raise RuntimeError("argnums must be non-empty")
    if len(set(found)) != len(found):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return found


def sliced(args: tuple[Any, ...], argnums: Argnums) -> Any:
    places = _places(argnums, len(args))
    return tuple(args[i] for i in places) if isinstance(argnums, tuple) else args[places[0]]
