"""`vmap`: a function of one example, called for each of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops.common import is_tensor
from ..ops.joining import stack, unbind
from ..random import get_rng_state, set_rng_state
from .randomness import check_randomness, drawing
from .trees import leaves, rebuilt, spread, structure


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The function that calls func for each slice of its inputs, and stacks what it returns.

    **It is a loop**: it has PyTorch's results, not its speed, which comes from running each operation once for the
    whole batch. chunk_size, the slices that are taken at once there, changes nothing here; and func may do what it may
    not there, such as branch on a value.

    in_dims: the dimension of each input along which the slices lie, None for an input that each call gets whole; a
    number for all, or of the inputs' form, or of that of its upper part. out_dims: where that dimension lies in the
    outputs, likewise; with None the output must be the same for all slices. Keyword arguments go to each call whole.
    randomness says what numbers from the default generator do: "error", "same" for all slices, or "different" ones.

    Per-sample gradients: `vmap(grad(loss), in_dims=(None, 0, 0))(parameters, inputs, targets)`.
    """
    check_randomness(randomness)
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        name = _name(func)
        _check_out_dims(out_dims, name)
        dims = _in_dims(in_dims, args, name)
        flat = list(leaves(args))
        parts = [x if dim is None else unbind(x, dim) for x, dim in zip(flat, dims, strict=True)]
        start = get_rng_state() if randomness == "same" else None
        results = []
        with drawing(randomness):
            for i in range(_batch(flat, dims, name)):
                if start is not None:
                    set_rng_state(start)
                here = [x if dim is None else x[i] for x, dim in zip(parts, dims, strict=True)]
                results.append(func(*rebuilt(args, iter(here)), **kwargs))
        return _stacked(results, out_dims, name)

    return mapped


def _name(func: Any) -> str:
    if isinstance(func, functools.partial):
        return f"functools.partial({_name(func.func)}, ...)"
    return getattr(func, "__name__", repr(func))


def _in_dims(in_dims: Any, args: tuple[Any, ...], name: str) -> list[int | None]:
    """The dimension of each leaf of the arguments, counted from the front."""
    where = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): "
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{where}expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
            f"got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
            "function with no inputs. The latter is unsupported."
        )
    dims = spread(in_dims, args)
    if dims is None:
        raise ValueError(
            f"{where}in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{structure(in_dims)} but inputs has structure {structure(args)}."
        )
    for x, dim in zip(leaves(args), dims, strict=True):
        got = f"{where}Got in_dim={dim} for "
        if not isinstance(dim, int) and dim is not None:
            raise ValueError(f"{got}an input but in_dim must be either an integer dimension or None.")
        if dim is not None and not is_tensor(x):
            raise ValueError(
                f"{got}an input but the input is of type {type(x)}. We cannot vmap over non-Tensor arguments, please "
                "use None as the respective in_dim"
            )
        if dim is not None and not -x.ndim <= dim < x.ndim:
            raise ValueError(
                f"{got}some input, but that input is a Tensor of dimensionality {x.ndim} so expected in_dim to satisfy "
                f"-{x.ndim} <= in_dim < {x.ndim}."
            )
    return dims


def _batch(flat: list[Any], dims: list[int | None], name: str) -> int:
    """How many slices there are."""
    sizes = [x.shape[dim] for x, dim in zip(flat, dims, strict=True) if dim is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if len(set(sizes)) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    if not sizes[0]:
        raise ValueError(
            f"vmap({name}): the mapped dimension is empty. `{name}` is called for each slice, so that without one "
            "nothing tells the shapes of its outputs"
        )
    return int(sizes[0])


def _check_out_dims(out_dims: Any, name: str) -> None:
    for dim in leaves(out_dims):
        if not isinstance(dim, int) and dim is not None:
            raise ValueError(
                f"vmap({name}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python collection of "
                "ints representing where in the outputs the vmapped dimension should appear."
            )


def _stacked(results: list[Any], out_dims: Any, name: str) -> Any:
    """The outputs of all calls, one beside the other."""
    first = results[0]
    if is_tensor(first) and isinstance(out_dims, tuple) and len(out_dims) == 1:
        out_dims = out_dims[0]
    dims = spread(out_dims, first)
    if dims is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
            f"`outputs`. out_dims has structure {structure(out_dims)} but outputs has structure {structure(first)}."
        )
    for i, result in enumerate(results):
        if structure(result) != structure(first):
            raise ValueError(
                f"vmap({name}, ...): `{name}` returns {structure(first)} for the first slice, but {structure(result)} "
                f"for slice {i}"
            )
    columns = zip(*[leaves(result) for result in results], strict=True)
    return rebuilt(first, iter([_joined(ys, dim, name) for ys, dim in zip(columns, dims, strict=True)]))


def _joined(ys: tuple[Any, ...], dim: int | None, name: str) -> Any:
    """One output of all calls."""
    if dim is None:
        if is_tensor(ys[0]) and not all(y is ys[0] or np.array_equal(y.array, ys[0].array) for y in ys):
            raise ValueError(
                f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None: an output that is "
                "not the same for all slices"
            )
        return ys[0]
    for y in ys:
        if not is_tensor(y):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(y)}. Did you mean to set "
                "out_dims= to None for output?"
            )
    return stack(list(ys), dim)
