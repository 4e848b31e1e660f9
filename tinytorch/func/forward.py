"""J v, a Jacobian times a vector of the inputs' shapes, and what is made of it: a Jacobian column by column, a Hessian.

PyTorch carries v forward through each operation. Here there are only backwards, and two of them do it. The first gives

    p_j = sum_i u_i J_ij                   for any u of the outputs' shapes,

which is linear in u: its derivative with respect to u_i is J_ij, whatever u is. So the second, from p back to u, gives

    sum_j v_j dp_j/du_i = sum_j J_ij v_j,  which is J v.

It takes about as long as a second derivative, and each operation must have one. What f computes under no_grad counts as
constant; PyTorch's forward mode looks through that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from ..creation import zeros, zeros_like
from ..derivatives import grad as gradients
from ..dtypes import is_floating
from ..grad_mode import enable_grad, is_grad_enabled
from ..ops.common import is_tensor
from ..ops.joining import stack
from ..tensor import Tensor
from .randomness import check_randomness, drawing
from .transforms import Argnums, Inside, checked, jacrev, pulled_back, sliced, with_aux
from .trees import leaves, rebuilt, structure

NAME = "jvp(f, primals, tangents)"


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> tuple[Any, ...]:
    """func(*primals), and J v: how fast the outputs change when the primals move along the tangents v.

    primals is a tuple, and tangents are of its form and shapes. An output that does not depend on the primals gets
    zeros; with strict, that is an error. With has_aux, func returns (outputs, anything), and this a third, anything.
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{NAME}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    if structure(primals) != structure(tangents):
        raise RuntimeError(
            f"{NAME}: Expected primals and tangents to have the same python structure. For example, if primals is a "
            f"tuple of 3 tensors, tangents also must be. Got primals with structure {structure(primals)} and tangents "
            f"with structure {structure(tangents)}"
        )
    _check_tensors(primals, "primals")
    _check_tensors(tangents, "tangents")
    for x, v in zip(leaves(primals), leaves(tangents), strict=True):
        if x.shape != v.shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the original Tensor, this is "
                f"not supported. Tensor is of size {list(x.shape)} while the given forward gradient is of size "
                f"{list(v.shape)}."
            )
    linear = _linearized(func, primals, None, has_aux)
    found = linear.push(list(leaves(tangents)))
    if strict and any(product is None for product in found):
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed "
            "with strict=True."
        )
    products = rebuilt(linear.outputs, iter(linear.filled(found)))
    return (linear.outputs, products, linear.aux) if has_aux else (linear.outputs, products)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """func(*primals), and the function that makes of tangents J times them; func runs once for all of them."""
    linear = _linearized(func, primals, None, False)

    def jvp_fn(*tangents: Any) -> Any:
        """J times the tangents."""
        if structure(tangents) != structure(primals):
            raise RuntimeError(
                f"Expected the tangents {structure(tangents)} to have the same argspec as the primals "
                f"{structure(primals)}"
            )
        for i, (x, v) in enumerate(zip(leaves(primals), leaves(tangents), strict=True)):
            for what in ("shape", "dtype"):
                if getattr(v, what) != getattr(x, what):
                    raise RuntimeError(
                        f"tangent:{i} with {what} {getattr(v, what)} in flattened pytree doesn't match the {what} "
                        f"{getattr(x, what)} of the corresponding primal."
                    )
        return rebuilt(linear.outputs, iter(linear.filled(linear.push(list(leaves(tangents))))))

    return linear.outputs, jvp_fn


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The function that computes the Jacobian of func in the arguments `argnums`, column by column.

    The result has the form of `jacrev`'s. It is the faster one where there are more outputs than inputs. randomness
    says what random numbers in func do: "error", "same" for all columns, or "different" ones.
    """
    check_randomness(randomness)

    @functools.wraps(func)
    def jacobian(*args: Any) -> Any:
        def at_here() -> _Linear:
            with drawing(randomness):
                return _linearized(func, args, argnums, has_aux)

        wanted = sliced(args, argnums)
        xs = list(leaves(wanted))
        linear = at_here()
        columns: list[list[list[Tensor]]] = [[] for _ in xs]
        for i, x in enumerate(xs):
            for j in range(x.numel()):
                if randomness == "different":
                    linear = at_here()
                tangents = [zeros_like(other) for other in xs]
                tangents[i].reshape(-1).array[j] = 1
                columns[i].append(linear.filled(linear.push(tangents)))
        found = []
        for k, y in enumerate(leaves(linear.outputs)):
            of_inputs = [
                stack([column[k] for column in columns[i]], -1).reshape(*y.shape, *x.shape)
                if columns[i]
                else zeros(*y.shape, *x.shape, dtype=y.dtype)
                for i, x in enumerate(xs)
            ]
            found.append(rebuilt(wanted, iter(of_inputs)))
        result = rebuilt(linear.outputs, iter(found))
        return (result, linear.aux) if has_aux else result

    return jacobian


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The function that computes the second derivatives of func: jacfwd(jacrev(func))."""
    return jacfwd(jacrev(func, argnums), argnums)


class _Linear(NamedTuple):
    """A function at a point: its outputs, and how these change along tangents, None where they do not."""

    outputs: Any
    push: Callable[[list[Any]], list[Any]]
    aux: Any

    def filled(self, products: list[Any]) -> list[Tensor]:
        """With zeros for None."""
        pairs = zip(leaves(self.outputs), products, strict=True)
        return [zeros_like(y) if product is None else product for y, product in pairs]


def _linearized(func: Callable[..., Any], primals: tuple[Any, ...], argnums: Argnums | None, has_aux: bool) -> _Linear:
    wanted = primals if argnums is None else sliced(primals, argnums)
    _check_tensors(wanted, "primals")
    for x in leaves(wanted):
        if not is_floating(x.dtype):
            raise ValueError(f"Expected primal to be floating point or complex, but got: {x.dtype}")
    recording = is_grad_enabled()
    with enable_grad():
        inside = Inside(primals, argnums)
        outputs, aux = with_aux(func(*inside.args), has_aux, NAME)
        flat = checked(outputs, NAME)
        us = {k: zeros_like(y, requires_grad=True) for k, y in enumerate(flat) if y.requires_grad}
        inside.own(us.values())
        pulled = pulled_back([flat[k] for k in us], inside.leaves, list(us.values()), True, True)
        results, aux = inside.outside(outputs), inside.outside(aux)
    if not recording:
        results = rebuilt(results, (y.detach() for y in leaves(results)))

    def push(tangents: list[Any]) -> list[Any]:
        pairs = [(p, v) for p, v in zip(pulled, tangents, strict=True) if p is not None and p.requires_grad]
        found: dict[int, Any] = {}
        if pairs:
            ps, vs = zip(*pairs, strict=True)
            grads = gradients(ps, list(us.values()), vs, True, is_grad_enabled(), allow_unused=True)
            found = dict(zip(us, grads, strict=True))
        return [inside.outside(found.get(k)) for k in range(len(flat))]

    return _Linear(results, push, aux)


def _check_tensors(tree: Any, what: str) -> None:
    flat = list(leaves(tree))
    if not flat:
        raise RuntimeError(f"{NAME}: Expected {what} to contain at least one Tensor.")
    for x in flat:
        if not is_tensor(x):
            raise RuntimeError(f"{NAME}: Expected {what} to only contain Tensors, got {type(x)}")
